//! How far the re-quantised model is from its source: both read the same prompts.

use std::ops::ControlFlow;
use std::path::Path;

use fathom_checkpoint::{Checkpoint, OpenOptions};
use fathom_kernels::team::Team;
use fathom_model::{ForwardError, Model, Numerics, Want};

use crate::error::QuantizeError;
use crate::prompts::Prompts;

/// Tokens per forward pass; never changes a result.
const CHUNK: usize = 128;

/// KL divergence allowed: this many times what the choice of numerics alone moves the source …
///
/// Source and result are both run in `exact` for it. In `reference` a nudge anywhere makes other values round, and two
/// runs end up as far apart as `reference` is from `exact` however small the nudge: the measure would not tell eight bits
/// from none lost.
const KL_FACTOR: f64 = 1.5;
/// … and this much more, in nats: where that is next to nothing (unquantised models), as little as nobody notices.
const KL_FLOOR: f64 = 0.002;
/// Rise of the negative log-likelihood allowed.
const NLL_RISE: f64 = 0.005;

/// Distance of one model's predictions from another's on the prompts, averaged over positions.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Distance {
    /// Mean KL divergence in nats, D(baseline ‖ this).
    pub kl_mean: f64,
    /// The largest of one position.
    pub kl_max: f64,
    /// Share of positions whose likeliest token is the same.
    pub top1_same: f64,
    /// This model's own mean negative log-likelihood of the prompts' next tokens, in nats.
    pub nll: f64,
}

/// Everything measured on the prompts.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// The source in every numerics against the source in `reference`, which itself is all zeros but for its NLL.
    pub source: Vec<(Numerics, Distance)>,
    /// The result in every numerics against the source in `reference`.
    pub result: Vec<(Numerics, Distance)>,
    /// The result against the source, both in `exact`: the weights' part alone.
    pub weights_alone: Distance,
}

impl Comparison {
    /// The rule, with its numbers.
    pub fn criterion() -> String {
        format!(
            "mean KL(source exact ‖ result exact) at most {KL_FACTOR} × KL(source reference ‖ source exact) + {KL_FLOOR} \
             nats, and the prompts' NLL in exact at most {} % above the source's",
            NLL_RISE * 100.0
        )
    }

    /// The KL divergence allowed.
    pub fn kl_limit(&self) -> f64 {
        KL_FACTOR * of(&self.source, Numerics::Exact).kl_mean + KL_FLOOR
    }

    /// The NLL allowed.
    pub fn nll_limit(&self) -> f64 {
        (1.0 + NLL_RISE) * of(&self.source, Numerics::Exact).nll
    }

    /// Whether the result meets the criterion.
    pub fn accepted(&self) -> bool {
        self.weights_alone.kl_mean <= self.kl_limit() && self.weights_alone.nll <= self.nll_limit()
    }
}

fn of(distances: &[(Numerics, Distance)], numerics: Numerics) -> Distance {
    let found = distances.iter().find(|(name, _)| *name == numerics);
    found.map_or_else(Distance::default, |(_, distance)| *distance)
}

/// Runs both models in every numerics. `progress` is told forward passes done and to do, and may stop it.
pub fn compare(
    source: &Path,
    options: OpenOptions,
    result: &Path,
    prompts: &Prompts,
    threads: usize,
    progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
) -> Result<Comparison, QuantizeError> {
    let chunks: usize = prompts.ids.iter().map(|ids| ids.len().div_ceil(CHUNK)).sum();
    let mut runner = Runner {
        prompts,
        team: Team::new(threads),
        done: 0,
        total: chunks * 2 * Numerics::ALL.len(),
        progress,
    };
    let source = |numerics| load(source, options, numerics);
    let result = |numerics| load(result, OpenOptions::default(), numerics);

    let mut reference = Logits::default();
    runner.run("source", &source(Numerics::Reference)?, &mut |row| {
        reference.push(row);
    })?;
    let mut exact = Logits::default();
    let mut weights_alone = Distance::default();
    let (mut sources, mut results) = (Vec::new(), Vec::new());
    for numerics in Numerics::ALL {
        let mut sum = Sum::default();
        if numerics == Numerics::Reference {
            for row in reference.rows() {
                sum.add(prompts, &reference, row);
            }
        } else {
            runner.run("source", &source(numerics)?, &mut |row| {
                sum.add(prompts, &reference, row);
                if numerics == Numerics::Exact {
                    exact.push(row);
                }
            })?;
        }
        sources.push((numerics, sum.mean()));

        let (mut sum, mut alone) = (Sum::default(), Sum::default());
        runner.run("re-quantised", &result(numerics)?, &mut |row| {
            sum.add(prompts, &reference, row);
            if numerics == Numerics::Exact {
                alone.add(prompts, &exact, row);
            }
        })?;
        results.push((numerics, sum.mean()));
        if numerics == Numerics::Exact {
            weights_alone = alone.mean();
            exact = Logits::default();
        }
    }
    Ok(Comparison {
        source: sources,
        result: results,
        weights_alone,
    })
}

fn load(dir: &Path, options: OpenOptions, numerics: Numerics) -> Result<Model, QuantizeError> {
    Ok(Model::load(Checkpoint::open_with(dir, options)?, numerics)?)
}

/// Runs models over the prompts.
struct Runner<'a> {
    prompts: &'a Prompts,
    team: Team,
    done: usize,
    total: usize,
    progress: &'a mut dyn FnMut(usize, usize) -> ControlFlow<()>,
}

