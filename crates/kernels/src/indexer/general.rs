//! Scores of anything: keys and queries whose scales are too far apart for [`super::codes`], and values off the grid.

use crate::isa::multiversion;

/// Products added up by one tree.
const TREE: usize = 128;

multiversion! {
    /// `Σ_h w_h · relu(q_h · κ)`, heads in order; a dot is summed in float64 and rounded once to float32, so it is the
    /// exact dot's nearest wherever the terms span fewer than 2^40. `q` is `[heads, width]`, `key` is `[width]`.
    pub(super) fn score = score_body(q: &[f32], weights: &[f32], key: &[f32]) -> f32
}

#[inline(always)]
fn score_body(q: &[f32], weights: &[f32], key: &[f32]) -> f32 {
    let mut score = 0.0f32;
    for (q, weight) in q.chunks_exact(key.len()).zip(weights) {
        let mut dot = 0.0;
        for (q, key) in q.chunks(TREE).zip(key.chunks(TREE)) {
            let mut sums = [0.0; TREE];
            for ((sum, &q), &key) in sums.iter_mut().zip(q).zip(key) {
                // Exact, so a fused sum would be the same.
                *sum = q as f64 * key as f64;
            }
            let mut half = TREE / 2;
            while half > 0 {
                let (low, high) = sums.split_at_mut(half);
                for (low, high) in low.iter_mut().zip(high) {
                    *low += *high;
                }
                half /= 2;
            }
            dot += sums[0];
        }
        let dot = dot as f32;
        score = weight.mul_add(if dot > 0.0 { dot } else { 0.0 }, score);
    }
    score
}
