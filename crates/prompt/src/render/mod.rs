//! Conversations to prompts, per checkpoint profile (spec §12).
//!
//! * [`EffortTable::Official`] (0731, 0813): the vendor crate's `DeepseekV4Encoding`, unchanged.
//! * [`EffortTable::Preview`] (April releases, DSpark variants, our own models): [`preview`], written from spec §12, with every
//!   fixed text taken from the vendor crate by [`wire`].
//!
//! # Where the vendor's encoding differs from the published preview encoder
//!
//! The later encoder is reported identical to the preview one except for the effort table; the vendor *crate* is not. On the
//! `Official` path its behaviour stands as it is:
//!
//! | Case | Vendor crate 0.2.0 | Preview encoder, `preview` |
//! |---|---|---|
//! | effort high / max | text A / text B | no prefix / text A |
//! | system messages | moved to the front, empty ones dropped, joined by a blank line | stay in place, verbatim, nothing between |
//! | tool schema | `name`, `description`, `parameters` rebuilt in this order, description `""` if absent | the client's object as it is |
//! | floats in schemas and arguments | as Rust writes them (`0.00001`) | as Python writes them (`1e-05`) |
//! | calls of one message, and their results | both sorted by call id | calls as given, results in the order of the calls |
//! | result of a tool after user text | opens a new user turn | joins the turn with a blank line |
//! | empty user text | dropped when merging | kept: blank lines appear |
//! | call without parameters | nothing between the invoke tags | an empty line |
//! | assistant without reasoning, tools on offer, thinking | `</think>` only | `<think></think>` |
//! | assistant with reasoning, tools on offer, not thinking | reasoning shown | reasoning dropped |
//! | unfinished answer without content, thinking | continues the reasoning | reasoning is closed; `preview` continues it too, as the API promises |
//! | earlier reasoning without tools, tasks | not expressible: refused with a message | `keep_reasoning`, `task` |
//! | grounding tokens spelled in an answer | become control tokens | stay text |

mod official;
mod preview;
mod prompt_spans;
mod sampled;
mod wire;

use deepseek_recipe_core::special_tokens::SpecialToken;
use fathom_checkpoint::{EffortTable, Profile, PromptEncoding};

use crate::{
    Conversation, Message, OutputParser, Thinking, ThinkingUnavailable, Tokenizer, TokenizerError, ToolChoice,
};
use prompt_spans::PromptSpans;
use wire::Wire;

/// Writes prompts for one checkpoint.
#[derive(Debug, Clone)]
pub struct Renderer {
    /// `None` for a model that was never taught conversations.
    table: Option<EffortTable>,
    tokenizer: Tokenizer,
    wire: Wire,
}

/// A prompt, ready for the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderedPrompt {
    /// The prompt as text, control tokens spelled out.
    pub text: String,
    /// The prompt as ids. To continue a cached session, keep the longest common prefix with its ids and run the rest.
    pub ids: Vec<u32>,
    /// Where the model's output begins.
    pub opening: Opening,
}

/// What the prompt leaves open, and the model's first token continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// Reasoning, after `<think>`.
    Reasoning,
    /// The answer, after `</think>`.
    Content,
    /// A tool-call block, for [`ToolChoice::Required`].
    ToolCalls,
}

/// A conversation that cannot be put to the model.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The mode is not in the checkpoint's effort table.
    #[error(transparent)]
    Thinking(#[from] ThinkingUnavailable),
    /// A pretrained model without the conversation markup.
    #[error(
        "this is a -Base checkpoint, which continues text but was never taught conversations; expected an instruct checkpoint \
         (use plain completion with this one)"
    )]
    NotConversational,
    /// No messages.
    #[error("expected at least one message, found an empty conversation")]
    Empty,
    /// `prefix` elsewhere than on the last message.
    #[error(
        "message {index} is marked as an unfinished answer (prefix), but only the last message can be continued"
    )]
    PrefixNotLast {
        /// Its position, from 0.
        index: usize,
    },
    /// Something only the preview encoding can express.
    #[error("{what} (message {index}) cannot be written in this checkpoint's prompt encoding; {instead}")]
    Unsupported {
        /// The feature.
        what: &'static str,
        /// Message that asks for it.
        index: usize,
        /// What to do.
        instead: &'static str,
    },
    /// The conversation needs a control token the tokenizer lacks.
    #[error("the prompt needs control token {token}, which tokenizer.json does not define")]
    MissingControlToken {
        /// Its spelling.
        token: String,
    },
    /// Encoding failed.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
}

