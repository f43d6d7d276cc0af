//! The AVX-512 kernels: a lane is a key.

#[allow(clippy::wildcard_imports, reason = "a kernel uses dozens of intrinsics")]
use std::arch::x86_64::*;

use super::codes::{MAX_EXPONENT, MIN_EXPONENT};
use super::keys::{KEYS, KeyBlock, PackedKeys, TABLE};
use super::queries::{ROWS, Tile};

/// Keys of a register.
const LANES: usize = 16;

/// Registers of a block.
const PARTS: usize = KEYS / LANES;

/// See [`KeyBlock::load`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn load(block: &mut KeyBlock, rows: &PackedKeys<'_>) {
    let byte = _mm512_set1_epi32(0xFF);
    let nibbles = _mm512_set1_epi8(15);
    // SAFETY: the table has sixteen bytes.
    let table = _mm512_broadcast_i32x4(unsafe { _mm_loadu_si128(TABLE.as_ptr().cast()) });
    let scale_order = _mm512_add_epi32(
        _mm512_set1_epi32(i32::from_le_bytes(rows.scale_order())),
        _mm512_broadcast_i32x4(_mm_set_epi32(0x0C0C_0C0C, 0x0808_0808, 0x0404_0404, 0)),
    );
    block.irregular = 0;
    for part in 0..PARTS {
        rows.prefetch_next(part);
        let first = part * LANES;
        let ends = rows.from(first).wrapping_add(rows.stride() - 4);
        let exponents: [u32; LANES] = std::array::from_fn(|lane| {
            // SAFETY: the last four bytes of one of the rows.
            unsafe { ends.add(lane * rows.stride()).cast::<u32>().read_unaligned() }
        });
        // SAFETY: the array has sixteen words.
        let exponents = unsafe { _mm512_loadu_si512(exponents.as_ptr().cast()) };
        let exponents = _mm512_shuffle_epi8(exponents, scale_order);
        let lowest = _mm512_min_epu8(exponents, _mm512_rol_epi32::<8>(exponents));
        let lowest = _mm512_min_epu8(lowest, _mm512_rol_epi32::<16>(lowest));
        let mut shifts = _mm512_sub_epi8(exponents, lowest);
        let lowest = _mm512_and_si512(lowest, byte);
        let apart = _mm512_test_epi32_mask(shifts, _mm512_set1_epi8(!3));
        let above_least = _mm512_sub_epi32(lowest, _mm512_set1_epi32(MIN_EXPONENT as i32));
        let span = _mm512_set1_epi32((MAX_EXPONENT - MIN_EXPONENT) as i32);
        let out_of_bounds = _mm512_cmpgt_epu32_mask(above_least, span);
        block.irregular |= u64::from(apart | out_of_bounds) << first;
        let scales = _mm512_slli_epi32::<23>(_mm512_sub_epi32(lowest, _mm512_set1_epi32(1)));
        // SAFETY: the sixteen lanes from `first` on are inside the block's scales.
        unsafe { _mm512_storeu_ps(block.scales.as_mut_ptr().add(first), _mm512_castsi512_ps(scales)) };

        for group in 0..rows.groups() {
            let shift = _mm512_and_si512(shifts, byte);
            shifts = _mm512_srli_epi32::<8>(shifts);
            // The table's 16, shifted along, becomes the offset of 128.
            let offset = _mm512_sub_epi32(
                _mm512_set1_epi8(-128),
                _mm512_sllv_epi32(_mm512_set1_epi8(16), shift),
            );
            for (i, word) in transposed(rows, first, group).into_iter().enumerate() {
                let even = _mm512_and_si512(word, nibbles);
                let odd = _mm512_and_si512(_mm512_srli_epi32::<4>(word), nibbles);
                for (j, nibbles) in [even, odd].into_iter().enumerate() {
                    let integers = _mm512_sllv_epi32(_mm512_shuffle_epi8(table, nibbles), shift);
                    let out = &mut block.codes[8 * group + 2 * i + j][first..first + LANES];
                    // SAFETY: `out` has sixteen words.
                    unsafe {
                        _mm512_storeu_si512(out.as_mut_ptr().cast(), _mm512_add_epi8(integers, offset));
                    };
                }
            }
        }
    }
}

