//! Weights rearranged for tiles, four columns of sixteen rows to a register.

#[allow(clippy::wildcard_imports, reason = "a kernel uses dozens of intrinsics")]
use std::arch::x86_64::*;
use std::ops::RangeInclusive;

use super::integers::{
    E2M1, Kind, e2m1_integers, e2m1_table, e4m3_integers, e4m3_tables, group_integers, offset, scale_values,
};
use super::{BLOCKS, LANES, QUADS, TILE_ROWS, WIDTH};
use crate::formats::grouped::Bits;
use crate::int8::weights::scale_bytes;
use crate::int8::{BLOCK, GROUPS};
use crate::matrix::{Elements, FP8_BLOCK, Matrix};
use crate::quads::{load_quads, transposed};

/// Weights of up to [`BLOCKS`] blocks of [`TILE_ROWS`] · 16 rows, rearranged: four columns of sixteen rows to a register.
pub(super) struct Panel<'a> {
    /// `[blocks][QUADS][TILE_ROWS]` registers; the groups of a block one after the other.
    pub(super) integers: &'a mut [u8],
    /// `[blocks][groups][TILE_ROWS]` registers: what dots begin at. It takes the inputs' offset off again.
    pub(super) starts: &'a mut [i32],
    /// As `starts`, of weight scales; or what to subtract from dots that are floats (see [`FLOAT_DOT`]).
    pub(super) scales: &'a mut [f32],
    /// Whether they are.
    pub(super) float_dots: bool,
    /// Room for weights where rows or columns end: [`COPIES`] bytes.
    pub(super) copies: &'a mut [u8],
}

/// The stored bytes of a panel, at most: FP8.
pub(super) const COPIES: usize = BLOCKS * BLOCK * WIDTH;

/// The bits of 1.5 · 2^23 less those of one. Added to the bits of a scale that is a power of two, they are those of a
/// float whose last place is that scale. A dot that begins there is, read as a float, this float plus dot · scale: no
/// dot reaches the 2^22 that would carry it out of its binade. Subtracting the float leaves dot · scale, exactly. That
/// is what conversion and multiplication give, but subtractions have units of their own, while multiplications take
/// turns with dot products.
const FLOAT_DOT: i32 = 0x4B40_0000 - 0x3F80_0000;

const _: () = assert!(BLOCK * 127 * 127 < 1 << 22);

/// Exponent fields of the scales for which [`FLOAT_DOT`] gives a float, and every dot · scale is a normal number.
const FLOAT_DOT_SCALES: RangeInclusive<u8> = 1..=254 - 23;

/// Rows side by side, as many bytes of each as their reader takes: `stride` bytes apart.
#[derive(Clone, Copy)]
pub(super) struct Rows {
    first: *const u8,
    stride: usize,
}

impl Rows {
    /// `BYTES` bytes from `from` on of `ROWS` rows from `row` on, where they lie. If only `rows` of them exist, or less
    /// of each, they are copied: rows beyond the last are the last again, bytes beyond the last are `filler`.
    pub(super) fn of<const BYTES: usize, const ROWS: usize>(
        all: &[u8],
        (row, rows): (usize, usize),
        stride: usize,
        from: usize,
        filler: u8,
        copies: &mut [u8],
    ) -> Self {
        if rows == ROWS && from + BYTES <= stride {
            assert!((row + rows) * stride <= all.len());
            return Self {
                first: all[row * stride + from..].as_ptr(),
                stride,
            };
        }
        let copies = &mut copies[..ROWS * BYTES];
        for (lane, copy) in copies.chunks_exact_mut(BYTES).enumerate() {
            let there = BYTES.min(stride - from);
            copy[..there].copy_from_slice(&all[(row + lane.min(rows - 1)) * stride + from..][..there]);
            copy[there..].fill(filler);
        }
        Self {
            first: copies.as_ptr(),
            stride: BYTES,
        }
    }

    /// Where the rows of one half have byte `at`.
    fn at(&self, half: usize, at: usize) -> [*const u8; LANES] {
        std::array::from_fn(|lane| self.first.wrapping_add((half * LANES + lane) * self.stride + at))
    }

