//! Options of the commands that sample from a model.

use std::hash::{BuildHasher as _, RandomState};

use clap::Args;
use fathom_engine::sampling::Params;

/// How the answer is sampled. What is not given is as the checkpoint recommends.
#[derive(Args)]
pub(crate) struct SamplingOptions {
    /// Most tokens to generate, reasoning included; by default what the context holds
    #[arg(long, value_name = "N", help_heading = "Sampling")]
    pub(crate) max_tokens: Option<usize>,

    /// 0 always takes the most likely token
    #[arg(
        long,
        value_name = "T",
        allow_negative_numbers = true,
        help_heading = "Sampling"
    )]
    temperature: Option<f32>,

    /// Sample from the most likely tokens that together have this probability
    #[arg(
        long,
        value_name = "P",
        allow_negative_numbers = true,
        help_heading = "Sampling"
    )]
    top_p: Option<f32>,

    /// Sample from this many of the most likely tokens
    #[arg(long, value_name = "K", help_heading = "Sampling")]
    top_k: Option<usize>,

    /// Sample from tokens at least this fraction as likely as the most likely one
    #[arg(
        long,
        value_name = "P",
        allow_negative_numbers = true,
        help_heading = "Sampling"
    )]
    min_p: Option<f32>,

    /// Same seed, same text; random by default
    #[arg(long, value_name = "N", help_heading = "Sampling")]
    seed: Option<u64>,

    /// End the answer before this string; may be given several times
    #[arg(long, value_name = "TEXT", help_heading = "Sampling")]
    pub(crate) stop: Vec<String>,
}

impl SamplingOptions {
    /// The choices, completed by what the checkpoint recommends.
    pub(crate) fn params(&self, recommended: Params) -> Params {
        Params {
            temperature: self.temperature.unwrap_or(recommended.temperature),
            top_p: self.top_p.unwrap_or(recommended.top_p),
            top_k: self.top_k.unwrap_or(recommended.top_k),
            min_p: self.min_p.unwrap_or(recommended.min_p),
            // The standard library's only source of randomness.
            seed: self.seed.unwrap_or_else(|| RandomState::new().hash_one(0)),
        }
    }
}
