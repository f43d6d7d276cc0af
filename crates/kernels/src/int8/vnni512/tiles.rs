//! Many inputs: register tiles of 32 rows by up to six inputs over panels.

#[allow(clippy::wildcard_imports, reason = "a kernel uses dozens of intrinsics")]
use std::arch::x86_64::*;

use std::sync::atomic::{Ordering, compiler_fence};

use super::panel::{COPIES, Panel, fill};
use super::{BLOCKS, LANES, QUADS, TILE_ROWS, WIDTH};
use crate::int8::inputs::Tile;
use crate::int8::{BLOCK, GROUPS, Int8Product};
use crate::team::Scratch;

/// Rows `from .. from + rows` (at most 32) of a product with any number of input rows.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi,fma")]
pub(in crate::int8) fn multiply(product: &Int8Product<'_>, from: usize, rows: usize, scratch: &mut Scratch) {
    assert!(rows <= WIDTH);
    let matrix = &product.matrix;
    let groups = BLOCK / matrix.scale_group();
    let (inputs, blocks) = (product.x.rows(), matrix.cols.div_ceil(BLOCK));
    let row = product.first_row + from;
    let (integers, starts, scales, totals, copies) = scratch.buffers::<(u8, i32, f32, f32, u8)>([
        BLOCKS * QUADS * TILE_ROWS * 64,
        BLOCKS * GROUPS * WIDTH,
        BLOCKS * GROUPS * WIDTH,
        inputs * WIDTH,
        COPIES,
    ]);
    let mut panel = Panel {
        integers,
        starts,
        scales,
        float_dots: false,
        copies,
    };
    totals.fill(0.0);
    for first in (0..blocks).step_by(BLOCKS) {
        let count = BLOCKS.min(blocks - first);
        fill(matrix, (row, rows), (first, count), &mut panel);
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
            match (groups, panel.float_dots) {
                (GROUPS, true) => tile_of::<GROUPS, true>(&panel, &x, range, totals),
                (GROUPS, false) => tile_of::<GROUPS, false>(&panel, &x, range, totals),
                (_, true) => tile_of::<1, true>(&panel, &x, range, totals),
                (_, false) => tile_of::<1, false>(&panel, &x, range, totals),
            }
        }
    }
    product.finish(row, rows, totals, WIDTH);
}

/// As [`tile`], for as many inputs as there are.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi,fma")]
fn tile_of<const GROUPS_OF_BLOCK: usize, const FLOAT_DOTS: bool>(
    panel: &Panel<'_>,
    x: &Tile<'_>,
    blocks: (usize, usize),
    totals: &mut [f32],
) {
    match x.rows {
        1 => tile::<1, GROUPS_OF_BLOCK, FLOAT_DOTS>(panel, x, blocks, totals),
        2 => tile::<2, GROUPS_OF_BLOCK, FLOAT_DOTS>(panel, x, blocks, totals),
        3 => tile::<3, GROUPS_OF_BLOCK, FLOAT_DOTS>(panel, x, blocks, totals),
        4 => tile::<4, GROUPS_OF_BLOCK, FLOAT_DOTS>(panel, x, blocks, totals),
        5 => tile::<5, GROUPS_OF_BLOCK, FLOAT_DOTS>(panel, x, blocks, totals),
        _ => tile::<6, GROUPS_OF_BLOCK, FLOAT_DOTS>(panel, x, blocks, totals),
    }
}

