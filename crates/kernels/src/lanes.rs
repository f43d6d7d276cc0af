//! Sixteen-lane arithmetic: the shape of every reduction in Fathom.
//!
//! A sum over n values keeps sixteen partial sums, lane j taking values j, j+16, j+32 …, and combines them by one tree
//! (j with j+8, then +4, +2, +1). The order depends on n alone, so neither the instruction set, the number of threads
//! nor the company a row keeps can change a bit of it.

/// Lanes in flight: one AVX-512 register, two AVX2 registers.
pub(crate) const LANES: usize = 16;

/// Combines sixteen partial sums by the fixed tree.
#[inline(always)]
pub(crate) fn combine(mut lanes: [f32; LANES]) -> f32 {
    for width in [8, 4, 2, 1] {
        for j in 0..width {
            lanes[j] += lanes[j + width];
        }
    }
    lanes[0]
}

/// Σ f(i) over `0..n`, lane by lane; `f` returns the pair whose product is added.
#[inline(always)]
pub(crate) fn sum_products(n: usize, f: impl Fn(usize) -> (f32, f32)) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let whole = n - n % LANES;
    for base in (0..whole).step_by(LANES) {
        for (j, lane) in lanes.iter_mut().enumerate() {
            let (a, b) = f(base + j);
            *lane = a.mul_add(b, *lane);
        }
    }
    for i in whole..n {
        let (a, b) = f(i);
        lanes[i - whole] = a.mul_add(b, lanes[i - whole]);
    }
    combine(lanes)
}

/// Σ x², over a row that may be long: four sets of sixteen lanes take blocks of sixteen in turn, so that additions do
/// not wait for each other, and are added as (0 + 2) + (1 + 3) before the tree.
#[inline(always)]
pub(crate) fn sum_squares(x: &[f32]) -> f32 {
    let mut sets = [[0.0f32; LANES]; 4];
    let (blocks, rest) = x.as_chunks::<{ 4 * LANES }>();
    for block in blocks {
        for (set, block) in sets.iter_mut().zip(block.as_chunks::<LANES>().0) {
            for (lane, &x) in set.iter_mut().zip(block) {
                *lane = x.mul_add(x, *lane);
            }
        }
    }
    for (set, block) in sets.iter_mut().zip(rest.chunks(LANES)) {
        for (lane, &x) in set.iter_mut().zip(block) {
            *lane = x.mul_add(x, *lane);
        }
    }
    let [mut total, b, c, d] = sets;
    for j in 0..LANES {
        total[j] = (total[j] + c[j]) + (b[j] + d[j]);
    }
    combine(total)
}

/// Σ x.
#[inline(always)]
pub(crate) fn sum(x: &[f32]) -> f32 {
    sum_products(x.len(), |i| (x[i], 1.0))
}

/// The largest of `x`, −∞ if there is none; NaN is passed over.
#[inline(always)]
pub(crate) fn max(x: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for chunk in x.chunks(LANES) {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = if x > *lane { x } else { *lane };
        }
    }
    lanes.into_iter().fold(f32::NEG_INFINITY, f32::max)
}

/// The largest magnitude in `x`, 0 if there is none; NaN where there is one.
#[inline(always)]
pub(crate) fn max_magnitude(x: &[f32]) -> f32 {
    // Without their signs floats order as integers do, NaN above all, and an integer maximum is one in any order.
    f32::from_bits(x.iter().fold(0, |max, x| max.max(x.abs().to_bits())))
}

/// e^x to about one unit in the last place, from fused multiply-adds alone: the same bits on every machine, and
/// vectorisable, which a call into the C library is neither. Underflows to 0 below −87.34 and overflows to ∞ above
/// 88.72; NaN stays NaN.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const LN2_HIGH: f32 = 0.693_359_4; // 355/512, exactly
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // Adding 1.5·2^23 rounds to an integer and leaves it in the low bits.
    const MAGIC: f32 = 12_582_912.0;
    let clamped = x.clamp(-87.34, 88.73);
    let shifted = clamped.mul_add(std::f32::consts::LOG2_E, MAGIC);
    let n = shifted - MAGIC;
    let r = n.mul_add(-LN2_LOW, n.mul_add(-LN2_HIGH, clamped));
    // Minimax polynomial of (e^r − 1 − r) / r² on |r| ≤ ln2/2.
    let mut p = 1.987_569_2e-4f32;
    p = p.mul_add(r, 1.398_2e-3);
    p = p.mul_add(r, 8.333_452e-3);
    p = p.mul_add(r, 4.166_579_6e-2);
    p = p.mul_add(r, 1.666_666_5e-1);
    p = p.mul_add(r, 0.5);
    let y = (p * r).mul_add(r, r) + 1.0;
    // 2^n in two factors, so that results near the ends of the range neither overflow nor flush early. The integer is
    // taken from the low bits: a conversion saturates in Rust, which compilers do one lane at a time.
    let n = (shifted.to_bits() as i32).wrapping_sub(MAGIC.to_bits() as i32);
    let half = n >> 1;
    let rest = n - half;
    let power = |k: i32| f32::from_bits(((k + 127) as u32) << 23);
    // At the upper clamp the last product overflows, and NaN has stayed NaN.
    let value = y * power(half) * power(rest);
    if x < -87.34 { 0.0 } else { value }
}

