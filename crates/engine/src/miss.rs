//! Why no more of a prompt came from the cache, in words.

use fathom_cache::{Miss, Report};
use fathom_prompt::Tokenizer;

/// Longest token text that is quoted, in characters.
const QUOTED_MAX: usize = 24;

/// What the `own` tokens of a session's state give a prompt of which `known` could be there; the cache has `found` less.
/// All that the session held is used, so the rest is new, unless the cache tells where it parts from something.
pub(crate) fn own_state(own: usize, known: usize, found: Report) -> Report {
    let miss = match found.miss {
        _ if own >= known => Miss::None,
        Miss::Differs { at, .. } if at >= own => found.miss,
        _ => Miss::NeverSeen,
    };
    Report {
        hit: own,
        replayed: 0,
        miss,
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_session_held_needs_no_excuse_of_the_cache() {
        let found = |miss| Report {
            hit: 10,
            replayed: 5,
            miss,
        };
        let differs = |at| Miss::Differs {
            at,
            cached: 1,
            found: 2,
        };
        for (own, miss, expected) in [
            (99, differs(50), Miss::None),
            (98, differs(50), Miss::NeverSeen),
            (98, differs(98), differs(98)),
            (98, Miss::NoSnapshot, Miss::NeverSeen),
        ] {
            let report = own_state(own, 99, found(miss));
            assert_eq!((report.hit, report.replayed, report.miss), (own, 0, expected));
        }
    }
}
