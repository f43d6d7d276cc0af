//! What a sequence costs: cache bytes, live state, and work per decoded token (spec §6.1, §7, §8).

use crate::config::{Attention, Config};

/// Dimensions of a KV row that share one scale when stored as FP8 (spec §9.3).
const KV_SCALE_BLOCK: usize = 64;
/// Dimensions of an indexer key that share one scale when stored as FP4 (spec §9.3).
const INDEX_SCALE_BLOCK: usize = 32;

/// Bytes one cached row takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowBytes {
    /// A KV row, window and compressed alike.
    pub kv: usize,
    /// An indexer key.
    pub index_key: usize,
}

impl RowBytes {
    /// The official packing (spec §7.1): E4M3 with a scale per 64 for the unrotated part, BF16 for the rotated one,
    /// padded to 8 bytes; indexer keys as E2M1 with a scale per 32. 584 and 68 bytes at the releases' sizes.
    pub fn packed(config: &Config) -> Self {
        let unrotated = config.head_dim - config.qk_rope_head_dim;
        let kv = unrotated + unrotated.div_ceil(KV_SCALE_BLOCK) + 2 * config.qk_rope_head_dim;
        let key = config.index_head_dim;
        Self {
            kv: kv.next_multiple_of(8),
            index_key: key.div_ceil(2) + key.div_ceil(INDEX_SCALE_BLOCK),
        }
    }

    /// Two bytes per element.
    pub fn bf16(config: &Config) -> Self {
        Self {
            kv: 2 * config.head_dim,
            index_key: 2 * config.index_head_dim,
        }
    }

    /// Four bytes per element: what exact numerics keeps.
    pub fn float32(config: &Config) -> Self {
        Self {
            kv: 4 * config.head_dim,
            index_key: 4 * config.index_head_dim,
        }
    }
}

/// Cache bytes of one sequence at some length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KvBytes {
    /// Compressed rows and indexer keys of sparse layers.
    pub sparse: u64,
    /// Compressed rows of heavy layers.
    pub heavy: u64,
    /// The windows of all layers, at full length whatever the sequence's.
    pub window: u64,
}

impl KvBytes {
    /// The cache of a sequence of `tokens` tokens.
    pub fn at(config: &Config, rows: RowBytes, tokens: u64) -> Self {
        let mut bytes = Self::default();
        for layer in &config.layers {
            bytes.window += config.sliding_window as u64 * rows.kv as u64;
            match layer.attention {
                Attention::Window => {}
                Attention::Sparse { ratio } => {
                    bytes.sparse += tokens / ratio as u64 * (rows.kv + rows.index_key) as u64;
                }
                Attention::Heavy { ratio } => bytes.heavy += tokens / ratio as u64 * rows.kv as u64,
            }
        }
        bytes
    }

    /// All parts.
    pub fn total(&self) -> u64 {
        self.sparse + self.heavy + self.window
    }
}

/// Bytes by which the cache grows per token, on average.
pub fn kv_bytes_per_token(config: &Config, rows: RowBytes) -> f64 {
    let of_layer = |attention| match attention {
        Attention::Window => 0.0,
        Attention::Sparse { ratio } => (rows.kv + rows.index_key) as f64 / ratio as f64,
        Attention::Heavy { ratio } => rows.kv as f64 / ratio as f64,
    };
    config.layers.iter().map(|layer| of_layer(layer.attention)).sum()
}

/// Bytes of the open compressor windows of one sequence, in F32 (spec §6.1): for sparse layers the previous and the
/// current window of keys and gates, both halves; for heavy layers one window of keys and gates.
pub fn pending_bytes(config: &Config) -> u64 {
    const KEYS_AND_GATES: usize = 2;
    let elements: usize = config
        .layers
        .iter()
        .map(|layer| match layer.attention {
            Attention::Window => 0,
            Attention::Sparse { ratio } => 2 * ratio * 2 * (config.head_dim + config.index_head_dim),
            Attention::Heavy { ratio } => ratio * config.head_dim,
        })
        .sum();
    (KEYS_AND_GATES * elements * size_of::<f32>()) as u64
}

/// Floating-point operations of one decoded token, by what causes them (a multiply-add is two).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Flops {
    /// Weights.
    pub linear: f64,
    /// Scoring every visible indexer key.
    pub indexer: f64,
    /// Attention of sparse layers over the window and the selected entries.
    pub sparse: f64,
    /// Attention of heavy layers over the window and all entries.
    pub heavy: f64,
    /// Attention of window-only layers.
    pub window: f64,
}

/// Factors on the parts of [`Flops`], to add operations of different precision.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weighting {
    /// On the indexer.
    pub indexer: f64,
    /// On attention.
    pub attention: f64,
}

