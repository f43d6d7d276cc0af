//! RMS normalisation (spec §5.1, and the unweighted per-head form of §5.4).

use crate::formats::bf16;
use crate::isa::{self, multiversion};
use crate::lanes;
use crate::rope::{self, RotationTable, Turn};
use crate::team::{Team, for_each_piece, for_each_row};

/// `y = w · x · rsqrt(mean(x²) + eps)` over each `width` of `x`, in place; `weight` absent means 1. Statistics and
/// products are float32; `round` rounds the result once to BF16.
pub fn rms_norm(team: &mut Team, x: &mut [f32], width: usize, weight: Option<&[f32]>, eps: f32, round: bool) {
    let isa = isa::detected();
    for_each_row(team, x, width, rows_per_item(width), |_, row, _| {
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
    for_each_row(team, out, width, rows_per_item(width), |row, out, _| {
        norm_row_into(isa, &x[row * width..][..width], weight, eps, round, out);
    });
}

/// Queries: every `head_dim` of `x` normalised without a weight as by [`rms_norm`], then its last elements turned
/// forward as by [`rope::rotate`], in one pass over memory. `x` is `[t, heads · head_dim]`, row i turns by row i of
/// `table`.
pub fn rms_norm_and_rotate(
    team: &mut Team,
    x: &mut [f32],
    row_width: usize,
    head_dim: usize,
    eps: f32,
    table: &RotationTable,
    round: bool,
) {
    let isa = isa::detected();
    for_each_piece(team, x, row_width, head_dim, |row, _, heads, _| {
        for head in heads.chunks_exact_mut(head_dim) {
            norm_row(isa, head, None, eps, round);
            rope::rotate_head(isa, head, table.row(row), Turn::Forward, round);
        }
    });
}

/// Rows of an item: some hundred nanoseconds' work.
fn rows_per_item(width: usize) -> usize {
    (4096 / width).max(1)
}

multiversion! {
    /// One row, in place.
    pub(crate) fn norm_row = norm_row_body(x: &mut [f32], weight: Option<&[f32]>, eps: f32, round: bool)
}

#[inline(always)]
fn norm_row_body(x: &mut [f32], weight: Option<&[f32]>, eps: f32, round: bool) {
    let scale = scale(x, eps);
    match weight {
        Some(weight) => {
            assert_eq!(weight.len(), x.len());
            for (x, &w) in x.iter_mut().zip(weight) {
                *x = finished(w * (*x * scale), round);
            }
        }
        None => x.iter_mut().for_each(|x| *x = finished(*x * scale, round)),
    }
}

multiversion! {
    fn norm_row_into =
        norm_row_into_body(x: &[f32], weight: Option<&[f32]>, eps: f32, round: bool, out: &mut [f32])
}

#[inline(always)]
fn norm_row_into_body(x: &[f32], weight: Option<&[f32]>, eps: f32, round: bool, out: &mut [f32]) {
    let scale = scale(x, eps);
    match weight {
        Some(weight) => {
            assert_eq!(weight.len(), x.len());
            for ((out, &x), &w) in out.iter_mut().zip(x).zip(weight) {
                *out = finished(w * (x * scale), round);
            }
        }
        None => {
            for (out, &x) in out.iter_mut().zip(x) {
                *out = finished(x * scale, round);
            }
        }
    }
}

#[inline(always)]
fn scale(x: &[f32], eps: f32) -> f32 {
    1.0 / (lanes::sum_squares(x) / x.len() as f32 + eps).sqrt()
}

#[inline(always)]
fn finished(x: f32, round: bool) -> f32 {
    if round { bf16::round(x) } else { x }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn norm_and_rotation_in_one_are_norm_then_rotation() {
        let (head, heads, rows) = (96, 50, 3);
        let mut table = RotationTable::new(rope::frequencies(32, 10000.0, None), rows);
        table.set([7usize, 1000, 3].into_iter());
        for round in [false, true] {
            for threads in 1..4 {
                let mut team = Team::new(threads);
                let x: Vec<f32> = (0..rows * heads * head)
                    .map(|i| ((i * 37 % 101) as f32 - 50.0) / 7.0)
                    .collect();
                let (mut one, mut two) = (x.clone(), x);
                rms_norm_and_rotate(&mut team, &mut one, heads * head, head, 1e-6, &table, round);
                rms_norm(&mut team, &mut two, head, None, 1e-6, round);
                rope::rotate(
                    &mut team,
                    &mut two,
                    heads * head,
                    head,
                    &table,
                    Turn::Forward,
                    round,
                );
                assert_eq!(one, two);
            }
        }
    }

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
                for isa in isa::available() {
                    let mut y = vec![0.0; width];
                    norm_row_into(isa, &x, Some(&weight), 1e-6, round, &mut y);
                    assert_eq!(y, first);
                }
                let mean = x.iter().map(|x| (x * x) as f64).sum::<f64>() / width as f64;
                let expected = weight[0] as f64 * x[0] as f64 / (mean + 1e-6).sqrt();
                assert!((first[0] as f64 - expected).abs() < if round { 1e-2 } else { 1e-5 });
            }
        }
    }
}
