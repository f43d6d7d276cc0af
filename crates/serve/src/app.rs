//! State that all handlers share.

use std::sync::Arc;

use crate::answer::Completed;
use crate::catalog::Catalog;
use crate::grammars::Grammars;
use crate::options::Options;
use crate::replay::{self, Replay};

/// State that all handlers share.
pub(crate) struct App {
    pub(crate) catalog: Catalog,
    /// Refuse what the hosted API refuses even where that hurts clients.
    pub(crate) strict: bool,
    pub(crate) body_bytes_max: usize,
    /// What answers were kept to.
    pub(crate) grammars: Grammars,
    /// What was answered, for prompts that repeat it.
    pub(crate) replay: Replay,
    on_completed: Arc<dyn Fn(&Completed) + Send + Sync>,
}

impl App {
    pub(crate) fn new(options: Options) -> Self {
        let Options {
            models,
            strict,
            body_bytes_max,
            on_completed,
        } = options;
        Self {
            catalog: Catalog::new(models),
            strict,
            body_bytes_max,
            grammars: Grammars::default(),
            replay: Replay::new(replay::BYTES_MAX),
            on_completed,
        }
    }

    #[expect(clippy::unused_async, reason = "the ledger comes next")]
    /// Notes an answer. What must not be lost is safe when this is over, and only then is the client told that the answer is
    /// complete.
    pub(crate) async fn note(&self, completed: &Completed) {
        (self.on_completed)(completed);
    }
}
