//! Core attention over window rows and compressed rows with a sink (spec §5.4).
//!
//! Keys and values are the same vectors, one head of them for all query heads. The softmax runs once over the union of
//! a query's rows, window rows by position and then compressed rows by index: an order that the query's position alone
//! decides. The reference walks tiles of 64 with a running maximum; one pass with the true maximum is the same sum
//! with fewer roundings.

use crate::formats::bf16;
use crate::isa::{self, Isa, multiversion};
use crate::lanes::{self, exp};
use crate::matmul::{add_weighted_rows, score_rows};
use crate::rows::RowStore;
use crate::team::{Disjoint, Scratch, Team};

/// Heads that one item of a single-token step works on.
const HEADS_PER_ITEM: usize = 4;

/// Compressed rows that one item of a single-token step unpacks.
const ROWS_PER_ITEM: usize = 64;

/// Compressed rows a layer offers.
#[derive(Clone, Copy)]
pub struct Compressed<'a> {
    /// The entries.
    pub rows: &'a RowStore,
    /// Tokens of a window.
    pub ratio: usize,
    /// For a sparse layer, each query's chosen entries, ascending, `[t, k]`; a query with fewer visible entries uses as
    /// many as it has. A heavy layer uses all that are visible.
    pub chosen: Option<(&'a [u32], usize)>,
}

impl Compressed<'_> {
    /// Entries that the query at `position` uses: windows whose last token is not after it.
    fn count(&self, position: usize) -> usize {
        let visible = visible(position, self.ratio);
        self.chosen.map_or(visible, |(_, k)| visible.min(k))
    }

    fn index(&self, query: usize, i: usize) -> usize {
        self.chosen
            .map_or(i, |(chosen, k)| chosen[query * k + i] as usize)
    }
}

/// Compressed entries that a query at `position` may see: a window that completes at it is visible (spec §5.4).
pub fn visible(position: usize, ratio: usize) -> usize {
    (position + 1) / ratio
}

/// One layer's attention for consecutive queries.
pub struct Attention<'a> {
    /// `[t, heads · head_dim]`.
    pub q: &'a [f32],
    /// Query heads.
    pub heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Position of the first query.
    pub start: usize,
    /// Rows of consecutive positions, `[_, head_dim]`, the queries' own included.
    pub window_rows: &'a [f32],
    /// Position of the first window row.
    pub window_start: usize,
    /// Positions a query sees uncompressed, its own included.
    pub window: usize,
    /// Compressed rows, if the layer has any.
    pub compressed: Option<Compressed<'a>>,
    /// Extra logit per head that takes probability and gives no value; not scaled.
    pub sinks: &'a [f32],
    /// Whether probabilities and results are rounded to BF16.
    pub round: bool,
}

