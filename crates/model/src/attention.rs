//! The attention sublayer: queries, window rows, compressed rows, core attention and the grouped output projection
//! (spec §5.4), and what it leaves in the state (spec §6.2, §6.4).

use std::slice;

use arrayvec::ArrayVec;
use fathom_kernels::attention::{Arithmetic, Attention, Compressed};
use fathom_kernels::indexer::Indexer;
use fathom_kernels::matmul::{Product, multiply};
use fathom_kernels::norm::{rms_norm, rms_norm_and_rotate};
use fathom_kernels::pages::PagedRows;
use fathom_kernels::quant::{hadamard_e2m1_round_trip, kv_round_trip};
use fathom_kernels::rope::{RotationTable, Turn, rotate};

use crate::forward::{Part, Step};
use crate::layout::Stored;
use crate::state::State;
use crate::weights::{AttentionWeights, CompressorWeights, IndexerWeights};
use crate::workspace::{AttentionBuffers, Quantised, Span, Workspace};

/// Groups of the output projection computed together; a fixed number needs no allocation.
const GROUPS_AT_ONCE: usize = 16;

impl Step<'_> {
    /// From `workspace.normed` to `workspace.output`.
    pub(crate) fn attention(
        &mut self,
        workspace: &mut Workspace,
        weights: &AttentionWeights,
        parts: &mut [Part<'_>],
        layer: usize,
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
        let (x, xq) = (&normed[..t * d], &*normed_quantised);
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

        self.latent_and_kv(buffers, x, xq, weights, rotation);
        self.queries(buffers, weights, rotation);
        let lists = &self.model.layout().layers[layer];
        if let (Some(compressor), Some(table), Some(list)) = (&weights.compressor, entries, lists.entries) {
            self.compress(buffers, x, compressor, parts, list, table);
        }
        if let (Some(indexer), Some(table), Some(list)) = (&weights.indexer, entries, lists.keys) {
            self.compress(buffers, x, &indexer.compressor, parts, list, table);
            self.index_queries(buffers, x, indexer, rotation);
        }
        for (i, part) in parts.iter_mut().enumerate() {
            self.attend(buffers, weights, self.spans[i], part.state, layer);
        }
        let (heads, head_dim) = (c.num_attention_heads, c.head_dim);
        let result = &mut buffers.result[..t * heads * head_dim];
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
        let mut products = ArrayVec::<Product<'_>, GROUPS_AT_ONCE>::new();
        let wo_a = weights.wo_a.view();
        // The published path runs this projection in BF16, its input unquantised (spec §9.3).
        match &mut buffers.result_quantised {
            Some(inputs) if wo_a.is_quantised() => {
                inputs.take_groups(self.team, result, wo_a.cols, c.o_groups);
                for product in Product::block_diagonal_quantised(wo_a, c.o_groups, inputs, grouped) {
                    self.push(&mut products, product.rounded(self.round));
                }
            }
            _ => {
                for product in Product::block_diagonal(wo_a, c.o_groups, result, grouped) {
                    self.push(&mut products, product.rounded(self.round));
                }
            }
        }
        multiply(self.team, &products);
        drop(products);
        self.quantise(grouped, rank, &mut buffers.grouped_quantised);
        let product = self.product(
            &weights.wo_b,
            grouped,
            &buffers.grouped_quantised,
            &mut output[..t * d],
        );
        multiply(self.team, &[product]);
    }

    /// Adds a product to those that are computed together; computes them first if there is no room.
    fn push<'p, const N: usize>(&mut self, products: &mut ArrayVec<Product<'p>, N>, product: Product<'p>) {
        if products.is_full() {
            multiply(self.team, products);
            products.clear();
        }
        products.push(product);
    }

    /// One part's attention over its window, its compressed rows, and what the indexer chooses of them.
    fn attend(
        &mut self,
        buffers: &mut AttentionBuffers,
        weights: &AttentionWeights,
        span: Span,
        state: &mut State,
        layer: usize,
    ) {
        let c = self.model.config();
        let (heads, head_dim) = (c.num_attention_heads, c.head_dim);
        let ratio = weights.kind.ratio();
        let window_start = self.window_rows(buffers, span, state, layer);
        let lists = &self.model.layout().layers[layer];
        let mut stride = 0;
        if let Some(keys) = lists.keys {
            stride = self.choose(buffers, span, state.entries(keys, span.end()), ratio);
        }
        let rows = span.rows(heads * head_dim);
        let attention = Attention {
            q: &buffers.q[rows.clone()],
            heads,
            head_dim,
            start: span.start,
            window_rows: &buffers.window_rows,
            window_start,
            window: c.sliding_window,
            compressed: lists.entries.map(|entries| Compressed {
                rows: state.entries(entries, span.end()),
                ratio,
                chosen: lists.keys.is_some().then_some((&*buffers.chosen, stride)),
            }),
            sinks: &weights.sinks,
            arithmetic: if self.packs {
                Arithmetic::Bf16 { round: self.round }
            } else {
                Arithmetic::Float32
            },
        };
        attention.attend(self.team, &mut buffers.workspace, &mut buffers.result[rows]);
    }

    /// Query latent and window KV of the step's tokens, the latter as they are stored.
    fn latent_and_kv(
        &mut self,
        buffers: &mut AttentionBuffers,
        x: &[f32],
        xq: &Quantised,
        weights: &AttentionWeights,
        rotation: &RotationTable,
    ) {
        let c = self.model.config();
        let (t, width) = (self.tokens.len(), c.head_dim);
        let kv = &mut buffers.kv[..t * width];
        let latent = &mut buffers.latent[..t * c.q_lora_rank];
        let products = [
            self.product(&weights.wq_a, x, xq, latent),
            self.product(&weights.wkv, x, xq, kv),
        ];
        multiply(self.team, &products);
        rms_norm(
            self.team,
            kv,
            width,
            Some(&weights.kv_norm),
            c.rms_norm_eps,
            self.round,
        );
        rotate(self.team, kv, width, width, rotation, Turn::Forward, self.packs);
        if self.packs {
            kv_round_trip(self.team, kv, width, width - c.qk_rope_head_dim);
        }
    }

    /// One part's window rows: those before its own from the ring, which is brought up to date. Returns the position of
    /// the first.
    fn window_rows(
        &mut self,
        buffers: &mut AttentionBuffers,
        span: Span,
        state: &mut State,
        layer: usize,
    ) -> usize {
        let layout = self.model.layout();
        let (ring, slots) = (layout.layers[layer].window, layout.window_slots);
        let width = ring.format.width();
        let window_start = (span.start + 1).saturating_sub(slots);
        let (before, rest) = buffers
            .window_rows
            .split_at_mut((span.start - window_start) * width);
        let own = &mut rest[..span.len * width];
        own.copy_from_slice(&buffers.kv[span.rows(width)]);
        // Read what the ring still holds of earlier positions before the part's own rows take their slots.
        ring.rows(slice::from_ref(&state.window), slots).gather(
            (window_start..span.start).map(|position| position % slots),
            before,
        );
        for (i, row) in own
            .chunks_exact(width)
            .enumerate()
            .skip(span.len.saturating_sub(slots))
        {
            ring.write(slice::from_mut(&mut state.window), (span.start + i) % slots, row);
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
        let q = &mut buffers.q[..t * c.num_attention_heads * width];
        rms_norm(
            self.team,
            latent,
            rank,
            Some(&weights.q_norm),
            c.rms_norm_eps,
            self.round,
        );
        self.quantise(latent, rank, &mut buffers.latent_quantised);
        let product = self.product(&weights.wq_b, latent, &buffers.latent_quantised, q);
        multiply(self.team, &[product]);
        let row = c.num_attention_heads * width;
        rms_norm_and_rotate(self.team, q, row, width, c.rms_norm_eps, rotation, self.round);
    }

    /// Adds the step's tokens to a compressor and stores the entries they complete, in each part's list.
    ///
    /// Rows of the windows still needed are put before the part's own, so that a window pools the same rows in the same
    /// order wherever a chunk begins (spec §6.4). Entries that a replayed state has are computed again, for the pending
    /// tokens' sake, but not stored.
    fn compress(
        &mut self,
        buffers: &mut AttentionBuffers,
        x: &[f32],
        weights: &CompressorWeights,
        parts: &mut [Part<'_>],
        list: usize,
        table: &RotationTable,
    ) {
        let c = self.model.config();
        let layout = self.model.layout().lists[list];
        let pooling = &weights.pooling;
        let (ratio, width, token) = (pooling.ratio, pooling.width, pooling.token_width());
        let t = self.tokens.len();
        let new_keys = &mut buffers.new_keys[..t * token];
        let new_gates = &mut buffers.new_gates[..t * token];
        multiply(
            self.team,
            &[
                Product::new(weights.wkv.view(), x, new_keys),
                Product::new(weights.wgate.view(), x, new_gates),
            ],
        );
        let mut done = 0;
        for (span, part) in self.spans.iter().zip(&mut *parts) {
            let state = &mut part.state.pending[list];
            let pending = state.keys.len() / token;
            let base = span.start - pending;
            let keys = &mut buffers.keys[..(pending + span.len) * token];
            let gates = &mut buffers.gates[..(pending + span.len) * token];
            keys[..pending * token].copy_from_slice(&state.keys);
            gates[..pending * token].copy_from_slice(&state.gates);
            keys[pending * token..].copy_from_slice(&new_keys[span.rows(token)]);
            gates[pending * token..].copy_from_slice(&new_gates[span.rows(token)]);
            pooling.add_positions(span.start, &mut gates[pending * token..]);
            let first = span.start / ratio;
            let count = span.end() / ratio - first;
            if count > 0 {
                let entries = &mut buffers.entries[done * width..(done + count) * width];
                pooling.pool(
                    self.team,
                    (keys, gates, base),
                    first,
                    c.rms_norm_eps,
                    self.round,
                    entries,
                );
                done += count;
            }
            let kept = layout.pending_tokens(span.end()) * token;
            state.keys.clear();
            state.keys.extend_from_slice(&keys[keys.len() - kept..]);
            state.gates.clear();
            state.gates.extend_from_slice(&gates[gates.len() - kept..]);
        }
        if done == 0 {
            return;
        }
        let entries = &mut buffers.entries[..done * width];
        rotate(self.team, entries, width, width, table, Turn::Forward, self.packs);
        match layout.stored {
            _ if !self.packs => {}
            Stored::Kv => kv_round_trip(self.team, entries, width, width - c.qk_rope_head_dim),
            Stored::IndexKey => hadamard_e2m1_round_trip(self.team, entries, width),
        }
        let mut entries = entries.chunks_exact(width);
        for (span, part) in self.spans.iter().zip(parts) {
            let known = part.state.replayed / ratio;
            let windows = span.start / ratio..span.end() / ratio;
            for (window, entry) in windows.zip(&mut entries) {
                if window >= known {
                    layout.rows.write(&mut part.state.pages, window, entry);
                }
            }
        }
    }

    /// Indexer queries and head weights of the step's tokens.
    fn index_queries(
        &mut self,
        buffers: &mut AttentionBuffers,
        x: &[f32],
        weights: &IndexerWeights,
        rotation: &RotationTable,
    ) {
        let c = self.model.config();
        let (t, heads, width) = (self.tokens.len(), c.index_n_heads, c.index_head_dim);
        let q = &mut buffers.index_q[..t * heads * width];
        let head_weights = &mut buffers.index_weights[..t * heads];
        let latent = &buffers.latent[..t * c.q_lora_rank];
        let products = [
            self.product(&weights.wq_b, latent, &buffers.latent_quantised, q),
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
    }

    /// Lets the indexer choose each query's entries for one part. Returns the width of a query's row in `chosen`.
    fn choose(
        &mut self,
        buffers: &mut AttentionBuffers,
        span: Span,
        keys: PagedRows<'_>,
        ratio: usize,
    ) -> usize {
        let c = self.model.config();
        let (heads, width) = (c.index_n_heads, c.index_head_dim);
        let stride = c.index_topk.min(keys.len()).max(1);
        if buffers.chosen.len() < span.len * stride {
            buffers.chosen.resize((span.len * stride).next_power_of_two(), 0);
        }
        let indexer = Indexer {
            q: &buffers.index_q[span.rows(heads * width)],
            head_weights: &buffers.index_weights[span.rows(heads)],
            heads,
            start: span.start,
            ratio,
            top_k: c.index_topk,
            keys,
        };
        indexer.choose(self.team, &mut buffers.index_scores, &mut buffers.chosen, stride);
        stride
    }
}
