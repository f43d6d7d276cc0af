//! Inputs of a product in BF16.

use crate::bf16::dot::{operand, pair};
use crate::bf16::{BLOCK, EIGHT, PAIRS, TILE_INPUTS};
use crate::formats::{bf16, e4m3};
use crate::isa::{self, Isa, multiversion};
use crate::segments::{Place, Tiles};
use crate::team::{Disjoint, Team};

/// Blocks of an item: about a microsecond's work.
const PER_ITEM: usize = 64;

/// Rows of BF16 numbers, in pairs of columns four apart; memory that is reused from step to step.
///
/// Rows belong to one or more *segments*, each the inputs of one product. A segment of more than eight rows is kept in
/// tiles of seven or eight rows or so, interleaved pair by pair; else rows lie one after the other. Rows are padded with
/// zeros to whole blocks of 128 columns.
#[derive(Debug, Default)]
pub struct Bf16Inputs {
    /// `[blocks][PAIRS][rows]` of each tile, one after the other.
    pairs: Vec<u32>,
    width: usize,
    rows: usize,
}

/// A segment of [`Bf16Inputs`].
#[derive(Clone, Copy, Debug)]
pub struct Bf16View<'a> {
    pairs: &'a [u32],
    width: usize,
    rows: usize,
}

impl Bf16Inputs {
    /// Memory for `rows` rows of `width` columns.
    pub fn with_capacity(rows: usize, width: usize) -> Self {
        Self {
            pairs: Vec::with_capacity(rows * width.div_ceil(BLOCK) * PAIRS),
            width,
            rows: 0,
        }
    }

    /// Takes `x` `[rows, width]` into one segment, each 128 elements of a row through E4M3 (spec §9.3). NaN and infinity
    /// stay what they are, so that the product shows them.
    pub fn quantise(&mut self, team: &mut Team, x: &[f32], width: usize) {
        let rows = x.len() / width;
        self.fill(team, x, width, round_trip, |row| {
            (0, Place::of(rows, row, TILE_INPUTS))
        });
    }

    /// As [`Bf16Inputs::quantise`], into segments: segment `s` has rows `bounds[s]..bounds[s + 1]`.
    ///
    /// # Panics
    /// When the bounds do not ascend from 0 to the number of rows.
    pub fn quantise_segments(&mut self, team: &mut Team, x: &[f32], width: usize, bounds: &[u32]) {
        self.fill(team, x, width, round_trip, |row| {
            let next = bounds.partition_point(|&first| first as usize <= row);
            let (first, end) = (bounds[next - 1] as usize, bounds[next] as usize);
            (first, Place::of(end - first, row - first, TILE_INPUTS))
        });
    }

    /// Takes BF16 numbers `x` `[rows, groups, width]` as they are into `groups` segments: the inputs of a block-diagonal
    /// product, which the published path does not quantise.
    pub fn take_groups(&mut self, team: &mut Team, x: &[f32], width: usize, groups: usize) {
        let rows = x.len() / width / groups;
        self.fill(team, x, width, keep, |source| {
            let (row, group) = (source / groups, source % groups);
            (group * rows, Place::of(rows, row, TILE_INPUTS))
        });
    }

    /// Puts each row of `x`, as `change` leaves each block of it, to the place in a segment, given with the segment's first row,
    /// that `place` says; it must give each row another.
    fn fill(
        &mut self,
        team: &mut Team,
        x: &[f32],
        width: usize,
        change: fn(Isa, &mut [f32; BLOCK]),
        place: impl Fn(usize) -> (usize, Place) + Sync,
    ) {
        let (all, blocks) = (x.len() / width, width.div_ceil(BLOCK));
        assert_eq!(x.len(), all * width);
        self.resize(all, width);
        let isa = isa::detected();
        let out = Disjoint::new(&mut self.pairs);
        team.run((all * blocks).div_ceil(PER_ITEM), |item, _| {
            for at in item * PER_ITEM..(all * blocks).min((item + 1) * PER_ITEM) {
                let (source, block) = (at / blocks, at % blocks);
                let from = block * BLOCK;
                let x = &x[source * width + from..][..BLOCK.min(width - from)];
                let mut numbers = [0.0; BLOCK];
                match x.as_array() {
                    Some(x) => numbers = *x,
                    None => numbers[..x.len()].copy_from_slice(x),
                }
                change(isa, &mut numbers);
                let mut pairs = [0; PAIRS];
                pair_up(isa, &numbers, &mut pairs);
                let (first, place) = place(source);
                // SAFETY: each block of each row is in exactly one item, and has a place of its own.
                unsafe { write(&out, first, place, blocks, block, pairs.iter()) };
            }
        });
    }

