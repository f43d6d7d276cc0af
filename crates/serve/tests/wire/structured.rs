//! Answers of a certain structure, thinking or not. Texts are the model's own and differ from release to release; their form
//! does not.

use serde_json::{Value, json};

use crate::client::Running;

fn tools(strict: bool) -> Value {
    json!([
        {"type": "function", "function": {"name": "get_weather", "strict": strict, "description": "Weather of a city.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string", "enum": ["Paris", "Oslo"]},
            "days": {"type": "integer", "enum": [1, 2]}}, "required": ["city", "days"], "additionalProperties": false}}},
        {"type": "function", "function": {"name": "get_time", "strict": strict, "description": "The time.",
            "parameters": {"type": "object", "properties": {}, "additionalProperties": false}}},
    ])
}

fn ask(server: &Running, more: &Value) -> Value {
    let mut body = json!({"model": "m", "seed": 5, "max_tokens": 1500,
        "messages": [{"role": "user", "content": "What is 12 plus 30?"}]});
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let reply = server.chat(&body.to_string());
    assert_eq!(reply.status, 200, "{}", reply.body);
    reply.json()
}

fn modes() -> [Value; 2] {
    [json!({"type": "disabled"}), json!({"type": "enabled"})]
}

fn content(reply: &Value) -> &str {
    assert_eq!(reply["choices"][0]["finish_reason"], "stop", "{reply}");
    reply["choices"][0]["message"]["content"].as_str().unwrap()
}

#[test]
fn json_objects() {
    let server = Running::start(|_| ());
    for thinking in modes() {
        let reply = ask(
            &server,
            &json!({"thinking": thinking, "max_tokens": 400, "response_format": {"type": "json_object"}}),
        );
        // A small model may not come to an end of it; then what there is is the beginning of JSON.
        let text = reply["choices"][0]["message"]["content"].as_str().unwrap();
        match serde_json::from_str::<Value>(text) {
            Ok(value) => assert!(value.is_object() || value.is_array()),
            Err(error) => assert!(error.is_eof() && !text.is_empty(), "{error}: {text}"),
        }
    }
}

#[test]
fn json_schemas() {
    let server = Running::start(|_| ());
    let open = json!({"type": "object", "properties": {
        "answer": {"type": "integer", "minimum": 0, "maximum": 99},
        "sure": {"type": "boolean"}}, "required": ["answer", "sure"]});
    let mut closed = open.clone();
    closed["additionalProperties"] = json!(false);
    for thinking in modes() {
        // Strict ones take no more than their properties anyway.
        for (strict, schema) in [(true, &open), (false, &closed)] {
            let format = json!({"type": "json_schema", "json_schema": {"name": "sum", "schema": schema, "strict": strict}});
            let reply = ask(&server, &json!({"thinking": thinking, "response_format": format}));
            let value: Value = serde_json::from_str(content(&reply)).unwrap();
            assert_eq!(value.as_object().unwrap().len(), 2);
            assert!(
                value["answer"].as_u64().unwrap() < 100 && value["sure"].is_boolean(),
                "{value}"
            );
        }
    }
}

#[test]
fn regular_expressions() {
    let server = Running::start(|_| ());
    for thinking in modes() {
        let format = json!({"type": "regex", "regex": "[a-c]{3}-[0-9]{2}"});
        let reply = ask(&server, &json!({"thinking": thinking, "response_format": format}));
        let text = content(&reply).as_bytes();
        assert_eq!((text.len(), text[3]), (6, b'-'));
        assert!(
            text[..3].iter().all(|byte| b"abc".contains(byte)) && text[4..].iter().all(u8::is_ascii_digit)
        );
    }
}

#[test]
fn a_prefix_is_part_of_the_structure() {
    let server = Running::start(|_| ());
    let messages =
        json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": "ab", "prefix": true}]);
    let format = json!({"type": "regex", "regex": "[a-c]{3}-[0-9]{2}"});
    let reply = ask(
        &server,
        &json!({"thinking": {"type": "disabled"}, "messages": messages, "response_format": format}),
    );
    let text = content(&reply);
    assert_eq!((text.len(), &text[1..2]), (4, "-"));
}

