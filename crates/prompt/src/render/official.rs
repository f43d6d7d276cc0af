//! The 0731 / 0813 encoding: the vendor crate's, unchanged.

use deepseek_recipe_core::conversation::{self as vendor, ReasoningEffort};
use deepseek_recipe_core::messages::{InputMessage, ToolCall};
use deepseek_recipe_core::prompt::Prompt;
use deepseek_recipe_core::special_tokens::SpecialToken;
use deepseek_recipe_core::tools::{ToolChoice, ToolDefinition};
use deepseek_recipe_encoding::PromptEncoding;
use deepseek_recipe_encoding::dsv4::DeepseekV4Encoding;

use super::RenderError;
use super::prompt_spans::PromptSpans;
use super::sampled::replay;
use crate::{Conversation, Message, ResponseFormat, Thinking, Tokenizer};

/// Spans of the prompt for `conversation`.
pub(super) fn render(conversation: &Conversation, tokenizer: &Tokenizer) -> Result<PromptSpans, RenderError> {
    let rendered = DeepseekV4Encoding::new().render_conversation(&to_vendor(conversation)?);
    Ok(replay_sampled(
        PromptSpans::from_vendor(&rendered),
        conversation,
        tokenizer,
    ))
}

fn to_vendor(conversation: &Conversation) -> Result<vendor::Conversation, RenderError> {
    let messages = conversation
        .messages
        .iter()
        .enumerate()
        .map(|(index, message)| message_to_vendor(conversation, index, message))
        .collect::<Result<_, _>>()?;
    let tools = conversation.tools.iter().map(|tool| ToolDefinition {
        name: tool.name().to_owned(),
        description: Some(tool.description().to_owned()),
        parameters: tool.parameters(),
        strict: None,
        defer_loading: false,
    });
    Ok(vendor::Conversation {
        messages,
        thinking_mode: conversation.thinking.is_on(),
        tools: tools.collect(),
        tool_choice: match conversation.tool_choice {
            crate::ToolChoice::Auto => ToolChoice::Auto,
            crate::ToolChoice::None => ToolChoice::None,
            crate::ToolChoice::Required => ToolChoice::Required,
        },
        reasoning_effort: match conversation.thinking {
            Thinking::Off => None,
            Thinking::Low => Some(ReasoningEffort::Low),
            Thinking::High => Some(ReasoningEffort::High),
            Thinking::Max => Some(ReasoningEffort::Max),
        },
        response_format: match &conversation.response_format {
            ResponseFormat::Text => vendor::ResponseFormat::Text,
            ResponseFormat::JsonObject => vendor::ResponseFormat::JsonObject,
            ResponseFormat::JsonSchema { schema } => vendor::ResponseFormat::JsonSchema(schema.clone()),
        },
    })
}

fn message_to_vendor(
    conversation: &Conversation,
    index: usize,
    message: &Message,
) -> Result<InputMessage, RenderError> {
    if let Message::User { task: Some(_), .. } | Message::Assistant { task: Some(_), .. } = message {
        let instead = "ask in the message's text, or use an April checkpoint";
        return Err(RenderError::Unsupported {
            what: "a quick-instruction task",
            index,
            instead,
        });
    }
    let image_sources = Vec::new();
    Ok(match message {
        Message::System { content } => InputMessage::System {
            content: Prompt::plain(content),
            image_sources,
            tools: None,
        },
        Message::User { content, .. } => InputMessage::User {
            content: Prompt::plain(content),
            image_sources,
        },
        Message::Assistant {
            content,
            reasoning_content,
            tool_calls,
            prefix,
            ..
        } => {
            if conversation.keep_reasoning
                && !conversation.offers_tools()
                && reasoning_content.is_some()
                && !prefix
            {
                let instead = "turn keep_reasoning off, or offer tools, which keeps reasoning";
                return Err(RenderError::Unsupported {
                    what: "reasoning of an earlier answer",
                    index,
                    instead,
                });
            }
            let calls = tool_calls.iter().map(|call| ToolCall {
                id: call.id.clone(),
                name: call.name.clone(),
                arguments: call.arguments.clone(),
            });
            InputMessage::Assistant {
                content: content.clone(),
                reasoning_content: reasoning_content.clone(),
                // `Some` of nothing would render as an empty tool-call block.
                tool_calls: (!tool_calls.is_empty()).then(|| calls.collect()),
                prefix: *prefix,
            }
        }
        Message::Tool {
            content,
            tool_call_id,
        } => InputMessage::Tool {
            content: Prompt::plain(content),
            image_sources,
            tool_call_id: tool_call_id.clone(),
        },
        Message::LatestReminder { content } => InputMessage::LatestReminder {
            content: content.clone(),
        },
    })
}

/// Put sampled ids in place of assistant messages that carry them.
///
/// The vendor writes one `<｜Assistant｜>` per assistant message, in order, then the think marker, then the body.
fn replay_sampled(spans: PromptSpans, conversation: &Conversation, tokenizer: &Tokenizer) -> PromptSpans {
    let mut answers = conversation
        .messages
        .iter()
        .filter(|message| matches!(message, Message::Assistant { .. }));
    let mut replayed = PromptSpans::default();
    let mut spans = spans.into_vec().into_iter().peekable();
    while let Some(span) = spans.next() {
        let is_assistant = span.is(SpecialToken::Assistant);
        replayed.push(span);
        // The last `<｜Assistant｜>` opens the answer to come.
        let Some(message) = is_assistant.then(|| answers.next()).flatten() else {
            continue;
        };
        let Some(marker) = spans.next() else { break };
        let shows_reasoning = marker.is(SpecialToken::ThinkingStart);
        replayed.push(marker);
        let mut body = PromptSpans::default();
        while let Some(span) = spans.next_if(|span| !span.is(SpecialToken::Eos)) {
            body.push(span);
        }
        replayed.extend(replay(body, shows_reasoning, message, tokenizer));
    }
    replayed
}

#[cfg(test)]
mod tests {
    use super::super::prompt_spans::Span;
    use super::*;

    #[test]
    fn spans_split_at_control_tokens_only() {
        let vendor = to_vendor(&Conversation::from_user("a</think>b")).unwrap();
        let spans =
            PromptSpans::from_vendor(&DeepseekV4Encoding::new().render_conversation(&vendor)).into_vec();
        assert_eq!(spans[3], Span::Plain("a</think>b".to_owned()));
    }
}
