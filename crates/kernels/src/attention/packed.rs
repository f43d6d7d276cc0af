//! Attention with BF16 products, for rows that are kept packed.
//!
//! Every sum is one chain whose order a query's position fixes: a logit over the pairs of dimensions; a result and a
//! denominator over the *slots*. Slots are window rows in pairs whose first position is even, then compressed rows in pairs
//! whose first index is even; a slot without a row has probability zero, which changes no bit of a sum. So rows can be
//! laid out as pairs once for many queries.

use std::ops::Range;

use super::Attention;
use super::rows::{TILE, query_panel, round_row, row_pairs, unpack_row, write_values};
use super::softmax::{Span, numerators};
use super::tiles::{Operands, add_products};
use crate::formats::bf16;
use crate::isa::{Isa, multiversion};
use crate::lanes::LANES;
use crate::pages::PagedRows;
use crate::rows::RowFormat;
use crate::scratch::Scratch;
use crate::team::{Disjoint, Team};

/// Slots that are unpacked and scored at a time: key rows that fit the first-level cache.
const BLOCK: usize = 32;

/// Pairs of rows that are weighted at a time: values, probabilities and sums of a tile that fit the first-level cache.
const PAIRS: usize = 64;

/// Sixteens of heads in an item that weights one tile's values for one query.
const VECTORS_PER_ITEM: usize = 2;

/// Packed rows that are fetched before they are unpacked. Those of a heavy layer lie one in a page, all in the same sets of
/// the first-level cache: it has no room for many.
const ROWS_AHEAD: usize = 4;

/// Packed rows whose places in memory are looked up before they are fetched.
const PLACES_AHEAD: usize = 16;

/// With fewer queries for each thread than this, queries are computed one after the other, each by the whole team.
const QUERIES_PER_THREAD: usize = 4;

/// See [`Attention::attend`].
pub(super) fn attend(
    isa: Isa,
    attention: &Attention<'_>,
    team: &mut Team,
    words: &mut Scratch,
    round: bool,
    out: &mut [f32],
) {
    let kernel = Kernel {
        isa,
        attention,
        lanes: attention.heads.next_multiple_of(LANES),
        row_pairs: row_pairs(attention.head_dim),
        tiles: attention.head_dim.div_ceil(TILE),
        round,
    };
    let row = attention.heads * attention.head_dim;
    if out.len() / row < QUERIES_PER_THREAD * team.threads() {
        for (query, out) in out.chunks_exact_mut(row).enumerate() {
            kernel.attend_alone(team, words, query, out);
        }
    } else {
        kernel.attend_many(team, words, out);
    }
}

struct Kernel<'a> {
    isa: Isa,
    attention: &'a Attention<'a>,
    /// Heads, filled up to whole vectors.
    lanes: usize,
    /// Pairs of dimensions, filled up.
    row_pairs: usize,
    /// Tiles of values.
    tiles: usize,
    round: bool,
}

/// Rows and the slots they take.
struct Rows<'a> {
    span: Span,
    source: Source<'a>,
}

enum Source<'a> {
    Float(&'a [f32]),
    Packed {
        rows: PagedRows<'a>,
        chosen: Option<&'a [u32]>,
    },
}

/// Pairs `first ..` of values that are laid out `stride` pairs a tile.
struct Values<'a> {
    words: &'a [u32],
    stride: usize,
    first: usize,
    pairs: usize,
}

