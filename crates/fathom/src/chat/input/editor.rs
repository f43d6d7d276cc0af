//! The line editor of the terminal: history, completion, several lines.

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{
    Behavior, Cmd, CompletionType, Config, Context, EventHandler, Helper, KeyCode, KeyEvent, Modifiers,
};

use super::{Input, Source, continues};
use crate::chat::command::COMMANDS;

const HISTORY_LINES_MAX: usize = 2000;

/// Reads lines from a person.
pub(crate) struct Editor {
    editor: rustyline::Editor<Assistance, FileHistory>,
    /// Where the history is kept; `None` if it is not.
    history: Option<PathBuf>,
}

impl Editor {
    /// An editor with the history of earlier sessions in `history`.
    ///
    /// The second value says why the history is not kept, if so: a chat goes on without it.
    pub(crate) fn new(history: Option<PathBuf>) -> anyhow::Result<(Self, Option<String>)> {
        let config = Config::builder()
            .max_history_size(HISTORY_LINES_MAX)
            .and_then(|builder| builder.history_ignore_dups(true))
            .context("cannot set up the line editor")?
            .completion_type(CompletionType::List)
            // Standard output may be a pipe that wants the answers only: then the line is edited on the terminal itself.
            .behavior(if io::stdout().is_terminal() {
                Behavior::Stdio
            } else {
                Behavior::PreferTerm
            })
            .build();
        let mut editor = rustyline::Editor::with_config(config).context("cannot set up the line editor")?;
        editor.set_helper(Some(Assistance {
            files: FilenameCompleter::new(),
        }));
        editor.bind_sequence(
            KeyEvent(KeyCode::Enter, Modifiers::ALT),
            EventHandler::Simple(Cmd::Newline),
        );
        let (history, trouble) = match history.map(|path| prepare(&path).map(|()| path)) {
            Some(Ok(path)) => {
                // A history that cannot be read is like none.
                editor.load_history(&path).ok();
                (Some(path), None)
            }
            Some(Err(trouble)) => (None, Some(trouble)),
            None => (None, None),
        };
        Ok((Self { editor, history }, trouble))
    }

    fn remember(&mut self, line: &str) {
        let added = self.editor.add_history_entry(line).unwrap_or(false);
        if let (true, Some(path)) = (added, &self.history) {
            // Losing a line of history must not disturb a conversation.
            self.editor.append_history(path).ok();
        }
    }
}

impl Source for Editor {
    fn next(&mut self, prompt: &str) -> anyhow::Result<Input> {
        match self.editor.readline(prompt) {
            Ok(line) => {
                if !line.trim().is_empty() {
                    self.remember(&line);
                }
                Ok(Input::Line(line))
            }
            Err(ReadlineError::Interrupted) => Ok(Input::Cleared),
            Err(ReadlineError::Eof) => Ok(Input::Left),
            Err(error) => Err(error).context("cannot read from the terminal"),
        }
    }
}

/// Makes sure that the history can be written.
fn prepare(path: &Path) -> Result<(), String> {
    let kept = match path.parent() {
        Some(dir) => std::fs::create_dir_all(dir),
        None => Ok(()),
    };
    kept.and_then(|()| {
        std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .map(drop)
    })
    .map_err(|error| {
        format!(
            "the input history is not kept, since {} cannot be written: {error}",
            path.display()
        )
    })
}

/// Completion of commands and file names, and the rule when input is complete.
struct Assistance {
    files: FilenameCompleter,
}

impl Helper for Assistance {}
impl Highlighter for Assistance {}

impl Hinter for Assistance {
    type Hint = String;
}

impl Validator for Assistance {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        Ok(if continues(context.input()) {
            ValidationResult::Incomplete
        } else {
            ValidationResult::Valid(None)
        })
    }
}

impl Completer for Assistance {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        pos: usize,
        context: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        if !line.starts_with('/') {
            return Ok((pos, Vec::new()));
        }
        match line[..pos].split_once(char::is_whitespace) {
            None => Ok((0, names(&line[..pos]))),
            Some(("/read" | "/save" | "/load", _)) => self.files.complete(line, pos, context),
            Some(_) => Ok((pos, Vec::new())),
        }
    }
}

/// The commands that begin with `start`.
fn names(start: &str) -> Vec<Pair> {
    let matching = COMMANDS.iter().filter(|command| command.name.starts_with(start));
    matching
        .map(|command| {
            let space = if command.argument.is_empty() { "" } else { " " };
            Pair {
                display: command.name.to_owned(),
                replacement: format!("{}{space}", command.name),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_complete_with_a_space_where_something_follows() {
        let replacements = |start| {
            names(start)
                .into_iter()
                .map(|pair| pair.replacement)
                .collect::<Vec<_>>()
        };
        assert_eq!(replacements("/re"), ["/read ", "/rewind "]);
        assert_eq!(replacements("/ne"), ["/new"]);
        assert_eq!(replacements("/n"), ["/nothink", "/new"]);
        assert_eq!(replacements("/x"), Vec::<String>::new());
    }
}
