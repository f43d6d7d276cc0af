//! Answering a conversation: prompt, sampling and parsing in one call, reported while it happens.

mod output;

use std::ops::ControlFlow;

use fathom_cache::Report;
use fathom_prompt::{
    Conversation, Message, Opening, OutputParser, Piece, RenderError, StreamDecoder, Tokenizer,
};

use crate::events::Producer;
use crate::generation::{self, End, GenerateError, Generation};
pub use crate::generation::{Prefill, Timings};
use crate::grammar::Grammar;
use crate::run::{self, Run};
use crate::sampling::{Params, TokenLogprob};
use crate::scheduler::Sink;
use crate::{Engine, Session};
use output::Output;

/// An answer being written.
pub type Answering<'s> = Run<'s, Event, Answer>;

/// How to answer.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// How tokens are chosen.
    pub sampling: Params,
    /// What the text after the reasoning must follow; compiled for the opening of the prompt ([`Prompt::opening`]).
    pub grammar: Option<Grammar>,
    /// Most tokens to generate, reasoning included; `None` for as many as the context holds.
    pub max_tokens: Option<usize>,
    /// Strings that end the answer. They are looked for in its content, not in reasoning or tool calls, and are not part
    /// of it.
    pub stop: Vec<String>,
    /// Report log-probabilities, with this many of the most likely tokens.
    pub logprobs: Option<usize>,
    /// Report those of the prompt's own tokens too, with this many of the most likely tokens. All of the prompt is then
    /// computed anew.
    pub prompt_logprobs: Option<usize>,
}

/// What happens while answering, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Part of the prompt has been computed. Comes first with `done == 0`, and with `done == total` last.
    Prefill(Prefill),
    /// More reasoning.
    Reasoning(Text),
    /// More of the answer.
    Content(Text),
    /// A tool call starts.
    ToolCallBegin {
        /// Its position among the calls, from 0.
        index: usize,
        /// The function's name.
        name: String,
    },
    /// More of a call's arguments, the text of one JSON object.
    ToolCallArguments {
        /// The call's position.
        index: usize,
        /// A part of the JSON text.
        json: String,
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
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Text {
    /// The text, never empty.
    pub text: String,
    /// The tokens that came since the previous piece, if log-probabilities were asked for; markers are not among them.
    pub logprobs: Vec<TokenLogprob>,
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
    /// The listener broke off.
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
    /// Of these, not computed because the session or the cache held what they lead to.
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
    /// What the cache held of the prompt, and why not more.
    pub report: Report,
    /// Where the time went.
    pub timings: Timings,
    /// The generated tokens.
    pub tokens: Vec<u32>,
    /// Their log-probabilities, one each, if asked for.
    pub logprobs: Vec<TokenLogprob>,
    /// Log-probabilities of the prompt's tokens but the first, which follows nothing, if asked for.
    pub prompt_logprobs: Vec<TokenLogprob>,
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

/// Answers `conversation` in `session`, which may hold an earlier part of it. Returns when the answer is there; `on_event`
/// may break off.
pub fn answer(
    session: &mut Session,
    conversation: &Conversation,
    options: &Options,
    on_event: &mut dyn FnMut(Event) -> ControlFlow<()>,
) -> Result<Answer, AnswerError> {
    let prompt = Prompt::of_conversation(session.engine(), conversation)?;
    Ok(respond(session, prompt, options, on_event)?)
}

/// Continues `text` as it stands, without any markup: for pretrained models and experiments.
pub fn complete(
    session: &mut Session,
    text: &str,
    options: &Options,
    on_event: &mut dyn FnMut(Event) -> ControlFlow<()>,
) -> Result<Answer, AnswerError> {
    let prompt = Prompt::of_text(session.engine(), text)?;
    Ok(respond(session, prompt, options, on_event)?)
}

/// Runs `prompt` in `session`, in step with `on_event`.
pub fn respond(
    session: &mut Session,
    prompt: Prompt,
    options: &Options,
    on_event: &mut dyn FnMut(Event) -> ControlFlow<()>,
) -> Result<Answer, GenerateError> {
    let mut run = start(session, prompt, options, 0)?;
    let mut broken_off = false;
    while let Some(event) = run.next_blocking() {
        if !broken_off && on_event(event).is_break() {
            broken_off = true;
            run.cancel();
        }
    }
    run.finish_blocking()
}

/// Starts to run `prompt` in `session`; events come up to `ahead` before they are asked for.
pub fn start<'s>(
    session: &'s mut Session,
    prompt: Prompt,
    options: &Options,
    ahead: usize,
) -> Result<Answering<'s>, GenerateError> {
    let Prompt { ids, reader, .. } = prompt;
    let tokenizer = session.engine().tokenizer().clone();
    let generation_options = generation::Options {
        sampling: options.sampling,
        grammar: options.grammar.clone(),
        tokens_max: options.max_tokens,
        logprobs: options.logprobs,
        prompt_logprobs: options.prompt_logprobs,
    };
    session.generate_into(ids, &generation_options, ahead, |producer| AnswerSink {
        eos: tokenizer.eos_id(),
        think_end: tokenizer.special_id("</think>"),
        tokenizer,
        reader,
        output: Output::new(&options.stop, producer),
        logprobs: Vec::new(),
        reasoning: 0,
    })
}

