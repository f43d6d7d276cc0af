//! Many inputs: register tiles of 32 rows by up to eight inputs over panels.

#[allow(clippy::wildcard_imports, reason = "a kernel uses dozens of intrinsics")]
use std::arch::x86_64::*;

use super::numbers::{E4m3, Groups, Nibbles};
use crate::bf16::dot::dot_pairs_avx512;
use crate::bf16::inputs::Tile;
use crate::bf16::{BLOCK, Bf16Product, EIGHT, GROUP, GROUPS, LANES, PAIRS};
use crate::formats::grouped::Bits;
use crate::int8::{E2M1, Kind, scale_bytes, scale_values};
use crate::matmul::expect_outputs;
use crate::matrix::{Elements, FP8_BLOCK, Matrix};
use crate::quads::{Copies, Rows, load_quads};
use crate::team::Scratch;

/// Registers of weight rows of a tile.
const TILE_ROWS: usize = 2;

/// Weight rows of a tile.
const WIDTH: usize = TILE_ROWS * LANES;

/// Blocks of a panel: what leaves room for inputs in the first-level cache.
const BLOCKS: usize = 2;

/// Pairs of a group.
const GROUP_PAIRS: usize = GROUP / 2;

/// Weights of up to [`BLOCKS`] blocks of [`WIDTH`] rows, rearranged: a pair of columns of sixteen rows to a register.
struct Panel<'a> {
    /// `[blocks][PAIRS][TILE_ROWS]` registers.
    pairs: &'a mut [u32],
    /// `[blocks][GROUPS][TILE_ROWS]` registers.
    scales: &'a mut [f32],
}

impl Panel<'_> {
    /// Writes four pairs of columns of one half of the rows.
    #[target_feature(enable = "avx512f")]
    #[inline]
    fn put(&mut self, block: usize, first_pair: usize, half: usize, pairs: [__m512i; 4]) {
        let at = ((block * PAIRS + first_pair) * TILE_ROWS + half) * LANES;
        let out = &mut self.pairs[at..at + (3 * TILE_ROWS + 1) * LANES];
        for (i, pair) in pairs.into_iter().enumerate() {
            // SAFETY: within the slice, which begins on a line; registers fill lines.
            unsafe { _mm512_store_si512(out.as_mut_ptr().add(i * TILE_ROWS * LANES).cast(), pair) };
        }
    }

    /// The scales of a group of one half of the rows.
    fn scales(&mut self, block: usize, group: usize, half: usize) -> &mut [f32; LANES] {
        let at = (block * GROUPS + group) * TILE_ROWS + half;
        (&mut self.scales[at * LANES..][..LANES])
            .try_into()
            .expect("a lane for each row")
    }
}

/// Rows `from .. from + rows` of a product with any number of input rows.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512bf16,fma")]
pub(super) fn multiply(product: &Bf16Product<'_>, from: usize, rows: usize, scratch: &mut Scratch) {
    let (pairs, scales, totals) = scratch.buffers::<(u32, f32, f32)>([
        BLOCKS * PAIRS * WIDTH,
        BLOCKS * GROUPS * WIDTH,
        product.x.rows() * WIDTH,
    ]);
    let mut panel = Panel { pairs, scales };
    let mut copies = ([[0; BLOCK]; LANES], [[0; BLOCK / 2]; LANES]);
    for at in (0..rows).step_by(WIDTH) {
        let row = product.first_row + from + at;
        multiply_rows(
            product,
            row,
            WIDTH.min(rows - at),
            &mut panel,
            &mut copies,
            totals,
        );
    }
}

