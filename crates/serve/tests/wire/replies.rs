//! What a good request gets.

use fathom_serve::Alias;
use serde_json::Value;

use crate::client::Running;

const OFF: &str = r#""thinking": {"type": "disabled"}"#;

fn question(more: &str) -> String {
    format!(
        r#"{{"model": "m", "seed": 1, "max_tokens": 20, "messages": [{{"role": "user", "content": "What is 12 plus 30?"}}], {more}}}"#
    )
}

/// `json` with everything blanked that depends on weights, time or chance.
fn blanked(json: &str) -> String {
    let mut value: Value = serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}"));
    let mut blank = |path: &str, with: &str| {
        if let Some(found) = value
            .pointer_mut(path)
            .filter(|found| !found.is_null() && **found != "")
        {
            *found = Value::from(with);
        }
    };
    blank("/id", "ID");
    blank("/created", "TIME");
    blank("/system_fingerprint", "FINGERPRINT");
    for place in ["message", "delta"] {
        blank(&format!("/choices/0/{place}/content"), "TEXT");
        blank(&format!("/choices/0/{place}/reasoning_content"), "TEXT");
    }
    blank("/choices/0/finish_reason", "REASON");
    for count in [
        "completion_tokens",
        "total_tokens",
        "completion_tokens_details/reasoning_tokens",
    ] {
        blank(&format!("/usage/{count}"), "N");
    }
    value.to_string()
}

/// The events of a stream, blanked, with runs of equal ones shown once.
fn events(body: &str) -> Vec<String> {
    let mut shown: Vec<String> = Vec::new();
    for event in body.split_terminator("\n\n") {
        let data = event
            .strip_prefix("data: ")
            .unwrap_or_else(|| panic!("no data: {event:?}"));
        let data = if data == "[DONE]" {
            data.to_owned()
        } else {
            blanked(data)
        };
        if shown.last() != Some(&data) {
            shown.push(data);
        }
    }
    shown
}

/// All texts of a stream under `field`, joined.
fn joined(body: &str, field: &str) -> String {
    let events = body
        .split_terminator("\n\n")
        .filter_map(|event| event.strip_prefix("data: {"));
    let texts = events.map(|event| serde_json::from_str::<Value>(&format!("{{{event}")).unwrap());
    texts
        .filter_map(|chunk| chunk["choices"][0]["delta"][field].as_str().map(str::to_owned))
        .collect()
}

