//! The memory a step needs, allocated once.

use fathom_kernels::attention::Workspace as AttentionWorkspace;
use fathom_kernels::indexer::Workspace as IndexerWorkspace;
use fathom_kernels::inputs::Inputs;
use fathom_kernels::rope::RotationTable;

use crate::numerics::Numerics;
use crate::weights::{LayerWeights, Model, ModelId};

/// Buffers for steps of up to a fixed number of tokens of one model. What grows with the context (scores, unpacked
/// rows) grows by doubling.
pub struct Workspace {
    pub(crate) max_chunk: usize,
    pub(crate) model: ModelId,
    /// The step's tokens, part after part.
    pub(crate) tokens: Vec<u32>,
    pub(crate) spans: Vec<Span>,
    pub(crate) streams: Vec<f32>,
    pub(crate) mix: Vec<f32>,
    pub(crate) reading: Vec<f32>,
    pub(crate) normed: Vec<f32>,
    pub(crate) normed_quantised: Quantised,
    pub(crate) output: Vec<f32>,
    pub(crate) rotations: Rotations,
    pub(crate) attention: AttentionBuffers,
    pub(crate) experts: ExpertBuffers,
    pub(crate) logits: Vec<f32>,
}

/// Sines and cosines for a step's positions.
pub(crate) struct Rotations {
    pub(crate) window: RotationTable,
    pub(crate) compress: RotationTable,
    /// For the entries that the step completes, by compression ratio.
    pub(crate) entries: Vec<(usize, RotationTable)>,
}

pub(crate) struct AttentionBuffers {
    pub(crate) latent: Vec<f32>,
    pub(crate) latent_quantised: Quantised,
    pub(crate) q: Vec<f32>,
    /// The step's own KV rows.
    pub(crate) kv: Vec<f32>,
    /// One part's rows, those from its ring before its own.
    pub(crate) window_rows: Vec<f32>,
    pub(crate) result: Vec<f32>,
    pub(crate) result_quantised: Quantised,
    pub(crate) grouped: Vec<f32>,
    pub(crate) grouped_quantised: Quantised,
    /// A compressor's keys and gates of the step's tokens.
    pub(crate) new_keys: Vec<f32>,
    pub(crate) new_gates: Vec<f32>,
    /// One part's, those that were pending before its own.
    pub(crate) keys: Vec<f32>,
    pub(crate) gates: Vec<f32>,
    pub(crate) entries: Vec<f32>,
    pub(crate) index_q: Vec<f32>,
    pub(crate) index_weights: Vec<f32>,
    pub(crate) index_scores: IndexerWorkspace,
    pub(crate) chosen: Vec<u32>,
    pub(crate) workspace: AttentionWorkspace,
}

pub(crate) struct ExpertBuffers {
    pub(crate) scores: Vec<f32>,
    pub(crate) given: Vec<u32>,
    pub(crate) ids: Vec<u32>,
    pub(crate) weights: Vec<f32>,
    /// First place of each expert's tokens among all (token, expert) pairs; one more entry than experts.
    pub(crate) first: Vec<u32>,
    pub(crate) places: Vec<u32>,
    /// The token at each place.
    pub(crate) order: Vec<u32>,
    /// Plain rows of experts that are not quantised.
    pub(crate) inputs: Vec<f32>,
    pub(crate) inputs_quantised: Quantised,
    pub(crate) input_weights: Vec<f32>,
    pub(crate) gate: Vec<f32>,
    pub(crate) up: Vec<f32>,
    pub(crate) hidden_quantised: Quantised,
    pub(crate) outputs: Vec<f32>,
    pub(crate) shared_gate: Vec<f32>,
    pub(crate) shared_up: Vec<f32>,
    pub(crate) shared_hidden_quantised: Quantised,
    pub(crate) shared_output: Vec<f32>,
}

/// One sequence's share of a step.
#[derive(Clone, Copy)]
pub(crate) struct Span {
    /// Position of its first token.
    pub(crate) start: usize,
    /// Its tokens among the step's.
    pub(crate) first: usize,
    pub(crate) len: usize,
}

impl Span {
    pub(crate) fn end(&self) -> usize {
        self.start + self.len
    }

    /// Its part of rows of `width`.
    pub(crate) fn rows(&self, width: usize) -> std::ops::Range<usize> {
        self.first * width..(self.first + self.len) * width
    }
}

/// Inputs of quantised linears, as the numerics take them; `None` under `exact`, which quantises nothing.
pub(crate) type Quantised = Option<Inputs>;

