//! Replaying the ids a message was sampled as.
//!
//! Encoding a generated text again need not give the ids that were sampled, and a tool call is not even written again letter by
//! letter. Either would invalidate a cached prefix. Control tokens border the replaced stretch on both sides, so replacing it
//! does not change how anything around it is encoded.

use deepseek_recipe_core::special_tokens::SpecialToken;

use super::prompt_spans::{PromptSpans, Span};
use crate::Tokenizer;

/// Replace what `sampled` covers of a message's `body`, the spans between the think marker and the end of the message.
///
/// `shows_reasoning` says that the prompt has `<think>` before the body. A message whose reasoning is no longer shown keeps its
/// ids from after `</think>` on. A body that the ids do not fit (thought without finishing, now shown closed) stays as it is.
pub(super) fn replay(
    body: PromptSpans,
    shows_reasoning: bool,
    sampled: &[u32],
    tokenizer: &Tokenizer,
) -> PromptSpans {
    let control = tokenizer.control();
    let sampled = sampled.strip_suffix(&[control.eos]).unwrap_or(sampled);
    let sampled_end = sampled.iter().position(|&id| id == control.think_end);
    let body_end = body
        .as_slice()
        .iter()
        .position(|span| span.is(SpecialToken::ThinkingEnd));

    let mut replayed = PromptSpans::default();
    match (shows_reasoning, sampled_end, body_end) {
        // Reasoning and answer, or reasoning still open, on both sides.
        (true, Some(_), Some(_)) | (true, None, None) => replayed.sampled(sampled),
        // Sampled without thinking; the prompt now shows it after an empty reasoning.
        (true, None, Some(0)) => {
            replayed.push(Span::Control(SpecialToken::ThinkingEnd.default_str().to_owned()));
            replayed.sampled(sampled);
        }
        // The answer only.
        (false, end, None) => replayed.sampled(&sampled[end.map_or(0, |end| end + 1)..]),
        _ => return body,
    }
    replayed
}
