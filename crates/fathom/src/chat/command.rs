//! What a line of input asks for: a message, or a command with its arguments.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use fathom_prompt::{ParseThinkingError, Thinking};

use super::session::{Name, NameError};

/// A line of input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Line {
    /// Nothing but space.
    Empty,
    /// For the model.
    Message(String),
    /// For this program.
    Command(Command),
}

/// A command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// Set the thinking mode.
    Think(Thinking),
    /// Put a file's text into the next message; without a file, take back what waits.
    Read(Option<PathBuf>),
    /// Say what the context holds.
    Context,
    /// Set the system text; without one, show it.
    System(Option<String>),
    /// Start a new conversation.
    New,
    /// Take back the last exchanges.
    Rewind(NonZeroUsize),
    /// Go on in a new session.
    Fork(Name),
    /// Save the conversation.
    Save(PathBuf),
    /// Load a conversation.
    Load(PathBuf),
    /// List the commands.
    Help,
    /// End the program.
    Quit,
}

/// A command as `/help` shows it.
pub(crate) struct Description {
    /// With its slash.
    pub(crate) name: &'static str,
    /// What follows the name, in brackets if it may be left out.
    pub(crate) argument: &'static str,
    /// What it does.
    pub(crate) effect: &'static str,
}

const fn command(name: &'static str, argument: &'static str, effect: &'static str) -> Description {
    Description {
        name,
        argument,
        effect,
    }
}

/// Every command, in the order `/help` lists them.
pub(crate) const COMMANDS: [Description; 13] = [
    command(
        "/think",
        "[MODE]",
        "think before answering: off, low, high (the default) or max",
    ),
    command("/nothink", "", "answer at once"),
    command("/max", "", "think at length"),
    command(
        "/read",
        "[FILE]",
        "put a text file into the next message; alone: take it back",
    ),
    command("/context", "", "show tokens used, what is cached, and memory"),
    command(
        "/system",
        "[TEXT]",
        "set the system text (\"\" for none); alone: show it",
    ),
    command(
        "/new",
        "",
        "start again, with the same system text and thinking mode",
    ),
    command(
        "/rewind",
        "[N]",
        "take back the last N of your messages and their answers",
    ),
    command("/fork", "NAME", "go on in a new session from here"),
    command("/save", "FILE", "save the conversation as JSON"),
    command("/load", "FILE", "go on with a saved conversation"),
    command("/help", "", "show this list"),
    command("/quit", "", "end the program"),
];

