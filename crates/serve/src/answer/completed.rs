//! What is kept of an answer that has ended.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use fathom_accounts::{Key, Record, Recorded, Timestamp, Tokens};
use fathom_engine::answer::{Answer, FinishReason, Timings, Usage};
use fathom_engine::generation::GenerateError;
use uuid::Uuid;

use super::Job;
use super::cut::Cut;
use super::pace::Pace;
use crate::observe::{Metrics, Seen, milliseconds};

/// A finished answer, for logs and ledgers.
#[derive(Debug, Clone)]
pub struct Completed {
    /// The request's id.
    pub request: Uuid,
    /// Whose it was; `None` without a key.
    pub key: Option<Arc<Key>>,
    /// Which of the key's own users, as the request said, or empty.
    pub user: String,
    /// The model's name.
    pub model: String,
    /// The tier of the prices by which it is counted.
    pub price: String,
    /// The protocol's name.
    pub wire: &'static str,
    /// Why it ended.
    pub outcome: Outcome,
    /// What went wrong, if anything did.
    pub error: Option<String>,
    /// Tokens used.
    pub usage: Usage,
    /// Why no more of the prompt came from the cache, in a word.
    pub miss: &'static str,
    /// When the request came.
    pub started: Timestamp,
    /// How long it waited for its turn.
    pub queued: Duration,
    /// From its arrival to its first token; `None` if there was none.
    pub first_token: Option<Duration>,
    /// From its arrival to its end.
    pub total: Duration,
    /// Where the engine's time went.
    pub timings: Timings,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The model was done, or a stop word came.
    Stop,
    /// It was as long as it may be.
    Length,
    /// The model called tools.
    ToolCalls,
    /// The client went away, or did not read.
    Cancelled,
    /// The request had waited for as long as it may.
    Expired,
    /// It was refused after it had waited.
    Refused,
    /// The server ended.
    Shutdown,
    /// Something went wrong on this side.
    Failed,
}

impl Outcome {
    /// Its name in logs, figures and the ledger.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Refused => "refused",
            Self::Shutdown => "shutdown",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<&FinishReason> for Outcome {
    fn from(reason: &FinishReason) -> Self {
        match reason {
            FinishReason::Stop | FinishReason::StopString(_) => Self::Stop,
            FinishReason::Length => Self::Length,
            FinishReason::ToolCalls => Self::ToolCalls,
            FinishReason::Cancelled => Self::Cancelled,
        }
    }
}

impl Completed {
    /// Of a request that was taken.
    pub(super) fn new(job: &Job) -> Self {
        Self {
            request: job.caller.request,
            key: job.caller.key.clone(),
            user: job.user.clone(),
            model: job.model.name.clone(),
            price: job.model.price.clone(),
            wire: job.wire,
            outcome: Outcome::Failed,
            error: None,
            usage: Usage::default(),
            miss: "",
            started: job.caller.at,
            queued: Duration::ZERO,
            first_token: None,
            total: Duration::ZERO,
            timings: Timings::default(),
        }
    }

    /// Takes over what was seen from outside.
    pub(super) fn measure(&mut self, pace: &Pace) {
        self.queued = pace.queued();
        self.first_token = pace.first_token();
        self.total = pace.total();
        self.usage = pace.usage();
    }

    /// Takes over what the engine says; `cut` if it was broken off here.
    pub(super) fn end(&mut self, answered: Option<&Result<Answer, GenerateError>>, cut: Option<&Cut>) {
        match answered {
            Some(Ok(answer)) => {
                self.outcome = (&answer.finish_reason).into();
                self.usage = answer.usage;
                self.miss = answer.report.miss.name();
                self.timings = answer.timings;
            }
            Some(Err(error)) => {
                self.outcome = Outcome::Failed;
                self.error = Some(error.to_string());
            }
            None => {}
        }
        if let Some(cut) = cut {
            self.outcome = cut.outcome();
        }
    }

    /// What goes into the ledger. What failed on this side costs nothing.
    pub(crate) fn record(&self) -> Record {
        let usage = self.usage;
        Record {
            id: self.request.to_string(),
            key: self.key.clone(),
            user_id: self.user.clone(),
            model: self.model.clone(),
            tier: Some(self.price.clone()),
            wire: self.wire.into(),
            outcome: self.outcome.as_str().into(),
            tokens: Tokens {
                hit: usage.cached as u64,
                miss: usage.prompt.saturating_sub(usage.cached) as u64,
                output: usage.generated as u64,
                reasoning: usage.reasoning as u64,
            },
            billed: self.outcome != Outcome::Failed,
            started: self.started,
            queued: self.queued,
            prefill: self.timings.prefill,
            decode: self.timings.decode,
        }
    }

    /// Adds it to the figures.
    pub(crate) fn count(&self, metrics: &Metrics) {
        let key = self.key.as_ref().map(|key| key.name.as_str());
        let seen = Seen {
            queued: self.queued,
            first_token: self.first_token,
        };
        metrics.answered(self.wire, &self.model, key, self.outcome, self.usage, seen);
    }

    /// Its line in the log. No text of the conversation is in it.
    pub(crate) fn log(&self, recorded: Option<&Recorded>) {
        let cost = recorded.and_then(|recorded| Some(format!("{} {}", recorded.cost?, recorded.currency)));
        let (wire, model, outcome) = (self.wire, self.model.as_str(), self.outcome.as_str());
        let usage = self.usage;
        tracing::info!(
            target: "fathom::request",
            wire, model, outcome,
            hit = usage.cached,
            miss = usage.prompt.saturating_sub(usage.cached),
            output = usage.generated,
            reasoning = usage.reasoning,
            why = self.miss,
            cost,
            queued_ms = milliseconds(self.queued),
            ttft_ms = self.first_token.map(milliseconds),
            prefill_ms = milliseconds(self.timings.prefill),
            decode_ms = milliseconds(self.timings.decode),
            ms = milliseconds(self.total),
            error = self.error.as_deref(),
            "answered"
        );
    }
}
