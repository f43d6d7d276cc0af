//! Expected rates: what a token takes (as `fathom plan` counts it) against what the machine gives, measured within a second,
//! times the share of that limit which was reached when it was measured.

use std::time::Duration;

use fathom_checkpoint::budget::{KvBytes, pending_bytes};
use fathom_engine::memory;
use fathom_kernels::machine::ReadBuffer;
use fathom_kernels::team::Team;
use fathom_model::Numerics;

use crate::commands::serve::models::{Planned, rows};
use crate::limits::{Arithmetic, Costs, Peaks};

/// Read to measure the memory: beyond what usual caches hold, and quick to make.
const BUFFER_BYTES: usize = if cfg!(debug_assertions) {
    16 << 20
} else {
    256 << 20
};
const READ_TIME: Duration = Duration::from_millis(if cfg!(debug_assertions) { 0 } else { 300 });

/// Tokens of a prompt whose reading is estimated.
pub(super) const PROMPT_TOKENS: usize = 512;
/// Contexts for which it is said how many fit, those that the model allows, and the longest.
const CONTEXTS: [usize; 3] = [8192, 32_768, 131_072];

/// Of the memory's limit in decoding and of the peak of its arithmetic in prefill, reached at V4-Flash's widths
/// (`bench/runs/2026-11-22-cpu-speed-3`).
const FAST_SHARES: (f64, f64) = (0.85, 0.5);
/// See [`FAST_SHARES`].
const REFERENCE_SHARES: (f64, f64) = (0.85, 0.63);
/// See [`FAST_SHARES`]: this one decodes weights through float32.
const EXACT_SHARES: (f64, f64) = (0.3, 0.5);

/// Below this, in bytes of weights that a token reads, a model lives in the caches and is bound by other things than were measured.
const WEIGHT_BYTES_MIN: u64 = 64 << 20;

/// What this machine gives.
pub(super) struct Machine {
    pub(super) available_bytes: Option<u64>,
    /// With the threads of the first model.
    measured: Vec<Measured>,
    buffer: Option<ReadBuffer>,
}

/// What a number of threads gets.
#[derive(Clone, Copy)]
pub(super) struct Measured {
    pub(super) threads: usize,
    pub(super) read_bytes_per_s: f64,
    peaks: Peaks,
}

/// What a model can be expected to do.
pub(super) struct Rates {
    pub(super) threads: usize,
    pub(super) read_bytes_per_s: f64,
    pub(super) decode: Rate,
    pub(super) prefill: Rate,
    /// Tokens, bytes of such a context, and how many fit into the memory for states.
    pub(super) contexts: Vec<(usize, u64, u64)>,
}

/// Tokens per second.
#[derive(Clone, Copy)]
pub(super) struct Rate {
    /// Which the machine does not allow to be passed.
    pub(super) limit: f64,
    /// Which can be expected; `None` for models too small to tell.
    pub(super) expected: Option<f64>,
}

impl Machine {
    pub(super) fn new() -> Self {
        Self {
            available_bytes: memory::available(),
            measured: Vec::new(),
            buffer: None,
        }
    }

    pub(super) fn rates(&mut self, model: &Planned) -> Rates {
        let opened = &model.opened;
        let config = opened.checkpoint.config();
        let census = opened.checkpoint.audit().census;
        let costs = Costs::new(config, &census, opened.numerics);
        let threads = model.wanted.table.per_model.running.threads;
        let measured = self.measured(threads.map(usize::from));
        let operations_per_s = measured.peaks.of(Arithmetic::of(opened.numerics));
        let (decode_share, prefill_share) = match opened.numerics {
            Numerics::Fast => FAST_SHARES,
            Numerics::Reference => REFERENCE_SHARES,
            Numerics::Exact => EXACT_SHARES,
        };
        let decode_limit = costs.decode(0).limit(measured.read_bytes_per_s, operations_per_s);
        let prompt = PROMPT_TOKENS.min(config.max_position_embeddings);
        let prefill_limit = operations_per_s / costs.prefill_operations(0, prompt) * prompt as f64;
        let longest = config.max_position_embeddings;
        let is_tiny = census.decode_weight_bytes(config) < WEIGHT_BYTES_MIN;
        let rate = |limit: f64, share: f64| Rate {
            limit,
            expected: (!is_tiny).then_some(share * limit),
        };
        let contexts = CONTEXTS
            .into_iter()
            .filter(|tokens| *tokens < longest)
            .chain([longest]);
        let context = |tokens: usize| {
            let bytes = KvBytes::at(config, rows(opened), tokens as u64).total() + pending_bytes(config);
            (tokens, bytes, model.states_bytes / bytes.max(1))
        };
        Rates {
            threads: measured.threads,
            read_bytes_per_s: measured.read_bytes_per_s,
            decode: rate(decode_limit, decode_share),
            prefill: rate(prefill_limit, prefill_share),
            contexts: contexts.map(context).collect(),
        }
    }

    /// Measures once for each number of threads.
    fn measured(&mut self, threads: Option<usize>) -> Measured {
        let mut team = threads.map_or_else(Team::with_all_cores, Team::new);
        let threads = team.threads();
        if let Some(measured) = self.measured.iter().find(|measured| measured.threads == threads) {
            return *measured;
        }
        let quarter = self.available_bytes.map_or(u64::MAX, |bytes| bytes / 4);
        let bytes = BUFFER_BYTES.min(usize::try_from(quarter).unwrap_or(usize::MAX));
        let buffer = self.buffer.get_or_insert_with(|| ReadBuffer::new(bytes));
        let measured = Measured {
            threads,
            read_bytes_per_s: buffer.bytes_per_s(&mut team, READ_TIME),
            peaks: Peaks::measure(&mut team),
        };
        self.measured.push(measured);
        measured
    }
}
