//! Few inputs: four rows of weights side by side are multiplied as they stream past.

#[allow(clippy::wildcard_imports, reason = "a kernel uses dozens of intrinsics")]
use std::arch::x86_64::*;

use super::integers::{
    E2M1, Kind, e4m3_integers, e4m3_tables, first_bits, group_integers, scale_values, split_order,
};
use super::{BLOCKS, strips};
use crate::formats::grouped::Bits;
use crate::int8::inputs::{OFFSET, STARTS, Tile};
use crate::int8::{BLOCK, GROUPS, Int8Product};
use crate::matrix::{Elements, FP8_BLOCK};

/// Rows streamed side by side.
const ROWS: usize = 4;

/// Adds four registers' lanes of 32-bit integers in fours: lane 4q + r of the result is the sum of the four lanes of
/// 128-bit part q of register r.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[inline]
fn add_fours(v: [__m512i; ROWS]) -> __m512i {
    let a = _mm512_add_epi32(
        _mm512_unpacklo_epi32(v[0], v[1]),
        _mm512_unpackhi_epi32(v[0], v[1]),
    );
    let b = _mm512_add_epi32(
        _mm512_unpacklo_epi32(v[2], v[3]),
        _mm512_unpackhi_epi32(v[2], v[3]),
    );
    _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b))
}

/// Adds the 128-bit parts of each register, first to last: part b of the result is the sum of register b's.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[inline]
fn add_parts(v: [__m512; BLOCKS]) -> __m512 {
    let a = _mm512_shuffle_f32x4::<0x44>(v[0], v[1]);
    let b = _mm512_shuffle_f32x4::<0xEE>(v[0], v[1]);
    let c = _mm512_shuffle_f32x4::<0x44>(v[2], v[3]);
    let d = _mm512_shuffle_f32x4::<0xEE>(v[2], v[3]);
    let first = _mm512_shuffle_f32x4::<0x88>(a, c);
    let second = _mm512_shuffle_f32x4::<0xDD>(a, c);
    let third = _mm512_shuffle_f32x4::<0x88>(b, d);
    let fourth = _mm512_shuffle_f32x4::<0xDD>(b, d);
    _mm512_add_ps(_mm512_add_ps(_mm512_add_ps(first, second), third), fourth)
}

/// Adds each 128-bit part of `sums` times its scale to `total`, first to last.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
#[inline]
fn add_scaled(total: __m128, sums: __m512, scales: &[f32]) -> __m128 {
    let scale = |b: usize| _mm_set1_ps(scales.get(b).copied().unwrap_or(0.0));
    let total = _mm_fmadd_ps(_mm512_castps512_ps128(sums), scale(0), total);
    let total = _mm_fmadd_ps(_mm512_extractf32x4_ps::<1>(sums), scale(1), total);
    let total = _mm_fmadd_ps(_mm512_extractf32x4_ps::<2>(sums), scale(2), total);
    _mm_fmadd_ps(_mm512_extractf32x4_ps::<3>(sums), scale(3), total)
}

/// Rows `from .. from + rows` of a product with few input rows, kept one after the other.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi,fma")]
pub(in crate::int8) fn stream(product: &Int8Product<'_>, from: usize, rows: usize) {
    if let Elements::Fp8 { codes, .. } = product.matrix.elements
        && product.x.rows() >= strips::INPUTS
    {
        return strips::fp8(product, codes, from, rows);
    }
    for first in (from..from + rows).step_by(ROWS) {
        let rows = (product.first_row + first, ROWS.min(from + rows - first));
        let mut tiles = product.x.tiles();
        loop {
            let pass = (tiles.next(), tiles.next(), tiles.next(), tiles.next());
            match pass {
                (Some(a), Some(b), Some(c), Some(d)) => stream_pass([a, b, c, d], product, rows),
                (Some(a), Some(b), Some(c), None) => stream_pass([a, b, c], product, rows),
                (Some(a), Some(b), None, None) => stream_pass([a, b], product, rows),
                (Some(a), None, None, None) => stream_pass([a], product, rows),
                _ => break,
            }
        }
    }
}

/// Bytes asked for beyond the four rows that follow those in use: far enough for memory, near enough for what is on its
/// way to fit the first-level cache.
const AHEAD: usize = 4096;

