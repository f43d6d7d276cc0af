//! The activation round trips of the published low-precision path (spec §9.3): what a value loses when it is stored
//! in E4M3 or E2M1, and the Hadamard rotation that goes before E2M1.

use crate::formats::{bf16, e2m1, e4m3};
use crate::isa::{self, Isa, multiversion};
use crate::lanes::LANES;
use crate::team::{Team, for_each_row};

/// Elements of a KV row that share a scale.
pub const KV_BLOCK: usize = 64;

/// The leading `nope` elements of each `width` of `x` through E4M3 in blocks of 64, in place: what the KV cache keeps
/// of a row (spec §5.4, §7.1).
pub fn kv_round_trip(team: &mut Team, x: &mut [f32], width: usize, nope: usize) {
    let isa = isa::detected();
    for_each_row(team, x, width, 16, |_, row, _| {
        e4m3_row(isa, &mut row[..nope], KV_BLOCK);
    });
}

/// Each `width` (a power of two) of `x` through the normalised Hadamard transform, one BF16 rounding, and E2M1 in
/// groups of 32, in place: indexer queries and keys (spec §5.4).
pub fn hadamard_e2m1_round_trip(team: &mut Team, x: &mut [f32], width: usize) {
    let isa = isa::detected();
    for_each_row(team, x, width, 16, |_, row, _| hadamard_e2m1_row(isa, row));
}

multiversion! {
    fn e4m3_row = e4m3_row_body(x: &mut [f32], block: usize)
}

#[inline(always)]
fn e4m3_row_body(x: &mut [f32], block: usize) {
    x.chunks_mut(block).for_each(e4m3::round_trip);
}

fn hadamard_e2m1_row(isa: Isa, x: &mut [f32]) {
    hadamard(isa, x);
    e2m1_row(isa, x);
}

multiversion! {
    fn e2m1_row = e2m1_row_body(x: &mut [f32])
}

#[inline(always)]
fn e2m1_row_body(x: &mut [f32]) {
    bf16::round_all(x);
    x.chunks_mut(e2m1::GROUP).for_each(e2m1::round_trip);
}

/// The Hadamard transform in Sylvester order, times n^−½; float32 butterflies (spec §5.4).
fn hadamard(isa: Isa, x: &mut [f32]) {
    assert!(x.len().is_power_of_two());
    #[cfg(target_arch = "x86_64")]
    if isa == Isa::Avx512 && x.len() >= LANES {
        // SAFETY: `Isa::Avx512` is only ever made by `isa::detect`, which found the feature.
        unsafe { butterflies_in_registers(x) };
        hadamard_from(isa, x, LANES);
        return;
    }
    hadamard_from(isa, x, 1);
}

multiversion! {
    /// The butterflies of elements `half` apart and more, and the scale.
    fn hadamard_from = hadamard_from_body(x: &mut [f32], half: usize)
}

#[inline(always)]
fn hadamard_from_body(x: &mut [f32], half: usize) {
    let mut half = half;
    while half < x.len() {
        for pair in x.chunks_exact_mut(2 * half) {
            let (a, b) = pair.split_at_mut(half);
            for (a, b) in a.iter_mut().zip(b) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        half *= 2;
    }
    let scale = (x.len() as f32).sqrt().recip();
    x.iter_mut().for_each(|x| *x *= scale);
}

/// The butterflies of elements 1, 2, 4 and 8 apart: each element's sum with its partner, or, in the lanes of the mask,
/// the partner less the element.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn butterflies_in_registers(x: &mut [f32]) {
    use std::arch::x86_64::{
        _mm512_add_ps, _mm512_loadu_ps, _mm512_mask_sub_ps, _mm512_permute_ps, _mm512_shuffle_f32x4,
        _mm512_storeu_ps,
    };
    for block in x.as_chunks_mut::<LANES>().0 {
        // SAFETY: sixteen floats are there to read.
        let mut v = unsafe { _mm512_loadu_ps(block.as_ptr()) };
        let partner = _mm512_permute_ps::<0b10_11_00_01>(v);
        v = _mm512_mask_sub_ps(_mm512_add_ps(v, partner), 0xAAAA, partner, v);
        let partner = _mm512_permute_ps::<0b01_00_11_10>(v);
        v = _mm512_mask_sub_ps(_mm512_add_ps(v, partner), 0xCCCC, partner, v);
        let partner = _mm512_shuffle_f32x4::<0b10_11_00_01>(v, v);
        v = _mm512_mask_sub_ps(_mm512_add_ps(v, partner), 0xF0F0, partner, v);
        let partner = _mm512_shuffle_f32x4::<0b01_00_11_10>(v, v);
        v = _mm512_mask_sub_ps(_mm512_add_ps(v, partner), 0xFF00, partner, v);
        // SAFETY: sixteen floats are there to write.
        unsafe { _mm512_storeu_ps(block.as_mut_ptr(), v) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Spec §18.3: the transform of e₀ is constant 0.0883883, of e₁ alternates in sign.
    #[test]
    fn hadamard_of_unit_vectors() {
        for unit in 0..2 {
            let mut x = [0.0f32; 128];
            x[unit] = 1.0;
            hadamard(isa::detected(), &mut x);
            for (i, &y) in x.iter().enumerate() {
                let sign = if unit == 1 && i % 2 == 1 { -1.0 } else { 1.0 };
                assert!((y - sign * 0.088_388_35).abs() < 1e-8);
            }
        }
    }

    #[test]
    fn every_instruction_set_gives_the_same_bits() {
        let x: Vec<f32> = (0..256)
            .map(|i| ((i * 73 % 199) as f32 - 99.0) * (i as f32 / 40.0 - 3.0).exp2())
            .collect();
        let mut e4m3 = isa::available().map(|isa| {
            let mut y = x.clone();
            e4m3_row(isa, &mut y[..200], 64);
            hadamard_e2m1_row(isa, &mut y[128..]);
            let mut short = x[..8].to_vec();
            hadamard_e2m1_row(isa, &mut short);
            y.extend(short);
            y
        });
        let first = e4m3.next().expect("scalar is always available");
        assert_ne!(first, x);
        assert!(e4m3.all(|y| y == first));
    }

    #[test]
    fn a_second_round_trip_changes_nothing() {
        let mut x: Vec<f32> = (0..96).map(|i| ((i * 31 % 97) as f32 - 48.0) * 0.37).collect();
        e4m3_row_body(&mut x, 64);
        let once = x.clone();
        e4m3_row_body(&mut x, 64);
        assert_eq!(x, once);
    }
}
