//! Few inputs: sixteen rows side by side are rearranged, widened and multiplied as they stream past.

#[allow(clippy::wildcard_imports, reason = "a kernel uses dozens of intrinsics")]
use std::arch::x86_64::*;

use super::numbers::{E4m3, Groups, Nibbles};
use crate::bf16::dot::dot_pairs_avx512;
use crate::bf16::inputs::Tile;
use crate::bf16::{BLOCK, Bf16Product, GROUP, GROUPS, LANES, PAIRS};
use crate::int8::{E2M1, Kind, scale_bytes, scale_values};
use crate::matrix::FP8_BLOCK;
use crate::quads::{Copies, Rows, load_quads};
use crate::segments::STREAMED_INPUTS;

/// Pairs of a group.
const GROUP_PAIRS: usize = GROUP / 2;

/// Blocks of nibbles whose scales are one load of each row.
const BLOCKS: usize = 4;

/// Bytes asked for beyond the strip that follows the one in use.
const AHEAD: usize = 4096;

/// As [`AHEAD`], of scales.
const SCALES_AHEAD: usize = 1024;

/// Asks for `lines` cache lines, by the time that memory takes, where byte `at` of the rows from `rows` on, of which
/// there are `bytes`, is reached. What is asked for lies that much further in memory, not in each row: one stream that
/// never breaks off, across rows and strips, instead of sixteen that do with every row.
#[inline(always)]
fn ask(rows: *const u8, bytes: usize, at: usize, ahead: usize, lines: usize) {
    let from = rows.wrapping_add(bytes + at + ahead);
    for line in 0..lines {
        // SAFETY: a prefetch is a hint and reads nothing; every x86-64 has it.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(from.wrapping_add(64 * line).cast()) };
    }
}

