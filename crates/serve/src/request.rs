//! A request body to a conversation and how to answer it.
//!
//! The vendor's conversion parses and checks the fields; what the hosted API refuses is refused in its words. Where this
//! server departs from it:
//!
//! | Field | Hosted API | Here |
//! |---|---|---|
//! | `temperature`, `top_p` while thinking | without effect | honoured, so that 0 is greedy and tests repeat |
//! | both, when absent | 1 | what the checkpoint's `generation_config.json` says |
//! | `max_tokens`, when absent | a fixed default | that, or what memory has room for if it is less |
//! | `max_completion_tokens` | not documented | the same as `max_tokens` |
//! | `user_id`, `user` | separate cache and scheduling for each | the same |
//! | `usage.prompt_cache_miss_reason` | not there | why no more of the prompt came from the cache, if any was missed |
//! | `seed` | ignored | same seed, same text |
//! | `reasoning_effort` | three levels | mapped to the levels the checkpoint was trained with |
//! | `response_format` | enforced | described in the prompt; `regex` is refused |

use std::hash::{BuildHasher as _, RandomState};

use axum::Json;
use deepseek_recipe::openai::ChatCompletionRequest;
use deepseek_recipe::request::{ConversationRequest, ConversionOptions, ModelVersion, ProtocolRequest as _};
use deepseek_recipe_core::conversation::{self as vendor, ReasoningEffort};
use deepseek_recipe_core::messages::InputMessage;
use deepseek_recipe_core::tools::ToolChoice as VendorToolChoice;
use fathom_engine::answer;
use fathom_engine::sampling::Params;
use fathom_prompt::{Conversation, Message, ResponseFormat, Thinking, ToolCall, ToolChoice, ToolDefinition};
use serde::Deserialize;

use crate::app::App;
use crate::error::ApiError;

/// A checked request.
pub(crate) struct ChatRequest {
    /// What to answer.
    pub(crate) conversation: Conversation,
    /// How; `max_tokens` is still to be resolved against the prompt.
    pub(crate) options: answer::Options,
    /// The vendor's form of it, which shapes the reply.
    pub(crate) converted: ConversationRequest,
    /// The model's name as the client gave it.
    pub(crate) model: String,
    /// Whether the client says how long the answer may be.
    pub(crate) limited: bool,
    /// Whose cached prefixes may be used; empty for those who do not say.
    pub(crate) isolation: String,
}

/// Longest `user_id` in bytes, as on the hosted API.
const USER_ID_BYTES_MAX: usize = 512;

/// Fields the vendor's schema lacks, or does not keep as they are.
#[derive(Deserialize)]
struct Extra {
    max_completion_tokens: Option<u32>,
    user_id: Option<String>,
    user: Option<String>,
    /// As the client wrote them: the model was trained on schemas in their original key order.
    tools: Option<Vec<ToolDefinition>>,
}

impl ChatRequest {
    /// Parses and checks a request body.
    pub(crate) fn parse(body: &[u8], app: &App) -> Result<Self, ApiError> {
        // The extractor's own parser, for its messages name the field and place.
        let Json(mut request) = Json::<ChatCompletionRequest>::from_bytes(body)
            .map_err(|rejection| ApiError::invalid(rejection.body_text()))?;
        let Json(extra) =
            Json::<Extra>::from_bytes(body).map_err(|rejection| ApiError::invalid(rejection.body_text()))?;
        request.max_tokens = request.max_tokens.or(extra.max_completion_tokens);
        let limited = request.max_tokens.is_some();
        let isolation = extra.user_id.or(extra.user).unwrap_or_default();
        if isolation.len() > USER_ID_BYTES_MAX {
            return Err(ApiError::invalid(format!(
                "Invalid 'user_id': string too long. Expected a string with maximum length {USER_ID_BYTES_MAX}, but got \
                 a string with length {} instead",
                isolation.len()
            )));
        }
        let recommended = app.options.sampling;
        let sampling = Params {
            temperature: request.temperature.unwrap_or(recommended.temperature),
            top_p: request.top_p.unwrap_or(recommended.top_p),
            // The standard library's only source of randomness.
            seed: request.seed.unwrap_or_else(|| RandomState::new().hash_one(0)),
            ..recommended
        };
        let model = request.model.clone();
        let names = app.model_names().map(|name| (name, ModelVersion::DeepseekV4Pro));
        let converted = request.convert(ConversionOptions::new().with_model_versions_by_name(names))?;
        let conversation = conversation(&converted.conversation, extra.tools.unwrap_or_default(), app)?;
        let inference = &converted.inference_options;
        let options = answer::Options {
            sampling,
            max_tokens: None,
            stop: converted.parsing_options.stop_sequences.clone(),
            logprobs: inference
                .logprobs
                .then(|| inference.top_logprobs.unwrap_or(0).into()),
        };
        Ok(Self {
            conversation,
            options,
            converted,
            model,
            limited,
            isolation,
        })
    }
}

/// The vendor's conversation in our form, with the client's own tool definitions.
fn conversation(
    converted: &vendor::Conversation,
    mut tools: Vec<ToolDefinition>,
    app: &App,
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
        thinking: thinking(converted.reasoning_effort, app.engine.renderer().modes()),
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
