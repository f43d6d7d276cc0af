//! Choosing the next token from logits.
//!
//! A choice depends on the logits, the parameters and the token's position, and on nothing else: the same seed gives
//! the same text whatever else the engine is doing. The random number of a position is computed from (seed, position),
//! not drawn from a stream, so that skipping or repeating positions changes no other choice.

mod logprobs;
mod random;

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::grammar::Allowed;

pub use logprobs::{TokenLogprob, token_logprob};

/// How to choose. The filters apply in this order, each to what the previous one left: temperature, `top_k`, `top_p`,
/// `min_p`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Params {
    /// Logits are divided by it; 0 always takes the most likely token.
    pub temperature: f32,
    /// Keep the smallest set of most likely tokens whose probabilities reach this sum; 1 keeps all.
    pub top_p: f32,
    /// Keep this many of the most likely tokens; 0 keeps all.
    pub top_k: usize,
    /// Keep tokens at least this fraction as likely as the most likely one; 0 keeps all.
    pub min_p: f32,
    /// Names the sequence of random numbers.
    pub seed: u64,
}

impl Default for Params {
    /// The releases' recommendation: temperature 1, no filter (spec §14).
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            seed: 0,
        }
    }
}

impl Params {
    /// Always the most likely token.
    pub fn greedy() -> Self {
        Self {
            temperature: 0.0,
            ..Self::default()
        }
    }

    /// Checks the ranges.
    pub fn validate(&self) -> Result<(), SamplingError> {
        let check = |name, holds: bool, expected, found: f32| {
            if holds {
                Ok(())
            } else {
                Err(SamplingError::Parameter {
                    name,
                    expected,
                    found,
                })
            }
        };
        let Self {
            temperature,
            top_p,
            min_p,
            ..
        } = *self;
        check(
            "temperature",
            temperature.is_finite() && temperature >= 0.0,
            "a number from 0",
            temperature,
        )?;
        check(
            "top_p",
            top_p > 0.0 && top_p <= 1.0,
            "a number above 0 and at most 1",
            top_p,
        )?;
        check(
            "min_p",
            (0.0..=1.0).contains(&min_p),
            "a number from 0 to 1",
            min_p,
        )
    }
}

/// Why no token could be chosen.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SamplingError {
    /// A parameter is out of range.
    #[error("{name} is {found}; expected {expected}")]
    Parameter {
        /// Its name.
        name: &'static str,
        /// Its range.
        expected: &'static str,
        /// Its value.
        found: f32,
    },
    /// A logit that is no number, or plus infinity: the weights or the arithmetic are broken.
    #[error(
        "the logit of token {token} is {found}; expected a number. The weights are damaged, or this is a bug"
    )]
    NotFinite {
        /// The token.
        token: usize,
        /// Its logit.
        found: f32,
    },
    /// No logits, or minus infinity for every token that is allowed.
    #[error("no token is possible: every logit is minus infinity")]
    NoCandidate,
}

/// Chooses tokens. It owns its scratch memory, so a choice does not allocate once that has grown.
#[derive(Debug, Clone)]
pub struct Sampler {
    params: Params,
    candidates: Vec<Candidate>,
    kept: Vec<Candidate>,
}

/// A token and its weight: its probability, relative to that of the most likely token.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    weight: f64,
    token: u32,
}

/// More likely is greater; of equally likely ones, the smaller index is.
impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        self.weight
            .total_cmp(&other.weight)
            .then(other.token.cmp(&self.token))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Candidate {}

impl Sampler {
    /// A sampler with these parameters.
    pub fn new(params: Params) -> Result<Self, SamplingError> {
        params.validate()?;
        Ok(Self {
            params,
            candidates: Vec::new(),
            kept: Vec::new(),
        })
    }

    /// Chooses the token at `position` of the sequence from its `logits`.
    pub fn sample(&mut self, logits: &[f32], position: usize) -> Result<u32, SamplingError> {
        self.sample_from(logits, position, Allowed::ALL)
    }

    /// As [`sample`](Self::sample), from the tokens that `allowed` has: what it lacks might as well not exist.
    pub(crate) fn sample_from(
        &mut self,
        logits: &[f32],
        position: usize,
        allowed: Allowed<'_>,
    ) -> Result<u32, SamplingError> {
        let best = most_likely(logits, allowed)?;
        if self.params.temperature == 0.0 {
            return Ok(best as u32);
        }
        let (highest, temperature) = (f64::from(logits[best]), f64::from(self.params.temperature));
        self.candidates.clear();
        let allowed = (0_u32..).zip(logits).filter(|&(token, _)| allowed.has(token));
        self.candidates.extend(allowed.map(|(token, &logit)| Candidate {
            weight: ((f64::from(logit) - highest) / temperature).exp(),
            token,
        }));
        self.filter();
        Ok(self.draw(random::uniform(self.params.seed, position as u64)))
    }

    /// Moves the candidates that pass `top_k`, `top_p` and `min_p` to `kept`.
    fn filter(&mut self) {
        let Params {
            top_k, top_p, min_p, ..
        } = self.params;
        self.kept.clear();
        if top_k == 0 && top_p == 1.0 {
            // Nothing depends on the order: no need to find it.
            self.kept.extend(
                self.candidates
                    .iter()
                    .filter(|candidate| candidate.weight >= f64::from(min_p)),
            );
            return;
        }
        let all: f64 = self.candidates.iter().map(|candidate| candidate.weight).sum();
        // A heap, because usually few of many candidates are looked at.
        let mut ranked = BinaryHeap::from(std::mem::take(&mut self.candidates));
        let total = if top_k == 0 {
            all
        } else {
            self.kept.extend(std::iter::from_fn(|| ranked.pop()).take(top_k));
            self.kept.iter().map(|candidate| candidate.weight).sum()
        };
        if top_p < 1.0 {
            let enough = f64::from(top_p) * total;
            let mut sum = 0.0;
            let mut count = 0;
            while sum < enough {
                if count == self.kept.len() {
                    let Some(next) = ranked.pop().filter(|_| top_k == 0) else {
                        break;
                    };
                    self.kept.push(next);
                }
                sum += self.kept[count].weight;
                count += 1;
            }
            self.kept.truncate(count);
        }
        self.kept.retain(|candidate| candidate.weight >= f64::from(min_p));
        self.candidates = ranked.into_vec();
    }

    /// The kept candidate at fraction `uniform` of the summed weights.
    fn draw(&self, uniform: f64) -> u32 {
        let total: f64 = self.kept.iter().map(|candidate| candidate.weight).sum();
        let target = uniform * total;
        let mut sum = 0.0;
        let mut last = 0;
        for candidate in self.kept.iter().filter(|candidate| candidate.weight > 0.0) {
            sum += candidate.weight;
            last = candidate.token;
            if sum > target {
                break;
            }
        }
        last
    }
}

/// Index of the largest logit that is allowed, the smallest of several.
fn most_likely(logits: &[f32], allowed: Allowed<'_>) -> Result<usize, SamplingError> {
    let mut best = None;
    let mut highest = f32::NEG_INFINITY;
    for (token, &logit) in logits.iter().enumerate() {
        if logit.is_nan() || logit == f32::INFINITY {
            return Err(SamplingError::NotFinite { token, found: logit });
        }
        if logit > highest && allowed.has(token as u32) {
            (best, highest) = (Some(token), logit);
        }
    }
    best.ok_or(SamplingError::NoCandidate)
}

#[cfg(test)]
mod tests;
