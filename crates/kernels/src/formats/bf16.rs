//! BF16: the upper half of an IEEE binary32.

/// Rounds to the nearest BF16, ties to even, and widens back. NaN stays NaN.
#[inline(always)]
pub fn round(x: f32) -> f32 {
    f32::from_bits((to_bits(x) as u32) << 16)
}

/// [`round`] on every element.
#[inline(always)]
pub fn round_all(x: &mut [f32]) {
    x.iter_mut().for_each(|x| *x = round(*x));
}

/// The nearest BF16, ties to even, as its 16 bits. NaN stays a (quiet) NaN.
#[inline(always)]
pub fn to_bits(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7FFF + ((bits >> 16) & 1));
    // A NaN whose payload sits in the low half would otherwise round to infinity.
    let quiet = bits | 0x0040_0000;
    ((if x.is_nan() { quiet } else { rounded }) >> 16) as u16
}

/// Widens 16 bits of BF16; exact.
#[inline(always)]
pub fn from_bits(bits: u16) -> f32 {
    f32::from_bits((bits as u32) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_half_crate_on_every_upper_half_and_on_ties() {
        for high in 0..=u16::MAX {
            for low in [0u32, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF] {
                let x = f32::from_bits(((high as u32) << 16) | low);
                let expected = half::bf16::from_f32(x);
                assert_eq!(round(x).is_nan(), expected.is_nan(), "{x:e}");
                if !x.is_nan() {
                    assert_eq!(to_bits(x), expected.to_bits(), "{x:e}");
                }
            }
        }
    }
}