impl Renderer {
    /// A renderer for checkpoints of `profile`.
    pub fn for_profile(profile: &Profile, tokenizer: Tokenizer) -> Self {
        let table = match profile.encoding {
            PromptEncoding::V4 => Some(profile.effort),
            PromptEncoding::Completion => None,
        };
        Self {
            table,
            tokenizer,
            wire: Wire::from_vendor(),
        }
    }

    /// A renderer for conversational checkpoints with effort table `table`.
    pub fn new(table: EffortTable, tokenizer: Tokenizer) -> Self {
        Self {
            table: Some(table),
            tokenizer,
            wire: Wire::from_vendor(),
        }
    }

    /// The tokenizer prompts are encoded with.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Thinking modes this checkpoint offers, from none to most; empty if it knows no conversations.
    pub fn modes(&self) -> &'static [Thinking] {
        self.table.map_or(&[], Thinking::available)
    }

    /// A prompt of `text` alone, for the model to continue: BOS and the text as it is.
    pub fn completion(&self, text: &str) -> Result<RenderedPrompt, RenderError> {
        let mut spans = PromptSpans::default();
        spans.token(SpecialToken::Bos);
        spans.plain(text);
        let (text, ids) = spans.encode(&self.tokenizer)?;
        Ok(RenderedPrompt {
            text,
            ids,
            opening: Opening::Content,
        })
    }

    /// A prompt for the text between `before` and `after`: prefix, suffix, middle, as V3 has it (spec §12.7).
    pub fn fill_in(&self, before: &str, after: &str) -> Result<RenderedPrompt, RenderError> {
        let mut spans = PromptSpans::default();
        spans.token(SpecialToken::Bos);
        spans.control("<｜fim▁begin｜>");
        spans.plain(before);
        spans.control("<｜fim▁hole｜>");
        spans.plain(after);
        spans.control("<｜fim▁end｜>");
        let (text, ids) = spans.encode(&self.tokenizer)?;
        Ok(RenderedPrompt {
            text,
            ids,
            opening: Opening::Content,
        })
    }

    /// Write the prompt that asks for the next message of `conversation`.
    ///
    /// Every contiguous plain span is encoded in one pass: splitting it at the seams of the template would change ids.
    pub fn render(&self, conversation: &Conversation) -> Result<RenderedPrompt, RenderError> {
        let table = self.table.ok_or(RenderError::NotConversational)?;
        conversation.thinking.check(table)?;
        let last = conversation
            .messages
            .len()
            .checked_sub(1)
            .ok_or(RenderError::Empty)?;
        for (index, message) in conversation.messages.iter().enumerate() {
            if matches!(message, Message::Assistant { prefix: true, .. }) && index != last {
                return Err(RenderError::PrefixNotLast { index });
            }
        }
        let spans = match table {
            EffortTable::Official => official::render(conversation, &self.tokenizer)?,
            EffortTable::Preview => preview::render(conversation, &self.wire, &self.tokenizer),
        };
        let opening = if conversation.tool_choice == ToolChoice::Required && conversation.offers_tools() {
            Opening::ToolCalls
        } else {
            spans.opening()
        };
        let (text, ids) = spans.encode(&self.tokenizer)?;
        debug_assert_eq!(
            ids.first(),
            Some(&self.tokenizer.bos_id()),
            "a prompt starts with BOS"
        );
        Ok(RenderedPrompt { text, ids, opening })
    }

    /// A parser for the model's output to `prompt`, the prompt of `conversation`.
    pub fn parser(&self, conversation: &Conversation, prompt: &RenderedPrompt) -> OutputParser {
        OutputParser::new(self.tokenizer.clone(), prompt.opening, &conversation.tools)
    }
}
