//! What a chat says about itself: greeting, closing line, `/context`, `/help`.

use std::fmt::Write as _;

use fathom_engine::memory::{Bytes, state_bytes};
use fathom_engine::{Engine, Session};

use super::command::COMMANDS;
use super::transcript::Transcript;
use crate::terminal::figures::{percent, plural};
use crate::units::count;

/// Two lines: what runs, and what to type.
pub(super) fn greeting(name: &str, engine: &Engine) -> String {
    let built_in = if engine.checkpoint().directory().is_none() {
        " (built in)"
    } else {
        ""
    };
    format!(
        "{name}{built_in}, {} numerics, {}, context {}\n\
         Type a message. /help lists commands, Ctrl-C stops an answer, Ctrl-D quits.",
        engine.numerics(),
        plural(engine.threads(), "thread"),
        plural(engine.context_max(), "token"),
    )
}

/// What the context holds and what it takes.
pub(super) fn context(session: &Session, transcript: &Transcript, seed: u64) -> anyhow::Result<String> {
    let engine = session.engine();
    let context = engine.context_max();
    let prompt = engine.renderer().render(&transcript.with_next_message())?.ids;
    let cached = session.reusable(&prompt);
    let full_bytes = state_bytes(engine.config(), engine.numerics(), context);
    let modes: Vec<_> = engine
        .renderer()
        .modes()
        .iter()
        .map(ToString::to_string)
        .collect();
    let mut rows = vec![
        (
            "context",
            format!(
                "{} of {} used before your next message ({})",
                count(prompt.len() as u64),
                plural(context, "token"),
                percent(prompt.len(), context)
            ),
        ),
        (
            "cached",
            format!(
                "{} need not be read again, {} will be read",
                plural(cached, "token"),
                count((prompt.len() - cached) as u64)
            ),
        ),
        (
            "KV memory",
            format!(
                "{} now, copies for reuse included; {} for one full context",
                Bytes(session.kv_bytes() as u64),
                Bytes(full_bytes)
            ),
        ),
        ("said", plural(transcript.turns(), "message")),
        (
            "thinking",
            format!("{} (this model has {})", transcript.thinking(), modes.join(", ")),
        ),
        ("seed", seed.to_string()),
    ];
    if let Some(system) = transcript.system() {
        rows.push((
            "system",
            format!("{} of text", plural(system.chars().count(), "character")),
        ));
    }
    for file in transcript.waiting() {
        rows.push((
            "waiting",
            format!("{}, {}", file.path.display(), plural(file.tokens, "token")),
        ));
    }
    let lines: Vec<_> = rows
        .iter()
        .map(|(name, value)| format!("{name:<10}{value}"))
        .collect();
    Ok(lines.join("\n"))
}

/// The part of `/help` behind the commands.
const KEYS: &str = "
  Several lines:  end a line with a backslash to go on with the next, or press
                  Alt-Enter; pasted text keeps its lines
  Ctrl-C          stops an answer; clears the line while you type
  Ctrl-D          ends the program
  Tab             completes commands and file names
  Up, Ctrl-R      find earlier lines
  A message that starts with a slash needs a space before it.";

/// The commands and the keys.
pub(super) fn help() -> String {
    let mut help = String::new();
    for command in &COMMANDS {
        let usage = format!("{} {}", command.name, command.argument);
        // Writing to a string cannot fail.
        let _ = writeln!(help, "  {usage:<16}{}", command.effect);
    }
    help.push_str(KEYS);
    help
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_has_every_command_on_a_line_of_its_own() {
        let help = help();
        for command in &COMMANDS {
            assert!(
                help.lines()
                    .any(|line| line.starts_with(&format!("  {} ", command.name))),
                "{}",
                command.name
            );
        }
        assert!(help.lines().all(|line| line.len() <= 80));
    }
}
