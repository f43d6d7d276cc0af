//! Rows and queries as BF16 pairs in the layouts that [`super::tiles`] multiplies.
//!
//! - A *key row* has the pairs of neighbouring dimensions, `[row_pairs]`.
//! - The *query panel* is `[row_pairs, lanes]`: for each pair of dimensions, every head's.
//! - *Values* are `[tiles, pairs, 64]`: for 64 dimensions at a time, pairs of neighbouring rows.

use crate::bf16::dot::{self, operand, pair};
use crate::formats::{bf16, e4m3, ue8m0};
use crate::isa::{Isa, multiversion};
use crate::lanes::LANES;
use crate::quant::KV_BLOCK;
use crate::rows::kv_parts;
use crate::team::Disjoint;

/// Dimensions of a tile of values.
pub(super) const TILE: usize = 64;

/// Pairs of a key row: dimensions are filled up with zeros to a multiple of sixteen, which adds nothing to a product.
pub(super) fn row_pairs(width: usize) -> usize {
    width.next_multiple_of(LANES) / 2
}

/// A float32 row as a key row. `out` is [`row_pairs`] long.
pub(super) fn round_row(isa: Isa, row: &[f32], out: &mut [u32]) {
    #[cfg(target_arch = "x86_64")]
    if dot::in_hardware(isa) && row.len().is_multiple_of(2 * LANES) {
        // SAFETY: the line above found the features.
        unsafe { avx512::round_row(row, out) };
        return;
    }
    round_row_portable(isa, row, out);
}

multiversion! {
    /// The scalar twin of the vector kernel, compiled for each instruction set.
    fn round_row_portable = round_row_body(row: &[f32], out: &mut [u32])
}

#[inline(always)]
fn round_row_body(row: &[f32], out: &mut [u32]) {
    let whole = row.len() / 2;
    for (out, x) in out.iter_mut().zip(row.chunks_exact(2)) {
        *out = pair(operand(x[0]), operand(x[1]));
    }
    out[whole..].fill(0);
    if row.len() % 2 == 1 {
        out[whole] = pair(operand(row[row.len() - 1]), 0);
    }
}

/// A packed KV entry as a key row, exactly but for rotary values below the smallest operand. `out` is [`row_pairs`] long.
pub(super) fn unpack_row(isa: Isa, nope: usize, rope: usize, row: &[u8], out: &mut [u32]) {
    #[cfg(target_arch = "x86_64")]
    if dot::in_hardware(isa) && nope.is_multiple_of(KV_BLOCK) && rope.is_multiple_of(2 * LANES) {
        assert_eq!(out.len(), row_pairs(nope + rope));
        // SAFETY: the line above found AVX-512 F and BW; the assertion is what the kernel asks for.
        unsafe { avx512::unpack_row(nope, rope, row, out) };
        return;
    }
    unpack_row_portable(isa, nope, rope, row, out);
}

multiversion! {
    /// The scalar twin of the vector kernel, compiled for each instruction set.
    fn unpack_row_portable = unpack_row_body(nope: usize, rope: usize, row: &[u8], out: &mut [u32])
}

#[inline(always)]
fn unpack_row_body(nope: usize, rope: usize, row: &[u8], out: &mut [u32]) {
    let (codes, rotated, scales) = kv_parts(nope, rope, row);
    let blocks = codes.chunks(KV_BLOCK).zip(scales);
    for (block, (codes, &scale)) in blocks.enumerate() {
        let scale = ue8m0::value(scale);
        let out = &mut out[block * KV_BLOCK / 2..];
        for (out, codes) in out.iter_mut().zip(codes.chunks_exact(2)) {
            *out = decode_pair(u16::from_le_bytes([codes[0], codes[1]]), scale);
        }
        if let [code] = codes.chunks_exact(2).remainder() {
            out[codes.len() / 2] = decode_pair(u16::from(*code), scale);
        }
    }
    out[nope.div_ceil(2)..].fill(0);
    for (i, bytes) in rotated.chunks_exact(2).enumerate() {
        let value = operand(bf16::from_bits(u16::from_le_bytes([bytes[0], bytes[1]])));
        let at = nope + i;
        out[at / 2] |= (value as u32) << (16 * (at % 2));
    }
}

