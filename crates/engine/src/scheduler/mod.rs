//! Continuous batching: which sequences advance in a step, and by how much.
//!
//! One thread owns the team and steps again and again ([`thread`]). A step takes one token of every sequence that
//! generates and a chunk of the prompts that are being read, in one forward pass that reads every weight once. What a
//! sequence computes does not depend on its company, so all of the following are free to choose:
//!
//! * *Waiting.* Beside decode steps, prompts get as many tokens as fit into [`Scheduling::step_max`], measured
//!   ([`pace`]); so no decode waits longer than that, or than a step of 16 prompt tokens where the model is slower.
//! * *Fairness.* Users take turns by the prompt tokens computed for them, and one user's prompts by how long they waited
//!   ([`plan`]).
//! * *Memory.* What can never fit was refused before it came here. A sequence starts when its prompt fits beside the
//!   others; if they outgrow the budget together, the one that started last is put back into the queue: its state goes to
//!   the cache, and it resumes there, to the same bits.
//! * *Cancelling.* Looked for before every step.
//! * *Slow listeners.* A sequence whose listener has enough rests, and nobody waits for it: if it rests for long while
//!   others need its place, it goes to the cache until its listener asks again.

mod bell;
mod holdings;
mod job;
mod pace;
mod plan;
mod restore;
mod scores;
mod sequence;
mod thread;
mod waiting;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fathom_cache::{Found, Path, Prefix};
use fathom_kernels::team::Team;
use fathom_model::{ForwardError, Part, Want, Workspace};

use crate::boundaries::boundaries;
use crate::core::Core;
use crate::generation::{End, GenerateError};
use crate::miss::own_state;
use crate::session::SessionError;

pub(crate) use bell::Bell;
pub(crate) use job::{Cancel, Goal, Job, Sink};
pub use thread::Busy;
pub(crate) use thread::{Driver, RequestPlace};

use holdings::Holdings;
use pace::Pace;
use plan::{Candidate, Limits, plan};
use restore::Restorer;
use sequence::Sequence;
use waiting::Waiting;

/// How steps are made up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scheduling {
    /// Sequences that run at the same time.
    pub running_max: usize,
    /// Requests that may wait beyond those; one more is refused.
    pub waiting_max: usize,
    /// How long a step may take while sequences generate: prompts beside them get what fits.
    pub step_max: Duration,
}

impl Default for Scheduling {
    fn default() -> Self {
        Self {
            running_max: 64,
            waiting_max: 256,
            step_max: Duration::from_millis(250),
        }
    }
}

/// What one step does, where it is not left to the scheduler: for simulations, which drive an engine by hand
/// ([`Engine::step`](crate::Engine::step)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StepRules {
    /// Prompt tokens of the step, at least 1.
    pub prefill_tokens: Option<usize>,
    /// Decode steps of the step.
    pub decodes: Option<usize>,
    /// First puts this running sequence (counted from the one that started last) back into the queue.
    pub preempt: Option<usize>,
}

/// Upper bounds of [`SchedulerStats::batches`]; the last has none.
pub const BATCH_SIZES: [usize; 8] = [1, 2, 4, 8, 16, 32, 64, usize::MAX];

/// What has happened since the engine was loaded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SchedulerStats {
    /// Sequences running and waiting now.
    pub running: usize,
    /// Requests waiting now.
    pub waiting: usize,
    /// Bytes that running sequences hold: pages, once where they share them, and live states.
    pub held_bytes: u64,
    /// Forward passes.
    pub steps: u64,
    /// Prompt tokens computed.
    pub prefill_tokens: u64,
    /// Decode steps computed.
    pub decode_tokens: u64,
    /// Forward passes by how many decode steps they held: at most as many as [`BATCH_SIZES`] has at the same place, and more
    /// than at the one before. Those that held none are not counted.
    pub batches: [u64; BATCH_SIZES.len()],
    /// Time spent on forward passes and what follows from them.
    pub computing: Duration,
    /// Tokens drawn under a grammar.
    pub grammar_tokens: u64,
    /// Time spent on finding out what grammars allow; part of `computing`.
    pub grammar_time: Duration,
    /// Sequences put back into the queue.
    pub preemptions: u64,
    /// Longest step that held decode steps.
    pub decode_step_longest: Duration,
}

