//! What can go wrong, in words for people.

use std::io;
use std::path::PathBuf;

/// Why a directory could not be opened as a cache.
#[derive(Debug, thiserror::Error)]
pub enum DiskOpenError {
    /// It is not there and cannot be made.
    #[error("cannot make the cache directory {}: {error}. Choose another one, or make it yourself", dir.display())]
    Make {
        /// The directory.
        dir: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
    /// It cannot be listed.
    #[error(
        "cannot list {} as a cache directory: {error}. Expected a directory that you may read; choose another one",
        dir.display()
    )]
    List {
        /// The directory.
        dir: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
    /// The writing thread could not be started.
    #[error("cannot start the thread that writes the cache: {0}. Allow this process more threads")]
    Thread(io::Error),
}

/// Why a record could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// No such record.
    #[error("the record is not on disk")]
    Missing,
    /// The buffer has another length than the payload.
    #[error("the record has {found} bytes, {expected} were asked for")]
    Size {
        /// Length of the buffer.
        expected: u64,
        /// Length of the payload.
        found: u64,
    },
    /// The payload is not what was written. The record was dropped.
    #[error("the record is damaged: its checksum is wrong")]
    Damaged,
    /// The operating system could not read it. The record was dropped.
    #[error("the record could not be read: {0}")]
    Io(io::Error),
}
