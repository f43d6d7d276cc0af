//! A thousand bad bodies for each wire: each is told so, and none brings anything down.

use serde_json::{Value, json};

use crate::client::Running;

/// A sequence of numbers from a seed (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }
}

/// Every place in `value`, but for the lengths, without which an answer takes long.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    if at.ends_with("_tokens") {
        return;
    }
    found.push(at.to_owned());
    match value {
        Value::Object(fields) => fields
            .iter()
            .for_each(|(name, value)| places(value, &format!("{at}/{name}"), found)),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .for_each(|(index, value)| places(value, &format!("{at}/{index}"), found)),
        _ => {}
    }
}

/// `good` with something wrong with it, most likely.
fn mutated(good: &Value, numbers: &mut Numbers) -> Vec<u8> {
    let mut body = good.clone();
    let mut all = Vec::new();
    places(&body, "", &mut all);
    for _ in 0..=numbers.below(3) {
        let odd = [
            json!(null),
            json!(true),
            json!(-1),
            json!(1e300),
            json!(u64::MAX),
            json!(""),
            json!("\u{0}\u{ffff}"),
            json!([]),
            json!({}),
            json!([[[]]]),
            json!({"type": "x"}),
            json!([null]),
        ];
        let place = &all[numbers.below(all.len())];
        let Some(value) = body.pointer_mut(place) else {
            continue;
        };
        *value = odd[numbers.below(odd.len())].clone();
    }
    let mut bytes = body.to_string().into_bytes();
    match numbers.below(4) {
        0 => bytes.truncate(numbers.below(bytes.len())),
        1 => {
            let at = numbers.below(bytes.len());
            bytes[at] = numbers.below(256) as u8;
        }
        _ => {}
    }
    bytes
}

/// Sends bad bodies until a thousand were refused.
fn check(path: &str, good: &Value) {
    let server = Running::start(|_| ());
    let mut numbers = Numbers(1);
    let (mut refused, mut sent) = (0, 0);
    while refused < 1000 {
        sent += 1;
        assert!(sent < 5000, "only {refused} of {sent} bodies were bad");
        let body = mutated(good, &mut numbers);
        let reply = server.post_bytes(path, &body);
        if reply.status == 200 {
            continue;
        }
        refused += 1;
        let shown = || {
            format!(
                "{} {:?} for {}",
                reply.status,
                reply.body,
                String::from_utf8_lossy(&body)
            )
        };
        assert!((400..500).contains(&reply.status), "{}", shown());
        let message = match reply.content_type.as_str() {
            "application/json" => reply.json()["error"]["message"].as_str().unwrap().to_owned(),
            _ => reply.body.clone(),
        };
        assert!(message.len() > 10, "{}", shown());
    }
    assert_eq!(server.get("/health").status, 200);
}

#[test]
fn bad_messages() {
    let good = json!({
        "model": "m", "max_tokens": 1, "temperature": 0.5, "top_p": 0.9, "stop_sequences": ["x"], "stream": false,
        "system": [{"type": "text", "text": "Be short."}], "thinking": {"type": "adaptive"}, "output_config": {"effort": "low"},
        "metadata": {"user_id": "u"}, "tool_choice": {"type": "auto"},
        "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object", "properties": {"a": {"type": "string"}}}}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "hello"}]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "t", "signature": "s"}, {"type": "tool_use", "id": "a", "name": "f", "input": {"a": "b"}},
            ]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": "r"}]}]},
            {"role": "system", "content": "s"},
        ],
    });
    check("/anthropic/v1/messages", &good);
}

#[test]
fn bad_responses() {
    let good = json!({
        "model": "m", "max_output_tokens": 1, "temperature": 0.5, "top_p": 0.9, "stream": false, "instructions": "i",
        "reasoning": {"effort": "low", "summary": "auto"}, "text": {"format": {"type": "text"}, "verbosity": "low"}, "user": "u",
        "tool_choice": "auto", "top_logprobs": 2,
        "tools": [
            {"type": "function", "name": "f", "description": "d", "strict": false, "parameters": {"type": "object", "properties": {"a": {"type": "string"}}}},
            {"type": "custom", "name": "apply_patch", "format": {"type": "grammar", "syntax": "lark", "definition": "start: \"a\""}},
            {"type": "namespace", "name": "n", "tools": [{"type": "function", "name": "g", "parameters": {"type": "object"}}]},
        ],
        "input": [
            {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "d"}]},
            {"type": "message", "role": "user", "content": "hello"},
            {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "t"}]},
            {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "a", "output": [{"type": "input_text", "text": "r"}]},
        ],
    });
    check("/v1/responses", &good);
}

#[test]
fn bad_chats() {
    let good = json!({
        "model": "m", "max_tokens": 1, "temperature": 0.5, "top_p": 0.9, "stop": ["x"], "stream": false, "seed": 3,
        "thinking": {"type": "disabled"}, "reasoning_effort": "low", "logprobs": true, "top_logprobs": 2, "user_id": "u",
        "frequency_penalty": 0.5, "stream_options": {"include_usage": true}, "parallel_tool_calls": false,
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "strict": true, "schema": {"type": "object",
            "properties": {"a": {"type": "string", "pattern": "a+"}}, "required": ["a"]}}},
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "tools": [{"type": "function", "function": {"name": "f", "description": "d", "strict": true,
            "parameters": {"type": "object", "properties": {"a": {"anyOf": [{"type": "string"}, {"type": "null"}]}}}}}],
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": "s"}]},
            {"role": "user", "content": "hello", "name": "n"},
            {"role": "assistant", "content": null, "reasoning_content": "t", "tool_calls": [
                {"id": "a", "type": "function", "index": 0, "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "r"}]},
        ],
    });
    check("/v1/chat/completions", &good);
}

#[test]
fn bad_completions() {
    let texts = json!({
        "model": "m", "prompt": ["a", "b"], "max_tokens": 1, "temperature": 0.5, "top_p": 0.9, "seed": 3, "stop": ["x"],
        "logprobs": 2, "echo": true, "stream": false, "user": "u",
    });
    check("/v1/completions", &texts);
    let hole =
        json!({"model": "m", "prompt": "a", "suffix": "b", "max_tokens": 1, "user_id": "u", "stop": "x"});
    check("/beta/completions", &hole);
    let tokens = json!({"model": "m", "prompt": [[1, 2], [3]], "max_tokens": 1, "logprobs": 0});
    check("/completions", &tokens);
}

#[test]
fn bad_texts_and_tokens() {
    check(
        "/tokenize",
        &json!({"model": "m", "messages": [{"role": "user", "content": "a"}], "ids": true}),
    );
    check("/v1/tokenize", &json!({"model": "m", "text": "a", "ids": false}));
    check("/detokenize", &json!({"model": "m", "ids": [1, 2, 3]}));
}
