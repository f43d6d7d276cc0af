//! Where lines come from: a person at a terminal, or a pipe.

mod editor;
mod lines;

pub(crate) use editor::Editor;
pub(crate) use lines::Lines;

/// What came in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// A line, or several that belong together.
    Line(String),
    /// A line that cannot be used, with the reason.
    Unusable(String),
    /// The user cleared the line.
    Cleared,
    /// The user has left.
    Left,
    /// There is no more.
    End,
}

/// A source of lines.
pub(crate) trait Source {
    /// The next input; `prompt` is shown where somebody sees it.
    fn next(&mut self, prompt: &str) -> anyhow::Result<Input>;
}

/// Whether a line goes on with the next one: it ends with a backslash.
fn continues(line: &str) -> bool {
    line.ends_with('\\')
}
