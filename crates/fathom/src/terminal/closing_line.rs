//! What an answer took.

use std::fmt::Write as _;

use fathom_engine::answer::{Answer, FinishReason};

use super::figures::{percent, plural, rate};
use crate::units::count;

/// Share of the context, in percent, from which on the closing line mentions it.
const CONTEXT_WARNING_PERCENT: usize = 75;

/// One line: tokens, their rates per second, and anything unusual about the end.
pub(crate) fn closing_line(answer: &Answer, context: usize) -> String {
    let usage = &answer.usage;
    let at = |rate_per_second: Option<f64>| {
        rate_per_second.map_or_else(String::new, |per_second| format!(" at {}/s", rate(per_second)))
    };
    let mut line = format!(
        "prompt {} ({} cached, {} new{}), generated {}{}",
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
        FinishReason::ToolCalls => ", waiting for the tool's result",
        FinishReason::Stop | FinishReason::StopString(_) => "",
    });
    if !full && used * 100 >= context * CONTEXT_WARNING_PERCENT {
        // Writing to a string cannot fail.
        let _ = write!(line, ", context {} used", percent(used, context));
    }
    line
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
            report: fathom_cache::Report::default(),
            timings: Timings {
                prefill: Duration::from_millis(500),
                decode: Duration::from_secs(2),
            },
            tokens: Vec::new(),
            logprobs: Vec::new(),
            prompt_logprobs: Vec::new(),
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
            "prompt 1,234 tokens (1,000 cached, 234 new at 468/s), generated 101 at 50.0/s"
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
            "prompt 10 tokens (10 cached, 0 new), generated 1"
        );
        assert!(line(FinishReason::Cancelled, 100).ends_with(", stopped"));
        assert!(line(FinishReason::Length, 100).ends_with(", token limit reached"));
        assert!(line(FinishReason::Length, 11).ends_with(", the context is full"));
        assert!(line(FinishReason::Stop, 12).ends_with(", context 92 % used"));
    }
}
