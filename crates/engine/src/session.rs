//! One timeline: tokens, and the model's state after them.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;

use fathom_model::{ForwardError, State, Want};

use crate::Engine;
use crate::memory::{self, NotEnoughMemory};

/// Copies of earlier states a session keeps: the end of the current prompt and of the one before it.
const SNAPSHOTS_MAX: usize = 2;

/// How far an operation has come, in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Tokens computed.
    pub done: usize,
    /// Tokens to compute.
    pub total: usize,
}

/// Why tokens could not be appended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The state after these tokens would not fit into memory. The session is as before.
    #[error(transparent)]
    Memory(#[from] NotEnoughMemory),
    /// The model refused the tokens, and the session is as before; or the arithmetic failed, and the session has been
    /// emptied, for its state can no longer be trusted.
    #[error(transparent)]
    Forward(#[from] ForwardError),
}

/// One timeline of tokens. Cloning forks it: both copies go on independently from here.
#[derive(Clone)]
pub struct Session {
    engine: Arc<Engine>,
    state: State,
    tokens: Vec<u32>,
    /// States after prefixes of `tokens`, shortest first.
    snapshots: VecDeque<State>,
    /// Logits after the last token; empty if they were not computed.
    logits: Vec<f32>,
}

impl Session {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        let state = engine.model().new_state();
        Self {
            engine,
            state,
            tokens: Vec::new(),
            snapshots: VecDeque::new(),
            logits: Vec::new(),
        }
    }

    /// The engine it runs on.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Tokens in the timeline.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether nothing has been appended.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The tokens of the timeline.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Logits `[vocab_size]` of the next token; `None` before the first token.
    pub fn logits(&self) -> Option<&[f32]> {
        (!self.logits.is_empty()).then_some(self.logits.as_slice())
    }

    /// Bytes the state and its snapshots hold.
    pub fn kv_bytes(&self) -> usize {
        self.state.kv_bytes() + self.snapshots.iter().map(State::kv_bytes).sum::<usize>()
    }

    /// How many tokens [`align`](Self::align) would keep.
    pub fn reusable(&self, prompt: &[u32]) -> usize {
        self.best_start(prompt).0
    }

    /// Goes back to the longest state that is a prefix of `prompt`, and returns its length: the tokens that need not be
    /// computed again. Append `prompt[kept..]` next; afterwards the session is in the very state (`==`) that a new one
    /// would reach with `prompt`.
    ///
    /// Candidates are the end of the timeline and the snapshots. At least one token is left to append, unless the
    /// timeline is exactly `prompt` and its logits are known.
    pub fn align(&mut self, prompt: &[u32]) -> usize {
        let (kept, snapshot) = self.best_start(prompt);
        if kept == self.tokens.len() && snapshot.is_none() {
            return kept;
        }
        self.state = snapshot.map_or_else(
            || self.engine.model().new_state(),
            |index| self.snapshots[index].clone(),
        );
        self.snapshots.truncate(snapshot.map_or(0, |index| index + 1));
        self.tokens.truncate(kept);
        self.logits.clear();
        kept
    }

    /// Length of the best state to start from, and which snapshot it is (`None`: the live state, or a new one if 0).
    fn best_start(&self, prompt: &[u32]) -> (usize, Option<usize>) {
        let common = self
            .tokens
            .iter()
            .zip(prompt)
            .take_while(|(ours, theirs)| ours == theirs)
            .count();
        let complete = common == prompt.len() && !self.logits.is_empty();
        if common == self.tokens.len() && (common < prompt.len() || complete) {
            return (common, None);
        }
        let limit = common.min(prompt.len().saturating_sub(1));
        let index = self.snapshots.iter().rposition(|state| state.len() <= limit);
        (index.map_or(0, |index| self.snapshots[index].len()), index)
    }

    /// Keeps a copy of the state here, for [`align`](Self::align) to come back to. The oldest copy goes when there are
    /// too many.
    pub fn keep_snapshot(&mut self) {
        if self.is_empty() || self.snapshots.back().is_some_and(|last| last.len() == self.len()) {
            return;
        }
        if self.snapshots.len() == SNAPSHOTS_MAX {
            self.snapshots.pop_front();
        }
        self.snapshots.push_back(self.state.clone());
    }

    /// Empties the timeline.
    pub fn clear(&mut self) {
        self.state = self.engine.model().new_state();
        self.tokens.clear();
        self.snapshots.clear();
        self.logits.clear();
    }

    /// Appends `tokens` in chunks and computes the logits after the last one.
    ///
    /// After each chunk `progress` may break off; the session then holds the chunks that were computed, and the result
    /// is `Break`.
    pub fn append(
        &mut self,
        tokens: &[u32],
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, SessionError> {
        self.check(tokens)?;
        let engine = Arc::clone(&self.engine);
        let total = tokens.len();
        let mut done = 0;
        for chunk in tokens.chunks(engine.chunk_tokens()) {
            let last = done + chunk.len() == total;
            let want = if last { Want::Last } else { Want::Nothing };
            self.forward(&engine, chunk, want)?;
            done += chunk.len();
            if progress(Progress { done, total }).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Appends one token and returns the logits after it.
    pub fn step(&mut self, token: u32) -> Result<&[f32], SessionError> {
        // Breaking off after the only token changes nothing.
        let _: ControlFlow<()> = self.append(&[token], &mut |_| ControlFlow::Continue(()))?;
        Ok(&self.logits)
    }

    /// Runs one chunk, when it is this session's turn. The turn ends here, before anybody is told of the result.
    fn forward(&mut self, engine: &Engine, chunk: &[u32], want: Want) -> Result<(), SessionError> {
        self.logits.clear();
        let parts = &mut *engine.executor().turn();
        match engine.model().forward(
            &mut parts.team,
            &mut parts.workspace,
            &mut self.state,
            chunk,
            want,
        ) {
            Ok(logits) => self.logits.extend_from_slice(logits),
            Err(error) => {
                // Some layers of the state may have changed and others not: start again.
                self.clear();
                return Err(error.into());
            }
        }
        self.tokens.extend_from_slice(chunk);
        Ok(())
    }

    /// Refuses what the model would refuse half-way, so that an append is done completely or not begun.
    fn check(&self, tokens: &[u32]) -> Result<(), SessionError> {
        let (len, adding, max) = (self.len(), tokens.len(), self.engine.context_max());
        if adding > max - len {
            return Err(ForwardError::ContextFull { len, adding, max }.into());
        }
        let vocab_size = self.engine.config().vocab_size;
        if let Some(index) = tokens.iter().position(|&token| token as usize >= vocab_size) {
            let (token, position) = (tokens[index], len + index);
            return Err(ForwardError::TokenOutOfRange {
                token,
                position,
                vocab_size,
            }
            .into());
        }
        if adding > 1 && !self.engine.ignores_memory() {
            memory::check_context(&self.engine, self.kv_bytes(), len + adding)?;
        }
        Ok(())
    }
}
