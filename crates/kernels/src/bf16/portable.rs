//! The portable version, and what the vector version is compared with: a lane for each of sixteen rows.

use crate::bf16::inputs::Tile;
use crate::bf16::{BLOCK, Bf16Product, EIGHT, GROUP, GROUPS, LANES, ORDER, PAIRS};
use crate::isa::{Isa, multiversion};
use crate::team::Scratch;

/// Inputs that a group's weights meet at once.
const AT_ONCE: usize = 2;

/// A number for each of the rows.
type Lanes = [f32; LANES];

/// See [`Bf16Product::compute`].
pub(super) fn multiply(isa: Isa, product: &Bf16Product<'_>, from: usize, rows: usize, scratch: &mut Scratch) {
    let [totals] = scratch.floats([product.x.rows() * LANES]);
    for at in (0..rows).step_by(LANES) {
        let (row, rows) = (product.first_row + from + at, LANES.min(rows - at));
        sixteen_rows(isa, product, row, rows, totals);
        product.finish::<LANES>(row, rows, 0, totals);
    }
}

multiversion! {
    /// The totals `[inputs][LANES]` of rows `row .. row + rows`, at most sixteen.
    fn sixteen_rows = sixteen_rows_body(
        product: &Bf16Product<'_>, row: usize, rows: usize, totals: &mut [f32],
    )
}

#[inline(always)]
fn sixteen_rows_body(product: &Bf16Product<'_>, row: usize, rows: usize, totals: &mut [f32]) {
    let matrix = &product.matrix;
    let mut weights = [[0.0; LANES]; GROUP];
    let mut numbers = [0.0; GROUP];
    let mut scales = [0.0; LANES];
    totals.fill(0.0);
    for from in (0..matrix.cols).step_by(GROUP) {
        for lane in 0..LANES {
            // Rows beyond the last are the last again; their results are dropped.
            let row = row + lane.min(rows - 1);
            matrix.numbers(row, from, &mut numbers);
            scales[lane] = matrix.scale_at(row, from);
            for (weights, number) in weights.iter_mut().zip(in_order(&numbers)) {
                weights[lane] = number;
            }
        }
        for tile in product.x.tiles() {
            for first in (0..tile.rows).step_by(AT_ONCE) {
                // The second of an odd number is the first again, and dropped.
                let second = (first + 1).min(tile.rows - 1);
                let x = [
                    column_order(&tile, first, from),
                    column_order(&tile, second, from),
                ];
                let dots = dots(&weights, &x);
                for (i, dots) in dots[..=second - first].iter().enumerate() {
                    let totals = &mut totals[(tile.row + first + i) * LANES..][..LANES];
                    for ((total, &dot), &scale) in totals.iter_mut().zip(dots).zip(&scales) {
                        *total = dot.mul_add(scale, *total);
                    }
                }
            }
        }
    }
}

/// A group's columns in the order in which they are added.
#[inline(always)]
fn in_order(columns: &[f32; GROUP]) -> impl Iterator<Item = f32> + '_ {
    columns
        .chunks_exact(EIGHT)
        .flat_map(|eight| ORDER.iter().map(|&column| eight[column]))
}

/// The inputs of a group from column `from` on, in the order in which they are added: of each pair the high half first.
#[inline(always)]
fn column_order(tile: &Tile<'_>, lane: usize, from: usize) -> [f32; GROUP] {
    let (block, group) = (from / BLOCK, from % BLOCK / GROUP);
    let first = block * PAIRS + group * (PAIRS / GROUPS);
    let mut x = [0.0; GROUP];
    for (i, x) in x.chunks_exact_mut(2).enumerate() {
        let pair = tile.pairs[(first + i) * tile.rows + lane];
        x[0] = f32::from_bits(pair & 0xFFFF_0000);
        x[1] = f32::from_bits(pair << 16);
    }
    x
}

#[inline(always)]
fn dots(weights: &[Lanes; GROUP], x: &[[f32; GROUP]; AT_ONCE]) -> [Lanes; AT_ONCE] {
    let mut dots = [[0.0f32; LANES]; AT_ONCE];
    for (i, weights) in weights.iter().enumerate() {
        for (dots, x) in dots.iter_mut().zip(x) {
            for (dot, &weight) in dots.iter_mut().zip(weights) {
                *dot = weight.mul_add(x[i], *dot);
            }
        }
    }
    dots
}
