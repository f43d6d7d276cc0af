//! The AVX2 version, for machines without BF16 instructions: plain fused multiply-adds on registers of eight rows.
//!
//! Weights are rearranged and widened to float32 a block at a time, into panels in the order in which columns are added;
//! so are inputs. Operands that are zero or far from the smallest normal number make both steps of a pair as exact as the
//! instruction's; see [`crate::bf16::dot`].

mod numbers;

#[allow(clippy::wildcard_imports, reason = "a kernel uses dozens of intrinsics")]
use std::arch::x86_64::*;

use self::numbers::Eights;
use crate::bf16::inputs::Tile;
use crate::bf16::{BLOCK, Bf16Product, EIGHT, GROUP, GROUPS, ORDER, PAIRS, TILE_INPUTS};
use crate::int8::scale_bytes;
use crate::matmul::expect_outputs;
use crate::matrix::{Elements, FP8_BLOCK, Matrix};
use crate::segments::STREAMED_INPUTS;
use crate::team::Scratch;

/// Rows of a register.
const LANES: usize = 8;

/// Registers of weight rows of a tile.
const TILE_ROWS: usize = 2;

/// Weight rows of a panel that few inputs meet, and many: the more, the fewer times inputs are widened.
const FEW: usize = TILE_ROWS * LANES;
const MANY: usize = 2 * FEW;

/// Inputs of a register tile: eight sums, as many as the latency of a multiply-add takes to hide.
const AT_ONCE: usize = 4;

/// Bytes asked for beyond the strip of rows that follows the one in use.
const AHEAD: usize = 4096;

/// As [`AHEAD`], of scales.
const SCALES_AHEAD: usize = 1024;

/// A block of `WIDTH` rows in float32, the columns of each eight in the order in which they are added.
struct Panel<'a, const WIDTH: usize> {
    /// `[BLOCK][WIDTH]`.
    numbers: &'a mut [f32],
    /// `[GROUPS][WIDTH]`.
    scales: &'a mut [f32],
}

/// Widened inputs of a block, in the order of a panel: input t's number of column c is at `c · stride + t`.
#[derive(Clone, Copy)]
struct Inputs<'a> {
    numbers: &'a [f32],
    stride: usize,
}

/// See [`Bf16Product::compute`].
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn multiply(product: &Bf16Product<'_>, from: usize, rows: usize, scratch: &mut Scratch) {
    if product.x.rows() <= STREAMED_INPUTS {
        multiply_few(product, from, rows, scratch);
    } else {
        multiply_many(product, from, rows, scratch);
    }
}

/// Few inputs are widened once, and weights asked for in the order in which they lie in memory.
#[target_feature(enable = "avx2,fma,f16c")]
fn multiply_few(product: &Bf16Product<'_>, from: usize, rows: usize, scratch: &mut Scratch) {
    let (matrix, inputs) = (&product.matrix, product.x.rows());
    let blocks = matrix.cols.div_ceil(BLOCK);
    let (numbers, scales, x, totals) = scratch.buffers::<(f32, f32, f32, f32)>([
        BLOCK * FEW,
        GROUPS * FEW,
        blocks * BLOCK * inputs,
        inputs * FEW,
    ]);
    for (t, tile) in product.x.tiles().enumerate() {
        for (pair, x) in tile.pairs.iter().zip(x.chunks_exact_mut(2 * inputs)) {
            x[t] = f32::from_bits(pair & 0xFFFF_0000);
            x[inputs + t] = f32::from_bits(pair << 16);
        }
    }
    let mut panel = Panel::<FEW> { numbers, scales };
    for at in (0..rows).step_by(FEW) {
        let (row, count) = (product.first_row + from + at, FEW.min(rows - at));
        totals.fill(0.0);
        for (block, x) in x.chunks_exact(BLOCK * inputs).enumerate() {
            ask(matrix, row, block);
            let groups = panel.fill(matrix, row, count, block);
            let x = Inputs {
                numbers: x,
                stride: inputs,
            };
            panel.multiply(groups, x, inputs, totals);
        }
        product.finish::<FEW>(row, count, 0, totals);
    }
}