/// The calls of a reply that must consist of them.
fn calls(reply: &Value) -> Vec<(String, Value)> {
    let choice = &reply["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls", "{reply}");
    assert_eq!(choice["message"]["content"], "");
    let calls = choice["message"]["tool_calls"].as_array().unwrap();
    calls
        .iter()
        .map(|call| {
            let function = &call["function"];
            let arguments = serde_json::from_str(function["arguments"].as_str().unwrap()).unwrap();
            (function["name"].as_str().unwrap().to_owned(), arguments)
        })
        .collect()
}

fn follows(name: &str, arguments: &Value) -> bool {
    let arguments = arguments.as_object().unwrap();
    match name {
        "get_time" => arguments.is_empty(),
        "get_weather" => {
            arguments.len() == 2
                && [json!("Paris"), json!("Oslo")].contains(&arguments["city"])
                && [json!(1), json!(2)].contains(&arguments["days"])
        }
        _ => false,
    }
}

#[test]
fn required_tools() {
    let server = Running::start(|_| ());
    for thinking in modes() {
        for strict in [true, false] {
            let request = json!({"thinking": thinking, "tools": tools(strict), "tool_choice": "required"});
            let calls = calls(&ask(&server, &request));
            assert!(
                calls.iter().all(|(name, arguments)| follows(name, arguments)),
                "{calls:?}"
            );
        }
    }
}

#[test]
fn named_tools_and_one_call_at_a_time() {
    let server = Running::start(|_| ());
    for thinking in modes() {
        for name in ["get_weather", "get_time"] {
            let choice = json!({"type": "function", "function": {"name": name}});
            let request = json!({"thinking": thinking, "tools": tools(false), "tool_choice": choice,
                "parallel_tool_calls": false});
            let calls = calls(&ask(&server, &request));
            assert_eq!(calls.len(), 1);
            assert!(calls[0].0 == name && follows(name, &calls[0].1), "{calls:?}");
        }
    }
}

#[test]
fn strict_beside_other_tools() {
    let server = Running::start(|_| ());
    let mut both = tools(true);
    both[1]["function"]["strict"] = json!(false);
    let format = json!({"type": "text"});
    let request = json!({"thinking": {"type": "disabled"}, "tools": both, "tool_choice": "required",
        "response_format": format});
    assert!(
        calls(&ask(&server, &request))
            .iter()
            .all(|(name, arguments)| follows(name, arguments))
    );
}

#[test]
fn what_cannot_be_enforced_is_told() {
    let server = Running::start(|_| ());
    for (more, part) in [
        (
            json!({"response_format": {"type": "regex", "regex": "("}}),
            "regular expression",
        ),
        (
            json!({"response_format": {"type": "json_schema", "json_schema": {"strict": true, "schema": {"type": "colour"}}}}),
            "schema",
        ),
        (
            json!({"tools": tools(true), "tool_choice": {"type": "function", "function": {"name": "f"}}}),
            "Invalid value for 'tool_call': no function named 'f' was specified in the 'tools' parameter.",
        ),
    ] {
        let mut body = json!({"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "q"}]});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let reply = server.chat(&body.to_string());
        assert_eq!(reply.status, 400, "{}", reply.body);
        assert!(
            reply.json()["error"]["message"].as_str().unwrap().contains(part),
            "{}",
            reply.body
        );
    }
}

#[test]
fn a_strict_server_refuses_what_the_hosted_one_does() {
    let server = Running::start(|options| options.strict = true);
    for (more, message) in [
        (
            json!({"response_format": {"type": "json_object"}}),
            "Prompt must contain the word 'json' in some form to use 'response_format' of type 'json_object'.",
        ),
        (
            json!({"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}}}),
            "This response_format type is unavailable now",
        ),
        (
            json!({"response_format": {"type": "regex", "regex": "a"}}),
            "This response_format type is unavailable now",
        ),
        (
            json!({"tools": tools(false), "tool_choice": "required"}),
            "Thinking mode does not support this tool_choice",
        ),
    ] {
        let mut body = json!({"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "q"}]});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let reply = server.chat(&body.to_string());
        assert_eq!(
            (reply.status, reply.json()["error"]["message"].as_str().unwrap()),
            (400, message)
        );
    }
}
