//! A stream the user reads, and what may be written to it.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

/// Standard output or standard error, with the knowledge whether it is a terminal that understands styles.
///
/// Text from outside (a model, a file) goes through [`text`](Self::text): on a terminal it cannot move the cursor,
/// change colours or anything else control characters do; in a pipe it stays as it is.
pub(crate) struct Pane<'a> {
    writer: Box<dyn Write + 'a>,
    terminal: bool,
    styled: bool,
}

impl Pane<'_> {
    /// Standard output.
    pub(crate) fn stdout() -> Self {
        let terminal = io::stdout().is_terminal();
        Self {
            writer: Box::new(io::stdout()),
            terminal,
            styled: terminal && styles_wanted(),
        }
    }

    /// Standard error.
    pub(crate) fn stderr() -> Self {
        let terminal = io::stderr().is_terminal();
        Self {
            writer: Box::new(io::stderr()),
            terminal,
            styled: terminal && styles_wanted(),
        }
    }

    /// A pane that nobody sees.
    pub(crate) fn nowhere() -> Self {
        Self {
            writer: Box::new(io::sink()),
            terminal: false,
            styled: false,
        }
    }

    /// Whether a person watches.
    pub(crate) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Whether styles show.
    pub(crate) fn is_styled(&self) -> bool {
        self.styled
    }

    /// Writes text from outside, at once.
    pub(crate) fn text(&mut self, text: &str) -> io::Result<()> {
        if self.terminal {
            self.writer.write_all(visible(text).as_bytes())?;
        } else {
            self.writer.write_all(text.as_bytes())?;
        }
        self.writer.flush()
    }

    /// As [`text`](Self::text), dimmed. Every piece is closed in itself, so that a program that is killed leaves no
    /// dimmed shell behind.
    pub(crate) fn dim_text(&mut self, text: &str) -> io::Result<()> {
        if !self.styled || text.is_empty() {
            return self.text(text);
        }
        write!(self.writer, "\x1b[2m{}\x1b[0m", visible(text))?;
        self.writer.flush()
    }

    /// Writes a line of ours.
    pub(crate) fn line(&mut self, line: impl Display) -> io::Result<()> {
        self.text(&format!("{line}\n"))
    }

    /// Writes a dimmed line of ours.
    pub(crate) fn dim_line(&mut self, line: impl Display) -> io::Result<()> {
        self.dim_text(&line.to_string())?;
        self.text("\n")
    }
}

#[cfg(test)]
impl<'a> Pane<'a> {
    /// Any other writer, treated as a terminal or not, with styles or not.
    pub(crate) fn new(writer: impl Write + 'a, terminal: bool, styled: bool) -> Self {
        Self {
            writer: Box::new(writer),
            terminal,
            styled,
        }
    }
}

/// Whether the user's environment allows styles: see <https://no-color.org>.
fn styles_wanted() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !refused && !is_dumb()
}

/// Whether the terminal can do nothing but print.
pub(crate) fn is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}

/// `text` with its control characters replaced by pictures of them; tabs and newlines stay.
fn visible(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            '\n' | '\t' => character,
            '\0'..='\x1f' => char::from_u32(0x2400 + u32::from(character)).unwrap_or('\u{FFFD}'),
            '\x7f' => '\u{2421}',
            '\u{80}'..='\u{9f}' => '\u{FFFD}',
            _ => character,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(terminal: bool, styled: bool, write: impl FnOnce(&mut Pane<'_>) -> io::Result<()>) -> String {
        let mut bytes = Vec::new();
        write(&mut Pane::new(&mut bytes, terminal, styled)).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_terminal_never_sees_control_characters_from_outside() {
        let hostile = "a\x1b[2Jb\u{9b}31m\rc\x07\x7f\td\n";
        assert_eq!(
            written(true, true, |pane| pane.text(hostile)),
            "a␛[2Jb\u{FFFD}31m␍c␇␡\td\n"
        );
        assert_eq!(
            written(true, true, |pane| pane.dim_text("\x1b[0m")),
            "\x1b[2m␛[0m\x1b[0m"
        );
    }

    #[test]
    fn a_pipe_gets_the_text_as_it_is() {
        let text = "a\x1b[2Jb\r\n";
        assert_eq!(written(false, false, |pane| pane.text(text)), text);
    }

    #[test]
    fn styles_are_left_out_where_they_do_not_show() {
        assert_eq!(written(true, false, |pane| pane.dim_line("note")), "note\n");
        assert_eq!(
            written(true, true, |pane| pane.dim_line("note")),
            "\x1b[2mnote\x1b[0m\n"
        );
    }
}
