//! Products in eight-bit integers: the arithmetic of the `fast` numerics.
//!
//! Inputs are quantised to int8 with one power-of-two scale for each 128 along K. Weights stay in their stored format and
//! become small integers on the way through a register: E2M1 is twice its value (0 … ±12), E4M3 a quarter of it rounded
//! to nearest even (0 … ±112; codes below 32 lose up to 2, an eighth of the format's own step at the top), grouped
//! integers are themselves.
//!
//! The contract, for an output `y[t, r]`: the integer dot of each *group* of weights that share a scale (32 columns, or
//! 128 of an FP8 block) is exact. Block by block of 128 columns, `s` is the sum of the block's group dots, each widened
//! to float32 and fused with its weight scale, first to last; then the total becomes `fma(s, input scale, total)`. The
//! total is multiplied once by the row's scale. Nothing in this depends on the batch, the team or the instruction set,
//! and integer sums have no order: every version gives the same bits.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod inputs;
mod scalar;
#[cfg(target_arch = "x86_64")]
#[cfg(target_arch = "x86_64")]
mod vnni512;
mod weights;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::grouped_integers;
#[cfg(target_arch = "x86_64")]
pub(crate) use vnni512::{E2M1, Kind, group_integers, scale_values};
pub(crate) use weights::scale_bytes;

pub use inputs::{Int8Inputs, Int8View};

use crate::isa::{Integers, Isa};
#[cfg(target_arch = "x86_64")]
use crate::matmul::expect_outputs;
use crate::matrix::Matrix;
use crate::segments::STREAMED_INPUTS;
use crate::team::{Disjoint, Scratch};

/// Columns that share an input scale.
pub const BLOCK: usize = 128;

/// Columns that share a weight scale in the grouped formats.
pub(crate) const GROUP: usize = 32;

/// Groups of a block.
pub(crate) const GROUPS: usize = BLOCK / GROUP;

/// Weight rows of one item of a product with many inputs, and the most whose outputs are written together.
const ROWS_PER_ITEM: usize = 32;

/// Rows that stream side by side, at most.
const STRIP_ROWS: usize = 16;

/// Bytes of weights that one item of a product with few inputs streams.
const BYTES_PER_ITEM: usize = 256 << 10;

/// Input rows of a register tile.
const TILE_INPUTS: usize = 6;

/// Rows of a matrix from `first_row` on, times every input row.
pub(crate) struct Int8Product<'a> {
    pub(crate) matrix: Matrix<'a>,
    pub(crate) first_row: usize,
    pub(crate) x: Int8View<'a>,
    pub(crate) y: Disjoint<'a, f32>,
    pub(crate) y_stride: usize,
}

impl Int8Product<'_> {
    /// Weight rows of one item: a problem with few inputs is bound by the stream of weights, others by arithmetic.
    pub(crate) fn rows_per_item(&self) -> usize {
        if self.x.rows() <= STREAMED_INPUTS {
            (BYTES_PER_ITEM / self.matrix.row_bytes().max(1))
                .next_multiple_of(STRIP_ROWS)
                .clamp(STRIP_ROWS, 512)
        } else {
            ROWS_PER_ITEM
        }
    }

    /// Computes one item's rows, counted from the product's first.
    pub(crate) fn compute(&self, isa: Isa, from: usize, rows: usize, scratch: &mut Scratch) {
        self.compute_by(crate::isa::integers(isa), isa, from, rows, scratch);
    }

    fn compute_by(&self, integers: Integers, isa: Isa, from: usize, rows: usize, scratch: &mut Scratch) {
        match integers {
            #[cfg(target_arch = "x86_64")]
            Integers::Vnni512 if self.x.rows() <= STREAMED_INPUTS => {
                // SAFETY: `Integers::Vnni512` is only ever made where the machine has the features.
                unsafe { vnni512::stream(self, from, rows) };
            }
            #[cfg(target_arch = "x86_64")]
            Integers::Vnni512 => {
                // SAFETY: as above.
                unsafe { vnni512::multiply(self, from, rows, scratch) };
            }
            #[cfg(target_arch = "x86_64")]
            Integers::Vnni256 => {
                // SAFETY: `Integers::Vnni256` is only ever made where the machine has the features.
                unsafe { avx2::multiply::<true>(self, from, rows, scratch) };
            }
            #[cfg(target_arch = "x86_64")]
            Integers::Avx2 => {
                // SAFETY: `Integers::Avx2` is only ever made where the machine has the features.
                unsafe { avx2::multiply::<false>(self, from, rows, scratch) };
            }
            Integers::Plain => scalar::multiply(isa, self, from, rows),
        }
    }

    /// See [`expect_outputs`].
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn expect(&self, row: usize, rows: usize, inputs: std::ops::Range<usize>) {
        expect_outputs(&self.y, self.y_stride, row, rows, inputs);
    }

    /// Writes the outputs of rows `row .. row + rows` of the matrix from their totals, `[inputs][width]`.
    #[cfg(target_arch = "x86_64")]
    fn finish(&self, row: usize, rows: usize, totals: &[f32], width: usize) {
        let mut scales = [0.0; ROWS_PER_ITEM];
        for (i, scale) in scales[..rows].iter_mut().enumerate() {
            *scale = self.matrix.row_scale(row + i);
        }
        for (t, totals) in totals.chunks_exact(width).enumerate() {
            // SAFETY: output r of an input row is weight row r's, and each weight row is in exactly one item.
            let out = unsafe { self.y.part(t * self.y_stride + row, rows) };
            for ((y, total), scale) in out.iter_mut().zip(totals).zip(&scales) {
                *y = total * scale;
            }
        }
    }
}

#[cfg(test)]
mod tests;
