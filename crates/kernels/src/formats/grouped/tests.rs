use super::*;
use proptest::prelude::*;

/// Quantises one row and decodes it again.
fn round_trip(bits: Bits, weights: &[f32]) -> (Vec<u8>, Vec<u8>, f32, Vec<f32>) {
    let mut codes = vec![0; bits.row_bytes(weights.len())];
    let mut scales = vec![0; weights.len() / GROUP];
    let row_scale = encode_row(bits, weights, &mut codes, &mut scales);
    let mut decoded = vec![f32::NAN; weights.len()];
    decode_row(bits, &codes, &scales, row_scale, 0, &mut decoded);
    (codes, scales, row_scale, decoded)
}

/// Codes written and read one by one from the layout's definition, without blocks.
fn code_at(bits: Bits, codes: &[u8], cols: usize, column: usize) -> u8 {
    let (block, half, pair) = (column / BLOCK, column % 2, column % BLOCK / 2);
    if bits == Bits::Eight {
        return codes[block * 128 + half * 64 + pair];
    }
    let mut code = codes[column / 2] >> (4 * half) & 15;
    for plane in 0..bits.count() - 4 {
        let byte = codes[cols / 2 + plane * cols / 8 + block * 16 + half * 8 + pair / 8];
        code |= (byte >> (pair % 8) & 1) << (4 + plane);
    }
    code
}

#[test]
fn scales_are_their_definition() {
    for byte in 0..=255u8 {
        let expected = f32::powi(2.0, i32::from(byte >> 3) - 15) * (1.0 + f32::from(byte & 7) / 8.0);
        assert_eq!(scale_value(byte), expected, "{byte}");
        assert_eq!(scale_ceil(expected), byte);
        assert_eq!(scale_ceil(expected.next_down()), byte);
        assert_eq!(scale_ceil(expected.next_up()), byte.saturating_add(1));
    }
    assert_eq!(scale_ceil(0.0), 0);
    assert_eq!(scale_ceil(f32::MAX), 255);
}

/// The bytes of the format, written out by hand: nothing may change them.
#[test]
fn golden_bytes() {
    for (bits, max) in [
        (Bits::Four, 7.0),
        (Bits::Five, 15.0),
        (Bits::Six, 31.0),
        (Bits::Eight, 127.0),
    ] {
        let cols = 256;
        let mut weights = vec![0.0; cols];
        // Every group reaches the range's end, so that one is its scale.
        for group in weights.chunks_exact_mut(GROUP) {
            group[31] = -max;
        }
        (weights[0], weights[1], weights[2], weights[129]) = (max, 1.0, -1.0, 2.0);
        let (codes, scales, row_scale, decoded) = round_trip(bits, &weights);
        assert_eq!(decoded, weights, "{bits:?}");
        assert_eq!(row_scale, f32::powi(2.0, -15));
        assert_eq!(scales, [30 << 3; 8]);
        match bits {
            Bits::Eight => {
                // Even columns, odd columns.
                assert_eq!(codes[..3], [255, 127, 128]);
                assert_eq!((codes[64], codes[65], codes[64 + 15]), (129, 128, 1));
                assert_eq!(codes[128 + 64], 130);
            }
            Bits::Four => {
                assert_eq!((codes[0], codes[1], codes[15]), (0x9F, 0x87, 0x18));
                assert_eq!(codes[64], 0xA8);
            }
            // 16 + q: 31, 17, 15, …; bit 4 apart.
            Bits::Five => {
                assert_eq!((codes[0], codes[1], codes[15]), (0x1F, 0x0F, 0x10));
                assert_eq!(codes[64], 0x20);
                // Of the first block's even columns only column 2 is below zero; of the odd ones each 31st of 32.
                assert_eq!(codes[128..136], [0xFD, 255, 255, 255, 255, 255, 255, 255]);
                assert_eq!(codes[136..144], [255, 0x7F, 255, 0x7F, 255, 0x7F, 255, 0x7F]);
                assert_eq!(codes.len(), 160);
            }
            // 32 + q: 63, 33, 31, …, 1.
            Bits::Six => {
                assert_eq!((codes[0], codes[1], codes[15]), (0x1F, 0x0F, 0x10));
                assert_eq!(codes[128..136], [0b11, 0, 0, 0, 0, 0, 0, 0]);
                assert_eq!(codes[136..144], [0; 8]);
                assert_eq!(codes[160..168], [0xFD, 255, 255, 255, 255, 255, 255, 255]);
                assert_eq!(codes[168..176], [255, 0x7F, 255, 0x7F, 255, 0x7F, 255, 0x7F]);
                assert_eq!(codes.len(), 192);
            }
        }
    }
}

