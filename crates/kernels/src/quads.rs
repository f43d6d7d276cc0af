//! Sixteen rows side by side, or eight, a row to a lane of a register: how stored rows are rearranged for products.

use std::arch::x86_64::{
    __m256i, __m512i, _mm_loadu_si128, _mm256_unpackhi_epi32, _mm256_unpackhi_epi64, _mm256_unpacklo_epi32,
    _mm256_unpacklo_epi64, _mm512_broadcast_i32x4, _mm512_mask_broadcast_i32x4, _mm512_setzero_si512,
    _mm512_unpackhi_epi32, _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
};

/// Lanes of a register of 32-bit numbers.
pub(crate) const LANES: usize = 16;

/// Sixteen bytes of sixteen rows, each row's at `rows[lane]`, as four registers: register j has four bytes from 4j on of
/// every row.
///
/// # Safety
/// Sixteen bytes can be read at each address.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[inline]
pub(crate) unsafe fn load_quads(rows: &[*const u8; LANES], offset: usize) -> [__m512i; 4] {
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
    transposed(v)
}

/// Four registers of four rows each, transposed in fours: of each 128-bit part, register j has its j-th four bytes of
/// every row.
#[target_feature(enable = "avx512f")]
#[inline]
pub(crate) fn transposed(v: [__m512i; 4]) -> [__m512i; 4] {
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

/// Four registers of rows i and i + 4, sixteen bytes each, transposed: register j has four bytes from 4j on of each of the
/// eight rows.
#[target_feature(enable = "avx2")]
#[inline]
pub(crate) fn eight_rows_transposed(v: [__m256i; 4]) -> [__m256i; 4] {
    let a = _mm256_unpacklo_epi32(v[0], v[1]);
    let b = _mm256_unpackhi_epi32(v[0], v[1]);
    let c = _mm256_unpacklo_epi32(v[2], v[3]);
    let d = _mm256_unpackhi_epi32(v[2], v[3]);
    [
        _mm256_unpacklo_epi64(a, c),
        _mm256_unpackhi_epi64(a, c),
        _mm256_unpacklo_epi64(b, d),
        _mm256_unpackhi_epi64(b, d),
    ]
}

/// A block of sixteen rows.
pub(crate) type Copies<const BYTES: usize> = [[u8; BYTES]; LANES];

/// Sixteen rows of bytes that are read in blocks of `BYTES`, the last of which may reach beyond the rows' end: it is
/// read from copies that end in zeros.
pub(crate) struct Rows<'a, const BYTES: usize> {
    whole: [*const u8; LANES],
    bytes: usize,
    last: [*const u8; LANES],
    copies: &'a Copies<BYTES>,
}

impl<'a, const BYTES: usize> Rows<'a, BYTES> {
    /// Rows `lanes` of a matrix with `bytes` bytes a row; `copies` is memory, where rows do not end with a block.
    #[inline]
    pub(crate) fn new(
        all: &'a [u8],
        lanes: &[usize; LANES],
        bytes: usize,
        copies: &'a mut Copies<BYTES>,
    ) -> Self {
        let rows = lanes.map(|lane| &all[lane * bytes..][..bytes]);
        let left = bytes % BYTES;
        if left > 0 {
            for (copy, row) in copies.iter_mut().zip(rows) {
                copy[..left].copy_from_slice(&row[bytes - left..]);
                copy[left..].fill(0);
            }
        }
        Self {
            whole: rows.map(<[u8]>::as_ptr),
            bytes,
            last: [std::ptr::null(); LANES],
            copies,
        }
    }

    /// Where the block that begins at byte `from` (a multiple of `BYTES`, within the rows) lies: addresses, and an offset to
    /// them. `BYTES` bytes can be read of each row.
    #[inline]
    pub(crate) fn block(&mut self, from: usize) -> (&[*const u8; LANES], usize) {
        assert!(from < self.bytes && from.is_multiple_of(BYTES));
        if from + BYTES <= self.bytes {
            return (&self.whole, from);
        }
        for (at, copy) in self.last.iter_mut().zip(self.copies) {
            *at = copy.as_ptr();
        }
        (&self.last, 0)
    }
}
