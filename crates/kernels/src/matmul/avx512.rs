//! The AVX-512 versions of the dot tile and of weight decoding.

#[allow(clippy::wildcard_imports, reason = "a kernel uses dozens of intrinsics")]
use std::arch::x86_64::*;

use super::{Operand, Sums, TILE};
use crate::formats::{e2m1, ue8m0};
use crate::lanes::LANES;
use crate::matrix::{Elements, FP8_BLOCK, Matrix};

/// See [`super::dots`]: an accumulator for each pair of rows.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn dots(w: &Operand<'_>, x: &Operand<'_>, k: usize, out: &mut Sums) {
    match (x.rows, w.rows) {
        (1, TILE) => tile::<1, TILE>(w, x, k, out),
        (2, TILE) => tile::<2, TILE>(w, x, k, out),
        (3, TILE) => tile::<3, TILE>(w, x, k, out),
        (4, TILE) => tile::<4, TILE>(w, x, k, out),
        (5, TILE) => tile::<5, TILE>(w, x, k, out),
        (6, TILE) => tile::<6, TILE>(w, x, k, out),
        _ => {
            for i in 0..x.rows {
                for j in 0..w.rows {
                    let mut one = Sums::default();
                    let x = Operand {
                        data: &x.data[i * x.stride..],
                        stride: x.stride,
                        rows: 1,
                    };
                    let w = Operand {
                        data: &w.data[j * w.stride..],
                        stride: w.stride,
                        rows: 1,
                    };
                    tile::<1, 1>(&w, &x, k, &mut one);
                    out[i][j] = one[0][0];
                }
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[inline]
fn tile<const X: usize, const W: usize>(w: &Operand<'_>, x: &Operand<'_>, k: usize, out: &mut Sums) {
    let xs: [&[f32]; X] = std::array::from_fn(|i| &x.data[i * x.stride..][..k]);
    let ws: [&[f32]; W] = std::array::from_fn(|j| &w.data[j * w.stride..][..k]);
    let mut sums = [[_mm512_setzero_ps(); W]; X];
    let mut at = 0;
    while at < k {
        let mask = if k - at >= LANES {
            0xFFFF
        } else {
            (1u16 << (k - at)) - 1
        };
        // SAFETY: every slice has k elements; lanes at or beyond k are masked off and not read.
        let load = |row: &[f32]| unsafe { _mm512_maskz_loadu_ps(mask, row.as_ptr().add(at)) };
        let mut wv = [_mm512_setzero_ps(); W];
        for j in 0..W {
            wv[j] = load(ws[j]);
        }
        for i in 0..X {
            let xv = load(xs[i]);
            for j in 0..W {
                sums[i][j] = _mm512_fmadd_ps(xv, wv[j], sums[i][j]);
            }
        }
        at += LANES;
    }
    for i in 0..X {
        for j in 0..W {
            out[i][j] = combine(sums[i][j]);
        }
    }
}

/// Bytes that streaming asks for beyond the four rows that follow those in use; see the integer streams.
const AHEAD: usize = 4096;

/// `out[t][r] = Σ_k x[t][k] · W[row + r][from + k]` for up to four rows and inputs of a BF16 or float32 matrix, widened in
/// registers; `k` is a multiple of 16. The same sums as [`dots`] on decoded weights.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn stream(
    matrix: &Matrix<'_>,
    (row, rows): (usize, usize),
    from: usize,
    k: usize,
    x: &Operand<'_>,
    out: &mut Sums,
) {
    match x.rows {
        1 => stream_inputs::<1>(matrix, (row, rows), from, k, x, out),
        2 => stream_inputs::<2>(matrix, (row, rows), from, k, x, out),
        3 => stream_inputs::<3>(matrix, (row, rows), from, k, x, out),
        _ => stream_inputs::<4>(matrix, (row, rows), from, k, x, out),
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[inline]
fn stream_inputs<const X: usize>(
    matrix: &Matrix<'_>,
    (row, rows): (usize, usize),
    from: usize,
    k: usize,
    x: &Operand<'_>,
    out: &mut Sums,
) {
    debug_assert!(k.is_multiple_of(LANES));
    // Rows beyond the last are the last again; their results are dropped.
    let ws: [&[u8]; TILE] = std::array::from_fn(|r| matrix.codes_of(row + r.min(rows - 1), from, k));
    let xs: [&[f32]; X] = std::array::from_fn(|i| x.row(i, k));
    let bf16 = matches!(matrix.elements, Elements::Bf16(_));
    // The next four rows in the order in which they lie in memory, beginning with what four rows have had before `from`.
    let element = if bf16 { 2 } else { 4 };
    let ahead = ws[0]
        .as_ptr()
        .wrapping_add(AHEAD + TILE * matrix.row_bytes() + (TILE - 1) * element * from);
    let mut sums = [[_mm512_setzero_ps(); TILE]; X];
    for at in (0..k).step_by(LANES) {
        for line in 0..element {
            _mm_prefetch::<_MM_HINT_T0>(ahead.wrapping_add(TILE * element * at + 64 * line).cast());
        }
        let mut wv = [_mm512_setzero_ps(); TILE];
        for r in 0..TILE {
            // SAFETY: sixteen elements at `at` are within the k of the slice.
            wv[r] = unsafe {
                if bf16 {
                    let w = ws[r].as_ptr().add(2 * at);
                    let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(w.cast()));
                    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
                } else {
                    _mm512_loadu_ps(ws[r].as_ptr().add(4 * at).cast())
                }
            };
        }
        for i in 0..X {
            // SAFETY: as above.
            let xv = unsafe { _mm512_loadu_ps(xs[i].as_ptr().add(at)) };
            for r in 0..TILE {
                sums[i][r] = _mm512_fmadd_ps(xv, wv[r], sums[i][r]);
            }
        }
    }
    for i in 0..X {
        for r in 0..TILE {
            out[i][r] = combine(sums[i][r]);
        }
    }
}

/// The tree of [`crate::lanes::combine`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[inline]
fn combine(v: __m512) -> f32 {
    let eight = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps::<1>(v));
    let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
}

/// See [`Matrix::decode`]; `out.len()` is a multiple of 32.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,f16c")]
pub(super) fn decode(matrix: &Matrix<'_>, row: usize, from: usize, out: &mut [f32]) {
    let start = row * matrix.cols + from;
    match matrix.elements {
        Elements::F32(_) => matrix.decode(row, from, out),
        Elements::Grouped { .. } => matrix.decode_grouped(row, from, out),
        Elements::Bf16(bytes) => {
            let bytes = &bytes[start * 2..][..out.len() * 2];
            for (out, bytes) in out.chunks_exact_mut(LANES).zip(bytes.chunks_exact(2 * LANES)) {
                // SAFETY: 32 bytes are read and 16 floats written, the lengths of the two chunks.
                unsafe {
                    let half = _mm256_loadu_si256(bytes.as_ptr().cast());
                    let wide = _mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(half));
                    _mm512_storeu_ps(out.as_mut_ptr(), _mm512_castsi512_ps(wide));
                }
            }
        }
        Elements::Fp8 { codes, scales } => {
            let across = matrix.cols.div_ceil(FP8_BLOCK);
            let first_block = row / FP8_BLOCK * across + from / FP8_BLOCK;
            let codes = &codes[start..][..out.len()];
            for (block, (out, codes)) in out.chunks_mut(FP8_BLOCK).zip(codes.chunks(FP8_BLOCK)).enumerate() {
                decode_e4m3(codes, scales.get(first_block + block), out);
            }
        }
        Elements::Fp4 { codes, scales } => {
            let codes = &codes[start / 2..][..out.len() / 2];
            let scales = &scales[start / e2m1::GROUP..][..out.len() / e2m1::GROUP];
            // SAFETY: the table has sixteen elements.
            let table = unsafe { _mm512_loadu_ps(e2m1::VALUES.as_ptr()) };
            let low = _mm512_set_epi32(23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
            let high = _mm512_set_epi32(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8);
            let groups = out
                .chunks_exact_mut(e2m1::GROUP)
                .zip(codes.chunks_exact(e2m1::GROUP / 2))
                .zip(scales);
            for ((out, codes), &scale) in groups {
                let scale = _mm512_set1_ps(ue8m0::value(scale));
                // SAFETY: 16 bytes are read and 32 floats written, the lengths of the two chunks.
                unsafe {
                    // The table look-up uses the low four bits of each index and ignores the rest.
                    let bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128(codes.as_ptr().cast()));
                    let even = _mm512_permutexvar_ps(bytes, table);
                    let odd = _mm512_permutexvar_ps(_mm512_srli_epi32::<4>(bytes), table);
                    let first = _mm512_mul_ps(_mm512_permutex2var_ps(even, low, odd), scale);
                    let second = _mm512_mul_ps(_mm512_permutex2var_ps(even, high, odd), scale);
                    _mm512_storeu_ps(out.as_mut_ptr(), first);
                    _mm512_storeu_ps(out.as_mut_ptr().add(LANES), second);
                }
            }
        }
    }
}

/// See [`super::decode_e4m3`]; `out.len()` is a multiple of 16.
///
/// E4M3 moved into the exponent and mantissa fields of binary16 is 2^-8 of its value, subnormals included, and the
/// machine widens binary16 exactly.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,f16c")]
#[inline]
pub(super) fn decode_e4m3(codes: &[u8], scale: f32, out: &mut [f32]) {
    let (scale, bias) = (_mm512_set1_ps(scale), _mm512_set1_ps(256.0));
    for (out, codes) in out.chunks_exact_mut(LANES).zip(codes.chunks_exact(LANES)) {
        // SAFETY: 16 bytes are read and 16 floats written, the lengths of the two chunks.
        unsafe {
            let wide = _mm256_cvtepu8_epi16(_mm_loadu_si128(codes.as_ptr().cast()));
            let magnitude = _mm256_and_si256(wide, _mm256_set1_epi16(0x7F));
            let sign = _mm256_slli_epi16::<8>(_mm256_xor_si256(wide, magnitude));
            let nan = _mm256_cmpeq_epi16_mask(magnitude, _mm256_set1_epi16(0x7F));
            let half = _mm256_or_si256(_mm256_slli_epi16::<7>(magnitude), sign);
            let half = _mm256_mask_mov_epi16(half, nan, _mm256_set1_epi16(0x7E00));
            let value = _mm512_mul_ps(_mm512_mul_ps(_mm512_cvtph_ps(half), bias), scale);
            _mm512_storeu_ps(out.as_mut_ptr(), value);
        }
    }
}

/// See [`super::add_weighted_rows`]; `width` is a multiple of 32 and `p` reaches the last head's last row.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn add_weighted_rows(p: &[f32], stride: usize, rows: &[f32], width: usize, out: &mut [f32]) {
    let mut p = p;
    let mut blocks = out.chunks_exact_mut(4 * width);
    for out in &mut blocks {
        weigh::<4>(p, stride, rows, width, out);
        p = &p[(4 * stride).min(p.len())..];
    }
    for out in blocks.into_remainder().chunks_exact_mut(width) {
        weigh::<1>(p, stride, rows, width, out);
        p = &p[stride.min(p.len())..];
    }
}

