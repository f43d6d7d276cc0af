//! What a bad request gets.

use crate::client::{Reply, Running};

/// The whole body of an error of type `kind`.
fn body(kind: &str, message: &str) -> String {
    let message = serde_json::to_string(message).unwrap();
    format!(r#"{{"error":{{"message":{message},"type":"{kind}","param":null,"code":"{kind}"}}}}"#)
}

#[track_caller]
fn check(reply: &Reply, status: u16, message: &str) {
    assert_eq!(
        (reply.status, reply.body.as_str()),
        (status, body("invalid_request_error", message).as_str())
    );
    assert_eq!(reply.content_type, "application/json");
}

#[test]
fn a_bad_request_is_told_what_is_wrong_with_it() {
    let server = Running::start(|_| ());
    let user = r#""messages": [{"role": "user", "content": "q"}]"#;
    for (request, message) in [
        (
            "",
            "Failed to parse the request body as JSON: EOF while parsing a value at line 1 column 0",
        ),
        (
            "{\"model\":",
            "Failed to parse the request body as JSON: model: EOF while parsing a value at line 1 column 9",
        ),
        (
            "{}",
            "Failed to deserialize the JSON body into the target type: missing field `messages` at line 1 column 2",
        ),
        (
            r#"{"model": "m", "messages": [{"role": "robot", "content": "q"}]}"#,
            "Failed to deserialize the JSON body into the target type: messages[0].role: unknown variant `robot`, expected one \
             of `system`, `user`, `assistant`, `tool`, `latest_reminder` at line 1 column 44",
        ),
        (r#"{"model": "m", "messages": []}"#, "Empty input messages"),
        (
            &format!(r#"{{"model": "x", {user}}}"#),
            "The supported API model names are m, but you passed x.",
        ),
        (
            &format!(r#"{{"model": "m", "n": 2, {user}}}"#),
            "Invalid n value (currently only n = 1 is supported)",
        ),
        (
            &format!(r#"{{"model": "m", "temperature": 3, {user}}}"#),
            "Invalid temperature value, the valid range of temperature is [0, 2]",
        ),
        (
            &format!(r#"{{"model": "m", "top_logprobs": 21, "logprobs": true, {user}}}"#),
            "Invalid top_logprobs value, the valid range of top_logprobs is [0, 20].",
        ),
        (
            &format!(r#"{{"model": "m", "response_format": {{"type": "regex", "regex": "a"}}, {user}}}"#),
            "This response_format type is unavailable now",
        ),
        (
            &format!(r#"{{"model": "m", "max_tokens": 65536, {user}}}"#),
            "This model's maximum context length is 65536 tokens. However, you requested 65541 tokens (5 in the messages, \
             65536 in the completion). Please reduce the length of the messages or completion.",
        ),
    ] {
        check(&server.chat(request), 400, message);
        let streamed = request.replacen("\"model\": \"m\"", "\"model\": \"m\", \"stream\": true", 1);
        if streamed != *request && !message.contains("column") {
            check(&server.chat(&streamed), 400, message);
        }
    }
}

#[test]
fn a_prompt_beyond_the_context_is_refused_before_the_stream_begins() {
    let server = Running::start(|_| ());
    let text = "word ".repeat(80_000);
    let reply = server.chat(&format!(
        r#"{{"model": "m", "stream": true, "messages": [{{"role": "user", "content": "{text}"}}]}}"#
    ));
    assert_eq!(reply.status, 400);
    assert!(
        reply
            .body
            .contains("This model's maximum context length is 65536 tokens."),
        "{}",
        reply.body
    );
}

#[test]
fn a_body_that_is_too_large_is_refused() {
    let server = Running::start(|options| options.body_bytes_max = 100);
    check(
        &server.chat(&format!(r#"{{"model": "{}"}}"#, "m".repeat(100))),
        413,
        "The request body is larger than the 100 bytes this server accepts. Send a shorter request.",
    );
}

#[test]
fn wrong_doors() {
    let server = Running::start(|_| ());
    check(
        &server.get("/v2/chat"),
        404,
        "There is no /v2/chat; this server has POST /v1/chat/completions, GET /v1/models and GET /health.",
    );
    check(
        &server.get("/v1/chat/completions"),
        405,
        "/v1/chat/completions does not take GET; chat completions take POST, the others GET.",
    );
}
