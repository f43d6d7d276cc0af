//! How to serve.

use std::sync::Arc;
use std::time::Duration;

use fathom_accounts::Accounts;

use crate::answer::Completed;
use crate::catalog::ServedModel;
use crate::network::Network;

/// How to serve models.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the operator's")]
pub struct Options {
    /// The models, at least one. Two must not share a name.
    pub models: Vec<ServedModel>,
    /// Refuse what the hosted API refuses even where that hurts clients.
    pub strict: bool,
    /// Largest request body in bytes.
    pub body_bytes_max: usize,
    /// Keys, limits and the ledger; `None` to serve whoever asks and keep nothing.
    pub accounts: Option<Arc<Accounts>>,
    /// Serve only who shows a key of `accounts`. Otherwise a key that is known counts, and any other text is no key at all.
    pub require_key: bool,
    /// Answer only requests that call the server by a name that is this machine's alone, such as `localhost`.
    pub local_names_only: bool,
    /// How long a request may wait, for its key's limits and for a place in the batch together.
    pub wait_max: Duration,
    /// Requests of one key and model that may wait for the key's limits; one more is refused.
    pub key_queue: usize,
    /// Serve nothing while the ledger cannot be written.
    pub ledger_required: bool,
    /// Show figures to everybody, not only to administrators' keys.
    pub metrics_open: bool,
    /// How connections are kept.
    pub network: Network,
    /// Origins whose pages may send requests, such as `https://example.org`; `*` for any.
    pub cors_origins: Vec<String>,
    /// Told about every finished answer.
    pub on_completed: Arc<dyn Fn(&Completed) + Send + Sync>,
}

impl Options {
    /// Options for serving `models` on one's own machine.
    pub fn new(models: Vec<ServedModel>) -> Self {
        Self {
            models,
            strict: false,
            body_bytes_max: 32 << 20,
            accounts: None,
            require_key: false,
            local_names_only: false,
            wait_max: Duration::from_mins(10),
            key_queue: 64,
            ledger_required: false,
            metrics_open: false,
            network: Network::default(),
            cors_origins: Vec::new(),
            on_completed: Arc::new(|_| ()),
        }
    }
}
