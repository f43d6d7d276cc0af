//! The experts sublayer: routing, the routed experts grouped by expert, the shared expert, the sum (spec §5.5, §5.6).

use arrayvec::ArrayVec;
use fathom_checkpoint::{Dtype, Tensor};
use fathom_kernels::experts::{Router, Selection, combine, swiglu};
use fathom_kernels::matmul::{Product, multiply};

use crate::forward::Step;
use crate::weights::{Expert, ExpertSelection, ExpertWeights, Linear};
use crate::workspace::{ExpertBuffers, Quantised, Workspace};

/// Products shared out together. Enough to keep a team busy; a fixed number needs no allocation.
const PRODUCTS_AT_ONCE: usize = 64;

impl Step<'_> {
    /// From `workspace.normed` to `workspace.output`.
    pub(crate) fn experts(&mut self, workspace: &mut Workspace, weights: &ExpertWeights) {
        let c = self.model.config();
        let (t, d, k) = (self.tokens.len(), c.hidden_size, c.num_experts_per_tok);
        let (width, limit) = (c.moe_intermediate_size, c.swiglu_limit);
        let shared_width = width * c.n_shared_experts;
        let pairs = t * k;
        let Workspace {
            normed,
            normed_quantised,
            output,
            experts: buffers,
            ..
        } = workspace;
        let (x, xq) = (&normed[..t * d], &*normed_quantised);

        // The shared expert needs no routing: its first half runs beside the router's scores.
        let shared = &weights.shared;
        let products = [
            Product::new(
                weights.gate.view(),
                x,
                &mut buffers.scores[..t * c.n_routed_experts],
            ),
            self.product(&shared.w1, x, xq, &mut buffers.shared_gate[..t * shared_width]),
            self.product(&shared.w3, x, xq, &mut buffers.shared_up[..t * shared_width]),
        ];
        multiply(self.team, &products);
        self.route(buffers, weights);
        group(buffers, pairs, k, c.n_routed_experts);
        for (pair, &place) in buffers.places[..pairs].iter().enumerate() {
            buffers.order[place as usize] = (pair / k) as u32;
            buffers.input_weights[place as usize] = buffers.weights[pair];
        }
        match (xq, &mut buffers.inputs_quantised) {
            (Some(source), Some(inputs)) if weights.routed[0].w1.is_quantised() => {
                inputs.gather(self.team, source, &buffers.order[..pairs], &buffers.first);
            }
            _ => {
                let rows = buffers.inputs[..pairs * d].chunks_exact_mut(d);
                for (row, &token) in rows.zip(&buffers.order) {
                    row.copy_from_slice(&x[token as usize * d..][..d]);
                }
            }
        }
        let gate = &mut buffers.gate[..pairs * width];
        let up = &mut buffers.up[..pairs * width];
        self.each_expert(
            weights,
            &buffers.first,
            [|expert| &expert.w1, |expert| &expert.w3],
            (&buffers.inputs, &buffers.inputs_quantised),
            [&mut *gate, &mut *up],
        );
        let routed_weights = Some(&buffers.input_weights[..pairs]);
        swiglu(self.team, gate, up, width, routed_weights, limit, self.round);
        // The same clamp as the routed experts (spec §16).
        let shared_gate = &mut buffers.shared_gate[..t * shared_width];
        let shared_up = &buffers.shared_up[..t * shared_width];
        swiglu(
            self.team,
            shared_gate,
            shared_up,
            shared_width,
            None,
            limit,
            self.round,
        );
        self.quantise(shared_gate, shared_width, &mut buffers.shared_hidden_quantised);

        if let Some(hidden) = &mut buffers.hidden_quantised
            && weights.routed[0].w2.is_quantised()
        {
            hidden.quantise_segments(self.team, gate, width, &buffers.first);
        }
        self.each_expert(
            weights,
            &buffers.first,
            [|expert| &expert.w2],
            (gate, &buffers.hidden_quantised),
            [&mut buffers.outputs[..pairs * d]],
        );
        let product = self.product(
            &shared.w2,
            &buffers.shared_gate[..t * shared_width],
            &buffers.shared_hidden_quantised,
            &mut buffers.shared_output[..t * d],
        );
        multiply(self.team, &[product]);
        combine(
            self.team,
            &buffers.outputs[..pairs * d],
            &buffers.places[..pairs],
            &buffers.shared_output[..t * d],
            d,
            self.round,
            &mut output[..t * d],
        );
    }

    /// Expert ids and weights of every token. The router is float32 throughout, also its logits (trap 9).
    fn route(&mut self, buffers: &mut ExpertBuffers, weights: &ExpertWeights) {
        let c = self.model.config();
        let (t, k, experts) = (self.tokens.len(), c.num_experts_per_tok, c.n_routed_experts);
        let scores = &mut buffers.scores[..t * experts];
        let selection = match &weights.selection {
            ExpertSelection::Biased(bias) => Selection::Biased(bias),
            ExpertSelection::Table(table) => {
                let given = &mut buffers.given[..t * k];
                for (&token, ids) in self.tokens.iter().zip(given.chunks_exact_mut(k)) {
                    look_up(table, token as usize, ids);
                }
                Selection::Given(given)
            }
        };
        let router = Router {
            selection,
            experts_per_token: k,
            normalise: c.norm_topk_prob,
            scale: c.routed_scaling_factor,
        };
        router.route(
            self.team,
            experts,
            scores,
            &mut buffers.ids[..t * k],
            &mut buffers.weights[..t * k],
        );
    }

    /// `N` matrices of every expert that has tokens: the inputs, plain or quantised, and each `out` hold the experts' rows
    /// one after the other.
    fn each_expert<const N: usize>(
        &mut self,
        weights: &ExpertWeights,
        first: &[u32],
        matrices: [fn(&Expert) -> &Linear; N],
        (plain, quantised): (&[f32], &Quantised),
        out: [&mut [f32]; N],
    ) {
        let mut products = ArrayVec::<Product<'_>, PRODUCTS_AT_ONCE>::new();
        let mut rest = out;
        for (expert, range) in weights.routed.iter().zip(first.windows(2)) {
            let (from, to) = (range[0] as usize, range[1] as usize);
            if from == to {
                continue;
            }
            for (matrix, rest) in matrices.iter().zip(&mut rest) {
                let linear = matrix(expert);
                let view = linear.view();
                let (own, tail) = std::mem::take(rest).split_at_mut((to - from) * view.rows);
                *rest = tail;
                if products.is_full() {
                    multiply(self.team, &products);
                    products.clear();
                }
                let product = match quantised {
                    Some(x) if linear.is_quantised() => Product::quantised(view, x.segment(from..to), own),
                    _ => Product::new(view, &plain[from * view.cols..to * view.cols], own),
                };
                products.push(product.rounded(self.round));
            }
        }
        multiply(self.team, &products);
    }
}