/// As [`AHEAD`], of scales.
const SCALES_AHEAD: usize = 1024;

/// Asks for `lines` cache lines while the four rows from `rows` on, of `row_bytes` bytes, are read side by side and byte
/// `at` of all that is reached. What is asked for lies that much further in memory, not in each row: one stream that
/// never breaks off, across rows, items and groups of rows, instead of four that do with every row.
#[inline(always)]
fn ask(rows: *const u8, row_bytes: usize, at: usize, ahead: usize, lines: usize) {
    let from = rows.wrapping_add(ROWS * row_bytes + at + ahead);
    for line in 0..lines {
        // SAFETY: a prefetch is a hint and reads nothing; every x86-64 has it.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add(64 * line).cast()) };
    }
}

/// Up to four rows times up to four inputs, which read the weights once.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi,fma")]
#[inline]
fn stream_pass<const T: usize>(xs: [Tile<'_>; T], product: &Int8Product<'_>, rows: (usize, usize)) {
    match product.matrix.elements {
        Elements::Fp8 { .. } => stream_fp8(xs, product, rows),
        Elements::Fp4 { codes, scales } => stream_groups::<T, E2M1>(xs, product, codes, scales, rows),
        Elements::Grouped {
            bits, codes, scales, ..
        } => match bits {
            Bits::Four => stream_groups::<T, 4>(xs, product, codes, scales, rows),
            Bits::Five => stream_groups::<T, 5>(xs, product, codes, scales, rows),
            Bits::Six => stream_groups::<T, 6>(xs, product, codes, scales, rows),
            Bits::Eight => stream_groups::<T, 8>(xs, product, codes, scales, rows),
        },
        Elements::F32(_) | Elements::Bf16(_) => {}
    }
}

/// Writes the outputs of four rows, `rows` of which exist.
#[target_feature(enable = "avx512f,avx512vl")]
#[inline]
fn store(product: &Int8Product<'_>, t: usize, row: usize, rows: usize, total: __m128) {
    let scale = |r: usize| product.matrix.row_scale(row + r.min(rows - 1));
    let scaled = _mm_mul_ps(total, _mm_set_ps(scale(3), scale(2), scale(1), scale(0)));
    // SAFETY: output r of an input row is weight row r's, and each weight row is in exactly one item.
    let out = unsafe { product.y.part(t * product.y_stride + row, rows) };
    // SAFETY: the mask keeps to the `rows` elements of `out`.
    unsafe { _mm_mask_storeu_ps(out.as_mut_ptr(), (1u8 << rows) - 1, scaled) };
}

/// Rows `row .. row + count` (at most four) of weights in groups times up to four inputs in one pass.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi,fma")]
fn stream_groups<const T: usize, const KIND: Kind>(
    xs: [Tile<'_>; T],
    product: &Int8Product<'_>,
    codes: &[u8],
    scales: &[u8],
    (row, count): (usize, usize),
) {
    let cols = product.matrix.cols;
    let (row_bytes, row_scales) = (product.matrix.row_bytes(), cols / 32);
    let blocks = cols.div_ceil(BLOCK);
    // Rows beyond the last are the last again; their results are dropped.
    let rows: [usize; ROWS] = std::array::from_fn(|r| row + r.min(count - 1));
    let codes: [&[u8]; ROWS] = rows.map(|row| &codes[row * row_bytes..][..row_bytes]);
    let scales: [&[u8]; ROWS] = rows.map(|row| &scales[row * row_scales..][..row_scales]);
    let mut totals = [_mm_setzero_ps(); T];
    for first in (0..blocks).step_by(BLOCKS) {
        let sums = if (first + BLOCKS) * BLOCK <= cols {
            four_blocks::<T, KIND, true>(&xs, codes, scales, cols, first)
        } else {
            four_blocks::<T, KIND, false>(&xs, codes, scales, cols, first)
        };
        for t in 0..T {
            totals[t] = add_scaled(totals[t], sums[t], &xs[t].scales[first..]);
        }
    }
    for (x, &total) in xs.iter().zip(&totals) {
        store(product, x.row, row, count, total);
    }
}

/// The sums of four blocks of four rows for each input: lane 4b + r is block b of row r. `WHOLE` says that all four
/// blocks exist; what is missing else counts as zeros under scales of zero.
///
/// A group's dot has at most 19 bits and a group's scale at most four, so their products are exact, and adding them up
/// is what the contract's fused sum is.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi,fma")]
#[inline]
fn four_blocks<const T: usize, const KIND: Kind, const WHOLE: bool>(
    xs: &[Tile<'_>; T],
    codes: [&[u8]; ROWS],
    scales: [&[u8]; ROWS],
    cols: usize,
    first: usize,
) -> [__m512; T] {
    let spread = _mm512_set_epi32(3, 3, 3, 3, 2, 2, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0);
    let mut sums = [[_mm512_setzero_ps(); BLOCKS]; T];
    // Four blocks of four rows have a line of scale bytes; each block has a line for each bit of a code.
    let row_scales = scales[0].len();
    ask(
        scales[0].as_ptr(),
        row_scales,
        first * GROUPS * ROWS,
        SCALES_AHEAD,
        1,
    );
    let lines = if KIND == E2M1 { 4 } else { usize::from(KIND) };
    let mut bytes = [_mm_setzero_si128(); ROWS];
    for r in 0..ROWS {
        let scales = &scales[r][first * GROUPS..];
        let mut short = [0u8; BLOCKS * GROUPS];
        let at = if WHOLE {
            debug_assert!(scales.len() >= BLOCKS * GROUPS);
            scales.as_ptr()
        } else {
            let there = scales.len().min(short.len());
            short[..there].copy_from_slice(&scales[..there]);
            short.as_ptr()
        };
        // SAFETY: four blocks have sixteen scale bytes; fewer were copied to as many.
        bytes[r] = unsafe { _mm_loadu_si128(at.cast()) };
    }
    // Scale bytes [row][block][group] to a register of [group][row] for each block.
    let (low, high) = (
        _mm_unpacklo_epi8(bytes[0], bytes[1]),
        _mm_unpackhi_epi8(bytes[0], bytes[1]),
    );
    let (low2, high2) = (
        _mm_unpacklo_epi8(bytes[2], bytes[3]),
        _mm_unpackhi_epi8(bytes[2], bytes[3]),
    );
    let bytes = [
        _mm_unpacklo_epi16(low, low2),
        _mm_unpackhi_epi16(low, low2),
        _mm_unpacklo_epi16(high, high2),
        _mm_unpackhi_epi16(high, high2),
    ];
    for b in 0..BLOCKS {
        let block = first + b;
        let groups = if WHOLE {
            GROUPS
        } else {
            GROUPS.min(scales[0].len().saturating_sub(block * GROUPS))
        };
        if groups == 0 {
            break;
        }
        ask(
            codes[0].as_ptr(),
            codes[0].len(),
            block * lines * 64,
            AHEAD,
            lines,
        );
        let mut weights = [[_mm512_setzero_si512(); 2]; ROWS];
        for r in 0..ROWS {
            weights[r] = group_integers::<KIND, true>(codes[r], cols, block, groups);
        }
        let weight_scales = scale_values::<KIND>(_mm512_cvtepu8_epi32(bytes[b]));
        for t in 0..T {
            let mut dots = [_mm512_setzero_si512(); ROWS];
            let (even, odd, starts) = load_block(&xs[t], block);
            for r in 0..ROWS {
                let dot = _mm512_dpbusd_epi32(_mm512_setzero_si512(), weights[r][0], even);
                dots[r] = _mm512_dpbusd_epi32(dot, weights[r][1], odd);
            }
            // Each group's start to the lanes of its four rows.
            let starts = _mm512_permutexvar_epi32(spread, _mm512_castsi128_si512(starts));
            let dots = _mm512_add_epi32(add_fours(dots), starts);
            sums[t][b] = _mm512_mul_ps(_mm512_cvtepi32_ps(dots), weight_scales);
        }
    }
    let mut out = [_mm512_setzero_ps(); T];
    for t in 0..T {
        out[t] = add_parts(sums[t]);
    }
    out
}

/// One block of a tile of one row: even columns, odd columns, the groups' starts.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[inline]
fn load_block(x: &Tile<'_>, block: usize) -> (__m512i, __m512i, __m128i) {
    debug_assert!(
        x.rows == 1 && (block + 1) * BLOCK <= x.codes.len() && (block + 1) * STARTS <= x.starts.len()
    );
    // Weights are the unsigned side here, because there are fewer inputs whose sums take their offset off again.
    let offset = _mm512_set1_epi8(OFFSET as u8 as i8);
    // SAFETY: the caller's block is one of the tile's: 128 codes, and the first four of five starts.
    unsafe {
        let codes = x.codes.as_ptr().add(block * BLOCK);
        (
            _mm512_xor_si512(_mm512_loadu_si512(codes.cast()), offset),
            _mm512_xor_si512(_mm512_loadu_si512(codes.add(64).cast()), offset),
            _mm_loadu_si128(x.starts.as_ptr().add(block * STARTS).cast()),
        )
    }
}

/// As [`stream_groups`], for FP8 weights.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi,fma")]
fn stream_fp8<const T: usize>(xs: [Tile<'_>; T], product: &Int8Product<'_>, (row, count): (usize, usize)) {
    let Elements::Fp8 { codes, .. } = product.matrix.elements else {
        return;
    };
    let cols = product.matrix.cols;
    let blocks = cols.div_ceil(BLOCK);
    let tables = e4m3_tables::<true>();
    let order = split_order();
    let rows: [usize; ROWS] = std::array::from_fn(|r| row + r.min(count - 1));
    let codes: [&[u8]; ROWS] = rows.map(|row| &codes[row * cols..][..cols]);
    // Four rows may straddle two blocks of scales.
    let one_scale = rows[0] / FP8_BLOCK == rows[ROWS - 1] / FP8_BLOCK;
    let mut totals = [_mm_setzero_ps(); T];
    for block in 0..blocks {
        ask(
            codes[0].as_ptr(),
            cols,
            block * BLOCK * ROWS,
            AHEAD,
            BLOCK * ROWS / 64,
        );
        let left = cols - block * BLOCK;
        let masks = [first_bits(left), first_bits(left.saturating_sub(64))];
        let mut weights = [[_mm512_setzero_si512(); 2]; ROWS];
        for r in 0..ROWS {
            // SAFETY: the masks keep to the block's bytes of the row.
            let (a, b) = unsafe {
                let at = codes[r].as_ptr().add(block * BLOCK);
                if left >= BLOCK {
                    (
                        _mm512_loadu_si512(at.cast()),
                        _mm512_loadu_si512(at.add(64).cast()),
                    )
                } else {
                    (
                        _mm512_maskz_loadu_epi8(masks[0], at.cast()),
                        _mm512_maskz_loadu_epi8(masks[1], at.wrapping_add(64).cast()),
                    )
                }
            };
            weights[r] = [
                e4m3_integers(_mm512_permutex2var_epi8(a, order[0], b), tables),
                e4m3_integers(_mm512_permutex2var_epi8(a, order[1], b), tables),
            ];
        }
        let scale = |row| product.matrix.scale_at(row, block * BLOCK);
        let weight_scales = if one_scale {
            _mm_set1_ps(scale(row))
        } else {
            _mm_set_ps(scale(rows[3]), scale(rows[2]), scale(rows[1]), scale(rows[0]))
        };
        for t in 0..T {
            let mut dots = [_mm512_setzero_si512(); ROWS];
            let (even, odd, _) = load_block(&xs[t], block);
            for r in 0..ROWS {
                let dot = _mm512_dpbusd_epi32(_mm512_setzero_si512(), weights[r][0], even);
                dots[r] = _mm512_dpbusd_epi32(dot, weights[r][1], odd);
            }
            let dots = add_fours(dots);
            let dots = _mm256_add_epi32(_mm512_castsi512_si256(dots), _mm512_extracti64x4_epi64::<1>(dots));
            let dots = _mm_add_epi32(_mm256_castsi256_si128(dots), _mm256_extracti128_si256::<1>(dots));
            let start = xs[t].starts[block * STARTS + GROUPS];
            let dots = _mm_add_epi32(dots, _mm_set1_epi32(start));
            let sum = _mm_mul_ps(_mm_cvtepi32_ps(dots), weight_scales);
            totals[t] = _mm_fmadd_ps(sum, _mm_set1_ps(xs[t].scales[block]), totals[t]);
        }
    }
    for (x, &total) in xs.iter().zip(&totals) {
        store(product, x.row, row, count, total);
    }
}
