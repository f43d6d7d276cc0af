//! The AVX-512 version: `vdpbf16ps` on registers of sixteen rows, a pair of columns of each row to a lane.
//!
//! Few inputs meet weights in *strips*, sixteen rows that are rearranged and widened on the way through registers; many
//! meet them in *tiles* over panels that were rearranged once.

mod numbers;
mod strips;
mod tiles;

use crate::bf16::{Bf16Product, dot};
use crate::formats::grouped::Bits;
use crate::int8::E2M1;
use crate::isa::Isa;
use crate::matrix::Elements;
use crate::segments::STREAMED_INPUTS;
use crate::team::Scratch;

/// Whether this machine has what the version is compiled for.
pub(super) fn serves(isa: Isa) -> bool {
    dot::in_hardware(isa) && is_x86_feature_detected!("avx512vbmi")
}

/// See [`Bf16Product::compute`].
///
/// # Safety
/// Only where [`serves`] says so.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512bf16,fma")]
pub(super) fn multiply(product: &Bf16Product<'_>, from: usize, rows: usize, scratch: &mut Scratch) {
    if product.x.rows() > STREAMED_INPUTS {
        tiles::multiply(product, from, rows, scratch);
        return;
    }
    match product.matrix.elements {
        Elements::Fp8 { codes, .. } => strips::fp8(product, codes, from, rows),
        Elements::Fp4 { codes, scales } => strips::nibbles::<E2M1>(product, codes, scales, from, rows),
        Elements::Grouped {
            bits, codes, scales, ..
        } => match bits {
            Bits::Four => strips::nibbles::<4>(product, codes, scales, from, rows),
            Bits::Five => strips::groups::<5>(product, codes, scales, from, rows),
            Bits::Six => strips::groups::<6>(product, codes, scales, from, rows),
            Bits::Eight => strips::groups::<8>(product, codes, scales, from, rows),
        },
        Elements::F32(_) | Elements::Bf16(_) => {}
    }
}