    /// 64 bytes of sixteen rows as sixteen registers: register j of `[i]` has four bytes from 16i + 4j on of every row.
    ///
    /// # Safety
    /// The rows are still borrowed and have so many bytes.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    #[inline]
    pub(super) unsafe fn quads(&self, half: usize, at: usize) -> [[__m512i; 4]; 4] {
        let rows = self.at(half, at);
        let mut fours = [[_mm512_setzero_si512(); 4]; 4];
        for (i, fours) in fours.iter_mut().enumerate() {
            // SAFETY: 64 bytes each, as the caller promised.
            let load = |lane: usize| unsafe { _mm512_loadu_si512(rows[lane].cast()) };
            *fours = transposed([load(4 * i), load(4 * i + 1), load(4 * i + 2), load(4 * i + 3)]);
        }
        let mut quads = [[_mm512_setzero_si512(); 4]; 4];
        for j in 0..4 {
            let a = _mm512_shuffle_i32x4::<0x44>(fours[0][j], fours[1][j]);
            let b = _mm512_shuffle_i32x4::<0xEE>(fours[0][j], fours[1][j]);
            let c = _mm512_shuffle_i32x4::<0x44>(fours[2][j], fours[3][j]);
            let d = _mm512_shuffle_i32x4::<0xEE>(fours[2][j], fours[3][j]);
            quads[0][j] = _mm512_shuffle_i32x4::<0x88>(a, c);
            quads[1][j] = _mm512_shuffle_i32x4::<0xDD>(a, c);
            quads[2][j] = _mm512_shuffle_i32x4::<0x88>(b, d);
            quads[3][j] = _mm512_shuffle_i32x4::<0xDD>(b, d);
        }
        quads
    }
}

/// Registers of a panel.
struct Registers {
    integers: *mut u8,
    starts: *mut i32,
    scales: *mut f32,
    float_dots: bool,
}

impl Registers {
    fn of(panel: &mut Panel<'_>) -> Self {
        assert!(panel.integers.len() >= BLOCKS * QUADS * TILE_ROWS * 64);
        assert!(panel.starts.len().min(panel.scales.len()) >= BLOCKS * GROUPS * WIDTH);
        Self {
            integers: panel.integers.as_mut_ptr(),
            starts: panel.starts.as_mut_ptr(),
            scales: panel.scales.as_mut_ptr(),
            float_dots: panel.float_dots,
        }
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
        unsafe { _mm512_store_si512(self.integers.add(at).cast(), v) };
    }

    /// Writes the scales of group `group` of all the panel's, and its start; `offset` is what the inputs' offset
    /// adds to dots.
    ///
    /// # Safety
    /// `group` is below [`BLOCKS`] · [`GROUPS`], `half` below [`TILE_ROWS`], and the panel still borrowed.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    #[inline]
    unsafe fn put_scales(&self, group: usize, half: usize, scales: __m512, offset: __m512i) {
        let at = (group * TILE_ROWS + half) * LANES;
        let float = _mm512_add_epi32(_mm512_castps_si512(scales), _mm512_set1_epi32(FLOAT_DOT));
        let (start, scales) = if self.float_dots {
            (float, _mm512_castsi512_ps(float))
        } else {
            (_mm512_setzero_si512(), scales)
        };
        // SAFETY: within the panel as the caller promised; registers fill lines.
        unsafe {
            _mm512_store_si512(self.starts.add(at).cast(), _mm512_sub_epi32(start, offset));
            _mm512_store_ps(self.scales.add(at), scales);
        }
    }
}

/// Rows of a half of a panel.
pub(super) type Lanes = [usize; LANES];

/// `count` blocks of up to [`WIDTH`] rows into a panel. Rows beyond the last are the last again; their results are
/// dropped.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
pub(super) fn fill(
    matrix: &Matrix<'_>,
    rows: (usize, usize),
    (first, count): (usize, usize),
    panel: &mut Panel<'_>,
) {
    match matrix.elements {
        Elements::Fp8 { codes, .. } => fill_fp8(matrix, codes, rows, (first, count), panel),
        Elements::Fp4 { codes, scales } => fill_fp4(matrix, codes, scales, rows, first, panel),
        Elements::Grouped { bits, .. } => {
            panel.float_dots = false;
            for half in 0..TILE_ROWS {
                let lanes = lanes(rows, half);
                for block in 0..count {
                    match bits {
                        Bits::Four => fill_groups::<4>(matrix, &lanes, first, block, half, panel),
                        Bits::Five => fill_groups::<5>(matrix, &lanes, first, block, half, panel),
                        Bits::Six => fill_groups::<6>(matrix, &lanes, first, block, half, panel),
                        Bits::Eight => fill_groups::<8>(matrix, &lanes, first, block, half, panel),
                    }
                }
            }
        }
        Elements::F32(_) | Elements::Bf16(_) => {}
    }
}

