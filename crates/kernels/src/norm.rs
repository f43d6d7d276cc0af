//! RMS normalisation (spec §5.1, and the unweighted per-head form of §5.4).

use crate::formats::bf16;
use crate::isa::{self, multiversion};
use crate::lanes;
use crate::team::{Team, for_each_row};

/// `y = w · x · rsqrt(mean(x²) + eps)` over each `width` of `x`, in place; `weight` absent means 1. Statistics and
/// products are float32; `round` rounds the result once to BF16.
pub fn rms_norm(team: &mut Team, x: &mut [f32], width: usize, weight: Option<&[f32]>, eps: f32, round: bool) {
    let isa = isa::detected();
    for_each_row(team, x, width, 4, |_, row, _| {
        norm_row(isa, row, weight, eps, round);
    });
}

/// As [`rms_norm`], from `x` into `out`.
pub fn rms_norm_into(
    team: &mut Team,
    x: &[f32],
    width: usize,
    weight: Option<&[f32]>,
    eps: f32,
    round: bool,
    out: &mut [f32],
) {
    assert_eq!(x.len(), out.len());
    let isa = isa::detected();
    for_each_row(team, out, width, 4, |row, out, _| {
        out.copy_from_slice(&x[row * width..][..width]);
        norm_row(isa, out, weight, eps, round);
    });
}

multiversion! {
    /// One row, in place.
    pub(crate) fn norm_row = norm_row_body(x: &mut [f32], weight: Option<&[f32]>, eps: f32, round: bool)
}

#[inline(always)]
fn norm_row_body(x: &mut [f32], weight: Option<&[f32]>, eps: f32, round: bool) {
    let scale = 1.0 / (lanes::sum_squares(x) / x.len() as f32 + eps).sqrt();
    match weight {
        Some(weight) => {
            assert_eq!(weight.len(), x.len());
            for (x, &w) in x.iter_mut().zip(weight) {
                *x = w * (*x * scale);
            }
        }
        None => x.iter_mut().for_each(|x| *x *= scale),
    }
    if round {
        bf16::round_all(x);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instruction_set_gives_the_same_bits() {
        for width in [1, 7, 16, 33, 96, 512, 1000] {
            let x: Vec<f32> = (0..width).map(|i| ((i * 37 % 101) as f32 - 50.0) / 7.0).collect();
            let weight: Vec<f32> = (0..width).map(|i| 1.0 + (i % 5) as f32 / 8.0).collect();
            for round in [false, true] {
                let mut results = isa::available().map(|isa| {
                    let mut y = x.clone();
                    norm_row(isa, &mut y, Some(&weight), 1e-6, round);
                    y
                });
                let first = results.next().expect("scalar is always available");
                assert!(results.all(|y| y == first));
                let mean = x.iter().map(|x| (x * x) as f64).sum::<f64>() / width as f64;
                let expected = weight[0] as f64 * x[0] as f64 / (mean + 1e-6).sqrt();
                assert!((first[0] as f64 - expected).abs() < if round { 1e-2 } else { 1e-5 });
            }
        }
    }
}
