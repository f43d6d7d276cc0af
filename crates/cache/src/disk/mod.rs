//! The disk tier: records by key, found again after a restart.
//!
//! A stub with the interface that the tree uses; nothing is stored yet.

use std::path::PathBuf;
use std::sync::Arc;

use crate::Key;

/// Where records lie and how much they may take.
#[derive(Clone, Debug)]
pub struct DiskOptions {
    /// The directory; made if it is not there.
    pub dir: PathBuf,
    /// What its files may take together, in bytes.
    pub bytes: u64,
}

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What a run of `page_tokens` tokens leaves behind for good.
    Page,
    /// Everything else that a sequence needs at one position.
    Snapshot,
}

/// A record that was found on disk.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its name.
    pub key: Key,
    /// Key of the page (or root) that it follows.
    pub parent: Key,
    /// Page or snapshot.
    pub kind: Kind,
    /// The page's ids, or the ids after the last page.
    pub tokens: Vec<u32>,
    /// Tokens from the beginning to its end.
    pub position: u64,
    /// Bytes of its payload.
    pub bytes: u64,
    /// Never dropped for room.
    pub pinned: bool,
}

/// A record to be written.
#[derive(Clone, Debug)]
pub struct NewRecord {
    /// Its name.
    pub key: Key,
    /// Key of the page (or root) that it follows.
    pub parent: Key,
    /// Page or snapshot.
    pub kind: Kind,
    /// The page's ids, or the ids after the last page.
    pub tokens: Vec<u32>,
    /// Tokens from the beginning to its end.
    pub position: u64,
    /// The bytes to keep.
    pub payload: Arc<[u8]>,
    /// Never dropped for room.
    pub pinned: bool,
}

/// What became of a record given to [`Disk::put`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queued {
    /// It will be written; an [`Event`] says when.
    Yes,
    /// The queue is full, the record was not taken. Counted.
    Full,
}

/// What happened to a record since the last call of [`Disk::events`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It can be read from now on.
    Stored(Key),
    /// It can no longer be read: dropped for room, could not be written, or found damaged.
    Dropped(Key),
}

/// What other models left in the directory.
#[derive(Clone, Debug, Default)]
pub struct Foreign {
    /// Their identities.
    pub identities: Vec<[u8; 32]>,
    /// Keys of their records that follow a root (`position == tokens.len()`).
    pub first_pages: std::collections::HashSet<Key>,
}

/// Counts and bytes of the disk tier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskStats {}

/// Why a directory could not be opened as a cache.
#[derive(Debug, thiserror::Error)]
pub enum DiskOpenError {}

/// Why a record could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// No such record.
    #[error("the record is not on disk")]
    Missing,
}

/// The disk tier.
#[derive(Debug)]
pub struct Disk {
    foreign: Foreign,
}

impl Disk {
    /// Opens `options.dir`, recovers what is there, and returns the records of `identity`, oldest use first.
    pub fn open(
        _options: &DiskOptions,
        _identity: &[u8; 32],
        _background: bool,
    ) -> Result<(Disk, Vec<Record>), DiskOpenError> {
        Ok((
            Disk {
                foreign: Foreign::default(),
            },
            Vec::new(),
        ))
    }

    /// Queues a record. Never blocks.
    pub fn put(&self, _record: NewRecord) -> Queued {
        Queued::Full
    }

    /// Reads a record's payload, verified, into `into`, which has its length.
    pub fn read(&self, _key: &Key, _into: &mut [u8]) -> Result<(), Unreadable> {
        Err(Unreadable::Missing)
    }

    /// Reads several records, each into the buffer beside its key.
    pub fn read_many(&self, wanted: &mut [(Key, &mut [u8])]) -> Vec<Result<(), Unreadable>> {
        wanted
            .iter_mut()
            .map(|(key, into)| self.read(key, into))
            .collect()
    }

    /// Records that were just used, the most recent last.
    pub fn used(&self, _keys: &[Key]) {}

    /// Forgets a record.
    pub fn remove(&self, _key: &Key) {}

    /// Says whether a record may be dropped for room.
    pub fn set_pinned(&self, _key: &Key, _pinned: bool) {}

    /// What happened since the last call, in order.
    pub fn events(&self) -> Vec<Event> {
        Vec::new()
    }

    /// What other models left in the directory when it was opened.
    pub fn foreign(&self) -> &Foreign {
        &self.foreign
    }

    /// Does queued work in this thread.
    pub fn pump(&self) {}

    /// Waits until everything queued is on disk.
    pub fn flush(&self) {}

    /// Counts and bytes.
    pub fn stats(&self) -> DiskStats {
        DiskStats::default()
    }
}
