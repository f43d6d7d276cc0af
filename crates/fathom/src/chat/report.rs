//! What a chat says about itself: greeting, closing line, `/context`, `/help`.

use std::fmt::{self, Write as _};
use std::path::Path;

use fathom_cache::{Miss, Report};
use fathom_engine::memory::{Bytes, state_bytes};
use fathom_engine::{Engine, Session, explain_miss};
use fathom_prompt::Tokenizer;

use super::command::COMMANDS;
use super::session::Name;
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

/// The token a message of the user begins with.
const USER: &str = "<｜User｜>";

/// A prompt whose last message is not known yet.
pub(super) struct NextPrompt {
    ids: Vec<u32>,
    /// Where that message begins.
    said: usize,
    /// Where the messages of the user before it begin, the last one first.
    turns: Vec<usize>,
}

impl NextPrompt {
    /// The tokens of what was said so far.
    pub(super) fn said(&self) -> &[u32] {
        &self.ids[..self.said]
    }

    /// Where messages of the user begin, the last one first: what is left of the conversation if it is taken back.
    pub(super) fn turns(&self) -> &[usize] {
        &self.turns
    }
}

/// The prompt of the next message, as far as it is known.
pub(super) fn next_prompt(session: &Session, transcript: &Transcript) -> anyhow::Result<NextPrompt> {
    let engine = session.engine();
    let ids = engine.renderer().render(&transcript.with_next_message())?.ids;
    let mut turns = user_messages(&ids, engine.tokenizer());
    let said = turns.next().unwrap_or(0);
    let turns = turns.collect();
    Ok(NextPrompt { ids, said, turns })
}

/// Where messages of the user begin, the last one first.
fn user_messages(prompt: &[u32], tokenizer: &Tokenizer) -> impl Iterator<Item = usize> {
    let user = tokenizer.special_id(USER);
    (0..prompt.len())
        .rev()
        .filter(move |&at| Some(prompt[at]) == user)
}

/// Where a conversation stands.
pub(super) struct Standing {
    messages: usize,
    tokens: usize,
    /// Tokens to be read again before the next message.
    pub(super) again: usize,
    /// They are of the last answer alone, and it came after reasoning.
    reasoned: bool,
}

/// Where the conversation stands.
pub(super) fn standing(session: &Session, transcript: &Transcript) -> anyhow::Result<Standing> {
    let prompt = next_prompt(session, transcript)?;
    let tokenizer = session.engine().tokenizer();
    let cached = session.reusable(&prompt.ids);
    // The last token of an answer is chosen, not read: it is always read with the next message, and behind it, where an
    // answer was cut off, the token that ends one.
    let again = match prompt.said().get(cached..) {
        None => 0,
        Some([id] | [_, id]) if *id == tokenizer.eos_id() => 0,
        Some(ids) => ids.len(),
    };
    let last = prompt.turns().first();
    Ok(Standing {
        messages: transcript.turns(),
        tokens: prompt.said,
        again,
        reasoned: transcript.has_reasoned() && last.is_some_and(|&last| last < cached),
    })
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (messages, tokens) = (plural(self.messages, "message"), plural(self.tokens, "token"));
        write!(f, "{messages}, {tokens}")?;
        if self.messages == 0 {
            // What there is, a system text, has perhaps never been read.
            return Ok(());
        }
        f.write_str(", ")?;
        match self.again {
            0 => f.write_str("nothing to read again"),
            again if again >= self.tokens => f.write_str("all to read again"),
            again => {
                write!(f, "{} to read again", count(again as u64))?;
                if self.reasoned {
                    // A prompt shows earlier answers without their reasoning, so they lie at other positions than when
                    // they were written.
                    f.write_str(" (the last answer, without its reasoning)")?;
                }
                Ok(())
            }
        }
    }
}

/// Why more than the last exchange of a prompt has to be read again, if so: its reader will wonder. What is new, or has not
/// been seen by this run, needs no words.
pub(super) fn surprise(prompt: &[u32], report: &Report, tokenizer: &Tokenizer) -> Option<String> {
    let previous = user_messages(prompt, tokenizer).nth(1)?;
    match report.miss {
        _ if report.hit >= previous => None,
        Miss::None | Miss::NeverSeen | Miss::BelowOnePage => None,
        miss => Some(explain_miss(&miss, tokenizer)),
    }
}

/// What the context holds and what it takes. `kept` is the session it is kept in.
pub(super) fn context(
    session: &Session,
    transcript: &Transcript,
    kept: Option<(&Name, &Path)>,
    seed: u64,
) -> anyhow::Result<String> {
    let engine = session.engine();
    let context = engine.context_max();
    let prompt = next_prompt(session, transcript)?.ids;
    let found = session.foresee(&prompt);
    let cached = found.hit;
    let why =
        surprise(&prompt, &found, engine.tokenizer()).map_or_else(String::new, |why| format!(": {why}"));
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
                "{} need not be read again, {} will be read{why}",
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
        (
            "session",
            kept.map_or_else(
                || "none; /fork NAME keeps this conversation".to_owned(),
                |(name, dir)| format!("{name}, kept in {}", dir.display()),
            ),
        ),
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
