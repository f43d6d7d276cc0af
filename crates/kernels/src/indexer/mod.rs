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
mod keys;
mod queries;
mod select;
#[cfg(test)]
mod tests;

pub use select::select;

use crate::attention::visible;
use crate::isa::{self, Isa};
use crate::pages::PagedRows;
use crate::rows::RowFormat;
use crate::team::{Disjoint, Scratch, Team};
use codes::Kernel;
use keys::{KEYS, KeyBlock};
use queries::IntegerQuery;

/// Keys of one item of work come in multiples of this, and rows of scores too.
const KEYS_PER_ITEM: usize = 4 * KEYS;

/// The most keys of one item of work.
const KEYS_PER_ITEM_MAX: usize = 16 * KEYS_PER_ITEM;

/// Items that a thread gets at least, where there are keys for larger ones.
const ITEMS_PER_THREAD: usize = 8;

/// Queries of one item of work: they share the unpacking of the keys.
const QUERIES_PER_ITEM: usize = 8;

/// Scores kept at a time, 8 MB; more if one item's queries see more keys.
const SCORES: usize = 2 << 20;

/// Queries whose integers are kept at a time.
const QUERIES: usize = 256;

/// Scores of one query that are worth another thread's help in selecting.
const SCORES_PER_PART: usize = 32 << 10;

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
    pub keys: PagedRows<'a>,
}

/// Memory that an indexer reuses from call to call. It grows with the keys, to 8 MB of scores or eight queries'.
#[derive(Default)]
pub struct Workspace {
    scores: Vec<f32>,
    queries: Vec<Query>,
    finalists: Vec<u32>,
    finalist_scores: Vec<f32>,
}

/// A query's integer form, where it has one.
#[derive(Default)]
struct Query {
    integers: IntegerQuery,
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
            self.select(
                isa,
                team,
                workspace,
                from..from + n,
                keys,
                Disjoint::new(chosen),
                stride,
            );
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
            ..
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
                    codes::have_integers(format) && query.integers.set(isa, q, weights, format.width());
            });
        }
        let (prepared, scores) = (&*prepared, Disjoint::new(scores));
        // What is fetched ahead at an item's end is another's to use.
        let item_keys = (n.div_ceil(QUERIES_PER_ITEM) * stride / (ITEMS_PER_THREAD * team.threads()))
            .next_multiple_of(KEYS_PER_ITEM)
            .clamp(KEYS_PER_ITEM, KEYS_PER_ITEM_MAX);
        let key_items = stride.div_ceil(item_keys);
        team.run(n.div_ceil(QUERIES_PER_ITEM) * key_items, |item, scratch| {
            let first_key = item % key_items * item_keys;
            let tile = item / key_items * QUERIES_PER_ITEM;
            let tile = tile..n.min(tile + QUERIES_PER_ITEM);
            let visible = self.visible(queries.start + tile.end - 1);
            let Some(visible) = visible.checked_sub(first_key).filter(|&n| n > 0) else {
                return;
            };
            let visible = visible.min(item_keys);
            let own_scores = item_keys.min(stride - first_key);
            // SAFETY: each item owns its keys' part of its queries' rows, and holds one of them at a time.
            let scores = |query| unsafe { scores.part(query * stride + first_key, own_scores) };
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

    /// Chooses the best of each row of scores. Parts of long rows are searched side by side where there are threads
    /// left, and then the best of all parts are found among the best of each.
    fn select(
        &self,
        isa: Isa,
        team: &mut Team,
        workspace: &mut Workspace,
        queries: std::ops::Range<usize>,
        row: usize,
        chosen: Disjoint<'_, u32>,
        stride: usize,
    ) {
        let (n, k) = (queries.len(), self.top_k);
        let parts = (team.threads() / n).clamp(1, (row / SCORES_PER_PART.max(2 * k)).max(1));
        let (finalists, finalist_scores) = (&mut workspace.finalists, &mut workspace.finalist_scores);
        let needed = if parts > 1 { n * parts * k } else { 0 };
        if finalists.len() < needed {
            finalists.resize(needed, 0);
            finalist_scores.resize(needed, 0.0);
        }
        let (all, scores) = (Disjoint::new(finalists), Disjoint::new(finalist_scores));
        team.run(n * parts, |item, scratch| {
            let (query, part) = (item / parts, item % parts);
            let visible = self.visible(queries.start + query);
            let (from, to) = (visible * part / parts, visible * (part + 1) / parts);
            let seen = &workspace.scores[query * row..][from..to];
            if parts == 1 {
                // SAFETY: each item owns its query's row.
                let chosen = unsafe { chosen.part((queries.start + query) * stride, k) };
                select::select_with(isa, seen, scratch, chosen);
                return;
            }
            // SAFETY: each item owns its part's finalists.
            let (finalists, scores) = unsafe { (all.part(item * k, k), scores.part(item * k, k)) };
            select::select_with(isa, seen, scratch, finalists);
            for (index, score) in finalists.iter_mut().zip(scores) {
                *score = seen[*index as usize];
                *index += from as u32;
            }
        });
        if parts == 1 {
            return;
        }
        let (finalists, scores) = (&workspace.finalists, &workspace.finalist_scores);
        team.run(n, |query, scratch| {
            let own = query * parts * k..(query + 1) * parts * k;
            // SAFETY: each item owns its query's row.
            let chosen = unsafe { chosen.part((queries.start + query) * stride, k) };
            // Finalists are in the order of their keys, so ties go to the smaller index here too.
            select::select_with(isa, &scores[own.clone()], scratch, chosen);
            chosen
                .iter_mut()
                .for_each(|index| *index = finalists[own.start + *index as usize]);
        });
    }

    /// Writes the scores of some queries and `visible` keys from `first_key` on, a multiple of [`KEYS`]. Query
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
        for first in (0..visible).step_by(KEYS) {
            if codes::have_integers(format) {
                block.load(kernel, self.keys, first_key + first);
            }
            let in_sight = u64::MAX >> KEYS.saturating_sub(visible - first);
            for i in tile.clone() {
                let Some(scores) = scores(i)[first..].first_chunk_mut() else {
                    return;
                };
                let mut left = in_sight;
                if prepared[i].regular {
                    prepared[i].integers.score(kernel, &block, width, scores);
                    left &= block.irregular;
                }
                let (q, weights) = self.query(start + i);
                while left != 0 {
                    let at = left.trailing_zeros() as usize;
                    left &= left - 1;
                    self.keys.read(isa, first_key + first + at, key);
                    scores[at] = general::score(isa, q, weights, key);
                }
            }
        }
    }
}
