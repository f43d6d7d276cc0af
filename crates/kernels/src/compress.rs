//! The compressor: how a window of tokens becomes one entry (spec §5.4).

use crate::formats::bf16;
use crate::isa::{self, multiversion};
use crate::lanes::exp;
use crate::norm::norm_row;
use crate::team::{Team, for_each_row};

/// A compressor's sizes and learned constants.
#[derive(Clone, Debug)]
pub struct Compressor {
    /// Tokens of a window.
    pub ratio: usize,
    /// Width of an entry, `D`.
    pub width: usize,
    /// Whether an entry also pools the window before it (ratio 4): keys and gates are then `2 · D` wide, the first half
    /// for the window after a token's own, the second for its own.
    pub overlap: bool,
    /// Added to the gates: `[ratio, (1 or 2) · D]`.
    pub ape: Vec<f32>,
    /// RMS norm of a pooled entry: `[D]`.
    pub norm: Vec<f32>,
}

impl Compressor {
    /// Width of a token's keys, and of its gates.
    pub fn token_width(&self) -> usize {
        if self.overlap { 2 * self.width } else { self.width }
    }

    /// Adds the position's row of `ape` to the gates of consecutive tokens, the first at position `start`. Row by
    /// absolute position modulo the ratio, whatever the chunk (spec §6.4).
    pub fn add_positions(&self, start: usize, gates: &mut [f32]) {
        let width = self.token_width();
        for (i, row) in gates.chunks_exact_mut(width).enumerate() {
            let ape = &self.ape[(start + i) % self.ratio * width..][..width];
            for (gate, &ape) in row.iter_mut().zip(ape) {
                *gate += ape;
            }
        }
    }

    /// Pools and normalises windows `first_window ..` into `entries` `[windows, D]`.
    ///
    /// `keys` and `gates` are rows of consecutive tokens from position `base` on; with overlap they reach back one
    /// window further, except before window 0, where the earlier half is absent.
    pub fn pool(
        &self,
        team: &mut Team,
        (keys, gates, base): (&[f32], &[f32], usize),
        first_window: usize,
        eps: f32,
        round: bool,
        entries: &mut [f32],
    ) {
        let isa = isa::detected();
        let (ratio, width, token) = (self.ratio, self.width, self.token_width());
        for_each_row(team, entries, width, 1, |index, entry, scratch| {
            let window = first_window + index;
            let at = (window * ratio - base) * token;
            let own = if self.overlap { width } else { 0 };
            let before = (self.overlap && window > 0).then(|| at - ratio * token);
            let [max, total] = scratch.floats([width, width]);
            let candidates = Candidates {
                keys,
                gates,
                token,
                ratio,
                before,
                own: at + own,
            };
            pool_window(isa, &candidates, max, total, entry);
            if round {
                bf16::round_all(entry);
            }
            norm_row(isa, entry, Some(&self.norm), eps, round);
        });
    }
}

/// Where a window's candidates lie: element offsets of the first token's half-rows.
struct Candidates<'a> {
    keys: &'a [f32],
    gates: &'a [f32],
    token: usize,
    ratio: usize,
    before: Option<usize>,
    own: usize,
}

impl Candidates<'_> {
    /// Offsets of every candidate's half-row, the earlier window's first.
    #[inline(always)]
    fn offsets(&self) -> impl Iterator<Item = usize> {
        let (token, ratio) = (self.token, self.ratio);
        let run = move |start: usize| (0..ratio).map(move |i| start + i * token);
        self.before.into_iter().flat_map(run).chain(run(self.own))
    }
}

