//! Weight matrices as they lie in the checkpoint: `[rows, cols]`, row-major, in any of the official formats
//! or as grouped integers.

use crate::formats::grouped::{self, Bits};
use crate::formats::{bf16, e2m1, e4m3, ue8m0};

/// Rows and columns that share one FP8 scale (spec §10.4).
pub const FP8_BLOCK: usize = 128;

/// Scales of an FP8 matrix, one for each 128×128 block, row-major `[ceil(rows/128), ceil(cols/128)]`.
#[derive(Clone, Copy, Debug)]
pub enum Fp8Scales<'a> {
    /// One UE8M0 byte each.
    Ue8m0(&'a [u8]),
    /// Little-endian binary32, four bytes each (Base checkpoints, spec §10.5).
    F32(&'a [u8]),
}

impl Fp8Scales<'_> {
    #[inline]
    pub(crate) fn get(&self, index: usize) -> f32 {
        match self {
            Self::Ue8m0(bytes) => ue8m0::value(bytes[index]),
            Self::F32(bytes) => f32_at(bytes, index),
        }
    }
}

/// The elements of a matrix. All are little-endian and need no alignment.
#[derive(Clone, Copy, Debug)]
pub enum Elements<'a> {
    /// Binary32, four bytes each.
    F32(&'a [u8]),
    /// BF16, two bytes each.
    Bf16(&'a [u8]),
    /// E4M3 codes under a scale per 128×128 block.
    Fp8 {
        /// One byte each.
        codes: &'a [u8],
        /// See [`Fp8Scales`].
        scales: Fp8Scales<'a>,
    },
    /// E2M1 codes, two to a byte, under a UE8M0 scale per 32 elements of a row.
    Fp4 {
        /// `cols / 2` bytes a row.
        codes: &'a [u8],
        /// `cols / 32` bytes a row.
        scales: &'a [u8],
    },
    /// Integers under a scale per 32 elements of a row and one per row; see [`grouped`].
    Grouped {
        /// Bits of a code.
        bits: Bits,
        /// `cols / 8 · bits` bytes a row.
        codes: &'a [u8],
        /// `cols / 32` bytes a row.
        scales: &'a [u8],
        /// Binary32, four bytes a row.
        row_scales: &'a [u8],
    },
}

/// A weight matrix used where it lies.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    /// Outputs.
    pub rows: usize,
    /// Inputs; the reduction runs along them.
    pub cols: usize,
    /// The weights.
    pub elements: Elements<'a>,
}

