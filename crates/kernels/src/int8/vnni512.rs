//! The AVX-512 versions: weights multiplied as they stream past, and tiles of panels.
//!
//! `vpdpbusd` multiplies unsigned by signed bytes, so weights carry an offset of 128 that makes them unsigned; 128 times
//! the sum of the input codes is taken off again, exactly: sums begin at the inputs' `starts`.

#[allow(clippy::wildcard_imports, reason = "a kernel uses dozens of intrinsics")]
use std::arch::x86_64::*;

use crate::formats::grouped::Bits;
use crate::int8::inputs::{OFFSET, STARTS, Tile};
use crate::int8::weights::{E2M1_DOUBLES, E4M3_QUARTERS};
use crate::int8::{BLOCK, GROUPS, Int8Product};
use crate::matrix::{Elements, FP8_BLOCK, Matrix};
use crate::team::Scratch;

/// Rows streamed side by side.
const ROWS: usize = 4;

/// Blocks taken together: those of a panel, and those that four streamed rows finish at once.
const BLOCKS: usize = 4;

/// Lanes of a register: rows of half a panel.
const LANES: usize = 16;

/// Registers of weight rows of a tile.
const TILE_ROWS: usize = 2;

/// Quads of columns of a block.
const QUADS: usize = BLOCK / 4;

/// The lowest `n` bits, all of them for 64 or more.
fn first_bits(n: usize) -> u64 {
    if n >= 64 { !0 } else { (1 << n) - 1 }
}

/// The look-up table of the low four bits of a byte, offset, in every 128-bit part.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[inline]
fn e2m1_table() -> __m512i {
    // SAFETY: sixteen bytes are read of a table of sixteen.
    let table = unsafe { _mm_loadu_si128(E2M1_DOUBLES.as_ptr().cast()) };
    _mm512_broadcast_i32x4(_mm_add_epi8(table, _mm_set1_epi8(OFFSET as u8 as i8)))
}

/// The integers of 128 packed E2M1 codes, offset: even columns, odd columns.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[inline]
fn e2m1_integers(packed: __m512i, table: __m512i) -> [__m512i; 2] {
    let nibble = _mm512_set1_epi8(15);
    let high = _mm512_and_si512(_mm512_srli_epi16::<4>(packed), nibble);
    [
        _mm512_shuffle_epi8(table, _mm512_and_si512(packed, nibble)),
        _mm512_shuffle_epi8(table, high),
    ]
}

/// The look-up table of E4M3 magnitudes, offset: two registers of 64 bytes.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[inline]
fn e4m3_tables() -> [__m512i; 2] {
    let offset = _mm512_set1_epi8(OFFSET as u8 as i8);
    // SAFETY: 128 bytes are read of a table of 256.
    unsafe {
        [
            _mm512_add_epi8(_mm512_loadu_si512(E4M3_QUARTERS.as_ptr().cast()), offset),
            _mm512_add_epi8(_mm512_loadu_si512(E4M3_QUARTERS.as_ptr().add(64).cast()), offset),
        ]
    }
}

/// The integers of 64 E4M3 codes, offset.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
#[inline]
fn e4m3_integers(codes: __m512i, tables: [__m512i; 2]) -> __m512i {
    // The look-up uses the low seven bits. 128 + m becomes 128 − m, its negative in eight bits, under a sign.
    let magnitude = _mm512_permutex2var_epi8(tables[0], codes, tables[1]);
    _mm512_mask_sub_epi8(
        magnitude,
        _mm512_movepi8_mask(codes),
        _mm512_setzero_si512(),
        magnitude,
    )
}

/// Which bytes of two registers are the even columns, and which the odd ones.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[inline]
fn split_order() -> [__m512i; 2] {
    let mut even = [0u8; 64];
    for (i, byte) in even.iter_mut().enumerate() {
        *byte = 2 * i as u8;
    }
    // SAFETY: the array holds 64 bytes.
    let even = unsafe { _mm512_loadu_si512(even.as_ptr().cast()) };
    [even, _mm512_or_si512(even, _mm512_set1_epi8(1))]
}