impl<'a> Kernel<'a> {
    /// Window rows from position `first` to before `end`.
    fn window(&self, first: usize, end: usize) -> Rows<'a> {
        let (start, width) = (self.attention.window_start, self.attention.head_dim);
        let rows = (first - start) * width..(end - start) * width;
        Rows {
            span: Span {
                first: 0,
                lead: first % 2,
                count: end - first,
            },
            source: Source::Float(&self.attention.window_rows[rows]),
        }
    }

    /// A query's compressed rows, from slot `first` on.
    fn compressed(&self, query: usize, first: usize) -> Rows<'a> {
        let count = self.attention.count(query);
        let source = match &self.attention.compressed {
            None => Source::Float(&[]),
            Some(compressed) => Source::Packed {
                rows: compressed.rows,
                chosen: compressed.chosen(query, count),
            },
        };
        let span = Span {
            first,
            lead: 0,
            count,
        };
        Rows { span, source }
    }

    fn window_of(&self, query: usize) -> Rows<'a> {
        let end = self.attention.start + query + 1;
        self.window(self.attention.window_first(query), end)
    }

    /// Key rows of `slots` of `rows`.
    fn read(&self, rows: &Rows<'_>, slots: Range<usize>, keys: &mut [u32]) {
        let width = self.attention.head_dim;
        for (slot, keys) in slots.zip(keys.chunks_exact_mut(self.row_pairs)) {
            let i = slot.wrapping_sub(rows.span.rows().start);
            if i >= rows.span.count {
                keys.fill(0);
                continue;
            }
            match rows.source {
                Source::Float(rows) => round_row(self.isa, &rows[i * width..][..width], keys),
                Source::Packed { rows: packed, chosen } => {
                    let index = |i: usize| chosen.map_or(i, |chosen| chosen[i] as usize);
                    if i + ROWS_AHEAD < rows.span.count {
                        packed.prefetch(index(i + ROWS_AHEAD));
                    }
                    if i + PLACES_AHEAD < rows.span.count {
                        packed.look_up(index(i + PLACES_AHEAD));
                    }
                    let RowFormat::Kv { nope, rope } = packed.format() else {
                        panic!("BF16 attention takes packed KV rows, not {:?}", packed.format());
                    };
                    assert_eq!(nope + rope, width, "width of compressed rows");
                    unpack_row(self.isa, nope, rope, packed.packed(index(i)), keys);
                }
            }
        }
    }

    /// Logits of `slots` key rows for all heads: `[lanes / 16, slots, 16]` with `stride` slots a vector.
    fn score(&self, panel: &[u32], keys: &[u32], slots: usize, logits: &mut [u32], stride: usize) {
        let operands = Operands {
            panel,
            panel_step: self.lanes,
            factors: keys,
            factor_row: self.row_pairs,
            factor_step: 1,
            steps: self.row_pairs,
            lanes: self.lanes,
            rows: slots,
            out_row: LANES,
            out_vector: stride * LANES,
        };
        add_products(self.isa, &operands, true, logits);
    }

    /// Numerators in the place of one vector's logits; `reciprocals` become one over the denominators.
    fn normalise(&self, vector: usize, logits: &mut [u32], spans: &[Span], reciprocals: &mut [u32]) {
        let sinks = &self.attention.sinks[vector * LANES..];
        let sinks = std::array::from_fn(|j| sinks.get(j).copied().unwrap_or(0.0));
        let sums = numerators(self.isa, logits, spans, self.attention.scale(), &sinks);
        for (bits, reciprocal) in reciprocals.iter_mut().zip(sums) {
            *bits = reciprocal.to_bits();
        }
    }

    /// Results of some vectors of heads for one tile of dimensions. `numerators` and `reciprocals` are those vectors',
    /// `slots` rows a vector; `sums` has room for their heads' tiles; `write` takes a head's results.
    fn weigh(
        &self,
        tile: usize,
        heads: Range<usize>,
        values: &[Values<'_>],
        (numerators, slots): (&[u32], usize),
        reciprocals: &[u32],
        sums: &mut [u32],
        out: Disjoint<'_, f32>,
    ) {
        let width = self.attention.head_dim;
        let dimensions = TILE.min(width - tile * TILE);
        let mut before = 0;
        for values in values {
            for at in (0..values.pairs).step_by(PAIRS) {
                let panel = &values.words[(tile * values.stride + values.first + at) * TILE..];
                for (vector, sums) in sums.chunks_mut(LANES * TILE).enumerate() {
                    let operands = Operands {
                        panel,
                        panel_step: TILE,
                        factors: &numerators[(vector * slots + before + at) * LANES..],
                        factor_row: 1,
                        factor_step: LANES,
                        steps: PAIRS.min(values.pairs - at),
                        lanes: dimensions.next_multiple_of(LANES),
                        rows: sums.len() / TILE,
                        out_row: TILE,
                        out_vector: LANES,
                    };
                    add_products(self.isa, &operands, before + at == 0, sums);
                }
            }
            before += values.pairs;
        }
        for ((head, sums), &reciprocal) in heads.zip(sums.chunks_exact(TILE)).zip(reciprocals) {
            let reciprocal = f32::from_bits(reciprocal);
            // SAFETY: each head's tile belongs to one call.
            let out = unsafe { out.part(head * width + tile * TILE, dimensions) };
            finish(self.isa, sums, reciprocal, self.round, out);
        }
    }

    /// One query, its slots and then its heads and dimensions shared out over the team.
    fn attend_alone(&self, team: &mut Team, words: &mut Scratch, query: usize, out: &mut [f32]) {
        let (lanes, heads) = (self.lanes, self.attention.heads);
        let window = self.window_of(query);
        let compressed = self.compressed(query, window.span.end());
        let slots = compressed.span.end();
        let [panel, logits, values, reciprocals] = words.aligned([
            self.row_pairs * lanes,
            slots * lanes,
            self.values_len(slots),
            lanes,
        ]);
        let q = &self.attention.q[query * out.len()..][..out.len()];
        query_panel(self.isa, q, self.attention.head_dim, lanes, panel);

        let (panel, shared_logits, shared_values) = (&*panel, Disjoint::new(logits), Disjoint::new(values));
        team.run(slots.div_ceil(BLOCK), |item, scratch| {
            let first = item * BLOCK;
            let count = BLOCK.min(slots - first);
            let [keys, logits] = scratch.aligned([count * self.row_pairs, count * lanes]);
            let middle = window.span.end().clamp(first, first + count);
            let (of_window, of_compressed) = keys.split_at_mut((middle - first) * self.row_pairs);
            self.read(&window, first..middle, of_window);
            self.read(&compressed, middle..first + count, of_compressed);
            self.score(panel, keys, count, logits, count);
            for (vector, logits) in logits.chunks_exact(count * LANES).enumerate() {
                // SAFETY: each slot belongs to one item, in every vector of logits and in every tile of values.
                let out = unsafe { shared_logits.part((vector * slots + first) * LANES, count * LANES) };
                out.copy_from_slice(logits);
            }
            let pairs = (slots / 2, first / 2);
            // SAFETY: as above; items begin at even slots.
            unsafe { write_values(self.isa, keys, self.row_pairs, shared_values, pairs) };
        });

        let (spans, shared_reciprocals) = ([window.span, compressed.span], Disjoint::new(reciprocals));
        team.run(lanes / LANES, |vector, _| {
            // SAFETY: each vector belongs to one item.
            let (logits, reciprocals) = unsafe {
                (
                    shared_logits.part(vector * slots * LANES, slots * LANES),
                    shared_reciprocals.part(vector * LANES, LANES),
                )
            };
            self.normalise(vector, logits, &spans, reciprocals);
        });

        let (numerators, reciprocals, out) = (&*logits, &*reciprocals, Disjoint::new(out));
        let values = [Values {
            words: values,
            stride: slots / 2,
            first: 0,
            pairs: slots / 2,
        }];
        let groups = (lanes / LANES).div_ceil(VECTORS_PER_ITEM);
        team.run(self.tiles * groups, |item, scratch| {
            let (tile, first) = (item / groups, item % groups * VECTORS_PER_ITEM);
            let heads = first * LANES..heads.min((first + VECTORS_PER_ITEM) * LANES);
            let [sums] = scratch.aligned([heads.len() * TILE]);
            let numerators = (&numerators[first * slots * LANES..], slots);
            let reciprocals = &reciprocals[first * LANES..];
            self.weigh(tile, heads, &values, numerators, reciprocals, sums, out);
        });
    }

    /// Many queries, each by one thread, over rows that are laid out once for all where they are shared.
    fn attend_many(&self, team: &mut Team, words: &mut Scratch, out: &mut [f32]) {
        let attention = self.attention;
        let (lanes, row) = (self.lanes, attention.heads * attention.head_dim);
        let queries = out.len() / row;
        let sparse = attention
            .compressed
            .is_some_and(|compressed| compressed.chosen.is_some());
        let first_position = attention.window_first(0);
        let window = self.window(first_position, attention.start + queries);
        let mut compressed = self.compressed(queries - 1, 0);
        if sparse {
            compressed.span.count = 0;
        }
        let [window_slots, compressed_slots] = [window.span.end(), compressed.span.end()];
        let [window_keys, window_values, compressed_keys, compressed_values] = words.aligned([
            window_slots * self.row_pairs,
            self.values_len(window_slots),
            compressed_slots * self.row_pairs,
            self.values_len(compressed_slots),
        ]);
        for (rows, keys, values) in [
            (&window, &mut *window_keys, &mut *window_values),
            (&compressed, &mut *compressed_keys, &mut *compressed_values),
        ] {
            self.lay_out(team, rows, keys, values);
        }
        let (window_keys, window_values) = (&*window_keys, &*window_values);
        let (compressed_keys, compressed_values) = (&*compressed_keys, &*compressed_values);

        let out = Disjoint::new(out);
        team.run(queries, |query, scratch| {
            let window = self.window_of(query);
            let compressed = self.compressed(query, window.span.end());
            let (middle, slots) = (window.span.end(), compressed.span.end());
            let own_slots = if sparse { slots - middle } else { 0 };
            let block = own_slots.min(BLOCK) * self.row_pairs;
            let [panel, logits, keys, values, reciprocals, sums] = scratch.aligned([
                self.row_pairs * lanes,
                slots * lanes,
                block,
                self.values_len(own_slots),
                lanes,
                attention.heads * TILE,
            ]);
            let q = &attention.q[query * row..][..row];
            query_panel(self.isa, q, attention.head_dim, lanes, panel);

            let skipped = attention.window_first(query) / 2 - first_position / 2;
            let keys_of_window = &window_keys[2 * skipped * self.row_pairs..];
            self.score(panel, keys_of_window, middle, logits, slots);
            let mut parts = [
                Values {
                    words: window_values,
                    stride: window_slots / 2,
                    first: skipped,
                    pairs: middle / 2,
                },
                Values {
                    words: compressed_values,
                    stride: compressed_slots / 2,
                    first: 0,
                    pairs: (slots - middle) / 2,
                },
            ];
            if sparse {
                let shared_values = Disjoint::new(&mut *values);
                for first in (middle..slots).step_by(BLOCK) {
                    let count = BLOCK.min(slots - first);
                    let keys = &mut keys[..count * self.row_pairs];
                    self.read(&compressed, first..first + count, keys);
                    self.score(panel, keys, count, &mut logits[first * LANES..], slots);
                    let pairs = (own_slots / 2, (first - middle) / 2);
                    // SAFETY: this thread alone has the memory.
                    unsafe { write_values(self.isa, keys, self.row_pairs, shared_values, pairs) };
                }
                parts[1].words = values;
                parts[1].stride = own_slots / 2;
            } else {
                self.score(
                    panel,
                    compressed_keys,
                    slots - middle,
                    &mut logits[middle * LANES..],
                    slots,
                );
            }

            let spans = [window.span, compressed.span];
            let vectors = logits.chunks_exact_mut(slots * LANES);
            for (vector, (logits, reciprocals)) in
                vectors.zip(reciprocals.chunks_exact_mut(LANES)).enumerate()
            {
                self.normalise(vector, logits, &spans, reciprocals);
            }
            // SAFETY: each query's results belong to one item.
            let out = Disjoint::new(unsafe { out.part(query * row, row) });
            for tile in 0..self.tiles {
                let heads = 0..attention.heads;
                self.weigh(tile, heads, &parts, (logits, slots), reciprocals, sums, out);
            }
        });
    }

    /// Key rows and values of all slots of `rows`.
    fn lay_out(&self, team: &mut Team, rows: &Rows<'_>, keys: &mut [u32], values: &mut [u32]) {
        let slots = rows.span.end();
        let (keys, values) = (Disjoint::new(keys), Disjoint::new(values));
        team.run(slots.div_ceil(BLOCK), |item, _| {
            let first = item * BLOCK;
            let count = BLOCK.min(slots - first);
            // SAFETY: each slot belongs to one item, in every tile of values too; items begin at even slots.
            unsafe {
                let keys = keys.part(first * self.row_pairs, count * self.row_pairs);
                self.read(rows, first..first + count, keys);
                write_values(self.isa, keys, self.row_pairs, values, (slots / 2, first / 2));
            }
        });
    }

    /// Length of the values of `slots` rows.
    fn values_len(&self, slots: usize) -> usize {
        self.tiles * slots / 2 * TILE
    }
}

multiversion! {
    /// Results from sums, the bits of float32, and one over their denominator.
    fn finish = finish_body(sums: &[u32], reciprocal: f32, round: bool, out: &mut [f32])
}

#[inline(always)]
fn finish_body(sums: &[u32], reciprocal: f32, round: bool, out: &mut [f32]) {
    for (out, &sum) in out.iter_mut().zip(sums) {
        let x = f32::from_bits(sum) * reciprocal;
        *out = if round { bf16::round(x) } else { x };
    }
}
