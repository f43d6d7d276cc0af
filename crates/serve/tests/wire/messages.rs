//! The Messages wire.

use fathom_serve::{Alias, ServedModel, Tier};
use serde_json::{Value, json};

use crate::client::{Reply, Running};
use crate::shape;

const PATH: &str = "POST /anthropic/v1/messages?beta=true";

fn ask(server: &Running, body: &Value) -> Reply {
    Reply::read(server.send(PATH, &body.to_string()))
}

/// A sum, greedily.
fn sum() -> Value {
    json!({
        "model": "m", "max_tokens": 100, "temperature": 0,
        "messages": [{"role": "user", "content": "What is 17 + 25?"}],
    })
}

/// A question for a tool, greedily and without thinking.
fn weather() -> Value {
    json!({
        "model": "m", "max_tokens": 100, "temperature": 0, "thinking": {"type": "disabled"},
        "tools": [{
            "name": "get_weather", "description": "Get the weather of a place",
            "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        }],
        "messages": [{"role": "user", "content": "What is the weather of Oslo?"}],
    })
}

/// `body` with some fields set.
fn with(mut body: Value, fields: Value) -> Value {
    let Value::Object(fields) = fields else {
        unreachable!()
    };
    body.as_object_mut().unwrap().extend(fields);
    body
}

fn off() -> Value {
    json!({"thinking": {"type": "disabled"}})
}

#[test]
fn replies_have_their_shapes() {
    let server = Running::start(|_| ());
    let cases = [
        ("thinking", sum()),
        ("plain", with(sum(), off())),
        ("length", with(sum(), json!({"max_tokens": 5}))),
        ("stop", with(with(sum(), off()), json!({"stop_sequences": ["="]}))),
        ("tool", weather()),
    ];
    for (name, body) in cases {
        insta::assert_snapshot!(format!("messages_{name}"), shape::whole(&ask(&server, &body)));
        let streamed = with(body, json!({"stream": true}));
        insta::assert_snapshot!(
            format!("messages_{name}_stream"),
            shape::stream(&ask(&server, &streamed))
        );
    }
}

#[test]
fn a_stream_says_what_the_whole_reply_says() {
    let server = Running::start(|_| ());
    for body in [sum(), weather()] {
        let whole = ask(&server, &body).json();
        let mut text = String::new();
        let mut last = Value::Null;
        for event in shape::events(&ask(&server, &with(body, json!({"stream": true})))) {
            assert_eq!(event.data["type"], event.name.as_str());
            for field in ["thinking", "text", "partial_json"] {
                text.push_str(event.data["delta"][field].as_str().unwrap_or_default());
            }
            if event.name == "message_delta" {
                last = event.data;
            }
        }
        let blocks = whole["content"].as_array().unwrap().iter();
        let expected = blocks.map(|block| match &block["input"] {
            Value::Null => [&block["thinking"], &block["text"]]
                .iter()
                .filter_map(|text| text.as_str())
                .collect(),
            // The model's own spacing.
            input => input.to_string().replace("\":", "\": "),
        });
        assert_eq!(text, expected.collect::<String>());
        assert_eq!(last["delta"]["stop_reason"], whole["stop_reason"]);
        assert_eq!(last["usage"]["output_tokens"], whole["usage"]["output_tokens"]);
    }
}

#[test]
fn a_tools_result_is_answered_and_the_turns_before_it_are_cached() {
    let server = Running::start(|_| ());
    let thinking = with(
        weather(),
        json!({"thinking": {"type": "adaptive", "display": "omitted"}}),
    );
    for mut body in [weather(), thinking] {
        let call = ask(&server, &body).json();
        let content = call["content"].as_array().unwrap();
        let used = content.last().unwrap();
        assert_eq!(
            (&used["type"], &used["name"]),
            (&json!("tool_use"), &json!("get_weather"))
        );
        assert!(used["id"].as_str().unwrap().starts_with("call_00_"));
        let prompt = &call["usage"];
        let known =
            prompt["input_tokens"].as_u64().unwrap() + prompt["cache_read_input_tokens"].as_u64().unwrap();
        let generated = prompt["output_tokens"].as_u64().unwrap();
        let result = json!([{
            "type": "tool_result", "tool_use_id": used["id"], "is_error": false,
            "content": [{"type": "text", "text": r#"{"weather": "sunny"}"#, "cache_control": {"type": "ephemeral"}}],
        }]);
        let messages = body["messages"].as_array_mut().unwrap();
        messages.push(json!({"role": "assistant", "content": content}));
        messages.push(json!({"role": "user", "content": result}));
        let answer = ask(&server, &body).json();
        assert_eq!(answer["stop_reason"], "end_turn", "{answer}");
        let text = answer["content"].as_array().unwrap().last().unwrap()["text"]
            .as_str()
            .unwrap();
        assert!(text.contains("sunny"), "{text}");
        // The prompt and the call as it was sampled, up to the token that ended it.
        let cached = answer["usage"]["cache_read_input_tokens"].as_u64().unwrap();
        assert_eq!(cached, known + generated - 1);
    }
}

#[test]
fn what_agents_send_is_taken() {
    let server = Running::start(|_| ());
    let body = json!({
        "model": "claude-opus-4-8[1m]", "max_tokens": 20, "temperature": 0,
        "thinking": {"type": "adaptive"},
        "output_config": {"effort": "max"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "system": [{"type": "text", "text": "Be short.", "cache_control": {"type": "ephemeral"}}],
        "tools": [
            {"name": "ToolSearch", "input_schema": {"type": "object", "properties": {}}},
            {"type": "custom", "name": "Bash", "input_schema": {"type": "object", "properties": {}}, "cache_control": {"type": "ephemeral"}},
            {"name": "WebFetch", "input_schema": {"type": "object", "properties": {}}, "defer_loading": true},
            {"type": "web_search_20250305", "name": "web_search", "max_uses": 8},
        ],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": true},
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "hello", "citations": null}]},
            {"role": "system", "content": "The date is known."},
            {"role": "assistant", "content": [
                {"type": "redacted_thinking", "data": "x"},
                {"type": "thinking", "thinking": "Search.", "signature": "s"},
                {"type": "tool_use", "id": "call00ab", "name": "ToolSearch", "input": {}},
            ]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call00ab", "content": [{"type": "tool_reference", "tool_name": "WebFetch"}]}]},
            {"role": "system", "content": [{"type": "text", "text": "Go on."}]},
        ],
        "dsh_session_log": {"anything": []},
    });
    for path in [PATH, "POST /anthropic/messages", "POST /v1/messages"] {
        let reply = Reply::read(server.send(path, &body.to_string()));
        assert_eq!(reply.status, 200, "{}", reply.body);
        assert_eq!(reply.json()["model"], "claude-opus-4-8[1m]");
    }
}

#[test]
fn tokens_are_counted_exactly() {
    let server = Running::start(|_| ());
    let count = |body: &Value| {
        let path = "POST /anthropic/v1/messages/count_tokens?beta=true";
        Reply::read(server.send(path, &body.to_string())).json()["input_tokens"]
            .as_u64()
            .unwrap()
    };
    for body in [
        sum(),
        weather(),
        with(weather(), json!({"tool_choice": {"type": "none"}})),
    ] {
        let usage = ask(&server, &body).json()["usage"].clone();
        let prompt =
            usage["input_tokens"].as_u64().unwrap() + usage["cache_read_input_tokens"].as_u64().unwrap();
        assert_eq!(count(&body), prompt);
    }
    let mut deferred = weather();
    let mut tool = deferred["tools"][0].clone();
    tool["name"] = "other".into();
    tool["defer_loading"] = true.into();
    deferred["tools"].as_array_mut().unwrap().push(tool);
    assert_eq!(count(&deferred), count(&weather()));
}

#[test]
fn a_last_message_of_the_assistants_is_continued() {
    let server = Running::start(|_| ());
    let mut body = with(sum(), off());
    let begun = json!({"role": "assistant", "content": "Ones: 7 + 5 = 12, write 2, carry 1."});
    body["messages"].as_array_mut().unwrap().push(begun);
    let reply = ask(&server, &body).json();
    let text = reply["content"][0]["text"].as_str().unwrap();
    assert!(text.starts_with(" Tens:"), "{text}");
}

#[test]
fn sessions_of_one_device_share_what_is_cached_and_others_do_not() {
    let server = Running::start(|_| ());
    let hits = |user: &str| {
        let body = with(sum(), json!({"max_tokens": 1, "metadata": {"user_id": user}}));
        ask(&server, &body).json()["usage"]["cache_read_input_tokens"]
            .as_u64()
            .unwrap()
    };
    assert_eq!(hits(r#"{"device_id":"a","session_id":"1"}"#), 0);
    assert!(hits(r#"{"device_id":"a","session_id":"2"}"#) > 0);
    assert_eq!(hits(r#"{"device_id":"b","session_id":"1"}"#), 0);
}

#[test]
fn a_chosen_tool_is_called_thinking_or_not() {
    let server = Running::start(|_| ());
    let other = json!({"name": "other", "strict": true, "input_schema": {"type": "object", "properties": {"n": {"type": "integer", "enum": [7]}}, "required": ["n"]}});
    for thinking in ["disabled", "enabled"] {
        let mut body = with(
            weather(),
            json!({"thinking": {"type": thinking}, "max_tokens": 2000}),
        );
        body["tools"].as_array_mut().unwrap().push(other.clone());
        body["messages"][0]["content"] = "hello".into();
        body["tool_choice"] = json!({"type": "tool", "name": "other", "disable_parallel_tool_use": true});
        let reply = ask(&server, &body).json();
        let call = reply["content"].as_array().unwrap().last().unwrap();
        assert_eq!(
            (&call["name"], &call["input"]),
            (&json!("other"), &json!({"n": 7})),
            "{reply}"
        );
        body["tool_choice"] = json!({"type": "any"});
        assert_eq!(ask(&server, &body).json()["stop_reason"], "tool_use");
    }
}

#[test]
fn answers_follow_a_schema() {
    let server = Running::start(|_| ());
    let schema = json!({"type": "object", "properties": {"sum": {"type": "integer", "enum": [41, 42]}}, "required": ["sum"]});
    let format = json!({"type": "json_schema", "schema": schema});
    for place in [
        json!({"output_config": {"format": format}}),
        json!({"output_format": format}),
    ] {
        let reply = ask(&server, &with(with(sum(), json!({"max_tokens": 2000})), place)).json();
        let text = reply["content"].as_array().unwrap().last().unwrap()["text"]
            .as_str()
            .unwrap();
        let answer: Value = serde_json::from_str(text).unwrap();
        assert!([41, 42].contains(&answer["sum"].as_i64().unwrap()), "{text}");
    }
}

#[test]
fn a_bad_request_is_told_what_is_wrong_with_it() {
    let server = Running::start(|_| ());
    let long = "x".repeat(513);
    let tool_use =
        json!({"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {}}]});
    for (fields, expected) in [
        (
            json!({"model": "gpt"}),
            "The supported API model names are m, but you passed gpt.",
        ),
        (
            json!({"messages": []}),
            "messages: at least one message is required",
        ),
        (
            json!({"temperature": 3}),
            "Invalid temperature value, the valid range of temperature is [0, 2]",
        ),
        (
            json!({"max_tokens": 0}),
            "Invalid max_tokens value, the valid range of max_tokens is [1, 393216]",
        ),
        (
            json!({"metadata": {"user_id": long}}),
            "Invalid 'metadata.user_id': string too long. Expected a string with maximum length 512, but got a string with length \
             513 instead",
        ),
        (
            json!({"tool_choice": {"type": "tool", "name": "g"}, "tools": [{"name": "f", "input_schema": {"type": "object"}}]}),
            "Invalid value for 'tool_call': no function named 'g' was specified in the 'tools' parameter.",
        ),
        (
            json!({"tools": [{"type": "computer_20250124", "name": "computer"}]}),
            "tools[0]: server tools are not supported",
        ),
        (
            json!({"messages": [tool_use, {"role": "user", "content": "well?"}]}),
            "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: a. Each `tool_use` block must \
             have a corresponding `tool_result` block in the next message.",
        ),
    ] {
        let reply = ask(&server, &with(sum(), fields));
        assert_eq!(
            (reply.status, reply.json()),
            (
                400,
                json!({"type": "error", "error": {
                    "message": expected, "type": "invalid_request_error", "param": null, "code": "invalid_request_error",
                }})
            )
        );
    }
}

#[test]
fn strict_refuses_what_the_hosted_api_refuses() {
    let server = Running::start(|options| options.strict = true);
    let forced = with(
        weather(),
        json!({"tool_choice": {"type": "any"}, "thinking": {"type": "enabled"}}),
    );
    let reply = ask(&server, &forced);
    assert_eq!(
        (reply.status, reply.body.as_str()),
        (
            400,
            r#"{"error":{"message":"Thinking mode does not support this tool_choice","type":"invalid_request_error","param":null,"code":"invalid_request_error"}}"#
        )
    );
    let hidden =
        json!({"messages": [{"role": "assistant", "content": [{"type": "redacted_thinking", "data": "x"}]}]});
    assert_eq!(ask(&server, &with(sum(), hidden)).status, 400);
}

#[test]
fn models_are_listed_in_the_clients_shape() {
    let server = Running::start(|_| ());
    let list = server.get("/anthropic/v1/models").json();
    assert_eq!(
        (&list["data"][0]["id"], &list["has_more"]),
        (&json!("m"), &json!(false))
    );
    assert_eq!(server.get("/anthropic/v1/models/claude-haiku").json()["id"], "m");
    assert_eq!(server.get("/anthropic/v1/models/x").status, 404);
    let headers = [("anthropic-version", "2026-10-21")];
    let shaped = Reply::read(server.send_with("GET /v1/models", &headers, "")).json();
    assert_eq!(shaped, list);
    for base in ["/anthropic", "/anthropic/v1", "/v1", "/beta"] {
        let head = Reply::read(server.send(&format!("HEAD {base}"), ""));
        assert_eq!((head.status, head.body.as_str()), (200, ""));
    }
}

#[test]
fn claude_names_go_by_tier() {
    let server = Running::start(|options| {
        options.strict = true;
        let engine = options.models[0].engine.clone();
        options.models.push(ServedModel {
            tier: Tier::Pro,
            ..ServedModel::new(engine, "expert")
        });
    });
    for (name, answers) in [
        ("claude-opus-4-8", "expert"),
        ("claude-sonnet-4-5[1m]", "m"),
        ("claude-haiku", "m"),
        ("expert[1m]", "expert"),
    ] {
        let reply = ask(&server, &with(sum(), json!({"model": name, "max_tokens": 1}))).json();
        assert_eq!(reply["model"], answers, "{name}");
    }
}

#[test]
fn a_reply_shows_the_name_that_the_model_was_asked_by() {
    let server = Running::start(|options| options.models[0].aliases.push(Alias::new("deepseek-v4-pro")));
    for name in ["m", "deepseek-v4-pro", "claude-opus"] {
        let body = with(sum(), json!({"model": name, "max_tokens": 1}));
        assert_eq!(ask(&server, &body).json()["model"], name);
        let events = shape::events(&ask(&server, &with(body, json!({"stream": true}))));
        assert_eq!(events[0].data["message"]["model"], name);
    }
}
