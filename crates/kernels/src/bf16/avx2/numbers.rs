//! A block of eight stored rows as numbers, a row to a lane.

#[allow(clippy::wildcard_imports, reason = "a kernel uses dozens of intrinsics")]
use std::arch::x86_64::*;

use super::LANES;
use crate::bf16::{BLOCK, EIGHT, GROUP, GROUPS};
use crate::formats::e2m1;
use crate::int8::grouped_integers;
use crate::matrix::{Elements, Matrix};
use crate::quads::eight_rows_transposed as transposed;

/// Bytes of a block, at most.
type Copies = [[u8; BLOCK]; LANES];

/// A block of eight rows of a matrix.
pub(super) struct Eights<'a> {
    matrix: &'a Matrix<'a>,
    lanes: &'a [usize; LANES],
    block: usize,
}

impl<'a> Eights<'a> {
    pub(super) fn new(matrix: &'a Matrix<'a>, lanes: &'a [usize; LANES], block: usize) -> Self {
        Self { matrix, lanes, block }
    }

    /// Gives each eight columns to `put`, with the first one's place in the block; those beyond the last are zeros or not
    /// given. False if what was given is not right, because there are NaN among the codes.
    #[target_feature(enable = "avx2,f16c")]
    #[inline]
    pub(super) fn each(&self, put: &mut impl FnMut(usize, [__m256; EIGHT])) -> bool {
        let cols = self.matrix.cols;
        match self.matrix.elements {
            Elements::Fp4 { codes, .. } => {
                self.fp4(codes, cols / 2, put);
                true
            }
            Elements::Fp8 { codes, .. } => self.fp8(codes, cols, put),
            Elements::Grouped { .. } => {
                self.grouped(put);
                true
            }
            Elements::F32(_) | Elements::Bf16(_) => true,
        }
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn fp4(&self, codes: &[u8], row_bytes: usize, put: &mut impl FnMut(usize, [__m256; EIGHT])) {
        let mut copies = None;
        let rows = self.rows(codes, row_bytes, BLOCK / 2, &mut copies);
        let table = [table(&E2M1[0]), table(&E2M1[1])];
        for group in 0..GROUPS {
            // SAFETY: each row has 64 bytes.
            let quads = unsafe { load_quads(&rows, group * GROUP / 2) };
            for (i, quads) in quads.into_iter().enumerate() {
                put(group * GROUP + i * EIGHT, e2m1_numbers(quads, table));
            }
        }
    }

    #[target_feature(enable = "avx2,f16c")]
    #[inline]
    fn fp8(&self, codes: &[u8], cols: usize, put: &mut impl FnMut(usize, [__m256; EIGHT])) -> bool {
        let mut copies = None;
        let rows = self.rows(codes, cols, BLOCK, &mut copies);
        let mut largest = _mm256_setzero_si256();
        for part in 0..BLOCK / 16 {
            // SAFETY: each row has 128 bytes.
            let quads = unsafe { load_quads(&rows, part * 16) };
            for quads in quads {
                largest = _mm256_max_epu8(largest, _mm256_and_si256(quads, _mm256_set1_epi8(0x7F)));
            }
            for (i, [low, high]) in [[quads[0], quads[1]], [quads[2], quads[3]]]
                .into_iter()
                .enumerate()
            {
                let ([a, b, c, d], [e, f, g, h]) = (e4m3_numbers(low), e4m3_numbers(high));
                put(part * 16 + i * EIGHT, [a, b, c, d, e, f, g, h]);
            }
        }
        let nan = _mm256_cmpeq_epi8(largest, _mm256_set1_epi8(0x7F));
        _mm256_testz_si256(nan, nan) == 1
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn grouped(&self, put: &mut impl FnMut(usize, [__m256; EIGHT])) {
        let Elements::Grouped { bits, codes, .. } = self.matrix.elements else {
            return;
        };
        let bytes = self.matrix.row_bytes();
        // Even columns and then odd ones of each row.
        let rows = self
            .lanes
            .map(|row| grouped_integers(bits, &codes[row * bytes..][..bytes], self.matrix.cols, self.block));
        let rows: [*const u8; LANES] = std::array::from_fn(|lane| rows[lane].as_ptr().cast());
        for group in 0..GROUPS {
            // SAFETY: each row has 128 bytes.
            let (even, odd) = unsafe {
                (
                    load_quads(&rows, group * GROUP / 2),
                    load_quads(&rows, BLOCK / 2 + group * GROUP / 2),
                )
            };
            for (i, (even, odd)) in even.into_iter().zip(odd).enumerate() {
                let ([a, c, e, g], [b, d, f, h]) = (integers(even), integers(odd));
                put(group * GROUP + i * EIGHT, [a, b, c, d, e, f, g, h]);
            }
        }
    }

    /// Where the block of each row lies, `block_bytes` long: in the matrix, or copied, with zeros beyond the row's end.
    #[inline(always)]
    fn rows(
        &self,
        codes: &[u8],
        row_bytes: usize,
        block_bytes: usize,
        copies: &mut Option<Copies>,
    ) -> [*const u8; LANES] {
        let from = self.block * block_bytes;
        if from + block_bytes <= row_bytes {
            return self
                .lanes
                .map(|row| codes[row * row_bytes + from..][..block_bytes].as_ptr());
        }
        let copies = copies.insert([[0; BLOCK]; LANES]);
        for (copy, &row) in copies.iter_mut().zip(self.lanes) {
            let left = &codes[row * row_bytes + from..(row + 1) * row_bytes];
            copy[..left.len()].copy_from_slice(left);
        }
        std::array::from_fn(|lane| copies[lane].as_ptr())
    }
}

/// Sixteen bytes of eight rows, each row's at `rows[lane]`, as four registers: register j has four bytes from 4j on of
/// every row.
///
/// # Safety
/// Sixteen bytes can be read at each address.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn load_quads(rows: &[*const u8; LANES], offset: usize) -> [__m256i; 4] {
    let mut v = [_mm256_setzero_si256(); 4];
    for i in 0..4 {
        // SAFETY: sixteen bytes each, as the caller promised.
        v[i] = unsafe {
            let load = |lane: usize| _mm_loadu_si128(rows[lane].add(offset).cast());
            _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(load(i)), load(i + 4))
        };
    }
    transposed(v)
}

