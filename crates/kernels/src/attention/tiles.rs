//! The one product that BF16 attention consists of: sixteen-lane rows of pairs times single pairs.
//!
//! Scores are `queries · row`, a lane for each head, one chain over the pairs of dimensions; results are
//! `values · probability`, a lane for each dimension, one chain over the pairs of rows.

use crate::bf16::dot::{self, dot_pair};
use crate::isa::Isa;
use crate::lanes::LANES;

/// The operands: `steps` rows of `lanes` pairs, and for each of `rows` outputs one pair a step.
#[derive(Clone, Copy)]
pub(super) struct Operands<'a> {
    /// Pairs of step s and lane l at `[s · panel_step + l]`.
    pub(super) panel: &'a [u32],
    pub(super) panel_step: usize,
    /// The pair of output row n and step s at `[n · factor_row + s · factor_step]`.
    pub(super) factors: &'a [u32],
    pub(super) factor_row: usize,
    pub(super) factor_step: usize,
    pub(super) steps: usize,
    /// A multiple of sixteen.
    pub(super) lanes: usize,
    pub(super) rows: usize,
    /// The result of output row n and lane l lies at `[n · out_row + l / 16 · out_vector + l % 16]`.
    pub(super) out_row: usize,
    pub(super) out_vector: usize,
}

impl Operands<'_> {
    /// Panics where the kernel would read or write outside.
    fn check(&self, out: &[u32]) {
        let (steps, rows) = (self.steps, self.rows);
        assert!(self.lanes.is_multiple_of(LANES), "{} lanes", self.lanes);
        if steps > 0 && rows > 0 {
            assert!((steps - 1) * self.panel_step + self.lanes <= self.panel.len());
            assert!((rows - 1) * self.factor_row + (steps - 1) * self.factor_step < self.factors.len());
        }
        if rows > 0 && self.lanes > 0 {
            let last_vector = self.lanes / LANES - 1;
            assert!((rows - 1) * self.out_row + last_vector * self.out_vector + LANES <= out.len());
        }
    }
}

/// `out[n][lane] += Σ_s panel[s][lane] · factor[n][s]`, steps in order and in each the later element of a pair first (see
/// [`crate::bf16::dot`]); `out` holds the bits of float32. A `fresh` sum starts from zero.
pub(super) fn add_products(isa: Isa, operands: &Operands<'_>, fresh: bool, out: &mut [u32]) {
    operands.check(out);
    #[cfg(target_arch = "x86_64")]
    if dot::in_hardware(isa) {
        // SAFETY: the line above found the features, `check` that everything lies inside the slices.
        unsafe { avx512::add_products(operands, fresh, out) };
        return;
    }
    #[cfg(target_arch = "x86_64")]
    if isa >= Isa::Avx2 {
        // SAFETY: such an `Isa` is only ever made by `isa::detect`, which found the features; and `check` as above.
        unsafe { avx2::add_products(operands, fresh, out) };
        return;
    }
    add_products_scalar(operands, fresh, out);
}

/// The scalar twin of the vector kernels.
fn add_products_scalar(operands: &Operands<'_>, fresh: bool, out: &mut [u32]) {
    let vectors = operands.lanes / LANES;
    for (vector, row) in (0..vectors).flat_map(|vector| (0..operands.rows).map(move |row| (vector, row))) {
        let out = &mut out[row * operands.out_row + vector * operands.out_vector..][..LANES];
        let mut sums = [0.0f32; LANES];
        if !fresh {
            sums = std::array::from_fn(|j| f32::from_bits(out[j]));
        }
        for step in 0..operands.steps {
            let pairs = &operands.panel[step * operands.panel_step + vector * LANES..][..LANES];
            let factor = operands.factors[row * operands.factor_row + step * operands.factor_step];
            for (sum, &pair) in sums.iter_mut().zip(pairs) {
                *sum = dot_pair(*sum, pair, factor);
            }
        }
        for (bits, sum) in out.iter_mut().zip(sums) {
            *bits = sum.to_bits();
        }
    }
}

