//! UE8M0: an unsigned power of two; byte b is 2^(b−127) and 0xFF is NaN (spec §9.1).

/// The value of a scale byte. Byte 0 is 2^−127, a subnormal of binary32.
#[inline(always)]
pub fn value(byte: u8) -> f32 {
    match byte {
        0 => f32::from_bits(0x0040_0000),
        255 => f32::NAN,
        _ => f32::from_bits((byte as u32) << 23),
    }
}

/// The reciprocal of a scale byte that [`ceil`] can produce (1 ..= 254); exact.
#[inline(always)]
pub fn reciprocal(byte: u8) -> f32 {
    if byte == 254 {
        f32::from_bits(0x0040_0000)
    } else {
        f32::from_bits((254 - byte as u32) << 23)
    }
}

/// The smallest power of two that is not below `x`, from the bit pattern: exponent + (mantissa ≠ 0) (spec §9.2).
/// `x` is positive and normal; the result saturates at 2^127. NaN gives 255.
#[inline(always)]
pub fn ceil(x: f32) -> u8 {
    let bits = x.to_bits();
    let exponent = (bits >> 23) + ((bits & 0x7F_FFFF) != 0) as u32;
    if x.is_nan() {
        255
    } else {
        exponent.clamp(1, 254) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_of_two_are_their_own_ceiling() {
        for byte in 1..=254u8 {
            let x = value(byte);
            assert_eq!(ceil(x), byte);
            assert_eq!(reciprocal(byte) * x, 1.0);
            if byte < 254 {
                assert_eq!(ceil(x.next_up()), byte + 1);
            }
        }
        assert!(value(255).is_nan());
        assert_eq!(value(119), 2f32.powi(-8));
    }
}