/// 1 / (1 + e^−x).
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// ln(1 + x) for x ≥ 0 to about one unit in the last place, of the same making as [`exp`].
#[inline(always)]
pub(crate) fn log1p(x: f32) -> f32 {
    const LN2_HIGH: f32 = 0.693_359_4; // 355/512, exactly
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let u = 1.0 + x;
    // 1 + x as m · 2^e with m in [√½, √2); for the part of x that the sum lost, d/du ln u = 1/u.
    let lost = if x < u { x - (u - 1.0) } else { 0.0 };
    let shifted = u
        .to_bits()
        .wrapping_sub(std::f32::consts::FRAC_1_SQRT_2.to_bits());
    let e = (shifted as i32 >> 23) as f32;
    let m = f32::from_bits((shifted & 0x007F_FFFF).wrapping_add(std::f32::consts::FRAC_1_SQRT_2.to_bits()));
    let r = m - 1.0;
    // Minimax polynomial of (ln(1 + r) − r + r²/2) / r³ on [√½ − 1, √2 − 1].
    let mut p = 7.037_683_6e-2_f32;
    p = p.mul_add(r, -1.151_461e-1);
    p = p.mul_add(r, 1.167_699_9e-1);
    p = p.mul_add(r, -1.242_014_1e-1);
    p = p.mul_add(r, 1.424_932_3e-1);
    p = p.mul_add(r, -1.666_805_8e-1);
    p = p.mul_add(r, 2.000_071_5e-1);
    p = p.mul_add(r, -2.499_999_4e-1);
    p = p.mul_add(r, 0.333_333_3);
    let square = r * r;
    let low = (p * r).mul_add(square, (-0.5f32).mul_add(square, e * LN2_LOW)) + lost / u;
    let value = e.mul_add(LN2_HIGH, low + r);
    // Infinite and NaN stay what they are.
    if x < f32::INFINITY { value } else { x }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log1p_is_within_two_units_in_the_last_place() {
        let mut worst = 0.0f64;
        for i in 0..2_000_000u32 {
            // Every size from 2^−40 to 2^40.
            let x = f32::from_bits((127 - 40) << 23) * (i as f32 / 25_000.0).exp2();
            let exact = (x as f64).ln_1p();
            let ulp = (exact as f32).next_up() as f64 - exact as f32 as f64;
            worst = worst.max((log1p(x) as f64 - exact).abs() / ulp);
        }
        assert!(worst < 2.0, "worst error {worst} ulp");
        assert_eq!(log1p(0.0), 0.0);
        assert_eq!(log1p(f32::INFINITY), f32::INFINITY);
        assert!(log1p(f32::NAN).is_nan());
    }

    #[test]
    fn magnitudes() {
        for n in [0, 1, 15, 16, 17, 100] {
            let mut x: Vec<f32> = (0..n).map(|i| -(i as f32)).collect();
            assert_eq!(max_magnitude(&x), n.max(1) as f32 - 1.0);
            if n > 0 {
                x[0] = f32::NAN;
                assert!(max_magnitude(&x).is_nan());
            }
        }
    }

    #[test]
    fn sums_of_squares_take_every_element() {
        for n in 0..200 {
            let x: Vec<f32> = (1..=n).map(|i| i as f32).collect();
            assert_eq!(sum_squares(&x), (n * (n + 1) * (2 * n + 1) / 6) as f32);
        }
    }

    #[test]
    fn exp_is_within_two_units_in_the_last_place() {
        let mut worst = 0.0f64;
        for i in -873_000..887_000 {
            let x = i as f32 * 1e-4;
            let exact = (x as f64).exp();
            let ulp = (exact as f32).next_up() as f64 - exact as f32 as f64;
            worst = worst.max((exp(x) as f64 - exact).abs() / ulp);
        }
        assert!(worst < 2.0, "worst error {worst} ulp");
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-1000.0), 0.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(1000.0), f32::INFINITY);
        assert!(exp(f32::NAN).is_nan());
    }
}