    /// Copies rows of `source`'s only segment: segment `s` becomes its rows `order[bounds[s]..bounds[s + 1]]`.
    ///
    /// # Panics
    /// When a row does not exist or the bounds do not ascend.
    pub fn gather(&mut self, team: &mut Team, source: &Self, order: &[u32], bounds: &[u32]) {
        let (width, blocks) = (source.width, source.width.div_ceil(BLOCK));
        self.resize(order.len(), width);
        let out = Disjoint::new(&mut self.pairs);
        team.run(bounds.len() - 1, |segment, _| {
            let (first, end) = (bounds[segment] as usize, bounds[segment + 1] as usize);
            for (row, &from) in order[first..end].iter().enumerate() {
                let (from, to) = (
                    Place::of(source.rows, from as usize, TILE_INPUTS),
                    Place::of(end - first, row, TILE_INPUTS),
                );
                for block in 0..blocks {
                    let origin = (from.before * blocks + block * from.tile) * PAIRS + from.lane;
                    let pairs = source.pairs[origin..].iter().step_by(from.tile).take(PAIRS);
                    // SAFETY: each row is in exactly one segment, and each segment is one item.
                    unsafe { write(&out, first, to, blocks, block, pairs) };
                }
            }
        });
    }

    fn resize(&mut self, rows: usize, width: usize) {
        (self.rows, self.width) = (rows, width);
        // Only growth writes here; every element of the used part is written by the caller.
        self.pairs.resize(rows * width.div_ceil(BLOCK) * PAIRS, 0);
    }

    /// The only segment.
    pub fn all(&self) -> Bf16View<'_> {
        self.segment(0..self.rows)
    }

    /// The segment of these rows; it must be one that was made.
    pub fn segment(&self, rows: std::ops::Range<usize>) -> Bf16View<'_> {
        let row = self.width.div_ceil(BLOCK) * PAIRS;
        Bf16View {
            pairs: &self.pairs[rows.start * row..rows.end * row],
            width: self.width,
            rows: rows.len(),
        }
    }
}

/// Writes one block of the row at `place` of the segment that begins at row `first`.
///
/// # Safety
/// No other thread may write this block of this row.
unsafe fn write<'p>(
    out: &Disjoint<'_, u32>,
    first: usize,
    place: Place,
    blocks: usize,
    block: usize,
    pairs: impl Iterator<Item = &'p u32>,
) {
    let at = ((first + place.before) * blocks + block * place.tile) * PAIRS + place.lane;
    for (i, &pair) in pairs.enumerate() {
        // SAFETY: pairs of different lanes, blocks and tiles are disjoint; one thread writes this block.
        unsafe { out.part(at + i * place.tile, 1) }.fill(pair);
    }
}

/// Up to [`TILE_INPUTS`] rows of a segment, interleaved; one row in a segment of at most eight.
#[derive(Clone, Copy)]
pub(super) struct Tile<'a> {
    /// First row within the segment.
    pub(super) row: usize,
    pub(super) rows: usize,
    /// `[blocks][PAIRS][rows]`.
    pub(super) pairs: &'a [u32],
}

impl<'a> Bf16View<'a> {
    /// Rows in the segment.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns of a row, padding apart.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Tiles that any rows are in, at least one.
    pub(super) fn tile_count(&self) -> usize {
        Tiles::of(self.rows, TILE_INPUTS).count
    }

    /// The rows in tiles.
    pub(super) fn tiles(&self) -> impl Iterator<Item = Tile<'a>> + use<'a> {
        let (view, row_pairs) = (*self, self.width.div_ceil(BLOCK) * PAIRS);
        Tiles::of(self.rows, TILE_INPUTS).ranges().map(move |rows| {
            let (row, rows) = (rows.start, rows.len());
            Tile {
                row,
                rows,
                pairs: &view.pairs[row * row_pairs..(row + rows) * row_pairs],
            }
        })
    }
}

multiversion! {
    fn round_trip = round_trip_body(x: &mut [f32; BLOCK])
}

#[inline(always)]
fn round_trip_body(x: &mut [f32; BLOCK]) {
    e4m3::round_trip(x);
}

fn keep(_: Isa, _: &mut [f32; BLOCK]) {}

multiversion! {
    fn pair_up = pair_up_body(x: &[f32; BLOCK], pairs: &mut [u32; PAIRS])
}

#[inline(always)]
fn pair_up_body(x: &[f32; BLOCK], pairs: &mut [u32; PAIRS]) {
    for (pairs, x) in pairs.chunks_exact_mut(EIGHT / 2).zip(x.chunks_exact(EIGHT)) {
        let (low, high) = x.split_at(EIGHT / 2);
        for ((to, &low), &high) in pairs.iter_mut().zip(low).zip(high) {
            debug_assert!(low.is_nan() || bf16::round(low) == low, "{low} is a BF16 number");
            *to = pair(operand(low), operand(high));
        }
    }
}