/// The four words of one group, each of sixteen keys.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
#[inline]
fn transposed(rows: &PackedKeys<'_>, first: usize, group: usize) -> [__m512i; 4] {
    let codes = rows.from(first).wrapping_add(16 * group);
    // Register i has keys i, i + 4, i + 8 and i + 12.
    let mut keys = [_mm512_setzero_si512(); 4];
    for (i, keys) in keys.iter_mut().enumerate() {
        // SAFETY: sixteen bytes of codes of one of the rows.
        let load = |key: usize| unsafe { _mm_loadu_si128(codes.add(key * rows.stride()).cast()) };
        let four = _mm512_castsi128_si512(load(i));
        let four = _mm512_inserti32x4::<1>(four, load(i + 4));
        let four = _mm512_inserti32x4::<2>(four, load(i + 8));
        *keys = _mm512_inserti32x4::<3>(four, load(i + 12));
    }
    let low = [
        _mm512_unpacklo_epi32(keys[0], keys[1]),
        _mm512_unpacklo_epi32(keys[2], keys[3]),
    ];
    let high = [
        _mm512_unpackhi_epi32(keys[0], keys[1]),
        _mm512_unpackhi_epi32(keys[2], keys[3]),
    ];
    [
        _mm512_unpacklo_epi64(low[0], low[1]),
        _mm512_unpackhi_epi64(low[0], low[1]),
        _mm512_unpacklo_epi64(high[0], high[1]),
        _mm512_unpackhi_epi64(high[0], high[1]),
    ]
}

/// See [`super::queries::IntegerQuery::score`]; without `SPLIT` no row carries.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn score<const SPLIT: bool>(
    tiles: &[Tile],
    keys: &KeyBlock,
    words: usize,
    scores: &mut [f32; KEYS],
) {
    let zero = _mm512_setzero_ps();
    let mut sums = [zero; PARTS];
    let mut carried = [zero; PARTS];
    for tile in tiles {
        let mut dots = [[_mm512_setzero_si512(); PARTS]; ROWS];
        for row in 0..ROWS {
            dots[row] = [_mm512_set1_epi32(tile.initial[row]); PARTS];
        }
        for (codes, keys) in tile.codes.iter().zip(&keys.codes).take(words) {
            let mut key = [_mm512_setzero_si512(); PARTS];
            for part in 0..PARTS {
                // SAFETY: a word of a block has `PARTS` times sixteen lanes.
                key[part] = unsafe { _mm512_loadu_si512(keys.as_ptr().add(part * LANES).cast()) };
            }
            for row in 0..ROWS {
                let code = _mm512_set1_epi32(codes[row] as i32);
                for part in 0..PARTS {
                    dots[row][part] = _mm512_dpbusd_epi32(dots[row][part], key[part], code);
                }
            }
        }
        for row in 0..ROWS {
            let weight = _mm512_set1_ps(tile.weights[row]);
            for part in 0..PARTS {
                let mut dot = _mm512_cvtepi32_ps(dots[row][part]);
                if SPLIT {
                    dot = _mm512_fmadd_ps(carried[part], _mm512_set1_ps(tile.carry[row]), dot);
                    carried[part] = dot;
                }
                sums[part] = _mm512_fmadd_ps(weight, _mm512_max_ps(dot, zero), sums[part]);
            }
        }
    }
    for part in 0..PARTS {
        let at = part * LANES;
        // SAFETY: sixteen lanes from `at` on are inside the scales and the scores.
        unsafe {
            let scales = _mm512_loadu_ps(keys.scales.as_ptr().add(at));
            _mm512_storeu_ps(scores.as_mut_ptr().add(at), _mm512_mul_ps(sums[part], scales));
        }
    }
}