/// Rows `row .. row + rows` of the matrix, at most [`WIDTH`], times all inputs; `totals` is `[inputs][WIDTH]`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512bf16,fma")]
fn multiply_rows(
    product: &Bf16Product<'_>,
    row: usize,
    rows: usize,
    panel: &mut Panel<'_>,
    copies: &mut (Copies<BLOCK>, Copies<{ BLOCK / 2 }>),
    totals: &mut [f32],
) {
    let matrix = &product.matrix;
    let blocks = matrix.cols.div_ceil(BLOCK);
    for first in (0..blocks).step_by(BLOCKS) {
        let count = BLOCKS.min(blocks - first);
        for half in 0..TILE_ROWS {
            // Rows beyond the last are the last again; their results are dropped.
            let lanes = std::array::from_fn(|lane| row + (half * LANES + lane).min(rows - 1));
            fill(matrix, &lanes, (first, count), half, copies, panel);
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
        let groups = (count * GROUPS).min((matrix.cols - first * BLOCK).div_ceil(GROUP));
        for x in product.x.tiles() {
            if let Some(from) = shares.next() {
                matrix.prefetch_blocks(from..(from + share).min(next_rows + rows), next_blocks.clone());
            }
            if first + BLOCKS >= blocks {
                let inputs = x.row..x.row + x.rows;
                expect_outputs(&product.y, product.y_stride, row, rows, inputs);
            }
            let totals = &mut totals[x.row * WIDTH..][..x.rows * WIDTH];
            let first = (first, groups);
            match x.rows {
                1 => tile::<1>(panel, &x, first, totals),
                2 => tile::<2>(panel, &x, first, totals),
                3 => tile::<3>(panel, &x, first, totals),
                4 => tile::<4>(panel, &x, first, totals),
                5 => tile::<5>(panel, &x, first, totals),
                6 => tile::<6>(panel, &x, first, totals),
                7 => tile::<7>(panel, &x, first, totals),
                _ => tile::<8>(panel, &x, first, totals),
            }
        }
    }
    product.finish::<WIDTH>(row, rows, 0, totals);
}

/// Blocks `first .. first + count` of sixteen rows into one half of a panel.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
fn fill(
    matrix: &Matrix<'_>,
    lanes: &[usize; LANES],
    (first, count): (usize, usize),
    half: usize,
    copies: &mut (Copies<BLOCK>, Copies<{ BLOCK / 2 }>),
    panel: &mut Panel<'_>,
) {
    let cols = matrix.cols;
    match matrix.elements {
        Elements::Fp8 { codes, .. } => {
            let table = E4m3::new();
            let mut rows = Rows::new(codes, lanes, cols, &mut copies.0);
            for block in 0..count {
                let (rows, offset) = rows.block((first + block) * BLOCK);
                for part in 0..BLOCK / 16 {
                    // SAFETY: each row has 128 bytes.
                    let quads = unsafe { load_quads(rows, offset + 16 * part) };
                    panel.put(block, 8 * part, half, table.pairs([quads[0], quads[1]]));
                    panel.put(block, 8 * part + 4, half, table.pairs([quads[2], quads[3]]));
                }
            }
        }
        Elements::Fp4 { codes, .. } => {
            let table = Nibbles::e2m1();
            let mut rows = Rows::new(codes, lanes, cols / 2, &mut copies.1);
            for block in 0..count {
                let (rows, offset) = rows.block((first + block) * BLOCK / 2);
                for part in 0..BLOCK / 32 {
                    // SAFETY: each row has 64 bytes.
                    let quads = unsafe { load_quads(rows, offset + 16 * part) };
                    for (i, quads) in quads.into_iter().enumerate() {
                        panel.put(block, 16 * part + 4 * i, half, table.pairs(quads));
                    }
                }
            }
        }
        Elements::Grouped { bits, .. } => {
            for block in 0..count {
                let from = first + block;
                match bits {
                    Bits::Four => fill_groups::<4>(matrix, lanes, from, block, half, panel),
                    Bits::Five => fill_groups::<5>(matrix, lanes, from, block, half, panel),
                    Bits::Six => fill_groups::<6>(matrix, lanes, from, block, half, panel),
                    Bits::Eight => fill_groups::<8>(matrix, lanes, from, block, half, panel),
                }
            }
        }
        Elements::F32(_) | Elements::Bf16(_) => {}
    }
    for block in 0..count {
        fill_scales(matrix, lanes, (first + block) * BLOCK, block, half, panel);
    }
}

/// The scales of a block of sixteen rows.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[inline]
fn fill_scales(
    matrix: &Matrix<'_>,
    lanes: &[usize; LANES],
    from: usize,
    block: usize,
    half: usize,
    panel: &mut Panel<'_>,
) {
    let groups = GROUPS.min((matrix.cols - from).div_ceil(GROUP));
    match matrix.elements {
        Elements::Fp4 { scales, .. } | Elements::Grouped { scales, .. } => {
            let row_scales = matrix.cols / GROUP;
            let bytes = lanes.map(|row| scale_bytes(&scales[row * row_scales + from / GROUP..][..groups]));
            // SAFETY: sixteen words are read of an array of sixteen.
            let bytes = unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) };
            for group in 0..groups {
                let shift = _mm_cvtsi32_si128(8 * group as i32);
                let byte = _mm512_and_si512(_mm512_srl_epi32(bytes, shift), _mm512_set1_epi32(255));
                let values = if matches!(matrix.elements, Elements::Fp4 { .. }) {
                    scale_values::<E2M1>(byte)
                } else {
                    scale_values::<8>(byte)
                };
                let out = panel.scales(block, group, half).as_mut_ptr();
                // SAFETY: sixteen floats are written to a line of sixteen.
                unsafe { _mm512_store_ps(out, values) };
            }
        }
        Elements::Fp8 { .. } if lanes[0] / FP8_BLOCK == lanes[LANES - 1] / FP8_BLOCK => {
            let scale = matrix.scale_at(lanes[0], from);
            for group in 0..groups {
                panel.scales(block, group, half).fill(scale);
            }
        }
        _ => {
            for group in 0..groups {
                *panel.scales(block, group, half) =
                    lanes.map(|row| matrix.scale_at(row, from + group * GROUP));
            }
        }
    }
}

