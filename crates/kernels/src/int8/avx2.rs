//! The AVX2 version, with AVX-VNNI or without: tiles of panels as in [`super::vnni512`], in registers half as wide.
//!
//! A panel's weights are decoded row by row and then transposed, so a stored format is known in one place only,
//! [`row_integers`]. Products with few inputs take the same way; decoding is what they spend their time on.

#[allow(clippy::wildcard_imports, reason = "a kernel uses dozens of intrinsics")]
use std::arch::x86_64::*;

use crate::formats::grouped::Bits;
use crate::int8::inputs::{OFFSET, Tile};
use crate::int8::weights::{E2M1_DOUBLES, E4M3_QUARTERS, scale_bytes};
use crate::int8::{BLOCK, GROUP, GROUPS, Int8Product};
use crate::matrix::{Elements, Matrix};
use crate::quads::eight_rows_transposed as transposed;
use crate::team::Scratch;

/// Blocks of a panel.
const BLOCKS: usize = 4;

/// Bytes of a register.
const BYTES: usize = 32;

/// Lanes of a register: rows of half a panel.
const LANES: usize = 8;

/// Registers of weight rows of a tile.
const TILE_ROWS: usize = 2;

/// Weight rows of a panel.
const WIDTH: usize = TILE_ROWS * LANES;

/// Quads of columns of a block.
const QUADS: usize = BLOCK / 4;

/// Weights of up to [`BLOCKS`] blocks of [`WIDTH`] rows, rearranged: four columns of eight rows to a register.
struct Panel<'a> {
    /// `[blocks][QUADS][TILE_ROWS]` registers, columns in split order.
    integers: &'a mut [u8],
    /// `[blocks][groups][TILE_ROWS]` registers: −[`OFFSET`] · Σ of a group's weights, where its dots begin. It takes the
    /// inputs' offset off again.
    starts: &'a mut [i32],
    /// As `starts`, of scales.
    scales: &'a mut [f32],
}

/// Rows `from .. from + rows` of a product with any number of input rows.
///
/// # Safety
/// `VNNI` only where the machine has AVX-VNNI.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn multiply<const VNNI: bool>(
    product: &Int8Product<'_>,
    from: usize,
    rows: usize,
    scratch: &mut Scratch,
) {
    let (integers, starts, scales, totals) = scratch.buffers::<(u8, i32, f32, f32)>([
        BLOCKS * BLOCK * WIDTH,
        BLOCKS * GROUPS * WIDTH,
        BLOCKS * GROUPS * WIDTH,
        product.x.rows() * WIDTH,
    ]);
    let mut panel = Panel {
        integers,
        starts,
        scales,
    };
    for at in (0..rows).step_by(WIDTH) {
        let row = product.first_row + from + at;
        // SAFETY: the caller's promise is handed on.
        unsafe { multiply_rows::<VNNI>(product, row, WIDTH.min(rows - at), &mut panel, totals) };
    }
}

/// Rows `row .. row + rows` of the matrix, at most [`WIDTH`], times all inputs; `totals` is `[inputs][WIDTH]`.
///
/// # Safety
/// As of [`multiply`].
#[target_feature(enable = "avx2,fma")]
unsafe fn multiply_rows<const VNNI: bool>(
    product: &Int8Product<'_>,
    row: usize,
    rows: usize,
    panel: &mut Panel<'_>,
    totals: &mut [f32],
) {
    let matrix = &product.matrix;
    let groups = BLOCK / matrix.scale_group();
    let blocks = matrix.cols.div_ceil(BLOCK);
    totals.fill(0.0);
    for first in (0..blocks).step_by(BLOCKS) {
        let count = BLOCKS.min(blocks - first);
        // The next blocks of these rows, or the first of the rows that follow them, come while these are worked on.
        if first + BLOCKS < blocks {
            matrix.prefetch_blocks(row..row + rows, first + BLOCKS..first + 2 * BLOCKS);
        } else {
            matrix.prefetch_blocks(row + WIDTH..row + 2 * WIDTH, 0..BLOCKS);
        }
        for block in 0..count {
            for half in 0..TILE_ROWS {
                // Rows beyond the last are the last again; their results are dropped.
                let lanes = std::array::from_fn(|lane| row + (half * LANES + lane).min(rows - 1));
                // SAFETY: the caller's promise is handed on.
                unsafe { fill::<VNNI>(matrix, &lanes, first, block, half, panel) };
            }
        }
        for x in product.x.tiles() {
            let totals = &mut totals[x.row * WIDTH..][..x.rows * WIDTH];
            let range = (first, count);
            // SAFETY: the caller's promise is handed on.
            unsafe {
                match (x.rows, groups) {
                    (1, GROUPS) => tile::<1, GROUPS, VNNI>(panel, &x, range, totals),
                    (2, GROUPS) => tile::<2, GROUPS, VNNI>(panel, &x, range, totals),
                    (3, GROUPS) => tile::<3, GROUPS, VNNI>(panel, &x, range, totals),
                    (4, GROUPS) => tile::<4, GROUPS, VNNI>(panel, &x, range, totals),
                    (5, GROUPS) => tile::<5, GROUPS, VNNI>(panel, &x, range, totals),
                    (6, GROUPS) => tile::<6, GROUPS, VNNI>(panel, &x, range, totals),
                    (1, _) => tile::<1, 1, VNNI>(panel, &x, range, totals),
                    (2, _) => tile::<2, 1, VNNI>(panel, &x, range, totals),
                    (3, _) => tile::<3, 1, VNNI>(panel, &x, range, totals),
                    (4, _) => tile::<4, 1, VNNI>(panel, &x, range, totals),
                    (5, _) => tile::<5, 1, VNNI>(panel, &x, range, totals),
                    _ => tile::<6, 1, VNNI>(panel, &x, range, totals),
                }
            }
        }
    }
    product.finish(row, rows, totals, WIDTH);
}

