//! State that all handlers share.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use fathom_accounts::Accounts;
use tokio::sync::Semaphore;

use crate::access::{Admission, Ledger};
use crate::admin::History;
use crate::answer::Completed;
use crate::catalog::Catalog;
use crate::grammars::Grammars;
use crate::network::Network;
use crate::observe::Metrics;
use crate::options::Options;
use crate::presence::Presence;
use crate::replay::{self, Replay};

/// State that all handlers share.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the operator's")]
pub(crate) struct App {
    pub(crate) catalog: Catalog,
    /// Refuse what the hosted API refuses even where that hurts clients.
    pub(crate) strict: bool,
    pub(crate) body_bytes_max: usize,
    /// Who may read a request's body now.
    pub(crate) readers: Arc<Semaphore>,
    /// What answers were kept to.
    pub(crate) grammars: Grammars,
    /// What was answered, for prompts that repeat it.
    pub(crate) replay: Replay,
    /// How long a request's body may take.
    pub(crate) body_timeout: Duration,
    /// Who does not read for this long is gone.
    pub(crate) write_timeout: Duration,
    /// Origins whose pages may send requests.
    pub(crate) cors_origins: Vec<String>,
    pub(crate) accounts: Option<Arc<Accounts>>,
    /// Serve only who shows a key.
    pub(crate) require_key: bool,
    /// Answer only to this machine's own names.
    pub(crate) local_names_only: bool,
    /// Show figures to everybody.
    pub(crate) metrics_open: bool,
    pub(crate) admission: Arc<Admission>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) presence: Presence,
    pub(crate) metrics: Arc<Metrics>,
    /// What the operator's page shows of the last minutes.
    pub(crate) history: History,
    on_completed: Arc<dyn Fn(&Completed) + Send + Sync>,
}

impl App {
    pub(crate) fn new(options: Options, network: &Network) -> Self {
        let Options {
            models,
            strict,
            body_bytes_max,
            accounts,
            require_key,
            local_names_only,
            wait_max,
            key_queue,
            ledger_required,
            metrics_open,
            network: _,
            cors_origins,
            on_completed,
        } = options;
        let catalog = Catalog::new(models);
        let presence = Presence::default();
        let metrics = Arc::new(Metrics::new(catalog.models(), &presence));
        Self {
            admission: Admission::new(accounts.clone(), wait_max, key_queue),
            ledger: Ledger::new(accounts.clone(), Arc::clone(&metrics), ledger_required),
            metrics,
            catalog,
            strict,
            body_bytes_max,
            readers: Arc::new(Semaphore::new(
                available_parallelism().map_or(2, NonZeroUsize::get),
            )),
            grammars: Grammars::default(),
            replay: Replay::new(replay::BYTES_MAX),
            body_timeout: network.body_timeout,
            write_timeout: network.write_timeout,
            cors_origins,
            accounts,
            require_key,
            local_names_only,
            metrics_open,
            presence,
            history: History::new(),
            on_completed,
        }
    }

    /// Notes an answer: in the ledger, in the figures and in the log. What must not be lost is safe when this is over, and only
    /// then is the client told that the answer is complete.
    pub(crate) async fn note(&self, completed: &Completed) {
        completed.count(&self.metrics);
        let recorded = self.ledger.record(completed.record()).await;
        completed.log(recorded.as_ref());
        (self.on_completed)(completed);
    }
}
