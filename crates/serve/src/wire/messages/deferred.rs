//! Tools that wait outside the prompt until a search finds them.
//!
//! A client with hundreds of tools marks most of them `defer_loading` and offers a search; its result refers to the tools found.
//! Here a deferred tool stays out of the list in the system prompt, so that finding one does not change the beginning of the
//! prompt and the cache keeps what it has; where the conversation refers to a tool, the tool's definition is written as the
//! search's result. From then on the model may call it.

use serde_json::{Value, json};

/// Takes the deferred tools out of `body` and writes definitions where it refers to them. Returns those it refers to,
/// in the shape of `tools`.
///
/// A search that the hosted API runs itself (`tool_search_tool…`) is not there to be run, and nobody would find anything: all
/// tools are then listed.
pub(super) fn settle(body: &mut Value) -> Vec<Value> {
    let Some(tools) = body.get_mut("tools").and_then(Value::as_array_mut) else {
        return Vec::new();
    };
    let searched_by_server = tools.iter().any(|tool| {
        let kind = tool.get("type").and_then(Value::as_str);
        kind.is_some_and(|kind| kind.starts_with("tool_search_tool"))
    });
    let is_deferred = |tool: &Value| tool.get("defer_loading") == Some(&Value::Bool(true));
    let mut deferred = Vec::new();
    if !searched_by_server && !tools.iter().all(is_deferred) {
        deferred = tools.extract_if(.., |tool| is_deferred(tool)).collect();
    }
    let known: Vec<Value> = tools.iter().chain(&deferred).cloned().collect();
    let mut referenced: Vec<String> = Vec::new();
    let messages = body.get_mut("messages").and_then(Value::as_array_mut);
    for block in messages.into_iter().flatten().flat_map(blocks_mut) {
        match block.get("type").and_then(Value::as_str) {
            Some("tool_result") => {
                for part in blocks_mut(block) {
                    let name = part.get("tool_name").and_then(Value::as_str);
                    if let (Some("tool_reference"), Some(name)) =
                        (part.get("type").and_then(Value::as_str), name)
                    {
                        let name = name.to_owned();
                        *part = json!({"type": "text", "text": definition(&known, &name)});
                        referenced.push(name);
                    }
                }
            }
            Some("tool_addition") => {
                let name = block.pointer("/tool/name").and_then(Value::as_str);
                if let Some(name) = name.map(ToOwned::to_owned) {
                    *block = json!({"type": "text", "text": definition(&known, &name)});
                    referenced.push(name);
                }
            }
            _ => {}
        }
    }
    deferred.retain(|tool| named(tool).is_some_and(|name| referenced.iter().any(|found| found == name)));
    deferred
}

/// The blocks of a message's or a tool result's content.
fn blocks_mut(holder: &mut Value) -> impl Iterator<Item = &mut Value> {
    let blocks = holder.get_mut("content").and_then(Value::as_array_mut);
    blocks.into_iter().flatten()
}

fn named(tool: &Value) -> Option<&str> {
    tool.get("name").and_then(Value::as_str)
}

/// A tool as the system prompt would list it; the bare name if the client no longer has it.
fn definition(tools: &[Value], name: &str) -> String {
    let Some(tool) = tools.iter().find(|tool| named(tool) == Some(name)) else {
        return name.to_owned();
    };
    let description = tool
        .get("description")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let parameters = tool.get("input_schema").cloned().unwrap_or_else(|| json!({}));
    json!({"name": name, "description": description, "parameters": parameters}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body() -> Value {
        json!({
            "tools": [
                {"name": "ToolSearch", "input_schema": {"type": "object"}},
                {"name": "WebSearch", "description": "Searches.", "input_schema": {"type": "object"}, "defer_loading": true},
                {"name": "Other", "input_schema": {"type": "object"}, "defer_loading": true},
            ],
            "messages": [
                {"role": "user", "content": "hello"},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": [
                    {"type": "tool_reference", "tool_name": "WebSearch"},
                    {"type": "tool_reference", "tool_name": "Gone"},
                ]}]},
            ],
        })
    }

    #[test]
    fn a_deferred_tool_is_written_where_it_was_found() {
        let mut body = body();
        let found = settle(&mut body);
        assert_eq!(found.iter().filter_map(named).collect::<Vec<_>>(), ["WebSearch"]);
        assert_eq!(body["tools"].as_array().unwrap().len(), 1);
        assert_eq!(
            body["messages"][1]["content"][0]["content"],
            json!([
                {"type": "text", "text": r#"{"name":"WebSearch","description":"Searches.","parameters":{"type":"object"}}"#},
                {"type": "text", "text": "Gone"},
            ])
        );
    }

    #[test]
    fn all_tools_are_listed_when_nobody_here_could_find_them() {
        let mut server = body();
        let search = json!({"type": "tool_search_tool_regex_20251119", "name": "tool_search_tool_regex"});
        server["tools"].as_array_mut().unwrap().push(search);
        assert_eq!(settle(&mut server), Vec::<Value>::new());
        assert_eq!(server["tools"].as_array().unwrap().len(), 4);

        let mut alone = body();
        alone["tools"].as_array_mut().unwrap().remove(0);
        settle(&mut alone);
        assert_eq!(alone["tools"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn a_system_message_may_add_a_tool() {
        let mut body = body();
        body["messages"] = json!([{"role": "system", "content": [
            {"type": "tool_addition", "tool": {"type": "tool_reference", "name": "Other"}},
        ]}]);
        let found = settle(&mut body);
        assert_eq!(found.iter().filter_map(named).collect::<Vec<_>>(), ["Other"]);
        assert_eq!(body["messages"][0]["content"][0]["type"], "text");
    }
}