/// `T` inputs against a panel of blocks `first .. first + count`: adds to `totals` `[T][TILE_ROWS]`.
/// `FLOAT_DOTS` is what the panel says.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi,fma")]
fn tile<const T: usize, const GROUPS_OF_BLOCK: usize, const FLOAT_DOTS: bool>(
    panel: &Panel<'_>,
    x: &Tile<'_>,
    (first, count): (usize, usize),
    totals: &mut [f32],
) {
    /// Steps without a gap in their quads.
    const RUN: usize = GROUPS;
    let runs = QUADS / RUN / GROUPS_OF_BLOCK;
    assert!(x.rows == T && totals.len() == T * WIDTH);
    for block in 0..count {
        let codes = &x.codes[(first + block) * BLOCK * T..][..BLOCK * T];
        let input_scales = &x.scales[(first + block) * T..][..T];
        let weights = &panel.integers[block * QUADS * TILE_ROWS * 64..][..QUADS * TILE_ROWS * 64];
        let constants = block * GROUPS_OF_BLOCK * WIDTH..(block + 1) * GROUPS_OF_BLOCK * WIDTH;
        let (starts, scales) = (&panel.starts[constants.clone()], &panel.scales[constants]);
        let mut sums = [[_mm512_setzero_ps(); TILE_ROWS]; T];
        for group in 0..GROUPS_OF_BLOCK {
            let mut start = [_mm512_setzero_si512(); TILE_ROWS];
            for r in 0..TILE_ROWS {
                let start_r = &starts[(group * TILE_ROWS + r) * LANES..][..LANES];
                // SAFETY: sixteen integers are read of a line of sixteen.
                start[r] = unsafe { _mm512_load_si512(start_r.as_ptr().cast()) };
            }
            let mut dots = [start; T];
            for run in 0..runs {
                // A group of 32 has a run in the even half of its block and one in the odd half.
                let first_quad = if GROUPS_OF_BLOCK == 1 {
                    run * RUN
                } else {
                    run * (QUADS / 2) + group * RUN
                };
                for step in 0..RUN {
                    // SAFETY: a block has QUADS · TILE_ROWS registers of weights and QUADS · T quads of inputs, the lengths
                    // of the slices; quads and steps are below QUADS.
                    unsafe {
                        let w = weights
                            .as_ptr()
                            .add(((group * runs + run) * RUN + step) * TILE_ROWS * 64);
                        let (w0, w1) = (_mm512_load_si512(w.cast()), _mm512_load_si512(w.add(64).cast()));
                        for t in 0..T {
                            let x = codes.as_ptr().add(((first_quad + step) * T + t) * 4);
                            let x = _mm512_broadcastd_epi32(_mm_loadu_si32(x.cast()));
                            dots[t][0] = _mm512_dpbusd_epi32(dots[t][0], x, w0);
                            dots[t][1] = _mm512_dpbusd_epi32(dots[t][1], x, w1);
                        }
                    }
                }
            }
            for r in 0..TILE_ROWS {
                // SAFETY: sixteen floats are read of a line of sixteen.
                let scale =
                    unsafe { _mm512_load_ps(scales[(group * TILE_ROWS + r) * LANES..][..LANES].as_ptr()) };
                for t in 0..T {
                    // The first group's product is exact or rounded once, with or without a zero added to it.
                    sums[t][r] = if FLOAT_DOTS {
                        let dot = _mm512_castsi512_ps(dots[t][r]);
                        _mm512_add_ps(_mm512_sub_ps(dot, scale), sums[t][r])
                    } else {
                        _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots[t][r]), scale, sums[t][r])
                    };
                }
            }
        }
        // With sums beside dots there are not enough registers to keep totals from block to block. They stay in memory then:
        // where the compiler puts what it cannot keep, each of them lies in two cache lines.
        if GROUPS_OF_BLOCK > 1 {
            compiler_fence(Ordering::AcqRel);
        }
        for t in 0..T {
            let scale = _mm512_set1_ps(input_scales[t]);
            for r in 0..TILE_ROWS {
                let total = totals[(t * TILE_ROWS + r) * LANES..][..LANES].as_mut_ptr();
                // SAFETY: sixteen floats are read and written of a line of sixteen.
                unsafe { _mm512_store_ps(total, _mm512_fmadd_ps(sums[t][r], scale, _mm512_load_ps(total))) };
            }
        }
    }
}
