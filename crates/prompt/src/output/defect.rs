//! Departures from the output format.

/// A departure from the output format, and what the parser made of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Defect {
    /// The output went on to a tool call, or ended, without closing the reasoning.
    #[error("expected </think> after the reasoning, found {found}; everything before it counts as reasoning")]
    UnclosedReasoning {
        /// What came in its place.
        found: &'static str,
    },
    /// A control token where none belongs. It is left out.
    #[error("found control token {token} in the {place}; left it out")]
    StrayControl {
        /// Its spelling.
        token: String,
        /// Where.
        place: &'static str,
    },
    /// A tag that cannot be read, or has no place where it stands. It is left out.
    #[error("found tag {found:?} in the {place}; left it out")]
    StrayTag {
        /// Its text, DSML marker included.
        found: String,
        /// Where.
        place: &'static str,
    },
    /// A tag that is missing. It is assumed.
    #[error("expected {expected}, found {found:?}; took the missing tag as read")]
    MissingTag {
        /// The tag.
        expected: &'static str,
        /// What came in its place.
        found: String,
    },
    /// Text between tags. It is left out.
    #[error("found text {found:?} in the {place}; left it out")]
    StrayText {
        /// The text, shortened.
        found: String,
        /// Where.
        place: &'static str,
    },
    /// A second parameter of the same name. It is left out.
    #[error("found parameter {name:?} twice in one call; kept the first")]
    DuplicateParameter {
        /// Its name.
        name: String,
    },
    /// A parameter declared as JSON that is not. It is passed on as a string.
    #[error("expected JSON as the value of parameter {name:?}, found {found:?}; passed it on as a string")]
    NotJson {
        /// The parameter's name.
        name: String,
        /// Its value, shortened.
        found: String,
    },
    /// The arguments came as one JSON object where parameters belong. They are used.
    #[error("expected one parameter per argument, found all arguments in {found:?}; unwrapped them")]
    WrappedArguments {
        /// Where they were.
        found: String,
    },
    /// The output ended early. What is there is closed.
    #[error("output ended inside the {place}; closed it")]
    CutShort {
        /// Where.
        place: &'static str,
    },
}

/// A text for a message: its beginning, if long.
pub(super) fn shortened(text: &str) -> String {
    const CHARS_MAX: usize = 200;
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
