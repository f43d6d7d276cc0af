//! The Responses wire.

use serde_json::{Value, json};

use crate::client::{Reply, Running};
use crate::shape;

fn ask(server: &Running, body: &Value) -> Reply {
    Reply::read(server.send("POST /v1/responses", &body.to_string()))
}

/// A sum, greedily.
fn sum() -> Value {
    json!({"model": "m", "max_output_tokens": 100, "temperature": 0, "input": "What is 17 + 25?"})
}

/// A question for a tool, greedily and without thinking.
fn weather() -> Value {
    json!({
        "model": "m", "max_output_tokens": 100, "temperature": 0, "reasoning": {"effort": "none"},
        "tools": [{
            "type": "function", "name": "get_weather", "description": "Get the weather of a place", "strict": false,
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        }],
        "input": [{"role": "user", "content": "What is the weather of Oslo?"}],
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

#[test]
fn replies_have_their_shapes() {
    let server = Running::start(|_| ());
    let cases = [
        ("thinking", sum()),
        ("plain", with(sum(), json!({"reasoning": {"effort": "none"}}))),
        ("length", with(sum(), json!({"max_output_tokens": 5}))),
        ("tool", weather()),
    ];
    for (name, body) in cases {
        insta::assert_snapshot!(format!("responses_{name}"), shape::whole(&ask(&server, &body)));
        let streamed = with(body, json!({"stream": true}));
        insta::assert_snapshot!(
            format!("responses_{name}_stream"),
            shape::stream(&ask(&server, &streamed))
        );
    }
}

#[test]
fn events_are_numbered_and_end_with_the_whole_reply() {
    let server = Running::start(|_| ());
    for body in [sum(), weather()] {
        let whole = ask(&server, &body).json();
        let events = shape::events(&ask(&server, &with(body, json!({"stream": true}))));
        for (number, event) in events.iter().enumerate() {
            assert_eq!(
                (&event.data["type"], &event.data["sequence_number"]),
                (&json!(event.name), &json!(number))
            );
        }
        let last = events.last().unwrap();
        assert_eq!(last.name, "response.completed");
        for (item, streamed) in whole["output"]
            .as_array()
            .unwrap()
            .iter()
            .zip(last.data["response"]["output"].as_array().unwrap())
        {
            for field in ["type", "content", "name", "arguments", "status"] {
                assert_eq!(item[field], streamed[field]);
            }
        }
        assert_eq!(
            last.data["response"]["usage"]["output_tokens"],
            whole["usage"]["output_tokens"]
        );
    }
}

#[test]
fn a_tools_result_is_answered_and_the_turns_before_it_are_cached() {
    let server = Running::start(|_| ());
    for effort in ["none", "high"] {
        let mut body = with(
            weather(),
            json!({"reasoning": {"effort": effort, "summary": "auto"}, "store": false}),
        );
        let called = ask(&server, &body).json();
        let output = called["output"].as_array().unwrap();
        let call = output.last().unwrap();
        assert_eq!(
            (&call["type"], &call["name"]),
            (&json!("function_call"), &json!("get_weather"))
        );
        let usage = &called["usage"];
        let total = usage["total_tokens"].as_u64().unwrap();
        let input = body["input"].as_array_mut().unwrap();
        input.extend(output.iter().cloned());
        input.push(json!({"type": "function_call_output", "call_id": call["call_id"], "output": r#"{"weather": "sunny"}"#}));
        let answer = ask(&server, &body).json();
        assert_eq!(answer["status"], "completed");
        let text = answer["output"].as_array().unwrap().last().unwrap()["content"][0]["text"]
            .as_str()
            .unwrap();
        assert!(text.contains("sunny"), "{text}");
        assert_eq!(
            answer["usage"]["input_tokens_details"]["cached_tokens"],
            total - 1
        );
    }
}

#[test]
fn what_codex_sends_is_taken() {
    let server = Running::start(|_| ());
    let body = json!({
        "model": "m", "max_output_tokens": 20, "temperature": 0, "instructions": "Be short.",
        "input": [
            {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "You are an agent."}]},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]},
            {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "Patch."}], "encrypted_content": null},
            {"type": "custom_tool_call", "call_id": "call00ab", "name": "apply_patch", "input": "*** Begin Patch\n*** End Patch"},
            {"type": "custom_tool_call_output", "call_id": "call00ab", "output": "done"},
            {"type": "compaction_of_the_future", "anything": 1},
            {"type": "message", "role": "developer", "content": "Go on."},
        ],
        "tools": [
            {"type": "function", "name": "exec_command", "strict": false, "parameters": {"type": "object", "properties": {}}},
            {"type": "function", "name": "exact", "strict": true, "parameters": {"type": "object", "properties": {}, "additionalProperties": false}},
            {"type": "custom", "name": "apply_patch", "description": "Edits.", "format": {"type": "grammar", "syntax": "lark", "definition": "start: /(.|\\n)+/"}},
            {"type": "custom", "name": "note", "description": "Notes."},
            {"type": "namespace", "name": "agents", "description": "Others.", "tools": [{"type": "function", "name": "spawn", "parameters": {"type": "object", "properties": {}}}]},
            {"type": "tool_search", "execution": "client"},
            {"type": "web_search", "external_web_access": true},
            {"type": "tool_of_the_future"},
        ],
        "tool_choice": "auto", "parallel_tool_calls": false, "reasoning": {"effort": "ultra", "summary": "auto"}, "store": false,
        "include": ["reasoning.encrypted_content"], "prompt_cache_key": "k", "client_metadata": {"a": "b"}, "previous_response_id": "resp_1",
        "text": {"verbosity": "low"}, "service_tier": "priority",
    });
    for path in ["POST /v1/responses", "POST /responses"] {
        let reply = Reply::read(server.send(path, &body.to_string()));
        assert_eq!(reply.status, 200, "{}", reply.body);
        let reply = reply.json();
        let kinds = reply["tools"]
            .as_array()
            .unwrap()
            .iter()
            .map(|tool| tool["type"].as_str().unwrap());
        assert_eq!(
            kinds.collect::<Vec<_>>(),
            [
                "function",
                "function",
                "custom",
                "custom",
                "namespace",
                "tool_search",
                "web_search"
            ]
        );
        assert_eq!(
            (&reply["previous_response_id"], &reply["store"]),
            (&Value::Null, &json!(false))
        );
    }
}

