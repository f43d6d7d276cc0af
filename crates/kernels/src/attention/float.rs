//! Attention in float32, for rows that are kept in float32.

use super::{Attention, Compressed};
use crate::isa::{Isa, multiversion};
use crate::lanes::{self, exp};
use crate::matmul::{add_weighted_rows, score_rows};
use crate::team::{Disjoint, Scratch, Team};

/// Heads that one item of a single-token step works on.
const HEADS_PER_ITEM: usize = 4;

/// Compressed rows that one item of a single-token step unpacks.
const ROWS_PER_ITEM: usize = 64;

/// See [`Attention::attend`]; `unpacked` holds compressed rows.
pub(super) fn attend(
    isa: Isa,
    attention: &Attention<'_>,
    team: &mut Team,
    unpacked: &mut Vec<f32>,
    out: &mut [f32],
) {
    let row = attention.heads * attention.head_dim;
    let queries = out.len() / row;
    if queries > team.threads() {
        let out = Disjoint::new(out);
        team.run(queries, |query, scratch| {
            // SAFETY: each item owns its query's row.
            let out = unsafe { out.part(query * row, row) };
            attend_query(isa, attention, query, out, scratch);
        });
    } else {
        for (query, out) in out.chunks_exact_mut(row).enumerate() {
            attend_alone(isa, attention, team, query, unpacked, out);
        }
    }
}

/// Unpacks the `i`-th compressed row that a query uses.
fn read(isa: Isa, compressed: &Compressed<'_>, chosen: Option<&[u32]>, i: usize, out: &mut [f32]) {
    let index = chosen.map_or(i, |chosen| chosen[i] as usize);
    compressed.rows.read(isa, index, out);
}

/// One query, all heads, on one thread.
fn attend_query(isa: Isa, attention: &Attention<'_>, query: usize, out: &mut [f32], scratch: &mut Scratch) {
    let width = attention.head_dim;
    let count = attention.count(query);
    let window = attention.window_of(query);
    let total = window.len() / width + count;
    let [unpacked, scores] = scratch.floats([count * width, attention.heads * (total + 1)]);
    if let Some(compressed) = attention.compressed {
        let chosen = compressed.chosen(query, count);
        for (i, out) in unpacked.chunks_exact_mut(width).enumerate() {
            read(isa, &compressed, chosen, i, out);
        }
    }
    let q = &attention.q[query * out.len()..][..out.len()];
    attend_heads(
        isa,
        attention,
        q,
        attention.sinks,
        [window, unpacked],
        scores,
        out,
    );
}

/// One query with its rows, then its heads, shared out over the team.
fn attend_alone(
    isa: Isa,
    attention: &Attention<'_>,
    team: &mut Team,
    query: usize,
    unpacked: &mut Vec<f32>,
    out: &mut [f32],
) {
    let width = attention.head_dim;
    let count = attention.count(query);
    if unpacked.len() < count * width {
        unpacked.resize((count * width).next_power_of_two(), 0.0);
    }
    let unpacked = &mut unpacked[..count * width];
    if let Some(compressed) = attention.compressed {
        let chosen = compressed.chosen(query, count);
        let parts = Disjoint::new(unpacked);
        team.run(count.div_ceil(ROWS_PER_ITEM), |item, _| {
            for i in item * ROWS_PER_ITEM..count.min((item + 1) * ROWS_PER_ITEM) {
                // SAFETY: each row belongs to exactly one item.
                read(isa, &compressed, chosen, i, unsafe {
                    parts.part(i * width, width)
                });
            }
        });
    }
    let window = attention.window_of(query);
    let total = window.len() / width + count;
    let q = &attention.q[query * out.len()..][..out.len()];
    let (unpacked, out) = (&*unpacked, Disjoint::new(out));
    team.run(attention.heads.div_ceil(HEADS_PER_ITEM), |item, scratch| {
        let first = item * HEADS_PER_ITEM;
        let heads = HEADS_PER_ITEM.min(attention.heads - first);
        // SAFETY: each item owns its heads' outputs.
        let out = unsafe { out.part(first * width, heads * width) };
        let [scores] = scratch.floats([heads * (total + 1)]);
        let q = &q[first * width..][..heads * width];
        let sinks = &attention.sinks[first..][..heads];
        attend_heads(isa, attention, q, sinks, [window, unpacked], scores, out);
    });
}

/// Some heads of one query over its rows. `scratch` holds a logit for each head and row, and a denominator for each head.
fn attend_heads(
    isa: Isa,
    attention: &Attention<'_>,
    q: &[f32],
    sinks: &[f32],
    rows: [&[f32]; 2],
    scratch: &mut [f32],
    out: &mut [f32],
) {
    let width = attention.head_dim;
    let first = rows[0].len() / width;
    let total = first + rows[1].len() / width;
    let (scores, denominators) = scratch.split_at_mut(sinks.len() * total);
    score_rows(isa, q, rows[0], width, scores, total);
    score_rows(isa, q, rows[1], width, &mut scores[first..], total);
    for ((scores, &sink), denominator) in scores.chunks_exact_mut(total).zip(sinks).zip(&mut *denominators) {
        *denominator = softmax_numerators(isa, scores, attention.scale(), sink);
    }
    out.fill(0.0);
    add_weighted_rows(isa, scores, total, rows[0], width, out);
    add_weighted_rows(isa, &scores[first..], total, rows[1], width, out);
    for (out, &denominator) in out.chunks_exact_mut(width).zip(&*denominators) {
        out.iter_mut().for_each(|x| *x /= denominator);
    }
}

multiversion! {
    /// Replaces logits by `exp(logit · scale − max)` and returns the denominator, their sum and the sink's.
    fn softmax_numerators = softmax_numerators_body(scores: &mut [f32], scale: f32, sink: f32) -> f32
}

#[inline(always)]
fn softmax_numerators_body(scores: &mut [f32], scale: f32, sink: f32) -> f32 {
    scores.iter_mut().for_each(|x| *x *= scale);
    let max = lanes::max(scores);
    scores.iter_mut().for_each(|x| *x = exp(*x - max));
    lanes::sum(scores) + exp(sink - max)
}
