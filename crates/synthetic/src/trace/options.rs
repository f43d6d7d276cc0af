//! The size of a trace.

use std::ops::{Range, RangeInclusive};

/// Ids that structure prompts. They lie outside of [`TraceOptions::text`], so that boundaries can be found: tool results
/// are user messages, as V4 renders them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Structure {
    /// Starts every prompt.
    pub bos: u32,
    /// Ends every answer.
    pub eos: u32,
    /// Starts every message of the user and every tool result.
    pub user: u32,
    /// Starts every answer.
    pub assistant: u32,
    /// Starts reasoning.
    pub think_start: u32,
    /// Ends reasoning; alone where reasoning was dropped.
    pub think_end: u32,
    /// Encloses a tool call.
    pub tool_call: u32,
}

impl Structure {
    /// The ids 0 to 6, for traces that no tokenizer reads.
    pub const FIRST_IDS: Self = Self {
        bos: 0,
        eos: 1,
        user: 2,
        assistant: 3,
        think_start: 4,
        think_end: 5,
        tool_call: 6,
    };

    /// The ids that a V4 tokenizer has for them; `id_of` finds a control token by its spelling. `None` if one is missing.
    pub fn of(id_of: impl Fn(&str) -> Option<u32>) -> Option<Self> {
        Some(Self {
            bos: id_of("<｜begin▁of▁sentence｜>")?,
            eos: id_of("<｜end▁of▁sentence｜>")?,
            user: id_of("<｜User｜>")?,
            assistant: id_of("<｜Assistant｜>")?,
            think_start: id_of("<think>")?,
            think_end: id_of("</think>")?,
            tool_call: id_of("｜DSML｜")?,
        })
    }
}

/// What a trace is made of. Lengths are in tokens; those within a range lean to its lower end (a quarter of the way up on
/// average), as messages do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceOptions {
    /// Ids that structure prompts.
    pub structure: Structure,
    /// Ids of text.
    pub text: Range<u32>,
    /// Turns of the agent; sub-agents and summaries come on top.
    pub turns: usize,
    /// The first prompt, nearly: 60 % system prompt with tool definitions, 40 % files.
    pub start_tokens: usize,
    /// A conversation that could outgrow this in its next turn is compacted first.
    pub context_tokens: usize,
    /// Lengths of answers.
    pub answer_tokens: RangeInclusive<usize>,
    /// Lengths of tool results.
    pub tool_tokens: RangeInclusive<usize>,
    /// Lengths of user messages.
    pub user_tokens: RangeInclusive<usize>,
    /// Sub-agents that work side by side when there are any.
    pub sub_agents: usize,
}

impl TraceOptions {
    /// A long session with a coding agent: 60 turns from 40,000 tokens.
    pub fn coding_agent(structure: Structure, text: Range<u32>) -> Self {
        Self {
            structure,
            text,
            turns: 60,
            start_tokens: 40_000,
            context_tokens: 128_000,
            answer_tokens: 60..=1_200,
            tool_tokens: 100..=6_000,
            user_tokens: 15..=300,
            sub_agents: 3,
        }
    }

    /// The same with every length divided (at least 4 tokens each), for quick tests; turns stay as they are.
    #[must_use]
    pub fn divided_by(self, divisor: usize) -> Self {
        let divided = |tokens: usize| (tokens / divisor.max(1)).max(4);
        let range = |tokens: RangeInclusive<usize>| divided(*tokens.start())..=divided(*tokens.end());
        Self {
            start_tokens: divided(self.start_tokens),
            context_tokens: divided(self.context_tokens),
            answer_tokens: range(self.answer_tokens),
            tool_tokens: range(self.tool_tokens),
            user_tokens: range(self.user_tokens),
            ..self
        }
    }
}
