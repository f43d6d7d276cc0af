//! E4M3FN: bias 7, largest value 448, no infinities, NaN at 0x7F and 0xFF (spec §9.1).

use super::ue8m0;
use crate::lanes;

/// The largest finite magnitude.
pub const MAX: f32 = 448.0;

/// Amounts below this are treated as this when a block's scale is chosen (spec §9.2).
pub const AMAX_MIN: f32 = 1e-4;

/// Every code's value; NaN for 0x7F and 0xFF.
pub static VALUES: [f32; 256] = values();

const fn values() -> [f32; 256] {
    let mut table = [0.0; 256];
    let mut code = 0;
    while code < 256 {
        let exponent = (code >> 3) & 15;
        let mantissa = (code & 7) as f32;
        let magnitude = if code & 0x7F == 0x7F {
            f32::NAN
        } else if exponent == 0 {
            mantissa / 512.0
        } else {
            (1.0 + mantissa / 8.0) * f32::from_bits(((exponent + 127 - 7) as u32) << 23)
        };
        table[code] = if code & 0x80 == 0 { magnitude } else { -magnitude };
        code += 1;
    }
    table
}

/// Rounds to the nearest E4M3 value, ties to even, saturating at ±448. NaN stays NaN.
#[inline(always)]
pub fn round(x: f32) -> f32 {
    let clamped = if x.is_nan() { x } else { x.clamp(-MAX, MAX) };
    // Normal range: keep three mantissa bits of the binary32. Below 2^-6 the grid is 2^-9 wide throughout; adding and
    // taking away 1.5·2^14 rounds to that grid, because an ulp of binary32 at 2^14 is exactly 2^-9.
    let bits = clamped.to_bits();
    let normal = f32::from_bits(bits.wrapping_add(0x7_FFFF + ((bits >> 20) & 1)) & 0xFFF0_0000);
    let grid = 1.5 * 16384.0;
    let subnormal = (clamped + grid) - grid;
    if clamped.abs() >= 0.015_625 || clamped.is_nan() {
        if clamped.is_nan() { clamped } else { normal }
    } else {
        subnormal.copysign(clamped)
    }
}

/// The code of the nearest E4M3 value (see [`round`]); NaN becomes 0x7F.
#[inline(always)]
pub fn encode(x: f32) -> u8 {
    let value = round(x);
    let bits = value.to_bits();
    let sign = ((bits >> 24) & 0x80) as u8;
    if value.is_nan() {
        0x7F
    } else if value.abs() >= 0.015_625 {
        sign | (((bits & 0x7FFF_FFFF) >> 20) - (120 << 3)) as u8
    } else {
        sign | (value.abs() * 512.0) as u8
    }
}

/// The UE8M0 scale of a block whose largest magnitude is `amax`: the smallest power of two `s` with `amax / s ≤ 448`
/// as the reference computes it (spec §9.2).
#[inline(always)]
pub fn block_scale(amax: f32) -> u8 {
    ue8m0::ceil(amax.max(AMAX_MIN) * (1.0 / MAX))
}

/// Quantises a block to E4M3 under one UE8M0 scale and widens it back in place. Exact in BF16.
#[inline(always)]
pub fn round_trip(block: &mut [f32]) {
    let scale = block_scale(lanes::max_magnitude(block));
    let (up, down) = (ue8m0::value(scale), ue8m0::reciprocal(scale));
    for x in block {
        *x = round(*x * down) * up;
    }
}

/// The first code that is NaN.
pub fn first_nan(codes: &[u8]) -> Option<usize> {
    // Runs without an early exit are compared a register at a time.
    let is_nan = |code: &u8| code & 0x7F == 0x7F;
    let run = codes
        .chunks(4096)
        .position(|run| run.iter().filter(|code| is_nan(code)).count() > 0)?;
    codes[run * 4096..]
        .iter()
        .position(is_nan)
        .map(|at| run * 4096 + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_nan_is_found() {
        let mut codes = vec![0x7E; 10_000];
        assert_eq!(first_nan(&codes), None);
        codes[9_000] = 0xFF;
        codes[9_999] = 0x7F;
        assert_eq!(first_nan(&codes), Some(9_000));
    }

    #[test]
    fn every_code_survives_encoding() {
        for code in 0..=255u8 {
            let value = VALUES[code as usize];
            if value.is_nan() {
                assert_eq!(encode(value), 0x7F);
            } else {
                assert_eq!(encode(value), code, "{value}");
                assert_eq!(round(value).to_bits(), value.to_bits());
            }
        }
    }

    #[test]
    fn rounds_to_the_nearest_code_with_ties_to_even() {
        let magnitudes = &VALUES[..127];
        for (i, pair) in magnitudes.windows(2).enumerate() {
            let (low, high) = (pair[0], pair[1]);
            let middle = f32::midpoint(low, high);
            let even = if i % 2 == 0 { low } else { high };
            assert_eq!(round(middle), even);
            assert_eq!(round(middle.next_down()), low);
            assert_eq!(round(middle.next_up()), high);
            assert_eq!(round(-middle), -even);
        }
        assert_eq!(round(1e9), MAX);
        assert_eq!(round(f32::NEG_INFINITY), -MAX);
        assert!(round(f32::NAN).is_nan());
    }

    /// The examples of spec §9.2.
    #[test]
    fn block_scales_of_the_specification() {
        for (amax, exponent) in [(1.0, -8), (3.0, -7), (1e-4, -22), (448.0, 0), (0.0, -22)] {
            assert_eq!(block_scale(amax) as i32 - 127, exponent, "amax {amax}");
        }
    }
}
