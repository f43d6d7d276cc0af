//! Text to tokens and back.

use serde_json::{Value, json};

use crate::client::Running;

#[test]
fn a_text_to_tokens_and_back() {
    let server = Running::start(|_| ());
    let text = "Hello <｜User｜> \u{1F40B} 你好";
    for root in ["", "/v1"] {
        let body = json!({"model": "m", "text": text}).to_string();
        let reply = server.post(&format!("{root}/tokenize"), &body).json();
        let ids = reply["ids"].as_array().unwrap();
        assert_eq!(reply["tokens"], ids.len());
        let back = json!({"model": "m", "ids": ids}).to_string();
        assert_eq!(
            server.post(&format!("{root}/detokenize"), &back).json(),
            json!({"text": text})
        );
    }
}

#[test]
fn a_conversation_has_the_tokens_that_its_usage_says() {
    let server = Running::start(|_| ());
    let mut body = json!({"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "What is 12 plus 30?"}],
        "tools": [{"type": "function", "function": {"name": "f"}}]});
    for thinking in ["enabled", "disabled"] {
        body["thinking"] = json!({"type": thinking});
        let counted = server.post("/tokenize", &body.to_string()).json();
        let used = server.chat(&body.to_string()).json();
        assert_eq!(counted["tokens"], used["usage"]["prompt_tokens"]);
        body["ids"] = json!(false);
        let counted_only = server.post("/tokenize", &body.to_string()).json();
        assert_eq!(counted_only, json!({"tokens": counted["tokens"]}));
        body.as_object_mut().unwrap().remove("ids");
    }
}

#[test]
fn what_cannot_be_counted_is_told() {
    let server = Running::start(|_| ());
    for (path, body, message) in [
        (
            "/tokenize",
            json!({"model": "m"}),
            "Expected either 'text' or 'messages'; send the one whose tokens you want.",
        ),
        (
            "/tokenize",
            json!({"model": "x", "text": ""}),
            "The supported API model names are m, but you passed x.",
        ),
        (
            "/tokenize",
            json!({"model": "m", "messages": []}),
            "Empty input messages",
        ),
        (
            "/detokenize",
            json!({"model": "m", "ids": [0, 4_000_000]}),
            "Invalid 'ids[1]': this model has tokens 0 to LAST, but got 4000000.",
        ),
    ] {
        let reply = server.post(path, &body.to_string());
        assert_eq!(reply.status, 400);
        let Value::String(found) = &reply.json()["error"]["message"] else {
            panic!("{}", reply.body)
        };
        let (before, after) = message.split_once("LAST").unwrap_or((message, ""));
        assert!(found.starts_with(before) && found.ends_with(after), "{found}");
    }
}