impl Matrix<'_> {
    /// Whether the published low-precision path quantises this matrix's input (spec §9.3: FP8 and FP4 linears only).
    /// Grouped integers stand in for those.
    pub fn is_quantised(&self) -> bool {
        match self.elements {
            Elements::F32(_) | Elements::Bf16(_) => false,
            Elements::Fp8 { .. } | Elements::Fp4 { .. } | Elements::Grouped { .. } => true,
        }
    }

    /// Checks that every buffer has the length its shape asks for; kernels rely on it.
    ///
    /// # Panics
    /// When a length differs: the loader has already refused such a checkpoint.
    pub fn assert_well_formed(&self) {
        let (rows, cols) = (self.rows, self.cols);
        let blocks = rows.div_ceil(FP8_BLOCK) * cols.div_ceil(FP8_BLOCK);
        match self.elements {
            Elements::F32(bytes) => assert_eq!(bytes.len(), rows * cols * 4),
            Elements::Bf16(bytes) => assert_eq!(bytes.len(), rows * cols * 2),
            Elements::Fp8 { codes, scales } => {
                assert_eq!(codes.len(), rows * cols);
                match scales {
                    Fp8Scales::Ue8m0(bytes) => assert_eq!(bytes.len(), blocks),
                    Fp8Scales::F32(bytes) => assert_eq!(bytes.len(), blocks * 4),
                }
            }
            Elements::Fp4 { codes, scales } => {
                assert_eq!(cols % e2m1::GROUP, 0);
                assert_eq!(codes.len(), rows * cols / 2);
                assert_eq!(scales.len(), rows * cols / e2m1::GROUP);
            }
            Elements::Grouped {
                bits,
                codes,
                scales,
                row_scales,
            } => {
                assert_eq!(cols % grouped::BLOCK, 0);
                assert_eq!(codes.len(), rows * bits.row_bytes(cols));
                assert_eq!(scales.len(), rows * cols / grouped::GROUP);
                assert_eq!(row_scales.len(), rows * 4);
            }
        }
    }

    /// The stored bytes of `count` elements of `row` from column `from` on, scales apart. Of grouped integers below
    /// eight bits only the nibbles, the larger part.
    pub(crate) fn codes_of(&self, row: usize, from: usize, count: usize) -> &[u8] {
        let start = row * self.cols + from;
        match self.elements {
            Elements::F32(bytes) => &bytes[start * 4..][..count * 4],
            Elements::Bf16(bytes) => &bytes[start * 2..][..count * 2],
            Elements::Fp8 { codes, .. }
            | Elements::Grouped {
                bits: Bits::Eight,
                codes,
                ..
            } => &codes[start..][..count],
            Elements::Fp4 { codes, .. } => &codes[start / 2..][..count / 2],
            Elements::Grouped { bits, codes, .. } => {
                &codes[row * bits.row_bytes(self.cols) + from / 2..][..count / 2]
            }
        }
    }

    /// Decodes `out.len()` elements of `row` from column `from` on, a multiple of 128. Exact; for grouped integers up to
    /// the two roundings of their definition.
    pub fn decode(&self, row: usize, from: usize, out: &mut [f32]) {
        debug_assert_eq!(from % FP8_BLOCK, 0);
        let start = row * self.cols + from;
        match self.elements {
            Elements::F32(bytes) => {
                for (i, x) in out.iter_mut().enumerate() {
                    *x = f32_at(bytes, start + i);
                }
            }
            Elements::Bf16(bytes) => decode_bf16(bytes, start, out),
            Elements::Fp8 { codes, scales } => {
                let across = self.cols.div_ceil(FP8_BLOCK);
                let first_block = row / FP8_BLOCK * across + from / FP8_BLOCK;
                let codes = &codes[start..start + out.len()];
                for (block, (out, codes)) in
                    out.chunks_mut(FP8_BLOCK).zip(codes.chunks(FP8_BLOCK)).enumerate()
                {
                    let scale = scales.get(first_block + block);
                    for (x, &code) in out.iter_mut().zip(codes) {
                        *x = e4m3::VALUES[code as usize] * scale;
                    }
                }
            }
            Elements::Fp4 { codes, scales } => {
                let codes = &codes[start / 2..][..out.len() / 2];
                let scales = &scales[start / e2m1::GROUP..];
                for (group, (out, codes)) in out
                    .chunks_mut(e2m1::GROUP)
                    .zip(codes.chunks(e2m1::GROUP / 2))
                    .enumerate()
                {
                    let scale = ue8m0::value(scales[group]);
                    for (pair, &byte) in out.chunks_exact_mut(2).zip(codes) {
                        pair[0] = e2m1::VALUES[(byte & 15) as usize] * scale;
                        pair[1] = e2m1::VALUES[(byte >> 4) as usize] * scale;
                    }
                }
            }
            Elements::Grouped { .. } => self.decode_grouped(row, from, out),
        }
    }
}

impl Matrix<'_> {
    /// [`decode`](Self::decode) of grouped integers; vector kernels compile it for their instruction set.
    #[inline(always)]
    pub(crate) fn decode_grouped(&self, row: usize, from: usize, out: &mut [f32]) {
        let Elements::Grouped {
            bits,
            codes,
            scales,
            row_scales,
        } = self.elements
        else {
            unreachable!("only grouped integers are decoded here");
        };
        let (bytes, groups) = (bits.row_bytes(self.cols), self.cols / grouped::GROUP);
        grouped::decode_row(
            bits,
            &codes[row * bytes..][..bytes],
            &scales[row * groups..][..groups],
            f32_at(row_scales, row),
            from,
            out,
        );
    }
}

fn decode_bf16(bytes: &[u8], start: usize, out: &mut [f32]) {
    for (x, pair) in out.iter_mut().zip(bytes[start * 2..].chunks_exact(2)) {
        *x = bf16::from_bits(u16::from_le_bytes([pair[0], pair[1]]));
    }
}

pub(crate) fn f32_at(bytes: &[u8], index: usize) -> f32 {
    let at = index * 4;
    f32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
