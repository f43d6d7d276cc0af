//! Figures for `GET /metrics`, in Prometheus' text format.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use fathom_engine::answer::Usage;
use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::collect::{Engines, Process};
use crate::answer::Outcome;
use crate::catalog::ServedModel;
use crate::presence::Presence;

/// Keys that have figures of their own; the others share theirs, so that the number of series has a bound.
const KEYS_MAX: usize = 200;
/// What the others are called.
const OTHER_KEYS: &str = "(other keys)";
/// What requests without a key are called.
const NO_KEY: &str = "(no key)";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Replied {
    method: &'static str,
    route: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    wire: &'static str,
    model: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Model {
    model: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ModelTokens {
    model: String,
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Key {
    key: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KeyTokens {
    key: String,
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refusal {
    reason: &'static str,
}

/// Why a request was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// No key, or one that is not known.
    Key,
    /// The balance is used up.
    Balance,
    /// The key's tokens are used up.
    Tokens,
    /// As many of the key's requests wait as may.
    KeyQueue,
    /// As many requests wait as may.
    Queue,
    /// It waited as long as it may.
    Waited,
    /// The server is about to end.
    Draining,
    /// The ledger cannot be written.
    Ledger,
}

impl Refused {
    fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Balance => "balance",
            Self::Tokens => "tokens",
            Self::KeyQueue => "key_queue",
            Self::Queue => "queue",
            Self::Waited => "waited",
            Self::Draining => "draining",
            Self::Ledger => "ledger",
        }
    }
}

/// All figures of one server.
pub(crate) struct Metrics {
    registry: Registry,
    replied: Family<Replied, Counter>,
    answered: Family<Answered, Counter>,
    tokens: Family<ModelTokens, Counter>,
    first_token: Family<Model, Histogram, fn() -> Histogram>,
    between_tokens: Family<Model, Histogram, fn() -> Histogram>,
    queued: Family<Model, Histogram, fn() -> Histogram>,
    key_requests: Family<Key, Counter>,
    key_tokens: Family<KeyTokens, Counter>,
    refused: Family<Refusal, Counter>,
    ledger_failures: Counter,
    ledger_waiting: Gauge,
    panics: Counter,
    keys: Mutex<HashSet<String>>,
}

/// Where the time of an answer went, as its client saw it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    /// Until its prompt was begun.
    pub(crate) queued: Duration,
    /// Until its first token.
    pub(crate) first_token: Option<Duration>,
}

impl Metrics {
    pub(crate) fn new(models: &[Arc<ServedModel>], presence: &Presence) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Process::new()));
        let fathom = registry.sub_registry_with_prefix("fathom");
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        fathom.register("build", "What is running", Info::new(version));
        fathom.register_collector(Box::new(Engines::new(models.to_vec(), presence.clone())));
        let metrics = Self {
            registry: Registry::default(),
            replied: Family::default(),
            answered: Family::default(),
            tokens: Family::default(),
            first_token: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.01, 2.0, 17))),
            between_tokens: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.001, 2.0, 15))
            }),
            queued: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.001, 3.0, 13))),
            key_requests: Family::default(),
            key_tokens: Family::default(),
            refused: Family::default(),
            ledger_failures: Counter::default(),
            ledger_waiting: Gauge::default(),
            panics: Counter::default(),
            keys: Mutex::default(),
        };
        fathom.register("http_requests", "Replies, by status", metrics.replied.clone());
        fathom.register(
            "answers",
            "Answers that have ended, and how",
            metrics.answered.clone(),
        );
        fathom.register(
            "tokens",
            "Tokens of answers that have ended: of prompts, from the cache and computed, and of output, of which some is reasoning",
            metrics.tokens.clone(),
        );
        fathom.register(
            "time_to_first_token_seconds",
            "From a request's arrival to the first token of its answer",
            metrics.first_token.clone(),
        );
        fathom.register(
            "time_between_tokens_seconds",
            "From one token of an answer to the next, where its client did not hold it up",
            metrics.between_tokens.clone(),
        );
        fathom.register(
            "queue_seconds",
            "From a request's arrival to the beginning of its prompt",
            metrics.queued.clone(),
        );
        fathom.register(
            "key_answers",
            "Answers that have ended, by key",
            metrics.key_requests.clone(),
        );
        fathom.register("key_tokens", "Tokens, by key", metrics.key_tokens.clone());
        fathom.register(
            "refused",
            "Requests that were not taken, and why",
            metrics.refused.clone(),
        );
        fathom.register(
            "ledger_failures",
            "Records that could not be written when they should",
            metrics.ledger_failures.clone(),
        );
        fathom.register(
            "ledger_waiting",
            "Records that wait to be written again",
            metrics.ledger_waiting.clone(),
        );
        fathom.register("panics", "Bugs met", metrics.panics.clone());
        Self { registry, ..metrics }
    }

    /// All figures as they are now.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        encode(&mut text, &self.registry).ok();
        text
    }

    /// A request was replied to; `route` is a pattern, `None` for paths that are not served.
    pub(crate) fn replied(&self, method: &Method, route: Option<&str>, status: StatusCode) {
        let labels = Replied {
            method: match *method {
                Method::GET => "GET",
                Method::POST => "POST",
                Method::HEAD => "HEAD",
                Method::OPTIONS => "OPTIONS",
                _ => "other",
            },
            route: route.unwrap_or("other").to_owned(),
            status: status.as_u16(),
        };
        self.replied.get_or_create(&labels).inc();
    }

    /// An answer has ended.
    pub(crate) fn answered(
        &self,
        wire: &'static str,
        model: &str,
        key: Option<&str>,
        outcome: Outcome,
        usage: Usage,
        seen: Seen,
    ) {
        let model = || model.to_owned();
        self.answered
            .get_or_create(&Answered {
                wire,
                model: model(),
                outcome: outcome.as_str(),
            })
            .inc();
        let key = self.key_label(key);
        for (kind, count) in [
            ("hit", usage.cached),
            ("miss", usage.prompt.saturating_sub(usage.cached)),
            ("output", usage.generated),
            ("reasoning", usage.reasoning),
        ] {
            let labels = ModelTokens { model: model(), kind };
            self.tokens.get_or_create(&labels).inc_by(count as u64);
            let labels = KeyTokens {
                key: key.clone(),
                kind,
            };
            self.key_tokens.get_or_create(&labels).inc_by(count as u64);
        }
        self.key_requests.get_or_create(&Key { key }).inc();
        let labels = Model { model: model() };
        self.queued
            .get_or_create(&labels)
            .observe(seen.queued.as_secs_f64());
        if let Some(first) = seen.first_token {
            self.first_token
                .get_or_create(&labels)
                .observe(first.as_secs_f64());
        }
    }

    /// The waits between the tokens of a model's answers.
    pub(crate) fn between_tokens(&self, model: &str) -> Histogram {
        self.between_tokens.get_or_create_owned(&Model {
            model: model.to_owned(),
        })
    }

    /// A request was not taken.
    pub(crate) fn refused(&self, reason: Refused) {
        self.refused
            .get_or_create(&Refusal {
                reason: reason.as_str(),
            })
            .inc();
    }

    /// A record could not be written.
    pub(crate) fn ledger_failed(&self) {
        self.ledger_failures.inc();
    }

    /// So many records wait to be written again.
    pub(crate) fn ledger_waiting(&self, records: usize) {
        self.ledger_waiting.set(records as i64);
    }

    /// A bug was met.
    pub(crate) fn panicked(&self) {
        self.panics.inc();
    }

    /// What a key is called here.
    fn key_label(&self, key: Option<&str>) -> String {
        let Some(key) = key else {
            return NO_KEY.to_owned();
        };
        let mut keys = self.keys.lock();
        if keys.contains(key) || keys.len() < KEYS_MAX {
            keys.insert(key.to_owned());
            key.to_owned()
        } else {
            OTHER_KEYS.to_owned()
        }
    }
}