/// `T` inputs against a panel of blocks `first .. first + count`: adds to `totals` `[T][WIDTH]`. With six inputs the
/// dots, two registers of weights and one of inputs take fifteen of the sixteen registers; sums wait in memory.
///
/// # Safety
/// As of [`multiply`].
#[target_feature(enable = "avx2,fma")]
unsafe fn tile<const T: usize, const GROUPS_OF_BLOCK: usize, const VNNI: bool>(
    panel: &Panel<'_>,
    x: &Tile<'_>,
    (first, count): (usize, usize),
    totals: &mut [f32],
) {
    assert!(x.rows == T && totals.len() == T * WIDTH);
    for block in 0..count {
        let codes = &x.codes[(first + block) * BLOCK * T..][..BLOCK * T];
        let input_scales = &x.scales[(first + block) * T..][..T];
        let weights = &panel.integers[block * BLOCK * WIDTH..][..BLOCK * WIDTH];
        let constants = block * GROUPS_OF_BLOCK * WIDTH..(block + 1) * GROUPS_OF_BLOCK * WIDTH;
        let (starts, scales) = (&panel.starts[constants.clone()], &panel.scales[constants]);
        let mut sums = [[_mm256_setzero_ps(); TILE_ROWS]; T];
        for group in 0..GROUPS_OF_BLOCK {
            let mut start = [_mm256_setzero_si256(); TILE_ROWS];
            for r in 0..TILE_ROWS {
                let start_r = &starts[(group * TILE_ROWS + r) * LANES..][..LANES];
                // SAFETY: eight integers are read of a slice of eight.
                start[r] = unsafe { _mm256_loadu_si256(start_r.as_ptr().cast()) };
            }
            let mut dots = [start; T];
            for step in 0..QUADS / GROUPS_OF_BLOCK {
                // A group of 32 has four quads in the even half of its block and four in the odd half.
                let quad = if GROUPS_OF_BLOCK == 1 {
                    step
                } else {
                    step / GROUPS * (QUADS / 2) + group * GROUPS + step % GROUPS
                };
                // SAFETY: `quad` is below QUADS, and a block has QUADS · TILE_ROWS registers of weights and QUADS · T
                // quads of inputs: the lengths of the slices.
                unsafe {
                    let w = weights.as_ptr().add(quad * TILE_ROWS * BYTES);
                    let w0 = _mm256_loadu_si256(w.cast());
                    let w1 = _mm256_loadu_si256(w.add(BYTES).cast());
                    for t in 0..T {
                        let x = codes.as_ptr().add((quad * T + t) * 4);
                        let x = _mm256_broadcastd_epi32(_mm_loadu_si32(x.cast()));
                        dots[t][0] = dot::<VNNI>(dots[t][0], x, w0);
                        dots[t][1] = dot::<VNNI>(dots[t][1], x, w1);
                    }
                }
            }
            for r in 0..TILE_ROWS {
                let scale = load_floats(&scales[(group * TILE_ROWS + r) * LANES..][..LANES]);
                for t in 0..T {
                    sums[t][r] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots[t][r]), scale, sums[t][r]);
                }
            }
        }
        for t in 0..T {
            let scale = _mm256_set1_ps(input_scales[t]);
            for r in 0..TILE_ROWS {
                let total = &mut totals[(t * TILE_ROWS + r) * LANES..][..LANES];
                let sum = _mm256_fmadd_ps(sums[t][r], scale, load_floats(total));
                // SAFETY: eight floats are written to a slice of eight.
                unsafe { _mm256_storeu_ps(total.as_mut_ptr(), sum) };
            }
        }
    }
}

