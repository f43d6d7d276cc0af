//! The description of the API, held to the server.

use serde_json::{Value, json};

use crate::client::{Reply, Running};

/// Whether `reply` to `method path` is described, in its status, its content type and its form.
#[track_caller]
fn check(document: &Value, method: &str, path: &str, reply: &Reply) {
    let response = &document["paths"][path][method]["responses"][reply.status.to_string()];
    assert!(response.is_object(), "{method} {path}: {reply:?}");
    let content = response["content"].as_object().unwrap();
    if content.is_empty() {
        assert_eq!(reply.body, "", "{method} {path}");
        return;
    }
    let described = content
        .get(&reply.content_type)
        .unwrap_or_else(|| panic!("{method} {path}: {reply:?}"));
    if reply.content_type != "application/json" {
        return;
    }
    let mut schema = described["schema"].clone();
    schema["components"] = document["components"].clone();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let problems: Vec<_> = validator
        .iter_errors(&reply.json())
        .map(|error| error.to_string())
        .collect();
    assert!(
        problems.is_empty(),
        "{method} {path}: {problems:?} in {}",
        reply.body
    );
}

/// A body that is answered.
fn good(operation: &str) -> Value {
    let messages = json!([{"role": "user", "content": "Hi"}]);
    match operation {
        "ChatRequest" | "MessagesRequest" => json!({"model": "m", "max_tokens": 2, "messages": messages}),
        "CompletionRequest" => json!({"model": "m", "max_tokens": 2, "prompt": "Hi"}),
        "ResponsesRequest" => json!({"model": "m", "max_output_tokens": 2, "input": "Hi"}),
        "TokenizeRequest" => json!({"model": "m", "text": "Hi"}),
        "DetokenizeRequest" => json!({"model": "m", "ids": [1, 2]}),
        other => panic!("no body for {other}"),
    }
}

#[test]
fn replies_are_as_described() {
    let server = Running::start(|_| ());
    let document = server.get("/openapi.json").json();
    assert_eq!(document["openapi"], "3.1.0");
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let place = path.replace("{name}", "m");
            let place = if path == "/admin/api/usage" {
                format!("{place}?by=day")
            } else {
                place
            };
            let Some(body) = operation.pointer("/requestBody/content/application~1json/schema/$ref") else {
                let reply = server.get(&place);
                if reply.content_type.starts_with("application/json") || reply.status != 200 {
                    check(&document, method, path, &reply);
                }
                // What is not described is not there.
                let other = Reply::read(server.send(&format!("DELETE {place}"), ""));
                assert_eq!(other.status, 405, "{path}");
                continue;
            };
            let post = |content_type: &str, body: &str| {
                Reply::read(server.send_as(&format!("POST {place}"), content_type, body))
            };
            let name = body.as_str().unwrap().rsplit('/').next().unwrap();
            let good = good(name);
            let reply = post("application/json", &good.to_string());
            assert_eq!(reply.status, 200, "{path}: {}", reply.body);
            check(&document, method, path, &reply);
            // The body that is answered fits its description, too.
            let mut schema = document["components"]["schemas"][name].clone();
            schema["components"] = document["components"].clone();
            let fits = jsonschema::draft202012::new(&schema).unwrap();
            assert!(fits.is_valid(&good), "{name}");
            assert!(!fits.is_valid(&json!({})), "{name}");
            for (content_type, body) in [
                ("application/json", "{"),
                ("application/json", "[]"),
                ("text/plain", "{}"),
            ] {
                check(&document, method, path, &post(content_type, body));
            }
            if operation["responses"]["200"]["content"]
                .get("text/event-stream")
                .is_some()
            {
                let mut streamed = good;
                streamed["stream"] = true.into();
                let reply = post("application/json", &streamed.to_string());
                assert!(reply.content_type.starts_with("text/event-stream"), "{reply:?}");
            }
            assert_eq!(server.get(&place).status, 405, "{path}");
        }
    }
}
