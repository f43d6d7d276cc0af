//! The AVX2 kernels: a lane is a key.

#[allow(clippy::wildcard_imports, reason = "a kernel uses dozens of intrinsics")]
use std::arch::x86_64::*;

use super::codes::{MAX_EXPONENT, MIN_EXPONENT};
use super::keys::{KEYS, KeyBlock, PART, PackedKeys, TABLE};
use super::queries::{ROWS, Tile};

/// Keys of a register.
const LANES: usize = 8;

/// Registers of a register tile.
const PARTS: usize = 2;

/// See [`KeyBlock::load`].
#[target_feature(enable = "avx2,fma")]
pub(super) fn load(block: &mut KeyBlock, rows: &PackedKeys<'_>) {
    let byte = _mm256_set1_epi32(0xFF);
    let nibbles = _mm256_set1_epi8(15);
    // SAFETY: the table has sixteen bytes.
    let table = _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(TABLE.as_ptr().cast()) });
    let scale_order = _mm256_add_epi32(
        _mm256_set1_epi32(i32::from_le_bytes(rows.scale_order())),
        _mm256_broadcastsi128_si256(_mm_set_epi32(0x0C0C_0C0C, 0x0808_0808, 0x0404_0404, 0)),
    );
    block.irregular = 0;
    for first in (0..KEYS).step_by(LANES) {
        if first % PART == 0 {
            rows.prefetch_next(first / PART);
        }
        let ends = rows.from(first).wrapping_add(rows.stride() - 4);
        let exponents: [u32; LANES] = std::array::from_fn(|lane| {
            // SAFETY: the last four bytes of one of the rows.
            unsafe { ends.add(lane * rows.stride()).cast::<u32>().read_unaligned() }
        });
        // SAFETY: the array has eight words.
        let exponents = unsafe { _mm256_loadu_si256(exponents.as_ptr().cast()) };
        let exponents = _mm256_shuffle_epi8(exponents, scale_order);
        let turned = _mm256_or_si256(
            _mm256_slli_epi32::<8>(exponents),
            _mm256_srli_epi32::<24>(exponents),
        );
        let lowest = _mm256_min_epu8(exponents, turned);
        let turned = _mm256_or_si256(_mm256_slli_epi32::<16>(lowest), _mm256_srli_epi32::<16>(lowest));
        let lowest = _mm256_min_epu8(lowest, turned);
        let mut shifts = _mm256_sub_epi8(exponents, lowest);
        let lowest = _mm256_and_si256(lowest, byte);
        let close = _mm256_cmpeq_epi32(
            _mm256_and_si256(shifts, _mm256_set1_epi8(!3)),
            _mm256_setzero_si256(),
        );
        let too_small = _mm256_cmpgt_epi32(_mm256_set1_epi32(MIN_EXPONENT as i32), lowest);
        let too_large = _mm256_cmpgt_epi32(lowest, _mm256_set1_epi32(MAX_EXPONENT as i32));
        let regular = _mm256_andnot_si256(_mm256_or_si256(too_small, too_large), close);
        let regular = _mm256_movemask_ps(_mm256_castsi256_ps(regular));
        block.irregular |= u64::from(!regular as u8) << first;
        let scales = _mm256_slli_epi32::<23>(_mm256_sub_epi32(lowest, _mm256_set1_epi32(1)));
        // SAFETY: the eight lanes from `first` on are inside the block's scales.
        unsafe { _mm256_storeu_ps(block.scales.as_mut_ptr().add(first), _mm256_castsi256_ps(scales)) };

        for group in 0..rows.groups() {
            let shift = _mm256_and_si256(shifts, byte);
            shifts = _mm256_srli_epi32::<8>(shifts);
            // The table's 16, shifted along, becomes the offset of 128.
            let offset = _mm256_sub_epi32(
                _mm256_set1_epi8(-128),
                _mm256_sllv_epi32(_mm256_set1_epi8(16), shift),
            );
            for (i, word) in transposed(rows, first, group).into_iter().enumerate() {
                let even = _mm256_and_si256(word, nibbles);
                let odd = _mm256_and_si256(_mm256_srli_epi32::<4>(word), nibbles);
                for (j, nibbles) in [even, odd].into_iter().enumerate() {
                    let integers = _mm256_sllv_epi32(_mm256_shuffle_epi8(table, nibbles), shift);
                    let out = &mut block.codes[8 * group + 2 * i + j][first..first + LANES];
                    // SAFETY: `out` has eight words.
                    unsafe {
                        _mm256_storeu_si256(out.as_mut_ptr().cast(), _mm256_add_epi8(integers, offset));
                    };
                }
            }
        }
    }
}

