//! The AVX2 version for machines with AVX-VNNI: the same tiles as [`super::vnni512`] in registers half as wide.

use crate::int8::{Int8Product, scalar};
use crate::isa::Isa;
use crate::team::Scratch;

#[target_feature(enable = "avx2,fma,avxvnni")]
pub(super) fn multiply(product: &Int8Product<'_>, from: usize, rows: usize, scratch: &mut Scratch) {
    let _ = scratch;
    scalar::multiply(Isa::Avx2, product, from, rows);
}
