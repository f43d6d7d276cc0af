//! `config.json`, normalised.
//!
//! Three spellings describe the same model: the official `config.json` (spec §2.1), the official
//! `inference/config.json` (§2.3) and the one transformers writes. All become one [`Config`], whose ranges and
//! divisibilities are checked here so that nothing downstream needs to.

mod error;
mod fields;
mod rope;
mod schedule;

use serde_json::Value;

use crate::quantization::Quantization;

pub use error::ConfigError;
use fields::Fields;
pub(crate) use fields::quote;
pub use rope::Yarn;
pub use schedule::{Attention, Layer, Routing};

/// Widths (hidden, intermediate, low ranks) accepted. With [`LAYERS_MAX`] and [`EXPERTS_MAX`] this keeps every byte
/// count of a model inside 64 bits.
const WIDTH_MAX: usize = 1 << 18;
const HEADS_MAX: usize = 1 << 12;
const HEAD_DIM_MAX: usize = 1 << 12;
const LAYERS_MAX: usize = 1 << 9;
const EXPERTS_MAX: usize = 1 << 13;
const VOCAB_MAX: usize = 1 << 24;
const POSITIONS_MAX: usize = 1 << 32;
const STREAMS_MAX: usize = 16;

/// A DeepSeek-V4 model's architecture. Field names are those of the official `config.json` (spec §2.1).
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Token ids are `0..vocab_size`.
    pub vocab_size: usize,
    /// Width `d` of one residual stream.
    pub hidden_size: usize,
    /// Query heads; there is a single KV head.
    pub num_attention_heads: usize,
    /// Width of a head, the rotary dimensions included.
    pub head_dim: usize,
    /// How many of a head's last dimensions are rotated; even.
    pub qk_rope_head_dim: usize,
    /// Rank of the query latent.
    pub q_lora_rank: usize,
    /// Groups of the output projection; divides `num_attention_heads`.
    pub o_groups: usize,
    /// Rank of each group of the output projection.
    pub o_lora_rank: usize,
    /// Indexer heads.
    pub index_n_heads: usize,
    /// Width of an indexer key; a power of two (the Hadamard transform) of at least `qk_rope_head_dim`.
    pub index_head_dim: usize,
    /// Compressed entries a query of a sparse layer attends to.
    pub index_topk: usize,
    /// Width of a routed expert, and of each shared one.
    pub moe_intermediate_size: usize,
    /// Routed experts per layer.
    pub n_routed_experts: usize,
    /// Shared experts per layer; stored as one expert `n_shared_experts` times as wide.
    pub n_shared_experts: usize,
    /// Routed experts that see a token.
    pub num_experts_per_tok: usize,
    /// Positions, the current one included, a query sees uncompressed.
    pub sliding_window: usize,
    /// Longest context in tokens.
    pub max_position_embeddings: usize,
    /// Residual streams.
    pub hc_mult: usize,
    /// Column passes of the Sinkhorn iteration.
    pub hc_sinkhorn_iters: usize,
    /// Clamp on expert pre-activations (spec §5.6).
    pub swiglu_limit: f32,
    /// Factor on the normalised routing weights.
    pub routed_scaling_factor: f32,
    /// Epsilon inside the hyper-connections.
    pub hc_eps: f32,
    /// Epsilon of every RMS norm.
    pub rms_norm_eps: f32,
    /// Rotary base of layers without compressor and of draft blocks.
    pub rope_theta: f64,
    /// Rotary base of layers with compressor.
    pub compress_rope_theta: f64,
    /// Whether the selected routing weights are divided by their sum.
    pub norm_topk_prob: bool,
    /// Long-context scaling of layers with compressor.
    pub yarn: Option<Yarn>,
    /// The backbone, first layer first; its length is `num_hidden_layers`.
    pub layers: Vec<Layer>,
    /// MTP blocks as the configuration counts them; stays 1 where DSpark stages ship instead (spec §2.1).
    pub num_nextn_predict_layers: usize,
    /// The DSpark drafter, if the configuration describes one (spec §2.2).
    pub dspark: Option<Dspark>,
    /// Beginning of sentence.
    pub bos_token_id: u32,
    /// End of sentence: generation stops here.
    pub eos_token_id: u32,
    /// Whether the output head is the embedding table.
    pub tie_word_embeddings: bool,
    /// What the configuration says about expert storage. Informative only: the tensors decide (spec §2.1).
    pub expert_dtype: Option<String>,
    /// Whether the configuration declares quantised weights.
    pub quantized: bool,
    /// What `fathom quantize` made of the original, if this is its work.
    pub quantization: Option<Quantization>,
    /// The file as read.
    pub raw: Value,
}

