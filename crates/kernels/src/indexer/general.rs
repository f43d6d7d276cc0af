//! Scores of anything: keys and queries whose scales are too far apart for [`super::codes`], and values off the grid.

use crate::isa::multiversion;
use crate::lanes::LANES;

multiversion! {
    /// `Σ_h w_h · relu(q_h · κ)`, heads in order; a dot is summed in float64 and rounded once to float32, so it is the
    /// exact dot's nearest wherever the terms span fewer than 2^40. `q` is `[heads, width]`, `key` is `[width]`.
    pub(super) fn score = score_body(q: &[f32], weights: &[f32], key: &[f32]) -> f32
}

#[inline(always)]
fn score_body(q: &[f32], weights: &[f32], key: &[f32]) -> f32 {
    let mut score = 0.0f32;
    for (q, weight) in q.chunks_exact(key.len()).zip(weights) {
        let mut lanes = [0.0f64; LANES];
        let ((q, q_rest), (key, key_rest)) = (q.as_chunks::<LANES>(), key.as_chunks::<LANES>());
        for (q, key) in q.iter().zip(key) {
            add_products(&mut lanes, q, key);
        }
        add_products(&mut lanes, q_rest, key_rest);
        for width in [8, 4, 2, 1] {
            for j in 0..width {
                lanes[j] += lanes[j + width];
            }
        }
        let dot = lanes[0] as f32;
        score = weight.mul_add(if dot > 0.0 { dot } else { 0.0 }, score);
    }
    score
}

/// A product of two float32 is exact in float64, so it needs no fused sum.
#[inline(always)]
fn add_products(lanes: &mut [f64; LANES], q: &[f32], key: &[f32]) {
    for ((lane, &q), &key) in lanes.iter_mut().zip(q).zip(key) {
        *lane += q as f64 * key as f64;
    }
}