/// Adds the products of four offset inputs with four weights to each lane; without VNNI less what the offset adds, of
/// which [`Panel::starts`] then has nothing, since the dot of an input of zero comes out as zero.
///
/// # Safety
/// As of [`multiply`].
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn dot<const VNNI: bool>(sum: __m256i, x: __m256i, w: __m256i) -> __m256i {
    if VNNI {
        let mut sum = sum;
        // As an intrinsic it could not be inlined into code that also serves machines without it.
        // SAFETY: registers only; the caller says that the machine has the instruction.
        unsafe {
            std::arch::asm!(
                "{{vex}} vpdpbusd {sum}, {x}, {w}",
                sum = inout(ymm_reg) sum, x = in(ymm_reg) x, w = in(ymm_reg) w,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        return sum;
    }
    // Magnitudes of weights are unsigned, and their signs go to the inputs. Two products are at most 2 · 128 · 127 and
    // fit sixteen bits, so nothing saturates.
    let x = _mm256_xor_si256(x, _mm256_set1_epi8(OFFSET as u8 as i8));
    let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
    _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
}

#[target_feature(enable = "avx2")]
#[inline]
fn load_floats(from: &[f32]) -> __m256 {
    assert!(from.len() == LANES);
    // SAFETY: eight floats are read of a slice of eight.
    unsafe { _mm256_loadu_ps(from.as_ptr()) }
}

/// Block `first + block` of eight rows into a panel.
///
/// # Safety
/// As of [`multiply`].
#[target_feature(enable = "avx2")]
unsafe fn fill<const VNNI: bool>(
    matrix: &Matrix<'_>,
    lanes: &[usize; LANES],
    first: usize,
    block: usize,
    half: usize,
    panel: &mut Panel<'_>,
) {
    let mut rows = [[_mm256_setzero_si256(); BLOCK / BYTES]; LANES];
    for (integers, &row) in rows.iter_mut().zip(lanes) {
        *integers = row_integers(matrix, row, first + block);
    }
    let integers = &mut panel.integers[block * BLOCK * WIDTH..][..BLOCK * WIDTH];
    let groups = BLOCK / matrix.scale_group();
    let offset = _mm256_set1_epi8(OFFSET as u8 as i8);
    let mut sums = [_mm256_setzero_si256(); GROUPS];
    for (part, out) in integers.chunks_exact_mut(16 * WIDTH).enumerate() {
        let sum = &mut sums[part % groups];
        let quads = quads(&rows, part);
        for (out, quad) in out.chunks_exact_mut(TILE_ROWS * BYTES).zip(quads) {
            let out = &mut out[half * BYTES..][..BYTES];
            // SAFETY: 32 bytes are written to a slice of 32.
            unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), quad) };
            // SAFETY: the caller's promise is handed on.
            *sum = unsafe { dot::<VNNI>(*sum, offset, quad) };
        }
    }
    for (group, &sum) in sums[..groups].iter().enumerate() {
        let out = &mut panel.starts[((block * groups + group) * TILE_ROWS + half) * LANES..][..LANES];
        let start = _mm256_sub_epi32(_mm256_setzero_si256(), sum);
        // SAFETY: eight integers are written to a slice of eight.
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), start) };
    }
    fill_scales(matrix, lanes, first, block, half, panel);
}

/// Sixteen bytes of eight rows, the `part`-th of each: register j has bytes 4j to 4j + 3 of every row.
#[target_feature(enable = "avx2")]
#[inline]
fn quads(rows: &[[__m256i; BLOCK / BYTES]; LANES], part: usize) -> [__m256i; 4] {
    assert!(part < BLOCK / 16);
    let mut v = [_mm256_setzero_si256(); 4];
    for i in 0..4 {
        // SAFETY: a row has BLOCK bytes, and the sixteen from 16 · part on are within them.
        v[i] = unsafe {
            let load = |row: usize| _mm_loadu_si128(rows[row].as_ptr().cast::<__m128i>().add(part));
            _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(load(i)), load(i + 4))
        };
    }
    transposed(v)
}

