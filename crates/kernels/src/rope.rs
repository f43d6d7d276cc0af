//! Rotary position embedding on the last dimensions of a head, interleaved pairs (spec §5.4, §18.2).
//!
//! The reference makes its table in float32: a frequency is rounded, and so is its product with the position. At a
//! million tokens that rounding is visible (an angle is off by up to 0.06), the model was trained with it, and so it is
//! reproduced here: only the sine and cosine themselves are computed more precisely.

use crate::formats::bf16;
use crate::isa::{self, Isa, multiversion};
use crate::team::{Team, for_each_row};

/// YaRN's blend of scaled and unscaled frequencies; no amplitude factor in this model (spec §5.4).
#[derive(Clone, Copy, Debug)]
pub struct Yarn {
    /// Context extension factor.
    pub factor: f64,
    /// Context before extension, in tokens.
    pub original_max_position_embeddings: usize,
    /// Rotations above which a frequency stays unscaled.
    pub beta_fast: f64,
    /// Rotations below which a frequency is fully scaled.
    pub beta_slow: f64,
}

/// The `rope_dim / 2` frequencies in radians per token, in float32 as the reference computes them.
pub fn frequencies(rope_dim: usize, theta: f64, yarn: Option<Yarn>) -> Vec<f32> {
    let base = (0..rope_dim / 2).map(|i| {
        let exponent = (2 * i) as f32 / rope_dim as f32;
        1.0 / (libm::pow(theta, exponent as f64) as f32)
    });
    let Some(yarn) = yarn else { return base.collect() };
    let dimension = |rotations: f64| {
        let wavelengths =
            yarn.original_max_position_embeddings as f64 / (rotations * 2.0 * std::f64::consts::PI);
        rope_dim as f64 * libm::log(wavelengths) / (2.0 * libm::log(theta))
    };
    let low = dimension(yarn.beta_fast).floor().max(0.0);
    let high = dimension(yarn.beta_slow).ceil().min((rope_dim - 1) as f64);
    let span = if low == high { 0.001 } else { high - low };
    base.enumerate()
        .map(|(i, f)| {
            let ramp = (((i as f64 - low) / span).clamp(0.0, 1.0)) as f32;
            let smooth = 1.0 - ramp;
            (f / yarn.factor as f32) * (1.0 - smooth) + f * smooth
        })
        .collect()
}

/// Cosines and sines for a list of positions: row i is `[cos(position_i · f_0) …, sin(position_i · f_0) …]`.
#[derive(Clone, Debug)]
pub struct RotationTable {
    frequencies: Vec<f32>,
    rows: Vec<f32>,
}

impl RotationTable {
    /// An empty table that holds up to `capacity` positions without growing.
    pub fn new(frequencies: Vec<f32>, capacity: usize) -> Self {
        let rows = Vec::with_capacity(capacity * 2 * frequencies.len());
        Self { frequencies, rows }
    }

    /// Replaces the rows by those of `positions`.
    pub fn set(&mut self, positions: impl Iterator<Item = usize>) {
        self.rows.clear();
        for position in positions {
            let angle = |f: &f32| (position as f32 * f) as f64;
            self.rows
                .extend(self.frequencies.iter().map(|f| libm::cos(angle(f)) as f32));
            self.rows
                .extend(self.frequencies.iter().map(|f| libm::sin(angle(f)) as f32));
        }
    }

    pub(crate) fn row(&self, row: usize) -> (&[f32], &[f32]) {
        let pairs = self.frequencies.len();
        self.rows[row * 2 * pairs..][..2 * pairs].split_at(pairs)
    }
}

/// Which way to turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// By the position's angle: queries and keys.
    Forward,
    /// By its negative: the attention output (spec §5.4).
    Back,
}

/// Rotates the last `2 · frequencies` elements of every `head_dim` of `x`, in place. `x` is `[t, heads · head_dim]` and
/// row i turns by row i of `table`. Float32 products; `round` rounds the turned elements once to BF16.
pub fn rotate(
    team: &mut Team,
    x: &mut [f32],
    row_width: usize,
    head_dim: usize,
    table: &RotationTable,
    turn: Turn,
    round: bool,
) {
    let isa = isa::detected();
    for_each_row(team, x, row_width, 1, |row, x, _| {
        for head in x.chunks_exact_mut(head_dim) {
            rotate_head(isa, head, table.row(row), turn, round);
        }
    });
}

/// Rotates the last elements of one head.
pub(crate) fn rotate_head(isa: Isa, head: &mut [f32], (cos, sin): (&[f32], &[f32]), turn: Turn, round: bool) {
    let nope = head.len() - 2 * cos.len();
    let sign = if turn == Turn::Forward { 1.0 } else { -1.0 };
    rotate_pairs(isa, &mut head[nope..], cos, sin, sign, round);
}

