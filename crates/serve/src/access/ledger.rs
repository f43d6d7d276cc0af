//! What was used is written down before its client is told that the answer is complete.
//!
//! A record that cannot be written is kept and tried again until it can be; meanwhile the log and the metrics say so, and the
//! server serves on or refuses, as its operator wants. What still cannot be written when the server ends goes into the log.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use fathom_accounts::{Accounts, AccountsError, Record, Recorded};
use parking_lot::Mutex;
use tokio::time::{sleep, timeout};

use crate::error::ApiError;
use crate::observe::{Metrics, Refused};

/// How long an answer's end may wait for its record.
const WRITE_PATIENCE: Duration = Duration::from_secs(10);
/// How often records that failed are tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);
/// Records that are kept to be tried again. Beyond that they go into the log.
const KEPT_MAX: usize = 100_000;

/// Where records go.
pub(crate) struct Ledger {
    accounts: Option<Arc<Accounts>>,
    metrics: Arc<Metrics>,
    /// Refuse requests while records fail.
    refuse: bool,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    records: VecDeque<Record>,
    /// Somebody tries them again.
    tended: bool,
}

impl Ledger {
    pub(crate) fn new(accounts: Option<Arc<Accounts>>, metrics: Arc<Metrics>, refuse: bool) -> Arc<Self> {
        Arc::new(Self {
            accounts,
            metrics,
            refuse,
            kept: Mutex::default(),
        })
    }

    /// Refuses what could not be written down, if the operator wants that.
    pub(crate) fn check(&self) -> Result<(), ApiError> {
        if !self.refuse || self.kept.lock().records.is_empty() {
            return Ok(());
        }
        self.metrics.refused(Refused::Ledger);
        Err(ApiError::unavailable(
            "The server cannot write down what is used and therefore serves nothing; try again later",
        ))
    }

    /// Writes a record down. `None` if there is no ledger, or if it could not be done now.
    pub(crate) async fn record(self: &Arc<Self>, record: Record) -> Option<Recorded> {
        let accounts = self.accounts.as_ref()?;
        // Handed over here: what happens to this task does not matter any more.
        let written = accounts.record(record.clone());
        match timeout(WRITE_PATIENCE, written).await {
            Ok(Ok(recorded)) => return Some(recorded),
            Ok(Err(error)) => self.keep(record, &error.to_string()),
            // It may be written yet; trying again then changes nothing.
            Err(_) => self.keep(
                record,
                &format!("not written within {} s", WRITE_PATIENCE.as_secs()),
            ),
        }
        None
    }

    fn keep(self: &Arc<Self>, record: Record, error: &str) {
        self.metrics.ledger_failed();
        tracing::error!(target: "fathom::ledger", id = record.id, error, "a record could not be written; it is tried again");
        let mut kept = self.kept.lock();
        if kept.records.len() >= KEPT_MAX {
            log(&record);
            return;
        }
        kept.records.push_back(record);
        self.metrics.ledger_waiting(kept.records.len());
        if !kept.tended {
            kept.tended = true;
            tokio::spawn(Arc::clone(self).tend());
        }
    }

    async fn tend(self: Arc<Self>) {
        loop {
            sleep(RETRY_INTERVAL).await;
            if self.retry().await.is_err() {
                continue;
            }
            let mut kept = self.kept.lock();
            if kept.records.is_empty() {
                kept.tended = false;
                tracing::info!(target: "fathom::ledger", "all records are written");
                return;
            }
        }
    }

    /// Writes what is kept, oldest first, until something fails.
    async fn retry(&self) -> Result<(), AccountsError> {
        let Some(accounts) = &self.accounts else {
            return Ok(());
        };
        loop {
            let Some(record) = self.kept.lock().records.front().cloned() else {
                return Ok(());
            };
            let id = record.id.clone();
            accounts.record(record).await?;
            let mut kept = self.kept.lock();
            // Whoever else writes them takes them from the front, too.
            if kept.records.front().is_some_and(|record| record.id == id) {
                kept.records.pop_front();
            }
            self.metrics.ledger_waiting(kept.records.len());
        }
    }

    /// Tries once more; what cannot be written goes into the log.
    pub(crate) async fn close(&self) {
        let tried = timeout(WRITE_PATIENCE, self.retry()).await;
        let records = std::mem::take(&mut self.kept.lock().records);
        if !records.is_empty() {
            tracing::error!(target: "fathom::ledger", ?tried, records = records.len(), "the server ends with records that could not be written");
        }
        records.iter().for_each(log);
    }
}

/// All that a record has, so that it can be added by hand.
fn log(record: &Record) {
    let Record {
        id,
        key,
        user_id,
        model,
        wire,
        outcome,
        tokens,
        started,
        ..
    } = record;
    let key = key.as_ref().map(|key| key.id.0);
    tracing::error!(
        target: "fathom::ledger", id, key, user_id, model, %wire, %outcome, hit = tokens.hit, miss = tokens.miss,
        output = tokens.output, reasoning = tokens.reasoning, %started, "not in the ledger"
    );
}
