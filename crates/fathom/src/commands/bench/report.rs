//! What was measured, and the figures that follow from it.

use super::machine::MemoryUse;
use super::samples::Samples;
use crate::limits::{Arithmetic, Bound, Peaks, Work};

/// A whole run.
pub(super) struct Report {
    pub(super) model: String,
    pub(super) numerics: &'static str,
    pub(super) arithmetic: Arithmetic,
    pub(super) date: String,
    pub(super) seconds: f64,
    pub(super) repeats: usize,
    pub(super) chunk: usize,
    /// Whether depths were reached by reading, every so many tokens.
    pub(super) interval: Option<usize>,
    pub(super) machine: Machine,
    pub(super) prefill: Vec<Prefill>,
    pub(super) decode: Vec<Decode>,
    pub(super) batch: Vec<Batch>,
    pub(super) memory: Memory,
}

pub(super) struct Machine {
    pub(super) cpu: Option<String>,
    pub(super) cores: usize,
    pub(super) threads: usize,
    pub(super) isa: &'static str,
    pub(super) peaks: Peaks,
    /// One before and one after every decoding.
    pub(super) read_bytes_per_s: Samples,
    /// Share of the processors that other programs used during the run.
    pub(super) others_share: Option<f64>,
}

/// Reading `tokens` tokens after `from` others.
pub(super) struct Prefill {
    pub(super) from: usize,
    pub(super) tokens: usize,
    pub(super) rates: Samples,
    /// Mean over the tokens.
    pub(super) operations_per_token: f64,
}

/// Decoding at one depth.
pub(super) struct Decode {
    /// As asked for.
    pub(super) depth: usize,
    /// Tokens before the first one on the clock.
    pub(super) start: usize,
    pub(super) tokens: usize,
    pub(super) work: Work,
    pub(super) rates: Samples,
    /// Tokens per second that the machine allowed in the same moment.
    pub(super) limits: Samples,
    /// Bytes of rows that the state holds.
    pub(super) kv_bytes: usize,
    /// Once this depth and those before it were reached.
    pub(super) memory: Option<MemoryUse>,
}

impl Report {
    /// Tokens per second at the peak of this run's arithmetic.
    pub(super) fn prefill_limit(&self, prefill: &Prefill) -> f64 {
        self.machine.peaks.of(self.arithmetic) / prefill.operations_per_token
    }

    pub(super) fn prefill_share(&self, prefill: &Prefill) -> f64 {
        prefill.rates.median() / self.prefill_limit(prefill)
    }

    /// How many times the rate of one session, where that was measured.
    pub(super) fn times_one(&self, batch: &Batch) -> Option<f64> {
        let one = self.batch.iter().find(|batch| batch.sessions == 1)?;
        Some(batch.rates.median() / one.rates.median())
    }

    /// What a decoded token waits for.
    pub(super) fn bound(&self, decode: &Decode) -> Bound {
        let machine = &self.machine;
        decode.work.bound(
            machine.read_bytes_per_s.median(),
            machine.peaks.of(self.arithmetic),
        )
    }
}

impl Decode {
    pub(super) fn share_of_limit(&self) -> Samples {
        self.rates.over(&self.limits)
    }
}

/// Sessions that decode together, one token of each at a time.
pub(super) struct Batch {
    pub(super) sessions: usize,
    /// Tokens before the first one on the clock.
    pub(super) start: usize,
    /// Tokens of each session.
    pub(super) tokens: usize,
    /// All sessions together.
    pub(super) rates: Samples,
}

pub(super) struct Memory {
    /// After the warm-up, with all states and before anything was allocated for measuring.
    pub(super) usage: Option<MemoryUse>,
    pub(super) weights_bytes: u64,
    pub(super) kv_bytes_per_token: f64,
}