/// Asks for as many bytes as a block of a strip takes, further on in memory: one stream across rows and strips that never
/// breaks off.
#[inline(always)]
fn ask(matrix: &Matrix<'_>, row: usize, block: usize) {
    let lines = |from: *const u8, count: usize| {
        for line in 0..count {
            // SAFETY: a prefetch is a hint and reads nothing; every x86-64 has it.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add(64 * line).cast()) };
        }
    };
    let row_bytes = matrix.row_bytes();
    let block_bytes = FEW * row_bytes * BLOCK / matrix.cols.max(BLOCK);
    let codes = matrix.codes_of(row, 0, 0).as_ptr();
    lines(
        codes.wrapping_add(FEW * row_bytes + block * block_bytes + AHEAD),
        block_bytes / 64,
    );
    if let Elements::Fp4 { scales, .. } | Elements::Grouped { scales, .. } = matrix.elements {
        let scales = scales[row * (matrix.cols / GROUP)..].as_ptr();
        let at = FEW * (matrix.cols / GROUP + block * GROUPS);
        lines(scales.wrapping_add(at + SCALES_AHEAD), FEW * GROUPS / 64);
    }
}

/// Many inputs are widened a tile at a time for each panel.
#[target_feature(enable = "avx2,fma,f16c")]
fn multiply_many(product: &Bf16Product<'_>, from: usize, rows: usize, scratch: &mut Scratch) {
    let matrix = &product.matrix;
    let blocks = matrix.cols.div_ceil(BLOCK);
    let (numbers, scales, x, totals) = scratch.buffers::<(f32, f32, f32, f32)>([
        BLOCK * MANY,
        GROUPS * MANY,
        BLOCK * TILE_INPUTS,
        product.x.rows() * MANY,
    ]);
    let mut panel = Panel::<MANY> { numbers, scales };
    for at in (0..rows).step_by(MANY) {
        let (row, count) = (product.first_row + from + at, MANY.min(rows - at));
        totals.fill(0.0);
        for block in 0..blocks {
            let groups = panel.fill(matrix, row, count, block);
            // The next block of these rows, or the first of the rows that follow them, comes while this is multiplied, some
            // rows with each tile.
            let (next_row, next_block) = if block + 1 < blocks {
                (row, block + 1)
            } else {
                (row + count, 0)
            };
            let share = count.div_ceil(product.x.tile_count());
            let mut shares = (next_row..next_row + count).step_by(share);
            for tile in product.x.tiles() {
                if let Some(from) = shares.next() {
                    matrix.prefetch_blocks(
                        from..(from + share).min(next_row + count),
                        next_block..next_block + 1,
                    );
                }
                if block + 1 == blocks {
                    let inputs = tile.row..tile.row + tile.rows;
                    expect_outputs(&product.y, product.y_stride, row, count, inputs);
                }
                widen(&tile, block, x);
                let x = Inputs {
                    numbers: x,
                    stride: TILE_INPUTS,
                };
                let totals = &mut totals[tile.row * MANY..][..tile.rows * MANY];
                panel.multiply(groups, x, tile.rows, totals);
            }
        }
        product.finish::<MANY>(row, count, 0, totals);
    }
}

