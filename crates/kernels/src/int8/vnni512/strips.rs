//! Several inputs, though few: sixteen rows of weights side by side are rearranged in registers and multiplied as they
//! stream past. Streams of four rows add up lanes for each row, block and input; here a row has a lane of its own.

#[allow(clippy::wildcard_imports, reason = "a kernel uses dozens of intrinsics")]
use std::arch::x86_64::*;

use super::integers::{e4m3_integers, e4m3_tables, offset};
use super::panel::{Rows, fp8_scales, quad_order};
use super::{LANES, QUADS};
use crate::int8::inputs::Tile;
use crate::int8::{BLOCK, Int8Product};
use crate::segments::STREAMED_INPUTS;

/// Inputs from which FP8 weights take this way: those that streams need a second pass for. Up to there they are as fast.
pub(super) const INPUTS: usize = 5;

/// Bytes of a row that are rearranged at once.
const LINE: usize = 64;

/// Bytes asked for beyond the strip that follows the one in use.
const AHEAD: usize = 4096;

/// Rows `from .. from + rows` of an FP8 product with at least [`INPUTS`] input rows, kept one after the other.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi,fma")]
pub(super) fn fp8(product: &Int8Product<'_>, codes: &[u8], from: usize, rows: usize) {
    let mut tiles = product.x.tiles();
    let xs: [Option<Tile<'_>>; STREAMED_INPUTS] = std::array::from_fn(|_| tiles.next());
    let mut copies = [0; LANES * BLOCK];
    for at in (0..rows).step_by(LANES) {
        let strip = (product.first_row + from + at, LANES.min(rows - at));
        match xs {
            [Some(a), Some(b), Some(c), Some(d), Some(e), None, ..] => {
                fp8_strip([a, b, c, d, e], product, codes, strip, &mut copies);
            }
            [Some(a), Some(b), Some(c), Some(d), Some(e), Some(f), None, _] => {
                fp8_strip([a, b, c, d, e, f], product, codes, strip, &mut copies);
            }
            [
                Some(a),
                Some(b),
                Some(c),
                Some(d),
                Some(e),
                Some(f),
                Some(g),
                None,
            ] => {
                fp8_strip([a, b, c, d, e, f, g], product, codes, strip, &mut copies);
            }
            [
                Some(a),
                Some(b),
                Some(c),
                Some(d),
                Some(e),
                Some(f),
                Some(g),
                Some(h),
            ] => {
                fp8_strip([a, b, c, d, e, f, g, h], product, codes, strip, &mut copies);
            }
            _ => unreachable!("{INPUTS} to {STREAMED_INPUTS} inputs"),
        }
    }
}

/// Rows `row .. row + count`, at most sixteen.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi,fma")]
fn fp8_strip<const T: usize>(
    xs: [Tile<'_>; T],
    product: &Int8Product<'_>,
    codes: &[u8],
    (row, count): (usize, usize),
    copies: &mut [u8; LANES * BLOCK],
) {
    let matrix = &product.matrix;
    let cols = matrix.cols;
    let (tables, order) = (e4m3_tables::<false>(), quad_order());
    let lanes = std::array::from_fn(|lane| row + lane.min(count - 1));
    let ahead = codes[row * cols..].as_ptr().wrapping_add(LANES * cols + AHEAD);
    let mut totals = [_mm512_setzero_ps(); T];
    for block in 0..cols.div_ceil(BLOCK) {
        let from = block * BLOCK;
        let rows = Rows::of::<BLOCK, LANES>(codes, (row, count), cols, from, 0, copies);
        let mut dots = [_mm512_setzero_si512(); T];
        let mut sums = _mm512_setzero_si512();
        for line in 0..BLOCK / LINE {
            // SAFETY: each row has 128 bytes.
            let quads = unsafe { rows.quads(0, LINE * line) };
            // In the order of memory, as streams ask.
            let ahead = ahead.wrapping_add((from + LINE * line) * LANES);
            for line in 0..LANES {
                _mm_prefetch::<_MM_HINT_T1>(ahead.wrapping_add(64 * line).cast());
            }
            for (i, pair) in quads.as_flattened().chunks_exact(2).enumerate() {
                for parity in 0..2 {
                    let codes = _mm512_permutex2var_epi8(pair[0], order[parity], pair[1]);
                    let w = e4m3_integers(codes, tables);
                    // What the inputs' offset adds.
                    sums = _mm512_dpbusd_epi32(sums, offset::<true>(), w);
                    let quad = parity * (QUADS / 2) + 8 * line + i;
                    for t in 0..T {
                        debug_assert!(xs[t].rows == 1 && from + BLOCK <= xs[t].codes.len());
                        // SAFETY: inputs are padded to whole blocks, and this one is the weights'.
                        let x = unsafe { _mm_loadu_si32(xs[t].codes.as_ptr().add(from + 4 * quad).cast()) };
                        dots[t] = _mm512_dpbusd_epi32(dots[t], _mm512_broadcastd_epi32(x), w);
                    }
                }
            }
        }
        let scale = fp8_scales(matrix, &lanes, from);
        for t in 0..T {
            let dot = _mm512_cvtepi32_ps(_mm512_sub_epi32(dots[t], sums));
            let sum = _mm512_mul_ps(dot, scale);
            totals[t] = _mm512_fmadd_ps(sum, _mm512_set1_ps(xs[t].scales[block]), totals[t]);
        }
    }
    for (x, &total) in xs.iter().zip(&totals) {
        // SAFETY: output r of an input row is weight row r's, and each weight row is in exactly one item.
        let out = unsafe { product.y.part(x.row * product.y_stride + row, count) };
        let scaled = _mm512_mul_ps(total, _mm512_set1_ps(matrix.row_scale(row)));
        // SAFETY: the mask keeps to the `count` elements of `out`.
        unsafe { _mm512_mask_storeu_ps(out.as_mut_ptr(), ((1u32 << count) - 1) as u16, scaled) };
    }
}
