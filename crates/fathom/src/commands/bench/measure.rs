//! The measurements in their turns.

use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use fathom_kernels::machine::ReadBuffer;
use fathom_model::{Model, State};

use super::machine::{self, MemoryUse};
use super::report::{Batch, Decode, Prefill};
use super::runner::Runner;
use super::samples::Samples;
use super::schedule::Schedule;
use crate::limits::{Arithmetic, Costs, Peaks};
use crate::terminal::figures::{duration, rate};
use crate::units::count;

/// How long memory is read for one figure of its speed.
const READ_TIME: Duration = Duration::from_millis(if cfg!(debug_assertions) { 0 } else { 100 });
/// Tokens read before a sweep, so that the weights are in memory.
const WARM_UP_TOKENS: usize = 64;

/// All that it takes to measure.
pub(super) struct Bench<'a> {
    pub(super) model: &'a Model,
    pub(super) schedule: &'a Schedule,
    pub(super) costs: Costs<'a>,
    pub(super) peaks: Peaks,
    /// What bounds this model.
    pub(super) arithmetic: Arithmetic,
    pub(super) runner: Runner<'a>,
}

/// What came of it.
pub(super) struct Measured {
    pub(super) prefill: Vec<Prefill>,
    pub(super) decode: Vec<Decode>,
    pub(super) batch: Vec<Batch>,
    pub(super) read_bytes_per_s: Samples,
    pub(super) memory: Option<MemoryUse>,
}

/// Tells on standard error what goes on; a line is continued by what follows.
pub(super) fn say(text: &str) {
    let mut err = io::stderr().lock();
    // Without anyone to read it, progress is not worth failing for.
    err.write_all(text.as_bytes()).and_then(|()| err.flush()).ok();
}

