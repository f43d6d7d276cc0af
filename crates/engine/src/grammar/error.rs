//! What can be wrong with a grammar.

/// Why a constraint cannot be enforced.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GrammarError {
    /// The constraint, or a part of it, is wrong or not supported.
    #[error("{place}: {problem}")]
    Refused {
        /// Where: a JSON pointer into the schema, a line of the grammar.
        place: String,
        /// What is wrong there.
        problem: String,
    },
    /// It is too large.
    #[error("{place} has {found} {what}; expected at most {max}")]
    TooLarge {
        /// Where.
        place: String,
        /// What is counted.
        what: &'static str,
        /// How many there are.
        found: u64,
        /// How many there may be.
        max: u64,
    },
    /// The prompt goes on with something else than what the constraint is about.
    #[error("the prompt opens {opening}, which {constraint} cannot continue")]
    Opening {
        /// What is open.
        opening: &'static str,
        /// What was asked for.
        constraint: &'static str,
    },
    /// The answer's beginning, which the prompt gives, breaks the constraint.
    #[error("the beginning of the answer {prefix:?} does not follow the constraint")]
    Prefix {
        /// The beginning.
        prefix: String,
    },
    /// A bug.
    #[error("the tokenizer cannot be used for grammars: {0}")]
    Vocabulary(String),
}

impl GrammarError {
    pub(super) fn refused(place: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Refused {
            place: place.into(),
            problem: problem.into(),
        }
    }
}

/// The grammar allows no token, so that the answer cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the grammar came to a dead end after {tokens} tokens of the answer: {detail}")]
pub struct DeadEnd {
    /// Tokens that were generated.
    pub tokens: usize,
    /// What the grammar engine says.
    pub detail: String,
}

/// An error of the grammar engine without what it says about itself.
pub(super) fn plain(error: &dyn std::fmt::Display) -> String {
    const CHARS_MAX: usize = 500;
    let text = error.to_string();
    let text = text.split("\n<").next().unwrap_or_default().trim();
    text.chars().take(CHARS_MAX).collect()
}
