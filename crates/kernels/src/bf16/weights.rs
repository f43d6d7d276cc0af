//! What the BF16 kernels see of a stored matrix: the numbers its codes stand for.

use crate::bf16::GROUP;
use crate::formats::grouped;
use crate::formats::{e2m1, e4m3};
use crate::matrix::{Elements, Matrix};

impl Matrix<'_> {
    /// The numbers that the codes of up to 32 columns from `from` (a multiple of that) on stand for, scales apart, zeros
    /// beyond the last column. Exact in BF16.
    pub(super) fn numbers(&self, row: usize, from: usize, out: &mut [f32; GROUP]) {
        let count = GROUP.min(self.cols - from);
        let start = row * self.cols + from;
        out[count..].fill(0.0);
        match self.elements {
            Elements::Fp8 { codes, .. } => {
                for (out, &code) in out.iter_mut().zip(&codes[start..][..count]) {
                    *out = e4m3::VALUES[code as usize];
                }
            }
            Elements::Fp4 { codes, .. } => {
                for (pair, &byte) in out.chunks_exact_mut(2).zip(&codes[start / 2..][..count / 2]) {
                    pair[0] = e2m1::VALUES[(byte & 15) as usize];
                    pair[1] = e2m1::VALUES[(byte >> 4) as usize];
                }
            }
            Elements::Grouped { bits, codes, .. } => {
                let bytes = bits.row_bytes(self.cols);
                let mut block = [0; grouped::BLOCK];
                grouped::read_block(
                    bits,
                    &codes[row * bytes..][..bytes],
                    self.cols,
                    from / grouped::BLOCK,
                    &mut block,
                );
                for (out, &code) in out.iter_mut().zip(&block[from % grouped::BLOCK..]) {
                    *out = f32::from(code) - f32::from(bits.bias());
                }
            }
            Elements::F32(_) | Elements::Bf16(_) => unreachable!("a quantised matrix"),
        }
    }
}