impl Bench<'_> {
    /// Prompts from nothing, and decoding on states made for it.
    pub(super) fn probe(&mut self) -> anyhow::Result<Measured> {
        let schedule = self.schedule;
        let mut prefill: Vec<_> = schedule.prefill.iter().map(|&n| self.prefill(0, n)).collect();
        let mut decode: Vec<_> = schedule.depths.iter().map(|&depth| self.decode(depth)).collect();
        say("warm-up:");
        let started = Instant::now();
        if let Some(&tokens) = schedule.prefill.first() {
            say(&format!(" prefill {}", count(tokens as u64)));
            self.runner.read(&mut self.model.new_state(), tokens)?;
        }
        let mut states: Vec<State> = Vec::new();
        if !decode.is_empty() {
            say(" decode");
        }
        for decode in &mut decode {
            say(&format!(" @{}", count(decode.depth as u64)));
            let state = self.runner.state_at(decode.start, &states)?;
            self.runner.decode(&state, 1)?;
            decode.kv_bytes = state.kv_bytes();
            decode.memory = MemoryUse::now();
            states.push(state);
        }
        let mut batch: Vec<_> = schedule.sessions.iter().map(|&n| self.batch(n)).collect();
        let together = match states.first() {
            Some(state) => state.clone(),
            None => self.model.new_state(),
        };
        let memory = MemoryUse::now();
        if let Some(batch) = batch.last() {
            say(&format!(" batch {}", batch.sessions));
            self.runner.decode_together(&together, batch.sessions, 1)?;
        }
        say(&format!(" ({})\n", duration(started.elapsed())));

        let mut memory_speed = MemorySpeed::new(&mut self.runner);
        for turn in 1..=schedule.repeats {
            let started = Instant::now();
            self.measure_peaks();
            say(&format!("run {turn} of {}:", schedule.repeats));
            for (i, prefill) in prefill.iter_mut().enumerate() {
                say(if i == 0 { " prefill" } else { "," });
                let seconds = self.runner.read(&mut self.model.new_state(), prefill.tokens)?;
                record_prefill(prefill, seconds);
            }
            for (i, (decode, state)) in decode.iter_mut().zip(&states).enumerate() {
                say(if i == 0 { " decode" } else { "," });
                self.record_decode(decode, state, &mut memory_speed)?;
            }
            memory_speed.forget();
            for (i, batch) in batch.iter_mut().enumerate() {
                say(if i == 0 { " batch" } else { "," });
                let per_second = self
                    .runner
                    .decode_together(&together, batch.sessions, batch.tokens)?;
                batch.rates.push(per_second);
                say(&format!(" {} {}/s", batch.sessions, rate(per_second)));
            }
            self.end_turn(turn, started);
        }
        Ok(Measured {
            prefill,
            decode,
            batch,
            read_bytes_per_s: memory_speed.samples,
            memory,
        })
    }

    /// One long prompt, with decoding at every frontier.
    pub(super) fn sweep(&mut self) -> anyhow::Result<Measured> {
        let schedule = self.schedule;
        let mut decode: Vec<_> = schedule.depths.iter().map(|&depth| self.decode(depth)).collect();
        let starts = std::iter::once(0).chain(schedule.depths.iter().copied());
        let mut prefill: Vec<_> = starts
            .zip(&schedule.depths)
            .map(|(from, to)| self.prefill(from, to - from))
            .collect();
        self.runner.read(
            &mut self.model.new_state(),
            WARM_UP_TOKENS.min(schedule.depths[0]),
        )?;
        let mut memory_speed = MemorySpeed::new(&mut self.runner);
        let mut memory = None;
        for turn in 1..=schedule.repeats {
            let started = Instant::now();
            self.measure_peaks();
            say(&format!("sweep {turn} of {}:\n", schedule.repeats));
            let mut state = self.model.new_state();
            for (prefill, decode) in prefill.iter_mut().zip(&mut decode) {
                say("  prefill");
                let seconds = self.runner.read(&mut state, prefill.tokens)?;
                record_prefill(prefill, seconds);
                say(", decode");
                self.record_decode(decode, &state, &mut memory_speed)?;
                memory_speed.forget();
                say("\n");
                decode.kv_bytes = state.kv_bytes();
                decode.memory = MemoryUse::now().map(|usage| usage.without(memory_speed.buffer.bytes()));
                memory = decode.memory;
            }
            say("  done");
            self.end_turn(turn, started);
        }
        Ok(Measured {
            prefill,
            decode,
            batch: Vec::new(),
            read_bytes_per_s: memory_speed.samples,
            memory,
        })
    }

    /// Once a turn; the highest count.
    fn measure_peaks(&mut self) {
        self.peaks = self.peaks.max(Peaks::measure(&mut self.runner.team));
    }

    fn prefill(&self, from: usize, tokens: usize) -> Prefill {
        Prefill {
            from,
            tokens,
            rates: Samples::default(),
            operations_per_token: self.costs.prefill_operations(from, tokens) / tokens as f64,
        }
    }

    fn decode(&self, depth: usize) -> Decode {
        let start = self.schedule.start(depth, self.model.config());
        Decode {
            depth,
            start,
            tokens: self.schedule.generate,
            work: self.costs.decode(start),
            rates: Samples::default(),
            limits: Samples::default(),
            kv_bytes: 0,
            memory: None,
        }
    }

    fn batch(&self, sessions: usize) -> Batch {
        Batch {
            sessions,
            start: self
                .schedule
                .start(self.schedule.batch_depth(), self.model.config()),
            tokens: self.schedule.generate,
            rates: Samples::default(),
        }
    }

    fn record_decode(
        &mut self,
        decode: &mut Decode,
        state: &State,
        memory_speed: &mut MemorySpeed,
    ) -> anyhow::Result<()> {
        memory_speed.before(&mut self.runner);
        let per_second = self.runner.decode(state, decode.tokens)?;
        let read_bytes_per_s = memory_speed.after(&mut self.runner);
        decode.rates.push(per_second);
        let operations_per_s = self.peaks.of(self.arithmetic);
        decode
            .limits
            .push(decode.work.limit(read_bytes_per_s, operations_per_s));
        say(&format!(
            " @{} {}/s",
            count(decode.depth as u64),
            rate(per_second)
        ));
        Ok(())
    }

    fn end_turn(&self, turn: usize, started: Instant) {
        let left = (self.schedule.repeats - turn) as u32;
        let took = started.elapsed();
        say(&match left {
            0 => format!(" ({})\n", duration(took)),
            left => format!(" ({}, {} to go)\n", duration(took), duration(left * took)),
        });
    }
}

fn record_prefill(prefill: &mut Prefill, seconds: f64) {
    let per_second = prefill.tokens as f64 / seconds;
    prefill.rates.push(per_second);
    let end = prefill.from + prefill.tokens;
    say(&format!(" {} {}/s", count(end as u64), rate(per_second)));
}

/// Measures how fast memory is read, right before and right after decoding.
struct MemorySpeed {
    buffer: ReadBuffer,
    samples: Samples,
    /// The figure after one decoding is the one before the next.
    last: Option<f64>,
}

impl MemorySpeed {
    /// With a first figure, for runs that decode nothing.
    fn new(runner: &mut Runner<'_>) -> Self {
        let mut speed = Self {
            buffer: machine::read_buffer(),
            samples: Samples::default(),
            last: None,
        };
        speed.sample(runner);
        speed.forget();
        speed
    }

    fn sample(&mut self, runner: &mut Runner<'_>) -> f64 {
        let bytes_per_s = self.buffer.bytes_per_s(&mut runner.team, READ_TIME);
        self.samples.push(bytes_per_s);
        self.last = Some(bytes_per_s);
        bytes_per_s
    }

    fn before(&mut self, runner: &mut Runner<'_>) {
        if self.last.is_none() {
            self.sample(runner);
        }
    }

    /// The mean of before and after.
    fn after(&mut self, runner: &mut Runner<'_>) -> f64 {
        let before = self.last;
        let after = self.sample(runner);
        before.map_or(after, |before| f64::midpoint(before, after))
    }

    /// Time passes until the next decoding.
    fn forget(&mut self) {
        self.last = None;
    }
}
