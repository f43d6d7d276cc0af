//! The AVX2 versions of the dot tile, of streams and of weight decoding. Sixteen lanes are two registers, the *halves*.

#[allow(clippy::wildcard_imports, reason = "a kernel uses dozens of intrinsics")]
use std::arch::x86_64::*;

use super::{Operand, Sums, TILE};
use crate::formats::{e2m1, ue8m0};
use crate::lanes::LANES;
use crate::matrix::{Elements, FP8_BLOCK, Matrix};

/// Lanes of a register.
const HALF: usize = LANES / 2;

/// Bytes that streaming asks for beyond the four rows that follow those in use; see the AVX-512 version.
const AHEAD: usize = 4096;

/// Weights of [`TILE`] rows, as they lie in memory.
struct Weights {
    rows: [*const u8; TILE],
    /// What to ask for soon, as much of it with each sixteen columns as they take, if anything.
    ahead: Option<*const u8>,
}

/// See [`super::dots`].
#[target_feature(enable = "avx2,fma")]
pub(super) fn dots(w: &Operand<'_>, x: &Operand<'_>, k: usize, out: &mut Sums) {
    // Rows beyond the last are the last again; their results are dropped.
    let rows = std::array::from_fn(|row| w.row(row.min(w.rows - 1), k).as_ptr().cast());
    let w = Weights { rows, ahead: None };
    // SAFETY: each row has k floats.
    unsafe { multiply::<false>(w, x, k, out) };
}

/// As the AVX-512 version: `out[t][r] = Σ_k x[t][k] · W[row + r][from + k]` for up to four rows and inputs of a BF16 or
/// float32 matrix, widened in registers; `k` is a multiple of 16. The same sums as [`dots`] on decoded weights.
#[target_feature(enable = "avx2,fma")]
pub(super) fn stream(
    matrix: &Matrix<'_>,
    (row, rows): (usize, usize),
    from: usize,
    k: usize,
    x: &Operand<'_>,
    out: &mut Sums,
) {
    assert!(k.is_multiple_of(LANES));
    let bf16 = matches!(matrix.elements, Elements::Bf16(_));
    let element = if bf16 { 2 } else { 4 };
    // Rows beyond the last are the last again; their results are dropped.
    let rows: [*const u8; TILE] =
        std::array::from_fn(|r| matrix.codes_of(row + r.min(rows - 1), from, k).as_ptr());
    let w = Weights {
        rows,
        // The next four rows in the order in which they lie in memory, beginning with what four rows have had before
        // `from`.
        ahead: Some(rows[0].wrapping_add(AHEAD + TILE * matrix.row_bytes() + (TILE - 1) * element * from)),
    };
    // SAFETY: each row has k elements of the size said.
    unsafe {
        if bf16 {
            multiply::<true>(w, x, k, out);
        } else {
            multiply::<false>(w, x, k, out);
        }
    }
}

/// All inputs against four rows of BF16 or float32 weights, some inputs at a time.
///
/// # Safety
/// Each row of weights has `k` elements; BF16 a multiple of sixteen.
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn multiply<const BF16: bool>(mut w: Weights, x: &Operand<'_>, k: usize, out: &mut Sums) {
    let mut first = 0;
    while first < x.rows {
        let out = &mut out[first..];
        // SAFETY: the caller's promise.
        first += unsafe {
            match x.rows - first {
                1 => inputs::<1, BF16>(&w, x, first, k, out),
                2 | 4 => inputs::<2, BF16>(&w, x, first, k, out),
                _ => inputs::<3, BF16>(&w, x, first, k, out),
            }
        };
        w.ahead = None;
    }
}

