//! Replaying the ids a message was sampled as.
//!
//! Encoding a generated text again need not give the ids that were sampled, and a tool call is not even written again letter by
//! letter. Either would invalidate a cached prefix. Control tokens border the replaced stretch on both sides, so replacing it
//! does not change how anything around it is encoded.

use deepseek_recipe_core::special_tokens::SpecialToken;

use super::prompt_spans::PromptSpans;
use crate::{Message, Tokenizer};

/// Replace the `body` of `message`, the spans between its think marker and its end, by the ids it was sampled as, if it has them.
///
/// `shows_reasoning` says that the prompt has `<think>` before the body. A message whose reasoning is no longer shown keeps its
/// ids from after `</think>` on. A body that the ids do not fit (thought without finishing, now shown closed) stays as it is.
pub(super) fn replay(
    body: PromptSpans,
    shows_reasoning: bool,
    message: &Message,
    tokenizer: &Tokenizer,
) -> PromptSpans {
    let Message::Assistant {
        sampled: Some(sampled),
        reasoning_content,
        ..
    } = message
    else {
        return body;
    };
    let control = tokenizer.control();
    let sampled = sampled.strip_suffix(&[control.eos]).unwrap_or(sampled);
    let sampled_end = sampled.iter().position(|&id| id == control.think_end);
    let body_end = body
        .as_slice()
        .iter()
        .position(|span| span.is(SpecialToken::ThinkingEnd));
    let has_reasoning = reasoning_content
        .as_ref()
        .is_some_and(|reasoning| !reasoning.is_empty());

    let mut replayed = PromptSpans::default();
    match (shows_reasoning, sampled_end, body_end) {
        // Reasoning and answer, or reasoning still open, on both sides.
        (true, Some(_), Some(_)) | (true, None, None) => replayed.sampled(sampled),
        // Sampled without thinking; the prompt now shows it after an empty reasoning.
        (true, None, Some(0)) => {
            replayed.token(SpecialToken::ThinkingEnd);
            replayed.sampled(sampled);
        }
        // The answer only.
        (false, Some(end), None) => replayed.sampled(&sampled[end + 1..]),
        (false, None, None) if !has_reasoning => replayed.sampled(sampled),
        _ => return body,
    }
    replayed
}
