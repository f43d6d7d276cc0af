//! What running a model takes: memory, and work per decoded token.

use crate::budget::{
    Flops, KvBytes, RowBytes, Weighting, decode_cache_bytes, kv_bytes_per_token, pending_bytes,
    workspace_bytes,
};
use crate::census::{Census, Tally};
use crate::config::Config;
use crate::parts::Group;
use crate::profile::Size;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Tokens per session.
    pub context: u64,
    /// Sessions at once.
    pub sessions: u64,
    /// Tokens prefilled at once.
    pub chunk: u64,
    /// How cached rows are stored.
    pub rows: RowBytes,
}

/// What that takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Everything in the files.
    pub total: Tally,
    /// The draft module alone.
    pub draft: Tally,
    /// Backbone parameters, without the draft module.
    pub parameters: u64,
    /// Parameters one token is multiplied with, without the embedding table.
    pub active_parameters: u64,
    /// The same with the embedding table, as some count them.
    pub active_parameters_with_embedding: u64,
    /// Average cache growth, in bytes per token.
    pub kv_bytes_per_token: f64,
    /// The cache of one session at the context asked for.
    pub kv: KvBytes,
    /// Open compressor windows of one session, in bytes.
    pub pending_bytes: u64,
    /// Decoding the first token.
    pub at_start: Decode,
    /// Decoding with the whole context before it.
    pub at_context: Decode,
    /// Work relative to V3.2 at the context asked for, for a released size (spec §8).
    pub v32_share: Option<f64>,
    /// Memory in all.
    pub memory: Memory,
}

/// The cost of one decoded token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decode {
    /// Tokens before it.
    pub depth: u64,
    /// Bytes of weights read.
    pub weight_bytes: u64,
    /// Bytes of cache read.
    pub cache_bytes: u64,
    /// Operations.
    pub flops: Flops,
}

impl Decode {
    /// Bytes read in all.
    pub fn bytes(&self) -> u64 {
        self.weight_bytes + self.cache_bytes
    }

    /// Tokens per second if reading these bytes is the only limit.
    pub fn tokens_per_second(&self, bytes_per_second: f64) -> f64 {
        bytes_per_second / self.bytes() as f64
    }
}

/// Memory in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Weights: mapped, so they live in the page cache and may be dropped and read again.
    pub weights: u64,
    /// Cache and live state of all sessions.
    pub sessions: u64,
    /// Scratch memory, estimated.
    pub workspace: u64,
}

impl Memory {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.weights
            .saturating_add(self.sessions)
            .saturating_add(self.workspace)
    }
}

impl Plan {
    /// Works it out for a model of this configuration and these sizes.
    pub fn new(config: &Config, census: &Census, demand: Demand) -> Self {
        let active_parameters = census.active_parameters_without_embedding();
        let weight_bytes = census.decode_weight_bytes(config);
        let decode = |depth| Decode {
            depth,
            weight_bytes,
            cache_bytes: decode_cache_bytes(config, demand.rows, depth),
            flops: Flops::at(config, active_parameters as f64, depth),
        };
        let kv = KvBytes::at(config, demand.rows, demand.context);
        let pending = pending_bytes(config);
        let total = census.total();
        Self {
            total,
            draft: census.group(Group::Draft),
            parameters: census.backbone().parameters,
            active_parameters,
            active_parameters_with_embedding: census.active_parameters(),
            kv_bytes_per_token: kv_bytes_per_token(config, demand.rows),
            kv,
            pending_bytes: pending,
            at_start: decode(0),
            at_context: decode(demand.context),
            v32_share: Size::of(config).map(|size| v32_share(config, size, demand.context)),
            memory: Memory {
                weights: total.bytes,
                // Any number of sessions may be asked for.
                sessions: demand.sessions.saturating_mul(kv.total() + pending),
                workspace: workspace_bytes(config, demand.chunk),
            },
        }
    }
}

/// FP8-equivalent operations per token relative to V3.2's, with the published number of active parameters, as the
/// technical report compares them (spec §8).
fn v32_share(config: &Config, size: Size, depth: u64) -> f64 {
    let weighting = Weighting::FP8_EQUIVALENT;
    let flops = Flops::at(config, size.published_active_parameters(), depth);
    flops.total(weighting) / Flops::of_v32(depth, weighting)
}