/// Rounds of rest after which a sequence gives up its place to one that waits: long enough that who merely looks at each
/// token keeps it.
const RESTS_MAX: u32 = 64;

/// Sequences, and what it takes to advance them.
pub(crate) struct Scheduler {
    core: Arc<Core>,
    team: Team,
    workspace: Workspace,
    rules: Scheduling,
    waiting: Waiting,
    /// In the order they started.
    running: Vec<Sequence>,
    restorer: Restorer,
    holdings: Holdings,
    pace: Pace,
    stats: SchedulerStats,
    next_id: u64,
}

impl Scheduler {
    pub(crate) fn new(core: Arc<Core>, team: Team, rules: Scheduling, restorer: Restorer) -> Self {
        let workspace = core.model.new_workspace(core.chunk_tokens);
        Self {
            core,
            team,
            workspace,
            rules,
            waiting: Waiting::default(),
            running: Vec::new(),
            restorer,
            holdings: Holdings::default(),
            pace: Pace::default(),
            stats: SchedulerStats::default(),
            next_id: 0,
        }
    }

    /// Queues a job.
    pub(crate) fn take(&mut self, job: Job, place: RequestPlace) {
        self.next_id += 1;
        let mut sequence = Sequence::new(self.next_id, job, place);
        sequence.limit_tokens(self.core.tokens_max());
        self.waiting.push(sequence);
    }

    pub(crate) fn stats(&self) -> SchedulerStats {
        SchedulerStats {
            running: self.running.len() + self.restorer.len(),
            waiting: self.waiting.len(),
            held_bytes: self.held_bytes(),
            ..self.stats
        }
    }

    /// Does the next piece of work; `false` if there is none for now.
    pub(crate) fn step(&mut self, rules: StepRules) -> bool {
        let ended = self.drop_cancelled();
        if let Some(back) = rules.preempt
            && let Some(index) = self.running.len().checked_sub(back + 1)
        {
            self.preempt(index);
        }
        self.running.iter_mut().for_each(Sequence::count_rests);
        let arrived = self.collect_restored();
        let admitted = self.admit();
        self.keep_within_memory();
        let sampled = self.sample_waiting();
        let parts = self.plan(rules);
        if parts.is_empty() {
            return ended || arrived || admitted || sampled;
        }
        self.forward(&parts);
        true
    }

    /// Ends every sequence with `error`: something went wrong that leaves nothing to trust.
    pub(crate) fn fail_all(&mut self, error: &dyn Fn() -> GenerateError) {
        self.holdings = Holdings::default();
        let sequences = self.running.drain(..).chain(self.restorer.drain());
        for sequence in sequences.chain(self.waiting.drain()) {
            sequence.finish(Err(error()));
        }
    }

    fn drop_cancelled(&mut self) -> bool {
        let mut gone: Vec<_> = self.waiting.take_cancelled();
        while let Some(index) = self.running.iter().position(Sequence::is_cancelled) {
            gone.push(self.leave(index));
        }
        let any = !gone.is_empty();
        for sequence in gone {
            sequence.finish(Ok(End::Cancelled));
        }
        any
    }

    /// Takes a sequence out of those running.
    fn leave(&mut self, index: usize) -> Sequence {
        let sequence = self.running.remove(index);
        self.keep(&sequence);
        if let Some(state) = &sequence.state {
            self.holdings.release(state.pages());
        }
        sequence
    }

    /// Leaves a sequence's state in the cache, where its pages are already.
    fn keep(&self, sequence: &Sequence) {
        let (Some(state), Some(path)) = (&sequence.state, &sequence.path) else {
            return;
        };
        if state.known() == state.len() && !state.is_empty() {
            self.core.keep_snapshot(path, &sequence.tokens, state);
        }
    }

