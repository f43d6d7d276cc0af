//! What a request asks of the answer's structure, and what its reply repeats of that.

use std::collections::HashSet;

use deepseek_recipe::openai::responses::request::{ResponsesTextConfig, ResponsesTool};
use deepseek_recipe::openai::responses::response::ResponsesEcho;
use deepseek_recipe::request::ConversationRequest;
use fathom_engine::grammar::{Constraint, ToolBody, ToolRule};
use fathom_prompt::{Conversation, ResponseFormat};
use serde_json::{Value, json};

use super::custom::{self, CustomTool};
use crate::wire::choice::Choice;
use crate::wire::structure::{self, Structure};

/// Tools, choice and format, taken out of a body where the vendor's conversion would refuse or change them.
pub(super) struct Asked {
    customs: Vec<CustomTool>,
    /// Functions to be followed to the letter, with their namespaces.
    strict: HashSet<(Option<String>, String)>,
    /// Whether several tools may be called at once.
    pub(super) parallel: bool,
    /// A choice that the vendor's schema lacks.
    pub(super) allowed: Option<Choice>,
    format: Option<Format>,
    tools_sent: Option<Vec<ResponsesTool>>,
    text_sent: Option<ResponsesTextConfig>,
}

enum Format {
    JsonObject,
    JsonSchema { schema: Value, strict: bool },
}

impl Asked {
    /// Takes them out of `body`; a `strict` server leaves them to the vendor, and enforces what that lets through.
    pub(super) fn of(body: &mut Value, strict: bool) -> Self {
        let sent = |field: &str| body.get(field).cloned().unwrap_or_default();
        let mut asked = Self {
            customs: Vec::new(),
            strict: HashSet::new(),
            parallel: body.get("parallel_tool_calls") != Some(&Value::Bool(false)),
            // What cannot be read is refused later.
            tools_sent: serde_json::from_value(sent("tools")).ok(),
            text_sent: serde_json::from_value(sent("text")).ok(),
            allowed: None,
            format: None,
        };
        if strict {
            asked.format = body.pointer("/text/format").and_then(Format::of);
            let tools = body.get("tools").and_then(Value::as_array);
            asked.customs = tools
                .map(|tools| custom::settle(&mut tools.clone()))
                .unwrap_or_default();
            return asked;
        }
        asked.allowed = allowed(body);
        if let Some(tools) = body.get_mut("tools").and_then(Value::as_array_mut) {
            asked.customs = custom::settle(tools);
            tools.iter_mut().for_each(|tool| asked.relax(tool, None));
        }
        if let Some(format) = body.pointer_mut("/text/format") {
            asked.format = Format::of(format);
            if asked.format.is_some() {
                *format = json!({"type": "text"});
            }
        }
        asked
    }

    /// Notes whether a function is strict and leaves its schema as the client wrote it: the vendor would rewrite it, and refuse
    /// others beside it.
    fn relax(&mut self, tool: &mut Value, namespace: Option<&str>) {
        let name = tool
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        if let Some(inner) = tool.get_mut("tools").and_then(Value::as_array_mut) {
            inner.iter_mut().for_each(|tool| self.relax(tool, Some(&name)));
        }
        if tool.get("strict") == Some(&Value::Bool(true)) {
            tool["strict"] = Value::Null;
            self.strict.insert((namespace.map(ToOwned::to_owned), name));
        }
    }

    /// Puts it into the conversation as the prompt shows it; what remains is for the grammar.
    pub(super) fn format(&self, conversation: &mut Conversation) -> Option<Structure> {
        let constraint = match self.format.as_ref()? {
            Format::JsonObject => {
                conversation.response_format = ResponseFormat::JsonObject;
                Constraint::Json { schema: None }
            }
            Format::JsonSchema { schema, strict } => {
                let schema = schema.clone();
                conversation.response_format = ResponseFormat::JsonSchema {
                    schema: schema.clone(),
                };
                structure::json(schema, *strict)
            }
        };
        Some(Structure::demanded(constraint))
    }

    /// How each tool may be called, by the name that the prompt gives it.
    pub(super) fn rules(&self, converted: &ConversationRequest) -> Vec<ToolRule> {
        let namespaces = converted.response_options.namespace_tool_map.as_ref();
        let rules = converted.conversation.tools.iter().map(|tool| {
            if let Some(custom) = self.customs.iter().find(|custom| custom.name == tool.name) {
                let body = ToolBody::Text {
                    parameter: "input".to_owned(),
                    lark: custom.lark(),
                };
                let name = tool.name.clone();
                return ToolRule { name, body };
            }
            let inner = namespaces.and_then(|names| names.get(&tool.name));
            let declared = match inner {
                Some((namespace, name)) => (Some(namespace.clone()), name.clone()),
                None => (None, tool.name.clone()),
            };
            let strict = tool.strict == Some(true) || self.strict.contains(&declared);
            structure::rule(&tool.name, Some(tool.parameters.clone()), strict)
        });
        rules.collect()
    }

    /// Makes the reply repeat what was sent, and name custom tools as such.
    pub(super) fn repeat(self, mut echo: ResponsesEcho, converted: &mut ConversationRequest) {
        if let Some(tools) = self.tools_sent {
            let known = |tool: &ResponsesTool| !matches!(tool, ResponsesTool::Unsupported);
            echo.tools = tools.into_iter().filter(known).collect();
        }
        echo.text = self.text_sent.unwrap_or(echo.text);
        let options = &mut converted.response_options;
        options.responses_echo = Some(echo);
        let names = self.customs.into_iter().map(|custom| custom.name);
        options.custom_tool_names.extend(names);
    }
}

impl Format {
    fn of(format: &Value) -> Option<Self> {
        match format.get("type")?.as_str()? {
            "json_object" => Some(Self::JsonObject),
            "json_schema" => Some(Self::JsonSchema {
                schema: format.get("schema").filter(|schema| schema.is_object())?.clone(),
                strict: format.get("strict") == Some(&Value::Bool(true)),
            }),
            _ => None,
        }
    }
}

/// Takes out a choice among some of the tools.
fn allowed(body: &mut Value) -> Option<Choice> {
    let choice = body.get_mut("tool_choice")?;
    if choice.get("type")? != "allowed_tools" {
        return None;
    }
    let tools = choice.get("tools").and_then(Value::as_array);
    let names = tools
        .into_iter()
        .flatten()
        .filter_map(|tool| tool.get("name")?.as_str());
    let made = Choice::Among {
        names: names.map(ToOwned::to_owned).collect(),
        required: choice.get("mode").is_some_and(|mode| mode == "required"),
    };
    *choice = json!("auto");
    Some(made)
}
