//! Weights rearranged for tiles, four columns of sixteen rows to a register.

#[allow(clippy::wildcard_imports, reason = "a kernel uses dozens of intrinsics")]
use std::arch::x86_64::*;

use super::integers::{
    E2M1, Kind, e2m1_integers, e2m1_table, e4m3_integers, e4m3_tables, group_integers, scale_values,
};
use super::{BLOCKS, LANES, QUADS, TILE_ROWS};
use crate::int8::weights::scale_bytes;
use crate::int8::{BLOCK, GROUPS};
use crate::matrix::{Elements, Matrix};

/// Weights of up to [`BLOCKS`] blocks of [`TILE_ROWS`] · 16 rows, rearranged: four columns of sixteen rows to a register.
pub(super) struct Panel<'a> {
    /// `[blocks][QUADS][TILE_ROWS]` registers; the groups of a block one after the other.
    pub(super) integers: &'a mut [u8],
    /// `[blocks][groups][TILE_ROWS]` registers.
    pub(super) scales: &'a mut [f32],
}

/// Sixteen bytes of sixteen rows, each row's at `rows[lane]`, as four registers: register j has four bytes from 4j on of
/// every row.
///
/// # Safety
/// Sixteen bytes can be read at each address.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[inline]
unsafe fn load_quads(rows: &[*const u8; LANES], offset: usize) -> [__m512i; 4] {
    let mut v = [_mm512_setzero_si512(); 4];
    for i in 0..4 {
        // Rows i, i + 4, i + 8 and i + 12 to the four 128-bit parts, by loads alone.
        // SAFETY: sixteen bytes each, as the caller promised.
        unsafe {
            let load = |lane: usize| _mm_loadu_si128(rows[lane].add(offset).cast());
            let all = _mm512_broadcast_i32x4(load(i));
            let all = _mm512_mask_broadcast_i32x4(all, 0x00F0, load(i + 4));
            let all = _mm512_mask_broadcast_i32x4(all, 0x0F00, load(i + 8));
            v[i] = _mm512_mask_broadcast_i32x4(all, 0xF000, load(i + 12));
        }
    }
    let a = _mm512_unpacklo_epi32(v[0], v[1]);
    let b = _mm512_unpackhi_epi32(v[0], v[1]);
    let c = _mm512_unpacklo_epi32(v[2], v[3]);
    let d = _mm512_unpackhi_epi32(v[2], v[3]);
    [
        _mm512_unpacklo_epi64(a, c),
        _mm512_unpackhi_epi64(a, c),
        _mm512_unpacklo_epi64(b, d),
        _mm512_unpackhi_epi64(b, d),
    ]
}

/// `bytes` bytes from `from` on of sixteen rows of `stride` bytes, where they lie; short rows are copied to `short` and
/// end in zeros.
fn sixteen_rows<const BYTES: usize>(
    all: &[u8],
    lanes: &[usize; LANES],
    stride: usize,
    from: usize,
    short: &mut [[u8; BYTES]; LANES],
) -> [*const u8; LANES] {
    let mut at = [std::ptr::null(); LANES];
    let bytes = BYTES.min(stride - from);
    for lane in 0..LANES {
        let row = &all[lanes[lane] * stride + from..][..bytes];
        at[lane] = if bytes == BYTES {
            row.as_ptr()
        } else {
            short[lane][..bytes].copy_from_slice(row);
            short[lane].as_ptr()
        };
    }
    at
}

/// Registers of a panel.
struct Registers(*mut u8);

impl Registers {
    fn of(panel: &mut Panel<'_>) -> Self {
        assert!(panel.integers.len() >= BLOCKS * QUADS * TILE_ROWS * 64);
        Self(panel.integers.as_mut_ptr())
    }

    /// Writes register `half` of a step of a block.
    ///
    /// # Safety
    /// `block` is below [`BLOCKS`], `step` below [`QUADS`], `half` below [`TILE_ROWS`], and the panel still borrowed.
    #[target_feature(enable = "avx512f")]
    #[inline]
    unsafe fn put(&self, block: usize, step: usize, half: usize, v: __m512i) {
        let at = ((block * QUADS + step) * TILE_ROWS + half) * 64;
        // SAFETY: within the panel as the caller promised; panels begin on a line, and registers fill lines.
        unsafe { _mm512_store_si512(self.0.add(at).cast(), v) };
    }
}

/// [`BLOCKS`] blocks of sixteen FP4 rows into a panel; blocks beyond the last column are zeros.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
pub(super) fn fill_fp4(
    matrix: &Matrix<'_>,
    codes: &[u8],
    scales: &[u8],
    lanes: &[usize; LANES],
    first: usize,
    half: usize,
    panel: &mut Panel<'_>,
) {
    let table = e2m1_table();
    let (mut short, mut short_scales) = ([[0; BLOCKS * BLOCK / 2]; LANES], [[0; BLOCKS * GROUPS]; LANES]);
    let rows = sixteen_rows(codes, lanes, matrix.cols / 2, first * BLOCK / 2, &mut short);
    let scale_rows = sixteen_rows(scales, lanes, matrix.cols / 32, first * GROUPS, &mut short_scales);
    let registers = Registers::of(panel);
    for block in 0..BLOCKS {
        for group in 0..GROUPS {
            // SAFETY: each row has 64 bytes for each of four blocks; block, step and half are within the panel.
            unsafe {
                let quads = load_quads(&rows, (block * GROUPS + group) * 16);
                for (quad, &packed) in quads.iter().enumerate() {
                    let [even, odd] = e2m1_integers(packed, table);
                    registers.put(block, group * 2 * GROUPS + quad, half, even);
                    registers.put(block, group * 2 * GROUPS + GROUPS + quad, half, odd);
                }
            }
        }
    }
    // SAFETY: each row has four scale bytes for each of four blocks.
    let bytes = unsafe { load_quads(&scale_rows, 0) };
    for (block, &bytes) in bytes.iter().enumerate() {
        fill_scales::<E2M1>(bytes, block, half, panel);
    }
}

