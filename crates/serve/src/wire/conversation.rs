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

/// Lets a conversation end with a user's turn, or an answer to go on with: instructions at its end are the user's then, and behind
/// an answer the user has said nothing yet. The later encoding asks for an answer anyway, the earlier one only behind a
/// user's turn.
pub(super) fn ask(messages: &mut Vec<Message>, modes: &[Thinking]) {
    if modes.contains(&Thinking::Low) {
        return;
    }
    let begins = messages
        .iter()
        .take_while(|message| matches!(message, Message::System { .. }))
        .count();
    for message in messages[begins..].iter_mut().rev() {
        let Message::System { content } = message else {
            break;
        };
        *message = Message::user(std::mem::take(content));
    }
    let last = messages.last();
    if let None | Some(Message::System { .. } | Message::Assistant { prefix: false, .. }) = last {
        messages.push(Message::user(""));
    }
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
    fn a_conversation_ends_with_a_question() {
        let (system, user, answer) = (Message::system("s"), Message::user("u"), Message::assistant("a"));
        for (given, expected) in [
            (vec![system.clone()], vec![system.clone(), Message::user("")]),
            (
                vec![system.clone(), user.clone(), system.clone()],
                vec![system.clone(), user.clone(), Message::user("s")],
            ),
            (
                vec![user.clone(), answer.clone()],
                vec![user.clone(), answer.clone(), Message::user("")],
            ),
            (
                vec![user.clone(), system.clone(), user.clone()],
                vec![user.clone(), system.clone(), user.clone()],
            ),
        ] {
            let mut messages = given;
            ask(&mut messages, &[Thinking::Off, Thinking::High]);
            assert_eq!(messages, expected);
        }
        let mut unfinished = vec![
            user,
            Message::Assistant {
                content: "a".to_owned(),
                reasoning_content: None,
                tool_calls: Vec::new(),
                prefix: true,
                task: None,
                sampled: None,
            },
        ];
        let as_it_was = unfinished.clone();
        ask(&mut unfinished, &[]);
        assert_eq!(unfinished, as_it_was);
    }

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