impl Attention<'_> {
    fn window_of(&self, query: usize) -> &[f32] {
        let position = self.start + query;
        let first = (position + 1).saturating_sub(self.window);
        let rows = first - self.window_start..position + 1 - self.window_start;
        &self.window_rows[rows.start * self.head_dim..rows.end * self.head_dim]
    }

    /// Attends; `out` is `[t, heads · head_dim]`, `unpacked` is memory that is reused from call to call.
    pub fn attend(&self, team: &mut Team, unpacked: &mut Vec<f32>, out: &mut [f32]) {
        let isa = isa::detected();
        let row = self.heads * self.head_dim;
        let queries = out.len() / row;
        assert_eq!((self.q.len(), self.sinks.len()), (queries * row, self.heads));
        if queries > team.threads() {
            let out = Disjoint::new(out);
            team.run(queries, |query, scratch| {
                // SAFETY: each item owns its query's row.
                let out = unsafe { out.part(query * row, row) };
                self.attend_query(isa, query, out, scratch);
            });
        } else {
            for (query, out) in out.chunks_exact_mut(row).enumerate() {
                self.attend_alone(isa, team, query, unpacked, out);
            }
        }
    }

    /// One query, all heads, on one thread.
    fn attend_query(&self, isa: Isa, query: usize, out: &mut [f32], scratch: &mut Scratch) {
        let count = self
            .compressed
            .map_or(0, |compressed| compressed.count(self.start + query));
        let window = self.window_of(query);
        let total = window.len() / self.head_dim + count;
        let [unpacked, scores] = scratch.floats([count * self.head_dim, self.heads * (total + 1)]);
        if let Some(compressed) = self.compressed {
            for (i, out) in unpacked.chunks_exact_mut(self.head_dim).enumerate() {
                compressed.rows.read(isa, compressed.index(query, i), out);
            }
        }
        let q = &self.q[query * out.len()..][..out.len()];
        self.attend_heads(isa, q, self.sinks, [window, unpacked], scores, out);
    }

    /// One query with its rows, then its heads, shared out over the team.
    fn attend_alone(
        &self,
        isa: Isa,
        team: &mut Team,
        query: usize,
        unpacked: &mut Vec<f32>,
        out: &mut [f32],
    ) {
        let width = self.head_dim;
        let count = self
            .compressed
            .map_or(0, |compressed| compressed.count(self.start + query));
        if unpacked.len() < count * width {
            unpacked.resize((count * width).next_power_of_two(), 0.0);
        }
        let unpacked = &mut unpacked[..count * width];
        if let Some(compressed) = self.compressed {
            let parts = Disjoint::new(unpacked);
            team.run(count.div_ceil(ROWS_PER_ITEM), |item, _| {
                for i in item * ROWS_PER_ITEM..count.min((item + 1) * ROWS_PER_ITEM) {
                    // SAFETY: each row belongs to exactly one item.
                    let out = unsafe { parts.part(i * width, width) };
                    compressed.rows.read(isa, compressed.index(query, i), out);
                }
            });
        }
        let window = self.window_of(query);
        let total = window.len() / width + count;
        let q = &self.q[query * out.len()..][..out.len()];
        let (unpacked, out) = (&*unpacked, Disjoint::new(out));
        team.run(self.heads.div_ceil(HEADS_PER_ITEM), |item, scratch| {
            let first = item * HEADS_PER_ITEM;
            let heads = HEADS_PER_ITEM.min(self.heads - first);
            // SAFETY: each item owns its heads' outputs.
            let out = unsafe { out.part(first * width, heads * width) };
            let [scores] = scratch.floats([heads * (total + 1)]);
            let q = &q[first * width..][..heads * width];
            self.attend_heads(
                isa,
                q,
                &self.sinks[first..][..heads],
                [window, unpacked],
                scores,
                out,
            );
        });
    }

    /// Some heads of one query over its rows. `scratch` holds a logit for each head and row, and a denominator for each
    /// head.
    fn attend_heads(
        &self,
        isa: Isa,
        q: &[f32],
        sinks: &[f32],
        rows: [&[f32]; 2],
        scratch: &mut [f32],
        out: &mut [f32],
    ) {
        let width = self.head_dim;
        let first = rows[0].len() / width;
        let total = first + rows[1].len() / width;
        let scale = 1.0 / (width as f32).sqrt();
        let (scores, denominators) = scratch.split_at_mut(sinks.len() * total);
        score_rows(isa, q, rows[0], width, scores, total);
        score_rows(isa, q, rows[1], width, &mut scores[first..], total);
        for ((scores, &sink), denominator) in
            scores.chunks_exact_mut(total).zip(sinks).zip(&mut *denominators)
        {
            *denominator = softmax_numerators(isa, scores, scale, sink, self.round);
        }
        out.fill(0.0);
        add_weighted_rows(isa, scores, total, rows[0], width, out);
        add_weighted_rows(isa, &scores[first..], total, rows[1], width, out);
        for (out, &denominator) in out.chunks_exact_mut(width).zip(&*denominators) {
            for x in out {
                *x /= denominator;
                if self.round {
                    *x = bf16::round(*x);
                }
            }
        }
    }
}

multiversion! {
    /// Replaces logits by `exp(logit · scale − max)`, rounded to BF16 if asked, and returns the denominator: the sum of
    /// the unrounded values and the sink's.
    fn softmax_numerators = softmax_numerators_body(scores: &mut [f32], scale: f32, sink: f32, round: bool) -> f32
}