/// Calls `$strip::<T>` with as many of the product's inputs as there are.
macro_rules! with_inputs {
    ($product:expr, $strip:expr, ($($arg:expr),*)) => {{
        let mut tiles = $product.x.tiles();
        let mut next = || tiles.next();
        let xs: [Option<Tile<'_>>; STREAMED_INPUTS] = std::array::from_fn(|_| next());
        match xs {
            [Some(a), Some(b), Some(c), Some(d), Some(e), Some(f), Some(g), Some(h)] => {
                ($strip)([a, b, c, d, e, f, g, h], $($arg),*);
            }
            [Some(a), Some(b), Some(c), Some(d), Some(e), Some(f), Some(g), None] => {
                ($strip)([a, b, c, d, e, f, g], $($arg),*);
            }
            [Some(a), Some(b), Some(c), Some(d), Some(e), Some(f), ..] => ($strip)([a, b, c, d, e, f], $($arg),*),
            [Some(a), Some(b), Some(c), Some(d), Some(e), ..] => ($strip)([a, b, c, d, e], $($arg),*),
            [Some(a), Some(b), Some(c), Some(d), ..] => ($strip)([a, b, c, d], $($arg),*),
            [Some(a), Some(b), Some(c), ..] => ($strip)([a, b, c], $($arg),*),
            [Some(a), Some(b), ..] => ($strip)([a, b], $($arg),*),
            [Some(a), ..] => ($strip)([a], $($arg),*),
            [None, ..] => {}
        }
    }};
}

/// Rows `from .. from + rows` of a matrix of nibbles, FP4 or integers of four bits, times at most eight inputs, kept one after
/// the other.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512bf16,fma")]
pub(super) fn nibbles<const KIND: Kind>(
    product: &Bf16Product<'_>,
    codes: &[u8],
    scales: &[u8],
    from: usize,
    rows: usize,
) {
    let mut copies = ([[0; BLOCK / 2]; LANES], [[0; BLOCKS * GROUPS]; LANES]);
    for at in (0..rows).step_by(LANES) {
        let strip = (product.first_row + from + at, LANES.min(rows - at));
        with_inputs!(
            product,
            nibble_strip::<KIND, _>,
            (product, (codes, scales), strip, &mut copies)
        );
    }
}

/// Rows `row .. row + count`, at most sixteen.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512bf16,fma")]
fn nibble_strip<const KIND: Kind, const T: usize>(
    xs: [Tile<'_>; T],
    product: &Bf16Product<'_>,
    (codes, scales): (&[u8], &[u8]),
    (row, count): (usize, usize),
    copies: &mut (Copies<{ BLOCK / 2 }>, Copies<{ BLOCKS * GROUPS }>),
) {
    let cols = product.matrix.cols;
    let (row_bytes, row_scales) = (cols / 2, cols / GROUP);
    let table = if KIND == E2M1 {
        Nibbles::e2m1()
    } else {
        Nibbles::integers()
    };
    // Rows beyond the last are the last again; their results are dropped.
    let lanes: [usize; LANES] = std::array::from_fn(|lane| row + lane.min(count - 1));
    let (first_code, first_scale) = (
        codes[row * row_bytes..].as_ptr(),
        scales[row * row_scales..].as_ptr(),
    );
    let mut rows = Rows::new(codes, &lanes, row_bytes, &mut copies.0);
    let mut scale_rows = Rows::new(scales, &lanes, row_scales, &mut copies.1);
    let mut totals = [_mm512_setzero_ps(); T];
    for first in (0..cols.div_ceil(BLOCK)).step_by(BLOCKS) {
        let at = first * GROUPS * LANES;
        ask(
            first_scale,
            row_scales * LANES,
            at,
            SCALES_AHEAD,
            GROUPS * BLOCKS * LANES / 64,
        );
        let (scale_rows, offset) = scale_rows.block(first * GROUPS);
        // SAFETY: each row has four scale bytes for each of four blocks.
        let all_scales = unsafe { load_quads(scale_rows, offset) };
        for block in first..cols.div_ceil(BLOCK).min(first + BLOCKS) {
            let from = block * BLOCK / 2;
            ask(
                first_code,
                row_bytes * LANES,
                from * LANES,
                AHEAD,
                BLOCK / 2 * LANES / 64,
            );
            let (rows, offset) = rows.block(from);
            let mut bytes = all_scales[block - first];
            for group in 0..GROUPS.min(row_scales - block * GROUPS) {
                let scale = scale_values::<KIND>(_mm512_and_si512(bytes, _mm512_set1_epi32(255)));
                bytes = _mm512_srli_epi32::<8>(bytes);
                // SAFETY: each row has 64 bytes for a block.
                let quads = unsafe { load_quads(rows, offset + group * GROUP / 2) };
                let first_pair = block * PAIRS + group * GROUP_PAIRS;
                let mut dots = [_mm512_setzero_ps(); T];
                for (eight, &quads) in quads.iter().enumerate() {
                    let pairs = table.pairs(quads);
                    multiply_pairs(&xs, first_pair + eight * pairs.len(), pairs, &mut dots);
                }
                for t in 0..T {
                    totals[t] = _mm512_fmadd_ps(dots[t], scale, totals[t]);
                }
            }
        }
    }
    store(product, &xs, row, count, totals);
}

/// As [`nibbles`], of an FP8 matrix.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512bf16,fma")]
pub(super) fn fp8(product: &Bf16Product<'_>, codes: &[u8], from: usize, rows: usize) {
    let mut copies = [[0; BLOCK]; LANES];
    for at in (0..rows).step_by(LANES) {
        let strip = (product.first_row + from + at, LANES.min(rows - at));
        with_inputs!(product, fp8_strip, (product, codes, strip, &mut copies));
    }
}

/// Rows `row .. row + count`, at most sixteen.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512bf16,fma")]
fn fp8_strip<const T: usize>(
    xs: [Tile<'_>; T],
    product: &Bf16Product<'_>,
    codes: &[u8],
    (row, count): (usize, usize),
    copies: &mut Copies<BLOCK>,
) {
    let matrix = &product.matrix;
    let cols = matrix.cols;
    let table = E4m3::new();
    // Rows beyond the last are the last again; their results are dropped.
    let lanes: [usize; LANES] = std::array::from_fn(|lane| row + lane.min(count - 1));
    // Sixteen rows may straddle two blocks of scales.
    let one_scale = row / FP8_BLOCK == lanes[LANES - 1] / FP8_BLOCK;
    let first_code = codes[row * cols..].as_ptr();
    let mut rows = Rows::new(codes, &lanes, cols, copies);
    let mut totals = [_mm512_setzero_ps(); T];
    for block in 0..cols.div_ceil(BLOCK) {
        let from = block * BLOCK;
        let (rows, offset) = rows.block(from);
        let scale = if one_scale {
            _mm512_set1_ps(matrix.scale_at(row, from))
        } else {
            let scales = lanes.map(|row| matrix.scale_at(row, from));
            // SAFETY: sixteen floats are read of an array of sixteen.
            unsafe { _mm512_loadu_ps(scales.as_ptr()) }
        };
        for group in 0..GROUPS.min((cols - from).div_ceil(GROUP)) {
            let at = (from + group * GROUP) * LANES;
            ask(first_code, cols * LANES, at, AHEAD, GROUP * LANES / 64);
            let mut dots = [_mm512_setzero_ps(); T];
            for half in 0..2 {
                // SAFETY: each row has 128 bytes.
                let quads = unsafe { load_quads(rows, offset + group * GROUP + half * GROUP / 2) };
                let first_pair = block * PAIRS + group * GROUP_PAIRS + half * GROUP_PAIRS / 2;
                let pairs = table.pairs([quads[0], quads[1]]);
                multiply_pairs(&xs, first_pair, pairs, &mut dots);
                let pairs = table.pairs([quads[2], quads[3]]);
                multiply_pairs(&xs, first_pair + pairs.len(), pairs, &mut dots);
            }
            for t in 0..T {
                totals[t] = _mm512_fmadd_ps(dots[t], scale, totals[t]);
            }
        }
    }
    store(product, &xs, row, count, totals);
}

/// As [`nibbles`], of grouped integers of more bits.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512bf16,fma")]
pub(super) fn groups<const KIND: Kind>(
    product: &Bf16Product<'_>,
    codes: &[u8],
    scales: &[u8],
    from: usize,
    rows: usize,
) {
    for at in (0..rows).step_by(LANES) {
        let strip = (product.first_row + from + at, LANES.min(rows - at));
        with_inputs!(product, group_strip::<KIND, _>, (product, (codes, scales), strip));
    }
}

/// Rows `row .. row + count`, at most sixteen.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512bf16,fma")]
fn group_strip<const KIND: Kind, const T: usize>(
    xs: [Tile<'_>; T],
    product: &Bf16Product<'_>,
    (codes, scales): (&[u8], &[u8]),
    (row, count): (usize, usize),
) {
    let matrix = &product.matrix;
    let (row_bytes, row_scales) = (matrix.row_bytes(), matrix.cols / GROUP);
    // Rows beyond the last are the last again; their results are dropped.
    let lanes: [usize; LANES] = std::array::from_fn(|lane| row + lane.min(count - 1));
    let (first_code, first_scale) = (
        codes[row * row_bytes..].as_ptr(),
        scales[row * row_scales..].as_ptr(),
    );
    let mut groups = Groups::new();
    let mut totals = [_mm512_setzero_ps(); T];
    for block in 0..matrix.cols / BLOCK {
        let bytes = usize::from(KIND) * BLOCK / 8 * LANES;
        ask(first_code, row_bytes * LANES, block * bytes, AHEAD, bytes / 64);
        let bytes = GROUPS * LANES;
        ask(
            first_scale,
            row_scales * LANES,
            block * bytes,
            SCALES_AHEAD,
            bytes / 64,
        );
        groups.read::<KIND>(matrix, codes, &lanes, block);
        let bytes = lanes.map(|row| scale_bytes(&scales[row * row_scales + block * GROUPS..][..GROUPS]));
        // SAFETY: sixteen words are read of an array of sixteen.
        let mut bytes = unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) };
        for group in 0..GROUPS {
            let scale = scale_values::<KIND>(_mm512_and_si512(bytes, _mm512_set1_epi32(255)));
            bytes = _mm512_srli_epi32::<8>(bytes);
            let first_pair = block * PAIRS + group * GROUP_PAIRS;
            let mut dots = [_mm512_setzero_ps(); T];
            for (eight, pairs) in groups.pairs(group).into_iter().enumerate() {
                multiply_pairs(&xs, first_pair + eight * pairs.len(), pairs, &mut dots);
            }
            for t in 0..T {
                totals[t] = _mm512_fmadd_ps(dots[t], scale, totals[t]);
            }
        }
    }
    store(product, &xs, row, count, totals);
}

/// Adds four pairs' products to each input's dots.
#[target_feature(enable = "avx512f,avx512bf16")]
#[inline]
fn multiply_pairs<const T: usize>(
    xs: &[Tile<'_>; T],
    first_pair: usize,
    pairs: [__m512i; 4],
    dots: &mut [__m512; T],
) {
    for t in 0..T {
        debug_assert!(xs[t].rows == 1 && first_pair + pairs.len() <= xs[t].pairs.len());
        for (i, &pair) in pairs.iter().enumerate() {
            // SAFETY: inputs are padded to whole blocks, and the caller's pairs are of one of them; the features are there.
            unsafe {
                let x = _mm512_set1_epi32(*xs[t].pairs.as_ptr().add(first_pair + i) as i32);
                dots[t] = dot_pairs_avx512(dots[t], pair, x);
            }
        }
    }
}

/// Writes the outputs of a strip.
#[target_feature(enable = "avx512f")]
#[inline]
fn store<const T: usize>(
    product: &Bf16Product<'_>,
    xs: &[Tile<'_>; T],
    row: usize,
    count: usize,
    totals: [__m512; T],
) {
    let mut lanes = [0.0; LANES];
    for t in 0..T {
        // SAFETY: sixteen floats are written to an array of sixteen.
        unsafe { _mm512_storeu_ps(lanes.as_mut_ptr(), totals[t]) };
        product.finish::<LANES>(row, count, xs[t].row, &lanes);
    }
}
