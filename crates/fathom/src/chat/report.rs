//! What a chat says about itself: greeting, closing line, `/context`, `/help`.

use std::fmt::Write as _;

use fathom_engine::answer::{Answer, FinishReason};
use fathom_engine::memory::{Bytes, state_bytes};
use fathom_engine::{Engine, Session};

use super::command::COMMANDS;
use super::transcript::Transcript;
use crate::terminal::figures::{percent, plural, rate};
use crate::units::count;

/// Share of the context, in percent, from which on the closing line mentions it.
const CONTEXT_WARNING_PERCENT: usize = 75;

/// Two lines: what runs, and what to type.
pub(super) fn greeting(name: &str, engine: &Engine) -> String {
    let built_in = if engine.checkpoint().directory().is_none() {
        " (built in)"
    } else {
        ""
    };
    format!(
        "{name}{built_in}, {} numerics, {}, context {}\n\
         Type a message and press Enter. /help lists commands, Ctrl-C stops an answer, Ctrl-D quits.",
        engine.numerics(),
        plural(engine.threads(), "thread"),
        plural(engine.context_max(), "token"),
    )
}

/// One line: tokens, rates, and anything unusual about the end.
pub(super) fn closing_line(answer: &Answer, context: usize) -> String {
    let usage = &answer.usage;
    let at = |rate_per_second: Option<f64>| {
        rate_per_second.map_or_else(String::new, |per_second| {
            format!(" at {} tokens/s", rate(per_second))
        })
    };
    let mut line = format!(
        "prompt {} ({} cached, {} read{}), generated {}{}",
        plural(usage.prompt, "token"),
        count(usage.cached as u64),
        count((usage.prompt - usage.cached) as u64),
        at(answer.prefill_rate()),
        count(usage.generated as u64),
        at(answer.decode_rate()),
    );
    let used = usage.prompt + usage.generated;
    let full = used >= context;
    line.push_str(match &answer.finish_reason {
        FinishReason::Cancelled => ", stopped",
        FinishReason::Length if full => ", the context is full",
        FinishReason::Length => ", token limit reached",
        FinishReason::ToolCalls => ", waiting for a tool, which chat does not run",
        FinishReason::Stop | FinishReason::StopString(_) => "",
    });
    if !full && used * 100 >= context * CONTEXT_WARNING_PERCENT {
        // Writing to a string cannot fail.
        let _ = write!(line, ", context {} used", percent(used, context));
    }
    line
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
                "{} now, {} with a full context",
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
    use std::time::Duration;

    use fathom_engine::answer::Usage;
    use fathom_engine::generation::Timings;

    use super::*;

    fn answer(finish_reason: FinishReason, usage: Usage) -> Answer {
        Answer {
            parsed: fathom_prompt::Answer::default(),
            finish_reason,
            usage,
            timings: Timings {
                prefill: Duration::from_millis(500),
                decode: Duration::from_secs(2),
            },
            tokens: Vec::new(),
            logprobs: Vec::new(),
        }
    }

    #[test]
    fn the_closing_line_gives_tokens_and_rates() {
        let usage = Usage {
            prompt: 1234,
            cached: 1000,
            generated: 101,
            reasoning: 20,
        };
        assert_eq!(
            closing_line(&answer(FinishReason::Stop, usage), 65_536),
            "prompt 1,234 tokens (1,000 cached, 234 read at 468 tokens/s), generated 101 at 50.0 tokens/s"
        );
    }

    #[test]
    fn the_closing_line_says_what_was_unusual() {
        let usage = Usage {
            prompt: 10,
            cached: 10,
            generated: 1,
            reasoning: 0,
        };
        let line = |reason, context| closing_line(&answer(reason, usage), context);
        assert_eq!(
            line(FinishReason::Stop, 100),
            "prompt 10 tokens (10 cached, 0 read), generated 1"
        );
        assert!(line(FinishReason::Cancelled, 100).ends_with(", stopped"));
        assert!(line(FinishReason::Length, 100).ends_with(", token limit reached"));
        assert!(line(FinishReason::Length, 11).ends_with(", the context is full"));
        assert!(line(FinishReason::Stop, 12).ends_with(", context 92 % used"));
    }

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
