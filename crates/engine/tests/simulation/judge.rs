//! What came of a request, and whether it may have come of it.

use std::collections::HashMap;

use fathom_cache::Miss;
use fathom_engine::generation::{End, Generation, Options};
use fathom_synthetic::Random;

use crate::common::{Cold, Logprob, options};
use crate::traffic::Request;

/// What a client got.
pub(crate) struct Outcome {
    pub(crate) name: usize,
    pub(crate) isolation: &'static str,
    /// Its entry in what was computed.
    pub(crate) number: usize,
    pub(crate) request: Request,
    pub(crate) tokens: Vec<u32>,
    pub(crate) logprobs: Vec<Logprob>,
    /// `None` if the client left before it was told.
    pub(crate) done: Option<Generation>,
}

/// Prompt, seed, and whether log-probabilities were asked for.
type Asked = (Vec<u32>, u64, bool);

/// Tokens and log-probabilities.
type Answered = (Vec<u32>, Vec<Logprob>);

/// The options of a request.
pub(crate) fn asked(request: &Request) -> Options {
    let mut asked = options(request.tokens_max, request.seed);
    asked.logprobs = asked.logprobs.filter(|_| request.logprobs);
    asked
}

/// Holds outcomes to the cold run and to what was ever computed.
#[derive(Default)]
pub(crate) struct Judge {
    /// What is known to be right.
    right: HashMap<Asked, Answered>,
    /// What was ever computed for an isolation id.
    computed: HashMap<&'static str, Vec<Vec<u32>>>,
}

impl Judge {
    /// Somebody with this isolation id has these tokens computed, or some of them. Returns the entry's number.
    pub(crate) fn note(&mut self, isolation: &'static str, tokens: Vec<u32>) -> usize {
        let computed = self.computed.entry(isolation).or_default();
        computed.push(tokens);
        computed.len() - 1
    }

    /// It has become more.
    pub(crate) fn extend(&mut self, isolation: &'static str, number: usize, tokens: &[u32]) {
        if let Some(computed) = self
            .computed
            .get_mut(isolation)
            .and_then(|all| all.get_mut(number))
        {
            computed.extend_from_slice(tokens);
        }
    }

    /// Sequences somebody with another name could go on from.
    pub(crate) fn seen(&self, isolation: &'static str, random: &mut Random) -> Vec<Vec<u32>> {
        let seen = self.computed.get(isolation).map_or(&[][..], Vec::as_slice);
        match seen.len() {
            0 => Vec::new(),
            count => vec![seen[random.below(count)].clone()],
        }
    }

    pub(crate) fn judge(&mut self, outcome: &Outcome, cold: &mut Cold, eos: u32) -> Result<(), String> {
        let Outcome {
            request,
            tokens,
            done,
            ..
        } = outcome;
        let who = format!(
            "client {}, prompt of {} tokens, seed {}",
            outcome.name,
            request.prompt.len(),
            request.seed
        );
        if let Some(done) = done {
            self.judge_generation(outcome, done, eos)
                .map_err(|what| format!("{who}: {what}"))?;
        }
        let right = self
            .right
            .entry((request.prompt.clone(), request.seed, request.logprobs))
            .or_default();
        let known = right.0.starts_with(tokens) && right.1.starts_with(&outcome.logprobs);
        if !known || right.0.len() < tokens.len() {
            cold.check(&request.prompt, &asked(request), tokens, &outcome.logprobs)
                .map_err(|what| format!("{who}: {what}; {done:?}"))?;
            *right = (tokens.clone(), outcome.logprobs.clone());
        }
        Ok(())
    }

    fn judge_generation(&self, outcome: &Outcome, done: &Generation, eos: u32) -> Result<(), String> {
        let (request, tokens) = (&outcome.request, &outcome.tokens);
        let ended = match done.end {
            End::EndOfText => tokens.last() == Some(&eos),
            End::Length => tokens.len() == request.tokens_max && !tokens.contains(&eos),
            End::Cancelled => !matches!(request.leaves, crate::traffic::Leaves::Never),
        };
        if !ended || done.tokens != *tokens {
            return Err(format!("wrong end: {done:?}, events gave {tokens:?}"));
        }
        if done.end != End::Cancelled && done.cached + done.computed != request.prompt.len() {
            return Err(format!("cached and computed tokens are not the prompt: {done:?}"));
        }
        if !explained(done, &request.prompt) {
            return Err(format!("the report is not what happened: {done:?}"));
        }
        let computed = self
            .computed
            .get(outcome.isolation)
            .map_or(&[][..], Vec::as_slice);
        let shared = |seen: &Vec<u32>| {
            seen.iter()
                .zip(&request.prompt)
                .take_while(|(a, b)| a == b)
                .count()
        };
        let others = computed
            .iter()
            .enumerate()
            .filter(|(number, _)| *number != outcome.number);
        let most = others.map(|(_, seen)| shared(seen)).max().unwrap_or(0);
        if done.cached > most {
            return Err(format!(
                "{} tokens came from the cache, but this user has had only {most} of them computed",
                done.cached
            ));
        }
        Ok(())
    }
}

/// Whether a report agrees with what was computed, and its reason with the prompt.
fn explained(done: &Generation, prompt: &[u32]) -> bool {
    let hit = done.report.hit;
    let reason = match done.report.miss {
        Miss::None => hit + 1 >= prompt.len() || done.end == End::Cancelled,
        Miss::Differs { at, cached, found } => hit <= at && prompt.get(at) == Some(&found) && cached != found,
        _ => hit < prompt.len(),
    };
    reason && (hit == done.cached || done.end == End::Cancelled)
}