/// A command that cannot be carried out as it stands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CommandError {
    /// There is none of this name.
    #[error("there is no command {found}; {}", advice(*.nearest))]
    Unknown {
        /// The name, with its slash.
        found: String,
        /// A command that is spelled much like it.
        nearest: Option<&'static str>,
    },
    /// Something is missing behind it.
    #[error("{name} needs more: write {name} {argument}")]
    Incomplete {
        /// The command.
        name: &'static str,
        /// What it needs.
        argument: &'static str,
    },
    /// Something is behind it that does not belong there.
    #[error("{name} takes nothing behind it, found {found:?}")]
    Superfluous {
        /// The command.
        name: &'static str,
        /// What stands behind it.
        found: String,
    },
    /// No thinking mode.
    #[error("/think: {0}")]
    Mode(#[from] ParseThinkingError),
    /// No name of a session.
    #[error("/fork: {0}")]
    Name(#[from] NameError),
    /// No number of exchanges.
    #[error("/rewind: expected how many of your messages to take back, 1 or more; found {found:?}")]
    Count {
        /// What stands in its place.
        found: String,
    },
}

fn advice(nearest: Option<&str>) -> String {
    nearest.map_or_else(
        || "/help lists them. To send a message that starts with a slash, put a space before it".to_owned(),
        |name| format!("did you mean {name}? /help lists them all"),
    )
}

impl Line {
    /// Reads a line, which may have been typed as several: a backslash at the end of a line goes on with the next.
    ///
    /// A command starts with a slash in the very first place, so a space makes a message of anything.
    pub(crate) fn parse(input: &str) -> Result<Self, CommandError> {
        if input.trim().is_empty() {
            return Ok(Self::Empty);
        }
        if !input.starts_with('/') {
            return Ok(Self::Message(input.replace("\\\n", "\n").trim().to_owned()));
        }
        let (name, argument) = input.split_once(char::is_whitespace).unwrap_or((input, ""));
        Command::parse(name, argument.trim()).map(Self::Command)
    }
}

impl Command {
    fn parse(name: &str, argument: &str) -> Result<Self, CommandError> {
        let given = (!argument.is_empty()).then_some(argument);
        let alone = |name, command| match given {
            None => Ok(command),
            Some(found) => Err(CommandError::Superfluous {
                name,
                found: found.to_owned(),
            }),
        };
        let file = |name| {
            given.map(path).ok_or(CommandError::Incomplete {
                name,
                argument: "FILE",
            })
        };
        match name {
            "/think" => Ok(Self::Think(given.map_or(Ok(Thinking::High), str::parse)?)),
            "/nothink" => alone("/nothink", Self::Think(Thinking::Off)),
            "/max" => alone("/max", Self::Think(Thinking::Max)),
            "/read" => Ok(Self::Read(given.map(path))),
            "/context" => alone("/context", Self::Context),
            "/system" => Ok(Self::System(given.map(system_text))),
            "/new" => alone("/new", Self::New),
            "/rewind" => match given.unwrap_or("1").parse() {
                Ok(exchanges) => Ok(Self::Rewind(exchanges)),
                Err(_) => Err(CommandError::Count {
                    found: argument.to_owned(),
                }),
            },
            "/fork" => match given {
                Some(name) => Ok(Self::Fork(name.parse()?)),
                None => Err(CommandError::Incomplete {
                    name: "/fork",
                    argument: "NAME",
                }),
            },
            "/save" => file("/save").map(Self::Save),
            "/load" => file("/load").map(Self::Load),
            "/help" => alone("/help", Self::Help),
            "/quit" => alone("/quit", Self::Quit),
            // What other programs call it.
            "/exit" => alone("/exit", Self::Quit),
            found => Err(CommandError::Unknown {
                found: found.to_owned(),
                nearest: nearest(found),
            }),
        }
    }
}

/// A path as it was typed: quotes around it go, a backslash before a space too (completion writes one), `~` is home.
fn path(typed: &str) -> PathBuf {
    for quote in ['"', '\''] {
        if let Some(inner) = typed
            .strip_prefix(quote)
            .and_then(|rest| rest.strip_suffix(quote))
        {
            return PathBuf::from(inner);
        }
    }
    let typed = if cfg!(windows) {
        typed.to_owned()
    } else {
        typed.replace("\\ ", " ")
    };
    match (typed.strip_prefix("~/"), std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(typed),
    }
}

/// The system text; empty quotes are an empty one.
fn system_text(typed: &str) -> String {
    match typed {
        "\"\"" | "''" => String::new(),
        text => text.replace("\\\n", "\n"),
    }
}

/// The command spelled most like `found`, if any is near.
fn nearest(found: &str) -> Option<&'static str> {
    const DISTANCE_MAX: usize = 2;
    let names = COMMANDS.iter().map(|command| command.name);
    let (distance, name) = names.map(|name| (distance(found, name), name)).min()?;
    let unfinished = COMMANDS
        .iter()
        .filter(|command| command.name.starts_with(found))
        .map(|command| command.name);
    let unfinished = if found.len() > 1 { unfinished.min() } else { None };
    unfinished.or_else(|| (distance <= DISTANCE_MAX).then_some(name))
}

