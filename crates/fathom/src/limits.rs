//! What the machine allows: bytes and operations of a token against what was measured.

use std::fmt;

use fathom_checkpoint::budget::{Flops, RowBytes, Weighting, decode_cache_bytes, kv_bytes_per_token};
use fathom_checkpoint::{Census, Config, Group};
use fathom_kernels::machine;
use fathom_kernels::team::Team;
use fathom_model::Numerics;

/// Operations per second, a multiply-add counting as two.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Peaks {
    pub(crate) int8: f64,
    pub(crate) bf16: f64,
    pub(crate) f32: f64,
}

/// The arithmetic whose peak bounds a model: the fastest that its numerics profile allows for the products with the
/// weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    Int8,
    Bf16,
    F32,
}

impl Arithmetic {
    pub(crate) fn of(numerics: Numerics) -> Self {
        match numerics {
            Numerics::Fast => Self::Int8,
            Numerics::Reference => Self::Bf16,
            Numerics::Exact => Self::F32,
        }
    }
}

impl fmt::Display for Arithmetic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Int8 => "int8",
            Self::Bf16 => "bf16",
            Self::F32 => "f32",
        })
    }
}

impl Peaks {
    /// Half a second of arithmetic.
    pub(crate) fn measure(team: &mut Team) -> Self {
        Self {
            int8: machine::int8_ops_per_s(team),
            bf16: machine::bf16_flops_per_s(team),
            f32: machine::f32_flops_per_s(team),
        }
    }

    /// The higher of two measurements each: other programs only ever make a peak seem lower.
    pub(crate) fn max(self, other: Self) -> Self {
        Self {
            int8: self.int8.max(other.int8),
            bf16: self.bf16.max(other.bf16),
            f32: self.f32.max(other.f32),
        }
    }

    pub(crate) fn of(&self, arithmetic: Arithmetic) -> f64 {
        match arithmetic {
            Arithmetic::Int8 => self.int8,
            Arithmetic::Bf16 => self.bf16,
            Arithmetic::F32 => self.f32,
        }
    }
}

/// What one token takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    pub(crate) weight_bytes: f64,
    pub(crate) cache_bytes: f64,
    pub(crate) operations: f64,
}

/// Which of the machine's limits a token meets first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    Memory,
    Arithmetic,
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "memory",
            Self::Arithmetic => "arithmetic",
        })
    }
}

impl Work {
    pub(crate) fn bytes(&self) -> f64 {
        self.weight_bytes + self.cache_bytes
    }

    /// Tokens per second at most.
    pub(crate) fn limit(&self, read_bytes_per_s: f64, operations_per_s: f64) -> f64 {
        (read_bytes_per_s / self.bytes()).min(operations_per_s / self.operations)
    }

    pub(crate) fn bound(&self, read_bytes_per_s: f64, operations_per_s: f64) -> Bound {
        if read_bytes_per_s / self.bytes() <= operations_per_s / self.operations {
            Bound::Memory
        } else {
            Bound::Arithmetic
        }
    }
}

/// Works out what tokens of a model take.
pub(crate) struct Costs<'a> {
    config: &'a Config,
    rows: RowBytes,
    weight_bytes: u64,
    active_parameters: f64,
    head_parameters: f64,
}

impl<'a> Costs<'a> {
    pub(crate) fn new(config: &'a Config, census: &Census, numerics: Numerics) -> Self {
        let head = if config.tie_word_embeddings {
            Group::Embedding
        } else {
            Group::Head
        };
        Self {
            config,
            rows: if numerics.packs() {
                RowBytes::packed(config)
            } else {
                RowBytes::float32(config)
            },
            weight_bytes: census.decode_weight_bytes(config),
            active_parameters: census.active_parameters_without_embedding() as f64,
            head_parameters: census.group(head).parameters as f64,
        }
    }

    /// Decoding one token with `depth` before it.
    pub(crate) fn decode(&self, depth: usize) -> Work {
        let flops = Flops::at(self.config, self.active_parameters, depth as u64);
        Work {
            weight_bytes: self.weight_bytes as f64,
            cache_bytes: decode_cache_bytes(self.config, self.rows, depth as u64) as f64,
            operations: flops.total(Weighting::PLAIN),
        }
    }

    /// Operations to read `tokens` tokens after `from` others; only the last needs logits.
    pub(crate) fn prefill_operations(&self, from: usize, tokens: usize) -> f64 {
        let body = self.active_parameters - self.head_parameters;
        let total: f64 = (from..from + tokens)
            .map(|depth| Flops::at(self.config, body, depth as u64).total(Weighting::PLAIN))
            .sum();
        total + 2.0 * self.head_parameters
    }

    /// Growth of the cache.
    pub(crate) fn kv_bytes_per_token(&self) -> f64 {
        kv_bytes_per_token(self.config, self.rows)
    }
}
