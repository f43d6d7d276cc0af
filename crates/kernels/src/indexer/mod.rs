//! The lightning indexer: which compressed entries a query of a sparse layer attends to (spec §5.4).
//!
//! Every query scores every key it may see and keeps the best. Scores of packed keys come from exact integer dots
//! ([`codes`]), which all instruction sets share; scores of float32 keys from float32 dots ([`float`]).

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod codes;
mod float;
mod general;
mod select;
#[cfg(test)]
mod tests;

pub use select::select;

use crate::attention::visible;
use crate::isa::{self, Isa};
use crate::rows::{BLOCK_ROWS, RowFormat, RowStore};
use crate::team::{Disjoint, Scratch, Team};
use codes::{KEYS, Kernel, KeyBlock};

/// Keys of one item of work.
const KEYS_PER_ITEM: usize = BLOCK_ROWS;

/// Queries of one item of work: they share the unpacking of the keys.
const QUERIES_PER_ITEM: usize = 8;

/// Scores kept at a time, 8 MB; more if one item's queries see more keys.
const SCORES: usize = 2 << 20;

/// Queries whose integers are kept at a time.
const QUERIES: usize = 256;

/// One layer's indexer for consecutive queries.
pub struct Indexer<'a> {
    /// `[t, heads · key_width]`. Where keys are packed, these have been through the same rounding
    /// ([`crate::quant::hadamard_e2m1_round_trip`]); others are scored too, but slowly.
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

/// Memory that an indexer reuses from call to call. It grows with the keys, to 8 MB of scores or eight queries'.
#[derive(Default)]
pub struct Workspace {
    scores: Vec<f32>,
    queries: Vec<Query>,
}

/// A query's integer form, where it has one.
#[derive(Default)]
struct Query {
    codes: codes::Query,
    regular: bool,
}

