//! The encoding of the April 2026 releases (spec §12), which our own small models use too.
//!
//! What it does not settle, and what is done here: tools and the response format belong to the conversation and are written with
//! the system message that opens it (an empty one if there is none); [`ToolChoice::Required`] and the JSON-object format, which
//! the published encoder does not have, are written as the vendor crate writes them for the later encoding.

use deepseek_recipe_core::json::stringify_python_style;
use deepseek_recipe_core::special_tokens::SpecialToken;
use serde_json::{Map, Value};

use super::prompt_spans::PromptSpans;
use super::sampled::replay;
use super::wire::Wire;
use crate::{Conversation, Message, ResponseFormat, Task, Thinking, Tokenizer, ToolCall, ToolChoice};

/// A message after merging: consecutive user messages and tool results are one user turn.
enum Turn<'a> {
    System(&'a str),
    User {
        blocks: Vec<Block<'a>>,
        task: Option<Task>,
    },
    Assistant {
        message: &'a Message,
        task: Option<Task>,
    },
    LatestReminder(&'a str),
}

#[derive(Clone, Copy)]
enum Block<'a> {
    Text(&'a str),
    ToolResult {
        content: &'a str,
        call_id: Option<&'a str>,
    },
}

impl Turn<'_> {
    fn task(&self) -> Option<Task> {
        match self {
            Self::User { task, .. } | Self::Assistant { task, .. } => *task,
            Self::System(_) | Self::LatestReminder(_) => None,
        }
    }
}

/// Spans of the prompt for `conversation`.
pub(super) fn render(conversation: &Conversation, wire: &Wire, tokenizer: &Tokenizer) -> PromptSpans {
    let mut turns = merge(&conversation.messages);
    sort_tool_results(&mut turns);
    let has_appendices = conversation.offers_tools() || conversation.response_format != ResponseFormat::Text;
    if has_appendices && !matches!(turns.first(), Some(Turn::System(_))) {
        turns.insert(0, Turn::System(""));
    }

    let thinking = conversation.thinking.is_on();
    let last_user = turns.iter().rposition(|turn| matches!(turn, Turn::User { .. }));
    // Earlier reasoning is shown when tools are on offer or the caller asks for it.
    let keeps_all = conversation.keep_reasoning || conversation.offers_tools();
    let mut spans = PromptSpans::default();
    spans.token(SpecialToken::Bos);
    if conversation.thinking == Thinking::Max {
        spans.plain(&wire.effort_a);
    }
    for (index, turn) in turns.iter().enumerate() {
        match turn {
            Turn::System(content) => {
                spans.plain(content);
                if index == 0 {
                    push_appendices(&mut spans, conversation, wire);
                }
            }
            Turn::User { blocks, .. } => {
                spans.token(SpecialToken::User);
                push_blocks(&mut spans, blocks);
            }
            Turn::LatestReminder(content) => {
                spans.token(SpecialToken::LatestReminder);
                spans.plain(content);
            }
            Turn::Assistant { message, .. } => {
                let follows_task = index > 0 && turns[index - 1].task().is_some();
                let is_current = last_user.is_none_or(|last_user| index > last_user);
                let shows_reasoning = thinking && !follows_task && (keeps_all || is_current);
                push_answer(&mut spans, message, shows_reasoning, tokenizer);
            }
        }
        if matches!(
            turns.get(index + 1),
            None | Some(Turn::Assistant { .. } | Turn::LatestReminder(_))
        ) {
            let is_current = last_user.is_none_or(|last_user| index >= last_user);
            // A task is answered in the mode asked for, whatever is shown of earlier reasoning.
            push_transition(
                &mut spans,
                turn,
                thinking && (keeps_all || is_current || turn.task().is_some()),
            );
        }
    }
    if conversation.tool_choice == ToolChoice::Required && conversation.offers_tools() {
        spans.plain("\n\n<");
        spans.token(SpecialToken::Dsml);
        spans.plain("tool_calls>\n");
    }
    spans
}

fn merge(messages: &[Message]) -> Vec<Turn<'_>> {
    let mut turns: Vec<Turn> = Vec::with_capacity(messages.len());
    for message in messages {
        let (block, task) = match message {
            Message::User { content, task } => (Block::Text(content), *task),
            Message::Tool {
                content,
                tool_call_id,
            } => (
                Block::ToolResult {
                    content,
                    call_id: tool_call_id.as_deref(),
                },
                None,
            ),
            Message::System { content } => {
                turns.push(Turn::System(content));
                continue;
            }
            Message::Assistant { task, .. } => {
                turns.push(Turn::Assistant { message, task: *task });
                continue;
            }
            Message::LatestReminder { content } => {
                turns.push(Turn::LatestReminder(content));
                continue;
            }
        };
        // A task ends its turn: what follows it is another one.
        if let Some(Turn::User {
            blocks,
            task: slot @ None,
        }) = turns.last_mut()
        {
            blocks.push(block);
            *slot = task;
        } else {
            turns.push(Turn::User {
                blocks: vec![block],
                task,
            });
        }
    }
    turns
}