fn quantised(numerics: Numerics, rows: usize, width: usize) -> Quantised {
    match numerics {
        Numerics::Exact => None,
        Numerics::Reference => Some(Inputs::bf16(rows, width)),
        Numerics::Fast => Some(Inputs::int8(rows, width)),
    }
}

impl Model {
    /// Whether routed experts take quantised inputs in every layer.
    fn quantised_experts(&self) -> bool {
        let quantised =
            |layer: &LayerWeights| layer.experts.routed.iter().all(|expert| expert.w1.is_quantised());
        self.numerics() != Numerics::Exact && self.layers.iter().all(quantised)
    }

    /// Memory for steps of up to `max_chunk` tokens (at least one).
    pub fn new_workspace(&self, max_chunk: usize) -> Workspace {
        let c = self.config();
        let t = max_chunk.max(1);
        let floats = |n: usize| vec![0.0f32; n];
        let numerics = self.numerics();
        let quantised = |rows: usize, width: usize| quantised(numerics, rows, width);
        let d = c.hidden_size;
        let n = c.hc_mult;
        // The largest compressor: tokens of a chunk and of pending windows, and the entries they can complete.
        let (mut token_floats, mut new_floats, mut entry_floats, mut ratios) = (0, 0, 0, Vec::new());
        for list in &self.layout().lists {
            token_floats = token_floats.max((list.pending_tokens_max() + t) * list.token_width);
            new_floats = new_floats.max(t * list.token_width);
            // Every part of a step may complete an entry that its pending tokens began.
            entry_floats = entry_floats.max(t * list.rows.format.width());
            if !ratios.contains(&list.ratio) {
                ratios.push(list.ratio);
            }
        }
        let q = c.num_attention_heads * c.head_dim;
        let pairs = t * c.num_experts_per_tok;
        let (width, shared) = (
            c.moe_intermediate_size,
            c.moe_intermediate_size * c.n_shared_experts,
        );
        Workspace {
            max_chunk: t,
            model: self.id(),
            tokens: Vec::with_capacity(t),
            spans: Vec::with_capacity(t),
            streams: floats(t * n * d),
            mix: floats(t * self.hyper_shape().mix_width()),
            reading: floats(t * d),
            normed: floats(t * d),
            normed_quantised: quantised(t, d),
            output: floats(t * d),
            rotations: Rotations {
                window: RotationTable::new(self.window_frequencies.clone(), t),
                compress: RotationTable::new(self.compress_frequencies.clone(), t),
                entries: ratios
                    .into_iter()
                    .map(|r| (r, RotationTable::new(self.compress_frequencies.clone(), t)))
                    .collect(),
            },
            attention: AttentionBuffers {
                latent: floats(t * c.q_lora_rank),
                latent_quantised: quantised(t, c.q_lora_rank),
                q: floats(t * q),
                window_rows: floats((self.layout().window_slots + t) * c.head_dim),
                kv: floats(t * c.head_dim),
                result: floats(t * q),
                result_quantised: quantised(t * c.o_groups, q / c.o_groups),
                grouped: floats(t * c.o_groups * c.o_lora_rank),
                grouped_quantised: quantised(t, c.o_groups * c.o_lora_rank),
                new_keys: floats(new_floats),
                new_gates: floats(new_floats),
                keys: floats(token_floats),
                gates: floats(token_floats),
                entries: floats(entry_floats),
                index_q: floats(t * c.index_n_heads * c.index_head_dim),
                index_weights: floats(t * c.index_n_heads),
                index_scores: IndexerWorkspace::default(),
                chosen: Vec::new(),
                workspace: AttentionWorkspace::default(),
            },
            experts: ExpertBuffers {
                scores: floats(t * c.n_routed_experts),
                given: vec![0; pairs],
                ids: vec![0; pairs],
                weights: floats(pairs),
                first: vec![0; c.n_routed_experts + 1],
                places: vec![0; pairs],
                order: vec![0; pairs],
                inputs: floats(if self.quantised_experts() { 0 } else { pairs * d }),
                inputs_quantised: quantised(pairs, d),
                input_weights: floats(pairs),
                gate: floats(pairs * width),
                up: floats(pairs * width),
                hidden_quantised: quantised(pairs, width),
                outputs: floats(pairs * d),
                shared_gate: floats(t * shared),
                shared_up: floats(t * shared),
                shared_hidden_quantised: quantised(t, shared),
                shared_output: floats(t * d),
            },
            logits: Vec::new(),
        }
    }
}
