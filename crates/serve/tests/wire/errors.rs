//! What a bad request gets.

use crate::client::{Reply, Running};

/// The whole body of an error of type `kind` below 500.
fn body(kind: &str, message: &str) -> String {
    let message = serde_json::to_string(message).unwrap();
    format!(
        r#"{{"error":{{"message":{message},"type":"{kind}","param":null,"code":"invalid_request_error"}}}}"#
    )
}

#[track_caller]
fn check(reply: &Reply, status: u16, message: &str) {
    assert_eq!(
        (reply.status, reply.body.as_str()),
        (status, body("invalid_request_error", message).as_str())
    );
    assert_eq!(reply.content_type, "application/json");
}

#[track_caller]
fn check_plain(reply: &Reply, status: u16, content_type: &str, body: &str) {
    assert_eq!(
        (reply.status, reply.content_type.as_str(), reply.body.as_str()),
        (status, content_type, body)
    );
}

/// A user's message.
const USER: &str = r#""messages": [{"role": "user", "content": "q"}]"#;

#[test]
fn a_body_that_is_no_json_is_told_where() {
    let server = Running::start(|_| ());
    for (request, message) in [
        ("", "EOF while parsing a value at line 1 column 0"),
        (
            "{\"model\":",
            "model: EOF while parsing a value at line 1 column 9",
        ),
    ] {
        check_plain(
            &server.chat(request),
            400,
            "application/octet-stream",
            &format!("Failed to parse the request body as JSON: {message}"),
        );
    }
}

#[test]
fn a_body_that_is_not_said_to_be_json() {
    let server = Running::start(|_| ());
    let stream = server.send_as("POST /v1/chat/completions", "text/plain", "{}");
    check_plain(
        &Reply::read(stream),
        415,
        "text/plain; charset=utf-8",
        "Expected request with `Content-Type: application/json`",
    );
}