/// Two E4M3 codes as BF16, by arithmetic that compilers vectorise.
#[inline(always)]
fn decode_pair(codes: u16, scale: f32) -> u32 {
    /// Between the exponents' biases, 127 and 7.
    const BIAS: f32 = f32::from_bits((127 + 120) << 23);
    let codes = u32::from(codes);
    // Exponent and mantissa in binary32's places; small numbers are small there too, and the product makes them normal.
    let value = |magnitude: u32| match magnitude {
        0x7F => 0x7FC0_0000,
        _ => (f32::from_bits(magnitude << 20) * BIAS * scale).to_bits(),
    };
    let (low, high) = (value(codes & 0x7F), value(codes >> 8 & 0x7F));
    low >> 16 | high & 0xFFFF_0000 | (codes & 0x80) << 8 | (codes & 0x8000) << 16
}

/// Writes key rows, an even number of them, as values: pairs `first ..` of tiles that hold `pairs` each.
///
/// # Safety
/// Nobody else uses these pairs of `values` meanwhile.
pub(super) unsafe fn write_values(
    isa: Isa,
    keys: &[u32],
    row_pairs: usize,
    values: Disjoint<'_, u32>,
    (pairs, first): (usize, usize),
) {
    for (i, rows) in keys.chunks_exact(2 * row_pairs).enumerate() {
        let (even, odd) = rows.split_at(row_pairs);
        for (tile, (even, odd)) in even.chunks(TILE / 2).zip(odd.chunks(TILE / 2)).enumerate() {
            // SAFETY: the caller owns pair `first + i` of every tile.
            let out = unsafe { values.part((tile * pairs + first + i) * TILE, 2 * even.len()) };
            interleave(isa, even, odd, out);
        }
    }
}

multiversion! {
    /// From the pairs of two rows' dimensions, the pairs of rows for each dimension.
    fn interleave = interleave_body(even: &[u32], odd: &[u32], out: &mut [u32])
}

#[inline(always)]
fn interleave_body(even: &[u32], odd: &[u32], out: &mut [u32]) {
    for ((&even, &odd), out) in even.iter().zip(odd).zip(out.chunks_exact_mut(2)) {
        out[0] = even & 0xFFFF | odd << 16;
        out[1] = even >> 16 | odd & 0xFFFF_0000;
    }
}

/// One query's heads, `[heads, width]`, as a panel of `lanes` heads, a multiple of sixteen; those beyond the last are
/// zero.
pub(super) fn query_panel(isa: Isa, q: &[f32], width: usize, lanes: usize, panel: &mut [u32]) {
    assert!(q.len() <= lanes * width && lanes.is_multiple_of(LANES));
    assert_eq!(panel.len(), row_pairs(width) * lanes);
    #[cfg(target_arch = "x86_64")]
    if dot::in_hardware(isa) && width.is_multiple_of(2 * LANES) && q.len() == lanes * width {
        // SAFETY: the line above found the features and that head and panel consist of whole blocks.
        unsafe { avx512::query_panel(q, width, lanes, panel) };
        return;
    }
    query_panel_portable(isa, q, width, lanes, panel);
}

multiversion! {
    /// The scalar twin of the vector kernel, compiled for each instruction set.
    fn query_panel_portable = query_panel_body(q: &[f32], width: usize, lanes: usize, panel: &mut [u32])
}

