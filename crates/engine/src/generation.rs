//! From a prompt to sampled tokens.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use crate::sampling::{Params, Sampler, SamplingError, TokenLogprob, token_logprob};
use crate::{Progress, Session, SessionError};

/// How to generate.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// How tokens are chosen.
    pub sampling: Params,
    /// Most tokens to generate, the one that ends the text included; `None` for as many as the context holds.
    pub max_tokens: Option<usize>,
    /// Report log-probabilities, with this many of the most likely tokens.
    pub logprobs: Option<usize>,
}

/// What happens during generation.
#[derive(Debug)]
pub enum Event {
    /// Part of the prompt has been computed. Comes first with `done == 0`, and with `done == total` last.
    Prefill(Prefill),
    /// A token was chosen.
    Token {
        /// Its id.
        token: u32,
        /// Its log-probability, if asked for.
        logprob: Option<TokenLogprob>,
    },
}

/// How far the prompt has been computed, in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefill {
    /// Tokens whose state was there already; not part of `done` or `total`.
    pub cached: usize,
    /// Tokens computed.
    pub done: usize,
    /// Tokens to compute.
    pub total: usize,
}

/// Why generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The model ended the text.
    EndOfText,
    /// `max_tokens`, or the context, is used up.
    Length,
    /// The callback broke off.
    Cancelled,
}

/// What was generated.
#[derive(Debug, Clone)]
pub struct Generation {
    /// The chosen tokens, the end-of-text token included.
    pub tokens: Vec<u32>,
    /// Why it ended.
    pub end: End,
    /// Prompt tokens whose state was there already.
    pub cached: usize,
    /// Prompt tokens that were computed.
    pub computed: usize,
    /// Where the time went.
    pub timings: Timings,
}

/// Where the time went.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Timings {
    /// Computing the prompt.
    pub prefill: Duration,
    /// From the end of the prompt to the end of the text.
    pub decode: Duration,
}

/// Why nothing, or no more, could be generated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GenerateError {
    /// No tokens to continue.
    #[error("the prompt is empty; expected at least one token")]
    EmptyPrompt,
    /// The prompt leaves no room for an answer.
    #[error(
        "the prompt has {prompt} tokens, but this model's context is {context} and one more must fit behind it. \
         Shorten the prompt"
    )]
    PromptTooLong {
        /// Its length in tokens.
        prompt: usize,
        /// The model's context in tokens.
        context: usize,
    },
    /// A parameter is out of range, or the logits are no numbers.
    #[error(transparent)]
    Sampling(#[from] SamplingError),
    /// Tokens could not be appended.
    #[error(transparent)]
    Session(#[from] SessionError),
}

/// Continues `prompt` until the model ends the text, the limit is reached or `on_event` breaks off.
///
/// Whatever prefix of the prompt the session has computed before is not computed again. Just before the last prompt token
/// a snapshot is kept: it lets a next prompt that replaces this answer (another try, or a turn whose reasoning is
/// dropped) start there. Afterwards the session holds the prompt and all generated tokens but the last.
///
/// The token at position `p` is chosen with the random number of (seed, `p`), so the text depends on the prompt, the
/// parameters and the seed only.
pub fn generate(
    session: &mut Session,
    prompt: &[u32],
    options: &Options,
    on_event: &mut dyn FnMut(Event) -> ControlFlow<()>,
) -> Result<Generation, GenerateError> {
    let mut sampler = Sampler::new(options.sampling)?;
    let context = session.engine().context_max();
    if prompt.is_empty() {
        return Err(GenerateError::EmptyPrompt);
    }
    if prompt.len() >= context {
        return Err(GenerateError::PromptTooLong {
            prompt: prompt.len(),
            context,
        });
    }
    let started = Instant::now();
    let cached = session.align(prompt);
    let mut generation = Generation {
        tokens: Vec::new(),
        end: End::Length,
        cached,
        computed: prompt.len() - cached,
        timings: Timings::default(),
    };
    let prefilled = prefill(session, prompt, cached, on_event);
    generation.timings.prefill = started.elapsed();
    if prefilled?.is_break() {
        generation.end = End::Cancelled;
        generation.computed = session.len() - cached;
        return Ok(generation);
    }

    let started = Instant::now();
    let eos = session.engine().tokenizer().eos_id();
    let limit = options
        .max_tokens
        .unwrap_or(usize::MAX)
        .min(context - prompt.len());
    while generation.tokens.len() < limit {
        if let Some(&token) = generation.tokens.last() {
            session.step(token)?;
        }
        let logits = session.logits().unwrap_or_default();
        let token = sampler.sample(logits, session.len())?;
        let logprob = options
            .logprobs
            .map(|top_count| token_logprob(logits, token, top_count));
        generation.tokens.push(token);
        let flow = on_event(Event::Token { token, logprob });
        if token == eos {
            generation.end = End::EndOfText;
            break;
        }
        if flow.is_break() {
            generation.end = End::Cancelled;
            break;
        }
    }
    generation.timings.decode = started.elapsed();
    Ok(generation)
}

/// Appends `prompt[cached..]`, with a snapshot before its last token.
fn prefill(
    session: &mut Session,
    prompt: &[u32],
    cached: usize,
    on_event: &mut dyn FnMut(Event) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, SessionError> {
    let total = prompt.len() - cached;
    let mut report = |done| on_event(Event::Prefill(Prefill { cached, done, total }));
    if total == 0 {
        return Ok(report(0));
    }
    // Whoever shows progress learns how long the work is before its first, perhaps slow, part.
    if report(0).is_break() {
        return Ok(ControlFlow::Break(()));
    }
    let before_last = prompt.len() - 1;
    let flow = session.append(&prompt[cached..before_last], &mut |Progress { done, .. }| {
        report(done)
    })?;
    if flow.is_break() {
        return Ok(flow);
    }
    session.keep_snapshot();
    session.append(&prompt[before_last..], &mut |_| report(total))
}