fn lanes((row, rows): (usize, usize), half: usize) -> Lanes {
    std::array::from_fn(|lane| row + (half * LANES + lane).min(rows - 1))
}

/// [`BLOCKS`] blocks of FP4 rows into a panel; blocks beyond the last column are zeros.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
fn fill_fp4(
    matrix: &Matrix<'_>,
    codes: &[u8],
    scales: &[u8],
    rows: (usize, usize),
    first: usize,
    panel: &mut Panel<'_>,
) {
    const SCALES: usize = BLOCKS * GROUPS;
    let cols = matrix.cols;
    let (short_scales, short) = panel.copies.split_at_mut(WIDTH * SCALES);
    // Beyond the last column scales are one.
    let scales = Rows::of::<SCALES, WIDTH>(scales, rows, cols / 32, first * GROUPS, 127, short_scales);
    let codes = Rows::of::<{ BLOCKS * 64 }, WIDTH>(codes, rows, cols / 2, first * 64, 0, short);
    let mut bytes = [[_mm512_setzero_si512(); BLOCKS]; TILE_ROWS];
    let mut odd_ones = 0;
    for (half, bytes) in bytes.iter_mut().enumerate() {
        // SAFETY: each row has four scale bytes for each of four blocks.
        *bytes = unsafe { load_quads(&scales.at(half, 0), 0) };
        for &bytes in &*bytes {
            let above_least = _mm512_sub_epi8(bytes, _mm512_set1_epi8(*FLOAT_DOT_SCALES.start() as i8));
            let range = FLOAT_DOT_SCALES.end() - FLOAT_DOT_SCALES.start();
            odd_ones |= _mm512_cmpgt_epu8_mask(above_least, _mm512_set1_epi8(range as i8));
        }
    }
    panel.float_dots = odd_ones == 0;
    let registers = Registers::of(panel);
    let table = e2m1_table::<false>();
    for (half, bytes) in bytes.iter().enumerate() {
        for (block, &bytes) in bytes.iter().enumerate() {
            // SAFETY: each row has 64 bytes for each of four blocks.
            let quads = unsafe { codes.quads(half, block * 64) };
            let mut bytes = bytes;
            for (group, quads) in quads.iter().enumerate() {
                let mut sums = _mm512_setzero_si512();
                for (quad, &packed) in quads.iter().enumerate() {
                    let [even, odd] = e2m1_integers(packed, table);
                    // Eight of at most 12 fit a byte.
                    sums = _mm512_add_epi8(_mm512_add_epi8(sums, even), odd);
                    // SAFETY: block, step and half are within the panel.
                    unsafe {
                        registers.put(block, group * 2 * GROUPS + quad, half, even);
                        registers.put(block, group * 2 * GROUPS + GROUPS + quad, half, odd);
                    }
                }
                let sums = _mm512_dpbusd_epi32(_mm512_setzero_si512(), offset::<true>(), sums);
                let scales = scale_values::<E2M1>(_mm512_and_si512(bytes, _mm512_set1_epi32(0xFF)));
                // SAFETY: block, group and half are within the panel.
                unsafe { registers.put_scales(block * GROUPS + group, half, scales, sums) };
                bytes = _mm512_srli_epi32::<8>(bytes);
            }
        }
    }
}

/// The scales of one block of sixteen FP8 rows.
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn fp8_scales(matrix: &Matrix<'_>, lanes: &Lanes, column: usize) -> __m512 {
    if lanes[0] / FP8_BLOCK == lanes[LANES - 1] / FP8_BLOCK {
        return _mm512_set1_ps(matrix.scale_at(lanes[0], column));
    }
    let scales = lanes.map(|row| matrix.scale_at(row, column));
    // SAFETY: sixteen floats are read of an array of sixteen.
    unsafe { _mm512_loadu_ps(scales.as_ptr()) }
}

