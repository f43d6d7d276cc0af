//! A request body to a conversation and how to answer it.
//!
//! The vendor's conversion checks the fields; what the hosted API refuses is refused in its words. Where this server departs from
//! it, "strict" says which departures a strict server makes nevertheless:
//!
//! | Field | Hosted API | Here | strict |
//! |---|---|---|---|
//! | `temperature`, `top_p` while thinking | without effect | honoured, so that 0 is greedy and tests repeat | hosted |
//! | both, when absent | 1 | what the checkpoint's `generation_config.json` says | hosted |
//! | `max_tokens`, when absent | a fixed default | that, or what context and memory have room for | here |
//! | `max_tokens` beyond the context | refused | as much as there is room for | hosted |
//! | `max_completion_tokens` | not documented | the same as `max_tokens` | here |
//! | `seed` | ignored | same seed, same text | here |
//! | role `developer` | refused | the same as `system` | hosted |
//! | content null, images, refusals | refused | empty, `[Unsupported Image]`, their text | hosted |
//! | `tool_calls: []`; arguments as an object | refused | no calls; their text | here |
//! | tool schema without `type` | refused | an object's | hosted |
//! | `thinking` disabled with an effort | refused | off | hosted |
//! | `tool_choice` required or named while thinking | refused | honoured, once the thinking is over | hosted |
//! | `response_format` `json_schema`, `regex` | refused | honoured | hosted |
//! | `json_object` without the word "json", or with `prefix` | refused | honoured | hosted |
//! | strict beside other tools or a `response_format` | refused | honoured | hosted |
//! | `stream_options` without `stream` | refused | ignored | hosted |
//! | missing `reasoning_content` before a tool's result | refused at times | taken as empty | refused |
//! | `reasoning_effort` | three levels | mapped to the levels the checkpoint was trained with | here |
//! | `usage.prompt_cache_miss_reason` | not there | why no more of the prompt came from the cache | here |

use deepseek_recipe::openai::ChatCompletionRequest;
use deepseek_recipe::openai::chat_completion::request::{
    ChatCompletionRequestContent, ChatCompletionRequestFunctionCall, ChatCompletionRequestMessage,
    ChatCompletionRequestToolCall, ChatCompletionStreamOptions, ChatCompletionThinking, ChatCompletionTool,
    ChatCompletionToolChoiceOption, ChatCompletionToolType,
};
use deepseek_recipe::request::{ConversionOptions, ModelVersion, ProtocolRequest as _};
use fathom_prompt::ToolDefinition;
use serde_json::{Value, json};

use super::asked::Asked;
use super::schema::{ChatMessage, ChatRequest, Content, SentCall, Tool};
use super::strict;
use crate::access::Caller;
use crate::app::App;
use crate::error::ApiError;
use crate::wire::body::Body;
use crate::wire::conversation::conversation;
use crate::wire::sampling;
use crate::wire::{Draft, Request, user_of};

/// Most functions that a request may declare, as on the hosted API.
const TOOLS_MAX: usize = 128;

/// Parses and checks a request body.
pub(super) fn read(body: &Body, app: &App, caller: &Caller) -> Result<Request, ApiError> {
    Request::new(app, caller, draft(body.parse()?, app)?)
}

/// What a request asks for.
pub(super) fn draft(request: ChatRequest, app: &App) -> Result<Draft, ApiError> {
    let strict = app.strict;
    let user = user_of(request.user_id.as_deref(), request.user.as_deref())?;
    let named = app.catalog.find(&request.model)?;
    if strict {
        strict::check(&request)?;
        strict::check_reasoning(&request, strict::thinks(&request, named.thinks))?;
    }
    if let Some(tools) = request.tools.as_ref().filter(|tools| tools.len() > TOOLS_MAX) {
        return Err(ApiError::invalid(format!(
            "Invalid 'tools': array too long. Expected an array with maximum length {TOOLS_MAX}, but got an array with length \
             {} instead.",
            tools.len()
        )));
    }
    let seed = request.seed.map(i64::cast_unsigned);
    let sampling = sampling::asked(named.model.sampling, request.temperature, request.top_p, seed);
    let conversion = ConversionOptions::new()
        .with_model_versions_by_name([(request.model.clone(), ModelVersion::DeepseekV4Pro)])
        .with_default_thinking_mode(named.thinks);
    let asked = Asked::of(&request);
    let (vendor, tools) = vendor(request, strict);
    let converted = vendor.convert(conversion)?;
    let modes = named.model.engine.renderer().modes();
    let mut conversation = conversation(&converted.conversation, tools, modes)?;
    let structure = asked.settle(&mut conversation, strict)?;
    let options = sampling::options(sampling, &converted, strict);
    Ok(Draft {
        model: named.model,
        conversation,
        options,
        converted,
        user,
        structure,
    })
}