/// Put the tool results of each turn in the order of the latest calls before it; text keeps its place.
fn sort_tool_results(turns: &mut [Turn]) {
    let mut latest_calls: &[ToolCall] = &[];
    for turn in turns {
        match turn {
            Turn::Assistant {
                message: Message::Assistant { tool_calls, .. },
                ..
            } if !tool_calls.is_empty() => {
                latest_calls = tool_calls;
            }
            Turn::User { blocks, .. } => {
                let position = |block: &Block| match block {
                    Block::ToolResult { call_id, .. } => latest_calls
                        .iter()
                        .position(|call| Some(call.id.as_str()) == *call_id)
                        .unwrap_or(0),
                    Block::Text(_) => 0,
                };
                let is_result = |block: &Block| matches!(block, Block::ToolResult { .. });
                let mut results: Vec<Block> =
                    blocks.iter().copied().filter(|block| is_result(block)).collect();
                results.sort_by_key(position);
                let slots = blocks.iter_mut().filter(|block| is_result(block));
                slots.zip(results).for_each(|(slot, result)| *slot = result);
            }
            _ => {}
        }
    }
}

/// Tools and response format, after the opening system message.
fn push_appendices(spans: &mut PromptSpans, conversation: &Conversation, wire: &Wire) {
    if conversation.offers_tools() {
        spans.plain("\n\n");
        spans.extend(wire.tools_header.clone());
        let schemas: Vec<String> = conversation
            .tools
            .iter()
            .map(|tool| stringify_python_style(&tool.function().clone().into()))
            .collect();
        spans.plain(&schemas.join("\n"));
        spans.plain(&wire.tools_footer);
    }
    match &conversation.response_format {
        ResponseFormat::Text => {}
        ResponseFormat::JsonObject => {
            spans.plain("\n\n");
            spans.plain(&wire.json_object);
        }
        ResponseFormat::JsonSchema { schema } => {
            spans.plain("\n\n");
            spans.plain(&wire.schema_header);
            spans.plain(&stringify_python_style(schema));
        }
    }
}

fn push_blocks(spans: &mut PromptSpans, blocks: &[Block]) {
    for (index, block) in blocks.iter().enumerate() {
        if index > 0 {
            spans.plain("\n\n");
        }
        match block {
            Block::Text(text) => spans.plain(text),
            Block::ToolResult { content, .. } => {
                spans.plain(&format!("<tool_result>{content}</tool_result>"));
            }
        }
    }
}

fn push_answer(spans: &mut PromptSpans, message: &Message, shows_reasoning: bool, tokenizer: &Tokenizer) {
    let Message::Assistant {
        content,
        reasoning_content,
        tool_calls,
        prefix,
        ..
    } = message
    else {
        return;
    };
    let mut body = PromptSpans::default();
    if shows_reasoning {
        let reasoning = reasoning_content.as_deref().unwrap_or_default();
        body.plain(reasoning);
        // An unfinished answer that has not got beyond its reasoning goes on reasoning, as under the later encoding.
        if !(*prefix && content.is_empty() && tool_calls.is_empty()) {
            body.token(SpecialToken::ThinkingEnd);
        }
    }
    body.plain(content);
    if !tool_calls.is_empty() {
        push_tool_calls(&mut body, tool_calls);
    }
    spans.extend(replay(body, shows_reasoning, message, tokenizer));
    if !prefix {
        spans.token(SpecialToken::Eos);
    }
}

fn push_tool_calls(spans: &mut PromptSpans, calls: &[ToolCall]) {
    let tag = |spans: &mut PromptSpans, open: &str, rest: &str| {
        spans.plain(open);
        spans.token(SpecialToken::Dsml);
        spans.plain(rest);
    };
    tag(spans, "\n\n<", "tool_calls>\n");
    for call in calls {
        tag(spans, "<", &format!("invoke name=\"{}\">\n", call.name));
        for (index, (key, value)) in arguments(call).iter().enumerate() {
            if index > 0 {
                spans.plain("\n");
            }
            let (is_string, text) = match value {
                Value::String(text) => (true, text.clone()),
                other => (false, stringify_python_style(other)),
            };
            tag(
                spans,
                "<",
                &format!("parameter name=\"{key}\" string=\"{is_string}\">{text}"),
            );
            tag(spans, "</", "parameter>");
        }
        tag(spans, "\n</", "invoke>\n");
    }
    tag(spans, "</", "tool_calls>");
}

/// Arguments as parameters; text that is not a JSON object becomes one parameter named `arguments`.
fn arguments(call: &ToolCall) -> Map<String, Value> {
    serde_json::from_str(&call.arguments)
        .unwrap_or_else(|_| Map::from_iter([("arguments".to_owned(), Value::from(call.arguments.as_str()))]))
}

/// What leads from `turn` to the answer after it.
fn push_transition(spans: &mut PromptSpans, turn: &Turn, thinks: bool) {
    let marker = if thinks {
        SpecialToken::ThinkingStart
    } else {
        SpecialToken::ThinkingEnd
    };
    match (turn.task(), turn) {
        (Some(task @ Task::Action), _) => {
            spans.token(SpecialToken::Assistant);
            spans.token(marker);
            spans.control(task.token());
        }
        (Some(task), _) => spans.control(task.token()),
        (None, Turn::User { .. }) => {
            spans.token(SpecialToken::Assistant);
            spans.token(marker);
        }
        (None, _) => {}
    }
}
