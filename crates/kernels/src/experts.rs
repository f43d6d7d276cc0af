//! The mixture of experts: routing, the clamped SwiGLU and the sum of expert outputs (spec §5.5, §5.6).

use crate::formats::bf16;
use crate::isa::{self, multiversion};
use crate::lanes::{self, exp, log1p, sigmoid};
use crate::team::{Disjoint, Team, for_each_piece};

/// Where a layer's expert ids come from.
#[derive(Clone, Copy, Debug)]
pub enum Selection<'a> {
    /// The largest of score + bias; the bias `[experts]` plays no part in the weights.
    Biased(&'a [f32]),
    /// Given with the token, `[t, k]`.
    Given(&'a [u32]),
}

/// A layer's router.
#[derive(Clone, Copy, Debug)]
pub struct Router<'a> {
    /// How experts are selected.
    pub selection: Selection<'a>,
    /// Experts per token, `k`.
    pub experts_per_token: usize,
    /// Whether weights are divided by their sum.
    pub normalise: bool,
    /// Factor on the weights.
    pub scale: f32,
}

impl Router<'_> {
    /// Scores `sqrt(softplus(logit))`, selection and weights, all float32. `logits` is `[t, experts]` and is overwritten
    /// by the scores; `ids` and `weights` are `[t, k]`, a token's experts in ascending order. Equal biased scores go to
    /// the smaller id.
    pub fn route(
        &self,
        team: &mut Team,
        experts: usize,
        logits: &mut [f32],
        ids: &mut [u32],
        weights: &mut [f32],
    ) {
        let isa = isa::detected();
        let (k, rows) = (self.experts_per_token, logits.len() / experts);
        assert_eq!((ids.len(), weights.len()), (rows * k, rows * k));
        assert!(k <= experts);
        let (logits, ids, weights) = (Disjoint::new(logits), Disjoint::new(ids), Disjoint::new(weights));
        team.run(rows, |row, scratch| {
            // SAFETY: each item owns its row of the three.
            let (scores, ids, weights) = unsafe {
                (
                    logits.part(row * experts, experts),
                    ids.part(row * k, k),
                    weights.part(row * k, k),
                )
            };
            root_softplus(isa, scores);
            match self.selection {
                Selection::Biased(bias) => {
                    let [values] = scratch.floats([experts]);
                    select(isa, scores, bias, values, ids);
                }
                Selection::Given(given) => ids.copy_from_slice(&given[row * k..][..k]),
            }
            ids.sort_unstable();
            for (weight, &id) in weights.iter_mut().zip(&*ids) {
                *weight = scores[id as usize];
            }
            let total: f32 = if self.normalise { weights.iter().sum() } else { 1.0 };
            weights
                .iter_mut()
                .for_each(|weight| *weight = *weight / total * self.scale);
        });
    }
}

multiversion! {
    fn root_softplus = root_softplus_body(x: &mut [f32])
}

#[inline(always)]
fn root_softplus_body(x: &mut [f32]) {
    for x in x {
        let softplus = if *x > 20.0 { *x } else { log1p(exp(*x)) };
        *x = softplus.sqrt();
    }
}

multiversion! {
    /// The ids with the largest `score + bias`, by repeated maximum: `k` is small. `values` is memory for the sums.
    fn select = select_body(scores: &[f32], bias: &[f32], values: &mut [f32], ids: &mut [u32])
}

#[inline(always)]
fn select_body(scores: &[f32], bias: &[f32], values: &mut [f32], ids: &mut [u32]) {
    for ((value, &score), &bias) in values.iter_mut().zip(scores).zip(bias) {
        // NaN and what is taken lie below everything. The streams' check reports the NaN.
        let sum = score + bias;
        *value = if sum > f32::MIN { sum } else { f32::MIN };
    }
    for taken in 0..ids.len() {
        let largest = lanes::max(values);
        let place = values.iter().position(|&value| value == largest).unwrap_or(0);
        values[place] = f32::NEG_INFINITY;
        ids[taken] = place as u32;
    }
}

/// `h = silu(min(gate, limit)) · clamp(up, ±limit) · weight`, float32, `round` to BF16; all `[rows, width]` but the
/// weights, one a row. `gate` is overwritten by the result. The routed weight goes in before the down projection.
pub fn swiglu(
    team: &mut Team,
    gate: &mut [f32],
    up: &[f32],
    width: usize,
    weights: Option<&[f32]>,
    limit: f32,
    round: bool,
) {
    assert_eq!(gate.len(), up.len());
    let isa = isa::detected();
    for_each_piece(team, gate, width, 1, |row, from, gate, _| {
        let weight = weights.map_or(1.0, |weights| weights[row]);
        let up = &up[row * width + from..][..gate.len()];
        swiglu_row(isa, gate, up, weight, limit, round);
    });
}

multiversion! {
    fn swiglu_row = swiglu_row_body(gate: &mut [f32], up: &[f32], weight: f32, limit: f32, round: bool)
}

#[inline(always)]
fn swiglu_row_body(gate: &mut [f32], up: &[f32], weight: f32, limit: f32, round: bool) {
    for (gate, &up) in gate.iter_mut().zip(up) {
        // Comparisons that keep NaN, which `min` and `max` would hide.
        let g = if *gate > limit { limit } else { *gate };
        let u = if up > limit { limit } else { up };
        let u = if u < -limit { -limit } else { u };
        let h = g * sigmoid(g) * u * weight;
        *gate = if round { bf16::round(h) } else { h };
    }
}