/// Sixteen lanes in two registers; in each step, rows share the panel's unpacked pairs.
#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::{
        _mm256_loadu_ps, _mm256_loadu_si256, _mm256_set1_epi32, _mm256_setzero_ps, _mm256_storeu_ps,
    };

    use super::{LANES, Operands};
    use crate::bf16::dot::dot_pairs_avx2;

    /// Output rows of a register tile: eight sums, two registers of pairs unpacked to four, and a factor unpacked to two.
    const ROWS: usize = 4;
    const HALF: usize = LANES / 2;

    /// See [`super::add_products`].
    ///
    /// # Safety
    /// [`Operands::check`] has passed.
    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn add_products(operands: &Operands<'_>, fresh: bool, out: &mut [u32]) {
        let out = out.as_mut_ptr();
        for vector in 0..operands.lanes / LANES {
            for row in (0..operands.rows).step_by(ROWS) {
                // SAFETY: the tile lies within the checked lanes and rows.
                unsafe {
                    match operands.rows - row {
                        1 => tile::<1>(operands, vector, row, fresh, out),
                        2 => tile::<2>(operands, vector, row, fresh, out),
                        3 => tile::<3>(operands, vector, row, fresh, out),
                        _ => tile::<ROWS>(operands, vector, row, fresh, out),
                    }
                }
            }
        }
    }

    /// # Safety
    /// `vector` and `N` rows from `row` on lie within the checked operands and `out`.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn tile<const N: usize>(
        operands: &Operands<'_>,
        vector: usize,
        row: usize,
        fresh: bool,
        out: *mut u32,
    ) {
        let mut sums = [[_mm256_setzero_ps(); 2]; N];
        // SAFETY: by the caller's promise every address is one of the checked ones.
        unsafe {
            let sum_at = |n: usize, half: usize| {
                out.add((row + n) * operands.out_row + vector * operands.out_vector + half * HALF)
                    .cast::<f32>()
            };
            if !fresh {
                for n in 0..N {
                    sums[n] = [_mm256_loadu_ps(sum_at(n, 0)), _mm256_loadu_ps(sum_at(n, 1))];
                }
            }
            let mut panel = operands.panel.as_ptr().add(vector * LANES);
            let mut factor = operands.factors.as_ptr().add(row * operands.factor_row);
            for _ in 0..operands.steps {
                let pairs = [0, HALF].map(|at| _mm256_loadu_si256(panel.add(at).cast()));
                for (n, sums) in sums.iter_mut().enumerate() {
                    let one = _mm256_set1_epi32(factor.add(n * operands.factor_row).read().cast_signed());
                    for (sum, &pairs) in sums.iter_mut().zip(&pairs) {
                        *sum = dot_pairs_avx2(*sum, pairs, one);
                    }
                }
                // The last step leaves the slices; nothing is read there.
                panel = panel.wrapping_add(operands.panel_step);
                factor = factor.wrapping_add(operands.factor_step);
            }
            for n in 0..N {
                _mm256_storeu_ps(sum_at(n, 0), sums[n][0]);
                _mm256_storeu_ps(sum_at(n, 1), sums[n][1]);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::{
        __m512, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_set1_epi32, _mm512_setzero_ps, _mm512_storeu_ps,
    };

    use super::{LANES, Operands};
    use crate::bf16::dot::dot_pairs_avx512;

    /// Vectors of lanes, and output rows, of a register tile: 24 sums in flight, and for their 24 products ten loads.
    const VECTORS: usize = 4;
    const ROWS: usize = 6;

    /// See [`super::add_products`].
    ///
    /// # Safety
    /// [`Operands::check`] has passed.
    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(super) unsafe fn add_products(operands: &Operands<'_>, fresh: bool, out: &mut [u32]) {
        let vectors = operands.lanes / LANES;
        let mut vector = 0;
        while vector < vectors {
            let wide = vectors - vector >= VECTORS;
            let mut row = 0;
            while row < operands.rows {
                // Seven or eight rows are better shared out as four and four.
                let rows = match operands.rows - row {
                    7 | 8 => 4,
                    rest => rest.min(ROWS),
                };
                // SAFETY: the tile lies within the checked lanes and rows.
                unsafe {
                    let out = out.as_mut_ptr();
                    let at = (operands, vector, row);
                    match (wide, rows) {
                        (true, 6) => tile::<VECTORS, 6>(at, fresh, out),
                        (true, 5) => tile::<VECTORS, 5>(at, fresh, out),
                        (true, 4) => tile::<VECTORS, 4>(at, fresh, out),
                        (true, 3) => tile::<VECTORS, 3>(at, fresh, out),
                        (true, 2) => tile::<VECTORS, 2>(at, fresh, out),
                        (true, _) => tile::<VECTORS, 1>(at, fresh, out),
                        (false, 6) => tile::<1, 6>(at, fresh, out),
                        (false, 5) => tile::<1, 5>(at, fresh, out),
                        (false, 4) => tile::<1, 4>(at, fresh, out),
                        (false, 3) => tile::<1, 3>(at, fresh, out),
                        (false, 2) => tile::<1, 2>(at, fresh, out),
                        (false, _) => tile::<1, 1>(at, fresh, out),
                    }
                }
                row += rows;
            }
            vector += if wide { VECTORS } else { 1 };
        }
    }

    /// # Safety
    /// `V` vectors from `vector` on and `N` rows from `row` on lie within the checked operands and `out`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bf16")]
    unsafe fn tile<const V: usize, const N: usize>(
        (operands, vector, row): (&Operands<'_>, usize, usize),
        fresh: bool,
        out: *mut u32,
    ) {
        let mut sums = [[_mm512_setzero_ps(); V]; N];
        // SAFETY: by the caller's promise every address is one of the checked ones.
        unsafe {
            let out = out.add(row * operands.out_row + vector * operands.out_vector);
            let sum_at = |n: usize, v: usize| {
                out.add(n * operands.out_row + v * operands.out_vector)
                    .cast::<f32>()
            };
            if !fresh {
                for n in 0..N {
                    for v in 0..V {
                        sums[n][v] = _mm512_loadu_ps(sum_at(n, v));
                    }
                }
            }
            let mut panel = operands.panel.as_ptr().add(vector * LANES);
            let mut factor = operands.factors.as_ptr().add(row * operands.factor_row);
            for _ in 0..operands.steps {
                let pairs: [_; V] = std::array::from_fn(|v| _mm512_loadu_si512(panel.add(v * LANES).cast()));
                for (n, sums) in sums.iter_mut().enumerate() {
                    let one = _mm512_set1_epi32(factor.add(n * operands.factor_row).read().cast_signed());
                    for (sum, &pairs) in sums.iter_mut().zip(&pairs) {
                        *sum = dot_pairs_avx512(*sum, pairs, one);
                    }
                }
                // The last step leaves the slices; nothing is read there.
                panel = panel.wrapping_add(operands.panel_step);
                factor = factor.wrapping_add(operands.factor_step);
            }
            for n in 0..N {
                for v in 0..V {
                    let sum: __m512 = sums[n][v];
                    _mm512_storeu_ps(sum_at(n, v), sum);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bf16::dot::{operand, pair};
    use crate::isa;

    /// Against sums in float64, on every instruction set, in one go and resumed half-way.
    #[test]
    fn products_of_every_tile_shape() {
        let noise = |n: usize, seed: u32| -> Vec<u32> {
            let mut state = seed;
            let mut next = move || {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                operand((state >> 8) as f32 / (1 << 23) as f32 - 1.0)
            };
            (0..n).map(|_| pair(next(), next())).collect()
        };
        let value = |x: u32| [x << 16, x & 0xFFFF_0000].map(|bits| f64::from(f32::from_bits(bits)));
        for (lanes, rows, steps) in [
            (16, 1, 1),
            (16, 13, 9),
            (64, 5, 7),
            (64, 6, 3),
            (80, 14, 8),
            (112, 8, 5),
            (128, 9, 2),
        ] {
            let (panel, factors) = (noise(steps * (lanes + 3), 1), noise(rows * steps, 2));
            for (factor_row, factor_step) in [(steps, 1), (1, rows)] {
                let (out_row, out_vector) = if factor_step == 1 {
                    (lanes, LANES)
                } else {
                    (LANES, rows * LANES)
                };
                let whole = Operands {
                    panel: &panel,
                    panel_step: lanes + 3,
                    factors: &factors,
                    factor_row,
                    factor_step,
                    steps,
                    lanes,
                    rows,
                    out_row,
                    out_vector,
                };
                let mut first: Option<Vec<u32>> = None;
                for isa in isa::available() {
                    let mut out = vec![0x7FC0_0000; lanes * rows];
                    add_products(isa, &whole, true, &mut out);
                    let mut again = vec![0; lanes * rows];
                    let half = steps / 2;
                    add_products(isa, &Operands { steps: half, ..whole }, true, &mut again);
                    let rest = Operands {
                        panel: &panel[half * (lanes + 3)..],
                        factors: &factors[half * factor_step..],
                        steps: steps - half,
                        ..whole
                    };
                    add_products(isa, &rest, false, &mut again);
                    assert_eq!(again, out);
                    assert_eq!(*first.get_or_insert(out.clone()), out, "{isa:?}");
                }
                let out = first.expect("scalar is always available");
                for (n, lane) in (0..rows).flat_map(|n| (0..lanes).map(move |lane| (n, lane))) {
                    let expected: f64 = (0..steps)
                        .map(|s| {
                            let a = value(panel[s * (lanes + 3) + lane]);
                            let b = value(factors[n * factor_row + s * factor_step]);
                            a[0] * b[0] + a[1] * b[1]
                        })
                        .sum();
                    let found = f32::from_bits(out[n * out_row + lane / LANES * out_vector + lane % LANES]);
                    assert!((f64::from(found) - expected).abs() < 1e-5, "{found} {expected}");
                }
            }
        }
    }
}
