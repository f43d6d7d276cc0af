//! What the proofs share: the cold run that everything is held to, and an engine driven by hand.

#![allow(
    dead_code,
    unused_imports,
    reason = "each test binary uses its own part of it"
)]

pub(crate) mod agent;
mod cold;
pub(crate) mod crowd;
mod drive;

use std::path::Path;

use fathom_checkpoint::Checkpoint;
use fathom_engine::sampling::{Params, TokenLogprob};
use fathom_engine::{Session, generation};
use fathom_synthetic::Synthetic;

pub(crate) use cold::Cold;
pub(crate) use drive::{Task, drive, turn};

/// A model that proofs run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Model {
    /// Random weights, six layers of every kind.
    Tiny,
    /// The one in the program.
    BuiltIn,
}

impl Model {
    pub(crate) fn checkpoint(self) -> Checkpoint {
        match self {
            Self::Tiny => Synthetic::tiny_checkpoint(),
            Self::BuiltIn => {
                let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fathom/default-model");
                Checkpoint::open(&dir).expect("the built-in model")
            }
        }
    }
}

/// What a session answered, to the bit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Logits after the prompt `[vocab_size]`.
    pub(crate) first: Vec<u32>,
    /// Generated tokens.
    pub(crate) tokens: Vec<u32>,
    /// Their log-probabilities, with the most likely ones.
    pub(crate) logprobs: Vec<Logprob>,
    /// Logits after prompt and answer `[vocab_size]`.
    pub(crate) last: Vec<u32>,
}

/// A token's log-probability and those of the most likely tokens, as bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Logprob {
    token: u32,
    bits: u32,
    top: Vec<(u32, u32)>,
}

impl From<&TokenLogprob> for Logprob {
    fn from(found: &TokenLogprob) -> Self {
        Self {
            token: found.token,
            bits: found.logprob.to_bits(),
            top: found
                .top
                .iter()
                .map(|&(token, logprob)| (token, logprob.to_bits()))
                .collect(),
        }
    }
}

impl Answer {
    /// Where it first differs from what is expected.
    pub(crate) fn differs(&self, expected: &Self) -> Option<String> {
        let logits = |found: &[u32], expected: &[u32]| found.iter().zip(expected).position(|(a, b)| a != b);
        if self == expected {
            return None;
        }
        let at = |what: &str, place: Option<usize>| Some(format!("{what} differs at {place:?}"));
        if self.first != expected.first {
            return at("the prompt's logit", logits(&self.first, &expected.first));
        }
        if self.tokens != expected.tokens {
            return Some(format!("tokens {:?}, cold {:?}", self.tokens, expected.tokens));
        }
        if self.logprobs != expected.logprobs {
            let place = self
                .logprobs
                .iter()
                .zip(&expected.logprobs)
                .position(|(a, b)| a != b);
            return at("log-probability of token", place);
        }
        at("the last logit", logits(&self.last, &expected.last))
    }
}

/// Most likely tokens that are compared at every position.
pub(crate) const TOP: usize = 8;

/// Options for `tokens_max` tokens, sampled with `seed`; greedy for seed 0.
pub(crate) fn options(tokens_max: usize, seed: u64) -> generation::Options {
    generation::Options {
        sampling: match seed {
            0 => Params::greedy(),
            seed => Params {
                seed,
                ..Params::default()
            },
        },
        tokens_max: Some(tokens_max),
        logprobs: Some(TOP),
        ..generation::Options::default()
    }
}

pub(crate) fn bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|logit| logit.to_bits()).collect()
}

/// What a session found of a prompt when it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hit {
    /// Prompt tokens that were not computed.
    pub(crate) cached: usize,
    /// Of the others, those that were computed a second time.
    pub(crate) replayed: usize,
}

/// Reads `tokens` into a session and returns the bits of the logits after them, however much of them is there already.
pub(crate) async fn read(session: &mut Session, tokens: &[u32]) -> (Vec<u32>, Hit) {
    let run = session.generate(tokens, &options(0, 0), 4).expect("a prompt");
    let done = run.finish().await.expect("read");
    assert_eq!(session.tokens(), tokens);
    let hit = Hit {
        cached: done.cached,
        replayed: done.report.replayed,
    };
    (bits(session.logits().expect("just computed")), hit)
}

/// Everything there is to compare: reads the prompt, answers it, reads the answer's last token.
pub(crate) async fn observe(
    session: &mut Session,
    prompt: &[u32],
    asked: &generation::Options,
) -> (Answer, Hit) {
    let (first, hit) = read(session, prompt).await;
    let mut logprobs = Vec::new();
    let mut run = session.generate(prompt, asked, 2).expect("a prompt");
    while let Some(event) = run.next().await {
        if let generation::Event::Token { logprob, .. } = event {
            logprobs.extend(logprob.as_ref().map(Logprob::from));
        }
    }
    let tokens = run.finish().await.expect("generate").tokens;
    let (last, _) = read(session, &[prompt, &tokens].concat()).await;
    let answer = Answer {
        first,
        tokens,
        logprobs,
        last,
    };
    (answer, hit)
}