/// `X` inputs from `first` on, and how many they are. One input takes both halves at once, for sums enough to hide their
/// latency; with more the halves take turns, so that their sums fit registers.
///
/// # Safety
/// As [`multiply`].
#[target_feature(enable = "avx2,fma")]
#[inline(never)]
unsafe fn inputs<const X: usize, const BF16: bool>(
    w: &Weights,
    x: &Operand<'_>,
    first: usize,
    k: usize,
    out: &mut [[f32; TILE]],
) -> usize {
    let xs: [*const f32; X] = std::array::from_fn(|i| x.row(first + i, k).as_ptr());
    let mut halves = [[[_mm256_setzero_ps(); TILE]; X]; 2];
    // SAFETY: the caller's promise; each row of inputs has k floats.
    unsafe {
        if X == 1 {
            tile::<X, 2, BF16>(w, &xs, k, 0, &mut halves);
        } else {
            let [low, high] = &mut halves;
            tile::<X, 1, BF16>(w, &xs, k, 0, std::array::from_mut(low));
            let w = Weights { ahead: None, ..*w };
            tile::<X, 1, BF16>(&w, &xs, k, 1, std::array::from_mut(high));
        }
    }
    for i in 0..X {
        for r in 0..TILE {
            out[i][r] = combine(halves[0][i][r], halves[1][i][r]);
        }
    }
    X
}

/// The sums of `H` halves from `half` on.
///
/// # Safety
/// Each row of weights and of inputs has `k` elements; of BF16 a multiple of sixteen.
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn tile<const X: usize, const H: usize, const BF16: bool>(
    w: &Weights,
    xs: &[*const f32; X],
    k: usize,
    half: usize,
    out: &mut [[[__m256; TILE]; X]; H],
) {
    let mut sums = [[[_mm256_setzero_ps(); TILE]; X]; H];
    let whole = k - k % LANES;
    for at in (0..whole).step_by(LANES) {
        if let Some(ahead) = w.ahead {
            let element = if BF16 { 2 } else { 4 };
            // Sixteen elements of four rows are as many lines as an element has bytes.
            for line in 0..element {
                _mm_prefetch::<_MM_HINT_T0>(ahead.wrapping_add(TILE * element * at + 64 * line).cast());
            }
        }
        for h in 0..H {
            let column = at + HALF * (half + h);
            let mut xv = [_mm256_setzero_ps(); X];
            for i in 0..X {
                // SAFETY: eight elements at `column` are within the first `whole`.
                xv[i] = unsafe { _mm256_loadu_ps(xs[i].add(column)) };
            }
            for r in 0..TILE {
                // SAFETY: as above.
                let wv = unsafe {
                    if BF16 {
                        let bits = _mm_loadu_si128(w.rows[r].add(2 * column).cast());
                        _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(bits)))
                    } else {
                        _mm256_loadu_ps(w.rows[r].add(4 * column).cast())
                    }
                };
                for i in 0..X {
                    sums[h][i][r] = _mm256_fmadd_ps(xv[i], wv, sums[h][i][r]);
                }
            }
        }
    }
    if !BF16 {
        for h in 0..H {
            let column = whole + HALF * (half + h);
            let left = _mm256_set1_epi32(k.saturating_sub(column).min(HALF) as i32);
            let mask = _mm256_cmpgt_epi32(left, _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
            for i in 0..X {
                for r in 0..TILE {
                    // SAFETY: elements at and beyond k are masked off and not read.
                    unsafe {
                        let wv = _mm256_maskload_ps(w.rows[r].wrapping_add(4 * column).cast(), mask);
                        let xv = _mm256_maskload_ps(xs[i].wrapping_add(column), mask);
                        sums[h][i][r] = _mm256_fmadd_ps(xv, wv, sums[h][i][r]);
                    }
                }
            }
        }
    }
    *out = sums;
}

/// The tree of [`crate::lanes::combine`].
#[target_feature(enable = "avx2")]
#[inline]
fn combine(low: __m256, high: __m256) -> f32 {
    let eight = _mm256_add_ps(low, high);
    let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
}

