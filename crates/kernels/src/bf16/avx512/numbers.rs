//! Registers of codes, a row to a lane, to registers of BF16 pairs.

#[allow(clippy::wildcard_imports, reason = "a kernel uses dozens of intrinsics")]
use std::arch::x86_64::*;

use crate::formats::{e2m1, e4m3};

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
        // SAFETY: the tables hold 128 bytes, the orders 64.
        unsafe {
            let pair = |table: &[u8; 128]| {
                [
                    _mm512_loadu_si512(table.as_ptr().cast()),
                    _mm512_loadu_si512(table.as_ptr().add(64).cast()),
                ]
            };
            Self {
                low: pair(&LOW),
                high: pair(&HIGH),
                order: [
                    _mm512_loadu_si512(ORDER[0].as_ptr().cast()),
                    _mm512_loadu_si512(ORDER[1].as_ptr().cast()),
                ],
            }
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
