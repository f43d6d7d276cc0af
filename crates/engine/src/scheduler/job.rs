//! What is asked of the scheduler.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::generation::{GenerateError, Generation, Prefill};
use crate::grammar::Guide;
use crate::sampling::{Sampler, TokenLogprob};
use crate::timeline::{Home, Timeline};

/// A prompt to compute, and perhaps to continue.
pub(crate) struct Job {
    /// Whose cache entries it may use, and whose turn it takes.
    pub(crate) isolation: Arc<str>,
    /// What the session holds already.
    pub(crate) timeline: Timeline,
    /// All tokens the session is to hold before the first generated one.
    pub(crate) prompt: Vec<u32>,
    pub(crate) goal: Goal,
    pub(crate) sink: Box<dyn Sink>,
    /// Where the timeline goes afterwards.
    pub(crate) slot: Home,
    pub(crate) cancel: Cancel,
}

/// What comes after the prompt.
pub(crate) enum Goal {
    /// Its logits.
    Logits,
    /// Generated tokens.
    Generate {
        sampler: Sampler,
        /// What its tokens must follow.
        guide: Option<Box<Guide>>,
        /// Most tokens to generate.
        tokens_max: usize,
        /// Report log-probabilities, with this many of the most likely tokens.
        logprobs: Option<usize>,
        /// As `logprobs`, of the prompt's tokens.
        prompt_logprobs: Option<usize>,
    },
}

/// Where a job's events go. Called on the engine's thread: quick, and never waiting.
pub(crate) trait Sink: Send {
    /// Whether the listener wants more; otherwise the job rests.
    fn wanted(&self) -> bool;
    /// Whether nobody listens any more.
    fn unheard(&self) -> bool;
    /// More of the prompt has been computed.
    fn progress(&mut self, prefill: Prefill);
    /// A token was chosen. `Break`: it was the last.
    fn token(&mut self, token: u32, logprob: Option<TokenLogprob>) -> ControlFlow<()>;
    /// The job is done; the timeline is back.
    fn finish(self: Box<Self>, result: Result<Generation, GenerateError>);
}

/// Tells a job to end early.
#[derive(Clone, Default)]
pub(crate) struct Cancel(Arc<AtomicBool>);

impl Cancel {
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