#[test]
fn a_bad_request_is_told_what_is_wrong_with_it() {
    let server = Running::start(|_| ());
    for (request, message) in [
        (
            "{}",
            "Failed to deserialize the JSON body into the target type: missing field `messages` at line 1 column 2",
        ),
        (
            r#"{"model": "m", "messages": [{"role": "robot", "content": "q"}]}"#,
            "Failed to deserialize the JSON body into the target type: messages[0].role: unknown variant `robot`, expected one \
             of `system`, `developer`, `user`, `assistant`, `tool`, `latest_reminder` at line 1 column 44",
        ),
        (r#"{"model": "m", "messages": []}"#, "Empty input messages"),
        (
            &format!(r#"{{"model": "x", {USER}}}"#),
            "The supported API model names are m, but you passed x.",
        ),
        (
            &format!(r#"{{"model": "m", "temperature": 3, {USER}}}"#),
            "Invalid temperature value, the valid range of temperature is [0, 2]",
        ),
        (
            &format!(r#"{{"model": "m", "top_logprobs": 21, "logprobs": true, {USER}}}"#),
            "Invalid top_logprobs value, the valid range of top_logprobs is [0, 20].",
        ),
        (
            &format!(r#"{{"model": "m", "max_tokens": 0, {USER}}}"#),
            "Invalid max_tokens value, the valid range of max_tokens is [1, 393216]",
        ),
        (
            &format!(r#"{{"model": "m", "max_completion_tokens": 393217, {USER}}}"#),
            "Invalid max_tokens value, the valid range of max_tokens is [1, 393216]",
        ),
        (
            &format!(
                r#"{{"model": "m", "stop": [{}"x"], {USER}}}"#,
                r#""x","#.repeat(16)
            ),
            "Stop string array too long: 17",
        ),
        (
            &format!(r#"{{"model": "m", "user_id": "{}", {USER}}}"#, "u".repeat(513)),
            "Invalid 'user_id': string too long. Expected a string with maximum length 512, but got a string with length 513 \
             instead",
        ),
        (
            &format!(r#"{{"model": "m", "tools": [{}], {USER}}}"#, functions(129)),
            "Invalid 'tools': array too long. Expected an array with maximum length 128, but got an array with length 129 \
             instead.",
        ),
        (
            r#"{"model": "m", "messages": [{"role": "tool", "content": "r", "tool_call_id": "c"}]}"#,
            "Messages with role 'tool' must be a response to a preceding message with 'tool_calls'",
        ),
        (
            r#"{"model": "m", "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": null, "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}]}"#,
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. \
             (insufficient tool messages following tool_calls message)",
        ),
    ] {
        check(&server.chat(request), 400, message);
        let streamed = request.replacen("\"model\": \"m\"", "\"model\": \"m\", \"stream\": true", 1);
        if streamed != *request && !message.contains("column") {
            check(&server.chat(&streamed), 400, message);
        }
    }
}

/// Declarations of `count` functions.
fn functions(count: usize) -> String {
    let one = |n| format!(r#"{{"type": "function", "function": {{"name": "f{n}"}}}}"#);
    (0..count).map(one).collect::<Vec<_>>().join(",")
}

/// What only a strict server refuses, as the hosted API does.
#[test]
fn strictness() {
    let lenient = Running::start(|_| ());
    let strict = Running::start(|options| options.strict = true);
    let request = |rest: &str| format!(r#"{{"model": "m", "max_completion_tokens": 1, {rest}}}"#);
    for (rest, message) in [
        (
            format!(r#""max_tokens": 65536, {USER}"#),
            "This model's maximum context length is 65536 tokens. However, you requested 65541 tokens (5 in the messages, \
             65536 in the completion). Please reduce the length of the messages or completion.",
        ),
        (
            format!(r#""thinking": {{"type": "disabled"}}, "reasoning_effort": "high", {USER}"#),
            "thinking options type cannot be disabled when reasoning_effort is set",
        ),
        (
            format!(r#""stream_options": {{"include_usage": true}}, {USER}"#),
            "stream_options should be set along with stream = true",
        ),
        (
            format!(r#""tools": [{{"type": "function", "function": {{"name": "f", "parameters": {{}}}}}}], {USER}"#),
            "Invalid schema for function 'f': schema must be a JSON Schema of 'type: \"object\"', got 'type: null'.",
        ),
        (
            r#""messages": [{"role": "developer", "content": "s"}, {"role": "user", "content": "q"}]"#.to_owned(),
            "messages[0]: unsupported role `developer`, expected one of `system`, `user`, `assistant`, `tool`",
        ),
        (
            r#""messages": [{"role": "user", "content": null}]"#.to_owned(),
            "Failed to deserialize the JSON body into the target type: messages[0]: content should be a string or a list",
        ),
        (
            r#""messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}]"#.to_owned(),
            "Failed to deserialize the JSON body into the target type: messages[0]: unknown variant `image_url`, expected `text`",
        ),
        (
            r#""messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": null, "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}, {"role": "tool", "content": "r", "tool_call_id": "c"}]"#.to_owned(),
            "The `reasoning_content` in the thinking mode must be passed back to the API.",
        ),
    ] {
        check(&strict.chat(&request(&rest)), 400, message);
        let reply = if rest.contains("65536") {
            // As much as there is room for would take long here; it is enough that it begins.
            let body = format!(r#"{{"model": "m", "stream": true, {rest}}}"#);
            let mut stream = lenient.send("POST /v1/chat/completions", &body);
            let mut status = [0; 15];
            std::io::Read::read_exact(&mut stream, &mut status).unwrap();
            assert_eq!(status, *b"HTTP/1.1 200 OK");
            continue;
        } else {
            lenient.chat(&request(&rest))
        };
        assert_eq!(reply.status, 200, "{rest}: {}", reply.body);
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
fn wrong_doors_of_a_strict_server() {
    let server = Running::start(|options| options.strict = true);
    check_plain(&server.get("/v2/chat"), 404, "", "");
    check_plain(&server.get("/v1/chat/completions"), 405, "", "");
}

#[test]
fn wrong_doors() {
    let server = Running::start(|_| ());
    check(
        &server.get("/v2/chat"),
        404,
        "There is no /v2/chat; GET /openapi.json describes what this server has.",
    );
    check(
        &server.get("/v1/chat/completions"),
        405,
        "/v1/chat/completions does not take GET; what generates takes POST, what lists takes GET.",
    );
}