#[test]
fn a_chosen_tool_is_called_thinking_or_not() {
    let server = Running::start(|_| ());
    let other = json!({"type": "function", "name": "other", "strict": true, "parameters": {"type": "object", "properties": {"n": {"type": "integer", "enum": [7]}}, "required": ["n"]}});
    for effort in ["none", "high"] {
        let mut body = with(
            weather(),
            json!({"reasoning": {"effort": effort}, "max_output_tokens": 2000, "parallel_tool_calls": false}),
        );
        body["tools"].as_array_mut().unwrap().push(other.clone());
        body["input"] = json!("hello");
        for choice in [
            json!({"type": "function", "name": "other"}),
            json!({"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "other"}]}),
        ] {
            body["tool_choice"] = choice;
            let reply = ask(&server, &body).json();
            let call = reply["output"].as_array().unwrap().last().unwrap();
            assert_eq!(
                (&call["name"], &call["arguments"]),
                (&json!("other"), &json!(r#"{"n": 7}"#)),
                "{reply}"
            );
            assert_eq!(reply["tools"][1]["strict"], true);
        }
        body["tool_choice"] = json!("required");
        let reply = ask(&server, &body).json();
        assert_eq!(
            reply["output"].as_array().unwrap().last().unwrap()["type"],
            "function_call"
        );
    }
}

#[test]
fn a_custom_tools_input_follows_its_grammar() {
    let server = Running::start(|_| ());
    let patch = "*** Begin Patch\n*** Add File: a\"b.txt\n+\tx <y>\n*** End Patch\n";
    let grammar = |definition: &str| json!({"type": "grammar", "syntax": "lark", "definition": definition});
    let tool = json!({"type": "custom", "name": "apply_patch", "format": grammar(&format!("start: {}", json!(patch)))});
    let choice = json!({"type": "custom", "name": "apply_patch"});
    let body = with(
        sum(),
        json!({"max_output_tokens": 2000, "reasoning": {"effort": "none"}, "tools": [tool], "tool_choice": choice, "parallel_tool_calls": false}),
    );
    let reply = ask(&server, &body).json();
    let call = reply["output"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (&call["type"], &call["input"]),
        (&json!("custom_tool_call"), &json!(patch)),
        "{reply}"
    );
    let mut joined = String::new();
    for event in shape::events(&ask(&server, &with(body.clone(), json!({"stream": true})))) {
        if event.name == "response.custom_tool_call_input.delta" {
            joined.push_str(event.data["delta"].as_str().unwrap());
        }
    }
    assert_eq!(joined, patch);
    insta::assert_snapshot!(
        "responses_custom_stream",
        shape::stream(&ask(&server, &with(body.clone(), json!({"stream": true}))))
    );

    let bad = json!({"type": "custom", "name": "apply_patch", "format": grammar("start: nothing")});
    let reply = ask(&server, &with(body, json!({"tools": [bad]})));
    assert_eq!(reply.status, 400, "{}", reply.body);
}

#[test]
fn answers_follow_a_schema() {
    let server = Running::start(|_| ());
    let schema = json!({"type": "object", "properties": {"sum": {"type": "integer", "enum": [41, 42]}}, "required": ["sum"]});
    let format = json!({"format": {"type": "json_schema", "name": "sum", "schema": schema, "strict": true}});
    for effort in ["none", "high"] {
        let body = with(
            sum(),
            json!({"reasoning": {"effort": effort}, "max_output_tokens": 2000, "text": format}),
        );
        let reply = ask(&server, &body).json();
        let text = reply["output"].as_array().unwrap().last().unwrap()["content"][0]["text"]
            .as_str()
            .unwrap();
        let answer: Value = serde_json::from_str(text).unwrap();
        assert!([41, 42].contains(&answer["sum"].as_i64().unwrap()), "{text}");
        assert_eq!(reply["text"]["format"]["type"], "json_schema");
    }
}

#[test]
fn a_bad_request_is_told_what_is_wrong_with_it() {
    let server = Running::start(|_| ());
    let call = json!({"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"});
    for (fields, expected) in [
        (
            json!({"model": "gpt"}),
            "The supported API model names are m, but you passed gpt.",
        ),
        (json!({"input": []}), "Input items array must not be empty"),
        (
            json!({"input": null}),
            "Either input or instructions must be provided",
        ),
        (
            json!({"top_logprobs": 21}),
            "Invalid top_logprobs value, the valid range of top_logprobs is [0, 20].",
        ),
        (
            json!({"input": [call, {"role": "assistant", "content": "x"}]}),
            "No tool output found for tool call a.",
        ),
        (
            json!({"input": [{"type": "function_call_output", "call_id": "a", "output": "x"}]}),
            "No tool call found for tool output with call_id a.",
        ),
        (
            json!({"user": "x".repeat(513)}),
            "Invalid 'user_id': string too long. Expected a string with maximum length 512, but got a string with length 513 instead",
        ),
        (
            json!({"tool_choice": {"type": "function", "name": "g"}, "tools": [{"type": "function", "name": "f"}]}),
            "Invalid value for 'tool_call': no function named 'g' was specified in the 'tools' parameter.",
        ),
    ] {
        let reply = ask(&server, &with(sum(), fields));
        assert_eq!(
            (reply.status, &reply.json()["error"]["message"]),
            (400, &json!(expected))
        );
    }
}

#[test]
fn strict_refuses_what_the_hosted_api_refuses() {
    let server = Running::start(|options| options.strict = true);
    let forced = with(
        weather(),
        json!({"tool_choice": "required", "reasoning": {"effort": "high"}}),
    );
    assert_eq!(
        ask(&server, &forced).json()["error"]["message"],
        "Thinking mode does not support this tool_choice"
    );
    let custom = with(weather(), json!({"tools": [{"type": "custom", "name": "note"}]}));
    assert_eq!(
        ask(&server, &custom).json()["error"]["message"],
        "Unsupported custom tool: 'note'. Only 'apply_patch' is supported."
    );
}
