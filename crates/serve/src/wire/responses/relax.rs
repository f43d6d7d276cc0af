//! What Codex and other clients of the Responses API send that the vendor's schema lacks, rewritten so that it serves.

use serde_json::{Value, json};

/// Rewrites `body` in place.
///
/// * what developers say before anything else is the system prompt; later it stays where it is
/// * tools inside a namespace that are not functions are left out
/// * a choice of a tool that the hosted API would run is the model's own choice
/// * text parts go by any of their names
/// * asking for log-probabilities in `include` is asking for them
pub(super) fn relax(body: &mut Value) {
    if let Some(items) = body.get_mut("input").and_then(Value::as_array_mut) {
        open_with_system(items);
        items.iter_mut().for_each(rename_parts);
    }
    let tools = body.get_mut("tools").and_then(Value::as_array_mut);
    for tool in tools.into_iter().flatten() {
        if tool["type"] == "namespace"
            && let Some(inner) = tool.get_mut("tools").and_then(Value::as_array_mut)
        {
            inner.retain(|tool| tool["type"] == "function");
        }
    }
    let choice = body.pointer("/tool_choice/type").and_then(Value::as_str);
    if choice.is_some_and(|kind| !matches!(kind, "function" | "custom" | "allowed_tools")) {
        body["tool_choice"] = json!("auto");
    }
    let includes = body.get("include").and_then(Value::as_array);
    let wants_logprobs =
        includes.is_some_and(|all| all.iter().any(|one| one == "message.output_text.logprobs"));
    if wants_logprobs && body.get("top_logprobs").is_none_or(Value::is_null) {
        body["top_logprobs"] = json!(0);
    }
}

/// Developers' messages at the beginning become system messages.
fn open_with_system(items: &mut [Value]) {
    for item in items {
        if item.get("type").is_some_and(|kind| kind != "message") {
            return;
        }
        match item.get("role").and_then(Value::as_str) {
            Some("developer") => item["role"] = json!("system"),
            Some("system") => {}
            _ => return,
        }
    }
}

/// Gives text parts the names the schema knows.
fn rename_parts(item: &mut Value) {
    for field in ["content", "output"] {
        if field == "content" && item.get("type").is_some_and(|kind| kind != "message") {
            continue;
        }
        let parts = item.get_mut(field).and_then(Value::as_array_mut);
        for part in parts.into_iter().flatten() {
            match part.get("type").and_then(Value::as_str) {
                Some("text") => part["type"] = json!("input_text"),
                Some("output_text") if field == "output" => part["type"] = json!("input_text"),
                Some("refusal") => {
                    *part = json!({"type": "output_text", "text": part.get("refusal").cloned().unwrap_or_default()});
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relaxed(mut body: Value) -> Value {
        relax(&mut body);
        body
    }

    #[test]
    fn developers_open_and_then_stay_in_place() {
        let say = |role: &str| json!({"role": role, "content": "x"});
        let body = json!({"input": [say("developer"), say("user"), say("developer")]});
        assert_eq!(
            relaxed(body)["input"],
            json!([say("system"), say("user"), say("developer")])
        );
    }

    #[test]
    fn text_goes_by_any_name() {
        let body = json!({"input": [
            {"type": "message", "role": "user", "content": [{"type": "text", "text": "a"}]},
            {"type": "function_call_output", "call_id": "c", "output": [{"type": "output_text", "text": "b"}]},
            {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "c"}]},
        ]});
        let input = &relaxed(body)["input"];
        assert_eq!(input[0]["content"][0]["type"], "input_text");
        assert_eq!(input[1]["output"][0]["type"], "input_text");
        assert_eq!(input[2]["content"][0]["type"], "reasoning_text");
    }

    #[test]
    fn what_only_the_hosted_api_runs_is_not_asked_for() {
        let body = json!({
            "tool_choice": {"type": "web_search_preview"},
            "tools": [{"type": "namespace", "name": "n", "tools": [{"type": "custom", "name": "a"}, {"type": "function", "name": "b"}]}],
        });
        let body = relaxed(body);
        assert_eq!(body["tool_choice"], "auto");
        assert_eq!(
            body["tools"][0]["tools"],
            json!([{"type": "function", "name": "b"}])
        );
    }

    #[test]
    fn log_probabilities_are_asked_for_by_either_field() {
        let body = json!({"include": ["reasoning.encrypted_content", "message.output_text.logprobs"]});
        assert_eq!(relaxed(body)["top_logprobs"], 0);
        assert_eq!(relaxed(json!({"include": []})).get("top_logprobs"), None);
    }
}
