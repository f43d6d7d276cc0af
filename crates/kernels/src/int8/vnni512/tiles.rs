//! Many inputs: register tiles of 32 rows by up to six inputs over panels.

#[allow(clippy::wildcard_imports, reason = "a kernel uses dozens of intrinsics")]
use std::arch::x86_64::*;

use super::panel::{Panel, fill_fp4, fill_fp8, fill_groups};
use super::{BLOCKS, LANES, QUADS, TILE_ROWS};
use crate::formats::grouped::Bits;
use crate::int8::inputs::{STARTS, Tile};
use crate::int8::{BLOCK, GROUPS, Int8Product};
use crate::matrix::Elements;
use crate::team::Scratch;

/// Rows `from .. from + rows` (at most 32) of a product with any number of input rows.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi,fma")]
pub(in crate::int8) fn multiply(product: &Int8Product<'_>, from: usize, rows: usize, scratch: &mut Scratch) {
    const WIDTH: usize = TILE_ROWS * LANES;
    assert!(rows <= WIDTH);
    let matrix = &product.matrix;
    let groups = BLOCK / matrix.scale_group();
    let (inputs, blocks) = (product.x.rows(), matrix.cols.div_ceil(BLOCK));
    let row = product.first_row + from;
    let (integers, scales, totals) = scratch.buffers::<(u8, f32, f32)>([
        BLOCKS * QUADS * TILE_ROWS * 64,
        BLOCKS * GROUPS * TILE_ROWS * LANES,
        inputs * WIDTH,
    ]);
    let mut panel = Panel { integers, scales };
    for first in (0..blocks).step_by(BLOCKS) {
        let count = BLOCKS.min(blocks - first);
        for half in 0..TILE_ROWS {
            // Rows beyond the last are the last again; their results are dropped.
            let mut lanes = [0; LANES];
            for (lane, at) in lanes.iter_mut().enumerate() {
                *at = row + (half * LANES + lane).min(rows - 1);
            }
            match matrix.elements {
                Elements::Fp8 { codes, .. } => {
                    fill_fp8(matrix, codes, &lanes, (first, count), half, &mut panel);
                }
                Elements::Fp4 { codes, scales } => {
                    fill_fp4(matrix, codes, scales, &lanes, first, half, &mut panel);
                }
                Elements::Grouped { bits, .. } => {
                    for block in 0..count {
                        match bits {
                            Bits::Four => fill_groups::<4>(matrix, &lanes, first, block, half, &mut panel),
                            Bits::Five => fill_groups::<5>(matrix, &lanes, first, block, half, &mut panel),
                            Bits::Six => fill_groups::<6>(matrix, &lanes, first, block, half, &mut panel),
                            Bits::Eight => fill_groups::<8>(matrix, &lanes, first, block, half, &mut panel),
                        }
                    }
                }
                Elements::F32(_) | Elements::Bf16(_) => {}
            }
        }
        // The next blocks of these rows, or the first of the rows that follow them, come while these are multiplied, a few
        // with each tile.
        let (next_rows, next_blocks) = if first + BLOCKS < blocks {
            (row, first + BLOCKS..first + 2 * BLOCKS)
        } else {
            (row + rows, 0..BLOCKS)
        };
        let share = rows.div_ceil(product.x.tile_count());
        let mut shares = (next_rows..next_rows + rows).step_by(share);
        for x in product.x.tiles() {
            let totals = &mut totals[x.row * WIDTH..][..x.rows * WIDTH];
            if let Some(from) = shares.next() {
                matrix.prefetch_blocks(from..(from + share).min(next_rows + rows), next_blocks.clone());
            }
            if first + BLOCKS >= blocks {
                product.expect(row, rows, x.row..x.row + x.rows);
            }
            let range = (first, count);
            match (x.rows, groups) {
                (1, 4) => tile::<1, 4>(&panel, &x, range, totals),
                (2, 4) => tile::<2, 4>(&panel, &x, range, totals),
                (3, 4) => tile::<3, 4>(&panel, &x, range, totals),
                (4, 4) => tile::<4, 4>(&panel, &x, range, totals),
                (5, 4) => tile::<5, 4>(&panel, &x, range, totals),
                (6, 4) => tile::<6, 4>(&panel, &x, range, totals),
                (1, _) => tile::<1, 1>(&panel, &x, range, totals),
                (2, _) => tile::<2, 1>(&panel, &x, range, totals),
                (3, _) => tile::<3, 1>(&panel, &x, range, totals),
                (4, _) => tile::<4, 1>(&panel, &x, range, totals),
                (5, _) => tile::<5, 1>(&panel, &x, range, totals),
                _ => tile::<6, 1>(&panel, &x, range, totals),
            }
        }
    }
    product.finish(row, rows, totals, WIDTH);
}