/// The four words of one group, each of eight keys.
#[target_feature(enable = "avx2,fma")]
#[inline]
fn transposed(rows: &PackedKeys<'_>, first: usize, group: usize) -> [__m256i; 4] {
    let codes = rows.from(first).wrapping_add(16 * group);
    // Register i has keys i and i + 4.
    let mut keys = [_mm256_setzero_si256(); 4];
    for (i, keys) in keys.iter_mut().enumerate() {
        // SAFETY: sixteen bytes of codes of one of the rows.
        let load = |key: usize| unsafe { _mm_loadu_si128(codes.add(key * rows.stride()).cast()) };
        *keys = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(load(i)), load(i + 4));
    }
    let low = [
        _mm256_unpacklo_epi32(keys[0], keys[1]),
        _mm256_unpacklo_epi32(keys[2], keys[3]),
    ];
    let high = [
        _mm256_unpackhi_epi32(keys[0], keys[1]),
        _mm256_unpackhi_epi32(keys[2], keys[3]),
    ];
    [
        _mm256_unpacklo_epi64(low[0], low[1]),
        _mm256_unpackhi_epi64(low[0], low[1]),
        _mm256_unpacklo_epi64(high[0], high[1]),
        _mm256_unpackhi_epi64(high[0], high[1]),
    ]
}

/// See [`super::queries::IntegerQuery::score`].
macro_rules! score {
    ($(#[$meta:meta])* $name:ident, $features:literal, $add_dots:expr) => {
        $(#[$meta])*
        #[target_feature(enable = $features)]
        pub(super) fn $name(tiles: &[Tile], keys: &KeyBlock, words: usize, scores: &mut [f32; KEYS]) {
            let zero = _mm256_setzero_ps();
            for first in (0..KEYS).step_by(PARTS * LANES) {
                let mut sums = [zero; PARTS];
                let mut carried = [zero; PARTS];
                for tile in tiles {
                    let mut dots = [[_mm256_setzero_si256(); PARTS]; ROWS];
                    for row in 0..ROWS {
                        dots[row] = [_mm256_set1_epi32(tile.initial[row]); PARTS];
                    }
                    for (codes, keys) in tile.codes.iter().zip(&keys.codes).take(words) {
                        let mut key = [_mm256_setzero_si256(); PARTS];
                        for part in 0..PARTS {
                            // SAFETY: `first` and the `PARTS` times eight lanes from it on are inside the word.
                            key[part] = unsafe { _mm256_loadu_si256(keys.as_ptr().add(first + part * LANES).cast()) };
                        }
                        for row in 0..ROWS {
                            let code = _mm256_set1_epi32(codes[row] as i32);
                            for part in 0..PARTS {
                                dots[row][part] = $add_dots(dots[row][part], key[part], code);
                            }
                        }
                    }
                    for row in 0..ROWS {
                        let (carry, weight) = (_mm256_set1_ps(tile.carry[row]), _mm256_set1_ps(tile.weights[row]));
                        for part in 0..PARTS {
                            let dot = _mm256_fmadd_ps(carried[part], carry, _mm256_cvtepi32_ps(dots[row][part]));
                            carried[part] = dot;
                            sums[part] = _mm256_fmadd_ps(weight, _mm256_max_ps(dot, zero), sums[part]);
                        }
                    }
                }
                for part in 0..PARTS {
                    let at = first + part * LANES;
                    // SAFETY: eight lanes from `at` on are inside the scales and the scores.
                    unsafe {
                        let scales = _mm256_loadu_ps(keys.scales.as_ptr().add(at));
                        _mm256_storeu_ps(scores.as_mut_ptr().add(at), _mm256_mul_ps(sums[part], scales));
                    }
                }
            }
        }
    };
}

score! {
    /// With AVX-VNNI.
    score_vnni, "avx2,fma,avxvnni", |sums, keys, codes| _mm256_dpbusd_avx_epi32(sums, keys, codes)
}

score! {
    /// Two products fit sixteen bits, so the saturating instruction never saturates.
    score, "avx2,fma", |sums, keys, codes| {
        let pairs = _mm256_maddubs_epi16(keys, codes);
        _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
    }
}
