//! The AVX-512 version: `vdpbf16ps` on registers of sixteen rows, a pair of columns of each row to a lane.
//!
//! Few inputs meet weights in *strips*, sixteen rows that are rearranged and widened on the way through registers; many
//! meet them in *tiles* over panels that were rearranged once.

mod numbers;
mod strips;
mod tiles;

use crate::bf16::{Bf16Product, dot};
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
    let streamed = product.x.rows() <= STREAMED_INPUTS;
    match product.matrix.elements {
        Elements::Fp8 { codes, .. } if streamed => strips::fp8(product, codes, from, rows),
        Elements::Fp4 { codes, scales } if streamed => strips::fp4(product, codes, scales, from, rows),
        _ => tiles::multiply(product, from, rows, scratch),
    }
}
