//! Chains of records with made-up contents.

#![allow(dead_code, reason = "every test binary uses its own part")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fathom_cache::disk::{Disk, DiskOptions, Kind, NewRecord, Record};
use fathom_cache::{Key, page_key, root_key, snapshot_key};

pub(crate) const IDENTITY: [u8; 32] = [5; 32];

/// Plenty of room.
pub(crate) fn options(dir: &Path) -> DiskOptions {
    let mut options = DiskOptions::new(dir, 64 << 20);
    "made up".clone_into(&mut options.label);
    options
}

/// Opened for writing in the background.
pub(crate) fn open(options: &DiskOptions) -> (Disk, Vec<Record>) {
    Disk::open(options, &IDENTITY, true).unwrap()
}

/// The bytes of a payload follow from its key: whoever reads a record knows what must be in it.
pub(crate) fn payload(key: &Key, bytes: usize) -> Vec<u8> {
    let mut block = [0; 4096];
    blake3::Hasher::new_keyed(key).finalize_xof().fill(&mut block);
    let mut payload = Vec::with_capacity(bytes.next_multiple_of(4096));
    for number in 0..bytes.div_ceil(4096) as u64 {
        payload.extend_from_slice(&number.to_le_bytes());
        payload.extend_from_slice(&block[8..]);
    }
    payload.truncate(bytes);
    payload
}

/// A page after `parent` that begins at `start`.
pub(crate) fn record(parent: &Key, start: u64, tokens: &[u32], bytes: usize) -> NewRecord {
    let key = page_key(parent, tokens);
    NewRecord {
        key,
        parent: *parent,
        kind: Kind::Page,
        tokens: tokens.to_vec(),
        position: start + tokens.len() as u64,
        payload: Arc::from(payload(&key, bytes)),
        pinned: false,
    }
}

pub(crate) fn pinned(record: NewRecord) -> NewRecord {
    NewRecord {
        pinned: true,
        ..record
    }
}

/// A made-up conversation: pages of four tokens, one after the other.
pub(crate) struct Chain {
    parent: Key,
    position: u64,
    seed: u32,
}

impl Chain {
    pub(crate) fn new(seed: u32) -> Self {
        Self {
            parent: root_key(&IDENTITY, ""),
            position: 0,
            seed,
        }
    }

    pub(crate) fn page(&mut self, bytes: usize) -> NewRecord {
        let position = self.position as u32;
        let tokens = [position, position + 1, position + 2, self.seed];
        let record = record(&self.parent, self.position, &tokens, bytes);
        self.parent = record.key;
        self.position += 4;
        record
    }

    pub(crate) fn snapshot(&self, bytes: usize) -> NewRecord {
        let tokens = vec![77, self.seed];
        let key = snapshot_key(&self.parent, &tokens);
        NewRecord {
            key,
            parent: self.parent,
            kind: Kind::Snapshot,
            position: self.position + tokens.len() as u64,
            tokens,
            payload: Arc::from(payload(&key, bytes)),
            pinned: false,
        }
    }
}

/// The segment files of a directory, in order.
pub(crate) fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "seg"))
        .collect();
    paths.sort();
    paths
}

/// What an environment variable says, or a default: long runs use the tests that CI runs shortly.
pub(crate) fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |value| value.parse().expect(variable))
}

/// SplitMix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Less than `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}
