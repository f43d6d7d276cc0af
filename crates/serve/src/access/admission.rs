//! Keys' limits. Who is over one waits for its turn, as long as the server lets it, and is refused only if too many wait
//! already or the wait would be longer than that.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use fathom_accounts::{Accounts, Key, KeyId, Permit, Refusal};
use parking_lot::Mutex;
use tokio::sync::{Mutex as Turn, Notify};

use super::Caller;
use crate::error::ApiError;
use crate::observe::{Metrics, Refused};

/// How often the first in a line looks again even if nobody has told it to: limits may have been raised.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// Lets requests in.
pub(crate) struct Admission {
    accounts: Option<Arc<Accounts>>,
    /// How long a request may wait.
    pub(crate) wait_max: Duration,
    /// Requests of one key and model that may wait.
    waiting_max: usize,
    lines: Mutex<HashMap<KeyId, Lines>>,
}

/// The lines of one key, by model.
type Lines = Vec<(Arc<str>, Arc<Line>)>;

/// Requests that wait for one key's limits and one model, first come, first served.
#[derive(Default)]
struct Line {
    waiting: AtomicUsize,
    /// Held by the first; it hands out turns in the order of asking.
    turn: Turn<()>,
    /// A request of the key has ended.
    freed: Notify,
}

/// What a request is told.
pub(crate) enum Entry {
    /// Come in.
    Open(Place),
    /// Wait.
    Wait(Waiting),
}

/// A request's place among its key's; it has ended when this is dropped.
pub(crate) struct Place {
    /// `None` without a key.
    permit: Option<(Permit, KeyId)>,
    admission: Arc<Admission>,
}

/// A place in a line.
pub(crate) struct Waiting {
    key: Arc<Key>,
    model: Arc<str>,
    line: Arc<Line>,
    admission: Arc<Admission>,
}

impl Admission {
    pub(crate) fn new(accounts: Option<Arc<Accounts>>, wait_max: Duration, waiting_max: usize) -> Arc<Self> {
        Arc::new(Self {
            accounts,
            wait_max,
            waiting_max,
            lines: Mutex::default(),
        })
    }

    /// Whether the caller has anything left to pay with.
    pub(crate) async fn check_balance(&self, caller: &Caller, metrics: &Metrics) -> Result<(), ApiError> {
        let (Some(accounts), Some(key)) = (&self.accounts, &caller.key) else {
            return Ok(());
        };
        if !key.prepaid {
            return Ok(());
        }
        let (accounts, id) = (Arc::clone(accounts), key.id);
        // It reads the file.
        let balance = tokio::task::spawn_blocking(move || accounts.balance(id)).await;
        match balance {
            Ok(Ok(balance)) if balance.is_available() => Ok(()),
            Ok(Ok(_)) => {
                metrics.refused(Refused::Balance);
                Err(ApiError::new(
                    StatusCode::PAYMENT_REQUIRED,
                    "unknown_error",
                    "Insufficient Balance",
                ))
            }
            failed => {
                let error = failed.map(|failed| failed.map_err(|error| error.to_string()));
                tracing::error!(target: "fathom::accounts", ?error, "a balance cannot be read");
                Err(ApiError::unavailable(
                    "Balances cannot be read at the moment; try again later",
                ))
            }
        }
    }

    /// Lets a request for `model` in, or has it wait.
    pub(crate) fn enter(
        self: &Arc<Self>,
        caller: &Caller,
        model: &str,
        metrics: &Metrics,
    ) -> Result<Entry, ApiError> {
        let (Some(accounts), Some(key)) = (&self.accounts, &caller.key) else {
            return Ok(Entry::Open(Place {
                permit: None,
                admission: Arc::clone(self),
            }));
        };
        let mut lines = self.lines.lock();
        let waiting = lines.get(&key.id).and_then(|lines| find(lines, model));
        let refusal = match &waiting {
            Some(line) if line.waiting.load(Ordering::Relaxed) > 0 => None,
            _ => match accounts.admit(key, model) {
                Ok(permit) => return Ok(Entry::Open(self.place(permit, key.id))),
                Err(refusal) => Some(refusal),
            },
        };
        if let Some(refusal) = refusal
            && refusal.retry_after().is_some_and(|wait| wait > self.wait_max)
        {
            metrics.refused(Refused::Tokens);
            return Err(too_many(&refusal));
        }
        let line = waiting.unwrap_or_else(|| {
            let line = Arc::<Line>::default();
            lines
                .entry(key.id)
                .or_default()
                .push((model.into(), Arc::clone(&line)));
            line
        });
        if line.waiting.fetch_add(1, Ordering::Relaxed) >= self.waiting_max {
            line.waiting.fetch_sub(1, Ordering::Relaxed);
            metrics.refused(Refused::KeyQueue);
            return Err(ApiError::too_many(format!(
                "{} requests of this key are waiting for its limits already, as many as may; try again when one of them has ended",
                self.waiting_max
            )));
        }
        Ok(Entry::Wait(Waiting {
            key: Arc::clone(key),
            model: model.into(),
            line,
            admission: Arc::clone(self),
        }))
    }

    fn place(self: &Arc<Self>, permit: Permit, key: KeyId) -> Place {
        Place {
            permit: Some((permit, key)),
            admission: Arc::clone(self),
        }
    }
}

impl Waiting {
    /// Over when it is this request's turn; never fails but by a wait that would be too long.
    pub(crate) async fn turn(self) -> Result<Place, ApiError> {
        let Some(accounts) = self.admission.accounts.clone() else {
            return Err(ApiError::internal("a request waits where there are no limits"));
        };
        let _turn = self.line.turn.lock().await;
        loop {
            let wait = match accounts.admit(&self.key, &self.model) {
                Ok(permit) => return Ok(self.admission.place(permit, self.key.id)),
                Err(refusal) => match refusal.retry_after() {
                    Some(wait) if wait > self.admission.wait_max => return Err(too_many(&refusal)),
                    Some(wait) => wait.min(LOOK_INTERVAL),
                    None => LOOK_INTERVAL,
                },
            };
            // Being told, or not, are both reasons to look.
            tokio::time::timeout(wait, self.line.freed.notified()).await.ok();
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut lines = self.admission.lines.lock();
        if self.line.waiting.fetch_sub(1, Ordering::Relaxed) > 1 {
            return;
        }
        if let Some(models) = lines.get_mut(&self.key.id) {
            models.retain(|(_, line)| !Arc::ptr_eq(line, &self.line));
            if models.is_empty() {
                lines.remove(&self.key.id);
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some((permit, key)) = self.permit.take() else {
            return;
        };
        drop(permit);
        for (_, line) in self.admission.lines.lock().get(&key).into_iter().flatten() {
            line.freed.notify_one();
        }
    }
}

fn find(lines: &Lines, model: &str) -> Option<Arc<Line>> {
    let line = lines.iter().find(|(name, _)| **name == *model)?;
    Some(Arc::clone(&line.1))
}

fn too_many(refusal: &Refusal) -> ApiError {
    // The text ends with what to do.
    let error = ApiError::too_many(refusal.to_string());
    match refusal.retry_after() {
        Some(wait) => error.retry_after(wait),
        None => error,
    }
}
