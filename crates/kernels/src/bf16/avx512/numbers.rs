//! Registers of codes, a row to a lane, to registers of BF16 pairs.

#[allow(clippy::wildcard_imports, reason = "a kernel uses dozens of intrinsics")]
use std::arch::x86_64::*;

use crate::bf16::{BLOCK, EIGHT, GROUP, GROUPS, LANES};
use crate::formats::{e2m1, e4m3};
use crate::int8::{Kind, group_integers};
use crate::matrix::Matrix;
use crate::quads::load_quads;

/// E4M3 codes to BF16: the bytes of each magnitude's bits, in tables of 128.
#[derive(Clone, Copy)]
pub(super) struct E4m3 {
    low: [__m512i; 2],
    high: [__m512i; 2],
    /// Which bytes of two registers are columns 0, 4, 1 and 5 of each row, and which 2, 6, 3 and 7.
    order: [__m512i; 2],
}

impl E4m3 {
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(super) fn new() -> Self {
        static LOW: [u8; 128] = bytes(0);
        static HIGH: [u8; 128] = bytes(8);
        static ORDER: [[u8; 64]; 2] = [order(0), order(2)];
        Self {
            low: load_table(&LOW),
            high: load_table(&HIGH),
            // SAFETY: the orders hold 64 bytes.
            order: unsafe {
                [
                    _mm512_loadu_si512(ORDER[0].as_ptr().cast()),
                    _mm512_loadu_si512(ORDER[1].as_ptr().cast()),
                ]
            },
        }
    }

    /// The pairs of eight columns, four in each of two registers: pair i has columns i and 4 + i.
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    #[inline]
    pub(super) fn pairs(&self, quads: [__m512i; 2]) -> [__m512i; 4] {
        let sign = _mm512_set1_epi8(-128);
        let mut pairs = [_mm512_setzero_si512(); 4];
        for half in 0..2 {
            // In each 128-bit part, columns 0 and 4 of its four rows and then columns 1 and 5; or 2 and 6, 3 and 7.
            let codes = _mm512_permutex2var_epi8(quads[0], self.order[half], quads[1]);
            // A look-up uses the low seven bits.
            let low = _mm512_permutex2var_epi8(self.low[0], codes, self.low[1]);
            let high = _mm512_permutex2var_epi8(self.high[0], codes, self.high[1]);
            // high | (codes & sign)
            let high = _mm512_ternarylogic_epi32::<0b1111_1000>(high, codes, sign);
            pairs[2 * half] = _mm512_unpacklo_epi8(low, high);
            pairs[2 * half + 1] = _mm512_unpackhi_epi8(low, high);
        }
        pairs
    }
}

/// Bits `shift .. shift + 8` of each magnitude's BF16.
const fn bytes(shift: u32) -> [u8; 128] {
    let mut table = [0; 128];
    let mut code = 0;
    while code < 128 {
        // Exact: the upper half of the float is all there is.
        table[code] = (e4m3::VALUES[code].to_bits() >> 16 >> shift) as u8;
        code += 1;
    }
    table
}

/// Which bytes of eight columns of sixteen rows, four in each of two registers, are columns `first` and `4 + first`, then
/// `first + 1` and `5 + first`, of the four rows of each 128-bit part.
const fn order(first: usize) -> [u8; 64] {
    let mut table = [0; 64];
    let mut at = 0;
    while at < 64 {
        let (part, next, row, register) = (at / 16, at / 8 % 2, at / 2 % 4, at % 2);
        table[at] = (64 * register + 16 * part + 4 * row + first + next) as u8;
        at += 1;
    }
    table
}

/// Codes of four bits to BF16, by a table that a look-up indexes with the low five bits of a word.
#[derive(Clone, Copy)]
pub(super) struct Nibbles(__m512i);

impl Nibbles {
    /// E2M1.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(super) fn e2m1() -> Self {
        static TABLE: [u16; 32] = twice(&e2m1::VALUES);
        // SAFETY: the table holds 64 bytes.
        Self(unsafe { _mm512_loadu_si512(TABLE.as_ptr().cast()) })
    }

    /// Integers of four bits.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(super) fn integers() -> Self {
        static TABLE: [u16; 32] = twice(&[
            -8.0, -7.0, -6.0, -5.0, -4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0,
        ]);
        // SAFETY: the table holds 64 bytes.
        Self(unsafe { _mm512_loadu_si512(TABLE.as_ptr().cast()) })
    }

    /// The pairs of eight columns of each row, two to a byte: pair i has columns i and 4 + i, the nibbles i of the two words.
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    pub(super) fn pairs(&self, quads: __m512i) -> [__m512i; 4] {
        [
            _mm512_permutexvar_epi16(quads, self.0),
            _mm512_permutexvar_epi16(_mm512_srli_epi16::<4>(quads), self.0),
            _mm512_permutexvar_epi16(_mm512_srli_epi16::<8>(quads), self.0),
            _mm512_permutexvar_epi16(_mm512_srli_epi16::<12>(quads), self.0),
        ]
    }
}