multiversion! {
    fn rotate_pairs = rotate_pairs_body(x: &mut [f32], cos: &[f32], sin: &[f32], sign: f32, round: bool)
}

#[inline(always)]
fn rotate_pairs_body(x: &mut [f32], cos: &[f32], sin: &[f32], sign: f32, round: bool) {
    for ((pair, &cos), &sin) in x.chunks_exact_mut(2).zip(cos).zip(sin) {
        let (a, b, sin) = (pair[0], pair[1], sign * sin);
        pair[0] = a * cos - b * sin;
        pair[1] = a * sin + b * cos;
        if round {
            pair[0] = bf16::round(pair[0]);
            pair[1] = bf16::round(pair[1]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YARN: Yarn = Yarn {
        factor: 16.0,
        original_max_position_embeddings: 65536,
        beta_fast: 32.0,
        beta_slow: 1.0,
    };

    /// Spec §18.2.
    #[test]
    fn the_tables_of_the_specification() {
        let close = |found: &[f32], expected: &[f64]| {
            for (found, expected) in found.iter().zip(expected) {
                assert!(
                    (*found as f64 / expected - 1.0).abs() < 3e-7,
                    "{found} {expected}"
                );
            }
        };
        let plain = frequencies(64, 10000.0, None);
        close(
            &plain,
            &[
                1.0,
                0.749_894_209_3,
                0.562_341_325_2,
                0.421_696_503_4,
                0.316_227_766_0,
            ],
        );
        let yarn = frequencies(64, 160_000.0, Some(YARN));
        close(
            &yarn[..6],
            &[
                1.0,
                0.687_656_021_9,
                0.472_870_804_5,
                0.325_172_456_3,
                0.223_606_797_7,
                0.153_764_561,
            ],
        );
        close(
            &yarn[15..],
            &[
                0.003_635_538_584,
                2.265_625e-3,
                1.396_801_295e-3,
                8.496_897_268e-4,
                5.080_819_63e-4,
                2.969_777_783e-4,
                1.681_799_886e-4,
                9.086_784_295e-5,
                4.544_423_23e-5,
                1.953_125e-5,
                5.372_312_671e-6,
                3.694_303_16e-6,
                2.540_409_815e-6,
                1.746_928_107e-6,
                1.201_285_633e-6,
                8.260_712_996e-7,
                5.680_529_037e-7,
            ],
        );
    }

    /// Trap 2 of spec §15: YaRN's amplitude factor is not applied; a turn keeps a pair's length.
    #[test]
    fn trap_02_yarn_has_no_amplitude_factor() {
        let mut table = RotationTable::new(frequencies(64, 160_000.0, Some(YARN)), 3);
        table.set([0usize, 77, 1_000_000].into_iter());
        for row in 0..3 {
            let (cos, sin) = table.row(row);
            for (cos, sin) in cos.iter().zip(sin) {
                assert!((cos.mul_add(*cos, sin * sin) - 1.0).abs() < 1e-6);
            }
        }
    }

    /// Trap 3 of spec §15: pairs are neighbours, not halves.
    #[test]
    fn trap_03_pairs_are_interleaved() {
        let mut table = RotationTable::new(frequencies(4, 10000.0, None), 1);
        table.set(std::iter::once(1));
        let mut x = vec![1.0, 0.0, 0.0, 0.0];
        rotate(&mut Team::new(1), &mut x, 4, 4, &table, Turn::Forward, false);
        let (sin, cos) = 1f32.sin_cos();
        assert!((x[0] - cos).abs() < 1e-6 && (x[1] - sin).abs() < 1e-6 && x[2..] == [0.0, 0.0]);
    }

    #[test]
    fn turning_back_undoes_turning_and_leaves_the_rest_alone() {
        let mut table = RotationTable::new(frequencies(8, 10000.0, None), 2);
        table.set([3usize, 1000].into_iter());
        let original: Vec<f32> = (0..2 * 2 * 12).map(|i| i as f32 / 5.0 - 3.0).collect();
        let mut x = original.clone();
        let mut team = Team::new(1);
        rotate(&mut team, &mut x, 24, 12, &table, Turn::Forward, false);
        assert_ne!(x, original);
        for (head, before) in x.chunks(12).zip(original.chunks(12)) {
            assert_eq!(head[..4], before[..4]);
        }
        // Interleaved pairs: element 4 with element 5.
        let (sin, cos) = 3f32.sin_cos();
        assert!((x[4] - (original[4] * cos - original[5] * sin)).abs() < 1e-5);
        rotate(&mut team, &mut x, 24, 12, &table, Turn::Back, false);
        assert!(x.iter().zip(&original).all(|(a, b)| (a - b).abs() < 1e-5));
    }
}
