//! Stored weights and scales to registers of offset integers and of float32.

#[allow(clippy::wildcard_imports, reason = "a kernel uses dozens of intrinsics")]
use std::arch::x86_64::*;

use crate::int8::inputs::OFFSET;
use crate::int8::weights::{E2M1_DOUBLES, E4M3_QUARTERS};
use crate::int8::{BLOCK, GROUPS};

/// The lowest `n` bits, all of them for 64 or more.
#[inline]
pub(super) fn first_bits(n: usize) -> u64 {
    if n >= 64 { !0 } else { (1 << n) - 1 }
}

/// What integers have added to them: [`OFFSET`] where they are the `UNSIGNED` side of dot products.
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn offset<const UNSIGNED: bool>() -> __m512i {
    _mm512_set1_epi8(if UNSIGNED { OFFSET as u8 as i8 } else { 0 })
}

/// The look-up table of E2M1 codes, four times over.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[inline]
pub(super) fn e2m1_table<const UNSIGNED: bool>() -> __m512i {
    // SAFETY: sixteen bytes are read of a table of sixteen.
    let table = unsafe { _mm_loadu_si128(E2M1_DOUBLES.as_ptr().cast()) };
    _mm512_add_epi8(_mm512_broadcast_i32x4(table), offset::<UNSIGNED>())
}

/// The integers of 128 packed E2M1 codes: even columns, odd columns.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
#[inline]
pub(super) fn e2m1_integers(packed: __m512i, table: __m512i) -> [__m512i; 2] {
    // The look-up uses the low six bits, of which the table ignores two.
    [
        _mm512_permutexvar_epi8(packed, table),
        _mm512_permutexvar_epi8(_mm512_srli_epi16::<4>(packed), table),
    ]
}

/// The look-up table of E4M3 magnitudes: two registers of 64 bytes.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[inline]
pub(super) fn e4m3_tables<const UNSIGNED: bool>() -> [__m512i; 2] {
    let offset = offset::<UNSIGNED>();
    // SAFETY: 128 bytes are read of a table of 256.
    unsafe {
        [
            _mm512_add_epi8(_mm512_loadu_si512(E4M3_QUARTERS.as_ptr().cast()), offset),
            _mm512_add_epi8(_mm512_loadu_si512(E4M3_QUARTERS.as_ptr().add(64).cast()), offset),
        ]
    }
}

/// The integers of 64 E4M3 codes.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
#[inline]
pub(super) fn e4m3_integers(codes: __m512i, tables: [__m512i; 2]) -> __m512i {
    // The look-up uses the low seven bits. The negative is right with an offset of 128 too: 128 + m becomes 128 − m.
    let magnitude = _mm512_permutex2var_epi8(tables[0], codes, tables[1]);
    let sign = _mm512_and_si512(_mm512_srli_epi16::<7>(codes), _mm512_set1_epi8(1));
    let flip = _mm512_sub_epi8(_mm512_setzero_si512(), sign);
    _mm512_add_epi8(_mm512_xor_si512(magnitude, flip), sign)
}

/// Which bytes of two registers are the even columns, and which the odd ones.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[inline]
pub(super) fn split_order() -> [__m512i; 2] {
    let mut even = [0u8; 64];
    for (i, byte) in even.iter_mut().enumerate() {
        *byte = 2 * i as u8;
    }
    // SAFETY: the array holds 64 bytes.
    let even = unsafe { _mm512_loadu_si512(even.as_ptr().cast()) };
    [even, _mm512_or_si512(even, _mm512_set1_epi8(1))]
}

/// How the weights of a row in groups of 32 are stored: [`E2M1`], or as grouped integers of so many bits.
pub(crate) type Kind = u8;

/// FP4.
pub(crate) const E2M1: Kind = 0;

/// Bytes of a block in the plane that holds most of it.
pub(super) const fn plane_bytes(kind: Kind) -> usize {
    if kind == 8 { BLOCK } else { BLOCK / 2 }
}

/// The integers of one block of a row: even columns, odd columns. The block has `groups` groups, all four unless it is
/// E2M1's last.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
#[inline]
pub(crate) fn group_integers<const KIND: Kind, const UNSIGNED: bool>(
    row: &[u8],
    cols: usize,
    block: usize,
    groups: usize,
) -> [__m512i; 2] {
    debug_assert!(block * plane_bytes(KIND) + groups * plane_bytes(KIND) / GROUPS <= row.len());
    // SAFETY: the caller's block is one of the row's: 128 bytes of eight bits, else 64, or as many as a mask keeps to.
    let packed = unsafe {
        let at = row.as_ptr().add(block * plane_bytes(KIND));
        if KIND == 8 {
            // Stored with the offset.
            let bias = _mm512_sub_epi8(offset::<true>(), offset::<UNSIGNED>());
            return [
                _mm512_sub_epi8(_mm512_loadu_si512(at.cast()), bias),
                _mm512_sub_epi8(_mm512_loadu_si512(at.add(64).cast()), bias),
            ];
        }
        if groups == GROUPS {
            _mm512_loadu_si512(at.cast())
        } else {
            _mm512_maskz_loadu_epi8(first_bits(16 * groups), at.cast())
        }
    };
    if KIND == E2M1 {
        return e2m1_integers(packed, e2m1_table::<UNSIGNED>());
    }
    let nibble = _mm512_set1_epi8(15);
    let mut halves = [
        _mm512_and_si512(packed, nibble),
        _mm512_and_si512(_mm512_srli_epi16::<4>(packed), nibble),
    ];
    // The code's own bias goes, the offset comes; each bit plane adds its bit.
    let bias = _mm512_sub_epi8(offset::<UNSIGNED>(), _mm512_set1_epi8(1 << (KIND - 1)));
    for (parity, half) in halves.iter_mut().enumerate() {
        *half = _mm512_add_epi8(*half, bias);
        for plane in 0..usize::from(KIND) - 4 {
            let at = cols / 2 + plane * (cols / 8) + block * (BLOCK / 8) + parity * 8;
            let bits = u64::from_le_bytes(row[at..at + 8].try_into().unwrap_or_default());
            *half = _mm512_mask_add_epi8(*half, bits, *half, _mm512_set1_epi8(16 << plane));
        }
    }
    halves
}

/// Scale bytes in 32-bit lanes to float32.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[inline]
pub(crate) fn scale_values<const KIND: Kind>(bytes: __m512i) -> __m512 {
    if KIND == E2M1 {
        // UE8M0 is the exponent field.
        return _mm512_castsi512_ps(_mm512_slli_epi32::<23>(bytes));
    }
    let bits = _mm512_add_epi32(_mm512_slli_epi32::<20>(bytes), _mm512_set1_epi32(112 << 23));
    _mm512_castsi512_ps(bits)
}
