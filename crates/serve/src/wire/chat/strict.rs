//! What the hosted API refuses and this server otherwise serves, in its words.

use deepseek_recipe::openai::chat_completion::request::ChatCompletionResponseFormat;
use deepseek_recipe::request::{RequestReasoningEffort, ThinkingType};

use super::schema::{ChatMessage, ChatRequest, Content};
use crate::error::ApiError;

/// Refuses what the hosted API would. What its own conversion finds comes later.
pub(super) fn check(request: &ChatRequest) -> Result<(), ApiError> {
    let disabled =
        matches!(&request.thinking, Some(switch) if matches!(switch.r#type, ThinkingType::Disabled));
    if disabled && request.reasoning_effort.is_some() {
        return Err(ApiError::invalid(
            "thinking options type cannot be disabled when reasoning_effort is set",
        ));
    }
    if let Some(
        ChatCompletionResponseFormat::JsonSchema { .. } | ChatCompletionResponseFormat::Regex { .. },
    ) = request.response_format
    {
        return Err(ApiError::invalid("This response_format type is unavailable now"));
    }
    for (index, message) in request.messages.iter().enumerate() {
        check_message(index, message)?;
    }
    Ok(())
}

fn check_message(index: usize, message: &ChatMessage) -> Result<(), ApiError> {
    let (content, may_lack) = match message {
        ChatMessage::Developer { .. } => {
            return Err(ApiError::invalid(format!(
                "messages[{index}]: unsupported role `developer`, expected one of `system`, `user`, `assistant`, `tool`"
            )));
        }
        ChatMessage::System { content }
        | ChatMessage::User { content }
        | ChatMessage::Tool { content, .. } => (content, false),
        ChatMessage::Assistant { content, .. } => (content, true),
        ChatMessage::LatestReminder { .. } => return Ok(()),
    };
    if content.is_none() && !may_lack {
        return Err(shape(index, "content should be a string or a list"));
    }
    match content.as_ref().and_then(Content::foreign_part) {
        Some(kind) => Err(shape(
            index,
            &format!("unknown variant `{kind}`, expected `text`"),
        )),
        None => Ok(()),
    }
}

fn shape(index: usize, found: &str) -> ApiError {
    ApiError::invalid(format!(
        "Failed to deserialize the JSON body into the target type: messages[{index}]: {found}"
    ))
}

/// In a conversation that ends on a tool's result, the answer before it must come with its reasoning, even if empty.
pub(super) fn check_reasoning(request: &ChatRequest, thinks: bool) -> Result<(), ApiError> {
    if !thinks || !matches!(request.messages.last(), Some(ChatMessage::Tool { .. })) {
        return Ok(());
    }
    let last_answer = request.messages.iter().rev().find_map(|message| match message {
        ChatMessage::Assistant {
            reasoning_content, ..
        } => Some(reasoning_content),
        _ => None,
    });
    match last_answer {
        Some(None) => Err(ApiError::invalid(
            "The `reasoning_content` in the thinking mode must be passed back to the API.",
        )),
        _ => Ok(()),
    }
}

/// Whether a request thinks.
pub(super) fn thinks(request: &ChatRequest, usually: bool) -> bool {
    match (&request.thinking, request.reasoning_effort) {
        (Some(switch), _) => matches!(switch.r#type, ThinkingType::Enabled),
        (None, Some(effort)) => !matches!(effort, RequestReasoningEffort::None),
        (None, None) => usually,
    }
}