/// The DSpark drafter's sizes (spec §2.2, §5.9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dspark {
    /// Tokens drafted at once, the anchor included.
    pub block_size: usize,
    /// The id that fills the positions to be drafted.
    pub noise_token_id: u32,
    /// Backbone layers whose output the drafter reads.
    pub target_layer_ids: Vec<usize>,
    /// Rank of the Markov head.
    pub markov_rank: usize,
    /// Blocks `mtp.0..stages`.
    pub stages: usize,
}

impl Config {
    /// Parses and validates a configuration in any of the three spellings.
    ///
    /// Refuses every other architecture by name, V4.1 included, and every setting this architecture does not have.
    pub fn from_json(bytes: &[u8]) -> Result<Self, ConfigError> {
        let raw: Value = serde_json::from_slice(bytes).map_err(|error| ConfigError::Json {
            reason: error.to_string(),
        })?;
        let fields = Fields::new(&raw)?;
        fields.check_architecture()?;
        fields.check_fixed_settings()?;

        let num_hidden_layers = fields.size("num_hidden_layers", 1..=LAYERS_MAX)?;
        let schedule = schedule::read(&fields, num_hidden_layers)?;
        let vocab_size = fields.size("vocab_size", 2..=VOCAB_MAX)?;
        let head_dim = fields.size("head_dim", 2..=HEAD_DIM_MAX)?;
        let max_position_embeddings =
            match fields.optional_size("max_position_embeddings", 1..=POSITIONS_MAX)? {
                Some(size) => size,
                None => rope::positions(&fields)?,
            };
        let config = Self {
            vocab_size,
            hidden_size: fields.size("hidden_size", 1..=WIDTH_MAX)?,
            num_attention_heads: fields.size("num_attention_heads", 1..=HEADS_MAX)?,
            head_dim,
            qk_rope_head_dim: rope::dimensions(&fields, head_dim)?,
            q_lora_rank: fields.size("q_lora_rank", 1..=WIDTH_MAX)?,
            o_groups: fields.size("o_groups", 1..=HEADS_MAX)?,
            o_lora_rank: fields.size("o_lora_rank", 1..=WIDTH_MAX)?,
            index_n_heads: fields.size("index_n_heads", 1..=HEADS_MAX)?,
            index_head_dim: fields.size("index_head_dim", 1..=HEAD_DIM_MAX)?,
            index_topk: fields.size("index_topk", 1..=POSITIONS_MAX)?,
            moe_intermediate_size: fields.size("moe_intermediate_size", 1..=WIDTH_MAX)?,
            n_routed_experts: fields.size("n_routed_experts", 1..=EXPERTS_MAX)?,
            n_shared_experts: fields
                .optional_size("n_shared_experts", 1..=EXPERTS_MAX)?
                .unwrap_or(1),
            num_experts_per_tok: fields.size("num_experts_per_tok", 1..=EXPERTS_MAX)?,
            sliding_window: fields.size("sliding_window", 1..=POSITIONS_MAX)?,
            max_position_embeddings,
            hc_mult: fields.size("hc_mult", 1..=STREAMS_MAX)?,
            hc_sinkhorn_iters: fields.size("hc_sinkhorn_iters", 1..=1000)?,
            swiglu_limit: fields.positive("swiglu_limit", None)? as f32,
            routed_scaling_factor: fields.positive("routed_scaling_factor", None)? as f32,
            hc_eps: fields.positive("hc_eps", Some(1e-6))? as f32,
            rms_norm_eps: fields.positive("rms_norm_eps", Some(1e-6))? as f32,
            rope_theta: rope::base(&fields)?,
            compress_rope_theta: rope::compress_base(&fields)?,
            norm_topk_prob: fields.boolean("norm_topk_prob")?.unwrap_or(true),
            yarn: rope::yarn(&fields)?,
            layers: schedule.layers,
            num_nextn_predict_layers: fields
                .optional_size("num_nextn_predict_layers", 0..=LAYERS_MAX)?
                .unwrap_or(1),
            dspark: read_dspark(&fields, vocab_size, num_hidden_layers, schedule.draft_blocks)?,
            bos_token_id: fields.token("bos_token_id", vocab_size)?.unwrap_or(0),
            eos_token_id: fields.token("eos_token_id", vocab_size)?.unwrap_or(1),
            tie_word_embeddings: fields.boolean("tie_word_embeddings")?.unwrap_or(false),
            expert_dtype: fields.expert_dtype()?,
            quantized: fields.get("quantization_config").is_some()
                || fields.text("dtype")?.is_some_and(|dtype| dtype == "fp8"),
            quantization: Quantization::read(&raw)?,
            raw: Value::Null,
        };
        config.check_relations()?;
        Ok(Self { raw, ..config })
    }

