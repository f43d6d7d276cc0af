//! Conversations to token ids and generated token ids back to messages, per checkpoint profile.
//!
//! ```text
//! Conversation --Renderer--> RenderedPrompt { text, ids, opening } --model--> ids --OutputParser--> Piece … --> Answer
//! ```
//!
//! * [`Tokenizer`] loads `tokenizer.json`. Plain text never encodes to a control token, whatever it spells.
//! * [`Conversation`] is the vocabulary the engine, the server and the terminal share; it is what a saved chat holds.
//! * [`Renderer`] writes the prompt the checkpoint was trained on. Prompt text that is protocol data comes from the vendor's
//!   `deepseek-recipe-encoding` crate and from nowhere else.
//! * [`OutputParser`] turns generated ids into reasoning, content and tool calls while they arrive.
//!
//! This crate knows nothing of tensors, sampling or HTTP.

mod conversation;
mod output;
mod render;
mod stream_decoder;
mod thinking;
mod tokenizer;
mod tool;

pub use conversation::{Conversation, Message, ResponseFormat, Task};
pub use output::{Answer, Defect, OutputParser, Piece};
pub use render::{Opening, RenderError, RenderedPrompt, Renderer};
pub use stream_decoder::StreamDecoder;
pub use thinking::{ParseThinkingError, Thinking, ThinkingUnavailable};
pub use tokenizer::{Tokenizer, TokenizerError};
pub use tool::{ToolCall, ToolChoice, ToolDefinition, ToolDefinitionError};
