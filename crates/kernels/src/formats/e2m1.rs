//! E2M1 (FP4): one sign bit and the magnitudes 0, 0.5, 1, 1.5, 2, 3, 4, 6; two codes to a byte, the element with the
//! even index in the low nibble (spec §9.1, §10.3).

use super::ue8m0;
use crate::lanes;

/// Elements that share one UE8M0 scale, along K.
pub const GROUP: usize = 32;

/// Each code's value; code 8 is −0.
pub const VALUES: [f32; 16] = [
    0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0,
];

/// The code of the nearest value, ties to even, saturating at ±6. NaN has no code: the caller keeps it out.
#[inline(always)]
pub fn encode(x: f32) -> u8 {
    let magnitude = x.abs();
    // The bounds are the midpoints of neighbouring magnitudes; `>` or `>=` decides each tie for the even code.
    let code = (magnitude > 0.25) as u8
        + (magnitude >= 0.75) as u8
        + (magnitude > 1.25) as u8
        + (magnitude >= 1.75) as u8
        + (magnitude > 2.5) as u8
        + (magnitude >= 3.5) as u8
        + (magnitude > 5.0) as u8;
    code | ((x.is_sign_negative() as u8) << 3)
}

/// The nearest value, ties to even, saturating at ±6: what [`encode`] finds, without the code. NaN stays NaN.
#[inline(always)]
pub fn round(x: f32) -> f32 {
    let magnitude = x.abs();
    let clamped = if magnitude > 6.0 { 6.0 } else { magnitude };
    // Normal range: keep one mantissa bit of the binary32. Below 1 the grid is ½ wide, which is an ulp at 2^22.
    let bits = clamped.to_bits();
    let normal = f32::from_bits(bits.wrapping_add(0x1F_FFFF + ((bits >> 22) & 1)) & 0xFFC0_0000);
    let grid = 1.5 * 4_194_304.0;
    let subnormal = (clamped + grid) - grid;
    let rounded = if clamped >= 1.0 { normal } else { subnormal };
    rounded.copysign(x)
}

/// The UE8M0 scale of a group whose largest magnitude is `amax` (spec §9.2).
#[inline(always)]
pub fn group_scale(amax: f32) -> u8 {
    let floor = 6.0 * f32::MIN_POSITIVE;
    ue8m0::ceil(amax.max(floor) * (1.0 / 6.0))
}

/// Quantises a group to E2M1 under one UE8M0 scale and widens it back in place. Exact in BF16.
#[inline(always)]
pub fn round_trip(group: &mut [f32]) {
    let scale = group_scale(lanes::max_magnitude(group));
    let (up, down) = (ue8m0::value(scale), ue8m0::reciprocal(scale));
    for x in group {
        *x = round(*x * down) * up;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_round_trip_and_ties_go_to_even() {
        for code in 0..16u8 {
            assert_eq!(encode(VALUES[code as usize]), code);
        }
        // Spec §9.4.
        for (tie, even) in [
            (0.25, 0.0),
            (0.75, 1.0),
            (1.25, 1.0),
            (1.75, 2.0),
            (2.5, 2.0),
            (3.5, 4.0),
            (5.0, 4.0),
        ] {
            assert_eq!(VALUES[encode(tie) as usize], even, "{tie}");
            assert_eq!(VALUES[encode(-tie) as usize], -even, "{tie}");
        }
        assert_eq!(VALUES[encode(100.0) as usize], 6.0);
    }

    #[test]
    fn rounding_is_encoding_and_decoding() {
        for i in 0..=140_000 {
            let x = i as f32 / 20_000.0;
            for x in [x, x.next_up(), -x, -x.next_up()] {
                assert_eq!(round(x).to_bits(), VALUES[encode(x) as usize].to_bits(), "{x}");
            }
        }
        assert!(round(f32::NAN).is_nan());
        assert_eq!(round(f32::NEG_INFINITY), -6.0);
    }

    #[test]
    fn group_scales_of_the_specification() {
        assert_eq!(group_scale(1.0) as i32 - 127, -2);
        assert_eq!(group_scale(6.1) as i32 - 127, 1);
        assert_eq!(group_scale(6.0) as i32 - 127, 0);
    }

    /// Spec §18.3: byte 0x21 holds 0.5 then 1.0; 0xF7 holds 6.0 then −6.0.
    #[test]
    fn the_low_nibble_comes_first() {
        for (byte, low, high) in [(0x21u8, 0.5, 1.0), (0xF7, 6.0, -6.0)] {
            assert_eq!(VALUES[(byte & 15) as usize], low);
            assert_eq!(VALUES[(byte >> 4) as usize], high);
        }
    }
}