/// Orders (token, expert) pairs by expert, tokens in order within one: `places[pair]` is a pair's place and `first[e]`
/// the first place of expert e.
fn group(buffers: &mut ExpertBuffers, pairs: usize, k: usize, experts: usize) {
    debug_assert_eq!(pairs % k, 0);
    let first = &mut buffers.first[..=experts];
    first.fill(0);
    for &id in &buffers.ids[..pairs] {
        first[id as usize + 1] += 1;
    }
    for e in 0..experts {
        first[e + 1] += first[e];
    }
    // Counting sort: `first[e]` walks to the end of expert e's run and is moved back afterwards.
    for (&id, place) in buffers.ids[..pairs].iter().zip(&mut buffers.places[..pairs]) {
        *place = first[id as usize];
        first[id as usize] += 1;
    }
    first.copy_within(..experts, 1);
    first[0] = 0;
}

/// The expert ids of a token in a hash layer's table; the loader has checked their range.
fn look_up(table: &Tensor, token: usize, ids: &mut [u32]) {
    let size = table.dtype.size();
    let row = &table.data[token * ids.len() * size..][..ids.len() * size];
    for (id, bytes) in ids.iter_mut().zip(row.chunks_exact(size)) {
        // Both widths are little-endian and hold small non-negative numbers: the low four bytes are the id.
        debug_assert!(matches!(table.dtype, Dtype::I64 | Dtype::I32));
        *id = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
}
