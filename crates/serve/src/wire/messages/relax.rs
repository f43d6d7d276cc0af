//! What Anthropic's clients send that the vendor's schema lacks, rewritten so that it serves.

use std::fmt::Write as _;

use serde_json::{Value, json};

/// Server tools that a model can do without: it answers from what it knows.
const SKIPPED: [&str; 5] = [
    "web_search",
    "web_fetch",
    "code_execution",
    "tool_search_tool",
    "mcp_toolset",
];

/// Rewrites `body` in place, and returns the names of the tools that are left out.
///
/// * a tool of type `custom` is one without a type
/// * tools that the hosted API would run are left out, blocks about them too
/// * documents and search results that are text become text
/// * hidden reasoning, which no other model can read, is left out
pub(super) fn relax(body: &mut Value) -> Vec<String> {
    let mut left_out = Vec::new();
    if let Some(tools) = body.get_mut("tools").and_then(Value::as_array_mut) {
        tools.retain_mut(|tool| {
            let Some(kind) = tool.get("type") else {
                return true;
            };
            let skipped = kind
                .as_str()
                .is_some_and(|kind| SKIPPED.iter().any(|skipped| kind.starts_with(skipped)));
            if (kind.is_null() || kind == "custom")
                && let Some(tool) = tool.as_object_mut()
            {
                tool.shift_remove("type");
            }
            if skipped {
                let name = tool.get("name").and_then(Value::as_str);
                left_out.extend(name.map(ToOwned::to_owned));
            }
            !skipped
        });
    }
    let messages = body.get_mut("messages").and_then(Value::as_array_mut);
    for message in messages.into_iter().flatten() {
        let Some(blocks) = message.get_mut("content").and_then(Value::as_array_mut) else {
            continue;
        };
        let any = !blocks.is_empty();
        blocks.retain_mut(keep);
        // A message of nothing else stays in its place.
        if any && blocks.is_empty() {
            blocks.push(json!({"type": "text", "text": ""}));
        }
    }
    left_out
}

/// Rewrites one block; false leaves it out.
fn keep(block: &mut Value) -> bool {
    match block.get("type").and_then(Value::as_str) {
        Some("redacted_thinking") => return false,
        Some("document" | "search_result") => as_text(block),
        Some("tool_result") => {
            let parts = block.get_mut("content").and_then(Value::as_array_mut);
            parts.into_iter().flatten().for_each(as_text);
        }
        _ => {}
    }
    true
}

/// Writes a document or search result as text, if its content is text.
fn as_text(block: &mut Value) {
    let field = |name: &str| block.get(name).and_then(Value::as_str);
    let content = match field("type") {
        Some("search_result") => text_of(block.get("content")),
        Some("document") => {
            let source = block.get("source").unwrap_or(&Value::Null);
            match source.get("type").and_then(Value::as_str) {
                Some("text") => source.get("data").and_then(Value::as_str).map(ToOwned::to_owned),
                Some("content") => text_of(source.get("content")),
                _ => None,
            }
        }
        _ => None,
    };
    let Some(content) = content else { return };
    let mut text = String::new();
    for name in ["title", "source", "context"] {
        if let Some(value) = field(name) {
            // Writing to a string cannot fail.
            writeln!(text, "{name}: {value}").ok();
        }
    }
    text.push_str(&content);
    *block = json!({"type": "text", "text": text});
}

/// Content that is a string or text blocks only.
fn text_of(content: Option<&Value>) -> Option<String> {
    match content? {
        Value::String(text) => Some(text.clone()),
        Value::Array(blocks) => {
            let texts = blocks
                .iter()
                .map(|block| block.get("text").and_then(Value::as_str));
            Some(texts.collect::<Option<Vec<_>>>()?.join("\n\n"))
        }
        _ => None,
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
    fn tools_of_the_hosted_api_are_left_out_and_custom_ones_stay() {
        let tools = json!([
            {"type": "custom", "name": "a", "input_schema": {"type": "object"}},
            {"type": "web_search_20250305", "name": "web_search", "max_uses": 8},
            {"type": "computer_20250124", "name": "computer"},
            {"type": null, "name": "b", "input_schema": {"type": "object"}},
        ]);
        assert_eq!(
            relaxed(json!({"tools": tools}))["tools"],
            json!([
                {"name": "a", "input_schema": {"type": "object"}},
                {"type": "computer_20250124", "name": "computer"},
                {"name": "b", "input_schema": {"type": "object"}},
            ])
        );
    }

    #[test]
    fn textual_documents_become_text_and_others_stay() {
        let pdf = json!({"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": ""}});
        let blocks = json!([
            {"type": "document", "title": "Notes", "source": {"type": "text", "media_type": "text/plain", "data": "The key is copper."}},
            {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}},
            {"type": "search_result", "source": "file.txt", "title": "T", "content": [{"type": "text", "text": "found"}]},
            {"type": "tool_result", "tool_use_id": "x", "content": [{"type": "document", "source": {"type": "text", "data": "in a result"}}]},
            pdf,
        ]);
        let texts = relaxed(json!({"messages": [{"role": "user", "content": blocks}]}));
        assert_eq!(
            texts["messages"][0]["content"],
            json!([
                {"type": "text", "text": "title: Notes\nThe key is copper."},
                {"type": "text", "text": "a\n\nb"},
                {"type": "text", "text": "title: T\nsource: file.txt\nfound"},
                {"type": "tool_result", "tool_use_id": "x", "content": [{"type": "text", "text": "in a result"}]},
                pdf,
            ])
        );
    }

    #[test]
    fn hidden_reasoning_is_left_out_and_its_message_stays() {
        let body = json!({"messages": [{"role": "assistant", "content": [{"type": "redacted_thinking", "data": "x"}]}]});
        assert_eq!(
            relaxed(body)["messages"][0]["content"],
            json!([{"type": "text", "text": ""}])
        );
    }
}
