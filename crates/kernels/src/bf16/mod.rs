//! Products of BF16 inputs with quantised weights in float32 sums: the arithmetic of the `reference` numerics.
//!
//! What the published low-precision path multiplies is exact in BF16: E4M3 inputs under a power of two on the one side,
//! the numbers that E4M3, E2M1 and grouped codes stand for on the other (scales stay out of the dots). So a dot product
//! of BF16 pairs loses nothing but the rounding of its sums, at twice the rate of float32 products.
//!
//! The contract, for an output `y[t, r]`: the columns are taken in *groups* of 32, first to last. A group's dot begins at
//! zero and takes one fused step for each column, each eight columns in the order 4, 0, 5, 1, 6, 2, 7, 3: pairs of
//! columns four apart in the order of [`dot`], as nibbles come out of a register. Then the total becomes
//! `fma(dot, weight scale, total)`. The total is multiplied once by the row's scale, if the format has one, and rounded
//! to BF16 where that is asked for. Nothing in this depends on the batch, the team or the instruction set.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub mod dot;
mod inputs;
mod portable;
mod weights;

pub use inputs::{Bf16Inputs, Bf16View};

use crate::formats::bf16;
use crate::isa::Isa;
use crate::matrix::{Elements, Matrix, f32_at};
use crate::segments::STREAMED_INPUTS;
use crate::team::{Disjoint, Scratch};

/// Columns of an input that share a scale in E4M3 (spec §9.3), and to which inputs are padded.
const BLOCK: usize = 128;

/// Columns of one dot.
const GROUP: usize = 32;

/// Groups of a block.
const GROUPS: usize = BLOCK / GROUP;

/// Columns that are taken in an order of their own.
const EIGHT: usize = 8;

/// The order of each eight columns.
const ORDER: [usize; EIGHT] = [4, 0, 5, 1, 6, 2, 7, 3];

/// Pairs of a block.
const PAIRS: usize = BLOCK / 2;

/// Rows whose outputs are computed together: the lanes of a register.
const LANES: usize = 16;

/// Input rows of a register tile: with two registers of weight rows, as many sums as the latency of a dot product takes
/// to hide.
const TILE_INPUTS: usize = 8;

/// Weight rows of one item of a product with many inputs.
const ROWS_PER_ITEM: usize = 32;

/// Bytes of weights that one item of a product with few inputs streams.
const BYTES_PER_ITEM: usize = 256 << 10;

/// Rows of a matrix from `first_row` on, times every input row.
pub(crate) struct Bf16Product<'a> {
    pub(crate) matrix: Matrix<'a>,
    pub(crate) first_row: usize,
    pub(crate) x: Bf16View<'a>,
    pub(crate) y: Disjoint<'a, f32>,
    pub(crate) y_stride: usize,
    pub(crate) round: bool,
}

impl Bf16Product<'_> {
    /// Weight rows of one item: a problem with few inputs is bound by the stream of weights, others by arithmetic.
    pub(crate) fn rows_per_item(&self) -> usize {
        if self.x.rows() <= STREAMED_INPUTS {
            (BYTES_PER_ITEM / self.matrix.row_bytes().max(1))
                .next_multiple_of(LANES)
                .clamp(LANES, 512)
        } else {
            ROWS_PER_ITEM
        }
    }

    /// Computes one item's rows, counted from the product's first.
    pub(crate) fn compute(&self, isa: Isa, from: usize, rows: usize, scratch: &mut Scratch) {
        #[cfg(target_arch = "x86_64")]
        if avx512::serves(isa) {
            // SAFETY: `serves` found the features.
            unsafe { avx512::multiply(self, from, rows, scratch) };
            return;
        }
        #[cfg(target_arch = "x86_64")]
        if isa >= Isa::Avx2 {
            // SAFETY: a level is only ever made by `isa::detect`, which found its features.
            unsafe { avx2::multiply(self, from, rows, scratch) };
            return;
        }
        portable::multiply(isa, self, from, rows, scratch);
    }

    /// Writes the outputs of rows `row .. row + rows` of the matrix for some inputs from their totals, `[inputs][WIDTH]`.
    #[inline(always)]
    fn finish<const WIDTH: usize>(&self, row: usize, rows: usize, first_input: usize, totals: &[f32]) {
        for (t, totals) in totals.as_chunks::<WIDTH>().0.iter().enumerate() {
            let mut totals = *totals;
            if let Elements::Grouped { row_scales, .. } = self.matrix.elements {
                for (i, total) in totals[..rows].iter_mut().enumerate() {
                    *total *= f32_at(row_scales, row + i);
                }
            }
            if self.round {
                totals = totals.map(bf16::round);
            }
            let at = (first_input + t) * self.y_stride + row;
            // SAFETY: output r of an input row is weight row r's, and each weight row is in exactly one item.
            let out = unsafe { self.y.part(at, rows) };
            match out.as_mut_array() {
                Some(out) => *out = totals,
                None => out.copy_from_slice(&totals[..rows]),
            }
        }
    }
}

#[cfg(test)]
mod tests;