    /// Starts waiting sequences while there is room.
    fn admit(&mut self) -> bool {
        let mut admitted = false;
        self.waiting.wake();
        loop {
            let (held, count) = (self.holdings.bytes(), self.running.len() + self.restorer.len());
            let core = &self.core;
            let fits =
                |tokens: usize| count == 0 || held + core.sequence_bytes(tokens, count + 1) <= core.ram_bytes;
            let next = if count < self.rules.running_max {
                self.waiting.next(fits)
            } else {
                None
            };
            let Some(mut sequence) = next else {
                if self.make_way() {
                    continue;
                }
                break;
            };
            admitted = true;
            let goal = sequence.tokens.len();
            let own = sequence.computed();
            let limit = match goal {
                _ if sequence.cold => 0,
                _ if let Some(scored) = sequence.scored() => scored,
                goal if own == goal => goal,
                goal => goal - 1,
            };
            let found = self.core.cache.find(&sequence.isolation, &sequence.tokens, limit);
            let report = found.report();
            if sequence.state.is_some() && own >= found.len() {
                sequence.start(own, own_state(own, goal - 1, report));
                self.start(sequence, None);
            } else {
                sequence.state = None;
                self.restore(sequence, found);
            }
        }
        admitted
    }

    /// Takes a place from the sequence that has rested longest, if somebody needs one.
    fn make_way(&mut self) -> bool {
        let resting = self
            .running
            .iter()
            .enumerate()
            .filter(|(_, sequence)| sequence.rests >= RESTS_MAX);
        let longest = resting.max_by_key(|(_, sequence)| sequence.rests);
        let Some((index, _)) = longest.filter(|_| self.waiting.wants_place()) else {
            return false;
        };
        let sequence = self.put_aside(index);
        self.waiting.rest(sequence);
        true
    }

    /// Whether somebody waits for a place that a resting sequence may soon have to give up.
    pub(crate) fn is_held_up(&self) -> bool {
        self.waiting.wants_place() && self.running.iter().any(|sequence| sequence.rests > 0)
    }

    /// Brings a sequence's state back, here if it is all in memory, or beside the steps if it must be read.
    fn restore(&mut self, sequence: Sequence, found: Found) {
        if found.is_resident() || self.restorer.is_inline() {
            let prefix = found.load();
            self.begin(sequence, prefix);
        } else {
            self.restorer.send(sequence, found);
        }
    }

    fn collect_restored(&mut self) -> bool {
        let mut any = false;
        while let Some((sequence, prefix)) = self.restorer.receive() {
            any = true;
            self.begin(sequence, prefix);
        }
        any
    }

    fn begin(&mut self, mut sequence: Sequence, prefix: Prefix) {
        let (state, path, report) = self.core.restore(&sequence.isolation, prefix);
        sequence.start(state.len(), report);
        sequence.state = Some(state);
        self.start(sequence, Some(path));
    }

    /// A sequence with a state joins those running; `path` is where the cache has the state's pages.
    fn start(&mut self, mut sequence: Sequence, path: Option<Path>) {
        let prompt = &sequence.tokens[..sequence.prompt_len()];
        let semantic = boundaries(self.core.tokenizer(), prompt);
        sequence.boundaries = self.core.snapshot_positions(&semantic, prompt.len());
        if let Some(state) = &mut sequence.state {
            let mut path = path.unwrap_or_else(|| self.core.cache.path(&sequence.isolation));
            self.core.publish(&mut path, &sequence.tokens, state);
            self.holdings.hold(state.pages());
            sequence.path = Some(path);
        }
        self.running.push(sequence);
    }

    /// Bytes of what running sequences hold.
    fn held_bytes(&self) -> u64 {
        self.holdings.bytes() + self.core.sequence_bytes(0, self.running.len())
    }

    /// Puts running sequences back into the queue until the others fit into the budget.
    fn keep_within_memory(&mut self) {
        loop {
            let outside = self.core.sequence_bytes(0, self.running.len());
            if self.held_bytes() <= self.core.ram_bytes || self.running.len() <= 1 {
                // What is cached and not in use makes room.
                self.core.cache.make_room(outside);
                return;
            }
            self.preempt(self.running.len() - 1);
        }
    }

    fn preempt(&mut self, index: usize) {
        let sequence = self.put_aside(index);
        self.waiting.push_front(sequence);
    }

    /// Takes a running sequence out, to go on later from what the cache keeps of it.
    fn put_aside(&mut self, index: usize) -> Sequence {
        let mut sequence = self.leave(index);
        sequence.state = None;
        sequence.path = None;
        sequence.rests = 0;
        self.stats.preemptions += 1;
        sequence
    }