/// The request for the vendor's conversion, and the tools as the client wrote them.
fn vendor(request: ChatRequest, strict: bool) -> (ChatCompletionRequest, Vec<ToolDefinition>) {
    let (checked, written) = request
        .tools
        .unwrap_or_default()
        .into_iter()
        .map(|Tool { checked, written }| (tool(checked, strict), written))
        .unzip::<_, _, Vec<_>, Vec<_>>();
    let stream = request.stream;
    let vendor = ChatCompletionRequest {
        messages: request.messages.into_iter().map(message).collect(),
        model: request.model,
        frequency_penalty: request.frequency_penalty,
        logprobs: request.logprobs,
        top_logprobs: request.top_logprobs,
        max_tokens: request.max_tokens.or(request.max_completion_tokens),
        n: None,
        presence_penalty: request.presence_penalty,
        seed: None,
        stop: request.stop,
        stream,
        stream_options: request
            .stream_options
            .filter(|_| strict || stream == Some(true))
            .map(|options| ChatCompletionStreamOptions {
                include_usage: options.include_usage,
            }),
        temperature: request.temperature,
        top_p: request.top_p,
        // Unless strict, neither is the vendor's business: what it refuses of them can be had by grammar.
        response_format: request.response_format.filter(|_| strict),
        tools: (!checked.is_empty()).then_some(checked),
        tool_choice: request
            .tool_choice
            .filter(|choice| strict || matches!(choice, ChatCompletionToolChoiceOption::None)),
        reasoning_effort: request.reasoning_effort,
        thinking: request.thinking.map(|switch| ChatCompletionThinking {
            r#type: switch.r#type,
            budget_tokens: None,
        }),
        parallel_tool_calls: request.parallel_tool_calls,
    };
    (vendor, written)
}

/// A declaration as the vendor's conversion takes it.
fn tool(mut tool: ChatCompletionTool, strict: bool) -> ChatCompletionTool {
    if strict {
        return tool;
    }
    tool.function.strict = None;
    if let Some(Value::Object(schema)) = &mut tool.function.parameters
        && !schema.contains_key("type")
    {
        schema.insert("type".to_owned(), json!("object"));
    }
    tool
}

fn message(message: ChatMessage) -> ChatCompletionRequestMessage {
    let text = |content: Option<Content>| {
        ChatCompletionRequestContent::String(content.map(Content::into_text).unwrap_or_default())
    };
    match message {
        ChatMessage::System { content } | ChatMessage::Developer { content } => {
            ChatCompletionRequestMessage::System {
                content: text(content),
                name: None,
            }
        }
        ChatMessage::User { content } => ChatCompletionRequestMessage::User {
            content: text(content),
            name: None,
        },
        ChatMessage::Assistant {
            content,
            reasoning_content,
            tool_calls,
            prefix,
        } => {
            // Clients that always write the field mean none by an empty list.
            let tool_calls = tool_calls.filter(|calls| !calls.is_empty());
            // Nothing but reasoning is what an answer that was cut off, or is to be continued, amounts to.
            let has_reasoning = reasoning_content.is_some();
            ChatCompletionRequestMessage::Assistant {
                content: (content.is_some() || has_reasoning).then(|| text(content)),
                reasoning_content,
                name: None,
                tool_calls: tool_calls.map(|calls| calls.into_iter().map(call).collect()),
                prefix,
            }
        }
        ChatMessage::Tool {
            content,
            tool_call_id,
        } => ChatCompletionRequestMessage::Tool {
            content: text(content),
            tool_call_id,
        },
        ChatMessage::LatestReminder { content } => ChatCompletionRequestMessage::LatestReminder { content },
    }
}

fn call(call: SentCall) -> ChatCompletionRequestToolCall {
    ChatCompletionRequestToolCall {
        id: call.id,
        r#type: ChatCompletionToolType::Function,
        function: ChatCompletionRequestFunctionCall {
            name: call.function.name.clone(),
            arguments: call.function.arguments(),
        },
    }
}
