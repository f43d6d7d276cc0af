//! Answering a conversation: prompt, sampling and parsing in one call, reported while it happens.

mod output;

use std::ops::ControlFlow;

use fathom_prompt::{Conversation, Message, Opening, OutputParser, Piece, RenderError, StreamDecoder};

use crate::generation::{self, End, GenerateError, Generation};
pub use crate::generation::{Prefill, Timings};
use crate::sampling::{Params, TokenLogprob};
use crate::{Engine, Session};
use output::Output;

/// How to answer.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// How tokens are chosen.
    pub sampling: Params,
    /// Most tokens to generate, reasoning included; `None` for as many as the context holds.
    pub max_tokens: Option<usize>,
    /// Strings that end the answer. They are looked for in its content, not in reasoning or tool calls, and are not part
    /// of it.
    pub stop: Vec<String>,
    /// Report log-probabilities, with this many of the most likely tokens.
    pub logprobs: Option<usize>,
}

/// What happens while answering, in order.
#[derive(Debug)]
pub enum Event<'a> {
    /// Part of the prompt has been computed. Comes first with `done == 0`, and with `done == total` last.
    Prefill(Prefill),
    /// More reasoning.
    Reasoning(Text<'a>),
    /// More of the answer.
    Content(Text<'a>),
    /// A tool call starts.
    ToolCallBegin {
        /// Its position among the calls, from 0.
        index: usize,
        /// The function's name.
        name: &'a str,
    },
    /// More of a call's arguments, the text of one JSON object.
    ToolCallArguments {
        /// The call's position.
        index: usize,
        /// A part of the JSON text.
        json: &'a str,
    },
    /// A tool call is complete.
    ToolCallEnd {
        /// The call's position.
        index: usize,
    },
    /// A token was generated that shows no text yet: a chance to break off.
    Tick,
}

/// A piece of text and the tokens behind it.
#[derive(Debug, Clone, Copy)]
pub struct Text<'a> {
    /// The text, never empty.
    pub text: &'a str,
    /// The tokens that came since the previous piece, if log-probabilities were asked for; markers are not among them.
    pub logprobs: &'a [TokenLogprob],
}

/// Why an answer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FinishReason {
    /// The model was done.
    Stop,
    /// A stop string came.
    StopString(String),
    /// The token limit, or the context, is used up.
    Length,
    /// The model called tools and waits for the results.
    ToolCalls,
    /// The callback broke off.
    Cancelled,
}

impl FinishReason {
    /// The word the chat completions wire has for it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Stop | Self::StopString(_) => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Tokens used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// In the prompt.
    pub prompt: usize,
    /// Of these, not computed because the session's state held them already.
    pub cached: usize,
    /// Generated, reasoning, markers and end of text included.
    pub generated: usize,
    /// Of these, reasoning.
    pub reasoning: usize,
}

/// A finished answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Reasoning, content and tool calls, and where the output departed from the format.
    pub parsed: fathom_prompt::Answer,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Tokens used.
    pub usage: Usage,
    /// Where the time went.
    pub timings: Timings,
    /// The generated tokens.
    pub tokens: Vec<u32>,
    /// Their log-probabilities, one each, if asked for.
    pub logprobs: Vec<TokenLogprob>,
}

impl Answer {
    /// Prompt tokens computed per second; `None` if there were none.
    pub fn prefill_rate(&self) -> Option<f64> {
        rate(
            self.usage.prompt - self.usage.cached,
            self.timings.prefill.as_secs_f64(),
        )
    }

    /// Tokens decoded per second. The first token comes from the prompt's logits and is not counted.
    pub fn decode_rate(&self) -> Option<f64> {
        rate(
            self.usage.generated.saturating_sub(1),
            self.timings.decode.as_secs_f64(),
        )
    }

    /// The message to append to the conversation. It remembers its tokens, so that the next prompt repeats them exactly
    /// and the session's state stays useful.
    pub fn into_message(self) -> Message {
        let cut = matches!(self.finish_reason, FinishReason::StopString(_));
        let mut message = self.parsed.into_message(self.tokens);
        if let (true, Message::Assistant { sampled, .. }) = (cut, &mut message) {
            // The tokens say more than the text that was cut at the stop string.
            *sampled = None;
        }
        message
    }
}

fn rate(tokens: usize, seconds: f64) -> Option<f64> {
    (tokens > 0 && seconds > 0.0).then(|| tokens as f64 / seconds)
}

/// Why there is no answer, or only half of one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// The conversation cannot be put to this model.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// Generation failed.
    #[error(transparent)]
    Generate(#[from] GenerateError),
}

/// Answers `conversation` in `session`, which may hold an earlier part of it.
pub fn answer(
    session: &mut Session,
    conversation: &Conversation,
    options: &Options,
    on_event: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
) -> Result<Answer, AnswerError> {
    let prompt = Prompt::of_conversation(session.engine(), conversation)?;
    Ok(respond(session, prompt, options, on_event)?)
}