/// A prompt, and how to read what the model makes of it. [`answer`] and [`complete`] are this and [`respond`]; use them
/// separately to see the tokens first.
pub struct Prompt {
    ids: Vec<u32>,
    opening: Opening,
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
            opening: prompt.opening,
            reader: Reader::Message { parser, reasoning },
        })
    }

    /// `text` alone, to be continued.
    pub fn of_text(engine: &Engine, text: &str) -> Result<Self, RenderError> {
        let prompt = engine.renderer().completion(text)?;
        let decoder = StreamDecoder::new(engine.tokenizer().clone());
        Ok(Self {
            ids: prompt.ids,
            opening: prompt.opening,
            reader: Reader::Plain { decoder },
        })
    }

    /// Tokens as they are, to be continued as text.
    pub fn of_ids(engine: &Engine, ids: Vec<u32>) -> Self {
        let decoder = StreamDecoder::new(engine.tokenizer().clone());
        Self {
            ids,
            opening: Opening::Content,
            reader: Reader::Plain { decoder },
        }
    }

    /// What the model's first token continues; what grammars are compiled for.
    pub fn opening(&self) -> Opening {
        self.opening
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

    /// Whether a token is text: in messages all but markers, elsewhere all but the one that ends it.
    fn shows(&self, token: u32, tokenizer: &Tokenizer) -> bool {
        match self {
            Self::Message { .. } => !tokenizer.is_added(token),
            Self::Plain { .. } => token != tokenizer.eos_id(),
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

/// Reads tokens into pieces, on the engine's thread: a stop string ends the generation at its token.
struct AnswerSink {
    tokenizer: Tokenizer,
    eos: u32,
    think_end: Option<u32>,
    reader: Reader,
    output: Output,
    logprobs: Vec<TokenLogprob>,
    /// Tokens of reasoning.
    reasoning: usize,
}

type AnswerProducer = Producer<run::Message<Event, Answer>>;

impl Sink for AnswerSink {
    fn wanted(&self) -> bool {
        self.output.producer.wanted()
    }

    fn unheard(&self) -> bool {
        self.output.producer.unheard()
    }

    fn progress(&mut self, prefill: Prefill) {
        self.output.emit(Event::Prefill(prefill));
    }

    fn token(&mut self, token: u32, logprob: Option<TokenLogprob>) -> ControlFlow<()> {
        if let Some(logprob) = logprob {
            if self.reader.shows(token, &self.tokenizer) {
                self.output.logprobs.push(logprob.clone());
            }
            self.logprobs.push(logprob);
        }
        let pieces = self.reader.push(token, self.eos);
        let reasons = self.reader.counts_as_reasoning(token, self.think_end, &pieces);
        self.reasoning += usize::from(reasons);
        self.output.pass_all(&pieces)
    }

    fn finish(mut self: Box<Self>, result: Result<Generation, GenerateError>) {
        let result = result.map(|generation| self.complete(generation));
        self.output.producer.send(run::Message::Done(Box::new(result)));
    }
}

impl AnswerSink {
    fn complete(&mut self, generation: Generation) -> Answer {
        let Generation {
            tokens,
            prompt_logprobs,
            end,
            cached,
            computed,
            report,
            timings,
        } = generation;
        let output = &mut self.output;
        if output.stopped_by.is_none() {
            output.silent = end == End::Cancelled;
            // What is still held back comes out, whatever ended the text.
            let _: ControlFlow<()> = output.pass_all(&self.reader.finish());
            output.finish();
        }
        let parsed = std::mem::take(&mut output.parsed);
        let finish_reason = match (output.stopped_by.take(), end) {
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
            reasoning: self.reasoning,
        };
        Answer {
            parsed,
            finish_reason,
            usage,
            report,
            timings,
            tokens,
            logprobs: std::mem::take(&mut self.logprobs),
            prompt_logprobs,
        }
    }
}
