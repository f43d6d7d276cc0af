//! Generated ids back to reasoning, content and tool calls, while they arrive (spec §13).
//!
//! # Why not the vendor's stream processor
//!
//! `deepseek-recipe` parses the same format, and the tests hold this parser against it on well-formed output. It is not used in
//! the product because (version 0.2.0, `stream/`):
//!
//! * only an asynchronous stream of protocol chunks is public; the parser itself is private;
//! * what it cannot place is dropped without a trace (`SkipInvalid`), and after a broken attribute it skips everything to the end;
//! * arguments of a call cut short stay open JSON, parameter names are copied unescaped, a raw value that is not JSON too;
//! * token ids that end in the middle of a character are lost at the end of input;
//! * newlines around `</think>` are dropped, so the text is not the one that was sampled.
//!
//! On one question its answer is ours: a control token counts by **id**. Its parser matches `</think>` and `｜DSML｜` in token
//! streams only where an added token was decoded (`ChunkKind::SpecialToken`), and spells them as content where plain tokens
//! happen to produce the same letters.

mod answer;
mod arguments;
mod defect;
mod machine;
mod parser;
mod tag;

pub use answer::Answer;
pub use defect::Defect;
pub use parser::OutputParser;

/// A piece of a generated message, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// More reasoning.
    Reasoning(String),
    /// More of the answer.
    Content(String),
    /// A tool call starts.
    ToolCallBegin {
        /// Position among the calls of this message, from 0.
        index: usize,
        /// The function's name.
        name: String,
    },
    /// More of a call's arguments. All of them together are the text of one JSON object, however the output ends.
    ToolCallArguments {
        /// Position of the call.
        index: usize,
        /// A part of the JSON text.
        json: String,
    },
    /// A call is complete.
    ToolCallEnd {
        /// Position of the call.
        index: usize,
    },
    /// The output departs from the format here; says what was found and what was made of it.
    Defect(Defect),
}