impl Runner<'_> {
    /// Hands every position's logits to `row`, in order.
    fn run(
        &mut self,
        name: &'static str,
        model: &Model,
        row: &mut dyn FnMut(&[f32]),
    ) -> Result<(), QuantizeError> {
        let mut workspace = model.new_workspace(CHUNK);
        for (prompt, ids) in self.prompts.ids.iter().enumerate() {
            let mut state = model.new_state();
            for chunk in ids.chunks(CHUNK) {
                if (self.progress)(self.done, self.total).is_break() {
                    return Err(QuantizeError::Stopped);
                }
                let logits = model
                    .forward(&mut self.team, &mut workspace, &mut state, chunk, Want::All)
                    .map_err(|source: ForwardError| QuantizeError::Forward {
                        model: name,
                        prompt,
                        source,
                    })?;
                logits.chunks_exact(model.config().vocab_size).for_each(&mut *row);
                self.done += 1;
            }
        }
        Ok(())
    }
}

/// Logits of every position of every prompt.
#[derive(Default)]
struct Logits {
    values: Vec<f32>,
    positions: usize,
}

impl Logits {
    fn push(&mut self, row: &[f32]) {
        self.values.extend_from_slice(row);
        self.positions += 1;
    }

    fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.values
            .chunks_exact((self.values.len() / self.positions.max(1)).max(1))
    }
}

/// Distances added up.
#[derive(Default)]
struct Sum {
    kl: f64,
    kl_max: f64,
    same: usize,
    nll: f64,
    /// Positions added.
    positions: usize,
    /// Of them, those with a next token.
    predictions: usize,
}

impl Sum {
    /// Adds the logits of the next position.
    fn add(&mut self, prompts: &Prompts, baseline: &Logits, row: &[f32]) {
        let expected = &baseline.values[self.positions * row.len()..][..row.len()];
        let (log_p, log_q) = (log_normaliser(expected), log_normaliser(row));
        let kl: f64 = expected
            .iter()
            .zip(row)
            .map(|(&p, &q)| {
                let (p, q) = (f64::from(p) - log_p, f64::from(q) - log_q);
                p.exp() * (p - q)
            })
            .sum();
        // Rounding may leave a hair below zero.
        self.kl += kl.max(0.0);
        self.kl_max = self.kl_max.max(kl);
        self.same += usize::from(argmax(expected) == argmax(row));
        if let Some(next) = next_token(prompts, self.positions) {
            self.nll += log_q - f64::from(row[next as usize]);
            self.predictions += 1;
        }
        self.positions += 1;
    }

    fn mean(&self) -> Distance {
        let positions = self.positions.max(1) as f64;
        Distance {
            kl_mean: self.kl / positions,
            kl_max: self.kl_max,
            top1_same: self.same as f64 / positions,
            nll: self.nll / self.predictions.max(1) as f64,
        }
    }
}

/// The token after a position, counted through all prompts; `None` at the end of one.
fn next_token(prompts: &Prompts, mut position: usize) -> Option<u32> {
    for ids in &prompts.ids {
        if position < ids.len() {
            return ids.get(position + 1).copied();
        }
        position -= ids.len();
    }
    None
}

fn log_normaliser(row: &[f32]) -> f64 {
    let max = f64::from(row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    row.iter().map(|&x| (f64::from(x) - max).exp()).sum::<f64>().ln() + max
}

fn argmax(row: &[f32]) -> usize {
    let better = |best: usize, i: usize| if row[i] > row[best] { i } else { best };
    (0..row.len()).fold(0, better)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompts::PromptSource;

    #[test]
    fn distances_are_their_definitions() {
        let prompts = Prompts {
            source: PromptSource::Text,
            ids: vec![vec![0, 1], vec![2]],
        };
        let ln = f32::ln;
        let mut baseline = Logits::default();
        let rows = [[ln(0.5), ln(0.25), ln(0.25)], [0.0; 3], [7.0; 3]];
        rows.iter().for_each(|row| baseline.push(row));
        let mut sum = Sum::default();
        // Shifted logits are the same distribution.
        sum.add(
            &prompts,
            &baseline,
            &[ln(0.25) + 3.0, ln(0.5) + 3.0, ln(0.25) + 3.0],
        );
        sum.add(&prompts, &baseline, &[5.0; 3]);
        sum.add(&prompts, &baseline, &[-1.0; 3]);
        let distance = sum.mean();
        // 0.5 ln(0.5/0.25) + 0.25 ln(0.25/0.5) = 0.25 ln 2 at the first position.
        assert!((distance.kl_max - 0.25 * 2f64.ln()).abs() < 1e-6, "{distance:?}");
        assert!((distance.kl_mean - 0.25 * 2f64.ln() / 3.0).abs() < 1e-6);
        assert!((distance.top1_same - 2.0 / 3.0).abs() < 1e-12);
        // One prediction only: token 1 after token 0, at probability one half.
        assert!((distance.nll - 2f64.ln()).abs() < 1e-6);
    }

    #[test]
    fn the_criterion_asks_for_both() {
        let distance = |kl_mean, nll| Distance {
            kl_mean,
            nll,
            ..Distance::default()
        };
        let comparison = |kl, nll| Comparison {
            source: vec![(Numerics::Exact, distance(0.01, 2.0))],
            result: vec![(Numerics::Reference, distance(1.0, 3.0))],
            weights_alone: distance(kl, nll),
        };
        assert!(comparison(0.016, 2.009).accepted());
        assert!(!comparison(0.018, 2.0).accepted());
        assert!(!comparison(0.01, 2.02).accepted());
    }
}
