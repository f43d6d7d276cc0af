//! What a coding agent sends to a server, as token ids.
//!
//! A [`Trace`] is made from a seed: a long start (instructions, tool definitions, files), then turns of answers, tool
//! results and user messages, and among them everything clients do that spoils caches ([`Event`]). Prompts contain what
//! the model answered before, which is known only when the trace is run; so a request lists its prompt in parts, and
//! [`Trace::prompt`] puts in the answers that were given. [`Ideal`] says how much of each prompt a perfect prefix cache
//! would serve.

mod client;
mod ideal;
mod options;

use std::sync::Arc;

pub use ideal::Ideal;
pub use options::{Structure, TraceOptions};

/// Requests in the order in which they are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    requests: Vec<Request>,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Which conversation it belongs to: 0 is the agent's own; sub-agents and what follows a compaction get new numbers.
    pub conversation: usize,
    /// The request this one goes on from: the last one whose answer is still in the prompt; for the first request of a
    /// sub-agent or after a compaction, the one that led to it. `None` for the very first.
    pub continues: Option<usize>,
    /// Why the prompt differs from the one before.
    pub event: Event,
    /// The prompt.
    pub parts: Vec<Part>,
    /// A made-up answer: reasoning, the end of thinking, text, perhaps a tool call; without end of sentence, as prompts add
    /// that. Its length is the number of tokens to generate.
    pub answer: Arc<[u32]>,
}

/// A stretch of a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Known ids.
    Tokens(Arc<[u32]>),
    /// What an earlier request answered, without its first `skip` tokens (dropped reasoning).
    Answer {
        /// Its index in the trace.
        request: usize,
        /// Tokens left out.
        skip: usize,
    },
}

/// What a client did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Event {
    /// The first request.
    Start,
    /// A user message was added.
    Message,
    /// A tool result was added.
    ToolResult,
    /// A few tokens inside an earlier user message changed, and what followed it is gone.
    Edit,
    /// The last few exchanges are gone; the user says something else.
    Rewind,
    /// The same prompt once more.
    Regenerate,
    /// The reasoning of earlier answers is gone, as clients do that send back visible text only; a message was added.
    DropReasoning,
    /// The time near the end of the system prompt changed; the next message was added.
    Clock,
    /// An old tool result was replaced by a short remark to save room; everything behind it moves.
    ClearToolResult,
    /// A request of a sub-agent: the system prompt is shared, the rest is its own.
    SubAgent,
    /// The user asks for a summary of everything.
    Summarise,
    /// A new conversation: system prompt, summary, a few files.
    Compacted,
}

impl Event {
    /// Every event, in the order of the declaration.
    pub const ALL: [Self; 12] = [
        Self::Start,
        Self::Message,
        Self::ToolResult,
        Self::Edit,
        Self::Rewind,
        Self::Regenerate,
        Self::DropReasoning,
        Self::Clock,
        Self::ClearToolResult,
        Self::SubAgent,
        Self::Summarise,
        Self::Compacted,
    ];
}

impl Request {
    /// Requests that must have been answered before this one can be sent, in no order and with repetitions. Requests that
    /// do not wait for each other (sub-agents) may be sent together.
    pub fn waits_for(&self) -> impl Iterator<Item = usize> + '_ {
        let answers = self.parts.iter().filter_map(|part| match part {
            Part::Tokens(_) => None,
            Part::Answer { request, .. } => Some(*request),
        });
        answers.chain(self.continues)
    }

    /// Tokens of the prompt if every request it waits for is answered by as many tokens as `trace` plans.
    pub fn planned_tokens(&self, trace: &Trace) -> usize {
        tokens(&self.parts, &trace.requests)
    }
}

impl Trace {
    /// Makes a trace. The same options and seed give the same trace.
    pub fn new(options: &TraceOptions, seed: u64) -> Self {
        Self {
            requests: client::requests(options, seed),
        }
    }

    /// The requests, in the order in which they are sent.
    pub fn requests(&self) -> &[Request] {
        &self.requests
    }

    /// The prompt of a request, given what the requests before it answered. Answers that are missing count as empty.
    pub fn prompt<A: AsRef<[u32]>>(&self, request: usize, answers: &[A]) -> Vec<u32> {
        let mut prompt = Vec::new();
        for part in &self.requests[request].parts {
            match part {
                Part::Tokens(tokens) => prompt.extend_from_slice(tokens),
                Part::Answer { request, skip } => {
                    let answer = answers.get(*request).map_or(&[][..], AsRef::as_ref);
                    prompt.extend_from_slice(answer.get(*skip..).unwrap_or_default());
                }
            }
        }
        prompt
    }

    /// The made-up answers, for runs without a model.
    pub fn answers(&self) -> Vec<Arc<[u32]>> {
        self.requests
            .iter()
            .map(|request| Arc::clone(&request.answer))
            .collect()
    }

    /// For each request, how many tokens of its prompt a perfect prefix cache serves if requests run one after the other
    /// and are answered by `answers`.
    pub fn ideal<A: AsRef<[u32]>>(&self, answers: &[A]) -> Vec<usize> {
        let mut ideal = Ideal::new();
        let mut served = Vec::with_capacity(self.requests.len());
        for request in 0..self.requests.len() {
            let mut sequence = self.prompt(request, answers);
            served.push(ideal.serves(&sequence));
            sequence.extend_from_slice(answers.get(request).map_or(&[][..], AsRef::as_ref));
            ideal.add(sequence);
        }
        served
    }
}

/// Tokens of some parts if answers are as planned.
fn tokens(parts: &[Part], requests: &[Request]) -> usize {
    parts
        .iter()
        .map(|part| match part {
            Part::Tokens(tokens) => tokens.len(),
            Part::Answer { request, skip } => requests[*request].answer.len().saturating_sub(*skip),
        })
        .sum()
}