    /// Samples where a prompt's logits were known from the start.
    fn sample_waiting(&mut self) -> bool {
        let ready = |sequence: &Sequence| sequence.waits_for_sampling() && sequence.sink.wanted();
        let ids: Vec<_> = self.running.iter().filter(|s| ready(s)).map(|s| s.id).collect();
        for &id in &ids {
            self.choose(id);
        }
        !ids.is_empty()
    }

    /// The parts of the next step: places in `running`, and tokens.
    fn plan(&self, rules: StepRules) -> Vec<(usize, usize)> {
        // Who breaks off and then asks for the rest has broken off: that is looked at last.
        let able = |sequence: &Sequence| {
            sequence.state.is_some()
                && sequence.pending() > 0
                && sequence.sink.wanted()
                && !sequence.is_cancelled()
        };
        let mut places: Vec<_> = (0..self.running.len())
            .filter(|&i| able(&self.running[i]))
            .collect();
        if let Some(&alone) = places
            .iter()
            .find(|&&i| self.running[i].alone_until > self.running[i].computed())
        {
            places = vec![alone];
        }
        let candidates: Vec<_> = places
            .iter()
            .map(|&i| {
                let sequence = &self.running[i];
                Candidate {
                    pending: sequence.pending(),
                    decoding: sequence.is_decoding(),
                    service: self.waiting.service(&sequence.isolation),
                    last_step: sequence.last_step,
                }
            })
            .collect();
        let chunk = self.core.chunk_tokens;
        let beside = self.pace.prefill_tokens(self.rules.step_max, chunk);
        let limits = Limits {
            tokens: chunk,
            decodes: rules.decodes.unwrap_or(chunk).max(1),
            prefill_beside_decodes: rules.prefill_tokens.unwrap_or(beside).max(1),
        };
        let mut parts = plan(&candidates, limits);
        if let Some(most) = rules.prefill_tokens {
            for (i, tokens) in &mut parts {
                if !candidates[*i].decoding {
                    *tokens = (*tokens).min(most.max(1));
                }
            }
        }
        for (i, _) in &mut parts {
            *i = places[*i];
        }
        // Logits of many positions are large.
        let mut rows = scores::rows_max(self.core.model.config().vocab_size);
        for (i, tokens) in &mut parts {
            let sequence = &self.running[*i];
            if sequence.scored().is_some() {
                let replaying = sequence
                    .state
                    .as_ref()
                    .map_or(0, |state| state.known().saturating_sub(state.len()));
                let most = if replaying > 0 { replaying } else { rows.max(1) };
                *tokens = (*tokens).min(most);
                rows = rows.saturating_sub(*tokens);
            }
        }
        parts
    }