multiversion! {
    /// Per dimension: softmax of the gates over all candidates, applied to the keys.
    fn pool_window = pool_window_body(candidates: &Candidates<'_>, max: &mut [f32], total: &mut [f32], out: &mut [f32])
}

#[inline(always)]
fn pool_window_body(candidates: &Candidates<'_>, max: &mut [f32], total: &mut [f32], out: &mut [f32]) {
    let width = out.len();
    max.fill(f32::NEG_INFINITY);
    for at in candidates.offsets() {
        for (max, &gate) in max.iter_mut().zip(&candidates.gates[at..][..width]) {
            *max = if gate > *max { gate } else { *max };
        }
    }
    total.fill(0.0);
    out.fill(0.0);
    for at in candidates.offsets() {
        let gates = &candidates.gates[at..][..width];
        let keys = &candidates.keys[at..][..width];
        for i in 0..width {
            let weight = exp(gates[i] - max[i]);
            total[i] += weight;
            out[i] = weight.mul_add(keys[i], out[i]);
        }
    }
    for (out, &total) in out.iter_mut().zip(&*total) {
        *out /= total;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compressor(ratio: usize, overlap: bool) -> Compressor {
        let width = 3;
        let token = if overlap { 2 * width } else { width };
        let ape = (0..ratio * token).map(|i| (i % 7) as f32 * 0.1).collect();
        Compressor {
            ratio,
            width,
            overlap,
            ape,
            norm: vec![1.0; width],
        }
    }

    fn softmax_pool(pairs: &[(f64, f64)]) -> f64 {
        let total: f64 = pairs.iter().map(|(gate, _)| gate.exp()).sum();
        pairs.iter().map(|(gate, key)| gate.exp() / total * key).sum()
    }

    /// Trap 12 of spec §15: an entry pools eight candidates, also at a chunk's start and also window 1.
    #[test]
    fn trap_12_overlap_reaches_into_the_window_before() {
        let c = compressor(4, true);
        let keys: Vec<f32> = (0..12 * 6).map(|i| (i * 13 % 29) as f32 / 10.0 - 1.0).collect();
        let mut gates: Vec<f32> = (0..12 * 6).map(|i| (i * 7 % 31) as f32 / 15.0 - 1.0).collect();
        c.add_positions(0, &mut gates);
        let mut team = Team::new(2);
        let mut all = vec![0.0; 9];
        c.pool(&mut team, (&keys, &gates, 0), 0, 1e-6, false, &mut all);
        for window in 0..3usize {
            let pooled: Vec<f64> = (0..3)
                .map(|d| {
                    let before = (window > 0)
                        .then(|| (window - 1) * 4..window * 4)
                        .into_iter()
                        .flatten()
                        .map(|t| t * 6 + d);
                    let own = (window * 4..window * 4 + 4).map(|t| t * 6 + 3 + d);
                    let pairs: Vec<_> = before
                        .chain(own)
                        .map(|at| (gates[at] as f64, keys[at] as f64))
                        .collect();
                    assert_eq!(pairs.len(), if window == 0 { 4 } else { 8 });
                    softmax_pool(&pairs)
                })
                .collect();
            let rms = (pooled.iter().map(|x| x * x).sum::<f64>() / 3.0 + 1e-6).sqrt();
            for d in 0..3 {
                assert!((all[window * 3 + d] as f64 - pooled[d] / rms).abs() < 1e-5);
            }
        }
        // The same windows from a buffer that starts one window before the first of them.
        let mut last = vec![0.0; 6];
        c.pool(&mut team, (&keys[..], &gates[..], 0), 1, 1e-6, false, &mut last);
        assert_eq!(last, all[3..]);
        c.pool(
            &mut team,
            (&keys[4 * 6..], &gates[4 * 6..], 4),
            2,
            1e-6,
            false,
            &mut last[..3],
        );
        assert_eq!(last[..3], all[6..]);
    }

    #[test]
    fn a_window_without_overlap_pools_its_own_tokens_only() {
        let c = compressor(8, false);
        let keys: Vec<f32> = (0..16 * 3).map(|i| (i * 11 % 23) as f32 / 10.0 - 1.0).collect();
        let mut gates = vec![0.25; 16 * 3];
        c.add_positions(0, &mut gates);
        let mut entries = vec![0.0; 6];
        c.pool(&mut Team::new(1), (&keys, &gates, 0), 0, 0.0, false, &mut entries);
        let pooled: Vec<f64> = (0..3)
            .map(|d| {
                let pairs: Vec<_> = (8..16)
                    .map(|t| (gates[t * 3 + d] as f64, keys[t * 3 + d] as f64))
                    .collect();
                softmax_pool(&pairs)
            })
            .collect();
        let rms = (pooled.iter().map(|x| x * x).sum::<f64>() / 3.0).sqrt();
        assert!((entries[3] as f64 - pooled[0] / rms).abs() < 1e-5);
    }

    #[test]
    fn positions_are_absolute() {
        let c = compressor(4, true);
        let mut whole = vec![0.0; 10 * 6];
        c.add_positions(0, &mut whole);
        let mut part = vec![0.0; 3 * 6];
        c.add_positions(7, &mut part);
        assert_eq!(part, whole[7 * 6..]);
    }
}
