//! The chat wire's shapes. Grammars make a model of any weights end, or call, where a shape needs it.

use serde_json::{Value, json};

use crate::client::{Reply, Running};
use crate::shape;

fn with(mut body: Value, fields: &Value) -> Value {
    body.as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    body
}

/// A question that is answered by a word.
fn word() -> Value {
    json!({"model": "m", "seed": 1, "max_tokens": 1500, "messages": [{"role": "user", "content": "Say a word."}],
        "thinking": {"type": "disabled"}, "response_format": {"type": "regex", "regex": "[a-z]{4}"}})
}

/// A question that is answered by a call.
fn call() -> Value {
    json!({"model": "m", "seed": 1, "max_tokens": 1500, "messages": [{"role": "user", "content": "What is the weather in Oslo?"}],
        "thinking": {"type": "disabled"}, "tool_choice": "required", "parallel_tool_calls": false,
        "tools": [{"type": "function", "function": {"name": "get_weather", "strict": true, "parameters": {
            "type": "object", "properties": {"city": {"type": "string", "enum": ["Oslo"]}},
            "required": ["city"], "additionalProperties": false}}}]})
}

fn cases() -> Vec<(&'static str, Value)> {
    let thinking = json!({"thinking": {"type": "enabled"}});
    vec![
        ("plain", word()),
        ("thinking", with(word(), &thinking)),
        ("tool", call()),
        ("thinking_tool", with(call(), &thinking)),
        (
            "length",
            with(
                word(),
                &json!({"max_tokens": 1, "response_format": {"type": "regex", "regex": "[a-z]{900}"}}),
            ),
        ),
        (
            "length_thinking",
            with(word(), &json!({"max_tokens": 1, "thinking": {"type": "enabled"}})),
        ),
        (
            "stop",
            with(
                word(),
                &json!({"stop": ["c"], "response_format": {"type": "regex", "regex": "abcd"}}),
            ),
        ),
        (
            "logprobs",
            with(word(), &json!({"logprobs": true, "top_logprobs": 2})),
        ),
        (
            "thinking_logprobs",
            with(
                word(),
                &json!({"thinking": {"type": "enabled"}, "logprobs": true, "top_logprobs": 0}),
            ),
        ),
    ]
}

/// All texts of a stream under `field`, joined.
fn joined(reply: &Reply, field: &str) -> String {
    let events = shape::events(reply).into_iter();
    events
        .filter_map(|event| {
            event.data["choices"][0]["delta"][field]
                .as_str()
                .map(str::to_owned)
        })
        .collect()
}

#[test]
fn replies_have_their_shapes() {
    for (name, body) in cases() {
        // One of its own for each, so that none finds another's prompt in the cache.
        let server = Running::start(|_| ());
        let whole = server.chat(&body.to_string());
        insta::assert_snapshot!(format!("chat_{name}"), shape::whole(&whole));
        let server = Running::start(|_| ());
        let streamed = server.chat(&with(body, &json!({"stream": true})).to_string());
        insta::assert_snapshot!(format!("chat_{name}_stream"), shape::stream(&streamed));
        let message = &whole.json()["choices"][0]["message"];
        for field in ["content", "reasoning_content"] {
            assert_eq!(
                joined(&streamed, field),
                message[field].as_str().unwrap_or_default(),
                "{name}"
            );
        }
    }
}

#[test]
fn usage_is_null_until_the_last_chunk_when_it_is_asked_for() {
    let server = Running::start(|_| ());
    let asked = json!({"stream": true, "stream_options": {"include_usage": true}});
    insta::assert_snapshot!(
        "chat_usage_stream",
        shape::stream(&server.chat(&with(word(), &asked).to_string()))
    );
}

#[test]
fn ids() {
    let server = Running::start(|_| ());
    for body in [call(), with(call(), &json!({"thinking": {"type": "enabled"}}))] {
        let reply = server.chat(&body.to_string()).json();
        assert!(uuid::Uuid::parse_str(reply["id"].as_str().unwrap()).is_ok());
        let id = reply["choices"][0]["message"]["tool_calls"][0]["id"]
            .as_str()
            .unwrap();
        let random = id.strip_prefix("call_00_").unwrap();
        assert_eq!(random.len(), 24);
        assert!(random.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{id}");
    }
}

#[test]
fn a_stop_string_is_left_out() {
    let server = Running::start(|_| ());
    let stop = with(
        word(),
        &json!({"stop": ["c"], "response_format": {"type": "regex", "regex": "abcd"}}),
    );
    let choice = &server.chat(&stop.to_string()).json()["choices"][0];
    assert_eq!(
        (&choice["message"]["content"], &choice["finish_reason"]),
        (&json!("ab"), &json!("stop"))
    );
}

/// Outside the twenty most likely, the hosted API says -9999; a word that a grammar chose is there most times.
#[test]
fn unlikely_tokens() {
    let server = Running::start(|_| ());
    let body = with(
        word(),
        &json!({"logprobs": true, "top_logprobs": 20,
        "response_format": {"type": "regex", "regex": "\u{1F40B}qxzj{5}"}}),
    );
    let reply = server.chat(&body.to_string()).json();
    let tokens = reply["choices"][0]["logprobs"]["content"].as_array().unwrap();
    let unlikely = |token: &&Value| {
        let likely = token["top_logprobs"].as_array().unwrap();
        !likely.iter().any(|likely| likely["bytes"] == token["bytes"])
    };
    assert!(tokens.iter().any(|token| unlikely(&token)), "{reply}");
    for token in tokens {
        let told = token["logprob"].as_f64().unwrap();
        assert_eq!(told == -9999.0, unlikely(&token), "{token}");
    }
}