    /// One forward pass, and what follows from it.
    fn forward(&mut self, parts: &[(usize, usize)]) {
        let started = Instant::now();
        let decodes = parts
            .iter()
            .filter(|&&(i, _)| self.running[i].is_decoding())
            .count();
        let prefill: usize = parts.iter().map(|&(_, tokens)| tokens).sum::<usize>() - decodes;
        let mut order: Vec<_> = parts.to_vec();
        order.sort_unstable();
        let mut places = order.iter().peekable();
        let mut wanted = Vec::with_capacity(order.len());
        let mut model_parts = Vec::with_capacity(order.len());
        for (i, sequence) in self.running.iter_mut().enumerate() {
            let Some(&(_, tokens)) = places.next_if(|part| part.0 == i) else {
                continue;
            };
            let scores = sequence.scored().is_some();
            let Some(state) = &mut sequence.state else {
                continue;
            };
            let from = state.len();
            let last = from + tokens == sequence.tokens.len();
            let want = match (last, scores) {
                (_, true) if from >= state.known() => Want::All,
                (true, _) => Want::Last,
                (false, _) => Want::Nothing,
            };
            wanted.push((last, want));
            model_parts.push(Part {
                state,
                tokens: &sequence.tokens[from..from + tokens],
                want,
            });
        }
        let result = self
            .core
            .model
            .forward_parts(&mut self.team, &mut self.workspace, &mut model_parts);
        drop(model_parts);
        let logits = match result {
            Ok(logits) => logits,
            Err(error) => return self.step_failed(&order, &error),
        };
        let vocab_size = self.core.model.config().vocab_size;
        let mut logits = logits;
        self.stats.steps += 1;
        self.stats.prefill_tokens += prefill as u64;
        self.stats.decode_tokens += decodes as u64;
        let mut to_choose = Vec::new();
        for (&(i, tokens), (last, want)) in order.iter().zip(wanted) {
            let sequence = &mut self.running[i];
            let rows = match want {
                Want::Nothing => 0,
                Want::Last => 1,
                Want::All => tokens,
            };
            let own = logits.split_off(..rows * vocab_size).unwrap_or_default();
            if want == Want::All {
                sequence.score(sequence.computed() - tokens, own, vocab_size);
            }
            if sequence.computed() <= sequence.prompt_len() {
                self.waiting.serve(&sequence.isolation, tokens as u64);
            }
            sequence.last_step = self.stats.steps;
            let after_all = own.len().checked_sub(vocab_size).filter(|_| last);
            sequence.advance(tokens, after_all.map(|at| &own[at..]));
            if last {
                to_choose.push(sequence.id);
            }
        }
        for &(i, _) in &order {
            self.after_step(i);
        }
        for id in to_choose {
            self.choose(id);
        }
        let elapsed = started.elapsed();
        self.pace.note(decodes, prefill, elapsed);
        self.stats.computing += elapsed;
        if decodes > 0 {
            let class = BATCH_SIZES.partition_point(|&most| most < decodes);
            self.stats.batches[class] += 1;
            self.stats.decode_step_longest = self.stats.decode_step_longest.max(elapsed);
        }
    }

    /// Pages that were completed go to the cache, and the state too where it is to be kept.
    fn after_step(&mut self, index: usize) {
        let sequence = &mut self.running[index];
        let prompt_len = sequence.prompt_len();
        let (Some(state), Some(path)) = (&mut sequence.state, &mut sequence.path) else {
            return;
        };
        let before = path.pages();
        self.core.publish(path, &sequence.tokens, state);
        self.holdings.hold(&state.pages()[before..]);
        let len = state.len();
        if state.known() > len {
            // Being replayed: only the entries are those of the text yet.
            return;
        }
        let kept = if len <= prompt_len {
            sequence.boundaries.contains(&len)
        } else {
            self.core.is_snapshot_position(len)
        };
        if kept {
            self.core.keep_snapshot(path, &sequence.tokens, state);
        }
        sequence.boundaries.retain(|&at| at > len);
    }

    /// Chooses a sequence's next token and sees whether it is done.
    fn choose(&mut self, id: u64) {
        let Some(index) = self.running.iter().position(|sequence| sequence.id == id) else {
            return;
        };
        let eos = self.core.tokenizer().eos_id();
        let sequence = &mut self.running[index];
        let chosen = sequence.choose(eos);
        if let Some(time) = sequence.mask_time.take() {
            self.stats.grammar_tokens += 1;
            self.stats.grammar_time += time;
        }
        match chosen {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(end)) => self.leave(index).finish(Ok(end)),
            Err(error) => self.leave(index).finish(Err(error)),
        }
    }

    /// A forward pass has failed, and the states of its parts cannot be trusted. If there were several, each is tried
    /// again on its own, from what the cache holds, so that the fault of one does not end the others.
    fn step_failed(&mut self, parts: &[(usize, usize)], error: &ForwardError) {
        let single = parts.len() == 1;
        for &(i, tokens) in parts.iter().rev() {
            let mut sequence = self.running.remove(i);
            let mut replaying = false;
            if let Some(state) = sequence.state.take() {
                self.holdings.release(state.pages());
                sequence.alone_until = state.len() + tokens;
                replaying = state.known() > state.len();
            }
            sequence.path = None;
            // The first tokens of a replay are computed with windows that lack their beginning. What they come to is not
            // used, but it could be what a cold run never meets.
            sequence.cold |= replaying;
            if single && !replaying {
                sequence.finish(Err(SessionError::from(error.clone()).into()));
            } else {
                self.waiting.push_front(sequence);
            }
        }
    }
}