/// The BF16 bits of sixteen values, twice: the fifth bit of an index belongs to the next code.
const fn twice(values: &[f32; 16]) -> [u16; 32] {
    let mut table = [0; 32];
    let mut i = 0;
    while i < 32 {
        table[i] = (values[i % 16].to_bits() >> 16) as u16;
        i += 1;
    }
    table
}

/// Signed bytes to BF16: the bytes of each magnitude's bits, in tables of 128.
#[derive(Clone, Copy)]
pub(super) struct Integers {
    low: [__m512i; 2],
    high: [__m512i; 2],
}

impl Integers {
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(super) fn new() -> Self {
        static LOW: [u8; 128] = integer_bytes(0);
        static HIGH: [u8; 128] = integer_bytes(8);
        Self {
            low: load_table(&LOW),
            high: load_table(&HIGH),
        }
    }

    /// The pairs of eight columns of each row, four bytes of even columns and four of odd ones: pair i has columns i and
    /// 4 + i.
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    #[inline]
    pub(super) fn pairs(&self, [even, odd]: [__m512i; 2]) -> [__m512i; 4] {
        let ([first, third], [second, fourth]) = (self.halves(even), self.halves(odd));
        [first, second, third, fourth]
    }

    /// Bytes 0 and 2 of each lane, and bytes 1 and 3.
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    #[inline]
    fn halves(&self, bytes: __m512i) -> [__m512i; 2] {
        /// The upper byte of each word.
        const UPPER: __mmask64 = 0xAAAA_AAAA_AAAA_AAAA;
        let lowest = _mm512_set1_epi8(-128);
        let magnitude = _mm512_abs_epi8(bytes);
        let low = _mm512_permutex2var_epi8(self.low[0], magnitude, self.low[1]);
        let high = _mm512_permutex2var_epi8(self.high[0], magnitude, self.high[1]);
        // high | (bytes & sign); −128, whose magnitude the look-up takes for zero, is 0xC300.
        let high = _mm512_ternarylogic_epi32::<0b1111_1000>(high, bytes, lowest);
        let high = _mm512_mask_mov_epi8(
            high,
            _mm512_cmpeq_epi8_mask(bytes, lowest),
            _mm512_set1_epi8(0xC3u8.cast_signed()),
        );
        [
            _mm512_mask_mov_epi8(low, UPPER, _mm512_slli_epi16::<8>(high)),
            _mm512_mask_mov_epi8(_mm512_srli_epi16::<8>(low), UPPER, high),
        ]
    }
}

/// Bits `shift .. shift + 8` of the BF16 of each integer.
const fn integer_bytes(shift: u32) -> [u8; 128] {
    let mut table = [0; 128];
    let mut i = 0;
    while i < 128 {
        // Exact: seven significant bits.
        table[i] = ((i as f32).to_bits() >> 16 >> shift) as u8;
        i += 1;
    }
    table
}

#[target_feature(enable = "avx512f")]
#[inline]
fn load_table(table: &[u8; 128]) -> [__m512i; 2] {
    // SAFETY: 128 bytes are read of a table of 128.
    unsafe {
        [
            _mm512_loadu_si512(table.as_ptr().cast()),
            _mm512_loadu_si512(table.as_ptr().add(64).cast()),
        ]
    }
}

/// A block of sixteen rows of grouped integers, as signed bytes: of each row the even columns, then the odd ones.
pub(super) struct Groups {
    rows: [[[u8; BLOCK / 2]; 2]; LANES],
    table: Integers,
}

impl Groups {
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(super) fn new() -> Self {
        Self {
            rows: [[[0; BLOCK / 2]; 2]; LANES],
            table: Integers::new(),
        }
    }

    /// Reads a block of rows `lanes`.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
    #[inline]
    pub(super) fn read<const KIND: Kind>(
        &mut self,
        matrix: &Matrix<'_>,
        codes: &[u8],
        lanes: &[usize; LANES],
        block: usize,
    ) {
        let row_bytes = matrix.row_bytes();
        for (to, &lane) in self.rows.iter_mut().zip(lanes) {
            let row = &codes[lane * row_bytes..][..row_bytes];
            let halves = group_integers::<KIND, false>(row, matrix.cols, block, GROUPS);
            for (to, half) in to.iter_mut().zip(halves) {
                // SAFETY: 64 bytes are written to an array of 64.
                unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), half) };
            }
        }
    }

    /// The pairs of a group, four for each eight columns.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
    #[inline]
    pub(super) fn pairs(&self, group: usize) -> [[__m512i; 4]; GROUP / EIGHT] {
        let quads = [0, 1].map(|parity| {
            let rows = std::array::from_fn(|lane| self.rows[lane][parity].as_ptr());
            // SAFETY: each row has 64 bytes, sixteen for a group.
            unsafe { load_quads(&rows, GROUP / 2 * group) }
        });
        let mut pairs = [[_mm512_setzero_si512(); 4]; GROUP / EIGHT];
        for (eight, pairs) in pairs.iter_mut().enumerate() {
            *pairs = self.table.pairs([quads[0][eight], quads[1][eight]]);
        }
        pairs
    }
}