/// `T` inputs against a panel of blocks `first .. first + count`: adds to `totals` `[T][TILE_ROWS]`, block 0 to nothing.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi,fma")]
fn tile<const T: usize, const GROUPS_OF_BLOCK: usize>(
    panel: &Panel<'_>,
    x: &Tile<'_>,
    (first, count): (usize, usize),
    totals: &mut [f32],
) {
    let steps = QUADS / GROUPS_OF_BLOCK;
    assert!(x.rows == T && totals.len() == T * TILE_ROWS * LANES);
    for block in 0..count {
        let codes = &x.codes[(first + block) * BLOCK * T..][..BLOCK * T];
        let starts = &x.starts[(first + block) * STARTS * T..][..STARTS * T];
        let input_scales = &x.scales[(first + block) * T..][..T];
        let weights = &panel.integers[block * QUADS * TILE_ROWS * 64..][..QUADS * TILE_ROWS * 64];
        let scales = &panel.scales[block * GROUPS_OF_BLOCK * TILE_ROWS * LANES..]
            [..GROUPS_OF_BLOCK * TILE_ROWS * LANES];
        // Before the first block there is no total yet.
        let before = if first + block == 0 { 0 } else { 0xFFFF };
        let mut sums = [[_mm512_setzero_ps(); TILE_ROWS]; T];
        for group in 0..GROUPS_OF_BLOCK {
            let mut dots = [[_mm512_setzero_si512(); TILE_ROWS]; T];
            let start = if GROUPS_OF_BLOCK == 1 { GROUPS } else { group };
            for t in 0..T {
                dots[t] = [_mm512_set1_epi32(starts[start * T + t]); TILE_ROWS];
            }
            for step in 0..steps {
                // A group of 32 has four quads in the even half of its block and four in the odd half.
                let quad = if GROUPS_OF_BLOCK == 1 {
                    step
                } else {
                    step / GROUPS * (QUADS / 2) + group * GROUPS + step % GROUPS
                };
                // SAFETY: a block has QUADS · TILE_ROWS registers of weights and QUADS · T quads of inputs, the lengths
                // of the slices; `step` and `quad` are below QUADS.
                unsafe {
                    let w = weights.as_ptr().add((group * steps + step) * TILE_ROWS * 64);
                    let (w0, w1) = (_mm512_load_si512(w.cast()), _mm512_load_si512(w.add(64).cast()));
                    for t in 0..T {
                        let x = codes.as_ptr().add((quad * T + t) * 4);
                        let x = _mm512_broadcastd_epi32(_mm_loadu_si32(x.cast()));
                        dots[t][0] = _mm512_dpbusd_epi32(dots[t][0], w0, x);
                        dots[t][1] = _mm512_dpbusd_epi32(dots[t][1], w1, x);
                    }
                }
            }
            for r in 0..TILE_ROWS {
                // SAFETY: sixteen floats are read of a line of sixteen.
                let scale =
                    unsafe { _mm512_load_ps(scales[(group * TILE_ROWS + r) * LANES..][..LANES].as_ptr()) };
                for t in 0..T {
                    let dot = _mm512_cvtepi32_ps(dots[t][r]);
                    // The first group's product is exact or rounded once, with or without a zero added to it.
                    sums[t][r] = _mm512_fmadd_ps(dot, scale, sums[t][r]);
                }
            }
        }
        for t in 0..T {
            let scale = _mm512_set1_ps(input_scales[t]);
            for r in 0..TILE_ROWS {
                let total = totals[(t * TILE_ROWS + r) * LANES..][..LANES].as_mut_ptr();
                // SAFETY: sixteen floats are read, unless masked off, and written of a line of sixteen.
                unsafe {
                    let before = _mm512_maskz_load_ps(before, total);
                    _mm512_store_ps(total, _mm512_fmadd_ps(sums[t][r], scale, before));
                }
            }
        }
    }
}
