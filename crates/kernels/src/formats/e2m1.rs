//! E2M1 (FP4): one sign bit and the magnitudes 0, 0.5, 1, 1.5, 2, 3, 4, 6; two codes to a byte, the element with the
//! even index in the low nibble (spec §9.1, §10.3).

use super::ue8m0;

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

/// The UE8M0 scale of a group whose largest magnitude is `amax` (spec §9.2).
#[inline(always)]
pub fn group_scale(amax: f32) -> u8 {
    let floor = 6.0 * f32::MIN_POSITIVE;
    ue8m0::ceil(amax.max(floor) * (1.0 / 6.0))
}

/// Quantises a group to E2M1 under one UE8M0 scale and widens it back in place. Exact in BF16.
#[inline(always)]
pub fn round_trip(group: &mut [f32]) {
    let amax = group.iter().fold(0.0f32, |m, x| m.max(x.abs()));
    let scale = group_scale(amax);
    let (up, down) = (ue8m0::value(scale), ue8m0::reciprocal(scale));
    for x in group {
        *x = if x.is_nan() {
            *x
        } else {
            VALUES[encode(*x * down) as usize] * up
        };
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