/// Adds four registers' lanes of 32-bit integers in fours: lane 4q + r of the result is the sum of the four lanes of
/// 128-bit part q of register r.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[inline]
fn add_fours(v: [__m512i; ROWS]) -> __m512i {
    let a = _mm512_add_epi32(
        _mm512_unpacklo_epi32(v[0], v[1]),
        _mm512_unpackhi_epi32(v[0], v[1]),
    );
    let b = _mm512_add_epi32(
        _mm512_unpacklo_epi32(v[2], v[3]),
        _mm512_unpackhi_epi32(v[2], v[3]),
    );
    _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b))
}

/// Adds the 128-bit parts of each register, first to last: part b of the result is the sum of register b's.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[inline]
fn add_parts(v: [__m512; BLOCKS]) -> __m512 {
    let a = _mm512_shuffle_f32x4::<0x44>(v[0], v[1]);
    let b = _mm512_shuffle_f32x4::<0xEE>(v[0], v[1]);
    let c = _mm512_shuffle_f32x4::<0x44>(v[2], v[3]);
    let d = _mm512_shuffle_f32x4::<0xEE>(v[2], v[3]);
    let first = _mm512_shuffle_f32x4::<0x88>(a, c);
    let second = _mm512_shuffle_f32x4::<0xDD>(a, c);
    let third = _mm512_shuffle_f32x4::<0x88>(b, d);
    let fourth = _mm512_shuffle_f32x4::<0xDD>(b, d);
    _mm512_add_ps(_mm512_add_ps(_mm512_add_ps(first, second), third), fourth)
}

/// Adds each 128-bit part of `sums` times its scale to `total`, first to last.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
#[inline]
fn add_scaled(total: __m128, sums: __m512, scales: &[f32]) -> __m128 {
    let scale = |b: usize| _mm_set1_ps(scales.get(b).copied().unwrap_or(0.0));
    let total = _mm_fmadd_ps(_mm512_castps512_ps128(sums), scale(0), total);
    let total = _mm_fmadd_ps(_mm512_extractf32x4_ps::<1>(sums), scale(1), total);
    let total = _mm_fmadd_ps(_mm512_extractf32x4_ps::<2>(sums), scale(2), total);
    _mm_fmadd_ps(_mm512_extractf32x4_ps::<3>(sums), scale(3), total)
}

/// Rows `from .. from + rows` of a product with few input rows, kept one after the other.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi,fma")]
pub(super) fn stream(product: &Int8Product<'_>, from: usize, rows: usize) {
    for first in (from..from + rows).step_by(ROWS) {
        let (row, count) = (product.first_row + first, ROWS.min(from + rows - first));
        let rows = Rows {
            row,
            count,
            last: first + ROWS >= from + rows,
        };
        let mut tiles = product.x.tiles();
        loop {
            let pass = (tiles.next(), tiles.next(), tiles.next(), tiles.next());
            match pass {
                (Some(a), Some(b), Some(c), Some(d)) => stream_pass([a, b, c, d], product, rows),
                (Some(a), Some(b), Some(c), None) => stream_pass([a, b, c], product, rows),
                (Some(a), Some(b), None, None) => stream_pass([a, b], product, rows),
                (Some(a), None, None, None) => stream_pass([a], product, rows),
                _ => break,
            }
        }
    }
}

/// Bytes ahead in each of the four rows that are asked for: far enough for memory, near enough for four rows' to fit the
/// first-level cache beside what is in use.
const AHEAD: usize = 2048;

/// Up to four rows that lie one after the other.
#[derive(Clone, Copy)]
struct Rows {
    row: usize,
    count: usize,
    /// Whether the rows that follow belong to another item.
    last: bool,
}

impl Rows {
    /// Where what is asked for lies when byte `at` of `row` is read: [`AHEAD`] of it, going on in the row four further
    /// where the row ends; nowhere new at an item's end.
    #[inline(always)]
    fn ahead(self, row: &[u8], at: usize) -> *const u8 {
        let ahead = at + AHEAD.min(row.len());
        let ahead = match (ahead < row.len(), self.last) {
            (true, _) => ahead,
            (false, false) => ahead + (ROWS - 1) * row.len(),
            (false, true) => at,
        };
        row.as_ptr().wrapping_add(ahead)
    }
}