/// Insertions, deletions and replacements of a character that lead from `a` to `b`.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, &to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(input: &str) -> Result<Line, String> {
        Line::parse(input).map_err(|error| error.to_string())
    }

    /// The command that `input` is.
    fn command(input: &str) -> Command {
        match parse(input) {
            Ok(Line::Command(command)) => command,
            other => panic!("expected a command, found {other:?}"),
        }
    }

    #[test]
    fn messages_are_everything_that_does_not_start_with_a_slash() {
        assert_eq!(parse("hello "), Ok(Line::Message("hello".to_owned())));
        assert_eq!(
            parse(" /etc is a directory"),
            Ok(Line::Message("/etc is a directory".to_owned()))
        );
        assert_eq!(
            parse("one\\\ntwo\nthree"),
            Ok(Line::Message("one\ntwo\nthree".to_owned()))
        );
        assert_eq!(parse(" \t"), Ok(Line::Empty));
    }

    #[test]
    fn every_command_in_the_list_is_understood() {
        for Description { name, argument, .. } in &COMMANDS {
            let argument = match *argument {
                "[MODE]" => "max",
                "[N]" => "2",
                other => other,
            };
            assert!(
                matches!(parse(&format!("{name} {argument}")), Ok(Line::Command(_))),
                "{name}"
            );
        }
    }

    #[test]
    fn thinking_modes_have_three_commands() {
        assert_eq!(command("/think"), Command::Think(Thinking::High));
        assert_eq!(command("/think low"), Command::Think(Thinking::Low));
        assert_eq!(command("/nothink"), Command::Think(Thinking::Off));
        assert_eq!(command("/max"), Command::Think(Thinking::Max));
        assert_eq!(
            parse("/think hard"),
            Err("/think: expected a thinking mode (off, low, high or max), found \"hard\"".to_owned())
        );
    }

    #[test]
    fn paths_may_hold_spaces_and_quotes() {
        let read = |path: &str| Command::Read(Some(PathBuf::from(path)));
        assert_eq!(command("/read a b.txt"), read("a b.txt"));
        assert_eq!(command("/read \"a b.txt\" "), read("a b.txt"));
        #[cfg(unix)]
        assert_eq!(command("/read a\\ b.txt"), read("a b.txt"));
        assert_eq!(command("/read"), Command::Read(None));
    }

    #[test]
    fn a_system_text_is_set_shown_or_removed() {
        let set = |text: &str| Command::System(Some(text.to_owned()));
        assert_eq!(
            command("/system Be kind.\\\nBe brief."),
            set("Be kind.\nBe brief.")
        );
        assert_eq!(command("/system \"\""), set(""));
        assert_eq!(command("/system"), Command::System(None));
    }

    #[test]
    fn exchanges_are_counted_from_one() {
        let rewind = |exchanges| Command::Rewind(NonZeroUsize::new(exchanges).unwrap());
        assert_eq!(command("/rewind"), rewind(1));
        assert_eq!(command("/rewind 12"), rewind(12));
        for found in ["0", "-1", "x", "1 2"] {
            let error = parse(&format!("/rewind {found}")).unwrap_err();
            assert!(error.ends_with(&format!("1 or more; found {found:?}")), "{error}");
        }
    }

    #[test]
    fn forks_have_names() {
        assert_eq!(command("/fork plan-b"), Command::Fork("plan-b".parse().unwrap()));
        assert_eq!(
            parse("/fork"),
            Err("/fork needs more: write /fork NAME".to_owned())
        );
        let error = parse("/fork ../x").unwrap_err();
        assert!(
            error.starts_with("/fork: a session cannot be called \"../x\"; "),
            "{error}"
        );
    }

    #[test]
    fn unknown_commands_get_a_hint() {
        let cases = [
            (
                "/contxt",
                "there is no command /contxt; did you mean /context? /help lists them all",
            ),
            (
                "/cont",
                "there is no command /cont; did you mean /context? /help lists them all",
            ),
            (
                "/q",
                "there is no command /q; did you mean /quit? /help lists them all",
            ),
            (
                "/etc/passwd is a file",
                "there is no command /etc/passwd; /help lists them. To send a message that starts with a slash, put \
                 a space before it",
            ),
        ];
        for (input, message) in cases {
            assert_eq!(parse(input), Err(message.to_owned()));
        }
    }

    #[test]
    fn too_little_and_too_much_are_refused() {
        assert_eq!(
            parse("/save"),
            Err("/save needs more: write /save FILE".to_owned())
        );
        assert_eq!(
            parse("/new x"),
            Err("/new takes nothing behind it, found \"x\"".to_owned())
        );
    }

    #[test]
    fn distances_count_edits() {
        assert_eq!(distance("/helo", "/help"), 1);
        assert_eq!(distance("/hlep", "/help"), 2);
        assert_eq!(distance("", "/new"), 4);
    }
}
