//! The vendor's conversations in our form.

use deepseek_recipe_core::conversation::{self as vendor, ReasoningEffort};
use deepseek_recipe_core::messages::InputMessage;
use deepseek_recipe_core::tools::ToolChoice as VendorToolChoice;
use fathom_prompt::{Conversation, Message, ResponseFormat, Thinking, ToolCall, ToolChoice, ToolDefinition};

use crate::error::ApiError;

/// The vendor's conversation in our form, with the client's own tool definitions.
pub(crate) fn conversation(
    converted: &vendor::Conversation,
    mut tools: Vec<ToolDefinition>,
    modes: &[Thinking],
) -> Result<Conversation, ApiError> {
    // Choosing "none" leaves no tools, naming one leaves that one.
    tools.retain(|tool| converted.tools.iter().any(|kept| kept.name == tool.name()));
    Ok(Conversation {
        messages: converted.messages.iter().map(message).collect(),
        tools,
        tool_choice: match converted.tool_choice {
            VendorToolChoice::Auto => ToolChoice::Auto,
            VendorToolChoice::None => ToolChoice::None,
            VendorToolChoice::Required => ToolChoice::Required,
        },
        thinking: thinking(converted.reasoning_effort, modes),
        response_format: match &converted.response_format {
            vendor::ResponseFormat::Text => ResponseFormat::Text,
            vendor::ResponseFormat::JsonObject => ResponseFormat::JsonObject,
            vendor::ResponseFormat::JsonSchema(schema) => ResponseFormat::JsonSchema {
                schema: schema.clone(),
            },
            vendor::ResponseFormat::Regex(_) => {
                return Err(ApiError::invalid("This response_format type is unavailable now"));
            }
        },
        keep_reasoning: false,
    })
}

fn message(message: &InputMessage) -> Message {
    match message {
        InputMessage::System { content, .. } => Message::system(content.as_str()),
        InputMessage::User { content, .. } => Message::user(content.as_str()),
        InputMessage::Assistant {
            content,
            reasoning_content,
            tool_calls,
            prefix,
        } => Message::Assistant {
            content: content.clone(),
            reasoning_content: reasoning_content.clone(),
            tool_calls: tool_calls
                .iter()
                .flatten()
                .map(|call| ToolCall {
                    id: call.id.clone(),
                    name: call.name.clone(),
                    arguments: call.arguments.clone(),
                })
                .collect(),
            prefix: *prefix,
            task: None,
            sampled: None,
        },
        InputMessage::Tool {
            content,
            tool_call_id,
            ..
        } => Message::Tool {
            content: content.as_str().to_owned(),
            tool_call_id: tool_call_id.clone(),
        },
        InputMessage::LatestReminder { content } => Message::LatestReminder {
            content: content.clone(),
        },
    }
}

/// The mode for an effort, among those the checkpoint has. Checkpoints without "low" take the words as the hosted API
/// did while it served them: low means high, xhigh means max.
fn thinking(effort: Option<ReasoningEffort>, modes: &[Thinking]) -> Thinking {
    let three_levels = modes.contains(&Thinking::Low);
    match effort {
        None => Thinking::Off,
        Some(ReasoningEffort::Low) if three_levels => Thinking::Low,
        Some(ReasoningEffort::Low | ReasoningEffort::High) => Thinking::High,
        Some(ReasoningEffort::Xhigh) if three_levels => Thinking::High,
        Some(ReasoningEffort::Xhigh | ReasoningEffort::Max) => Thinking::Max,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn efforts_map_to_what_the_checkpoint_was_trained_with() {
        use ReasoningEffort::{High, Low, Max, Xhigh};
        let efforts = [None, Some(Low), Some(High), Some(Xhigh), Some(Max)];
        let preview = [Thinking::Off, Thinking::High, Thinking::Max];
        assert_eq!(
            efforts.map(|effort| thinking(effort, &preview)),
            [
                Thinking::Off,
                Thinking::High,
                Thinking::High,
                Thinking::Max,
                Thinking::Max
            ]
        );
        let official = [Thinking::Off, Thinking::Low, Thinking::High, Thinking::Max];
        assert_eq!(
            efforts.map(|effort| thinking(effort, &official)),
            [
                Thinking::Off,
                Thinking::Low,
                Thinking::High,
                Thinking::High,
                Thinking::Max
            ]
        );
    }
}
