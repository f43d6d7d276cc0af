//! The attention sublayer: queries, window rows, compressed rows, core attention and the grouped output projection
//! (spec §5.4), and what it leaves in the state (spec §6.2, §6.4).

use fathom_kernels::attention::{Arithmetic, Attention, Compressed};
use fathom_kernels::indexer::Indexer;
use fathom_kernels::matmul::{Product, multiply};
use fathom_kernels::norm::rms_norm;
use fathom_kernels::quant::{hadamard_e2m1_round_trip, kv_round_trip};
use fathom_kernels::rope::{RotationTable, Turn, rotate};

use crate::forward::Step;
use crate::state::{CompressedState, LayerState, pending_len, window_slots};
use crate::weights::{AttentionWeights, CompressorWeights, IndexerWeights};
use crate::workspace::{AttentionBuffers, Workspace};

/// What becomes of a pooled entry before it is stored under `reference`.
#[derive(Clone, Copy)]
enum Stored {
    /// E4M3 on all but the rotary dimensions.
    Kv,
    /// Hadamard transform and E2M1.
    IndexKey,
}

impl Step<'_> {
    /// From `workspace.normed` to `workspace.output`.
    pub(crate) fn attention(
        &mut self,
        workspace: &mut Workspace,
        weights: &AttentionWeights,
        state: &mut LayerState,
    ) {
        let c = self.model.config();
        let (t, d) = (self.tokens.len(), c.hidden_size);
        let Workspace {
            normed,
            normed_quantised,
            output,
            rotations,
            attention: buffers,
            ..
        } = workspace;
        let (x, xq) = (&normed[..t * d], &normed_quantised[..t * d]);
        let ratio = weights.kind.ratio();
        let rotation = if ratio == 0 {
            &rotations.window
        } else {
            &rotations.compress
        };
        let entries = rotations
            .entries
            .iter()
            .find(|(r, _)| *r == ratio)
            .map(|(_, table)| table);

        let window_start = self.window_rows(buffers, x, xq, weights, state, rotation);
        self.queries(buffers, weights, rotation);
        if let (Some(compressor), Some(state), Some(table)) =
            (&weights.compressor, &mut state.compressed, entries)
        {
            self.compress(buffers, x, compressor, state, table, Stored::Kv);
        }
        let mut stride = 0;
        if let (Some(indexer), Some(state), Some(table)) = (&weights.indexer, &mut state.index, entries) {
            self.compress(buffers, x, &indexer.compressor, state, table, Stored::IndexKey);
            stride = self.choose(buffers, x, indexer, state, rotation, ratio);
        }
        let (heads, head_dim) = (c.num_attention_heads, c.head_dim);
        let result = &mut buffers.result[..t * heads * head_dim];
        let attention = Attention {
            q: &buffers.q[..t * heads * head_dim],
            heads,
            head_dim,
            start: self.start,
            window_rows: &buffers.window_rows,
            window_start,
            window: c.sliding_window,
            compressed: state.compressed.as_ref().map(|state| Compressed {
                rows: &state.entries,
                ratio,
                chosen: weights.indexer.is_some().then_some((&*buffers.chosen, stride)),
            }),
            sinks: &weights.sinks,
            arithmetic: if self.packs {
                Arithmetic::Bf16 { round: self.round }
            } else {
                Arithmetic::Float32
            },
        };
        attention.attend(self.team, &mut buffers.workspace, result);
        rotate(
            self.team,
            result,
            heads * head_dim,
            head_dim,
            rotation,
            Turn::Back,
            self.round,
        );

        let rank = c.o_groups * c.o_lora_rank;
        let grouped = &mut buffers.grouped[..t * rank];
        // The published path runs this projection in BF16, its input unquantised (spec §9.3).
        for product in Product::block_diagonal(weights.wo_a.view(), c.o_groups, result, grouped) {
            multiply(self.team, &[product.rounded(self.round)]);
        }
        let grouped_quantised = &mut buffers.grouped_quantised[..t * rank];
        self.quantise(grouped, rank, grouped_quantised);
        let product = self.product(&weights.wo_b, grouped, grouped_quantised, &mut output[..t * d]);
        multiply(self.team, &[product]);
    }

    /// Query latent and window KV of the step's tokens, the rows before them from the ring, and the ring brought up to
    /// date. Returns the position of the first row in `window_rows`.
    fn window_rows(
        &mut self,
        buffers: &mut AttentionBuffers,
        x: &[f32],
        xq: &[f32],
        weights: &AttentionWeights,
        state: &mut LayerState,
        rotation: &RotationTable,
    ) -> usize {
        let c = self.model.config();
        let (t, width, slots) = (self.tokens.len(), c.head_dim, window_slots(c));
        let window_start = (self.start + 1).saturating_sub(slots);
        let earlier = self.start - window_start;
        let (before, own) = buffers.window_rows.split_at_mut(earlier * width);
        let own = &mut own[..t * width];
        let latent = &mut buffers.latent[..t * c.q_lora_rank];
        let products = [
            self.product(&weights.wq_a, x, xq, latent),
            self.product(&weights.wkv, x, xq, own),
        ];
        multiply(self.team, &products);
        rms_norm(
            self.team,
            own,
            width,
            Some(&weights.kv_norm),
            c.rms_norm_eps,
            self.round,
        );
        rotate(self.team, own, width, width, rotation, Turn::Forward, self.packs);
        if self.packs {
            kv_round_trip(self.team, own, width, width - c.qk_rope_head_dim);
        }
        // Read what the ring still holds of earlier positions before the step's own rows take their slots.
        state.window.gather(
            (window_start..self.start).map(|position| position % slots),
            before,
        );
        for (i, row) in own.chunks_exact(width).enumerate().skip(t.saturating_sub(slots)) {
            state.window.write((self.start + i) % slots, row);
        }
        window_start
    }

    /// Queries from the latent: normalised latent, projection, per-head norm, rotation.
    fn queries(
        &mut self,
        buffers: &mut AttentionBuffers,
        weights: &AttentionWeights,
        rotation: &RotationTable,
    ) {
        let c = self.model.config();
        let (t, rank, width) = (self.tokens.len(), c.q_lora_rank, c.head_dim);
        let latent = &mut buffers.latent[..t * rank];
        let latent_quantised = &mut buffers.latent_quantised[..t * rank];
        let q = &mut buffers.q[..t * c.num_attention_heads * width];
        rms_norm(
            self.team,
            latent,
            rank,
            Some(&weights.q_norm),
            c.rms_norm_eps,
            self.round,
        );
        self.quantise(latent, rank, latent_quantised);
        let product = self.product(&weights.wq_b, latent, latent_quantised, q);
        multiply(self.team, &[product]);
        rms_norm(self.team, q, width, None, c.rms_norm_eps, self.round);
        rotate(
            self.team,
            q,
            c.num_attention_heads * width,
            width,
            rotation,
            Turn::Forward,
            self.round,
        );
    }

    /// Adds the step's tokens to a compressor and stores the entries they complete.
    ///
    /// Rows of the windows still needed are put before the step's own, so that a window pools the same rows in the same
    /// order wherever a chunk begins (spec §6.4).
    fn compress(
        &mut self,
        buffers: &mut AttentionBuffers,
        x: &[f32],
        weights: &CompressorWeights,
        state: &mut CompressedState,
        table: &RotationTable,
        stored: Stored,
    ) {
        let pooling = &weights.pooling;
        let (ratio, width, token) = (pooling.ratio, pooling.width, pooling.token_width());
        let (t, end) = (self.tokens.len(), self.start + self.tokens.len());
        let pending = pending_len(self.start, ratio, pooling.overlap);
        let base = self.start - pending;
        let keys = &mut buffers.keys[..(pending + t) * token];
        let gates = &mut buffers.gates[..(pending + t) * token];
        keys[..pending * token].copy_from_slice(&state.keys);
        gates[..pending * token].copy_from_slice(&state.gates);
        multiply(
            self.team,
            &[
                Product::new(weights.wkv.view(), x, &mut keys[pending * token..]),
                Product::new(weights.wgate.view(), x, &mut gates[pending * token..]),
            ],
        );
        pooling.add_positions(self.start, &mut gates[pending * token..]);

        let first = self.start / ratio;
        let count = end / ratio - first;
        if count > 0 {
            let c = self.model.config();
            let entries = &mut buffers.entries[..count * width];
            pooling.pool(
                self.team,
                (keys, gates, base),
                first,
                c.rms_norm_eps,
                self.round,
                entries,
            );
            rotate(self.team, entries, width, width, table, Turn::Forward, self.packs);
            match stored {
                _ if !self.packs => {}
                Stored::Kv => kv_round_trip(self.team, entries, width, width - c.qk_rope_head_dim),
                Stored::IndexKey => hadamard_e2m1_round_trip(self.team, entries, width),
            }
            entries
                .chunks_exact(width)
                .for_each(|entry| state.entries.push(entry));
        }

        let kept = pending_len(end, ratio, pooling.overlap) * token;
        state.keys.clear();
        state.keys.extend_from_slice(&keys[keys.len() - kept..]);
        state.gates.clear();
        state.gates.extend_from_slice(&gates[gates.len() - kept..]);
    }

    /// Lets the indexer choose each query's entries. Returns the width of a query's row in `chosen`.
    fn choose(
        &mut self,
        buffers: &mut AttentionBuffers,
        x: &[f32],
        weights: &IndexerWeights,
        state: &CompressedState,
        rotation: &RotationTable,
        ratio: usize,
    ) -> usize {
        let c = self.model.config();
        let (t, heads, width) = (self.tokens.len(), c.index_n_heads, c.index_head_dim);
        let stride = c.index_topk.min(state.entries.len()).max(1);
        if buffers.chosen.len() < t * stride {
            buffers.chosen.resize((t * stride).next_power_of_two(), 0);
        }
        let q = &mut buffers.index_q[..t * heads * width];
        let head_weights = &mut buffers.index_weights[..t * heads];
        let latent = &buffers.latent[..t * c.q_lora_rank];
        let latent_quantised = &buffers.latent_quantised[..t * c.q_lora_rank];
        let products = [
            self.product(&weights.wq_b, latent, latent_quantised, q),
            Product::new(weights.weights_proj.view(), x, head_weights).rounded(self.round),
        ];
        multiply(self.team, &products);
        rotate(
            self.team,
            q,
            heads * width,
            width,
            rotation,
            Turn::Forward,
            self.round,
        );
        if self.packs {
            hadamard_e2m1_round_trip(self.team, q, width);
        }
        let scale = 1.0 / ((width * heads) as f32).sqrt();
        head_weights.iter_mut().for_each(|weight| *weight *= scale);
        let indexer = Indexer {
            q,
            head_weights,
            heads,
            start: self.start,
            ratio,
            top_k: c.index_topk,
            keys: &state.entries,
        };
        indexer.choose(self.team, &mut buffers.index_scores, &mut buffers.chosen, stride);
        stride
    }
}
