//! A model's weights: matrices used where they lie in the checkpoint, small vectors read and checked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fathom_checkpoint::{Attention, Checkpoint, CheckpointError, Config, Encoding, Matrix, Routing, Tensor};
use fathom_kernels::compress::Compressor;
use fathom_kernels::formats::e4m3;
use fathom_kernels::hyper::{HyperShape, HyperSite};
use fathom_kernels::matrix;
use fathom_kernels::rope;

use crate::error::LoadError;
use crate::layout::Layout;
use crate::numerics::Numerics;

/// Tells one loaded model from another: states and workspaces belong to the model that made them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ModelId(u64);

impl ModelId {
    fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// A DeepSeek-V4 model: immutable, shared between threads.
pub struct Model {
    id: ModelId,
    checkpoint: Checkpoint,
    numerics: Numerics,
    layout: Arc<Layout>,
    pub(crate) embed: Linear,
    pub(crate) head: Linear,
    pub(crate) head_norm: Vec<f32>,
    pub(crate) head_site: HeadSite,
    pub(crate) layers: Vec<LayerWeights>,
    /// Rotary frequencies of layers without compressor, radians per token.
    pub(crate) window_frequencies: Vec<f32>,
    /// Rotary frequencies of everything in layers with compressor.
    pub(crate) compress_frequencies: Vec<f32>,
}

/// A matrix that inputs are multiplied by.
pub(crate) struct Linear(Matrix);

/// One place where a sublayer reads from and writes to the residual streams (spec §5.2).
pub(crate) struct Site {
    pub(crate) projection: Linear,
    pub(crate) constants: HyperSite,
}

/// Where the output head reads from the streams (spec §5.7).
pub(crate) struct HeadSite {
    pub(crate) projection: Linear,
    pub(crate) base: Vec<f32>,
    pub(crate) scale: f32,
}

pub(crate) struct LayerWeights {
    pub(crate) attention_site: Site,
    pub(crate) attention_norm: Vec<f32>,
    pub(crate) attention: AttentionWeights,
    pub(crate) experts_site: Site,
    pub(crate) experts_norm: Vec<f32>,
    pub(crate) experts: ExpertWeights,
}

pub(crate) struct AttentionWeights {
    pub(crate) kind: Attention,
    pub(crate) sinks: Vec<f32>,
    pub(crate) wq_a: Linear,
    pub(crate) q_norm: Vec<f32>,
    pub(crate) wq_b: Linear,
    pub(crate) wkv: Linear,
    pub(crate) kv_norm: Vec<f32>,
    pub(crate) wo_a: Linear,
    pub(crate) wo_b: Linear,
    pub(crate) compressor: Option<CompressorWeights>,
    pub(crate) indexer: Option<IndexerWeights>,
}

pub(crate) struct CompressorWeights {
    pub(crate) wkv: Linear,
    pub(crate) wgate: Linear,
    pub(crate) pooling: Compressor,
}

pub(crate) struct IndexerWeights {
    pub(crate) wq_b: Linear,
    pub(crate) weights_proj: Linear,
    pub(crate) compressor: CompressorWeights,
}

pub(crate) struct ExpertWeights {
    pub(crate) gate: Linear,
    pub(crate) selection: ExpertSelection,
    pub(crate) routed: Vec<Expert>,
    pub(crate) shared: Expert,
}

pub(crate) enum ExpertSelection {
    Biased(Vec<f32>),
    /// `[vocab_size, k]` expert ids by token id.
    Table(Tensor),
}

/// `w1` gate, `w3` up, `w2` down (spec §10.2).
pub(crate) struct Expert {
    pub(crate) w1: Linear,
    pub(crate) w2: Linear,
    pub(crate) w3: Linear,
}

impl Linear {
    pub(crate) fn view(&self) -> matrix::Matrix<'_> {
        self.0.view()
    }

    /// Whether the published path quantises this linear's input.
    pub(crate) fn is_quantised(&self) -> bool {
        self.view().is_quantised()
    }
}