impl Weighting {
    /// Every operation counts once.
    pub const PLAIN: Self = Self {
        indexer: 1.0,
        attention: 1.0,
    };
    /// In units of FP8 operations: the FP4 indexer counts half, BF16 attention double (spec §8).
    pub const FP8_EQUIVALENT: Self = Self {
        indexer: 0.5,
        attention: 2.0,
    };
}

impl Flops {
    /// The work for a token with `depth` tokens before it, in a model with so many active parameters (spec §8).
    pub fn at(config: &Config, active_parameters: f64, depth: u64) -> Self {
        let window = (config.sliding_window as u64).min(depth + 1) as f64;
        // Two multiply-adds per element of a row: the score and the weighted sum.
        let per_row = 4.0 * (config.head_dim * config.num_attention_heads) as f64;
        let per_key = 2.0 * (config.index_head_dim * config.index_n_heads) as f64;
        let mut flops = Self {
            linear: 2.0 * active_parameters,
            ..Self::default()
        };
        for layer in &config.layers {
            match layer.attention {
                Attention::Window => flops.window += per_row * window,
                Attention::Sparse { ratio } => {
                    let entries = depth / ratio as u64;
                    let selected = entries.min(config.index_topk as u64);
                    flops.indexer += per_key * entries as f64;
                    flops.sparse += per_row * (selected as f64 + window);
                }
                Attention::Heavy { ratio } => {
                    flops.heavy += per_row * ((depth / ratio as u64) as f64 + window);
                }
            }
        }
        flops
    }

    /// The weighted sum.
    pub fn total(&self, weighting: Weighting) -> f64 {
        self.linear
            + weighting.indexer * self.indexer
            + weighting.attention * (self.sparse + self.heavy + self.window)
    }

    /// The work of DeepSeek-V3.2 for the same token, weighted the same way with its FP8 indexer at 1: the yardstick
    /// of the technical report (spec §8).
    pub fn of_v32(depth: u64, weighting: Weighting) -> f64 {
        const ACTIVE_PARAMETERS: f64 = 37e9;
        const LAYERS: f64 = 61.0;
        const INDEX_HEADS_TIMES_DIM: f64 = 64.0 * 128.0;
        const HEADS: f64 = 128.0;
        const TOP_K: u64 = 2048;
        const LATENT_AND_ROPE: f64 = 576.0;
        const LATENT: f64 = 512.0;
        let attended = depth.min(TOP_K) as f64;
        2.0 * ACTIVE_PARAMETERS
            + 2.0 * INDEX_HEADS_TIMES_DIM * LAYERS * depth as f64
            + weighting.attention * LAYERS * HEADS * attended * 2.0 * (LATENT_AND_ROPE + LATENT)
    }
}

/// Cache bytes one decoded token reads with `depth` tokens before it: windows, selected and heavy rows, and every
/// indexer key.
pub fn decode_cache_bytes(config: &Config, rows: RowBytes, depth: u64) -> u64 {
    let window = (config.sliding_window as u64).min(depth + 1);
    let (kv, key) = (rows.kv as u64, rows.index_key as u64);
    let of_layer = |attention| match attention {
        Attention::Window => window * kv,
        Attention::Sparse { ratio } => {
            let entries = depth / ratio as u64;
            (window + entries.min(config.index_topk as u64)) * kv + entries * key
        }
        Attention::Heavy { ratio } => (window + depth / ratio as u64) * kv,
    };
    config.layers.iter().map(|layer| of_layer(layer.attention)).sum()
}

/// Estimated scratch memory for prefilling chunks of `chunk` tokens, in bytes.
///
/// An estimate of what a forward pass keeps for each token of a chunk, in F32: streams, inputs and results of a
/// sublayer with their quantised copies, and one row of logits. What grows with the context is small beside it.
pub fn workspace_bytes(config: &Config, chunk: u64) -> u64 {
    let c = config;
    let (d, streams) = (c.hidden_size, c.hc_mult);
    let hyper_connections = streams * d + (2 + streams) * streams + 5 * d;
    let projections = 2 * (c.q_lora_rank + c.num_attention_heads * c.head_dim + c.o_groups * c.o_lora_rank);
    // A row of the window, and keys and gates of the widest compressor.
    let rows = c.head_dim + 2 * 2 * c.head_dim;
    let indexer = c.index_n_heads * (c.index_head_dim + 1) + c.index_topk;
    let routed = c.num_experts_per_tok * (2 * d + 3 * c.moe_intermediate_size) + c.n_routed_experts;
    let shared = 3 * c.n_shared_experts * c.moe_intermediate_size;
    let per_token = hyper_connections + projections + rows + indexer + routed + shared;
    (chunk * per_token as u64 + c.vocab_size as u64) * size_of::<f32>() as u64
}
