//! Where a value was said.

use std::fmt;
use std::path::PathBuf;

/// The place that decided a setting, strongest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Typed on the command line.
    CommandLine,
    /// The environment variable of this name.
    Environment(String),
    /// A line of a file, counted from 1.
    File { path: PathBuf, line: usize },
    /// Nobody said anything.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommandLine => f.write_str("command line"),
            Self::Environment(name) => f.write_str(name),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}
