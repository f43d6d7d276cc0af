//! Custom tools, whose input is a text of the client's own form instead of JSON.

use serde_json::{Value, json};

/// A custom tool of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CustomTool {
    pub(super) name: String,
    /// What its input must look like, if the client says.
    pub(super) form: Option<Form>,
}

impl CustomTool {
    /// The form of the input as a Lark grammar.
    pub(super) fn lark(&self) -> Option<String> {
        Some(match self.form.as_ref()? {
            Form::Lark(grammar) => grammar.clone(),
            Form::Regex(regex) => format!("start: /{}/", unslashed(regex)),
        })
    }
}

/// A regular expression that can stand between slashes.
fn unslashed(regex: &str) -> String {
    let mut escaped = String::with_capacity(regex.len());
    let mut chars = regex.chars();
    while let Some(next) = chars.next() {
        match next {
            '\\' => {
                escaped.push('\\');
                escaped.extend(chars.next());
            }
            '/' => escaped.push_str("\\/"),
            '\n' => escaped.push_str("\\n"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// The form of an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Form {
    /// A Lark grammar.
    Lark(String),
    /// A regular expression.
    Regex(String),
}

/// The custom tools among `tools`. All but `apply_patch`, which the vendor knows and describes as its models were taught, become
/// functions of one parameter `input`, which is how the models call it.
pub(super) fn settle(tools: &mut [Value]) -> Vec<CustomTool> {
    let mut found = Vec::new();
    for tool in tools {
        let name = tool.get("name").and_then(Value::as_str).unwrap_or_default();
        if tool.get("type").and_then(Value::as_str) != Some("custom") || name.is_empty() {
            continue;
        }
        let custom = CustomTool {
            name: name.to_owned(),
            form: form(tool),
        };
        if name != "apply_patch" {
            *tool = as_function(tool, &custom);
        }
        found.push(custom);
    }
    found
}

fn form(tool: &Value) -> Option<Form> {
    let format = tool.get("format")?;
    let definition = format.get("definition")?.as_str()?.to_owned();
    match (format.get("type")?.as_str()?, format.get("syntax")?.as_str()?) {
        ("grammar", "lark") => Some(Form::Lark(definition)),
        ("grammar", "regex") => Some(Form::Regex(definition)),
        _ => None,
    }
}

fn as_function(tool: &Value, custom: &CustomTool) -> Value {
    let mut description = tool
        .get("description")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let (kind, definition) = match &custom.form {
        Some(Form::Lark(definition)) => ("Lark grammar", definition.as_str()),
        Some(Form::Regex(definition)) => ("regular expression", definition.as_str()),
        None => ("", ""),
    };
    if !definition.is_empty() {
        description = format!("{description}\nThe input follows this {kind}:\n{definition}");
    }
    json!({
        "type": "function",
        "name": custom.name,
        "description": description,
        "parameters": {
            "type": "object",
            "properties": {"input": {"type": "string"}},
            "required": ["input"],
            "additionalProperties": false,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_regular_expression_is_a_grammar() {
        let tool = |regex: &str| CustomTool {
            name: "t".to_owned(),
            form: Some(Form::Regex(regex.to_owned())),
        };
        assert_eq!(tool(r"a/b\/[\n]").lark().unwrap(), r"start: /a\/b\/[\n]/");
        assert_eq!(tool("a\nb").lark().unwrap(), r"start: /a\nb/");
    }

    #[test]
    fn a_custom_tool_becomes_a_function_and_apply_patch_stays() {
        let format =
            |syntax: &str| json!({"type": "grammar", "syntax": syntax, "definition": "start: \"a\""});
        let mut tools = [
            json!({"type": "custom", "name": "apply_patch", "format": format("lark")}),
            json!({"type": "custom", "name": "sql", "description": "Runs SQL.", "format": format("lark")}),
            json!({"type": "custom", "name": "note", "format": {"type": "text"}}),
            json!({"type": "function", "name": "f"}),
        ];
        let found = settle(&mut tools);
        let lark = Some(Form::Lark("start: \"a\"".to_owned()));
        assert_eq!(
            found,
            [("apply_patch", lark.clone()), ("sql", lark), ("note", None)].map(|(name, form)| CustomTool {
                name: name.to_owned(),
                form
            })
        );
        assert_eq!(
            tools.each_ref().map(|tool| tool["type"].as_str().unwrap()),
            ["custom", "function", "function", "function"]
        );
        assert_eq!(
            tools[1]["description"],
            "Runs SQL.\nThe input follows this Lark grammar:\nstart: \"a\""
        );
    }
}
