//! What the integer kernels see of a stored matrix: small integers and their scales.

use std::ops::Range;

use crate::formats::grouped;
use crate::int8::{BLOCK, GROUP};
use crate::matmul::prefetch;
use crate::matrix::{Elements, FP8_BLOCK, Matrix, f32_at};

/// A quarter of each E4M3 value, to nearest even. NaN codes saturate: integers cannot carry them.
pub(crate) static E4M3_QUARTERS: [i8; 256] = quarters();

/// Twice each E2M1 value.
pub(crate) static E2M1_DOUBLES: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

const fn quarters() -> [i8; 256] {
    let mut table = [0; 256];
    let mut code = 0;
    while code < 256 {
        let (exponent, mantissa) = ((code >> 3 & 15) as u32, (code & 7) as u32);
        // The value in units of 2^-9, its smallest step; a quarter of it is that over 2^11.
        let units = if exponent == 0 {
            mantissa
        } else {
            (8 + mantissa) << (exponent - 1)
        };
        let (whole, rest) = (units >> 11, units & 0x7FF);
        let up = rest > 0x400 || (rest == 0x400 && whole % 2 == 1);
        let quarter = (whole + up as u32) as i8;
        table[code] = if code >= 128 { -quarter } else { quarter };
        code += 1;
    }
    table
}

/// Up to four scale bytes, the missing ones zero.
#[inline(always)]
pub(crate) fn scale_bytes(bytes: &[u8]) -> u32 {
    match *bytes {
        [a, b, c, d] => u32::from_le_bytes([a, b, c, d]),
        _ => bytes
            .iter()
            .rev()
            .fold(0, |all, &byte| all << 8 | u32::from(byte)),
    }
}

impl Matrix<'_> {
    /// Asks for some blocks of columns of some rows, as far as they exist, soon to be rearranged.
    pub(crate) fn prefetch_blocks(&self, rows: Range<usize>, blocks: Range<usize>) {
        let (from, to) = (blocks.start * BLOCK, (blocks.end * BLOCK).min(self.cols));
        for row in rows.start..rows.end.min(self.rows) {
            prefetch(self.codes_of(row, from, to - from));
            if let Elements::Fp4 { scales, .. } | Elements::Grouped { scales, .. } = self.elements {
                prefetch(&scales[(row * self.cols + from) / GROUP..][..1]);
            }
        }
    }

    /// Columns that share a weight scale.
    pub(crate) fn scale_group(&self) -> usize {
        if matches!(self.elements, Elements::Fp8 { .. }) {
            FP8_BLOCK
        } else {
            GROUP
        }
    }

    /// Factor on a row's total: what its integers are multiples of.
    #[inline]
    pub(crate) fn row_scale(&self, row: usize) -> f32 {
        match self.elements {
            Elements::Fp8 { .. } => 4.0,
            Elements::Fp4 { .. } => 0.5,
            Elements::Grouped { row_scales, .. } => f32_at(row_scales, row),
            Elements::F32(_) | Elements::Bf16(_) => 1.0,
        }
    }

    /// Stored bytes of a row, scales apart.
    pub(crate) fn row_bytes(&self) -> usize {
        match self.elements {
            Elements::F32(_) => 4 * self.cols,
            Elements::Bf16(_) => 2 * self.cols,
            Elements::Fp8 { .. } => self.cols,
            Elements::Fp4 { .. } => self.cols / 2,
            Elements::Grouped { bits, .. } => bits.row_bytes(self.cols),
        }
    }

    /// The scale of the group of columns that begins at column `from`.
    #[inline(always)]
    pub(crate) fn scale_at(&self, row: usize, from: usize) -> f32 {
        match self.elements {
            Elements::Fp8 { scales, .. } => {
                scales.get(row / FP8_BLOCK * self.cols.div_ceil(FP8_BLOCK) + from / FP8_BLOCK)
            }
            // The byte as an exponent field: what the vector versions do. 0 counts as zero, NaN as infinity.
            Elements::Fp4 { scales, .. } => {
                f32::from_bits(u32::from(scales[(row * self.cols + from) / GROUP]) << 23)
            }
            Elements::Grouped { scales, .. } => {
                grouped::scale_value(scales[(row * self.cols + from) / GROUP])
            }
            Elements::F32(_) | Elements::Bf16(_) => 1.0,
        }
    }

    /// The integers of one block of columns, even columns first, zeros beyond the last column.
    pub(crate) fn integers(&self, row: usize, block: usize, out: &mut [i8; BLOCK]) {
        let from = block * BLOCK;
        let count = BLOCK.min(self.cols - from);
        let start = row * self.cols + from;
        out.fill(0);
        let (even, odd) = out.split_at_mut(BLOCK / 2);
        match self.elements {
            Elements::Fp8 { codes, .. } => {
                for (i, &code) in codes[start..][..count].iter().enumerate() {
                    let half = if i % 2 == 0 { &mut *even } else { &mut *odd };
                    half[i / 2] = E4M3_QUARTERS[code as usize];
                }
            }
            Elements::Fp4 { codes, .. } => {
                for ((even, odd), &byte) in even.iter_mut().zip(odd).zip(&codes[start / 2..][..count / 2]) {
                    *even = E2M1_DOUBLES[(byte & 15) as usize];
                    *odd = E2M1_DOUBLES[(byte >> 4) as usize];
                }
            }
            Elements::Grouped { bits, codes, .. } => {
                let bytes = bits.row_bytes(self.cols);
                let mut block_codes = [0; BLOCK];
                grouped::read_block(
                    bits,
                    &codes[row * bytes..][..bytes],
                    self.cols,
                    block,
                    &mut block_codes,
                );
                for ((even, odd), pair) in even.iter_mut().zip(odd).zip(block_codes.chunks_exact(2)) {
                    *even = pair[0].wrapping_sub(bits.bias()) as i8;
                    *odd = pair[1].wrapping_sub(bits.bias()) as i8;
                }
            }
            Elements::F32(_) | Elements::Bf16(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::{e2m1, e4m3};

    #[test]
    fn tables_hold_the_rounded_values() {
        for code in 0..256 {
            let value = e4m3::VALUES[code];
            if !value.is_nan() {
                assert_eq!(
                    E4M3_QUARTERS[code],
                    (value / 4.0).round_ties_even() as i8,
                    "{code}"
                );
            }
        }
        for code in 0..16 {
            assert_eq!(f32::from(E2M1_DOUBLES[code]), e2m1::VALUES[code] * 2.0);
        }
    }
}