/// `count` blocks of sixteen FP8 rows into a panel.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
pub(super) fn fill_fp8(
    matrix: &Matrix<'_>,
    codes: &[u8],
    lanes: &[usize; LANES],
    (first, count): (usize, usize),
    half: usize,
    panel: &mut Panel<'_>,
) {
    let tables = e4m3_tables();
    let order = quad_order();
    for block in 0..count {
        let from = (first + block) * BLOCK;
        let mut short = [[0u8; BLOCK]; LANES];
        let rows = sixteen_rows(codes, lanes, matrix.cols, from, &mut short);
        let registers = Registers::of(panel);
        for part in 0..BLOCK / 16 {
            // SAFETY: each row has 128 bytes; block, step and half are within the panel.
            unsafe {
                let quads = load_quads(&rows, 16 * part);
                for pair in 0..2 {
                    let (a, b) = (quads[2 * pair], quads[2 * pair + 1]);
                    for parity in 0..2 {
                        let codes = _mm512_permutex2var_epi8(a, order[parity], b);
                        let step = parity * (QUADS / 2) + 2 * part + pair;
                        registers.put(block, step, half, e4m3_integers(codes, tables));
                    }
                }
            }
        }
        let out = &mut panel.scales[(block * TILE_ROWS + half) * LANES..][..LANES];
        for (out, &row) in out.iter_mut().zip(lanes) {
            *out = matrix.scale_at(row, from);
        }
    }
}

/// Which bytes of eight columns of sixteen rows, four in each of two registers, are the even columns, and which the odd.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[inline]
fn quad_order() -> [__m512i; 2] {
    let mut even = [0u8; 64];
    for (i, byte) in even.iter_mut().enumerate() {
        let (lane, column) = (i / 4, i % 4 * 2);
        *byte = (column / 4 * 64 + lane * 4 + column % 4) as u8;
    }
    // SAFETY: the array holds 64 bytes.
    let even = unsafe { _mm512_loadu_si512(even.as_ptr().cast()) };
    [even, _mm512_or_si512(even, _mm512_set1_epi8(1))]
}

/// One block of sixteen rows of grouped integers into a panel.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
pub(super) fn fill_groups<const KIND: Kind>(
    matrix: &Matrix<'_>,
    lanes: &[usize; LANES],
    first: usize,
    block: usize,
    half: usize,
    panel: &mut Panel<'_>,
) {
    let Elements::Grouped { codes, scales, .. } = matrix.elements else {
        return;
    };
    let (cols, row_bytes) = (matrix.cols, matrix.row_bytes());
    let mut integers = [[[0u8; 64]; 2]; LANES];
    for (integers, &lane) in integers.iter_mut().zip(lanes) {
        let row = &codes[lane * row_bytes..][..row_bytes];
        let halves = group_integers::<KIND>(row, cols, first + block, GROUPS);
        for (integers, half) in integers.iter_mut().zip(halves) {
            // SAFETY: 64 bytes are written to an array of 64.
            unsafe { _mm512_storeu_si512(integers.as_mut_ptr().cast(), half) };
        }
    }
    let registers = Registers::of(panel);
    for parity in 0..2 {
        let rows = std::array::from_fn(|lane| integers[lane][parity].as_ptr());
        for group in 0..GROUPS {
            // SAFETY: each row has 64 bytes; block, step and half are within the panel.
            unsafe {
                let quads = load_quads(&rows, 16 * group);
                for (quad, &v) in quads.iter().enumerate() {
                    registers.put(block, group * 2 * GROUPS + parity * GROUPS + quad, half, v);
                }
            }
        }
    }
    let bytes =
        lanes.map(|row| scale_bytes(&scales[(row * cols / BLOCK + first + block) * GROUPS..][..GROUPS]));
    // SAFETY: sixteen words are read of an array of sixteen.
    let bytes = unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) };
    fill_scales::<KIND>(bytes, block, half, panel);
}

/// Four scale bytes of sixteen rows, one a group, to a register of rows for each group.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[inline]
fn fill_scales<const KIND: Kind>(bytes: __m512i, block: usize, half: usize, panel: &mut Panel<'_>) {
    let mut bytes = bytes;
    for group in 0..GROUPS {
        let out = &mut panel.scales[((block * GROUPS + group) * TILE_ROWS + half) * LANES..][..LANES];
        let scales = scale_values::<KIND>(_mm512_and_si512(bytes, _mm512_set1_epi32(0xFF)));
        // SAFETY: sixteen floats are written to a line of sixteen.
        unsafe { _mm512_store_ps(out.as_mut_ptr(), scales) };
        bytes = _mm512_srli_epi32::<8>(bytes);
    }
}
