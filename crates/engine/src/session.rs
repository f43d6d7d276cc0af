//! One timeline: tokens, and the model's state after them.

mod extra;
mod saved;

use std::ops::ControlFlow;
use std::sync::Arc;

use fathom_cache::Report;
use fathom_model::ForwardError;

use crate::Engine;
use crate::events::channel;
use crate::generation::{self, GenerateError, Generating, Prefill, TokenSink};
use crate::memory::NotEnoughMemory;
use crate::miss::own_state;
use crate::run::{Place, Run};
use crate::sampling::Sampler;
use crate::scheduler::{Busy, Cancel, Goal, Job, Sink};
use crate::timeline::{Home, Slot, Timeline};

pub use saved::{RestoreError, SaveError};

/// Why tokens could not be appended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The state after these tokens would never fit into the memory that states may take. The session is as before.
    #[error(transparent)]
    Memory(#[from] NotEnoughMemory),
    /// Too many requests are here already. The session is as before.
    #[error(transparent)]
    Busy(#[from] Busy),
    /// The model refused the tokens, and the session is as before; or the arithmetic failed, and the session has been
    /// emptied, for its state can no longer be trusted.
    #[error(transparent)]
    Forward(#[from] ForwardError),
    /// A bug; the session has been emptied.
    #[error("the computation failed because of a bug in Fathom; the engine goes on")]
    Bug,
    /// The engine was dropped.
    #[error("the engine has ended")]
    Ended,
}

/// One timeline of tokens. [`fork`](Self::fork) it, and both go on independently from here; [`rewind`](Self::rewind) it,
/// and it goes on from an earlier place.
///
/// What it has computed lies in the engine's cache as well, so a session is cheap to drop: another one with the same
/// tokens finds it there.
pub struct Session {
    engine: Arc<Engine>,
    isolation: Arc<str>,
    timeline: Timeline,
    place: Place,
}

impl Session {
    pub(crate) fn new(engine: Arc<Engine>, isolation: Arc<str>) -> Self {
        Self {
            engine,
            isolation,
            timeline: Timeline::default(),
            place: Place::Here,
        }
    }

    /// The engine it runs on.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Tokens in the timeline.
    pub fn len(&self) -> usize {
        self.timeline.tokens.len()
    }

    /// Whether nothing has been appended.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The tokens of the timeline.
    pub fn tokens(&self) -> &[u32] {
        &self.timeline.tokens
    }

    /// Logits `[vocab_size]` of the next token, if they were computed: after an append, not after a rewind.
    pub fn logits(&self) -> Option<&[f32]> {
        (!self.timeline.logits.is_empty()).then_some(self.timeline.logits.as_slice())
    }

    /// Bytes of the stored rows of its state.
    pub fn kv_bytes(&self) -> usize {
        self.timeline
            .state
            .as_ref()
            .map_or(0, fathom_model::State::kv_bytes)
    }

    /// How many tokens of `prompt` need not be computed: those of this session's state, or more if the cache has more.
    pub fn reusable(&self, prompt: &[u32]) -> usize {
        self.foresee(prompt).hit
    }

    /// What a generation from `prompt` would find, here or in the cache, and why not more.
    pub fn foresee(&self, prompt: &[u32]) -> Report {
        let Timeline {
            tokens,
            state,
            logits,
        } = &self.timeline;
        let known = prompt.len().saturating_sub(1);
        let own = match state {
            Some(_) if tokens == prompt && !logits.is_empty() => prompt.len(),
            Some(_) if prompt.starts_with(tokens) && tokens.len() <= known => tokens.len(),
            _ => 0,
        };
        let report = self
            .engine
            .core()
            .cache
            .find(&self.isolation, prompt, known)
            .report();
        if own < report.hit {
            return report;
        }
        own_state(own, known, report)
    }

    /// A session that goes on from here on its own. It shares what is stored.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        self.come_home();
        Self {
            engine: Arc::clone(&self.engine),
            isolation: Arc::clone(&self.isolation),
            timeline: self.timeline.clone(),
            place: Place::Here,
        }
    }

    /// Goes back to the first `len` tokens. What is needed of the state there is found in the cache or computed again when
    /// tokens follow.
    ///
    /// # Panics
    /// When the timeline is shorter than `len`.
    pub fn rewind(&mut self, len: usize) {
        self.come_home();
        assert!(len <= self.len(), "rewinding {} tokens to {len}", self.len());
        if len < self.len() {
            self.timeline.tokens.truncate(len);
            self.timeline.state = None;
            self.timeline.logits.clear();
        }
    }

    /// Empties the timeline.
    pub fn clear(&mut self) {
        self.rewind(0);
    }

    /// Appends `tokens` in chunks and computes the logits after the last one.
    ///
    /// After each chunk `progress` may break off; the session then holds the chunks that were computed, and the result
    /// is `Break`.
    pub fn append(
        &mut self,
        tokens: &[u32],
        progress: &mut dyn FnMut(Prefill) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, SessionError> {
        self.come_home();
        if tokens.is_empty() {
            return Ok(ControlFlow::Continue(()));
        }
        let prompt = [self.tokens(), tokens].concat();
        self.check(&prompt, 0)?;
        let mut run = self.start(prompt, Goal::Logits, 0, |producer| TokenSink { producer })?;
        let mut flow = ControlFlow::Continue(());
        while let Some(event) = run.next_blocking() {
            if let (generation::Event::Prefill(prefill), ControlFlow::Continue(())) = (event, flow) {
                flow = progress(prefill);
                if flow.is_break() {
                    run.cancel();
                }
            }
        }
        match run.finish_blocking() {
            Ok(_) => Ok(flow),
            Err(GenerateError::Session(error)) => Err(error),
            // Nothing is sampled.
            Err(_) => Err(SessionError::Bug),
        }
    }

    /// Appends one token and returns the logits after it.
    pub fn step(&mut self, token: u32) -> Result<&[f32], SessionError> {
        // Breaking off after the only token changes nothing.
        let _: ControlFlow<()> = self.append(&[token], &mut |_| ControlFlow::Continue(()))?;
        Ok(&self.timeline.logits)
    }

    /// Continues `prompt`, whatever the session held before: what of it is still good is not computed again. The run's
    /// events come up to `ahead` before they are asked for; with 0 nothing is computed before it is wanted.
    ///
    /// The token at position `p` is chosen with the random number of (seed, `p`), so the text depends on the prompt, the
    /// parameters and the seed only. Afterwards the session holds the prompt and all generated tokens but the last.
    pub fn generate(
        &mut self,
        prompt: &[u32],
        options: &generation::Options,
        ahead: usize,
    ) -> Result<Generating<'_>, GenerateError> {
        self.generate_into(prompt.to_vec(), options, ahead, |producer| TokenSink { producer })
    }

    /// As [`generate`](Self::generate), with the events going through `sink`.
    pub(crate) fn generate_into<E, D, S: Sink + 'static>(
        &mut self,
        prompt: Vec<u32>,
        options: &generation::Options,
        ahead: usize,
        sink: impl FnOnce(crate::events::Producer<crate::run::Message<E, D>>) -> S,
    ) -> Result<Run<'_, E, D>, GenerateError> {
        self.come_home();
        let context = self.engine.context_max();
        if prompt.is_empty() {
            return Err(GenerateError::EmptyPrompt);
        }
        if prompt.len() >= context {
            return Err(GenerateError::PromptTooLong {
                prompt: prompt.len(),
                context,
            });
        }
        let room = context - prompt.len();
        let tokens_max = options.tokens_max.map_or(room, |most| most.min(room));
        let sampler = Sampler::new(options.sampling)?;
        // Without a limit of its own, an answer may be as long as memory lets it.
        self.check(&prompt, options.tokens_max.map_or(1, |_| tokens_max))?;
        let goal = Goal::Generate {
            sampler,
            guide: options.grammar.as_ref().map(|grammar| Box::new(grammar.guide())),
            tokens_max,
            logprobs: options.logprobs,
            prompt_logprobs: options.prompt_logprobs,
        };
        Ok(self.start(prompt, goal, ahead, sink)?)
    }

    fn start<E, D, S: Sink + 'static>(
        &mut self,
        prompt: Vec<u32>,
        goal: Goal,
        ahead: usize,
        sink: impl FnOnce(crate::events::Producer<crate::run::Message<E, D>>) -> S,
    ) -> Result<Run<'_, E, D>, SessionError> {
        let (producer, consumer) = channel(ahead, self.engine.driver().bell());
        let (slot, cancel) = (Arc::<Slot>::default(), Cancel::default());
        let job = Job {
            isolation: Arc::clone(&self.isolation),
            timeline: std::mem::take(&mut self.timeline),
            prompt,
            goal,
            sink: Box::new(sink(producer)),
            slot: Home::new(Arc::clone(&slot)),
            cancel: cancel.clone(),
        };
        self.place = Place::Away(slot);
        if let Err(busy) = self.engine.driver().submit(job) {
            self.come_home();
            return Err(busy.into());
        }
        Ok(Run::new(self, consumer, cancel))
    }

    /// Takes the timeline back, waiting for it if a run was dropped before its end.
    pub(crate) fn come_home(&mut self) {
        if let Place::Away(slot) = std::mem::replace(&mut self.place, Place::Here) {
            self.timeline = slot.take();
        }
    }

    /// Refuses what would be refused half-way, so that work is done completely or not begun.
    fn check(&self, prompt: &[u32], generate: usize) -> Result<(), SessionError> {
        let (len, max) = (self.len().min(prompt.len()), self.engine.context_max());
        let adding = prompt.len() - len;
        if prompt.len() > max {
            return Err(ForwardError::ContextFull { len, adding, max }.into());
        }
        let vocab_size = self.engine.config().vocab_size;
        if let Some(position) = prompt.iter().position(|&token| token as usize >= vocab_size) {
            return Err(ForwardError::TokenOutOfRange {
                token: prompt[position],
                position,
                vocab_size,
            }
            .into());
        }
        Ok(self.engine.core().check_memory(prompt.len() + generate)?)
    }
}
