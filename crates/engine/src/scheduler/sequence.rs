//! A job on its way through the scheduler.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fathom_cache::{Path, Report};
use fathom_model::State;

use super::RequestPlace;
use super::job::{Cancel, Goal, Job, Sink};
use super::scores::Scores;
use crate::generation::{End, GenerateError, Generation, Prefill, Timings};
use crate::sampling::token_logprob;
use crate::timeline::{Home, Timeline};

/// Tokens, how many of them the model has seen, and who waits for the rest.
pub(super) struct Sequence {
    pub(super) id: u64,
    pub(super) isolation: Arc<str>,
    /// Prompt and generated tokens.
    pub(super) tokens: Vec<u32>,
    /// The state after some of `tokens`; `None` while it waits.
    pub(super) state: Option<State>,
    /// Its place in the cache, and how many of the state's pages are there.
    pub(super) path: Option<Path>,
    /// Positions at which the state is to be kept, ascending, beyond where the state is.
    pub(super) boundaries: Vec<usize>,
    pub(super) last_step: u64,
    /// Rounds since its listener last wanted something.
    pub(super) rests: u32,
    /// Runs in steps of its own until it has passed this position: a step it shared has failed.
    pub(super) alone_until: usize,
    /// Starts from nothing, whatever the cache has: a replay has failed.
    pub(super) cold: bool,
    pub(super) sink: Box<dyn Sink>,
    /// Of the prompt's tokens, if asked for.
    scores: Option<Scores>,
    /// How long it took to find out what the grammar allows, of the last token.
    pub(super) mask_time: Option<Duration>,
    /// What the cache held when the job came.
    pub(super) report: Option<Report>,
    prompt_len: usize,
    /// Tokens at the start that need not be computed; for progress.
    cached: usize,
    /// Logits after all of `tokens`; empty if they are not known.
    logits: Vec<f32>,
    goal: Goal,
    slot: Home,
    cancel: Cancel,
    _place: RequestPlace,
    queued: Instant,
    prefilled: Option<Instant>,
}

impl Sequence {
    pub(super) fn new(id: u64, job: Job, place: RequestPlace) -> Self {
        let Job {
            isolation,
            timeline,
            prompt,
            goal,
            sink,
            slot,
            cancel,
        } = job;
        let Timeline {
            tokens,
            state,
            logits,
        } = timeline;
        let scores = match goal {
            Goal::Generate {
                prompt_logprobs: Some(top_count),
                ..
            } => Some(Scores::new(top_count, prompt.len())),
            Goal::Logits | Goal::Generate { .. } => None,
        };
        let is_unknown = scores.as_ref().is_some_and(|scores| scores.used().is_some());
        let usable =
            !is_unknown && prompt.starts_with(&tokens) && (tokens.len() < prompt.len() || !logits.is_empty());
        let (state, logits) = if usable && tokens.len() == prompt.len() {
            (state, logits)
        } else {
            (state.filter(|_| usable), Vec::new())
        };
        Self {
            id,
            isolation,
            prompt_len: prompt.len(),
            tokens: prompt,
            state,
            path: None,
            boundaries: Vec::new(),
            last_step: 0,
            rests: 0,
            alone_until: 0,
            cold: false,
            sink,
            scores,
            mask_time: None,
            report: None,
            cached: 0,
            logits,
            goal,
            slot,
            cancel,
            _place: place,
            queued: Instant::now(),
            prefilled: None,
        }
    }

    /// Whether whoever asked wants it no more.
    pub(super) fn is_cancelled(&self) -> bool {
        self.cancel.is_set() || self.sink.unheard()
    }

    /// Counts a round in which its listener wants nothing.
    pub(super) fn count_rests(&mut self) {
        self.rests = if self.sink.wanted() {
            0
        } else {
            self.rests.saturating_add(1)
        };
    }

    /// Tokens of the prompt.
    pub(super) fn prompt_len(&self) -> usize {
        self.prompt_len
    }

    /// Tokens the model has seen.
    pub(super) fn computed(&self) -> usize {
        self.state.as_ref().map_or(0, State::len)
    }

    /// Whether the one token to compute is a generated one.
    pub(super) fn is_decoding(&self) -> bool {
        self.tokens.len() > self.prompt_len && self.computed() + 1 == self.tokens.len()
    }

    /// Tokens to append before the next place where it must stop.
    pub(super) fn pending(&self) -> usize {
        let computed = self.computed();
        let next = self.boundaries.iter().find(|&&at| at > computed);
        next.map_or(self.tokens.len(), |&at| at.min(self.tokens.len())) - computed
    }

