//! The keys in memory, and how they stay those of the file.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parking_lot::{Mutex, RwLock};
use rusqlite::{Connection, Row};

use crate::ledger::currency;
use crate::secret::SecretHash;
use crate::{AccountsError, Key, KeyId, Limits};

/// How often the file is asked whether another process has changed it.
const INTERVAL: Duration = Duration::from_millis(250);
/// After so long without an answer, nobody is let in on what is in memory.
const STALE_AFTER: Duration = Duration::from_secs(30);

/// The keys that are not revoked, by the hash of their secret.
#[derive(Debug)]
struct Table {
    version: i64,
    by_hash: HashMap<SecretHash, Arc<Key>>,
}

/// Shared between those who ask and the one who watches.
#[derive(Debug)]
pub(crate) struct KeyTable {
    table: RwLock<Arc<Table>>,
    checked: Mutex<Checked>,
}

#[derive(Debug)]
struct Checked {
    /// When the file was last seen.
    at: Instant,
    /// What came instead since.
    error: String,
}

impl KeyTable {
    pub(crate) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            table: RwLock::new(Arc::new(table(connection)?)),
            checked: Mutex::new(Checked {
                at: Instant::now(),
                error: String::new(),
            }),
        })
    }

    pub(crate) fn get(&self, hash: &SecretHash) -> Option<Arc<Key>> {
        self.table.read().by_hash.get(hash).cloned()
    }

    /// An error if what is here may be out of date.
    pub(crate) fn fresh(&self) -> Result<(), AccountsError> {
        let checked = self.checked.lock();
        let for_time = checked.at.elapsed();
        if for_time < STALE_AFTER {
            return Ok(());
        }
        Err(AccountsError::Stale {
            for_time,
            message: checked.error.clone(),
        })
    }

    /// Reads the keys again if they have changed.
    pub(crate) fn refresh(&self, connection: &Connection) -> rusqlite::Result<()> {
        let version: i64 = connection
            .prepare_cached("SELECT version FROM keys_version")?
            .query_row([], |row| row.get(0))?;
        if version != self.table.read().version {
            let newer = table(connection)?;
            let mut here = self.table.write();
            // Another thread may have read later and been quicker.
            if newer.version > here.version {
                *here = Arc::new(newer);
            }
        }
        Ok(())
    }
}

fn table(connection: &Connection) -> rusqlite::Result<Table> {
    // One transaction, so that the version is that of these keys.
    let transaction = connection.unchecked_transaction()?;
    let version = transaction.query_row("SELECT version FROM keys_version", [], |row| row.get(0))?;
    let mut statement = transaction.prepare(&format!(
        "SELECT {COLUMNS}, secret_hash FROM keys WHERE revoked IS NULL"
    ))?;
    let by_hash = statement
        .query_map([], |row| Ok((row.get(COLUMN_COUNT)?, Arc::new(key(row)?))))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(Table { version, by_hash })
}

/// What [`key`] reads.
pub(crate) const COLUMNS: &str = "id, name, last_four, admin, currency, prepaid, concurrent, concurrent_per_model, \
                                  tokens_per_minute, tokens_per_day, created, revoked";
const COLUMN_COUNT: usize = 12;

pub(crate) fn key(row: &Row<'_>) -> rusqlite::Result<Key> {
    let limit = |column| -> rusqlite::Result<Option<u64>> {
        Ok(row
            .get::<_, Option<i64>>(column)?
            .map(|limit| limit.max(0) as u64))
    };
    let requests = |column| -> rusqlite::Result<Option<u32>> {
        Ok(limit(column)?.map(|limit| u32::try_from(limit).unwrap_or(u32::MAX)))
    };
    Ok(Key {
        id: KeyId(row.get(0)?),
        name: row.get(1)?,
        last_four: row.get(2)?,
        admin: row.get(3)?,
        currency: currency(&row.get::<_, String>(4)?),
        prepaid: row.get(5)?,
        limits: Limits {
            concurrent: requests(6)?,
            concurrent_per_model: requests(7)?,
            tokens_per_minute: limit(8)?,
            tokens_per_day: limit(9)?,
        },
        created: timestamp(row.get(10)?),
        revoked: row.get::<_, Option<i64>>(11)?.map(timestamp),
    })
}

/// Of milliseconds; the nearest that there is.
pub(crate) fn timestamp(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(milliseconds).unwrap_or(if milliseconds < 0 {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    })
}

/// The thread that keeps a table up to date until it is dropped.
#[derive(Debug)]
pub(crate) struct Watch {
    /// Dropped to end it.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    pub(crate) fn start(connection: Connection, table: Arc<KeyTable>) -> std::io::Result<Self> {
        let (stop, stopped) = channel();
        let thread = std::thread::Builder::new()
            .name("accounts-watch".to_owned())
            .spawn(move || watch(&connection, &table, &stopped))?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn watch(connection: &Connection, table: &KeyTable, stopped: &Receiver<()>) {
    let mut seen = None;
    while stopped.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
        // A counter that moves when any other connection has committed: one read of shared memory.
        let look = || -> rusqlite::Result<i64> {
            let now = connection
                .prepare_cached("PRAGMA data_version")?
                .query_row([], |row| row.get(0))?;
            if seen != Some(now) {
                table.refresh(connection)?;
            }
            Ok(now)
        };
        let outcome = look();
        let mut checked = table.checked.lock();
        match outcome {
            Ok(now) => {
                seen = Some(now);
                checked.at = Instant::now();
            }
            Err(error) => checked.error = error.to_string(),
        }
    }
}
