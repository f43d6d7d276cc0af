//! What a chat request asks of the answer's structure.

use deepseek_recipe::openai::chat_completion::request::{
    ChatCompletionResponseFormat, ChatCompletionResponseFormatJsonSchema, ChatCompletionToolChoiceOption,
};
use fathom_engine::grammar::{Constraint, ToolRule};
use fathom_prompt::{Conversation, ResponseFormat};
use serde_json::Value;

use super::schema::{ChatRequest, Tool};
use crate::error::ApiError;
use crate::wire::choice::Choice;
use crate::wire::structure::{self, Structure};

/// Tools and response format of a request, before conversion.
pub(super) struct Asked {
    /// How each tool may be called.
    rules: Vec<ToolRule>,
    choice: Choice,
    /// Several calls may come.
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
    pub(super) fn of(request: &ChatRequest) -> Self {
        let choice = match &request.tool_choice {
            Some(ChatCompletionToolChoiceOption::Required) => Choice::Required,
            Some(ChatCompletionToolChoiceOption::Named { function, .. }) => {
                Choice::named(function.name.clone())
            }
            // Without tools there is nothing to choose.
            Some(ChatCompletionToolChoiceOption::Auto | ChatCompletionToolChoiceOption::None) | None => {
                Choice::Auto
            }
        };
        Self {
            rules: request.tools.iter().flatten().map(rule).collect(),
            choice,
            parallel: request.parallel_tool_calls.unwrap_or(true),
            format: format(request.response_format.as_ref()),
        }
    }

    /// Puts it into the conversation as the prompt shows it; what remains is for the grammar.
    pub(super) fn settle(
        self,
        conversation: &mut Conversation,
        strict: bool,
    ) -> Result<Option<Structure>, ApiError> {
        conversation.response_format = match &self.format {
            // Nothing in the prompt says what a regular expression wants; the client's own words do.
            Format::Text | Format::Regex(_) => ResponseFormat::Text,
            Format::JsonObject => ResponseFormat::JsonObject,
            Format::JsonSchema { schema, .. } => ResponseFormat::JsonSchema {
                schema: schema.clone(),
            },
        };
        let format = match self.format {
            Format::Text => None,
            Format::JsonObject => Some(Constraint::Json { schema: None }),
            Format::JsonSchema { schema, strict } => Some(structure::json(schema, strict)),
            Format::Regex(regex) => Some(Constraint::Regex(regex)),
        };
        let format = format.map(Structure::demanded);
        self.choice
            .settle(self.rules, self.parallel, format, conversation, strict)
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
