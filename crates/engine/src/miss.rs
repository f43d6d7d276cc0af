//! Why no more of a prompt came from the cache, in words.

use fathom_cache::Miss;
use fathom_prompt::Tokenizer;

/// Longest token text that is quoted, in characters.
const QUOTED_MAX: usize = 24;

/// One clause for logs and people, such as `differs at token 812: " cat" was cached, " dog" found`.
pub fn explain(miss: &Miss, tokenizer: &Tokenizer) -> String {
    let fixed = match miss {
        Miss::None => "all that could be",
        Miss::Differs { at, cached, found } => {
            let quote = |id: &u32| {
                let text: String = tokenizer.decode(&[*id]).chars().take(QUOTED_MAX).collect();
                format!("{text:?}")
            };
            return format!(
                "differs at token {at}: {} was cached, {} found",
                quote(cached),
                quote(found)
            );
        }
        Miss::Evicted => "the rest was evicted",
        Miss::OtherIsolation => "the rest is cached for another user",
        Miss::OtherModel => "the rest was cached by another model or numerics",
        Miss::BelowOnePage => "the rest is below one page",
        Miss::NoSnapshot => "no whole state near the rest",
        Miss::Damaged => "the rest was damaged on disk",
        Miss::NeverSeen => "the rest is new",
    };
    fixed.to_owned()
}
