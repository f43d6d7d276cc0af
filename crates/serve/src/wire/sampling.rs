//! How tokens are chosen, which all wires settle alike.

use std::hash::{BuildHasher as _, RandomState};

use deepseek_recipe::request::ConversationRequest;
use fathom_engine::answer;
use fathom_engine::sampling::Params;

/// What a request says of sampling; where it is silent, what the checkpoint recommends, and a seed of its own.
pub(crate) fn asked(
    recommended: Params,
    temperature: Option<f32>,
    top_p: Option<f32>,
    seed: Option<u64>,
) -> Params {
    Params {
        temperature: temperature.unwrap_or(recommended.temperature),
        top_p: top_p.unwrap_or(recommended.top_p),
        // The standard library's only source of randomness.
        seed: seed.unwrap_or_else(|| RandomState::new().hash_one(0)),
        ..recommended
    }
}

/// How to answer a converted request; length and grammar come later. Strict servers sample as the hosted API does, which is what
/// the vendor's conversion says.
pub(crate) fn options(asked: Params, converted: &ConversationRequest, strict: bool) -> answer::Options {
    let inference = &converted.inference_options;
    let sampling = if strict {
        Params {
            temperature: inference.temperature.unwrap_or(1.0),
            top_p: inference.top_p.unwrap_or(1.0),
            ..asked
        }
    } else {
        asked
    };
    answer::Options {
        sampling,
        stop: converted.parsing_options.stop_sequences.clone(),
        logprobs: inference
            .logprobs
            .then(|| inference.top_logprobs.unwrap_or(0).into()),
        ..answer::Options::default()
    }
}