/// The scales of block `first + block` of eight rows into a panel; zeros for groups beyond the last column.
#[target_feature(enable = "avx2")]
#[inline]
fn fill_scales(
    matrix: &Matrix<'_>,
    lanes: &[usize; LANES],
    first: usize,
    block: usize,
    half: usize,
    panel: &mut Panel<'_>,
) {
    let from = (first + block) * BLOCK;
    let (scales, shift, base) = match matrix.elements {
        Elements::Fp4 { scales, .. } => (scales, 23, 0),
        Elements::Grouped { scales, .. } => (scales, 20, 112 << 23),
        _ => {
            let out = &mut panel.scales[(block * TILE_ROWS + half) * LANES..][..LANES];
            for (out, &row) in out.iter_mut().zip(lanes) {
                *out = matrix.scale_at(row, from);
            }
            return;
        }
    };
    let groups = GROUPS.min((matrix.cols - from) / GROUP);
    let mut bytes = [0; LANES];
    for (bytes, &row) in bytes.iter_mut().zip(lanes) {
        let scales = &scales[row * (matrix.cols / GROUP) + from / GROUP..][..groups];
        *bytes = scale_bytes(scales);
    }
    // SAFETY: eight words are read of an array of eight.
    let mut bytes = unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) };
    for group in 0..GROUPS {
        let out = &mut panel.scales[((block * GROUPS + group) * TILE_ROWS + half) * LANES..][..LANES];
        let byte = _mm256_and_si256(bytes, _mm256_set1_epi32(0xFF));
        let bits = _mm256_sll_epi32(byte, _mm_cvtsi32_si128(shift));
        let scale = _mm256_castsi256_ps(_mm256_add_epi32(bits, _mm256_set1_epi32(base)));
        // SAFETY: eight floats are written to a slice of eight.
        unsafe { _mm256_storeu_ps(out.as_mut_ptr(), scale) };
        bytes = _mm256_srli_epi32::<8>(bytes);
    }
}

/// The integers of one block of a row in split order: 64 even columns, 64 odd columns. Inputs are zero beyond the last
/// column, so any integers do there.
#[target_feature(enable = "avx2")]
#[inline]
fn row_integers(matrix: &Matrix<'_>, row: usize, block: usize) -> [__m256i; BLOCK / BYTES] {
    let from = block * BLOCK;
    let count = BLOCK.min(matrix.cols - from);
    match matrix.elements {
        Elements::Fp8 { codes, .. } => {
            let codes = &codes[row * matrix.cols + from..][..count];
            let mut out = split(load::<BLOCK, 4>(codes));
            for v in &mut out {
                *v = e4m3_integers(*v);
            }
            out
        }
        Elements::Fp4 { codes, .. } => {
            let codes = &codes[row * (matrix.cols / 2) + from / 2..][..count / 2];
            let table = table(&E2M1_DOUBLES);
            let mut out = nibbles(load::<{ BLOCK / 2 }, 2>(codes));
            for v in &mut out {
                *v = _mm256_shuffle_epi8(table, *v);
            }
            out
        }
        Elements::Grouped { bits, codes, .. } => {
            let bytes = matrix.row_bytes();
            grouped_integers(bits, &codes[row * bytes..][..bytes], matrix.cols, block)
        }
        Elements::F32(_) | Elements::Bf16(_) => [_mm256_setzero_si256(); 4],
    }
}

/// Up to `N` bytes as `R` = `N` / 32 registers, zeros after the last.
#[target_feature(enable = "avx2")]
#[inline]
fn load<const N: usize, const R: usize>(bytes: &[u8]) -> [__m256i; R] {
    const { assert!(N == R * BYTES) };
    let mut room = [0; N];
    let bytes = if bytes.len() == N {
        bytes
    } else {
        room[..bytes.len()].copy_from_slice(bytes);
        &room
    };
    let mut out = [_mm256_setzero_si256(); R];
    for (out, bytes) in out.iter_mut().zip(bytes.chunks_exact(BYTES)) {
        // SAFETY: 32 bytes are read of a slice of 32.
        *out = unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) };
    }
    out
}