    /// Backbone layers.
    pub fn num_hidden_layers(&self) -> usize {
        self.layers.len()
    }

    /// The name our own training gave this model, if it is one of ours (`"fathom_model"`).
    pub fn own_name(&self) -> Option<&str> {
        self.raw.get("fathom_model").and_then(Value::as_str)
    }

    /// Relations between fields that the forward pass relies on.
    fn check_relations(&self) -> Result<(), ConfigError> {
        let require = |holds: bool, key: &'static str, expected: String, found: usize| {
            if holds {
                return Ok(());
            }
            Err(ConfigError::Value {
                key: key.to_owned(),
                expected,
                found: found.to_string(),
            })
        };
        let rope = self.qk_rope_head_dim;
        require(
            rope.is_multiple_of(2) && rope > 0 && rope <= self.head_dim,
            "qk_rope_head_dim",
            format!("an even number from 2 to head_dim ({})", self.head_dim),
            rope,
        )?;
        require(
            self.num_attention_heads.is_multiple_of(self.o_groups),
            "o_groups",
            format!("a divisor of num_attention_heads ({})", self.num_attention_heads),
            self.o_groups,
        )?;
        require(
            self.num_experts_per_tok <= self.n_routed_experts,
            "num_experts_per_tok",
            format!("at most n_routed_experts ({})", self.n_routed_experts),
            self.num_experts_per_tok,
        )?;
        require(
            self.index_head_dim.is_power_of_two() && self.index_head_dim >= rope,
            "index_head_dim",
            format!("a power of two (for the Hadamard transform) of at least qk_rope_head_dim ({rope})"),
            self.index_head_dim,
        )
    }
}

fn read_dspark(
    fields: &Fields<'_>,
    vocab_size: usize,
    num_hidden_layers: usize,
    draft_blocks: Option<usize>,
) -> Result<Option<Dspark>, ConfigError> {
    const KEYS: [&str; 4] = [
        "dspark_block_size",
        "dspark_noise_token_id",
        "dspark_target_layer_ids",
        "dspark_markov_rank",
    ];
    if KEYS.iter().all(|key| fields.get(key).is_none()) {
        return Ok(None);
    }
    let target_layer_ids = fields
        .sizes("dspark_target_layer_ids", LAYERS_MAX)?
        .ok_or_else(|| ConfigError::Missing {
            key: "dspark_target_layer_ids".to_owned(),
            also: String::new(),
        })?;
    if let Some(&id) = target_layer_ids.iter().find(|&&id| id >= num_hidden_layers) {
        return Err(ConfigError::Value {
            key: "dspark_target_layer_ids".to_owned(),
            expected: format!("layers below num_hidden_layers ({num_hidden_layers})"),
            found: id.to_string(),
        });
    }
    let noise_token_id = fields
        .token("dspark_noise_token_id", vocab_size)?
        .ok_or_else(|| ConfigError::Missing {
            key: "dspark_noise_token_id".to_owned(),
            also: String::new(),
        })?;
    let stages = match draft_blocks {
        Some(blocks) if blocks > 0 => blocks,
        _ => fields
            .optional_size("n_mtp_layers", 1..=LAYERS_MAX)?
            .unwrap_or(target_layer_ids.len().max(1)),
    };
    Ok(Some(Dspark {
        block_size: fields.size("dspark_block_size", 1..=1024)?,
        noise_token_id,
        target_layer_ids,
        markov_rank: fields.size("dspark_markov_rank", 1..=WIDTH_MAX)?,
        stages,
    }))
}
