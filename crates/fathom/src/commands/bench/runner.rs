//! Reading and decoding against the clock.

use std::time::Instant;

use anyhow::Context as _;
use fathom_kernels::team::Team;
use fathom_model::{Model, State, Want, Workspace};

/// Length of the prompt that is read in earnest and then lengthened by grafting.
const DONOR_TOKENS: usize = 512;

/// A model with all it takes to run it.
pub(super) struct Runner<'a> {
    model: &'a Model,
    pub(super) team: Team,
    workspace: Workspace,
    chunk: usize,
    tokens: Tokens,
}

impl<'a> Runner<'a> {
    /// For chunks of so many tokens and up to so many sessions at once.
    pub(super) fn new(model: &'a Model, team: Team, chunk: usize, sessions: usize) -> Self {
        Self {
            model,
            team,
            workspace: model.new_workspace(chunk.max(sessions)),
            chunk,
            tokens: Tokens {
                random: 1,
                vocab_size: model.config().vocab_size as u64,
            },
        }
    }

    /// Appends random tokens, with logits of the last. Returns the seconds it took.
    pub(super) fn read(&mut self, state: &mut State, tokens: usize) -> anyhow::Result<f64> {
        let ids: Vec<u32> = self.tokens.by_ref().take(tokens).collect();
        let chunks = ids.chunks(self.chunk);
        let last = chunks.len() - 1;
        let start = Instant::now();
        for (i, chunk) in chunks.enumerate() {
            let want = if i == last { Want::Last } else { Want::Nothing };
            self.model
                .forward(&mut self.team, &mut self.workspace, state, chunk, want)?;
        }
        Ok(start.elapsed().as_secs_f64())
    }

    /// Decodes random tokens on a copy of `state`: one, and then `count` against the clock. Returns tokens per second.
    pub(super) fn decode(&mut self, state: &State, count: usize) -> anyhow::Result<f64> {
        let mut state = state.clone();
        // The first one copies the blocks of rows that the two states share.
        self.read(&mut state, 1)?;
        let mut seconds = 0.0;
        for _ in 0..count {
            seconds += self.read(&mut state, 1)?;
        }
        Ok(count as f64 / seconds)
    }

    /// As [`decode`](Self::decode), with as many copies at once. Returns tokens per second, all sessions together.
    pub(super) fn decode_together(
        &mut self,
        state: &State,
        sessions: usize,
        count: usize,
    ) -> anyhow::Result<f64> {
        let mut states = vec![state.clone(); sessions];
        let mut states: Vec<&mut State> = states.iter_mut().collect();
        let mut seconds = 0.0;
        for step in 0..=count {
            let ids: Vec<u32> = self.tokens.by_ref().take(sessions).collect();
            let start = Instant::now();
            self.model
                .forward_batch(&mut self.team, &mut self.workspace, &mut states, &ids)?;
            if step > 0 {
                seconds += start.elapsed().as_secs_f64();
            }
        }
        Ok((sessions * count) as f64 / seconds)
    }

    /// A state of `depth` tokens. Short ones are read; longer ones are grafted on the longest of `earlier` that fits, or
    /// on a short one read for it.
    pub(super) fn state_at(&mut self, depth: usize, earlier: &[State]) -> anyhow::Result<State> {
        let period = self.model.graft_period();
        let fits = |state: &&State| {
            state.len() >= period
                && depth
                    .checked_sub(state.len())
                    .is_some_and(|more| more.is_multiple_of(period))
        };
        if let Some(donor) = earlier.iter().rev().find(fits) {
            return self.graft(donor, depth);
        }
        let donor_tokens = DONOR_TOKENS.next_multiple_of(period) + depth % period;
        let mut donor = self.model.new_state();
        let tokens = depth.min(donor_tokens);
        if tokens > 0 {
            self.read(&mut donor, tokens)?;
        }
        if tokens == depth {
            Ok(donor)
        } else {
            self.graft(&donor, depth)
        }
    }

    fn graft(&self, donor: &State, depth: usize) -> anyhow::Result<State> {
        self.model
            .graft(donor, depth, depth as u64)
            .with_context(|| format!("cannot make a state of {depth} tokens"))
    }
}

/// Random ids, the same in every run: every router and indexer sees what a text of all sorts of words would give it.
struct Tokens {
    random: u64,
    vocab_size: u64,
}

impl Iterator for Tokens {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        Some(((self.random >> 33) % self.vocab_size) as u32)
    }
}
