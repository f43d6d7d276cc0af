//! A conversation's next turn finds everything in the cache but what is new.

use serde_json::{Value, json};

use crate::client::Running;

fn weather() -> Value {
    json!([{"type": "function", "function": {"name": "get_weather", "description": "Weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}])
}

fn usage(reply: &Value, field: &str) -> u64 {
    reply["usage"][field]
        .as_u64()
        .unwrap_or_else(|| panic!("{reply}"))
}

/// Everything that was computed for `first`, which ended with a token that no later one was computed from.
fn known(first: &Value) -> u64 {
    usage(first, "prompt_tokens") + usage(first, "completion_tokens") - 1
}

#[test]
fn a_tool_loop() {
    let server = Running::start(|_| ());
    let mut body = json!({"model": "m", "seed": 3, "max_tokens": 300, "tools": weather(), "tool_choice": "required",
        "thinking": {"type": "disabled"}, "messages": [{"role": "user", "content": "What is the weather in Paris?"}]});
    let first = server.chat(&body.to_string()).json();
    let message = &first["choices"][0]["message"];
    let calls = message["tool_calls"].as_array().unwrap();
    assert_eq!(first["choices"][0]["finish_reason"], "tool_calls", "{first}");
    // As clients do: other ids, other spacing, null content.
    let mut results = Vec::new();
    let mut sent = Vec::new();
    for (index, call) in calls.iter().enumerate() {
        let arguments: Value = serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap();
        let id = format!("call{index}");
        sent.push(json!({"id": id, "type": "function", "index": index,
            "function": {"name": call["function"]["name"], "arguments": arguments.to_string()}}));
        results.push(json!({"role": "tool", "tool_call_id": id, "content": "rain"}));
    }
    let messages = body["messages"].as_array_mut().unwrap();
    messages.push(json!({"role": "assistant", "content": null, "tool_calls": sent}));
    messages.extend(results);
    body["tool_choice"] = json!("auto");
    let second = server.chat(&body.to_string()).json();
    assert!(
        usage(&second, "prompt_cache_hit_tokens") >= known(&first),
        "{first} {second}"
    );
}

#[test]
fn a_chat() {
    let server = Running::start(|_| ());
    let mut body = json!({"model": "m", "seed": 3, "max_tokens": 40, "thinking": {"type": "disabled"},
        "messages": [{"role": "user", "content": "What is 12 plus 30?"}]});
    let first = server.chat(&body.to_string()).json();
    let content = first["choices"][0]["message"]["content"].as_str().unwrap();
    let messages = body["messages"].as_array_mut().unwrap();
    messages.push(json!({"role": "assistant", "content": content.trim_end()}));
    messages.push(json!({"role": "user", "content": "And 5 more?"}));
    let second = server.chat(&body.to_string()).json();
    assert!(
        usage(&second, "prompt_cache_hit_tokens") >= known(&first),
        "{first} {second}"
    );
}

#[test]
fn reasoning_comes_back_with_tools() {
    let server = Running::start(|_| ());
    let mut body = json!({"model": "m", "seed": 3, "max_tokens": 600, "tools": weather(),
        "messages": [{"role": "user", "content": "What is 12 plus 30?"}]});
    let first = server.chat(&body.to_string()).json();
    let message = &first["choices"][0]["message"];
    assert_eq!(first["choices"][0]["finish_reason"], "stop", "{first}");
    let messages = body["messages"].as_array_mut().unwrap();
    messages.push(json!({"role": "assistant", "content": message["content"],
        "reasoning_content": message["reasoning_content"].as_str().unwrap().trim_end()}));
    messages.push(json!({"role": "user", "content": "And 5 more?"}));
    let second = server.chat(&body.to_string()).json();
    assert!(
        usage(&second, "prompt_cache_hit_tokens") >= known(&first),
        "{first} {second}"
    );
}
