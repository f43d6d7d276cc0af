//! What can go wrong, in words for people.

use std::path::PathBuf;
use std::time::Duration;

/// Why a file of accounts cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It cannot be made.
    #[error("cannot make the accounts file {}: {error}. Choose another place, or make its directory", path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        error: std::io::Error,
    },
    /// It is not there, and was to be.
    #[error("there is no accounts file {}. `fathom keys create` makes one; or name another with --accounts", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// It is no database at all.
    #[error("{} is no accounts file: expected one made by `fathom keys`, found something that is no SQLite database", path.display())]
    NotADatabase {
        /// The file.
        path: PathBuf,
    },
    /// It is another program's database.
    #[error("{} is no accounts file: it is another program's SQLite database. Name another file", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A newer version of this program made it.
    #[error(
        "{} has version {found} of the accounts format, this program knows versions up to {known}: use the newer program that made it",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The greatest that is known.
        known: i64,
    },
    /// It cannot be written.
    #[error("cannot write to {}: the file, its directory or its disk is read-only to you. Expected one that you may write", path.display())]
    ReadOnly {
        /// The file.
        path: PathBuf,
    },
    /// Another process has held it for the whole time that was waited.
    #[error("{} is locked by another process: end what holds it (a backup?) and try again", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// Its content is damaged.
    #[error("{} is damaged: {message}. Restore a backup; `sqlite3 FILE .recover` may save what is left", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        message: String,
    },
    /// Its file system has no shared memory.
    #[error("{} lies on a file system that cannot hold a ledger (no write-ahead log there; a network drive?): choose a local disk", path.display())]
    NoWriteAheadLog {
        /// The file.
        path: PathBuf,
    },
    /// Something else.
    #[error("cannot open the accounts file {}: {message}", path.display())]
    Other {
        /// The file.
        path: PathBuf,
        /// What SQLite or the operating system said.
        message: String,
    },
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccountsError {
    /// A name that no key may have.
    #[error("no key can be called {name:?}: {problem}")]
    Name {
        /// The name.
        name: String,
        /// Why not.
        problem: &'static str,
    },
    /// Another key has that name.
    #[error("there is a key called {0:?} already; revoke it first, or choose another name")]
    NameTaken(String),
    /// No such key.
    #[error("no key is called {0:?}; `fathom keys list` shows all")]
    NoSuchKey(String),
    /// It was revoked.
    #[error("key {0:?} was revoked; a revoked key stays so. Make a new one with `fathom keys create`")]
    Revoked(String),
    /// A limit that cannot be.
    #[error("{0}")]
    Limit(&'static str),
    /// A credit that cannot be.
    #[error("{0}")]
    Amount(&'static str),
    /// A record without a usable id.
    #[error("a request's id has {0} bytes: expected 1 to {max}", max = crate::record::ID_BYTES_MAX)]
    RequestId(usize),
    /// The random generator of the operating system failed.
    #[error("the operating system gave no random numbers: {0}")]
    Random(String),
    /// The keys in memory may be out of date.
    #[error("the accounts file could not be read for {} seconds: {message}", for_time.as_secs())]
    Stale {
        /// How long.
        for_time: Duration,
        /// What SQLite said last.
        message: String,
    },
    /// A copy that cannot be written.
    #[error("cannot write the copy {}: {error}. Choose a name that is not there yet, in a directory that is", path.display())]
    Copy {
        /// The copy.
        path: PathBuf,
        /// What the operating system said.
        error: String,
    },
    /// What SQLite said.
    #[error("the accounts file failed: {0}")]
    File(String),
    /// The thread that writes has ended.
    #[error("the accounts are closed")]
    Closed,
}

impl From<rusqlite::Error> for AccountsError {
    fn from(error: rusqlite::Error) -> Self {
        Self::File(error.to_string())
    }
}