/// `count` blocks of FP8 rows into a panel.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
fn fill_fp8(
    matrix: &Matrix<'_>,
    codes: &[u8],
    rows: (usize, usize),
    (first, count): (usize, usize),
    panel: &mut Panel<'_>,
) {
    let mut scales = [[_mm512_setzero_ps(); BLOCKS]; TILE_ROWS];
    let mut odd_ones = 0;
    for (half, scales) in scales.iter_mut().enumerate() {
        let lanes = lanes(rows, half);
        for (block, scales) in scales.iter_mut().enumerate().take(count) {
            *scales = fp8_scales(matrix, &lanes, (first + block) * BLOCK);
            // Rotated, a power of two has its exponent field at the bottom and nothing above.
            let exponent = _mm512_ror_epi32::<23>(_mm512_castps_si512(*scales));
            let above_least =
                _mm512_sub_epi32(exponent, _mm512_set1_epi32((*FLOAT_DOT_SCALES.start()).into()));
            let range = FLOAT_DOT_SCALES.end() - FLOAT_DOT_SCALES.start();
            odd_ones |= _mm512_cmpgt_epu32_mask(above_least, _mm512_set1_epi32(range.into()));
        }
    }
    panel.float_dots = odd_ones == 0;
    let codes =
        Rows::of::<{ BLOCKS * BLOCK }, WIDTH>(codes, rows, matrix.cols, first * BLOCK, 0, panel.copies);
    let registers = Registers::of(panel);
    let (tables, order) = (e4m3_tables::<false>(), quad_order());
    for (half, scales) in scales.iter().enumerate() {
        for (block, &scales) in scales.iter().enumerate().take(count) {
            let mut sums = _mm512_setzero_si512();
            for line in 0..BLOCK / 64 {
                // SAFETY: each row has 128 bytes for each of four blocks.
                let quads = unsafe { codes.quads(half, block * BLOCK + 64 * line) };
                for (i, pair) in quads.as_flattened().chunks_exact(2).enumerate() {
                    for parity in 0..2 {
                        let codes = _mm512_permutex2var_epi8(pair[0], order[parity], pair[1]);
                        let integers = e4m3_integers(codes, tables);
                        sums = _mm512_dpbusd_epi32(sums, offset::<true>(), integers);
                        // SAFETY: block, step and half are within the panel.
                        unsafe { registers.put(block, parity * (QUADS / 2) + 8 * line + i, half, integers) };
                    }
                }
            }
            // SAFETY: block and half are within the panel.
            unsafe { registers.put_scales(block, half, scales, sums) };
        }
    }
}

/// Which bytes of eight columns of sixteen rows, four in each of two registers, are the even columns, and which the odd.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[inline]
pub(super) fn quad_order() -> [__m512i; 2] {
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
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
fn fill_groups<const KIND: Kind>(
    matrix: &Matrix<'_>,
    lanes: &Lanes,
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
        let halves = group_integers::<KIND, false>(row, cols, first + block, GROUPS);
        for (integers, half) in integers.iter_mut().zip(halves) {
            // SAFETY: 64 bytes are written to an array of 64.
            unsafe { _mm512_storeu_si512(integers.as_mut_ptr().cast(), half) };
        }
    }
    let registers = Registers::of(panel);
    let mut sums = [_mm512_setzero_si512(); GROUPS];
    for parity in 0..2 {
        let rows = std::array::from_fn(|lane| integers[lane][parity].as_ptr());
        for (group, sums) in sums.iter_mut().enumerate() {
            // SAFETY: each row has 64 bytes; block, step and half are within the panel.
            unsafe {
                let quads = load_quads(&rows, 16 * group);
                for (quad, &v) in quads.iter().enumerate() {
                    registers.put(block, group * 2 * GROUPS + parity * GROUPS + quad, half, v);
                    *sums = _mm512_dpbusd_epi32(*sums, offset::<true>(), v);
                }
            }
        }
    }
    let bytes =
        lanes.map(|row| scale_bytes(&scales[(row * cols / BLOCK + first + block) * GROUPS..][..GROUPS]));
    // SAFETY: sixteen words are read of an array of sixteen.
    let mut bytes = unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) };
    for (group, &sums) in sums.iter().enumerate() {
        let scales = scale_values::<KIND>(_mm512_and_si512(bytes, _mm512_set1_epi32(0xFF)));
        // SAFETY: block, group and half are within the panel.
        unsafe { registers.put_scales(block * GROUPS + group, half, scales, sums) };
        bytes = _mm512_srli_epi32::<8>(bytes);
    }
}
