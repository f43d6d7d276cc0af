//! What a chat request asks of the answer's structure.

use deepseek_recipe::openai::chat_completion::request::{
    ChatCompletionResponseFormat, ChatCompletionResponseFormatJsonSchema, ChatCompletionToolChoiceOption,
};
use fathom_engine::grammar::{Constraint, ToolRule};
use fathom_prompt::{Conversation, ResponseFormat};
use serde_json::Value;

use super::schema::{ChatRequest, Tool};
use crate::error::ApiError;
use crate::wire::structure::{self, Structure, closed};

/// Tools and response format of a request, before conversion.
pub(super) struct Asked {
    /// How each tool may be called.
    rules: Vec<ToolRule>,
    /// A call must come.
    required: bool,
    /// Several may.
    parallel: bool,
    format: Format,
}

enum Format {
    Text,
    JsonObject,
    JsonSchema { schema: Value, strict: bool },
    Regex(String),
}

impl Asked {
    /// Of `request`.
    pub(super) fn of(request: &ChatRequest) -> Result<Self, ApiError> {
        let tools = request.tools.as_deref().unwrap_or_default();
        let mut rules: Vec<_> = tools.iter().map(rule).collect();
        let required = match &request.tool_choice {
            // What cannot be called cannot be required.
            _ if tools.is_empty() => false,
            Some(ChatCompletionToolChoiceOption::Required) => true,
            Some(ChatCompletionToolChoiceOption::Named { function, .. }) => {
                // The prompt keeps the others, so that what the cache has of it stays good.
                rules.retain(|rule| rule.name == function.name);
                if rules.is_empty() {
                    return Err(ApiError::invalid(format!(
                        "Invalid value for 'tool_call': no function named '{}' was specified in the 'tools' parameter.",
                        function.name
                    )));
                }
                true
            }
            Some(ChatCompletionToolChoiceOption::Auto | ChatCompletionToolChoiceOption::None) | None => false,
        };
        Ok(Self {
            rules,
            required,
            parallel: request.parallel_tool_calls.unwrap_or(true),
            format: format(request.response_format.as_ref()),
        })
    }

    /// Puts it into the conversation as the prompt shows it; what remains is for the grammar.
    pub(super) fn settle(self, conversation: &mut Conversation) -> Option<Structure> {
        if conversation.offers_tools() {
            conversation.tool_choice = structure::tool_choice(self.required, conversation);
        }
        conversation.response_format = match &self.format {
            // Nothing in the prompt says what a regular expression wants; the client's own words do.
            Format::Text | Format::Regex(_) => ResponseFormat::Text,
            Format::JsonObject => ResponseFormat::JsonObject,
            Format::JsonSchema { schema, .. } => ResponseFormat::JsonSchema {
                schema: schema.clone(),
            },
        };
        if conversation.offers_tools() {
            // An answer that may be text or calls is held to the calls' form only; its text is what the prompt says.
            return Some(Structure::tools(self.rules, self.required, self.parallel));
        }
        Some(Structure::demanded(match self.format {
            Format::Text => return None,
            Format::JsonObject => Constraint::Json { schema: None },
            Format::JsonSchema { schema, strict } => Constraint::Json {
                schema: Some(if strict { closed(schema) } else { schema }),
            },
            Format::Regex(regex) => Constraint::Regex(regex),
        }))
    }
}

fn rule(tool: &Tool) -> ToolRule {
    let function = &tool.checked.function;
    structure::rule(
        &function.name,
        function.parameters.clone(),
        function.strict == Some(true),
    )
}

fn format(asked: Option<&ChatCompletionResponseFormat>) -> Format {
    match asked {
        None | Some(ChatCompletionResponseFormat::Text) => Format::Text,
        Some(ChatCompletionResponseFormat::JsonObject) => Format::JsonObject,
        Some(ChatCompletionResponseFormat::JsonSchema {
            json_schema: ChatCompletionResponseFormatJsonSchema { schema, strict, .. },
        }) => Format::JsonSchema {
            schema: schema.clone(),
            strict: *strict == Some(true),
        },
        Some(ChatCompletionResponseFormat::Regex { regex }) => Format::Regex(regex.clone()),
    }
}