/// Block `from` of sixteen rows of grouped integers into one half of a panel.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
fn fill_groups<const KIND: Kind>(
    matrix: &Matrix<'_>,
    lanes: &[usize; LANES],
    from: usize,
    block: usize,
    half: usize,
    panel: &mut Panel<'_>,
) {
    let Elements::Grouped { codes, .. } = matrix.elements else {
        return;
    };
    let mut groups = Groups::new();
    groups.read::<KIND>(matrix, codes, lanes, from);
    for group in 0..GROUPS {
        for (eight, pairs) in groups.pairs(group).into_iter().enumerate() {
            panel.put(block, group * GROUP_PAIRS + eight * EIGHT / 2, half, pairs);
        }
    }
}

/// `T` inputs against `groups` groups of a panel that begins with block `first`: adds to `totals` `[T][TILE_ROWS]`,
/// block 0 to nothing.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,fma")]
#[inline(never)]
fn tile<const T: usize>(
    panel: &Panel<'_>,
    x: &Tile<'_>,
    (first, groups): (usize, usize),
    totals: &mut [f32],
) {
    assert!(x.rows == T && totals.len() == T * WIDTH);
    let pairs = &x.pairs[first * PAIRS * T..][..groups * GROUP_PAIRS * T];
    let weights = &panel.pairs[..groups * GROUP_PAIRS * WIDTH];
    let scales = &panel.scales[..groups * WIDTH];
    if first == 0 {
        totals.fill(0.0);
    }
    for group in 0..groups {
        let mut dots = [[_mm512_setzero_ps(); TILE_ROWS]; T];
        for pair in group * GROUP_PAIRS..(group + 1) * GROUP_PAIRS {
            // SAFETY: the slices hold GROUP_PAIRS registers of weights, or pairs, of each row and group; `pair` is below
            // their number. The features are there.
            unsafe {
                let w = weights.as_ptr().add(pair * WIDTH);
                let (w0, w1) = (
                    _mm512_load_si512(w.cast()),
                    _mm512_load_si512(w.add(LANES).cast()),
                );
                for t in 0..T {
                    let x = _mm512_set1_epi32(*pairs.as_ptr().add(pair * T + t) as i32);
                    dots[t][0] = dot_pairs_avx512(dots[t][0], w0, x);
                    dots[t][1] = dot_pairs_avx512(dots[t][1], w1, x);
                }
            }
        }
        for r in 0..TILE_ROWS {
            // SAFETY: sixteen floats are read of a line of sixteen.
            let scale =
                unsafe { _mm512_load_ps(scales[(group * TILE_ROWS + r) * LANES..][..LANES].as_ptr()) };
            for t in 0..T {
                let total: *mut __m512 = totals[(t * TILE_ROWS + r) * LANES..][..LANES].as_mut_ptr().cast();
                // Volatile, so that totals stay in memory: dots and totals together are more than there are registers.
                // SAFETY: sixteen floats are read and written of a line of sixteen.
                unsafe {
                    total.write_volatile(_mm512_fmadd_ps(dots[t][r], scale, total.read_volatile()));
                }
            }
        }
    }
}