#[inline(always)]
fn query_panel_body(q: &[f32], width: usize, lanes: usize, panel: &mut [u32]) {
    panel.fill(0);
    for (head, q) in q.chunks_exact(width).enumerate() {
        for (i, x) in q.chunks(2).enumerate() {
            let high = x.get(1).map_or(0, |&x| operand(x));
            panel[i * lanes + head] = pair(operand(x[0]), high);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::{
        __m256i, __m512bh, __m512i, _MM_HINT_T0, _mm_prefetch, _mm256_loadu_si256, _mm512_add_epi16,
        _mm512_and_si512, _mm512_andnot_si512, _mm512_cmpeq_epi16_mask, _mm512_cmpge_epu16_mask,
        _mm512_cmplt_epu16_mask, _mm512_cvtepu8_epi16, _mm512_cvtne2ps_pbh, _mm512_loadu_ps,
        _mm512_loadu_si512, _mm512_mask_add_epi16, _mm512_mask_mov_epi16, _mm512_mask_permutexvar_epi16,
        _mm512_maskz_mov_epi16, _mm512_or_si512, _mm512_set1_epi16, _mm512_shuffle_i32x4, _mm512_slli_epi16,
        _mm512_storeu_si512, _mm512_test_epi16_mask, _mm512_unpackhi_epi32, _mm512_unpackhi_epi64,
        _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
    };

    use super::{KV_BLOCK, LANES, bf16, dot, e4m3};

    /// Dimensions of a register of BF16 numbers.
    const DIMENSIONS: usize = 2 * LANES;

    /// Blocks of a head that are fetched before they are converted.
    const BLOCKS_AHEAD: usize = 4;

    /// Zero for BF16 numbers that are below the smallest operand.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn flush(x: __m512i) -> __m512i {
        let magnitude = _mm512_and_si512(x, _mm512_set1_epi16(0x7FFF));
        let smallest = _mm512_set1_epi16(bf16::to_bits(dot::SMALLEST).cast_signed());
        _mm512_maskz_mov_epi16(_mm512_cmpge_epu16_mask(magnitude, smallest), x)
    }

    /// Thirty-two operands; see [`dot::operand`].
    ///
    /// # Safety
    /// `x` is followed by 31 more.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    unsafe fn operands(x: *const f32) -> __m512i {
        // SAFETY: the caller's promise; and two names for the same 64 bytes.
        unsafe {
            let (low, high) = (_mm512_loadu_ps(x), _mm512_loadu_ps(x.add(LANES)));
            flush(std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(
                high, low,
            )))
        }
    }

    /// See [`super::round_row`]; the row is a whole number of registers wide.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    pub(super) fn round_row(row: &[f32], out: &mut [u32]) {
        for (x, out) in row.chunks_exact(DIMENSIONS).zip(out.chunks_exact_mut(LANES)) {
            // SAFETY: both slices are as long as is read and written.
            unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), operands(x.as_ptr())) };
        }
    }

    /// See [`super::query_panel`]; heads fill the lanes and are whole registers wide.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    pub(super) fn query_panel(q: &[f32], width: usize, lanes: usize, panel: &mut [u32]) {
        for (lane, heads) in q.chunks_exact(LANES * width).enumerate() {
            for (block, panel) in panel.chunks_exact_mut(LANES * lanes).enumerate() {
                let rows = std::array::from_fn(|head| {
                    let x = &heads[head * width + block * DIMENSIONS..][..DIMENSIONS];
                    // Sixteen short runs far apart are more than the hardware foresees.
                    let ahead = x.as_ptr().wrapping_add(BLOCKS_AHEAD * DIMENSIONS);
                    _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
                    _mm_prefetch::<_MM_HINT_T0>(ahead.wrapping_add(LANES).cast());
                    // SAFETY: the slice is as long as is read.
                    unsafe { operands(x.as_ptr()) }
                });
                for (i, pairs) in transposed(&rows).into_iter().enumerate() {
                    let out = &mut panel[i * lanes + lane * LANES..][..LANES];
                    // SAFETY: the slice is as long as is written.
                    unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), pairs) };
                }
            }
        }
    }

    /// A matrix of 16 × 16 dwords with rows and columns exchanged.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn transposed(rows: &[__m512i; 16]) -> [__m512i; 16] {
        // Quarters of registers are transposed as 4 × 4 matrices; then quarters change places.
        let mut t = *rows;
        for group in 0..4 {
            let r: [__m512i; 4] = std::array::from_fn(|i| rows[4 * group + i]);
            let (a, b) = (
                _mm512_unpacklo_epi32(r[0], r[1]),
                _mm512_unpacklo_epi32(r[2], r[3]),
            );
            let (c, d) = (
                _mm512_unpackhi_epi32(r[0], r[1]),
                _mm512_unpackhi_epi32(r[2], r[3]),
            );
            t[4 * group] = _mm512_unpacklo_epi64(a, b);
            t[4 * group + 1] = _mm512_unpackhi_epi64(a, b);
            t[4 * group + 2] = _mm512_unpacklo_epi64(c, d);
            t[4 * group + 3] = _mm512_unpackhi_epi64(c, d);
        }
        // Quarter q of t[4g + i] holds column 4q + i of rows 4g .. 4g + 4.
        let mut out = t;
        for i in 0..4 {
            let low = _mm512_shuffle_i32x4::<0x88>(t[i], t[4 + i]);
            let high = _mm512_shuffle_i32x4::<0x88>(t[8 + i], t[12 + i]);
            let low_odd = _mm512_shuffle_i32x4::<0xDD>(t[i], t[4 + i]);
            let high_odd = _mm512_shuffle_i32x4::<0xDD>(t[8 + i], t[12 + i]);
            out[i] = _mm512_shuffle_i32x4::<0x88>(low, high);
            out[8 + i] = _mm512_shuffle_i32x4::<0xDD>(low, high);
            out[4 + i] = _mm512_shuffle_i32x4::<0x88>(low_odd, high_odd);
            out[12 + i] = _mm512_shuffle_i32x4::<0xDD>(low_odd, high_odd);
        }
        out
    }

    /// See [`super::unpack_row`].
    ///
    /// # Safety
    /// `nope` is a multiple of a block's length, `rope` of 32, and `out` has room for both.
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) unsafe fn unpack_row(nope: usize, rope: usize, row: &[u8], out: &mut [u32]) {
        let (codes, rotated, scales) = super::kv_parts(nope, rope, row);
        let out = out.as_mut_ptr();
        for (block, (codes, &scale)) in codes.chunks_exact(KV_BLOCK).zip(scales).enumerate() {
            let scale = Scale::new(scale);
            for (half, codes) in codes.chunks_exact(DIMENSIONS).enumerate() {
                // SAFETY: `codes` has 32 bytes; these 32 dimensions are among `nope`.
                unsafe {
                    let codes = _mm256_loadu_si256(codes.as_ptr().cast());
                    let at = block * KV_BLOCK / 2 + half * LANES;
                    _mm512_storeu_si512(out.add(at).cast(), scale.decode(codes));
                }
            }
        }
        for (i, bytes) in rotated.chunks_exact(2 * DIMENSIONS).enumerate() {
            // SAFETY: `bytes` has 64 bytes; these 32 dimensions are among `rope`.
            unsafe {
                let values = _mm512_loadu_si512(bytes.as_ptr().cast());
                _mm512_storeu_si512(out.add(nope / 2 + i * LANES).cast(), flush(values));
            }
        }
    }

    /// What turns the E4M3 codes of a block into BF16.
    struct Scale {
        /// Added to a normal number's code, shifted to BF16's place: the scale and the difference of the biases.
        bias: __m512i,
        /// The eight numbers below the normal range, times the scale.
        small: __m512i,
    }

    impl Scale {
        #[inline]
        #[target_feature(enable = "avx512f,avx512bw")]
        fn new(scale: u8) -> Self {
            const SMALL: [u16; 32] = {
                let mut small = [0; 32];
                let mut code = 0;
                while code < 8 {
                    small[code] = (e4m3::VALUES[code].to_bits() >> 16) as u16;
                    code += 1;
                }
                small
            };
            let exponent = (i16::from(scale) - 127) << 7;
            // SAFETY: 64 bytes are read from an array of 64.
            let small = unsafe { _mm512_loadu_si512(SMALL.as_ptr().cast()) };
            Self {
                bias: _mm512_set1_epi16(exponent + ((127 - 7) << 7)),
                // Not zero, which has no exponent to add to.
                small: _mm512_mask_add_epi16(
                    small,
                    _mm512_test_epi16_mask(small, small),
                    small,
                    _mm512_set1_epi16(exponent),
                ),
            }
        }

        #[inline]
        #[target_feature(enable = "avx512f,avx512bw")]
        fn decode(&self, codes: __m256i) -> __m512i {
            let codes = _mm512_cvtepu8_epi16(codes);
            let magnitude = _mm512_and_si512(codes, _mm512_set1_epi16(0x7F));
            let normal = _mm512_add_epi16(_mm512_slli_epi16::<4>(magnitude), self.bias);
            let is_small = _mm512_cmplt_epu16_mask(magnitude, _mm512_set1_epi16(8));
            let value = _mm512_mask_permutexvar_epi16(normal, is_small, magnitude, self.small);
            let is_nan = _mm512_cmpeq_epi16_mask(magnitude, _mm512_set1_epi16(0x7F));
            let value = _mm512_mask_mov_epi16(value, is_nan, _mm512_set1_epi16(0x7FC0));
            let sign = _mm512_slli_epi16::<8>(_mm512_andnot_si512(magnitude, codes));
            _mm512_or_si512(value, sign)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa;
    use crate::rows::RowFormat;

    fn halves(pairs: &[u32]) -> impl Iterator<Item = f32> {
        pairs
            .iter()
            .flat_map(|&pair| [pair << 16, pair & 0xFFFF_0000])
            .map(f32::from_bits)
    }

    /// Every code under many scales, and rotary values of all exponents.
    #[test]
    fn packed_rows_unpack_exactly() {
        for (nope, rope) in [(448, 64), (64, 32), (96, 32), (48, 16), (7, 2), (10, 3)] {
            let format = RowFormat::Kv { nope, rope };
            for scale in [105u8, 120, 127, 130, 246] {
                for start in 0..=256 / nope.min(256) {
                    let mut row = vec![0u8; format.bytes()];
                    for (i, code) in row[..nope].iter_mut().enumerate() {
                        *code = (start * nope + i) as u8;
                    }
                    for (i, bytes) in row[nope..nope + 2 * rope].chunks_mut(2).enumerate() {
                        let exponent = (i * 9 + start * 41) as u16 % 255;
                        bytes.copy_from_slice(&(exponent << 7 | (i as u16) << 15 | 5).to_le_bytes());
                    }
                    row[nope + 2 * rope..].fill(scale);
                    let mut expected = vec![0.0; nope + rope];
                    format.unpack(isa::Isa::Scalar, &row, &mut expected);
                    for isa in isa::available() {
                        let mut pairs = vec![9; row_pairs(nope + rope)];
                        unpack_row(isa, nope, rope, &row, &mut pairs);
                        for (i, found) in halves(&pairs).enumerate() {
                            let mut expected = expected.get(i).copied().unwrap_or(0.0);
                            if i >= nope && expected.abs() < dot::SMALLEST {
                                expected = 0.0;
                            }
                            assert_eq!(found.is_nan(), expected.is_nan());
                            assert!(
                                found.is_nan() || found.to_bits() == expected.to_bits(),
                                "{i}: {found} {expected}"
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn panels_hold_every_number_in_its_place() {
        for (heads, width) in [(64, 512), (16, 32), (5, 40), (3, 7), (33, 96)] {
            let q: Vec<f32> = (0..heads * width)
                .map(|i| ((i * 37) % 1009) as f32 - 500.0)
                .collect();
            let lanes = usize::next_multiple_of(heads, LANES);
            for isa in isa::available() {
                let mut panel = vec![9; row_pairs(width) * lanes];
                query_panel(isa, &q, width, lanes, &mut panel);
                let mut keys = vec![9; 2 * row_pairs(width)];
                for lane in 0..lanes {
                    let head = (lane < heads).then(|| &q[lane * width..][..width]);
                    let at = |d: usize| head.map_or(0.0, |q| q.get(d).copied().unwrap_or(0.0));
                    round_row(
                        isa,
                        head.unwrap_or(&vec![0.0; width]),
                        &mut keys[..row_pairs(width)],
                    );
                    for i in 0..row_pairs(width) {
                        let expected = pair(operand(at(2 * i)), operand(at(2 * i + 1)));
                        assert_eq!((panel[i * lanes + lane], keys[i]), (expected, expected));
                    }
                }
            }
        }
    }

    #[test]
    fn values_hold_pairs_of_rows() {
        for width in [512, 96, 40, 7] {
            let pairs = row_pairs(width);
            let keys: Vec<u32> = (0..4 * pairs as u32)
                .map(|i| i.wrapping_mul(0x9E37_79B9))
                .collect();
            for isa in isa::available() {
                let tiles = (2 * pairs).div_ceil(TILE);
                let mut values = vec![0; tiles * 3 * TILE];
                // SAFETY: nobody else has the memory.
                unsafe { write_values(isa, &keys, pairs, Disjoint::new(&mut values), (3, 1)) };
                let half = |row: usize, d: usize| keys[row * pairs + d / 2] >> (16 * (d % 2)) & 0xFFFF;
                for (i, d) in (0..2).flat_map(|i| (0..width).map(move |d| (i, d))) {
                    let at = (d / TILE * 3 + 1 + i) * TILE + d % TILE;
                    assert_eq!(values[at], half(2 * i, d) | half(2 * i + 1, d) << 16);
                }
            }
        }
    }
}
