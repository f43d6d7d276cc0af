//! Where every record lies, in which order records go, and what the files take.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use super::file::PositionedFile;
use super::format::{ALIGN, Header, SEGMENT_HEADER, Stamp};
use crate::Key;

/// A record's place and standing.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) segment: u64,
    /// Where the record begins.
    pub(super) at: u64,
    /// Where its stamp and its payload begin, from there.
    pub(super) stamp_at: u64,
    pub(super) payload_at: u64,
    pub(super) payload: u64,
    pub(super) sum: u128,
    pub(super) parent: Key,
    pub(super) stamp: Stamp,
    /// It belongs to the model that opened the directory.
    pub(super) own: bool,
}

impl Entry {
    pub(super) fn new(segment: u64, at: u64, header: &Header, stamp: Stamp, own: bool) -> Self {
        Self {
            segment,
            at,
            stamp_at: header.stamp_at(),
            payload_at: header.payload_at(),
            payload: header.payload,
            sum: header.sum,
            parent: header.parent,
            stamp,
            own,
        }
    }

    /// What it takes on disk, padding included.
    pub(super) fn bytes(&self) -> u64 {
        self.payload_at + self.payload.next_multiple_of(ALIGN)
    }
}

/// A file of records.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    pub(super) file: Arc<PositionedFile>,
    pub(super) identity: [u8; 32],
    pub(super) label: String,
    /// Bytes of the file.
    pub(super) len: u64,
    /// Bytes of records that are still in use.
    pub(super) live: u64,
    /// Records are still appended to it.
    pub(super) open: bool,
}

impl Segment {
    /// Records are still appended to it, but all that it had are gone.
    pub(super) fn is_open_in_vain(&self) -> bool {
        self.open && self.live == 0 && self.dead() > 0
    }

    /// Bytes that cleaning it would free.
    pub(super) fn dead(&self) -> u64 {
        self.len.saturating_sub(self.live + SEGMENT_HEADER as u64)
    }
}

/// All records and segments of a directory.
#[derive(Debug, Default)]
pub(super) struct Index {
    entries: HashMap<Key, Entry>,
    /// How many records follow a page (or a root).
    children: HashMap<Key, u32>,
    /// Records that may go for room, the one used longest ago first: nothing follows them, and they are not pinned.
    leaves: BTreeSet<(u64, Key)>,
    pub(super) segments: BTreeMap<u64, Segment>,
    /// Records whose stamp in the file is out of date.
    pub(super) stale: HashSet<Key>,
    /// Places (segment, position) of records that are no longer in use and not yet marked so in the file.
    pub(super) dropped: Vec<(u64, u64)>,
    next_tick: u64,
    /// Sum of `Segment::live`.
    live: u64,
    own: u64,
}

impl Index {
    pub(super) fn get(&self, key: &Key) -> Option<&Entry> {
        self.entries.get(key)
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (&Key, &Entry)> {
        self.entries.iter()
    }

    /// Number of records of the model that opened the directory.
    pub(super) fn own(&self) -> u64 {
        self.own
    }

    /// Number of records of other models.
    pub(super) fn others(&self) -> u64 {
        self.entries.len() as u64 - self.own
    }

    /// Bytes of records in use, headers included.
    pub(super) fn live(&self) -> u64 {
        self.live
    }

    /// Bytes of all segments.
    pub(super) fn file_bytes(&self) -> u64 {
        self.segments.values().map(|segment| segment.len).sum()
    }

    /// A tick for a use that happens now.
    pub(super) fn tick(&mut self) -> u64 {
        self.next_tick += 1;
        self.next_tick
    }

    /// Adds a record. One that is there already stays, and the new copy counts as dropped.
    pub(super) fn insert(&mut self, key: Key, entry: Entry) -> bool {
        if self.entries.contains_key(&key) {
            self.dropped.push((entry.segment, entry.at + entry.stamp_at));
            return false;
        }
        self.next_tick = self.next_tick.max(entry.stamp.tick);
        let children = self.children.entry(entry.parent).or_default();
        *children += 1;
        if *children == 1
            && let Some(parent) = self.entries.get(&entry.parent)
        {
            self.leaves.remove(&(parent.stamp.tick, entry.parent));
        }
        self.charge(entry.segment, entry.bytes() as i64);
        self.own += u64::from(entry.own);
        let leaf = (entry.stamp.tick, key);
        self.entries.insert(key, entry);
        if self.may_go(&key) {
            self.leaves.insert(leaf);
        }
        true
    }

    /// Removes a record.
    pub(super) fn forget(&mut self, key: &Key) -> Option<Entry> {
        let entry = self.entries.remove(key)?;
        self.own -= u64::from(entry.own);
        self.leaves.remove(&(entry.stamp.tick, *key));
        self.stale.remove(key);
        if let Some(children) = self.children.get_mut(&entry.parent) {
            *children -= 1;
            if *children == 0 {
                self.children.remove(&entry.parent);
                if self.may_go(&entry.parent)
                    && let Some(parent) = self.entries.get(&entry.parent)
                {
                    self.leaves.insert((parent.stamp.tick, entry.parent));
                }
            }
        }
        self.charge(entry.segment, -(entry.bytes() as i64));
        self.dropped.push((entry.segment, entry.at + entry.stamp_at));
        Some(entry)
    }

    /// Changes a record's stamp.
    pub(super) fn restamp(&mut self, key: &Key, change: impl FnOnce(&mut Stamp)) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        self.leaves.remove(&(entry.stamp.tick, *key));
        change(&mut entry.stamp);
        let leaf = (entry.stamp.tick, *key);
        if self.may_go(key) {
            self.leaves.insert(leaf);
        }
        self.stale.insert(*key);
    }

    /// Says that a record now lies elsewhere.
    pub(super) fn relocate(&mut self, key: &Key, segment: u64, at: u64) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        let (old, bytes) = (entry.segment, entry.bytes() as i64);
        entry.segment = segment;
        entry.at = at;
        self.charge(old, -bytes);
        self.charge(segment, bytes);
    }

    /// The record to drop next.
    pub(super) fn least_recently_used(&self) -> Option<Key> {
        self.leaves.first().map(|(_, key)| *key)
    }

    /// Whether a record needs this one.
    pub(super) fn is_followed(&self, key: &Key) -> bool {
        self.children.contains_key(key)
    }

    fn may_go(&self, key: &Key) -> bool {
        !self.children.contains_key(key) && self.entries.get(key).is_some_and(|entry| !entry.stamp.pinned)
    }

    fn charge(&mut self, segment: u64, bytes: i64) {
        if let Some(segment) = self.segments.get_mut(&segment) {
            segment.live = segment.live.saturating_add_signed(bytes);
            self.live = self.live.saturating_add_signed(bytes);
        }
    }
}