impl Indexer<'_> {
    /// Writes each query's entries, ascending, to its row of `chosen` `[t, stride]`; a query that sees fewer than
    /// `top_k` keeps all, and the rest of its row is unspecified.
    ///
    /// The causal bound comes before the selection (trap 11), and equal scores go to the smaller index. Scores are
    /// `Σ_h w_h · relu(q_h · κ)` in float32, heads in order; the dot with a packed key is the exact one, rounded once.
    ///
    /// # Panics
    /// When the shapes do not fit together.
    pub fn choose(&self, team: &mut Team, workspace: &mut Workspace, chosen: &mut [u32], stride: usize) {
        self.choose_with(isa::detected(), team, workspace, chosen, stride);
    }

    fn choose_with(
        &self,
        isa: Isa,
        team: &mut Team,
        workspace: &mut Workspace,
        chosen: &mut [u32],
        stride: usize,
    ) {
        let queries = self.head_weights.len() / self.heads;
        assert_eq!(self.q.len(), self.head_weights.len() * self.keys.format().width());
        if queries == 0 {
            return;
        }
        let seen = self.visible(queries - 1);
        assert!(
            seen <= self.keys.len() && self.top_k.min(seen) <= stride && queries * stride <= chosen.len(),
            "{queries} queries choose {} of {seen} in {} keys for {} places, {stride} each",
            self.top_k,
            self.keys.len(),
            chosen.len()
        );
        let mut from = 0;
        while from < queries && self.visible(from) <= self.top_k {
            let n = self.visible(from);
            for (i, chosen) in chosen[from * stride..][..n].iter_mut().enumerate() {
                *chosen = i as u32;
            }
            from += 1;
        }
        while from < queries {
            let keys = seen.next_multiple_of(KEYS_PER_ITEM);
            let n = (SCORES / keys)
                .clamp(QUERIES_PER_ITEM, QUERIES)
                .min(queries - from);
            self.score(isa, team, workspace, from..from + n, keys);
            let (scores, chosen) = (&workspace.scores, Disjoint::new(&mut *chosen));
            team.run(n, |item, scratch| {
                let scores = &scores[item * keys..][..self.visible(from + item)];
                // SAFETY: each item owns its query's row.
                let chosen = unsafe { chosen.part((from + item) * stride, self.top_k) };
                select::select_with(isa, scores, &mut scratch.indices, chosen);
            });
            from += n;
        }
    }

    /// Keys that a query may see.
    fn visible(&self, query: usize) -> usize {
        visible(self.start + query, self.ratio)
    }

    /// One query's heads and their weights.
    fn query(&self, query: usize) -> (&[f32], &[f32]) {
        let width = self.heads * self.keys.format().width();
        (
            &self.q[query * width..][..width],
            &self.head_weights[query * self.heads..][..self.heads],
        )
    }

    /// Writes the scores of `queries` to rows of `stride`.
    fn score(
        &self,
        isa: Isa,
        team: &mut Team,
        workspace: &mut Workspace,
        queries: std::ops::Range<usize>,
        stride: usize,
    ) {
        let Workspace {
            scores,
            queries: prepared,
        } = workspace;
        let n = queries.len();
        if scores.len() < n * stride {
            scores.resize((n * stride).next_power_of_two(), 0.0);
        }
        let format = self.keys.format();
        let packed = matches!(format, RowFormat::IndexKey { .. });
        if packed {
            if prepared.len() < n {
                prepared.resize_with(n, Query::default);
            }
            let parts = Disjoint::new(&mut prepared[..n]);
            team.run(n, |item, _| {
                let (q, weights) = self.query(queries.start + item);
                // SAFETY: each item owns its query.
                let query = &mut unsafe { parts.part(item, 1) }[0];
                query.regular =
                    codes::have_integers(format) && query.codes.set(isa, q, weights, format.width());
            });
        }
        let (prepared, scores) = (&*prepared, Disjoint::new(scores));
        let key_items = stride / KEYS_PER_ITEM;
        team.run(n.div_ceil(QUERIES_PER_ITEM) * key_items, |item, scratch| {
            let first_key = item % key_items * KEYS_PER_ITEM;
            let tile = item / key_items * QUERIES_PER_ITEM;
            let tile = tile..n.min(tile + QUERIES_PER_ITEM);
            let visible = self.visible(queries.start + tile.end - 1);
            let Some(visible) = visible.checked_sub(first_key).filter(|&n| n > 0) else {
                return;
            };
            let visible = visible.min(KEYS_PER_ITEM);
            // SAFETY: each item owns its keys' part of its queries' rows, and holds one of them at a time.
            let scores = |query| unsafe { scores.part(query * stride + first_key, KEYS_PER_ITEM) };
            if packed {
                self.score_packed(
                    isa,
                    queries.start,
                    prepared,
                    tile,
                    first_key,
                    visible,
                    scores,
                    scratch,
                );
                return;
            }
            for query in tile {
                let scores = &mut scores(query)[..visible];
                float::score(self, isa, queries.start + query, first_key, scores, scratch);
            }
        });
    }

    /// Writes the scores of some queries and `visible` keys from `first_key` on, the first of a block of rows. Query
    /// `i` of `tile` is this indexer's query `start + i`, and has its integers in `prepared[i]` and its scores in
    /// `scores(i)`.
    fn score_packed<'s>(
        &self,
        isa: Isa,
        start: usize,
        prepared: &[Query],
        tile: std::ops::Range<usize>,
        first_key: usize,
        visible: usize,
        scores: impl Fn(usize) -> &'s mut [f32],
        scratch: &mut Scratch,
    ) {
        let (format, kernel) = (self.keys.format(), Kernel::of(isa));
        let width = format.width();
        let [key] = scratch.floats([width]);
        let mut block = KeyBlock::new();
        let rows = self.keys.block(first_key / BLOCK_ROWS);
        for first in (0..visible).step_by(KEYS) {
            let rows = &rows[first * format.bytes()..];
            if codes::have_integers(format) {
                block.load(kernel, rows, width);
            }
            let in_sight = u64::MAX >> KEYS.saturating_sub(visible - first);
            for i in tile.clone() {
                let Some(scores) = scores(i)[first..].first_chunk_mut() else {
                    return;
                };
                let mut left = in_sight;
                if prepared[i].regular {
                    prepared[i].codes.score(kernel, &block, width, scores);
                    left &= block.irregular;
                }
                let (q, weights) = self.query(start + i);
                while left != 0 {
                    let at = left.trailing_zeros() as usize;
                    left &= left - 1;
                    format.unpack(isa, &rows[at * format.bytes()..][..format.bytes()], key);
                    scores[at] = general::score(isa, q, weights, key);
                }
            }
        }
    }
}