/// A block of a tile to `[BLOCK][TILE_INPUTS]`, of each pair the high half first.
#[target_feature(enable = "avx2")]
fn widen(tile: &Tile<'_>, block: usize, out: &mut [f32]) {
    const { assert!(TILE_INPUTS == LANES) };
    let pairs = &tile.pairs[block * PAIRS * tile.rows..][..PAIRS * tile.rows];
    let (out, _) = out.as_chunks_mut::<{ 2 * TILE_INPUTS }>();
    let rows = _mm256_set1_epi32(tile.rows as i32);
    let mask = _mm256_cmpgt_epi32(rows, _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    let high = _mm256_set1_epi32(-65_536);
    for (pairs, out) in pairs.chunks_exact(tile.rows).zip(out) {
        // SAFETY: a lane for each pair of the chunk is read, sixteen floats of as many written.
        unsafe {
            let pairs = _mm256_maskload_epi32(pairs.as_ptr().cast(), mask);
            let mut store =
                |at: usize, bits| _mm256_storeu_ps(out[at..].as_mut_ptr(), _mm256_castsi256_ps(bits));
            store(0, _mm256_and_si256(pairs, high));
            store(TILE_INPUTS, _mm256_slli_epi32::<16>(pairs));
        }
    }
}

impl<const WIDTH: usize> Panel<'_, WIDTH> {
    /// Block `block` of rows `row .. row + count`, and how many groups it has.
    #[target_feature(enable = "avx2,f16c")]
    fn fill(&mut self, matrix: &Matrix<'_>, row: usize, count: usize, block: usize) -> usize {
        let groups = GROUPS.min((matrix.cols - block * BLOCK).div_ceil(GROUP));
        for first in (0..WIDTH).step_by(LANES) {
            // Rows beyond the last are the last again; their results are dropped.
            let lanes = std::array::from_fn(|lane| row + (first + lane).min(count - 1));
            let mut put = |at: usize, eight: [__m256; EIGHT]| self.put(first, at, eight);
            let eights = Eights::new(matrix, &lanes, block);
            if !eights.each(&mut put) {
                self.fill_numbers(matrix, &lanes, first, block, groups);
            }
            self.fill_scales(matrix, &lanes, first, block, groups);
        }
        groups
    }

    /// The eight columns from column `at` of the block on, of rows `first .. first + 8`.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn put(&mut self, first: usize, at: usize, eight: [__m256; EIGHT]) {
        let out = &mut self.numbers[at * WIDTH + first..][..(EIGHT - 1) * WIDTH + LANES];
        for (i, &column) in ORDER.iter().enumerate() {
            // SAFETY: eight floats are written within the slice.
            unsafe { _mm256_storeu_ps(out.as_mut_ptr().add(i * WIDTH), eight[column]) };
        }
    }

    /// As [`Panel::fill`], number by number, with any codes: NaN has no place in a checkpoint, but shows.
    #[cold]
    fn fill_numbers(
        &mut self,
        matrix: &Matrix<'_>,
        lanes: &[usize; LANES],
        first: usize,
        block: usize,
        groups: usize,
    ) {
        let mut numbers = [0.0; GROUP];
        for (lane, &row) in lanes.iter().enumerate() {
            for group in 0..groups {
                matrix.numbers(row, block * BLOCK + group * GROUP, &mut numbers);
                for at in 0..GROUP {
                    let column = at - at % EIGHT + ORDER[at % EIGHT];
                    self.numbers[(group * GROUP + at) * WIDTH + first + lane] = numbers[column];
                }
            }
        }
    }

    /// The scales of a block of eight rows.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn fill_scales(
        &mut self,
        matrix: &Matrix<'_>,
        lanes: &[usize; LANES],
        first: usize,
        block: usize,
        groups: usize,
    ) {
        let from = block * BLOCK;
        let mut out = self
            .scales
            .chunks_exact_mut(WIDTH)
            .map(|scales| &mut scales[first..first + LANES]);
        match matrix.elements {
            Elements::Fp4 { scales, .. } | Elements::Grouped { scales, .. } => {
                let row_scales = matrix.cols / GROUP;
                let bytes =
                    lanes.map(|row| scale_bytes(&scales[row * row_scales + from / GROUP..][..groups]));
                // As `Matrix::scale_at`: an exponent, or one above three bits of mantissa.
                let (shift, base) = match matrix.elements {
                    Elements::Fp4 { .. } => (23, 0),
                    _ => (20, 112 << 23),
                };
                let (shift, base) = (_mm_cvtsi32_si128(shift), _mm256_set1_epi32(base));
                // SAFETY: eight words are read of an array of eight.
                let mut bytes = unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) };
                for out in out {
                    let byte = _mm256_and_si256(bytes, _mm256_set1_epi32(255));
                    let scale = _mm256_add_epi32(_mm256_sll_epi32(byte, shift), base);
                    // SAFETY: eight floats are written to a slice of eight.
                    unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), scale) };
                    bytes = _mm256_srli_epi32::<8>(bytes);
                }
            }
            _ if lanes[0] / FP8_BLOCK == lanes[LANES - 1] / FP8_BLOCK => {
                let scale = matrix.scale_at(lanes[0], from);
                out.for_each(|out| out.fill(scale));
            }
            _ => {
                let scales = lanes.map(|row| matrix.scale_at(row, from));
                out.by_ref().for_each(|out| out.copy_from_slice(&scales));
            }
        }
    }

    /// Adds the products of `groups` groups and of `inputs` inputs to `totals` `[inputs][WIDTH]`.
    #[target_feature(enable = "avx2,fma")]
    fn multiply(&self, groups: usize, x: Inputs<'_>, inputs: usize, totals: &mut [f32]) {
        assert!(groups <= GROUPS && inputs <= x.stride);
        assert!(self.numbers.len() == BLOCK * WIDTH && self.scales.len() == GROUPS * WIDTH);
        assert!(x.numbers.len() == BLOCK * x.stride && totals.len() == inputs * WIDTH);
        for rows in (0..WIDTH).step_by(TILE_ROWS * LANES) {
            let mut first = 0;
            while first < inputs {
                // Six are two tiles of three, seven a tile of four and one of three.
                let count = match inputs - first {
                    left @ ..=AT_ONCE => left,
                    6 => 3,
                    5 | 7.. => AT_ONCE,
                };
                // SAFETY: the lengths were looked at above.
                unsafe {
                    match (count, groups) {
                        (1, GROUPS) => self.tile::<1, GROUPS>(rows, groups, x, first, totals),
                        (2, GROUPS) => self.tile::<2, 2>(rows, groups, x, first, totals),
                        (1, _) => self.tile::<1, 1>(rows, groups, x, first, totals),
                        (2, _) => self.tile::<2, 1>(rows, groups, x, first, totals),
                        (3, _) => self.tile::<3, 1>(rows, groups, x, first, totals),
                        _ => self.tile::<AT_ONCE, 1>(rows, groups, x, first, totals),
                    }
                }
                first += count;
            }
        }
    }

    /// Inputs `first .. first + T` against sixteen rows from row `rows` of the panel on, `G` groups at a time.
    ///
    /// # Safety
    /// `groups` is at most [`GROUPS`] and a multiple of `G`; the lengths are those that [`Panel::multiply`] asserts.
    #[target_feature(enable = "avx2,fma")]
    #[inline(never)]
    unsafe fn tile<const T: usize, const G: usize>(
        &self,
        rows: usize,
        groups: usize,
        x: Inputs<'_>,
        first: usize,
        totals: &mut [f32],
    ) {
        for group in (0..groups).step_by(G) {
            let mut dots = [[[_mm256_setzero_ps(); TILE_ROWS]; T]; G];
            for column in 0..GROUP {
                for g in 0..G {
                    let at = (group + g) * GROUP + column;
                    // SAFETY: `at` is a column of the block, of which there are WIDTH numbers of rows and `stride` of inputs.
                    unsafe {
                        let w = self.numbers.as_ptr().add(at * WIDTH + rows);
                        let (w0, w1) = (_mm256_loadu_ps(w), _mm256_loadu_ps(w.add(LANES)));
                        let x = x.numbers.as_ptr().add(at * x.stride + first);
                        for t in 0..T {
                            let x = _mm256_broadcast_ss(&*x.add(t));
                            dots[g][t][0] = _mm256_fmadd_ps(w0, x, dots[g][t][0]);
                            dots[g][t][1] = _mm256_fmadd_ps(w1, x, dots[g][t][1]);
                        }
                    }
                }
            }
            for g in 0..G {
                for r in 0..TILE_ROWS {
                    // SAFETY: scales of a group and totals of an input are WIDTH numbers.
                    unsafe {
                        let row = rows + r * LANES;
                        let scale = _mm256_loadu_ps(self.scales.as_ptr().add((group + g) * WIDTH + row));
                        for t in 0..T {
                            let total = totals.as_mut_ptr().add((first + t) * WIDTH + row);
                            let sum = _mm256_fmadd_ps(dots[g][t][r], scale, _mm256_loadu_ps(total));
                            _mm256_storeu_ps(total, sum);
                        }
                    }
                }
            }
        }
    }
}
