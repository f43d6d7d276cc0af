//! The JSON object of `fathom run --json`. Fields are added, never renamed or removed.

use fathom_engine::Engine;
use fathom_engine::answer::{Answer, FinishReason, Options};
use fathom_engine::sampling::TokenLogprob;
use fathom_prompt::ToolCall;
use serde::Serialize;

/// One answer and everything about it. Numbers of type `f32` are written so that they read back to the same bits.
#[derive(Serialize)]
pub(super) struct Report<'a> {
    model: &'a str,
    numerics: &'static str,
    text: &'a str,
    reasoning: &'a str,
    tool_calls: &'a [ToolCall],
    finish_reason: &'static str,
    /// The stop string that ended the text.
    stop: Option<&'a str>,
    usage: Usage,
    timings: Timings,
    sampling: Sampling,
    tokens: Vec<Token>,
    /// Departures from the output format, in words.
    defects: Vec<String>,
}

#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "the names of the JSON fields")]
struct Usage {
    prompt_tokens: usize,
    cached_tokens: usize,
    generated_tokens: usize,
    reasoning_tokens: usize,
}

#[derive(Serialize)]
struct Timings {
    prefill_seconds: f64,
    prefill_tokens_per_second: Option<f64>,
    decode_seconds: f64,
    decode_tokens_per_second: Option<f64>,
}

#[derive(Serialize)]
struct Sampling {
    temperature: f32,
    top_p: f32,
    top_k: usize,
    min_p: f32,
    seed: u64,
}

#[derive(Serialize)]
struct Token {
    id: u32,
    text: String,
    logprob: f32,
    /// The most likely tokens, best first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    top: Vec<Alternative>,
}

#[derive(Serialize)]
struct Alternative {
    id: u32,
    text: String,
    logprob: f32,
}

impl<'a> Report<'a> {
    /// Reports on `answer`.
    pub(super) fn new(model: &'a str, engine: &Engine, options: &Options, answer: &'a Answer) -> Self {
        let text = |id: u32| engine.tokenizer().decode(&[id]);
        let token = |token: &TokenLogprob| Token {
            id: token.token,
            text: text(token.token),
            logprob: token.logprob,
            top: token
                .top
                .iter()
                .map(|&(id, logprob)| Alternative {
                    id,
                    text: text(id),
                    logprob,
                })
                .collect(),
        };
        let sampling = options.sampling;
        Self {
            model,
            numerics: engine.numerics().name(),
            text: &answer.parsed.content,
            reasoning: &answer.parsed.reasoning,
            tool_calls: &answer.parsed.tool_calls,
            finish_reason: answer.finish_reason.as_str(),
            stop: match &answer.finish_reason {
                FinishReason::StopString(string) => Some(string),
                _ => None,
            },
            usage: Usage {
                prompt_tokens: answer.usage.prompt,
                cached_tokens: answer.usage.cached,
                generated_tokens: answer.usage.generated,
                reasoning_tokens: answer.usage.reasoning,
            },
            timings: Timings {
                prefill_seconds: answer.timings.prefill.as_secs_f64(),
                prefill_tokens_per_second: answer.prefill_rate(),
                decode_seconds: answer.timings.decode.as_secs_f64(),
                decode_tokens_per_second: answer.decode_rate(),
            },
            sampling: Sampling {
                temperature: sampling.temperature,
                top_p: sampling.top_p,
                top_k: sampling.top_k,
                min_p: sampling.min_p,
                seed: sampling.seed,
            },
            tokens: answer.logprobs.iter().map(token).collect(),
            defects: answer.parsed.defects.iter().map(ToString::to_string).collect(),
        }
    }
}