#[inline(always)]
fn softmax_numerators_body(scores: &mut [f32], scale: f32, sink: f32, round: bool) -> f32 {
    scores.iter_mut().for_each(|x| *x *= scale);
    let max = lanes::max(scores);
    scores.iter_mut().for_each(|x| *x = exp(*x - max));
    let denominator = lanes::sum(scores) + exp(sink - max);
    if round {
        bf16::round_all(scores);
    }
    denominator
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::RowFormat;

    fn noise(n: usize, seed: u64) -> Vec<f32> {
        let mut state = seed.wrapping_add(99);
        (0..n)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (state >> 40) as f32 / (1 << 22) as f32 - 2.0
            })
            .collect()
    }

    /// Spec §18.3.
    #[test]
    fn visible_entries_of_the_specification() {
        for (t, entries) in [(2, 0), (3, 1), (6, 1), (7, 2)] {
            assert_eq!(visible(t, 4), entries);
        }
        assert_eq!((visible(126, 128), visible(127, 128)), (0, 1));
    }

    /// Against a float64 softmax over the union, for many queries at once and for each alone, on every team size.
    #[test]
    fn attention_is_a_softmax_over_the_union_with_a_sink() {
        let (heads, head_dim, window, ratio, t, start) = (6, 40, 5, 4, 9, 11);
        let all = noise((start + t) * head_dim, 1);
        let q = noise(t * heads * head_dim, 2);
        let sinks = noise(heads, 3);
        let mut rows = RowStore::new(RowFormat::F32 { width: head_dim });
        let entries = noise((start + t) / ratio * head_dim, 4);
        entries.chunks(head_dim).for_each(|row| rows.push(row));
        let k = 3;
        let chosen: Vec<u32> = (0..t)
            .flat_map(|i| [0, 1, (visible(start + i, ratio) - 1) as u32])
            .collect();
        for chosen in [None, Some((&chosen[..], k))] {
            let window_start = start + 1 - window;
            let attention = Attention {
                q: &q,
                heads,
                head_dim,
                start,
                window_rows: &all[window_start * head_dim..],
                window_start,
                window,
                compressed: Some(Compressed {
                    rows: &rows,
                    ratio,
                    chosen,
                }),
                sinks: &sinks,
                round: false,
            };
            let mut out = vec![0.0; q.len()];
            attention.attend(&mut Team::new(2), &mut Vec::new(), &mut out);
            let row = |store: &[f32], i: usize| store[i * head_dim..][..head_dim].to_vec();
            for query in 0..t {
                let position = start + query;
                let mut union: Vec<Vec<f32>> =
                    (position + 1 - window..=position).map(|p| row(&all, p)).collect();
                let indices: Vec<usize> = match chosen {
                    None => (0..(position + 1) / ratio).collect(),
                    Some((chosen, k)) => chosen[query * k..][..k].iter().map(|&i| i as usize).collect(),
                };
                union.extend(indices.iter().map(|&i| row(&entries, i)));
                for head in 0..heads {
                    let q = &q[(query * heads + head) * head_dim..][..head_dim];
                    let dot =
                        |row: &[f32]| row.iter().zip(q).map(|(a, b)| *a as f64 * *b as f64).sum::<f64>();
                    let weights: Vec<f64> = union
                        .iter()
                        .map(|row| (dot(row) / (head_dim as f64).sqrt()).exp())
                        .collect();
                    let total: f64 = weights.iter().sum::<f64>() + (sinks[head] as f64).exp();
                    for d in 0..head_dim {
                        let expected: f64 = union
                            .iter()
                            .zip(&weights)
                            .map(|(row, w)| w * row[d] as f64)
                            .sum::<f64>()
                            / total;
                        let found = out[(query * heads + head) * head_dim + d] as f64;
                        assert!((found - expected).abs() < 1e-5, "{found} {expected}");
                    }
                }
            }
            for threads in [1, 2, 4, 16] {
                let mut again = vec![0.0; q.len()];
                attention.attend(&mut Team::new(threads), &mut Vec::new(), &mut again);
                assert_eq!(again, out, "{threads} threads");
            }
        }
    }

    /// Trap 26 of spec §15: heads are 512 wide, values too.
    #[test]
    fn trap_26_heads_of_512() {
        let width = 512;
        let (q, rows) = (noise(width, 1), noise(3 * width, 2));
        let attention = Attention {
            q: &q,
            heads: 1,
            head_dim: width,
            start: 2,
            window_rows: &rows,
            window_start: 0,
            window: 128,
            compressed: None,
            sinks: &[0.0],
            round: false,
        };
        let mut out = vec![0.0; width];
        attention.attend(&mut Team::new(2), &mut Vec::new(), &mut out);
        let dot = |r: usize| {
            (0..width)
                .map(|d| q[d] as f64 * rows[r * width + d] as f64)
                .sum::<f64>()
        };
        let weights: Vec<f64> = (0..3).map(|r| (dot(r) / (width as f64).sqrt()).exp()).collect();
        let total = weights.iter().sum::<f64>() + 1.0;
        for d in [0, 447, 448, 511] {
            let expected = (0..3)
                .map(|r| weights[r] * rows[r * width + d] as f64)
                .sum::<f64>()
                / total;
            assert!((out[d] as f64 - expected).abs() < 1e-5);
        }
    }

    #[test]
    fn every_instruction_set_gives_the_same_bits() {
        let (heads, width, n) = (5, 64, 37);
        let (q, rows) = (noise(heads * width, 5), noise(n * width, 6));
        let mut results = isa::available().map(|isa| {
            let mut scores = vec![0.0; heads * n];
            score_rows(isa, &q, &rows, width, &mut scores, n);
            let denominators: Vec<f32> = scores
                .chunks_mut(n)
                .map(|s| softmax_numerators(isa, s, 0.125, 0.5, true))
                .collect();
            let mut out = vec![0.0; heads * width];
            add_weighted_rows(isa, &scores, n, &rows, width, &mut out);
            (scores, denominators, out)
        });
        let first = results.next().expect("scalar is always available");
        assert!(results.all(|other| other == first));
    }
}
