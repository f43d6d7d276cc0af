//! Sixteen rows side by side, a row to a lane of a register: how stored rows are rearranged for products.

use std::arch::x86_64::{
    __m512i, _mm_loadu_si128, _mm512_broadcast_i32x4, _mm512_mask_broadcast_i32x4, _mm512_setzero_si512,
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
pub(crate) fn sixteen_rows<const BYTES: usize>(
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