/// `H` heads, 32 columns at a time, all rows.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[inline]
fn weigh<const H: usize>(p: &[f32], stride: usize, rows: &[f32], width: usize, out: &mut [f32]) {
    let n = rows.len() / width;
    for column in (0..width).step_by(2 * LANES) {
        let mut sums = [[_mm512_setzero_ps(); 2]; H];
        for (h, sums) in sums.iter_mut().enumerate() {
            let out = &out[h * width + column..][..2 * LANES];
            // SAFETY: the slice holds the 32 floats that are read.
            *sums = unsafe {
                [
                    _mm512_loadu_ps(out.as_ptr()),
                    _mm512_loadu_ps(out.as_ptr().add(LANES)),
                ]
            };
        }
        for r in 0..n {
            let row = &rows[r * width + column..][..2 * LANES];
            // SAFETY: the slice holds the 32 floats that are read.
            let (a, b) = unsafe {
                (
                    _mm512_loadu_ps(row.as_ptr()),
                    _mm512_loadu_ps(row.as_ptr().add(LANES)),
                )
            };
            for (h, sums) in sums.iter_mut().enumerate() {
                let weight = _mm512_set1_ps(p[h * stride + r]);
                sums[0] = _mm512_fmadd_ps(weight, a, sums[0]);
                sums[1] = _mm512_fmadd_ps(weight, b, sums[1]);
            }
        }
        for (h, sums) in sums.iter().enumerate() {
            let out = &mut out[h * width + column..][..2 * LANES];
            // SAFETY: the slice holds the 32 floats that are written.
            unsafe {
                _mm512_storeu_ps(out.as_mut_ptr(), sums[0]);
                _mm512_storeu_ps(out.as_mut_ptr().add(LANES), sums[1]);
            }
        }
    }
}
