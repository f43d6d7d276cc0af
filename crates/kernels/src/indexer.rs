//! The lightning indexer: which compressed entries a query of a sparse layer attends to (spec §5.4).

use crate::attention::visible;
use crate::isa::{self, Isa, multiversion};
use crate::matmul::score_rows;
use crate::rows::RowStore;
use crate::team::{Disjoint, Scratch, Team};

/// Keys unpacked and scored at a time.
const KEYS_PER_BLOCK: usize = 64;

/// One layer's indexer for consecutive queries.
pub struct Indexer<'a> {
    /// `[t, heads · key_width]`.
    pub q: &'a [f32],
    /// Head weights, `[t, heads]`, the constant factors included; may be negative.
    pub head_weights: &'a [f32],
    /// Indexer heads.
    pub heads: usize,
    /// Position of the first query.
    pub start: usize,
    /// Tokens of a window.
    pub ratio: usize,
    /// Entries a query keeps at most.
    pub top_k: usize,
    /// One key for each compressed entry.
    pub keys: &'a RowStore,
}

impl Indexer<'_> {
    /// Writes each query's entries, ascending, to its row of `chosen` `[t, stride]`; a query that sees fewer than
    /// `top_k` keeps all, and the rest of its row is unspecified. `scores` is memory reused from call to call.
    ///
    /// The causal bound comes before the selection (trap 11), and equal scores go to the smaller index. Scores are
    /// `Σ_h w_h · relu(q_h · κ)` in float32, heads in order.
    pub fn choose(&self, team: &mut Team, scores: &mut Vec<f32>, chosen: &mut [u32], stride: usize) {
        let isa = isa::detected();
        let queries = self.head_weights.len() / self.heads;
        assert!(chosen.len() >= queries * stride && stride > 0);
        if queries > team.threads() {
            let chosen = Disjoint::new(chosen);
            team.run(queries, |query, scratch| {
                // SAFETY: each item owns its query's row.
                let chosen = unsafe { chosen.part(query * stride, stride) };
                self.choose_for(isa, query, chosen, scratch);
            });
            return;
        }
        for (query, chosen) in chosen.chunks_exact_mut(stride).enumerate().take(queries) {
            let n = visible(self.start + query, self.ratio);
            if n <= self.top_k {
                all(n, chosen);
                continue;
            }
            if scores.len() < n {
                scores.resize(n.next_power_of_two(), 0.0);
            }
            let parts = Disjoint::new(&mut scores[..n]);
            team.run(n.div_ceil(KEYS_PER_BLOCK), |block, scratch| {
                let first = block * KEYS_PER_BLOCK;
                let count = KEYS_PER_BLOCK.min(n - first);
                let (keys, dots) = self.block_buffers(scratch);
                // SAFETY: each item owns its block of scores.
                self.score_block(isa, query, first, keys, dots, unsafe { parts.part(first, count) });
            });
            select(&scores[..n], self.top_k, &mut team.scratch().indices, chosen);
        }
    }

    fn choose_for(&self, isa: Isa, query: usize, chosen: &mut [u32], scratch: &mut Scratch) {
        let n = visible(self.start + query, self.ratio);
        if n <= self.top_k {
            all(n, chosen);
            return;
        }
        let width = self.keys.format().width();
        // `select` borrows the index buffer while the scores are read, so it leaves the scratch for a moment.
        let mut indices = std::mem::take(&mut scratch.indices);
        let [scores, keys, dots] = scratch.floats([n, KEYS_PER_BLOCK * width, KEYS_PER_BLOCK * self.heads]);
        for (block, scores) in scores.chunks_mut(KEYS_PER_BLOCK).enumerate() {
            self.score_block(isa, query, block * KEYS_PER_BLOCK, keys, dots, scores);
        }
        select(scores, self.top_k, &mut indices, chosen);
        scratch.indices = indices;
    }

    fn block_buffers<'s>(&self, scratch: &'s mut Scratch) -> (&'s mut [f32], &'s mut [f32]) {
        let width = self.keys.format().width();
        let [keys, dots] = scratch.floats([KEYS_PER_BLOCK * width, KEYS_PER_BLOCK * self.heads]);
        (keys, dots)
    }

    /// Scores of consecutive keys from `first` on.
    fn score_block(
        &self,
        isa: Isa,
        query: usize,
        first: usize,
        keys: &mut [f32],
        dots: &mut [f32],
        scores: &mut [f32],
    ) {
        let (width, n) = (self.keys.format().width(), scores.len());
        let keys = &mut keys[..n * width];
        for (i, key) in keys.chunks_exact_mut(width).enumerate() {
            self.keys.read(isa, first + i, key);
        }
        let q = &self.q[query * self.heads * width..][..self.heads * width];
        score_rows(isa, q, keys, width, dots, n);
        let weights = &self.head_weights[query * self.heads..][..self.heads];
        sum_heads(isa, weights, &dots[..self.heads * n], scores);
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

fn all(n: usize, chosen: &mut [u32]) {
    for (i, chosen) in chosen[..n].iter_mut().enumerate() {
        *chosen = i as u32;
    }
}

/// The `k` largest of `scores`, as ascending indices, in linear time. Equal scores (−0 equals +0) go to the smaller
/// index; a NaN counts as the smallest, and is caught where the streams are checked.
fn select(scores: &[f32], k: usize, indices: &mut Vec<u32>, chosen: &mut [u32]) {
    indices.clear();
    indices.extend(0..scores.len() as u32);
    let key = |index: u32| {
        let score = scores[index as usize];
        if score.is_nan() { f32::NEG_INFINITY } else { score }
    };
    indices.select_nth_unstable_by(k - 1, |&a, &b| {
        key(b)
            .partial_cmp(&key(a))
            .unwrap_or(std::cmp::Ordering::Equal)
            .then(a.cmp(&b))
    });
    chosen[..k].copy_from_slice(&indices[..k]);
    chosen[..k].sort_unstable();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::RowFormat;

    #[test]
    fn selection_is_the_sorted_prefix_with_ties_to_the_smaller_index() {
        let mut state = 5u64;
        for n in [1usize, 2, 17, 300, 1000] {
            let scores: Vec<f32> = (0..n)
                .map(|_| {
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1_442_695_040_888_963_407);
                    let value = ((state >> 60) as f32 - 4.0).max(0.0);
                    if state & (1 << 50) == 0 { -value } else { value }
                })
                .collect();
            for k in [1, n / 3 + 1, n] {
                let mut order: Vec<u32> = (0..n as u32).collect();
                order.sort_by(|&a, &b| {
                    scores[b as usize]
                        .partial_cmp(&scores[a as usize])
                        .expect("finite")
                });
                let mut expected = order[..k].to_vec();
                expected.sort_unstable();
                let mut chosen = vec![0; k];
                select(&scores, k, &mut Vec::new(), &mut chosen);
                assert_eq!(chosen, expected, "{n} {k}");
            }
        }
    }

    /// Trap 11 of spec §15: an entry of the future never takes a place, however high it scores.
    #[test]
    fn trap_11_the_causal_bound_comes_before_the_selection() {
        let (heads, width, ratio, top_k) = (2, 4, 4, 2);
        let mut keys = RowStore::new(RowFormat::F32 { width });
        for s in 0..10 {
            keys.push(&[s as f32 + 1.0; 4]);
        }
        let queries = 40;
        let indexer = Indexer {
            q: &vec![1.0; queries * heads * width],
            head_weights: &vec![0.5; queries * heads],
            heads,
            start: 0,
            ratio,
            top_k,
            keys: &keys,
        };
        for threads in [1, 2, 64] {
            let mut chosen = vec![u32::MAX; queries * top_k];
            indexer.choose(&mut Team::new(threads), &mut Vec::new(), &mut chosen, top_k);
            for (t, chosen) in chosen.chunks(top_k).enumerate() {
                let n = (t + 1) / ratio;
                let expected: Vec<u32> = (n.saturating_sub(top_k) as u32..n as u32).collect();
                assert_eq!(chosen[..expected.len()], expected, "query {t}");
            }
        }
    }

    /// The ReLU is part of the score, and head weights may be negative.
    #[test]
    fn scores_are_weighted_sums_of_positive_dots() {
        let mut scores = [9.0; 3];
        sum_heads_body(&[2.0, -1.0], &[1.0, -5.0, 3.0, 4.0, 7.0, -2.0], &mut scores);
        assert_eq!(scores, [2.0 - 4.0, -7.0, 6.0]);
    }
}