/// Sixteen bytes in both halves.
#[target_feature(enable = "avx2")]
#[inline]
fn table(bytes: &[i8]) -> __m256i {
    let bytes = &bytes[..16];
    // SAFETY: sixteen bytes are read of a slice of sixteen.
    _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) })
}

/// The low nibbles and then the high ones: packed codes in split order.
#[target_feature(enable = "avx2")]
#[inline]
fn nibbles([a, b]: [__m256i; 2]) -> [__m256i; 4] {
    let low = |v| _mm256_and_si256(v, _mm256_set1_epi8(15));
    let high = |v| low(_mm256_srli_epi16::<4>(v));
    [low(a), low(b), high(a), high(b)]
}

/// The bytes of a block in split order.
#[target_feature(enable = "avx2")]
#[inline]
fn split([a, b, c, d]: [__m256i; 4]) -> [__m256i; 4] {
    let even = |v| _mm256_and_si256(v, _mm256_set1_epi16(0xFF));
    let odd = |v| _mm256_srli_epi16::<8>(v);
    // Packing goes by halves of registers: 64-bit words come out as 0, 2, 1, 3.
    let pack = |a, b| _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packus_epi16(a, b));
    [
        pack(even(a), even(b)),
        pack(even(c), even(d)),
        pack(odd(a), odd(b)),
        pack(odd(c), odd(d)),
    ]
}

/// Below this magnitude code every [`E4M3_QUARTERS`] is zero.
const FIRST_QUARTER: usize = 64;

const _: () = {
    let mut code = 0;
    while code < FIRST_QUARTER {
        assert!(E4M3_QUARTERS[code] == 0);
        code += 1;
    }
};

/// The integers of 32 E4M3 codes.
#[target_feature(enable = "avx2")]
#[inline]
fn e4m3_integers(codes: __m256i) -> __m256i {
    let code = _mm256_and_si256(codes, _mm256_set1_epi8(0x7F));
    let mut magnitude = _mm256_setzero_si256();
    for first in (FIRST_QUARTER..128).step_by(16) {
        // The sixteen codes from `first` on become 0x70 … 0x7F; all others have the top bit set, which looks up zero.
        let index = _mm256_xor_si256(code, _mm256_set1_epi8(first as i8));
        let index = _mm256_adds_epu8(index, _mm256_set1_epi8(0x70));
        let part = _mm256_shuffle_epi8(table(&E4M3_QUARTERS[first..]), index);
        magnitude = _mm256_or_si256(magnitude, part);
    }
    _mm256_sign_epi8(magnitude, _mm256_or_si256(codes, _mm256_set1_epi8(1)))
}

/// The integers of one block of a row of grouped integers.
#[target_feature(enable = "avx2")]
#[inline]
pub(crate) fn grouped_integers(bits: Bits, row: &[u8], cols: usize, block: usize) -> [__m256i; 4] {
    let mut codes = if bits == Bits::Eight {
        // Stored in split order.
        load::<BLOCK, 4>(&row[block * BLOCK..][..BLOCK])
    } else {
        nibbles(load::<{ BLOCK / 2 }, 2>(&row[block * BLOCK / 2..][..BLOCK / 2]))
    };
    let planes = if bits == Bits::Eight { 0 } else { bits.count() - 4 };
    for plane in 0..planes {
        let set = &row[cols / 2 + plane * (cols / 8) + block * (BLOCK / 8)..][..BLOCK / 8];
        for (code, set) in codes.iter_mut().zip(set.chunks_exact(4)) {
            let set = bytes_of_bits([set[0], set[1], set[2], set[3]]);
            let bit = _mm256_set1_epi8(16 << plane);
            *code = _mm256_or_si256(*code, _mm256_and_si256(set, bit));
        }
    }
    let bias = _mm256_set1_epi8(bits.bias() as i8);
    for code in &mut codes {
        *code = _mm256_sub_epi8(*code, bias);
    }
    codes
}

/// Each of 32 bits, lowest first, as a byte of ones or zeros.
#[target_feature(enable = "avx2")]
#[inline]
fn bytes_of_bits(bits: [u8; 4]) -> __m256i {
    let ones = 0x0101_0101_0101_0101;
    let spread = _mm256_set_epi64x(3 * ones, 2 * ones, ones, 0);
    let bit = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64 as i64);
    let bytes = _mm256_shuffle_epi8(_mm256_set1_epi32(i32::from_le_bytes(bits)), spread);
    _mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit), bit)
}