    /// Tokens whose logits have been used, if those after every token are needed and some have not.
    pub(super) fn scored(&self) -> Option<usize> {
        self.scores.as_ref().and_then(Scores::used)
    }

    /// Uses the logits after the tokens from position `first` on.
    pub(super) fn score(&mut self, first: usize, logits: &[f32], vocab_size: usize) {
        if let Some(scores) = &mut self.scores {
            scores.take(first, logits, vocab_size, &self.tokens);
        }
    }

    /// Lowers the number of tokens it may generate.
    pub(super) fn limit_tokens(&mut self, most: usize) {
        if let Goal::Generate { tokens_max, .. } = &mut self.goal {
            *tokens_max = (*tokens_max).min(most.saturating_sub(self.prompt_len));
        }
    }

    /// It starts from a state of `kept` tokens; told once.
    pub(super) fn start(&mut self, kept: usize, report: Report) {
        if self.report.is_none() {
            self.cached = kept.min(self.prompt_len);
            self.report = Some(report);
            self.progress(0);
        }
    }

    /// Whether the prompt's logits are known and nothing has been done with them.
    pub(super) fn waits_for_sampling(&self) -> bool {
        !self.logits.is_empty() && self.prefilled.is_none()
    }

    /// Takes what a step computed: `tokens` more, and the logits after the last if that was asked for.
    pub(super) fn advance(&mut self, tokens: usize, logits: Option<&[f32]>) {
        let computed = self.computed();
        if computed <= self.prompt_len && self.prefilled.is_none() && tokens > 0 {
            self.progress(computed.saturating_sub(self.cached));
        }
        self.logits.clear();
        if let Some(logits) = logits {
            self.logits.extend_from_slice(logits);
        }
    }

    fn progress(&mut self, done: usize) {
        let (cached, total) = (self.cached, self.prompt_len - self.cached);
        self.sink.progress(Prefill { cached, done, total });
    }

    /// After logits have come: chooses the next token, or says that the job is done.
    pub(super) fn choose(&mut self, eos: u32) -> Result<ControlFlow<End>, GenerateError> {
        self.prefilled.get_or_insert_with(Instant::now);
        let generated = self.tokens.len() - self.prompt_len;
        let Goal::Generate {
            sampler,
            guide,
            tokens_max,
            logprobs,
            ..
        } = &mut self.goal
        else {
            return Ok(ControlFlow::Break(End::Length));
        };
        if generated >= *tokens_max {
            return Ok(ControlFlow::Break(End::Length));
        }
        let position = self.tokens.len();
        let token = match guide {
            None => sampler.sample(&self.logits, position)?,
            Some(guide) => {
                let started = Instant::now();
                let allowed = guide.allowed()?;
                self.mask_time = Some(started.elapsed());
                let token = sampler.sample_from(&self.logits, position, allowed)?;
                guide.accept(token)?;
                token
            }
        };
        let logprob = logprobs.map(|top_count| token_logprob(&self.logits, token, top_count));
        self.tokens.push(token);
        self.logits.clear();
        let flow = self.sink.token(token, logprob);
        Ok(if token == eos {
            ControlFlow::Break(End::EndOfText)
        } else if flow.is_break() {
            ControlFlow::Break(End::Cancelled)
        } else if generated + 1 >= *tokens_max {
            ControlFlow::Break(End::Length)
        } else {
            ControlFlow::Continue(())
        })
    }

    /// Gives the timeline back and tells the listener.
    pub(super) fn finish(mut self, result: Result<End, GenerateError>) {
        let computed = self.computed();
        let now = Instant::now();
        let prefilled = self.prefilled.unwrap_or(now);
        let generated = self.tokens.split_off(self.prompt_len);
        let result = result.map(|end| Generation {
            end,
            cached: self.cached,
            computed: computed.min(self.prompt_len).saturating_sub(self.cached),
            report: self.report.unwrap_or_default(),
            timings: Timings {
                prefill: prefilled - self.queued,
                decode: now - prefilled,
            },
            tokens: generated.clone(),
            prompt_logprobs: self.scores.map(Scores::into_inner).unwrap_or_default(),
        });
        self.tokens.extend(generated);
        let timeline = match self.state {
            Some(state) if result.is_ok() && state.known() == state.len() => {
                self.tokens.truncate(computed);
                let complete = computed == self.tokens.len();
                Timeline {
                    tokens: self.tokens,
                    logits: if complete { self.logits } else { Vec::new() },
                    state: Some(state),
                }
            }
            _ => Timeline::default(),
        };
        self.slot.put(timeline);
        self.sink.finish(result);
    }
}