/// See [`Matrix::decode`]; `out.len()` is a multiple of 32.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn decode(matrix: &Matrix<'_>, row: usize, from: usize, out: &mut [f32]) {
    let start = row * matrix.cols + from;
    match matrix.elements {
        Elements::F32(_) => matrix.decode(row, from, out),
        Elements::Grouped { .. } => matrix.decode_grouped(row, from, out),
        Elements::Bf16(bytes) => {
            let bytes = &bytes[start * 2..][..out.len() * 2];
            for (out, bytes) in out.chunks_exact_mut(HALF).zip(bytes.chunks_exact(2 * HALF)) {
                // SAFETY: 16 bytes are read and 8 floats written, the lengths of the two chunks.
                unsafe {
                    let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(bytes.as_ptr().cast()));
                    _mm256_storeu_si256(out.as_mut_ptr().cast(), _mm256_slli_epi32::<16>(wide));
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
            // SAFETY: the table has sixteen elements, the first eight without signs.
            let magnitudes = unsafe { _mm256_loadu_ps(e2m1::VALUES.as_ptr()) };
            let groups = out
                .chunks_exact_mut(e2m1::GROUP)
                .zip(codes.chunks_exact(e2m1::GROUP / 2))
                .zip(scales);
            for ((out, codes), &scale) in groups {
                let table = _mm256_mul_ps(magnitudes, _mm256_set1_ps(ue8m0::value(scale)));
                // SAFETY: sixteen bytes are read of a chunk of sixteen.
                let bytes = unsafe { _mm_loadu_si128(codes.as_ptr().cast()) };
                let odd = _mm_srli_epi16::<4>(bytes);
                // Codes in the low half of each byte; what the high half holds does not matter.
                let codes = [_mm_unpacklo_epi8(bytes, odd), _mm_unpackhi_epi8(bytes, odd)];
                let (quarters, _) = out.as_chunks_mut::<HALF>();
                for (i, out) in quarters.iter_mut().enumerate() {
                    let codes = codes[i / 2];
                    let codes = if i % 2 == 0 {
                        codes
                    } else {
                        _mm_srli_si128::<8>(codes)
                    };
                    // A look-up uses the low three bits of an index.
                    let codes = _mm256_cvtepu8_epi32(codes);
                    let magnitude = _mm256_permutevar8x32_ps(table, codes);
                    let sign = _mm256_and_si256(_mm256_slli_epi32::<28>(codes), _mm256_set1_epi32(i32::MIN));
                    // SAFETY: eight floats are written to eight.
                    unsafe {
                        _mm256_storeu_ps(
                            out.as_mut_ptr(),
                            _mm256_or_ps(magnitude, _mm256_castsi256_ps(sign)),
                        );
                    }
                }
            }
        }
    }
}

/// See [`super::decode_e4m3`]; `out.len()` is a multiple of 16. As the AVX-512 version, through binary16.
#[target_feature(enable = "avx2,f16c")]
#[inline]
pub(super) fn decode_e4m3(codes: &[u8], scale: f32, out: &mut [f32]) {
    let (scale, bias) = (_mm256_set1_ps(scale), _mm256_set1_ps(256.0));
    let nan_code = _mm256_set1_epi16(0x7F);
    for (out, codes) in out.chunks_exact_mut(LANES).zip(codes.chunks_exact(LANES)) {
        // SAFETY: 16 bytes are read and 16 floats written, the lengths of the two chunks.
        unsafe {
            let wide = _mm256_cvtepu8_epi16(_mm_loadu_si128(codes.as_ptr().cast()));
            let magnitude = _mm256_and_si256(wide, nan_code);
            let sign = _mm256_slli_epi16::<8>(_mm256_xor_si256(wide, magnitude));
            let nan = _mm256_and_si256(_mm256_cmpeq_epi16(magnitude, nan_code), _mm256_set1_epi16(0x7E00));
            let half = _mm256_or_si256(_mm256_slli_epi16::<7>(magnitude), _mm256_or_si256(sign, nan));
            for (i, half) in [_mm256_castsi256_si128(half), _mm256_extracti128_si256::<1>(half)]
                .into_iter()
                .enumerate()
            {
                let value = _mm256_mul_ps(_mm256_mul_ps(_mm256_cvtph_ps(half), bias), scale);
                _mm256_storeu_ps(out.as_mut_ptr().add(HALF * i), value);
            }
        }
    }
}