impl Model {
    /// Finds every tensor of the backbone, checks shapes and types, and reads the small ones. Weights stay mapped.
    pub fn load(checkpoint: Checkpoint, numerics: Numerics) -> Result<Self, LoadError> {
        let loader = Loader {
            checkpoint: &checkpoint,
            config: checkpoint.config(),
            numerics,
        };
        let config = checkpoint.config();
        let layout = Arc::new(Layout::new(config, numerics)?);
        let (vocab, d) = (config.vocab_size, config.hidden_size);
        let streams = config.hc_mult;
        let embed = loader.linear("embed", vocab, d)?;
        let head = loader.linear("head", vocab, d)?;
        let head_norm = checkpoint.vector("norm.weight", &[d])?;
        let head_site = HeadSite {
            projection: Linear(checkpoint.parameter("hc_head_fn", streams, streams * d)?),
            base: checkpoint.vector("hc_head_base", &[streams])?,
            scale: checkpoint.vector("hc_head_scale", &[1])?[0],
        };
        let layers = (0..config.layers.len())
            .map(|i| loader.layer(i))
            .collect::<Result<_, _>>()?;
        let yarn = config.yarn.map(|yarn| rope::Yarn {
            factor: yarn.factor,
            original_max_position_embeddings: yarn.original_max_position_embeddings,
            beta_fast: yarn.beta_fast,
            beta_slow: yarn.beta_slow,
        });
        Ok(Self {
            id: ModelId::next(),
            embed,
            head,
            head_norm,
            head_site,
            layers,
            // Two tables: one for all layers is the most common port defect (spec §15, trap 1).
            window_frequencies: rope::frequencies(config.qk_rope_head_dim, config.rope_theta, None),
            compress_frequencies: rope::frequencies(
                config.qk_rope_head_dim,
                config.compress_rope_theta,
                yarn,
            ),
            numerics,
            layout,
            checkpoint,
        })
    }

    /// The checkpoint the weights lie in.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The architecture.
    pub fn config(&self) -> &Config {
        self.checkpoint.config()
    }

    /// What is rounded where.
    pub fn numerics(&self) -> Numerics {
        self.numerics
    }

    pub(crate) fn id(&self) -> ModelId {
        self.id
    }

    pub(crate) fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    pub(crate) fn hyper_shape(&self) -> HyperShape {
        let config = self.config();
        HyperShape {
            streams: config.hc_mult,
            width: config.hidden_size,
            sinkhorn_iters: config.hc_sinkhorn_iters,
            eps: config.hc_eps,
            norm_eps: config.rms_norm_eps,
            round: self.numerics.rounds(),
        }
    }
}

struct Loader<'a> {
    checkpoint: &'a Checkpoint,
    config: &'a Config,
    numerics: Numerics,
}

