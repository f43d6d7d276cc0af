//! Dot products of BF16 pairs with float32 sums: `vdpbf16ps` and its twins, the same bits from all of them.
//!
//! What the instruction does to each float32 lane, given two pairs (element 2i in the low half of a dword, element
//! 2i + 1 in the high half):
//!
//! ```text
//! acc = fma(a[2i + 1], b[2i + 1], acc)      the high halves first
//! acc = fma(a[2i],     b[2i],     acc)
//! ```
//!
//! Each step rounds once, to nearest even whatever the control register says; inputs below the normal range count as
//! zero, and so do results that are (after rounding) below it. This is what Intel's manual says of the instruction
//! (VDPBF16PS, Operation) and what a Zen 5 core does: 24 million random lanes over all exponents, with cancellations,
//! against an emulation of exactly this rule, no difference; the other order, or one rounding for both products, differ in
//! a tenth of the lanes.
//!
//! Plain fused multiply-adds therefore give the same bits wherever nothing below the normal range can occur, and
//! [`operand`] sees to that: it makes operands that are zero or at least 2^-56. A BF16 number has eight significant
//! bits, so operands are multiples of 2^-63, products multiples of 2^-126, and every rounded sum of such products is
//! again a multiple of 2^-126: zero or normal. Twins need no flushing.

use crate::formats::bf16;
use crate::isa::Isa;

/// The smallest magnitude of an operand that is not zero.
pub const SMALLEST: f32 = f32::from_bits((127 - 56) << 23);

/// The BF16 nearest to `x`, as bits, or zero where that is below [`SMALLEST`]. NaN stays NaN.
#[inline(always)]
pub fn operand(x: f32) -> u16 {
    let bits = bf16::to_bits(x);
    if bf16::from_bits(bits).abs() < SMALLEST {
        0
    } else {
        bits
    }
}

/// Two operands in one dword: `low` is the element with the smaller index.
#[inline(always)]
pub fn pair(low: u16, high: u16) -> u32 {
    (high as u32) << 16 | low as u32
}

/// One lane: `acc` and the products of two pairs, the high halves' first.
#[inline(always)]
pub fn dot_pair(acc: f32, a: u32, b: u32) -> f32 {
    let high = |pair: u32| f32::from_bits(pair & 0xFFFF_0000);
    let low = |pair: u32| f32::from_bits(pair << 16);
    low(a).mul_add(low(b), high(a).mul_add(high(b), acc))
}

/// Whether kernels for `isa` may use [`dot_pairs_avx512`]: not every AVX-512 machine has it.
pub fn in_hardware(isa: Isa) -> bool {
    #[cfg(target_arch = "x86_64")]
    return isa == Isa::Avx512 && is_x86_feature_detected!("avx512bf16");
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = isa;
        false
    }
}

/// Sixteen lanes of [`dot_pair`].
///
/// # Safety
/// Only where [`in_hardware`] says so.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
pub fn dot_pairs_avx512(
    acc: std::arch::x86_64::__m512,
    a: std::arch::x86_64::__m512i,
    b: std::arch::x86_64::__m512i,
) -> std::arch::x86_64::__m512 {
    use std::arch::x86_64::{__m512bh, __m512i, _mm512_dpbf16_ps};
    // SAFETY: two names for the same 64 bytes; every bit pattern is valid for both.
    let [a, b] = unsafe { std::mem::transmute::<[__m512i; 2], [__m512bh; 2]>([a, b]) };
    _mm512_dpbf16_ps(acc, a, b)
}

