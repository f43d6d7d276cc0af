//! Tensors and matrices as stored: bytes plus how to read them.

use fathom_kernels::formats::grouped::Bits;
use fathom_kernels::matrix::{self, Elements, Fp8Scales};

use crate::data::Data;
use crate::dtype::Dtype;

/// Rows and columns that share one scale in an FP8 matrix (spec §10.4).
pub const FP8_BLOCK: usize = 128;
/// Elements of a row that share one scale in an FP4 matrix (spec §10.3).
pub const FP4_BLOCK: usize = 32;

/// One stored tensor, row-major, little-endian. `data.len()` is the product of `shape` times the size of `dtype`.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// Element type.
    pub dtype: Dtype,
    /// Stored shape; for packed FP4 the last dimension counts bytes, two elements each.
    pub shape: Vec<usize>,
    /// The elements.
    pub data: Data,
}

/// How the bytes of a [`Matrix`] encode its elements.
#[derive(Clone, Debug)]
pub enum Encoding {
    /// 4 bytes per element.
    F32,
    /// 2 bytes per element.
    Bf16,
    /// 1 byte per element, `E4M3`; element (i, j) is multiplied by `scale[i / 128, j / 128]` (spec §10.4).
    Fp8 {
        /// `F8_E8M0` or `F32`, shape `[ceil(rows / 128), ceil(cols / 128)]`.
        scale: Tensor,
    },
    /// Half a byte per element, `E2M1`, low nibble first; element (i, j) is multiplied by `scale[i, j / 32]`
    /// (spec §10.3).
    Fp4 {
        /// `F8_E8M0`, shape `[rows, cols / 32]`.
        scale: Tensor,
    },
    /// Integers in groups of 32, the format of `fathom quantize`; see [`fathom_kernels::formats::grouped`].
    Grouped {
        /// Bits of an integer, told by the length of a row.
        bits: Bits,
        /// `U8`, shape `[rows, cols / 32]`.
        scale: Tensor,
        /// `F32`, shape `[rows]`.
        row_scale: Tensor,
    },
}

/// A weight matrix `[rows, cols]` as it lies in the file: `y = x · Wᵀ`, one row per output. No alignment is promised.
#[derive(Clone, Debug)]
pub struct Matrix {
    /// Outputs.
    pub rows: usize,
    /// Inputs, counted in elements whatever the packing.
    pub cols: usize,
    /// The encoded elements, row-major.
    pub data: Data,
    /// How to decode them.
    pub encoding: Encoding,
}

impl Matrix {
    /// The matrix as the kernels take it.
    pub fn view(&self) -> matrix::Matrix<'_> {
        let data = &self.data;
        let elements = match &self.encoding {
            Encoding::F32 => Elements::F32(data),
            Encoding::Bf16 => Elements::Bf16(data),
            Encoding::Fp8 { scale } => Elements::Fp8 {
                codes: data,
                scales: if scale.dtype == Dtype::F32 {
                    Fp8Scales::F32(&scale.data)
                } else {
                    Fp8Scales::Ue8m0(&scale.data)
                },
            },
            Encoding::Fp4 { scale } => Elements::Fp4 {
                codes: data,
                scales: &scale.data,
            },
            Encoding::Grouped {
                bits,
                scale,
                row_scale,
            } => Elements::Grouped {
                bits: *bits,
                codes: data,
                scales: &scale.data,
                row_scales: &row_scale.data,
            },
        };
        matrix::Matrix {
            rows: self.rows,
            cols: self.cols,
            elements,
        }
    }
}