#[test]
fn one_reply() {
    let server = Running::start(|_| ());
    let reply = server.chat(&question(OFF));
    assert_eq!(
        (reply.status, reply.content_type.as_str()),
        (200, "application/json")
    );
    assert_eq!(
        blanked(&reply.body),
        r#"{"id":"ID","object":"chat.completion","created":"TIME","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"TEXT"},"logprobs":null,"finish_reason":"REASON"}],"usage":{"prompt_tokens":PROMPT,"completion_tokens":"N","total_tokens":"N","prompt_tokens_details":{"cached_tokens":0},"prompt_cache_hit_tokens":0,"prompt_cache_miss_tokens":PROMPT,"prompt_cache_miss_reason":"the rest is below one page"},"system_fingerprint":"FINGERPRINT"}"#
            .replace("PROMPT", &reply.json()["usage"]["prompt_tokens"].to_string())
    );
    assert_eq!(
        reply.json()["system_fingerprint"],
        format!("fathom_{}_reference", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn a_stream_without_thinking() {
    let server = Running::start(|_| ());
    let whole = server.chat(&question(OFF)).json();
    let reply = server.chat(&question(&format!(r#"{OFF}, "stream": true"#)));
    assert_eq!(
        (reply.status, reply.content_type.as_str()),
        (200, "text/event-stream; charset=utf-8")
    );
    let chunk = |rest: &str| {
        format!(
            r#"{{"id":"ID","object":"chat.completion.chunk","created":"TIME","model":"m","system_fingerprint":"FINGERPRINT",{rest}}}"#
        )
    };
    let prompt = whole["usage"]["prompt_tokens"].as_u64().unwrap();
    assert_eq!(
        events(&reply.body),
        [
            chunk(
                r#""choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]"#
            ),
            chunk(
                r#""choices":[{"index":0,"delta":{"content":"TEXT"},"logprobs":null,"finish_reason":null}]"#
            ),
            chunk(&format!(
                r#""choices":[{{"index":0,"delta":{{"content":""}},"logprobs":null,"finish_reason":"REASON"}}],"usage":{{"prompt_tokens":{prompt},"completion_tokens":"N","total_tokens":"N","prompt_tokens_details":{{"cached_tokens":{cached}}},"prompt_cache_hit_tokens":{cached},"prompt_cache_miss_tokens":1}}"#,
                cached = prompt - 1
            )),
            "[DONE]".to_owned(),
        ]
    );
    assert_eq!(
        joined(&reply.body, "content"),
        whole["choices"][0]["message"]["content"].as_str().unwrap()
    );
}

#[test]
fn a_stream_with_thinking_and_usage() {
    let server = Running::start(|_| ());
    let whole = server.chat(&question(r#""reasoning_effort": "high""#)).json();
    let stream = r#""reasoning_effort": "high", "stream": true, "stream_options": {"include_usage": true}"#;
    let reply = server.chat(&question(stream));
    let shown = events(&reply.body);
    let choices = |delta: &str| {
        format!(
            r#""choices":[{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":null}}],"usage":null}}"#
        )
    };
    assert!(
        shown[0].ends_with(&choices(
            r#"{"role":"assistant","content":null,"reasoning_content":""}"#
        )),
        "{}",
        shown[0]
    );
    assert!(
        shown[1].ends_with(&choices(r#"{"content":null,"reasoning_content":"TEXT"}"#)),
        "{}",
        shown[1]
    );
    let last = &shown[shown.len() - 2];
    assert!(
        last.contains(r#""delta":{"content":"","reasoning_content":null}"#),
        "{last}"
    );
    assert!(
        last.contains(r#""completion_tokens_details":{"reasoning_tokens":"#),
        "{last}"
    );
    assert_eq!(shown.last().unwrap(), "[DONE]");
    let message = &whole["choices"][0]["message"];
    assert_eq!(
        joined(&reply.body, "reasoning_content"),
        message["reasoning_content"].as_str().unwrap()
    );
    assert_eq!(
        joined(&reply.body, "content"),
        message["content"].as_str().unwrap()
    );
}

#[test]
fn max_tokens_and_its_other_name() {
    let server = Running::start(|_| ());
    for body in [
        r#"{"model": "m", "max_tokens": 2, "messages": [{"role": "user", "content": "q"}]}"#,
        r#"{"model": "m", "max_completion_tokens": 2, "messages": [{"role": "user", "content": "q"}]}"#,
    ] {
        let reply = server.chat(body).json();
        assert_eq!(reply["usage"]["completion_tokens"], 2);
        assert_eq!(reply["choices"][0]["finish_reason"], "length");
    }
}

#[test]
fn logprobs_add_up_to_the_text() {
    let server = Running::start(|_| ());
    let reply = server
        .chat(&question(&format!(
            r#"{OFF}, "logprobs": true, "top_logprobs": 2"#
        )))
        .json();
    let tokens = reply["choices"][0]["logprobs"]["content"].as_array().unwrap();
    let bytes: Vec<u8> = tokens
        .iter()
        .flat_map(|token| {
            token["bytes"]
                .as_array()
                .unwrap()
                .iter()
                .map(|byte| byte.as_u64().unwrap() as u8)
        })
        .collect();
    assert_eq!(
        bytes,
        reply["choices"][0]["message"]["content"]
            .as_str()
            .unwrap()
            .as_bytes()
    );
    for token in tokens {
        assert_eq!(token["top_logprobs"].as_array().unwrap().len(), 2);
        assert!(token["logprob"].as_f64().unwrap() <= token["top_logprobs"][0]["logprob"].as_f64().unwrap());
    }
}

#[test]
fn the_other_pages() {
    let named = |strict| {
        move |options: &mut fathom_serve::Options| {
            options.strict = strict;
            options.models[0].name = "fathom".to_owned();
            options.models[0].aliases = vec![Alias::new("deepseek-chat")];
        }
    };
    let server = Running::start(named(false));
    let model = r#"{"id":"fathom","object":"model","created":0,"owned_by":"fathom","aliases":["deepseek-chat"],"tier":"flash","context_length":65536,"thinking":["off","high","max"]}"#;
    for path in ["/v1/models", "/models"] {
        let reply = server.get(path);
        let expected = format!(r#"{{"object":"list","data":[{model}]}}"#);
        assert_eq!((reply.status, reply.body), (200, expected));
        for name in ["fathom", "deepseek-chat"] {
            let reply = server.get(&format!("{path}/{name}"));
            assert_eq!((reply.status, reply.body.as_str()), (200, model));
        }
        let missing = server.get(&format!("{path}/gpt"));
        assert_eq!(missing.status, 404);
        assert_eq!(
            missing.json()["error"]["message"],
            "There is no model gpt. This server has fathom."
        );
    }
    assert_eq!(
        Running::start(named(true)).get("/models").body,
        r#"{"object":"list","data":[{"id":"fathom","object":"model","owned_by":"deepseek"}]}"#
    );
    assert_eq!(
        server.get("/health").body,
        r#"{"status":"ok","models":[{"id":"fathom","numerics":"reference","context":65536}]}"#
    );
}

#[test]
fn a_reply_names_the_model_behind_an_alias() {
    let server = Running::start(|options| options.models[0].aliases = vec![Alias::new("deepseek-v4-flash")]);
    let body =
        r#"{"model": "deepseek-v4-flash", "max_tokens": 1, "messages": [{"role": "user", "content": "q"}]}"#;
    assert_eq!(server.chat(body).json()["model"], "m");
}