/// Eight lanes of [`dot_pair`] from fused multiply-adds.
///
/// # Safety
/// Only from [`Isa::Avx2`] up.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx2,fma")]
pub fn dot_pairs_avx2(
    acc: std::arch::x86_64::__m256,
    a: std::arch::x86_64::__m256i,
    b: std::arch::x86_64::__m256i,
) -> std::arch::x86_64::__m256 {
    use std::arch::x86_64::{
        _mm256_and_si256, _mm256_castsi256_ps, _mm256_fmadd_ps, _mm256_set1_epi32, _mm256_slli_epi32,
    };
    let upper = _mm256_set1_epi32(-65_536);
    let high = |x| _mm256_castsi256_ps(_mm256_and_si256(x, upper));
    let low = |x| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(x));
    _mm256_fmadd_ps(low(a), low(b), _mm256_fmadd_ps(high(a), high(b), acc))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(state: &mut u64) -> u64 {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state
    }

    /// Operands of one of several kinds: ordinary, around the smallest, over the whole range below overflow, with zeros.
    fn random_operand(kind: u64, state: &mut u64) -> u16 {
        let bits = random(state);
        let exponent = match kind % 4 {
            0 => 120 + bits % 16,
            1 => 69 + bits % 6,
            2 => 60 + bits % 130,
            _ if bits.is_multiple_of(5) => 0,
            _ => 71 + bits % 40,
        };
        let x = ((bits >> 32) & 0x807F_FFFF) as u32 | (exponent as u32) << 23;
        operand(f32::from_bits(x))
    }

    #[test]
    fn operands_are_zero_or_large_enough() {
        for high in 0..=u16::MAX {
            let x = bf16::from_bits(high);
            let y = bf16::from_bits(operand(x));
            if x.abs() < SMALLEST {
                assert_eq!(y.to_bits(), 0);
            } else {
                assert_eq!(y.is_nan(), x.is_nan());
                assert!(x.is_nan() || y.to_bits() == x.to_bits());
            }
        }
        assert_eq!(operand(SMALLEST.next_down()), bf16::to_bits(SMALLEST));
    }

    #[test]
    fn a_lane_is_two_fused_steps_high_half_first() {
        let (one, tiny) = (bf16::to_bits(1.0), bf16::to_bits(2.0f32.powi(-24)));
        // 1 + 2^-24 is a tie and stays 1; from −1 on, the tiny product survives.
        let (a, b) = (pair(tiny, one), pair(one, one));
        assert_eq!(dot_pair(0.0, a, b), 1.0);
        assert_eq!(dot_pair(-1.0, a, b), 2.0f32.powi(-24));
        assert_eq!(dot_pair(-1.0, pair(one, tiny), b), 2.0f32.powi(-24));
        assert_eq!(dot_pair(1.0, pair(one, tiny), b), 2.0);
        assert_eq!(dot_pair(1.0, pair(bf16::to_bits(-1.0), tiny), b), 0.0);
    }

    /// Chains of pairs from zero, many of them cancelling: every twin the same bits, nothing below the normal range.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn the_instruction_and_its_twins_give_the_same_bits() {
        use std::arch::x86_64::{__m256, __m256i, __m512, __m512i};

        #[target_feature(enable = "avx512f,avx512bf16")]
        fn wide(acc: [f32; 16], a: [u32; 16], b: [u32; 16]) -> [f32; 16] {
            // SAFETY: arrays of 64 bytes and registers of 64 bytes, valid for every bit pattern.
            unsafe {
                let [a, b] = std::mem::transmute::<[[u32; 16]; 2], [__m512i; 2]>([a, b]);
                std::mem::transmute(dot_pairs_avx512(
                    std::mem::transmute::<[f32; 16], __m512>(acc),
                    a,
                    b,
                ))
            }
        }
        #[target_feature(enable = "avx2,fma")]
        fn narrow(acc: [f32; 8], a: [u32; 8], b: [u32; 8]) -> [f32; 8] {
            // SAFETY: arrays of 32 bytes and registers of 32 bytes, valid for every bit pattern.
            unsafe {
                let [a, b] = std::mem::transmute::<[[u32; 8]; 2], [__m256i; 2]>([a, b]);
                std::mem::transmute(dot_pairs_avx2(std::mem::transmute::<[f32; 8], __m256>(acc), a, b))
            }
        }

        let mut state = 0x2545_F491_4F6C_DD1D;
        for round in 0..60_000u64 {
            let mut sums = [0.0f32; 16];
            let (mut wide_sums, mut narrow_sums) = (sums, sums);
            let (mut a, mut b) = ([0u32; 16], [0u32; 16]);
            for step in 0..6 {
                for lane in 0..16 {
                    if step % 2 == 1 && random(&mut state).is_multiple_of(3) {
                        // Take away the last step's second product, or nearly.
                        a[lane] ^= 0x8000;
                        b[lane] &= 0xFFFF;
                        if b[lane] & 0x7FFF != 0 {
                            b[lane] ^= random(&mut state) as u32 & 1;
                        }
                    } else {
                        let mut next = || random_operand(round, &mut state);
                        (a[lane], b[lane]) = (pair(next(), next()), pair(next(), next()));
                    }
                    sums[lane] = dot_pair(sums[lane], a[lane], b[lane]);
                    assert!(sums[lane] == 0.0 || !sums[lane].is_subnormal());
                }
                if in_hardware(crate::isa::detected()) {
                    // SAFETY: the line above found the features.
                    wide_sums = unsafe { wide(wide_sums, a, b) };
                    assert_eq!(wide_sums.map(f32::to_bits), sums.map(f32::to_bits));
                }
                if crate::isa::detected() >= Isa::Avx2 {
                    for half in [0, 8] {
                        let part = |x: &[u32; 16]| std::array::from_fn(|i| x[half + i]);
                        let acc = std::array::from_fn(|i| narrow_sums[half + i]);
                        // SAFETY: `isa::detect` found the features.
                        let sums = unsafe { narrow(acc, part(&a), part(&b)) };
                        narrow_sums[half..half + 8].copy_from_slice(&sums);
                    }
                    assert_eq!(narrow_sums.map(f32::to_bits), sums.map(f32::to_bits));
                }
            }
        }
    }
}