/// Asks for `lines` cache lines.
#[inline(always)]
fn ask(at: *const u8, lines: usize) {
    for line in 0..lines {
        // SAFETY: a prefetch is a hint and reads nothing; every x86-64 has it.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(64 * line).cast()) };
    }
}

/// Up to four rows times up to four inputs, which read the weights once.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi,fma")]
#[inline]
fn stream_pass<const T: usize>(xs: [Tile<'_>; T], product: &Int8Product<'_>, rows: Rows) {
    match product.matrix.elements {
        Elements::Fp8 { .. } => stream_fp8(xs, product, rows),
        Elements::Fp4 { codes, scales } => stream_groups::<T, E2M1>(xs, product, codes, scales, rows),
        Elements::Grouped {
            bits, codes, scales, ..
        } => match bits {
            Bits::Four => stream_groups::<T, 4>(xs, product, codes, scales, rows),
            Bits::Five => stream_groups::<T, 5>(xs, product, codes, scales, rows),
            Bits::Six => stream_groups::<T, 6>(xs, product, codes, scales, rows),
            Bits::Eight => stream_groups::<T, 8>(xs, product, codes, scales, rows),
        },
        Elements::F32(_) | Elements::Bf16(_) => {}
    }
}

/// How the weights of a row in groups of 32 are stored: [`E2M1`], or as grouped integers of so many bits.
type Kind = u8;

/// FP4.
const E2M1: Kind = 0;

/// Bytes of a block in the plane that holds most of it.
const fn plane_bytes(kind: Kind) -> usize {
    if kind == 8 { BLOCK } else { BLOCK / 2 }
}

/// The integers of one block of a row, offset: even columns, odd columns. The block has `groups` groups, all four unless
/// it is E2M1's last.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[inline]
fn group_integers<const KIND: Kind>(row: &[u8], cols: usize, block: usize, groups: usize) -> [__m512i; 2] {
    debug_assert!(block * plane_bytes(KIND) + groups * plane_bytes(KIND) / GROUPS <= row.len());
    // SAFETY: the caller's block is one of the row's: 128 bytes of eight bits, else 64, or as many as a mask keeps to.
    let packed = unsafe {
        let at = row.as_ptr().add(block * plane_bytes(KIND));
        if KIND == 8 {
            return [
                _mm512_loadu_si512(at.cast()),
                _mm512_loadu_si512(at.add(64).cast()),
            ];
        }
        if groups == GROUPS {
            _mm512_loadu_si512(at.cast())
        } else {
            _mm512_maskz_loadu_epi8(first_bits(16 * groups), at.cast())
        }
    };
    if KIND == E2M1 {
        return e2m1_integers(packed, e2m1_table());
    }
    let nibble = _mm512_set1_epi8(15);
    let mut halves = [
        _mm512_and_si512(packed, nibble),
        _mm512_and_si512(_mm512_srli_epi16::<4>(packed), nibble),
    ];
    // What is left of the offset when the code's own bias is in it; each bit plane adds its bit.
    let bias = _mm512_set1_epi8((OFFSET - (1 << (KIND - 1))) as i8);
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
fn scale_values<const KIND: Kind>(bytes: __m512i) -> __m512 {
    if KIND == E2M1 {
        // UE8M0 is the exponent field.
        return _mm512_castsi512_ps(_mm512_slli_epi32::<23>(bytes));
    }
    let bits = _mm512_add_epi32(_mm512_slli_epi32::<20>(bytes), _mm512_set1_epi32(112 << 23));
    _mm512_castsi512_ps(bits)
}

/// Writes the outputs of four rows, `rows` of which exist.
#[target_feature(enable = "avx512f,avx512vl")]
#[inline]
fn store(product: &Int8Product<'_>, t: usize, row: usize, rows: usize, total: __m128) {
    let scale = |r: usize| product.matrix.row_scale(row + r.min(rows - 1));
    let scaled = _mm_mul_ps(total, _mm_set_ps(scale(3), scale(2), scale(1), scale(0)));
    // SAFETY: output r of an input row is weight row r's, and each weight row is in exactly one item.
    let out = unsafe { product.y.part(t * product.y_stride + row, rows) };
    // SAFETY: the mask keeps to the `rows` elements of `out`.
    unsafe { _mm_mask_storeu_ps(out.as_mut_ptr(), (1u8 << rows) - 1, scaled) };
}

/// Rows `row .. row + count` (at most four) of weights in groups times up to four inputs in one pass.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi,fma")]
fn stream_groups<const T: usize, const KIND: Kind>(
    xs: [Tile<'_>; T],
    product: &Int8Product<'_>,
    codes: &[u8],
    scales: &[u8],
    group: Rows,
) {
    let (row, count) = (group.row, group.count);
    let cols = product.matrix.cols;
    let (row_bytes, row_scales) = (product.matrix.row_bytes(), cols / 32);
    let blocks = cols.div_ceil(BLOCK);
    // Rows beyond the last are the last again; their results are dropped.
    let rows: [usize; ROWS] = std::array::from_fn(|r| row + r.min(count - 1));
    let codes: [&[u8]; ROWS] = rows.map(|row| &codes[row * row_bytes..][..row_bytes]);
    let scales: [&[u8]; ROWS] = rows.map(|row| &scales[row * row_scales..][..row_scales]);
    let mut totals = [_mm_setzero_ps(); T];
    for first in (0..blocks).step_by(BLOCKS) {
        let sums = if (first + BLOCKS) * BLOCK <= cols {
            four_blocks::<T, KIND, true>(&xs, codes, scales, group, cols, first)
        } else {
            four_blocks::<T, KIND, false>(&xs, codes, scales, group, cols, first)
        };
        for t in 0..T {
            totals[t] = add_scaled(totals[t], sums[t], &xs[t].scales[first..]);
        }
    }
    for (x, &total) in xs.iter().zip(&totals) {
        store(product, x.row, row, count, total);
    }
}

/// The sums of four blocks of four rows for each input: lane 4b + r is block b of row r. `WHOLE` says that all four
/// blocks exist; what is missing else counts as zeros under scales of zero.
///
/// A group's dot has at most 19 bits and a group's scale at most four, so their products are exact, and adding them up
/// is what the contract's fused sum is.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi,fma")]
#[inline]
fn four_blocks<const T: usize, const KIND: Kind, const WHOLE: bool>(
    xs: &[Tile<'_>; T],
    codes: [&[u8]; ROWS],
    scales: [&[u8]; ROWS],
    group: Rows,
    cols: usize,
    first: usize,
) -> [__m512; T] {
    let spread = _mm512_set_epi32(3, 3, 3, 3, 2, 2, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0);
    let mut sums = [[_mm512_setzero_ps(); BLOCKS]; T];
    let mut ahead = [std::ptr::null::<u8>(); ROWS];
    let mut bytes = [_mm_setzero_si128(); ROWS];
    for r in 0..ROWS {
        ahead[r] = group.ahead(codes[r], first * plane_bytes(KIND));
        if KIND == 5 || KIND == 6 {
            // Each bit plane has a line for four blocks.
            for plane in 4..usize::from(KIND) {
                ask(group.ahead(codes[r], cols / 8 * plane + first * BLOCK / 8), 1);
            }
        }
        let scales = &scales[r][first * GROUPS..];
        let mut short = [0u8; BLOCKS * GROUPS];
        let at = if WHOLE {
            debug_assert!(scales.len() >= BLOCKS * GROUPS);
            scales.as_ptr()
        } else {
            let there = scales.len().min(short.len());
            short[..there].copy_from_slice(&scales[..there]);
            short.as_ptr()
        };
        // SAFETY: four blocks have sixteen scale bytes; fewer were copied to as many.
        bytes[r] = unsafe { _mm_loadu_si128(at.cast()) };
    }
    // Scale bytes [row][block][group] to a register of [group][row] for each block.
    let (low, high) = (
        _mm_unpacklo_epi8(bytes[0], bytes[1]),
        _mm_unpackhi_epi8(bytes[0], bytes[1]),
    );
    let (low2, high2) = (
        _mm_unpacklo_epi8(bytes[2], bytes[3]),
        _mm_unpackhi_epi8(bytes[2], bytes[3]),
    );
    let bytes = [
        _mm_unpacklo_epi16(low, low2),
        _mm_unpackhi_epi16(low, low2),
        _mm_unpacklo_epi16(high, high2),
        _mm_unpackhi_epi16(high, high2),
    ];
    for b in 0..BLOCKS {
        let block = first + b;
        let groups = if WHOLE {
            GROUPS
        } else {
            GROUPS.min(scales[0].len().saturating_sub(block * GROUPS))
        };
        if groups == 0 {
            break;
        }
        let mut weights = [[_mm512_setzero_si512(); 2]; ROWS];
        for r in 0..ROWS {
            ask(
                ahead[r].wrapping_add(b * plane_bytes(KIND)),
                plane_bytes(KIND) / 64,
            );
            weights[r] = group_integers::<KIND>(codes[r], cols, block, groups);
        }
        let weight_scales = scale_values::<KIND>(_mm512_cvtepu8_epi32(bytes[b]));
        for t in 0..T {
            let mut dots = [_mm512_setzero_si512(); ROWS];
            let (even, odd, starts) = load_block(&xs[t], block);
            for r in 0..ROWS {
                let dot = _mm512_dpbusd_epi32(_mm512_setzero_si512(), weights[r][0], even);
                dots[r] = _mm512_dpbusd_epi32(dot, weights[r][1], odd);
            }
            // Each group's start to the lanes of its four rows.
            let starts = _mm512_permutexvar_epi32(spread, _mm512_castsi128_si512(starts));
            let dots = _mm512_add_epi32(add_fours(dots), starts);
            sums[t][b] = _mm512_mul_ps(_mm512_cvtepi32_ps(dots), weight_scales);
        }
    }
    let mut out = [_mm512_setzero_ps(); T];
    for t in 0..T {
        out[t] = add_parts(sums[t]);
    }
    out
}

/// Up to four scale bytes, the missing ones zero.
#[inline(always)]
fn scale_bytes(bytes: &[u8]) -> u32 {
    match *bytes {
        [a, b, c, d] => u32::from_le_bytes([a, b, c, d]),
        _ => bytes
            .iter()
            .rev()
            .fold(0, |all, &byte| all << 8 | u32::from(byte)),
    }
}

/// One block of a tile of one row: even columns, odd columns, the groups' starts.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[inline]
fn load_block(x: &Tile<'_>, block: usize) -> (__m512i, __m512i, __m128i) {
    debug_assert!(
        x.rows == 1 && (block + 1) * BLOCK <= x.codes.len() && (block + 1) * STARTS <= x.starts.len()
    );
    // SAFETY: the caller's block is one of the tile's: 128 codes, and the first four of five starts.
    unsafe {
        let codes = x.codes.as_ptr().add(block * BLOCK);
        (
            _mm512_loadu_si512(codes.cast()),
            _mm512_loadu_si512(codes.add(64).cast()),
            _mm_loadu_si128(x.starts.as_ptr().add(block * STARTS).cast()),
        )
    }
}

/// As [`stream_groups`], for FP8 weights.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi,fma")]
fn stream_fp8<const T: usize>(xs: [Tile<'_>; T], product: &Int8Product<'_>, group: Rows) {
    let (row, count) = (group.row, group.count);
    let Elements::Fp8 { codes, .. } = product.matrix.elements else {
        return;
    };
    let cols = product.matrix.cols;
    let blocks = cols.div_ceil(BLOCK);
    let tables = e4m3_tables();
    let order = split_order();
    let rows: [usize; ROWS] = std::array::from_fn(|r| row + r.min(count - 1));
    let codes: [&[u8]; ROWS] = rows.map(|row| &codes[row * cols..][..cols]);
    // Four rows may straddle two blocks of scales.
    let one_scale = rows[0] / FP8_BLOCK == rows[ROWS - 1] / FP8_BLOCK;
    let mut totals = [_mm_setzero_ps(); T];
    let mut ahead = [std::ptr::null::<u8>(); ROWS];
    for block in 0..blocks {
        if block % BLOCKS == 0 {
            for r in 0..ROWS {
                ahead[r] = group.ahead(codes[r], block * BLOCK);
            }
        }
        let left = cols - block * BLOCK;
        let masks = [first_bits(left), first_bits(left.saturating_sub(64))];
        let mut weights = [[_mm512_setzero_si512(); 2]; ROWS];
        for r in 0..ROWS {
            ask(ahead[r].wrapping_add(block % BLOCKS * BLOCK), 2);
            // SAFETY: the masks keep to the block's bytes of the row.
            let (a, b) = unsafe {
                let at = codes[r].as_ptr().add(block * BLOCK);
                if left >= BLOCK {
                    (
                        _mm512_loadu_si512(at.cast()),
                        _mm512_loadu_si512(at.add(64).cast()),
                    )
                } else {
                    (
                        _mm512_maskz_loadu_epi8(masks[0], at.cast()),
                        _mm512_maskz_loadu_epi8(masks[1], at.wrapping_add(64).cast()),
                    )
                }
            };
            weights[r] = [
                e4m3_integers(_mm512_permutex2var_epi8(a, order[0], b), tables),
                e4m3_integers(_mm512_permutex2var_epi8(a, order[1], b), tables),
            ];
        }
        let scale = |row| product.matrix.scale_at(row, block * BLOCK);
        let weight_scales = if one_scale {
            _mm_set1_ps(scale(row))
        } else {
            _mm_set_ps(scale(rows[3]), scale(rows[2]), scale(rows[1]), scale(rows[0]))
        };
        for t in 0..T {
            let mut dots = [_mm512_setzero_si512(); ROWS];
            let (even, odd, _) = load_block(&xs[t], block);
            for r in 0..ROWS {
                let dot = _mm512_dpbusd_epi32(_mm512_setzero_si512(), weights[r][0], even);
                dots[r] = _mm512_dpbusd_epi32(dot, weights[r][1], odd);
            }
            let dots = add_fours(dots);
            let dots = _mm256_add_epi32(_mm512_castsi512_si256(dots), _mm512_extracti64x4_epi64::<1>(dots));
            let dots = _mm_add_epi32(_mm256_castsi256_si128(dots), _mm256_extracti128_si256::<1>(dots));
            let start = xs[t].starts[block * STARTS + GROUPS];
            let dots = _mm_add_epi32(dots, _mm_set1_epi32(start));
            let sum = _mm_mul_ps(_mm_cvtepi32_ps(dots), weight_scales);
            totals[t] = _mm_fmadd_ps(sum, _mm_set1_ps(xs[t].scales[block]), totals[t]);
        }
    }
    for (x, &total) in xs.iter().zip(&totals) {
        store(product, x.row, row, count, total);
    }
}

/// Weights of up to [`BLOCKS`] blocks of [`TILE_ROWS`] · 16 rows, rearranged: four columns of sixteen rows to a register.
struct Panel<'a> {
    /// `[blocks][QUADS][TILE_ROWS]` registers; the groups of a block one after the other.
    integers: &'a mut [u8],
    /// `[blocks][groups][TILE_ROWS]` registers.
    scales: &'a mut [f32],
}

/// Rows `from .. from + rows` (at most 32) of a product with any number of input rows.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi,fma")]
pub(super) fn multiply(product: &Int8Product<'_>, from: usize, rows: usize, scratch: &mut Scratch) {
    const WIDTH: usize = TILE_ROWS * LANES;
    assert!(rows <= WIDTH);
    let matrix = &product.matrix;
    let groups = BLOCK / matrix.scale_group();
    let (inputs, blocks) = (product.x.rows(), matrix.cols.div_ceil(BLOCK));
    let row = product.first_row + from;
    let (integers, scales, totals) = scratch.buffers::<(u8, f32, f32)>([
        BLOCKS * QUADS * TILE_ROWS * 64,
        BLOCKS * GROUPS * TILE_ROWS * LANES,
        inputs * WIDTH,
    ]);
    totals.fill(0.0);
    let mut panel = Panel { integers, scales };
    for first in (0..blocks).step_by(BLOCKS) {
        let count = BLOCKS.min(blocks - first);
        for half in 0..TILE_ROWS {
            // Rows beyond the last are the last again; their results are dropped.
            let mut lanes = [0; LANES];
            for (lane, at) in lanes.iter_mut().enumerate() {
                *at = row + (half * LANES + lane).min(rows - 1);
            }
            match matrix.elements {
                Elements::Fp8 { codes, .. } => {
                    fill_fp8(matrix, codes, &lanes, (first, count), half, &mut panel);
                }
                Elements::Fp4 { codes, scales } => {
                    fill_fp4(matrix, codes, scales, &lanes, first, half, &mut panel);
                }
                Elements::Grouped { bits, .. } => {
                    for block in 0..count {
                        match bits {
                            Bits::Four => fill_groups::<4>(matrix, &lanes, first, block, half, &mut panel),
                            Bits::Five => fill_groups::<5>(matrix, &lanes, first, block, half, &mut panel),
                            Bits::Six => fill_groups::<6>(matrix, &lanes, first, block, half, &mut panel),
                            Bits::Eight => fill_groups::<8>(matrix, &lanes, first, block, half, &mut panel),
                        }
                    }
                }
                Elements::F32(_) | Elements::Bf16(_) => {}
            }
        }
        // The next blocks of these rows, or the first of the rows that follow them, come while these are multiplied.
        let next = first + BLOCKS;
        if next < blocks {
            prefetch(matrix, row..row + rows, next);
        } else {
            prefetch(matrix, row + rows..row + 2 * rows, 0);
        }
        for x in product.x.tiles() {
            let totals = &mut totals[x.row * WIDTH..][..x.rows * WIDTH];
            let range = (first, count);
            match (x.rows, groups) {
                (1, 4) => tile::<1, 4>(&panel, &x, range, totals),
                (2, 4) => tile::<2, 4>(&panel, &x, range, totals),
                (3, 4) => tile::<3, 4>(&panel, &x, range, totals),
                (4, 4) => tile::<4, 4>(&panel, &x, range, totals),
                (5, 4) => tile::<5, 4>(&panel, &x, range, totals),
                (6, 4) => tile::<6, 4>(&panel, &x, range, totals),
                (1, _) => tile::<1, 1>(&panel, &x, range, totals),
                (2, _) => tile::<2, 1>(&panel, &x, range, totals),
                (3, _) => tile::<3, 1>(&panel, &x, range, totals),
                (4, _) => tile::<4, 1>(&panel, &x, range, totals),
                (5, _) => tile::<5, 1>(&panel, &x, range, totals),
                _ => tile::<6, 1>(&panel, &x, range, totals),
            }
        }
    }
    for (t, totals) in totals.chunks_exact(WIDTH).enumerate() {
        // SAFETY: output r of an input row is weight row r's, and each weight row is in exactly one item.
        let out = unsafe { product.y.part(t * product.y_stride + row, rows) };
        for (i, (y, total)) in out.iter_mut().zip(totals).enumerate() {
            *y = total * matrix.row_scale(row + i);
        }
    }
}

/// `T` inputs against a panel of blocks `first .. first + count`: adds to `totals` `[T][TILE_ROWS]`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi,fma")]
fn tile<const T: usize, const GROUPS_OF_BLOCK: usize>(
    panel: &Panel<'_>,
    x: &Tile<'_>,
    (first, count): (usize, usize),
    totals: &mut [f32],
) {
    let steps = QUADS / GROUPS_OF_BLOCK;
    assert!(x.rows == T && totals.len() == T * TILE_ROWS * LANES);
    for block in 0..count {
        let codes = &x.codes[(first + block) * BLOCK * T..][..BLOCK * T];
        let starts = &x.starts[(first + block) * STARTS * T..][..STARTS * T];
        let input_scales = &x.scales[(first + block) * T..][..T];
        let weights = &panel.integers[block * QUADS * TILE_ROWS * 64..][..QUADS * TILE_ROWS * 64];
        let scales = &panel.scales[block * GROUPS_OF_BLOCK * TILE_ROWS * LANES..]
            [..GROUPS_OF_BLOCK * TILE_ROWS * LANES];
        let mut sums = [[_mm512_setzero_ps(); TILE_ROWS]; T];
        for group in 0..GROUPS_OF_BLOCK {
            let mut dots = [[_mm512_setzero_si512(); TILE_ROWS]; T];
            let start = if GROUPS_OF_BLOCK == 1 { GROUPS } else { group };
            for t in 0..T {
                dots[t] = [_mm512_set1_epi32(starts[start * T + t]); TILE_ROWS];
            }
            for step in 0..steps {
                // A group of 32 has four quads in the even half of its block and four in the odd half.
                let quad = if GROUPS_OF_BLOCK == 1 {
                    step
                } else {
                    step / GROUPS * (QUADS / 2) + group * GROUPS + step % GROUPS
                };
                // SAFETY: a block has QUADS · TILE_ROWS registers of weights and QUADS · T quads of inputs, the lengths
                // of the slices; `step` and `quad` are below QUADS.
                unsafe {
                    let w = weights.as_ptr().add((group * steps + step) * TILE_ROWS * 64);
                    let (w0, w1) = (_mm512_load_si512(w.cast()), _mm512_load_si512(w.add(64).cast()));
                    for t in 0..T {
                        let x = codes.as_ptr().add((quad * T + t) * 4);
                        let x = _mm512_broadcastd_epi32(_mm_loadu_si32(x.cast()));
                        dots[t][0] = _mm512_dpbusd_epi32(dots[t][0], w0, x);
                        dots[t][1] = _mm512_dpbusd_epi32(dots[t][1], w1, x);
                    }
                }
            }
            for r in 0..TILE_ROWS {
                // SAFETY: sixteen floats are read of a line of sixteen.
                let scale =
                    unsafe { _mm512_load_ps(scales[(group * TILE_ROWS + r) * LANES..][..LANES].as_ptr()) };
                for t in 0..T {
                    let dot = _mm512_cvtepi32_ps(dots[t][r]);
                    // The first group's product is exact or rounded once, with or without a zero added to it.
                    sums[t][r] = _mm512_fmadd_ps(dot, scale, sums[t][r]);
                }
            }
        }
        for t in 0..T {
            let scale = _mm512_set1_ps(input_scales[t]);
            for r in 0..TILE_ROWS {
                let total = totals[(t * TILE_ROWS + r) * LANES..][..LANES].as_mut_ptr();
                // SAFETY: sixteen floats are read and written of a line of sixteen.
                unsafe { _mm512_store_ps(total, _mm512_fmadd_ps(sums[t][r], scale, _mm512_load_ps(total))) };
            }
        }
    }
}

/// Asks for up to [`BLOCKS`] blocks of `rows`, soon to be rearranged.
#[target_feature(enable = "avx512f")]
fn prefetch(matrix: &Matrix<'_>, rows: std::ops::Range<usize>, first: usize) {
    let (from, to) = (first * BLOCK, ((first + BLOCKS) * BLOCK).min(matrix.cols));
    for row in rows.start..rows.end.min(matrix.rows) {
        for line in matrix.codes_of(row, from, to - from).chunks(64) {
            _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast());
        }
        if let Elements::Fp4 { scales, .. } | Elements::Grouped { scales, .. } = matrix.elements {
            _mm_prefetch::<_MM_HINT_T0>(scales[(row * matrix.cols + from) / 32..].as_ptr().cast());
        }
    }
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
fn fill_fp4(
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
fn fill_fp8(
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
fn fill_groups<const KIND: Kind>(
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
