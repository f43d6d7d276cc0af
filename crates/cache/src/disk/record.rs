//! Records, as they are given and found, and what becomes of them.

use std::collections::HashSet;

use super::format::Found;
use crate::{Key, Payload};

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What a run of `page_tokens` tokens leaves behind for good.
    Page,
    /// Everything else that a sequence needs at one position.
    Snapshot,
}

/// A record that was found on disk. Its key is the hash of parent and ids; its payload has not been read yet.
#[derive(Clone, Debug, PartialEq, Eq)]
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

impl From<Found> for Record {
    fn from(found: Found) -> Self {
        Self {
            key: found.header.key,
            parent: found.header.parent,
            kind: found.header.kind,
            tokens: found.header.tokens,
            position: found.header.position,
            bytes: found.header.payload,
            pinned: found.stamp.pinned,
        }
    }
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
    pub payload: Payload,
    /// Never dropped for room.
    pub pinned: bool,
}

/// What became of a record given to [`Disk::put`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queued {
    /// It will be written; an [`Event`] says when, or that it could not be.
    Yes,
    /// The queue is full, the record was not taken. Counted.
    Full,
    /// Nothing is written now: the directory is read-only, or writing rests after an error. Counted.
    Refused,
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
    pub first_pages: HashSet<Key>,
}