/// Continues `text` as it stands, without any markup: for pretrained models and experiments.
pub fn complete(
    session: &mut Session,
    text: &str,
    options: &Options,
    on_event: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
) -> Result<Answer, AnswerError> {
    let prompt = Prompt::of_text(session.engine(), text)?;
    Ok(respond(session, prompt, options, on_event)?)
}

/// A prompt, and how to read what the model makes of it. [`answer`] and [`complete`] are this and [`respond`]; use them
/// separately to see the tokens first.
pub struct Prompt {
    ids: Vec<u32>,
    reader: Reader,
}

impl Prompt {
    /// The prompt that asks for the next message of `conversation`.
    pub fn of_conversation(engine: &Engine, conversation: &Conversation) -> Result<Self, RenderError> {
        let prompt = engine.renderer().render(conversation)?;
        let parser = Box::new(engine.renderer().parser(conversation, &prompt));
        let reasoning = prompt.opening == Opening::Reasoning;
        Ok(Self {
            ids: prompt.ids,
            reader: Reader::Message { parser, reasoning },
        })
    }

    /// `text` alone, to be continued.
    pub fn of_text(engine: &Engine, text: &str) -> Result<Self, RenderError> {
        let prompt = engine.renderer().completion(text)?;
        let decoder = StreamDecoder::new(engine.tokenizer().clone());
        Ok(Self {
            ids: prompt.ids,
            reader: Reader::Plain { decoder },
        })
    }

    /// Its tokens.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }
}

/// Turns generated tokens into pieces.
enum Reader {
    /// A message in V4's markup; `reasoning` until that has ended.
    Message {
        parser: Box<OutputParser>,
        reasoning: bool,
    },
    /// Text.
    Plain { decoder: StreamDecoder },
}

impl Reader {
    fn push(&mut self, token: u32, eos: u32) -> Vec<Piece> {
        match self {
            Self::Message { parser, .. } => parser.push(token),
            Self::Plain { .. } if token == eos => Vec::new(),
            Self::Plain { decoder } => decoder.push(token).map(Piece::Content).into_iter().collect(),
        }
    }

    fn finish(&mut self) -> Vec<Piece> {
        match self {
            Self::Message { parser, .. } => parser.finish(),
            Self::Plain { decoder } => decoder.finish().map(Piece::Content).into_iter().collect(),
        }
    }

    /// Whether a token belongs to the reasoning; it ends with its marker, or with whatever comes in its place.
    fn counts_as_reasoning(&mut self, token: u32, think_end: Option<u32>, pieces: &[Piece]) -> bool {
        let Self::Message { reasoning, .. } = self else {
            return false;
        };
        let other = |piece: &Piece| !matches!(piece, Piece::Reasoning(_) | Piece::Defect(_));
        *reasoning = *reasoning && Some(token) != think_end && !pieces.iter().any(other);
        *reasoning
    }
}

/// Runs `prompt` in `session` and reads the output.
pub fn respond(
    session: &mut Session,
    prompt: Prompt,
    options: &Options,
    on_event: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
) -> Result<Answer, GenerateError> {
    let Prompt { ids, mut reader } = prompt;
    let tokenizer = session.engine().tokenizer().clone();
    let (eos, think_end) = (tokenizer.eos_id(), tokenizer.special_id("</think>"));
    let mut output = Output::new(&options.stop, on_event);
    let mut logprobs = Vec::new();
    let mut reasoning = 0;
    let generation_options = generation::Options {
        sampling: options.sampling,
        max_tokens: options.max_tokens,
        logprobs: options.logprobs,
    };
    let generation = generation::generate(session, &ids, &generation_options, &mut |event| match event {
        generation::Event::Prefill(prefill) => (output.on_event)(Event::Prefill(prefill)),
        generation::Event::Token { token, logprob } => {
            if let Some(logprob) = logprob {
                if !tokenizer.is_added(token) {
                    output.logprobs.push(logprob.clone());
                }
                logprobs.push(logprob);
            }
            let pieces = reader.push(token, eos);
            reasoning += usize::from(reader.counts_as_reasoning(token, think_end, &pieces));
            output.pass_all(&pieces)
        }
    })?;
    let Generation {
        tokens,
        end,
        cached,
        computed,
        timings,
    } = generation;
    if output.stopped_by.is_none() {
        output.silent = end == End::Cancelled;
        // What is still held back comes out whether or not anybody breaks off now.
        let _: ControlFlow<()> = output.pass_all(&reader.finish());
        let _: ControlFlow<()> = output.finish();
    }
    let Output {
        parsed, stopped_by, ..
    } = output;
    let finish_reason = match (stopped_by, end) {
        (Some(string), _) => FinishReason::StopString(string),
        (None, End::Cancelled) => FinishReason::Cancelled,
        (None, End::Length) => FinishReason::Length,
        (None, End::EndOfText) if parsed.tool_calls.is_empty() => FinishReason::Stop,
        (None, End::EndOfText) => FinishReason::ToolCalls,
    };
    let usage = Usage {
        prompt: cached + computed,
        cached,
        generated: tokens.len(),
        reasoning,
    };
    Ok(Answer {
        parsed,
        finish_reason,
        usage,
        timings,
        tokens,
        logprobs,
    })
}