/// The lower and upper bytes of each E2M1 value in BF16.
static E2M1: [[u8; 16]; 2] = [bytes(16), bytes(24)];

const fn bytes(shift: u32) -> [u8; 16] {
    let mut bytes = [0; 16];
    let mut code = 0;
    while code < 16 {
        bytes[code] = (e2m1::VALUES[code].to_bits() >> shift) as u8;
        code += 1;
    }
    bytes
}

/// Sixteen bytes in both halves.
#[target_feature(enable = "avx2")]
#[inline]
fn table(bytes: &[u8; 16]) -> __m256i {
    // SAFETY: sixteen bytes are read of sixteen.
    _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) })
}

/// The numbers of eight E2M1 codes of each lane, lowest nibble first; see [`E2M1`] for the tables.
#[target_feature(enable = "avx2")]
#[inline]
fn e2m1_numbers(codes: __m256i, tables: [__m256i; 2]) -> [__m256; EIGHT] {
    let nibbles = |codes| _mm256_and_si256(codes, _mm256_set1_epi8(15));
    let ([a, c, e, g], [b, d, f, h]) = (
        e2m1_quad(nibbles(codes), tables),
        e2m1_quad(nibbles(_mm256_srli_epi16::<4>(codes)), tables),
    );
    [a, b, c, d, e, f, g, h]
}

/// As [`e2m1_numbers`], of four codes of each lane, a byte each.
#[target_feature(enable = "avx2")]
#[inline]
fn e2m1_quad(codes: __m256i, [lower, upper]: [__m256i; 2]) -> [__m256; 4] {
    let (lower, upper) = (
        _mm256_shuffle_epi8(lower, codes),
        _mm256_shuffle_epi8(upper, codes),
    );
    // Two columns in BF16 to 32 bits: columns 0 and 1 of a row, then 2 and 3, of rows 0 and 1 in each half, and 2 and 3.
    let (first, last) = (
        _mm256_castsi256_ps(_mm256_unpacklo_epi8(lower, upper)),
        _mm256_castsi256_ps(_mm256_unpackhi_epi8(lower, upper)),
    );
    let pairs = [
        _mm256_castps_si256(_mm256_shuffle_ps::<0b10_00_10_00>(first, last)),
        _mm256_castps_si256(_mm256_shuffle_ps::<0b11_01_11_01>(first, last)),
    ];
    let low = |pair| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(pair));
    let high = |pair| _mm256_castsi256_ps(_mm256_and_si256(pair, _mm256_set1_epi32(-65_536)));
    [low(pairs[0]), high(pairs[0]), low(pairs[1]), high(pairs[1])]
}

/// The numbers of four E4M3 codes of each lane, lowest byte first, but for NaN: through binary16, as whose bits a code is
/// 2^-8 of its value.
#[target_feature(enable = "avx2,f16c")]
#[inline]
fn e4m3_numbers(codes: __m256i) -> [__m256; 4] {
    // Columns instead of rows, eight bytes each: columns 0 and 1 in the lower half, 2 and 3 in the upper.
    let turn = _mm256_broadcastsi128_si256(_mm_setr_epi8(
        0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15,
    ));
    let columns = _mm256_permutevar8x32_epi32(
        _mm256_shuffle_epi8(codes, turn),
        _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7),
    );
    let zero = _mm256_setzero_si256();
    let halves = |bytes| {
        _mm256_and_si256(
            _mm256_srai_epi16::<1>(bytes),
            _mm256_set1_epi16(0xBFFF_u16 as i16),
        )
    };
    let (even, odd) = (
        halves(_mm256_unpacklo_epi8(zero, columns)),
        halves(_mm256_unpackhi_epi8(zero, columns)),
    );
    let number = |half| _mm256_mul_ps(_mm256_cvtph_ps(half), _mm256_set1_ps(256.0));
    [
        number(_mm256_castsi256_si128(even)),
        number(_mm256_castsi256_si128(odd)),
        number(_mm256_extracti128_si256::<1>(even)),
        number(_mm256_extracti128_si256::<1>(odd)),
    ]
}

/// The numbers of four signed bytes of each lane, lowest first.
#[target_feature(enable = "avx2")]
#[inline]
fn integers(bytes: __m256i) -> [__m256; 4] {
    let mut out = [_mm256_setzero_ps(); 4];
    for (i, out) in out.iter_mut().enumerate() {
        let top = _mm256_sll_epi32(bytes, _mm_cvtsi32_si128(24 - 8 * i as i32));
        *out = _mm256_cvtepi32_ps(_mm256_srai_epi32::<24>(top));
    }
    out
}