/// Sums each token's routed outputs in ascending expert order and its shared output after them, float32, then rounds.
///
/// `routed` is `[pairs, width]`; `places[t, k]` says where a token's outputs lie in it; `shared` and `out` are
/// `[t, width]`.
pub fn combine(
    team: &mut Team,
    routed: &[f32],
    places: &[u32],
    shared: &[f32],
    width: usize,
    round: bool,
    out: &mut [f32],
) {
    let rows = out.len() / width;
    let k = places.len() / rows.max(1);
    assert_eq!(shared.len(), out.len());
    let isa = isa::detected();
    for_each_piece(team, out, width, 1, |row, from, out, _| {
        let shared = &shared[row * width + from..][..out.len()];
        combine_piece(
            isa,
            &routed[from..],
            width,
            &places[row * k..][..k],
            shared,
            round,
            out,
        );
    });
}

multiversion! {
    /// [`combine`] for some columns of one token; `routed` begins at the first of them.
    fn combine_piece = combine_piece_body(
        routed: &[f32], width: usize, places: &[u32], shared: &[f32], round: bool, out: &mut [f32],
    )
}

#[inline(always)]
fn combine_piece_body(
    routed: &[f32],
    width: usize,
    places: &[u32],
    shared: &[f32],
    round: bool,
    out: &mut [f32],
) {
    out.fill(0.0);
    for &place in places {
        for (out, &x) in out.iter_mut().zip(&routed[place as usize * width..]) {
            *out += x;
        }
    }
    for (out, &x) in out.iter_mut().zip(shared) {
        let sum = *out + x;
        *out = if round { bf16::round(sum) } else { sum };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(selection: Selection<'_>, k: usize, logits: &[f32]) -> (Vec<u32>, Vec<f32>) {
        let experts = 4;
        let router = Router {
            selection,
            experts_per_token: k,
            normalise: true,
            scale: 1.5,
        };
        let rows = logits.len() / experts;
        let (mut ids, mut weights) = (vec![9; rows * k], vec![0.0; rows * k]);
        router.route(
            &mut Team::new(2),
            experts,
            &mut logits.to_vec(),
            &mut ids,
            &mut weights,
        );
        (ids, weights)
    }

    #[test]
    fn the_bias_selects_and_does_not_weigh() {
        let score = |x: f64| x.exp().ln_1p().sqrt();
        let logits = [0.5, -1.0, 2.0, 0.1, 30.0, 0.0, 0.0, 0.0];
        let (ids, weights) = route(Selection::Biased(&[0.0, 5.0, 0.0, 0.0]), 2, &logits);
        assert_eq!(ids, [1, 2, 0, 1]);
        let total = score(-1.0) + score(2.0);
        assert!((weights[0] as f64 - 1.5 * score(-1.0) / total).abs() < 1e-6);
        assert!((weights[1] as f64 - 1.5 * score(2.0) / total).abs() < 1e-6);
        assert!((weights[2] as f64 - 1.5 * 30f64.sqrt() / (30f64.sqrt() + score(0.0))).abs() < 1e-6);
    }

    #[test]
    fn ties_go_to_the_smaller_id() {
        let (ids, _) = route(Selection::Biased(&[0.0; 4]), 3, &[1.0, 2.0, 1.0, 1.0]);
        assert_eq!(ids, [0, 1, 2]);
    }

    #[test]
    fn without_a_comparable_score_ids_are_still_distinct() {
        let (ids, _) = route(Selection::Biased(&[f32::NAN; 4]), 3, &[1.0; 4]);
        assert_eq!(ids, [0, 1, 2]);
    }

    /// Trap 9 of spec §15: a margin that BF16 cannot hold decides.
    #[test]
    fn trap_09_the_router_is_float32() {
        let close = 1.0 + 2f32.powi(-18);
        assert_eq!(bf16::round(close), 1.0);
        assert_eq!(
            route(Selection::Biased(&[0.0; 4]), 1, &[1.0, 1.0, close, 1.0]).0,
            [2]
        );
    }

    /// Trap 10 of spec §15: hash layers take the ids given and still weigh by their own scores.
    #[test]
    fn trap_10_hash_layers_weigh_by_their_scores() {
        let (ids, weights) = route(Selection::Given(&[3, 0]), 2, &[0.0, 50.0, 0.0, 0.0]);
        assert_eq!(ids, [0, 3]);
        assert_eq!(weights, [0.75, 0.75]);
    }

    /// Trap 8 of spec §15: the clamp goes before the SiLU, two-sided on up, one-sided on gate.
    #[test]
    fn trap_08_pre_activations_are_clamped() {
        let silu = |x: f64| x / (1.0 + (-x).exp());
        let mut gate = [100.0, -100.0, 1.0, 1.0];
        swiglu(
            &mut Team::new(1),
            &mut gate,
            &[1.0, 1.0, 100.0, -100.0],
            4,
            Some(&[0.5]),
            10.0,
            false,
        );
        let expected = [
            silu(10.0) * 0.5,
            silu(-100.0) * 0.5,
            silu(1.0) * 5.0,
            -silu(1.0) * 5.0,
        ];
        for (found, expected) in gate.iter().zip(expected) {
            assert!((*found as f64 - expected).abs() < 1e-5);
        }
    }

    #[test]
    fn every_instruction_set_gives_the_same_bits() {
        let x: Vec<f32> = (0..100).map(|i| i as f32 * 0.31 - 15.0).collect();
        let mut results = isa::available().map(|isa| {
            let (mut scores, mut gate) = (x.clone(), x.clone());
            root_softplus(isa, &mut scores);
            swiglu_row(isa, &mut gate, &scores, 0.7, 3.0, false);
            (scores, gate)
        });
        let first = results.next().expect("scalar is always available");
        assert!(results.all(|other| other == first));
    }
}
