//! From a prompt to sampled tokens: what [`Session::generate`](crate::Session::generate) takes and gives.

use std::ops::ControlFlow;
use std::time::Duration;

use fathom_cache::Report;

use crate::SessionError;
use crate::events::Producer;
use crate::grammar::{DeadEnd, Grammar};
use crate::run::{Message, Run};
use crate::sampling::{Params, SamplingError, TokenLogprob};
use crate::scheduler::Sink;

/// Tokens being generated.
pub type Generating<'s> = Run<'s, Event, Generation>;

/// How to generate.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// How tokens are chosen.
    pub sampling: Params,
    /// What the text must follow.
    pub grammar: Option<Grammar>,
    /// Most tokens to generate, the one that ends the text included; `None` for as many as the context holds.
    pub tokens_max: Option<usize>,
    /// Report log-probabilities, with this many of the most likely tokens.
    pub logprobs: Option<usize>,
    /// Report those of the prompt's own tokens too, with this many of the most likely tokens. All of the prompt is then
    /// computed anew, for the cache keeps no logits.
    pub prompt_logprobs: Option<usize>,
}

/// What happens during generation.
#[derive(Debug)]
pub enum Event {
    /// Part of the prompt has been computed. Comes first with `done == 0`, and with `done == total` last.
    Prefill(Prefill),
    /// A token was chosen.
    Token {
        /// Its id.
        token: u32,
        /// Its log-probability, if asked for.
        logprob: Option<TokenLogprob>,
    },
}

/// How far the prompt has been computed, in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefill {
    /// Tokens whose state was there already; not part of `done` or `total`.
    pub cached: usize,
    /// Tokens computed.
    pub done: usize,
    /// Tokens to compute.
    pub total: usize,
}

/// Why generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The model ended the text.
    EndOfText,
    /// `tokens_max`, or the context, is used up.
    Length,
    /// The listener broke off.
    Cancelled,
}

/// What was generated.
#[derive(Debug, Clone)]
pub struct Generation {
    /// The chosen tokens, the end-of-text token included.
    pub tokens: Vec<u32>,
    /// Log-probabilities of the prompt's tokens but the first, if asked for.
    pub prompt_logprobs: Vec<TokenLogprob>,
    /// Why it ended.
    pub end: End,
    /// Prompt tokens whose state was there already.
    pub cached: usize,
    /// Prompt tokens that were computed.
    pub computed: usize,
    /// What the cache held of the prompt, and why not more.
    pub report: Report,
    /// Where the time went.
    pub timings: Timings,
}

/// Where the time went.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Timings {
    /// Computing the prompt.
    pub prefill: Duration,
    /// From the end of the prompt to the end of the text.
    pub decode: Duration,
}

/// Why nothing, or no more, could be generated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GenerateError {
    /// No tokens to continue.
    #[error("the prompt is empty; expected at least one token")]
    EmptyPrompt,
    /// The prompt leaves no room for an answer.
    #[error(
        "the prompt has {prompt} tokens, but this model's context is {context} and one more must fit behind it. \
         Shorten the prompt"
    )]
    PromptTooLong {
        /// Its length in tokens.
        prompt: usize,
        /// The model's context in tokens.
        context: usize,
    },
    /// A parameter is out of range, or the logits are no numbers.
    #[error(transparent)]
    Sampling(#[from] SamplingError),
    /// The text cannot go on as its grammar wants.
    #[error(transparent)]
    Grammar(#[from] DeadEnd),
    /// Tokens could not be appended.
    #[error(transparent)]
    Session(#[from] SessionError),
}

/// Passes tokens on as they are.
pub(crate) struct TokenSink {
    pub(crate) producer: Producer<Message<Event, Generation>>,
}

impl Sink for TokenSink {
    fn wanted(&self) -> bool {
        self.producer.wanted()
    }

    fn unheard(&self) -> bool {
        self.producer.unheard()
    }

    fn progress(&mut self, prefill: Prefill) {
        self.producer.send(Message::Event(Event::Prefill(prefill)));
    }

    fn token(&mut self, token: u32, logprob: Option<TokenLogprob>) -> ControlFlow<()> {
        self.producer
            .send(Message::Event(Event::Token { token, logprob }));
        ControlFlow::Continue(())
    }

    fn finish(self: Box<Self>, result: Result<Generation, GenerateError>) {
        self.producer.send(Message::Done(Box::new(result)));
    }
}
