//! Packed keys and their queries as eight-bit integers, so that a dot product is an exact integer sum.
//!
//! Twice an E2M1 value is an integer of at most 12, and its scale is a power of two. What shares one power of two is
//! then a row of integers: a key whose group scales are at most 2³ apart (twelve shifted by three is 96), and nearly
//! every head of a query. A head with a wider range becomes two rows, the small elements and the large ones. All that
//! falls outside this goes through [`super::general`], which gives what the exact sum would, only slower.
//!
//! `Σ_h w_h · relu(q_h · κ)` then takes one conversion of an exact integer, one maximum and one fused multiply-add a
//! head. Powers of two commute with each of them while nothing over- or underflows, which the bounds below make sure
//! of; so the score has the bits of the same sum of correctly rounded float32 dots.

use crate::formats::e2m1::GROUP;
use crate::isa::{self, Integers, Isa};
use crate::rows::RowFormat;

/// The widest key that has an integer form.
pub(super) const MAX_WIDTH: usize = 128;

/// Codes of the widest key, four to a word.
pub(super) const MAX_WORDS: usize = MAX_WIDTH / 4;

/// Added to a key's integers, since the dot product instructions take one operand unsigned.
pub(super) const OFFSET: i32 = 128;

/// Exponents, biased by [`BIAS`], between which nothing over- or underflows.
pub(super) const MIN_EXPONENT: u32 = BIAS - 20;
/// As above.
pub(super) const MAX_EXPONENT: u32 = BIAS + 20;

/// The exponent of binary32 and UE8M0 that stands for 1.
pub(super) const BIAS: u32 = 127;

/// How dots are computed. All ways give the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kernel {
    /// AVX-512 with VNNI.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// AVX2 with AVX-VNNI.
    #[cfg(target_arch = "x86_64")]
    AvxVnni,
    /// AVX2.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// Portable code.
    Scalar,
}

impl Kernel {
    pub(super) fn of(isa: Isa) -> Self {
        match isa::integers(isa) {
            #[cfg(target_arch = "x86_64")]
            Integers::Vnni512 => Self::Avx512,
            #[cfg(target_arch = "x86_64")]
            Integers::Vnni256 => Self::AvxVnni,
            #[cfg(target_arch = "x86_64")]
            Integers::Avx2 => Self::Avx2,
            Integers::Plain => Self::Scalar,
        }
    }
}

/// Whether keys of this format have an integer form.
pub(super) fn have_integers(format: RowFormat) -> bool {
    matches!(format, RowFormat::IndexKey { width } if width.is_multiple_of(GROUP) && (1..=MAX_WIDTH).contains(&width))
}

/// 2^(`exponent` − 127), for exponents of normal numbers.
#[inline(always)]
pub(super) fn power(exponent: u32) -> f32 {
    f32::from_bits(exponent << 23)
}
