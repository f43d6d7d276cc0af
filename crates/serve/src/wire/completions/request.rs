//! A request body to prompts and how to complete them.
//!
//! The hosted API completes between a prefix and a suffix (`/beta/completions`); here any text or tokens are completed too, under
//! all names of the path, as OpenAI's legacy API does, which is what evaluation harnesses and editors use:
//!
//! | Field | Hosted API | Here |
//! |---|---|---|
//! | `prompt` | a text | also tokens, and several of either |
//! | `suffix` | optional | optional; fills in where the model has the tokens for it |
//! | `max_tokens` | 4,096 at most | as context and memory have room for; 4,096 when absent; 0 with `echo` |
//! | `logprobs` | 0 to 20 | the same; true values, also beyond the twenty most likely |
//! | `seed` | ignored | same seed, same text |
//! | `n`, `best_of`, penalties | ignored | ignored |

use std::sync::Arc;

use fathom_engine::answer::{self, Prompt};

use super::schema::{CompletionRequest, PromptText};
use crate::answer::spelled;
use crate::app::App;
use crate::catalog::ServedModel;
use crate::error::ApiError;
use crate::wire::body::Body;
use crate::wire::sampling;
use crate::wire::tokenize::known;
use crate::wire::user_of;

/// Most prompts in one request.
const PROMPTS_MAX: usize = 256;
/// Tokens to generate where a request does not say.
const TOKENS_DEFAULT: usize = 4096;
/// Most stop strings, as on the hosted API.
const STOPS_MAX: usize = 16;

/// A request that is ready to be answered.
pub(super) struct Plan {
    pub(super) model: Arc<ServedModel>,
    pub(super) user: String,
    pub(super) choices: Vec<Choice>,
    pub(super) options: answer::Options,
    pub(super) echo: bool,
    pub(super) stream: bool,
}

/// One prompt to complete.
pub(super) struct Choice {
    pub(super) prompt: Prompt,
    /// As the client gave it.
    pub(super) text: String,
    /// The spelling of its first token, where that is the client's and not begin-of-sentence, which comes before texts.
    pub(super) first: Option<String>,
    /// Most tokens to generate.
    pub(super) most: usize,
}

/// Parses and checks a request body.
pub(super) fn read(body: &Body, app: &App) -> Result<Plan, ApiError> {
    let request: CompletionRequest = body.parse()?;
    let user = user_of(request.user_id.as_deref(), request.user.as_deref())?;
    let model = app.catalog.find(&request.model)?.model;
    let mut options = options(&request, &model)?;
    let echo = request.echo == Some(true);
    options.prompt_logprobs = options.logprobs.filter(|_| echo);
    if request.max_tokens == Some(0) && !echo {
        return Err(ApiError::invalid(
            "Invalid max_tokens value: 0 generates nothing; ask for at least 1, or for the prompt with 'echo'",
        ));
    }
    let count = request.prompt.0.len();
    if !(1..=PROMPTS_MAX).contains(&count) {
        return Err(ApiError::invalid(format!(
            "Invalid 'prompt': expected 1 to {PROMPTS_MAX} prompts, but got {count}"
        )));
    }
    if request.suffix.is_some() && echo {
        return Err(ApiError::invalid("echo should not be used with suffix"));
    }
    let most = request.max_tokens.map(|most| most as usize);
    let choices = request.prompt.0.into_iter().map(|prompt| {
        let suffix = request.suffix.as_deref();
        choice(&model, prompt, suffix, most, app.strict)
    });
    Ok(Plan {
        choices: choices.collect::<Result<_, _>>()?,
        user,
        model,
        options,
        echo,
        stream: request.stream == Some(true),
    })
}

fn options(request: &CompletionRequest, model: &ServedModel) -> Result<answer::Options, ApiError> {
    let seed = request.seed.map(i64::cast_unsigned);
    let sampling = sampling::asked(model.sampling, request.temperature, request.top_p, seed);
    if !(0.0..=2.0).contains(&sampling.temperature) {
        return Err(ApiError::invalid(
            "Invalid temperature value, the valid range of temperature is [0, 2]",
        ));
    }
    if !(sampling.top_p > 0.0 && sampling.top_p <= 1.0) {
        return Err(ApiError::invalid(
            "Invalid top_p value, the valid range of top_p is (0, 1.0]",
        ));
    }
    if request.logprobs.is_some_and(|count| count > 20) {
        return Err(ApiError::invalid(
            "Invalid logprobs value, the valid range of logprobs is [0, 20]",
        ));
    }
    let stop: Vec<String> = request.stop.clone().map(Into::into).unwrap_or_default();
    if stop.len() > STOPS_MAX {
        return Err(ApiError::invalid(format!(
            "Stop string array too long: {}",
            stop.len()
        )));
    }
    if stop.iter().any(String::is_empty) {
        return Err(ApiError::invalid(
            "Invalid 'stop': empty string. Expected a string with minimum length 1, but got an empty string instead.",
        ));
    }
    Ok(answer::Options {
        sampling,
        max_tokens: None,
        stop,
        logprobs: request.logprobs.map(|count| count as usize),
        ..answer::Options::default()
    })
}

fn choice(
    model: &ServedModel,
    prompt: PromptText,
    suffix: Option<&str>,
    most: Option<usize>,
    strict: bool,
) -> Result<Choice, ApiError> {
    let engine = &model.engine;
    let refused = |error: fathom_prompt::RenderError| ApiError::invalid(error.to_string());
    let given = matches!(prompt, PromptText::Ids(_));
    let (ids, text) = match (prompt, suffix) {
        (PromptText::Text(text), None) => (engine.renderer().completion(&text).map_err(refused)?.ids, text),
        (PromptText::Text(text), Some(suffix)) => {
            let prompt = engine
                .renderer()
                .fill_in(&text, suffix)
                .map_err(|error| match error {
                    fathom_prompt::RenderError::MissingControlToken { token } => ApiError::invalid(format!(
                        "{} cannot fill in before a suffix: its tokenizer has no {token}. Leave 'suffix' out",
                        model.name
                    )),
                    other => refused(other),
                })?;
            (prompt.ids, text)
        }
        (PromptText::Ids(ids), None) => {
            known(&ids, engine.tokenizer().vocab_size(), "prompt")?;
            let text = engine.tokenizer().decode(&ids);
            (ids, text)
        }
        (PromptText::Ids(_), Some(_)) => {
            return Err(ApiError::invalid(
                "suffix should not be used with token ids as prompt",
            ));
        }
    };
    if ids.is_empty() {
        return Err(ApiError::invalid("Invalid 'prompt': it has no tokens"));
    }
    let (length, context) = (ids.len(), engine.context_max());
    let asked = most.unwrap_or(0);
    if length + if strict { asked } else { 1.min(asked) } > context {
        return Err(ApiError::invalid(format!(
            "This model's maximum context length is {context} tokens. However, you requested {} tokens ({length} in the \
             prompt, {asked} in the completion). Please reduce the length of the prompt or completion.",
            length + asked
        )));
    }
    let room = engine.timeline_max().saturating_sub(length).max(1);
    let first = ids.first().filter(|_| given);
    Ok(Choice {
        first: first.map(|&id| spelled(engine.tokenizer(), id).0),
        prompt: Prompt::of_ids(engine, ids),
        text,
        most: most.unwrap_or(TOKENS_DEFAULT).min(room),
    })
}
