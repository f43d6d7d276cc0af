//! The engine's events in the vendor's vocabulary, which its reply builders understand.

use std::fmt::Write as _;
use std::sync::Arc;

use deepseek_recipe::stream::{
    CompletionUsage, FinishReason, OutputChunk, PromptUsage, TokenLogprob, TopLogprob,
};
use fathom_engine::answer::{self, Answer, Event, Text};
use fathom_engine::sampling;
use fathom_prompt::{Defect, Tokenizer};

/// Of so many of the most likely tokens the hosted API tells the log-probability.
pub(crate) const LIKELY: usize = 20;
/// What it says for all others.
const UNLIKELY: f32 = -9999.0;

/// As JSON can say it.
fn finite(logprob: f32) -> f32 {
    logprob.max(UNLIKELY)
}

/// Translates the events of one answer.
pub(crate) struct Pieces {
    pub(crate) tokenizer: Tokenizer,
    /// What computes; sent once.
    pub(crate) fingerprint: Option<String>,
    /// How many of the most likely tokens to show, if log-probabilities are.
    pub(crate) logprobs: Option<usize>,
    /// Tell those of unlikely tokens too.
    pub(crate) exact: bool,
    pub(crate) thinking: bool,
    /// Whether the client takes tool calls.
    pub(crate) offers_tools: bool,
}

impl Pieces {
    /// The piece an event amounts to, if it shows at all.
    pub(crate) fn of(&mut self, event: Event) -> Option<OutputChunk> {
        Some(match event {
            Event::Prefill(prefill) => OutputChunk::Start {
                system_fingerprint: Some(self.fingerprint.take()?),
                prompt_usage: PromptUsage {
                    prompt_tokens: prefill.cached + prefill.total,
                    prompt_cache_hit_tokens: prefill.cached,
                },
            },
            Event::Reasoning(Text { text, logprobs }) => OutputChunk::Reasoning {
                content: text,
                logprobs: self.logprobs(&logprobs),
            },
            Event::Content(Text { text, logprobs }) => OutputChunk::Content {
                content: text,
                logprobs: self.logprobs(&logprobs),
            },
            // A client that has no tools could do nothing with a call of one; it is told among the defects.
            Event::ToolCallBegin { .. } | Event::ToolCallArguments { .. } if !self.offers_tools => {
                return None;
            }
            Event::ToolCallBegin { name, .. } => OutputChunk::ToolCallNamed { tool_name: name },
            Event::ToolCallArguments { json, .. } => OutputChunk::ToolCallArgumentsDelta { arguments: json },
            Event::ToolCallEnd { .. } | Event::Tick => return None,
        })
    }

    /// The piece that ends a reply.
    pub(crate) fn last(&self, answer: &Answer) -> OutputChunk {
        let (finish_reason, stop_sequence) = match &answer.finish_reason {
            answer::FinishReason::StopString(string) => (FinishReason::StopSequence, Some(string.clone())),
            answer::FinishReason::Length => (FinishReason::Length, None),
            answer::FinishReason::ToolCalls if self.offers_tools => (FinishReason::ToolCalls, None),
            answer::FinishReason::Stop | answer::FinishReason::ToolCalls => (FinishReason::Stop, None),
            // Only a client that has gone cancels, so nobody reads this.
            answer::FinishReason::Cancelled => (FinishReason::EndOfStream, None),
        };
        let completion_usage = CompletionUsage {
            completion_tokens: answer.usage.generated,
            reasoning_tokens: self.thinking.then_some(answer.usage.reasoning),
        };
        OutputChunk::Finish {
            finish_reason,
            stop_sequence,
            completion_usage,
        }
    }

    /// Where the output departed from its format, and what was made of it.
    pub(crate) fn defects(&self, answer: &Answer) -> Vec<String> {
        // That a text ends early is no fault of one that was cut.
        let cut = answer.finish_reason == answer::FinishReason::Length;
        let told = |defect: &&Defect| {
            !(cut && matches!(defect, Defect::CutShort { .. } | Defect::UnclosedReasoning { .. }))
        };
        let defects = answer.parsed.defects.iter().filter(told);
        let mut defects: Vec<_> = defects.map(ToString::to_string).collect();
        let calls = answer.parsed.tool_calls.len();
        if !self.offers_tools && calls > 0 {
            defects.push(format!(
                "found {calls} tool calls, but no tools are on offer; left them out"
            ));
        }
        defects
    }

    /// What clients see of log-probabilities, if they see any.
    pub(crate) fn logprobs(&self, tokens: &[sampling::TokenLogprob]) -> Option<Arc<[TokenLogprob]>> {
        let shown = self.logprobs?;
        let token = |token: &sampling::TokenLogprob| {
            let (text, bytes) = spelled(&self.tokenizer, token.token);
            let told = self.exact || token.top.iter().any(|&(id, _)| id == token.token);
            let top = token.top.iter().take(shown).map(|&(id, logprob)| {
                let (token, bytes) = spelled(&self.tokenizer, id);
                TopLogprob {
                    token,
                    logprob: finite(logprob),
                    bytes,
                }
            });
            TokenLogprob {
                token: text,
                logprob: if told { finite(token.logprob) } else { UNLIKELY },
                bytes,
                top_logprobs: top.collect(),
            }
        };
        Some(tokens.iter().map(token).collect())
    }
}

/// A token's text and bytes; bytes that are no text are written `\xNN`, as the hosted API does.
pub(crate) fn spelled(tokenizer: &Tokenizer, id: u32) -> (String, Vec<u8>) {
    let bytes = tokenizer.token_bytes(id).unwrap_or_default();
    let text = std::str::from_utf8(bytes).map_or_else(|_| hex_escapes(bytes), ToOwned::to_owned);
    (text, bytes.to_vec())
}

/// `\xNN` for every byte.
fn hex_escapes(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(4 * bytes.len());
    for byte in bytes {
        // Writing to a string cannot fail.
        write!(text, "\\x{byte:02x}").ok();
    }
    text
}

#[cfg(test)]
mod tests;
