//! Making a directory smaller, by hand.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;

use super::DiskOpenError;
use super::index::{Entry, Index};
use super::loaded::Loaded;
use super::lock::{DirectoryLock, NoLock};
use super::recover::recover;
use super::shared::State;
use super::writer::Writer;
use crate::Key;

/// Which records go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prune {
    /// All of them, pinned ones too.
    All,
    /// Those whose last use, and that of all that follows them, was before this moment, in Unix seconds. Not pinned ones.
    UsedBefore(u64),
    /// Those used longest ago, until the files take at most so many bytes. Not pinned ones.
    ToBytes(u64),
}

/// What pruning did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Records that went.
    pub records: u64,
    /// Bytes of all segments before.
    pub bytes_before: u64,
    /// And after.
    pub bytes_after: u64,
}

/// Why a directory was not pruned.
#[derive(Debug, thiserror::Error)]
pub enum PruneError {
    /// It could not be looked at.
    #[error(transparent)]
    Open(#[from] DiskOpenError),
    /// Another process writes to it.
    #[error(
        "{} the cache in {}; nothing was changed. Stop that process first: it keeps to its own budget meanwhile",
        held_by(*pid), dir.display()
    )]
    Held {
        /// The directory.
        dir: PathBuf,
        /// The process, if it said who it is.
        pid: Option<u32>,
    },
    /// It cannot be written to.
    #[error("the cache in {} cannot be changed: {error}. Make it writable first", dir.display())]
    NotWritable {
        /// The directory.
        dir: PathBuf,
        /// What the operating system said.
        error: std::io::Error,
    },
}

fn held_by(pid: Option<u32>) -> String {
    pid.map_or_else(
        || "another process writes to".to_owned(),
        |pid| format!("process {pid} writes to"),
    )
}

/// Drops records of `identity`, or of all models, and gives their room back.
pub fn prune(dir: &Path, identity: Option<&[u8; 32]>, what: &Prune) -> Result<Pruned, PruneError> {
    let list = |error| {
        PruneError::Open(DiskOpenError::List {
            dir: dir.to_owned(),
            error,
        })
    };
    // Before the lock, whose file would be made.
    std::fs::read_dir(dir).map_err(list)?;
    let _lock = DirectoryLock::acquire(dir).map_err(|reason| match reason {
        NoLock::Held(pid) => PruneError::Held {
            dir: dir.to_owned(),
            pid,
        },
        NoLock::NotWritable(error) => PruneError::NotWritable {
            dir: dir.to_owned(),
            error,
        },
    })?;
    let contents = recover(dir, true).map_err(list)?;
    let (next_number, other_versions) = (contents.next_number, contents.other_versions.clone());
    let loaded = Loaded::new(contents, &[0; 32]);
    let state = Mutex::new(State {
        index: loaded.index,
        ..State::default()
    });
    let records_of = |index: &Index| index.own() + index.others();
    let (records, mut bytes_before) = {
        let state = state.lock();
        (records_of(&state.index), state.index.file_bytes())
    };
    let budget = match what {
        Prune::ToBytes(bytes) => *bytes,
        _ => u64::MAX,
    };
    let allowance = Arc::new(AtomicU64::new(u64::MAX));
    let mut writer = Writer::new(
        dir.to_owned(),
        [0; 32],
        String::new(),
        next_number,
        budget,
        allowance,
    );
    match what {
        Prune::All => {
            forget(&mut state.lock().index, identity, |_| true);
            if identity.is_none() {
                for path in &other_versions {
                    bytes_before += std::fs::metadata(path).map_or(0, |metadata| metadata.len());
                    // What stays shows in the next `stat`.
                    let _ = std::fs::remove_file(path);
                }
            }
        }
        Prune::UsedBefore(moment) => {
            let old = |entry: &Entry| !entry.stamp.pinned && u64::from(entry.stamp.used) < *moment;
            forget(&mut state.lock().index, identity, old);
        }
        Prune::ToBytes(_) => {
            writer.make_room(&state, 0);
        }
    }
    let segments: Vec<u64> = {
        let state = state.lock();
        let segments = state.index.segments.iter();
        segments
            .filter(|(_, segment)| segment.live == 0 || segment.dead() > segment.len / 16)
            .map(|(number, _)| *number)
            .collect()
    };
    for number in segments {
        writer.clean(&state, number);
    }
    writer.write_stamps(&state);
    writer.sync(&state);
    let state = state.lock();
    Ok(Pruned {
        records: records - records_of(&state.index),
        bytes_before,
        bytes_after: state.index.file_bytes(),
    })
}

/// Forgets records that may go, but none that another one needs.
fn forget(index: &mut Index, identity: Option<&[u8; 32]>, may_go: impl Fn(&Entry) -> bool) {
    let chosen = |index: &Index, key: &Key| {
        let Some(entry) = index.get(key) else { return false };
        let segment = index.segments.get(&entry.segment);
        may_go(entry) && identity.is_none_or(|identity| segment.is_some_and(|s| s.identity == *identity))
    };
    let mut todo: Vec<Key> = index.entries().map(|(key, _)| *key).collect();
    // From the ends of the chains towards their beginnings.
    while let Some(key) = todo.pop() {
        if chosen(index, &key)
            && !index.is_followed(&key)
            && let Some(entry) = index.forget(&key)
        {
            todo.push(entry.parent);
        }
    }
}