impl Loader<'_> {
    fn linear(&self, module: &str, rows: usize, cols: usize) -> Result<Linear, CheckpointError> {
        let matrix = self.checkpoint.matrix(module, rows, cols)?;
        if self.numerics == Numerics::Fast
            && matches!(matrix.encoding, Encoding::Fp8 { .. })
            && let Some(index) = e4m3::first_nan(&matrix.data)
        {
            // Integers cannot carry a NaN to where the forward pass would notice it.
            return Err(CheckpointError::NotFinite {
                tensor: format!("{module}.weight"),
                index,
                value: f32::NAN,
            });
        }
        Ok(Linear(matrix))
    }

    fn vector(&self, name: &str, len: usize) -> Result<Vec<f32>, CheckpointError> {
        self.checkpoint.vector(name, &[len])
    }

    fn layer(&self, i: usize) -> Result<LayerWeights, CheckpointError> {
        let d = self.config.hidden_size;
        let p = format!("layers.{i}");
        Ok(LayerWeights {
            attention_site: self.site(&format!("{p}.hc_attn"))?,
            attention_norm: self.vector(&format!("{p}.attn_norm.weight"), d)?,
            attention: self.attention(&format!("{p}.attn"), self.config.layers[i].attention)?,
            experts_site: self.site(&format!("{p}.hc_ffn"))?,
            experts_norm: self.vector(&format!("{p}.ffn_norm.weight"), d)?,
            experts: self.experts(&format!("{p}.ffn"), self.config.layers[i].routing)?,
        })
    }

    fn site(&self, p: &str) -> Result<Site, CheckpointError> {
        let n = self.config.hc_mult;
        let mixes = (2 + n) * n;
        let scale = self.vector(&format!("{p}_scale"), 3)?;
        Ok(Site {
            projection: Linear(self.checkpoint.parameter(
                &format!("{p}_fn"),
                mixes,
                n * self.config.hidden_size,
            )?),
            constants: HyperSite {
                base: self.vector(&format!("{p}_base"), mixes)?,
                scale: [scale[0], scale[1], scale[2]],
            },
        })
    }

    fn attention(&self, p: &str, kind: Attention) -> Result<AttentionWeights, CheckpointError> {
        let c = self.config;
        let (d, heads, width) = (c.hidden_size, c.num_attention_heads, c.head_dim);
        let compressor = match kind {
            Attention::Window => None,
            Attention::Sparse { ratio } => {
                Some(self.compressor(&format!("{p}.compressor"), width, ratio, true)?)
            }
            Attention::Heavy { ratio } => {
                Some(self.compressor(&format!("{p}.compressor"), width, ratio, false)?)
            }
        };
        let indexer = match kind {
            Attention::Sparse { ratio } => Some(IndexerWeights {
                wq_b: self.linear(
                    &format!("{p}.indexer.wq_b"),
                    c.index_n_heads * c.index_head_dim,
                    c.q_lora_rank,
                )?,
                weights_proj: self.linear(&format!("{p}.indexer.weights_proj"), c.index_n_heads, d)?,
                compressor: self.compressor(
                    &format!("{p}.indexer.compressor"),
                    c.index_head_dim,
                    ratio,
                    true,
                )?,
            }),
            Attention::Window | Attention::Heavy { .. } => None,
        };
        Ok(AttentionWeights {
            kind,
            sinks: self.vector(&format!("{p}.attn_sink"), heads)?,
            wq_a: self.linear(&format!("{p}.wq_a"), c.q_lora_rank, d)?,
            q_norm: self.vector(&format!("{p}.q_norm.weight"), c.q_lora_rank)?,
            wq_b: self.linear(&format!("{p}.wq_b"), heads * width, c.q_lora_rank)?,
            wkv: self.linear(&format!("{p}.wkv"), width, d)?,
            kv_norm: self.vector(&format!("{p}.kv_norm.weight"), width)?,
            wo_a: self.linear(
                &format!("{p}.wo_a"),
                c.o_groups * c.o_lora_rank,
                heads * width / c.o_groups,
            )?,
            wo_b: self.linear(&format!("{p}.wo_b"), d, c.o_groups * c.o_lora_rank)?,
            compressor,
            indexer,
        })
    }

    fn compressor(
        &self,
        p: &str,
        width: usize,
        ratio: usize,
        overlap: bool,
    ) -> Result<CompressorWeights, CheckpointError> {
        let token_width = if overlap { 2 * width } else { width };
        Ok(CompressorWeights {
            wkv: self.linear(&format!("{p}.wkv"), token_width, self.config.hidden_size)?,
            wgate: self.linear(&format!("{p}.wgate"), token_width, self.config.hidden_size)?,
            pooling: Compressor {
                ratio,
                width,
                overlap,
                ape: self
                    .checkpoint
                    .vector(&format!("{p}.ape"), &[ratio, token_width])?,
                norm: self.vector(&format!("{p}.norm.weight"), width)?,
            },
        })
    }

    fn experts(&self, p: &str, routing: Routing) -> Result<ExpertWeights, CheckpointError> {
        let c = self.config;
        let (d, width, experts) = (c.hidden_size, c.moe_intermediate_size, c.n_routed_experts);
        let expert = |p: String, width: usize| -> Result<Expert, CheckpointError> {
            Ok(Expert {
                w1: self.linear(&format!("{p}.w1"), width, d)?,
                w2: self.linear(&format!("{p}.w2"), d, width)?,
                w3: self.linear(&format!("{p}.w3"), width, d)?,
            })
        };
        Ok(ExpertWeights {
            gate: self.linear(&format!("{p}.gate"), experts, d)?,
            selection: match routing {
                Routing::Biased => ExpertSelection::Biased(self.vector(&format!("{p}.gate.bias"), experts)?),
                Routing::Hash => ExpertSelection::Table(self.checkpoint.table(
                    &format!("{p}.gate.tid2eid"),
                    c.vocab_size,
                    c.num_experts_per_tok,
                )?),
            },
            routed: (0..experts)
                .map(|e| expert(format!("{p}.experts.{e}"), width))
                .collect::<Result<_, _>>()?,
            shared: expert(format!("{p}.shared_experts"), width * c.n_shared_experts)?,
        })
    }
}
