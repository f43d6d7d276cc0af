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

use deepseek_recipe::openai::ChatCompletionRequest;
use deepseek_recipe::request::{ConversionOptions, ModelVersion, ProtocolRequest as _};
use fathom_engine::answer;
use fathom_engine::sampling::Params;
use fathom_prompt::ToolDefinition;
use serde::Deserialize;

use crate::app::App;
use crate::error::ApiError;
use crate::wire::Request;
use crate::wire::body::Body;
use crate::wire::conversation::conversation;

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

/// Parses and checks a request body.
pub(super) fn read(body: &Body, app: &App) -> Result<Request, ApiError> {
    let mut request: ChatCompletionRequest = body.parse()?;
    let extra: Extra = body.parse()?;
    request.max_tokens = request.max_tokens.or(extra.max_completion_tokens);
    let user = extra.user_id.or(extra.user).unwrap_or_default();
    if user.len() > USER_ID_BYTES_MAX {
        return Err(ApiError::invalid(format!(
            "Invalid 'user_id': string too long. Expected a string with maximum length {USER_ID_BYTES_MAX}, but got a \
             string with length {} instead",
            user.len()
        )));
    }
    let named = app.catalog.find(&request.model)?;
    let recommended = named.model.sampling;
    let sampling = Params {
        temperature: request.temperature.unwrap_or(recommended.temperature),
        top_p: request.top_p.unwrap_or(recommended.top_p),
        // The standard library's only source of randomness.
        seed: request.seed.unwrap_or_else(|| RandomState::new().hash_one(0)),
        ..recommended
    };
    let conversion = ConversionOptions::new()
        .with_model_versions_by_name([(request.model.clone(), ModelVersion::DeepseekV4Pro)])
        .with_default_thinking_mode(named.thinks);
    let converted = request.convert(conversion)?;
    let modes = named.model.engine.renderer().modes();
    let conversation = conversation(&converted.conversation, extra.tools.unwrap_or_default(), modes)?;
    let inference = &converted.inference_options;
    let options = answer::Options {
        sampling,
        max_tokens: None,
        stop: converted.parsing_options.stop_sequences.clone(),
        logprobs: inference
            .logprobs
            .then(|| inference.top_logprobs.unwrap_or(0).into()),
    };
    Request::new(named.model, &conversation, options, converted, user)
}
