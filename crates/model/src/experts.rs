//! The experts sublayer: routing, the routed experts grouped by expert, the shared expert, the sum (spec §5.5, §5.6).

use arrayvec::ArrayVec;
use fathom_checkpoint::{Dtype, Tensor};
use fathom_kernels::experts::{Router, Selection, combine, swiglu};
use fathom_kernels::matmul::{Product, multiply};

use crate::forward::Step;
use crate::weights::{Expert, ExpertSelection, ExpertWeights};
use crate::workspace::{ExpertBuffers, Workspace};

/// Products shared out together. Enough to keep a team busy; a fixed number needs no allocation.
const PRODUCTS_AT_ONCE: usize = 32;

impl Step<'_> {
    /// From `workspace.normed` to `workspace.output`.
    pub(crate) fn experts(&mut self, workspace: &mut Workspace, weights: &ExpertWeights) {
        let c = self.model.config();
        let (t, d, k) = (self.tokens.len(), c.hidden_size, c.num_experts_per_tok);
        let (width, limit) = (c.moe_intermediate_size, c.swiglu_limit);
        let Workspace {
            normed,
            normed_quantised,
            output,
            experts: buffers,
            ..
        } = workspace;
        let (x, xq) = (&normed[..t * d], &normed_quantised[..t * d]);

        self.route(buffers, x, weights);
        group(buffers, t * k, k, c.n_routed_experts);
        // Routed experts see quantised rows or plain ones, all of them the same kind.
        let quantised = self.round && weights.routed[0].w1.is_quantised();
        let source = if quantised { xq } else { x };
        for (pair, &place) in buffers.places[..t * k].iter().enumerate() {
            let (row, place) = (pair / k, place as usize);
            buffers.inputs[place * d..][..d].copy_from_slice(&source[row * d..][..d]);
            buffers.input_weights[place] = buffers.weights[pair];
        }

        self.shared_expert(buffers, x, xq, &weights.shared);
        let ExpertBuffers {
            first,
            inputs,
            gate,
            up,
            hidden_quantised,
            outputs,
            ..
        } = buffers;
        self.each_expert(
            weights,
            first,
            |expert| &expert.w1,
            &inputs[..t * k * d],
            &mut gate[..t * k * width],
        );
        self.each_expert(
            weights,
            first,
            |expert| &expert.w3,
            &inputs[..t * k * d],
            &mut up[..t * k * width],
        );
        let gate = &mut gate[..t * k * width];
        let routed_weights = Some(&buffers.input_weights[..t * k]);
        swiglu(
            self.team,
            gate,
            &up[..t * k * width],
            width,
            routed_weights,
            limit,
            self.round,
        );
        let hidden_quantised = &mut hidden_quantised[..t * k * width];
        self.quantise(gate, width, hidden_quantised);
        let quantised = self.round && weights.routed[0].w2.is_quantised();
        let hidden = if quantised { hidden_quantised } else { gate };
        self.each_expert(
            weights,
            first,
            |expert| &expert.w2,
            hidden,
            &mut outputs[..t * k * d],
        );
        combine(
            self.team,
            outputs,
            &buffers.places[..t * k],
            &buffers.shared_output[..t * d],
            d,
            self.round,
            &mut output[..t * d],
        );
    }

    /// Expert ids and weights of every token. The router is float32 throughout, also its logits (trap 9).
    fn route(&mut self, buffers: &mut ExpertBuffers, x: &[f32], weights: &ExpertWeights) {
        let c = self.model.config();
        let (t, k, experts) = (self.tokens.len(), c.num_experts_per_tok, c.n_routed_experts);
        let scores = &mut buffers.scores[..t * experts];
        multiply(self.team, &[Product::new(weights.gate.view(), x, scores)]);
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

    /// One matrix of every expert that has tokens: `x` and `out` hold each expert's rows one after the other.
    fn each_expert(
        &mut self,
        weights: &ExpertWeights,
        first: &[u32],
        matrix: impl Fn(&Expert) -> &crate::weights::Linear,
        x: &[f32],
        out: &mut [f32],
    ) {
        let mut products = ArrayVec::<Product<'_>, PRODUCTS_AT_ONCE>::new();
        let mut rest = out;
        for (expert, range) in weights.routed.iter().zip(first.windows(2)) {
            let (from, to) = (range[0] as usize, range[1] as usize);
            if from == to {
                continue;
            }
            let view = matrix(expert).view();
            let (own, tail) = std::mem::take(&mut rest).split_at_mut((to - from) * view.rows);
            rest = tail;
            products.push(Product::new(view, &x[from * view.cols..to * view.cols], own).rounded(self.round));
            if products.is_full() {
                multiply(self.team, &products);
                products.clear();
            }
        }
        multiply(self.team, &products);
    }

    fn shared_expert(&mut self, buffers: &mut ExpertBuffers, x: &[f32], xq: &[f32], shared: &Expert) {
        let c = self.model.config();
        let (t, d) = (self.tokens.len(), c.hidden_size);
        let width = c.moe_intermediate_size * c.n_shared_experts;
        let gate = &mut buffers.shared_gate[..t * width];
        let up = &mut buffers.shared_up[..t * width];
        let products = [
            self.product(&shared.w1, x, xq, gate),
            self.product(&shared.w3, x, xq, up),
        ];
        multiply(self.team, &products);
        // The same clamp as the routed experts (spec §16).
        swiglu(self.team, gate, up, width, None, c.swiglu_limit, self.round);
        let quantised = &mut buffers.shared_hidden_quantised[..t * width];
        self.quantise(gate, width, quantised);
        let product = self.product(&shared.w2, gate, quantised, &mut buffers.shared_output[..t * d]);
        multiply(self.team, &[product]);
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