#[test]
fn widths_are_told_by_a_row_s_length() {
    for bits in Bits::ALL {
        assert_eq!(Bits::of_row(384, bits.row_bytes(384)), Some(bits));
    }
    assert_eq!(Bits::of_row(384, 384 * 7 / 8), None);
    assert_eq!(Bits::of_row(96, 48), None, "no multiple of 128");
    assert_eq!(Bits::of_row(0, 1), None);
}

#[test]
fn rows_of_zeros_and_of_extremes_are_written_without_harm() {
    for bits in Bits::ALL {
        assert_eq!(round_trip(bits, &[0.0; 128]).3, [0.0; 128]);
        for size in [f32::MIN_POSITIVE, 1e-30, 1e37] {
            let mut weights = [0.0; 256];
            (weights[5], weights[200]) = (size, -size);
            let (_, _, row_scale, decoded) = round_trip(bits, &weights);
            assert!(row_scale.is_normal() && row_scale > 0.0);
            for (found, expected) in decoded.iter().zip(&weights) {
                assert!(
                    (found - expected).abs() <= size * 0.15,
                    "{bits:?} {found:e} {expected:e}"
                );
            }
        }
    }
}

/// On normally distributed weights the search beats float scales that put the range's end at the largest weight, or
/// nearly does where the steps of a scale's mantissa matter more than where the range ends.
#[test]
fn the_error_on_noise_is_small() {
    let mut seed = 5u64;
    let mut uniform = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 40) as f32 / (1 << 24) as f32
    };
    let weights: Vec<f32> = (0..65_536)
        .map(|_| (0..12).map(|_| uniform()).sum::<f32>() - 6.0)
        .collect();
    let error = |decoded: &[f32]| -> f64 {
        let square = |(a, b): (&f32, &f32)| f64::from(a - b).powi(2);
        decoded.iter().zip(&weights).map(square).sum::<f64>().sqrt()
    };
    for (bits, limit) in Bits::ALL.into_iter().zip([0.96, 1.0, 1.05, 1.1]) {
        let plain: Vec<f32> = weights
            .chunks(GROUP)
            .flat_map(|group| {
                let scale = amax(group) / bits.max() as f32;
                group.iter().map(move |x| (x / scale).round() * scale)
            })
            .collect();
        let ratio = error(&round_trip(bits, &weights).3) / error(&plain);
        assert!(ratio < limit, "{bits:?}: {ratio}");
    }
}

#[test]
#[should_panic(expected = "no multiple of 128")]
fn a_short_row_is_refused() {
    encode_row(Bits::Four, &[0.0; 64], &mut [0; 32], &mut [0; 2]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_written_is_read_and_is_near(seed: [f32; 8], blocks in 1usize..5, spread in 0i32..12) {
        for bits in Bits::ALL {
            let cols = blocks * BLOCK;
            // Noise whose size changes from group to group.
            let weights: Vec<f32> = (0..cols)
                .map(|i| {
                    let noise = (f32::from_bits(seed[i % 8].to_bits().rotate_left(i as u32) & 0x7F_FFFF | 127 << 23) - 1.5) * 2.0;
                    noise * f32::powi(2.0, (i / GROUP) as i32 * 7 % (spread + 1))
                })
                .collect();
            let (codes, scales, row_scale, decoded) = round_trip(bits, &weights);
            prop_assert_eq!(row_scale.to_bits() & 0x7F_FFFF, 0, "a power of two");
            for (i, (&found, &weight)) in decoded.iter().zip(&weights).enumerate() {
                let scale = scale_value(scales[i / GROUP]) * row_scale;
                let code = code_at(bits, &codes, cols, i);
                prop_assert!(code > 0, "the range is symmetric");
                prop_assert_eq!(found, (f32::from(code) - f32::from(bits.bias())) * scale);
                let clipped = weight.clamp(-scale * bits.max() as f32, scale * bits.max() as f32);
                prop_assert!((found - clipped).abs() <= scale * 0.5001);
            }
            // A part of a row decodes to the same.
            let mut part = vec![0.0; BLOCK];
            decode_row(bits, &codes, &scales, row_scale, cols - BLOCK, &mut part);
            prop_assert_eq!(&part, &decoded[cols - BLOCK..]);
        }
    }
}
