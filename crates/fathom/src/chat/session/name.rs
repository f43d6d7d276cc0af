//! What a session may be called.

use std::fmt;
use std::str::FromStr;

/// Longest name, in characters.
const LEN_MAX: usize = 64;

/// The name of a session, which is the name of a directory too: letters, digits, `.`, `_` and `-` of ASCII, the first one a
/// letter or a digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name(String);

/// A name that no session may have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a session cannot be called {found:?}; expected up to {LEN_MAX} letters, digits, dots, dashes and underscores (a-z, A-Z, 0-9), \
     a letter or a digit first"
)]
pub(crate) struct NameError {
    found: String,
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let fits = text.len() <= LEN_MAX
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError {
                found: text.chars().take(LEN_MAX).collect(),
            })
        }
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_directories() {
        for name in ["demo", "a", "7", "v4.1_draft-2", &"x".repeat(64)] {
            assert_eq!(name.parse::<Name>().unwrap().to_string(), name);
        }
        for name in [
            "",
            ".",
            "..",
            ".x",
            "-x",
            "a/b",
            "a\\b",
            "a b",
            "é",
            "a\n",
            &"x".repeat(65),
        ] {
            let error = name.parse::<Name>().unwrap_err().to_string();
            assert!(error.starts_with("a session cannot be called "), "{error}");
        }
    }
}
