//! Scores of float32 keys, in float32.

use super::Indexer;
use crate::isa::{Isa, multiversion};
use crate::matmul::score_rows;
use crate::team::Scratch;

/// Keys scored at a time.
const KEYS: usize = 64;

/// Writes the scores of one query and consecutive keys from `first` on: `Σ_h w_h · relu(q_h · κ)` in float32, heads in
/// order.
pub(super) fn score(
    indexer: &Indexer<'_>,
    isa: Isa,
    query: usize,
    first: usize,
    scores: &mut [f32],
    scratch: &mut Scratch,
) {
    let width = indexer.keys.format().width();
    let (q, weights) = indexer.query(query);
    let [keys, dots] = scratch.floats([KEYS * width, KEYS * indexer.heads]);
    for (block, scores) in scores.chunks_mut(KEYS).enumerate() {
        let n = scores.len();
        let keys = &mut keys[..n * width];
        for (i, key) in keys.chunks_exact_mut(width).enumerate() {
            indexer.keys.read(isa, first + block * KEYS + i, key);
        }
        score_rows(isa, q, keys, width, dots, n);
        sum_heads(isa, weights, &dots[..indexer.heads * n], scores);
    }
}

multiversion! {
    fn sum_heads = sum_heads_body(weights: &[f32], dots: &[f32], scores: &mut [f32])
}

#[inline(always)]
fn sum_heads_body(weights: &[f32], dots: &[f32], scores: &mut [f32]) {
    scores.fill(0.0);
    for (&weight, dots) in weights.iter().zip(dots.chunks_exact(scores.len())) {
        for (score, &dot) in scores.iter_mut().zip(dots) {
            let positive = if dot > 0.0 { dot } else { 0.0 };
            *score = weight.mul_add(positive, *score);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ReLU is part of the score, and head weights may be negative.
    #[test]
    fn scores_are_weighted_sums_of_positive_dots() {
        let mut scores = [9.0; 3];
        sum_heads_body(&[2.0, -1.0], &[1.0, -5.0, 3.0, 4.0, 7.0, -2.0], &mut scores);
        assert_eq!(scores, [2.0 - 4.0, -7.0, 6.0]);
    }
}
