//! What the tier's callers and its writing thread share.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::file::PositionedFile;
use super::format::read_payload;
use super::index::Index;
use super::writer::{NotWritten, Writer};
use super::{DiskStats, Event, NewRecord, Unreadable};
use crate::Key;

/// The one instance behind a [`super::Disk`].
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    /// There is something to write, or the end has come.
    pub(super) work: Condvar,
    /// Everything queued has been dealt with.
    pub(super) idle: Condvar,
    pub(super) writer: Mutex<Writer>,
    pub(super) has_events: Arc<AtomicBool>,
    pub(super) allowance: Arc<AtomicU64>,
    pub(super) budget: u64,
    pub(super) queue_bytes: u64,
}

/// What is known without asking the disk.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) index: Index,
    pub(super) queue: VecDeque<NewRecord>,
    /// Keys of records that are queued or being written.
    pub(super) queued: HashSet<Key>,
    pub(super) queued_bytes: u64,
    /// The writer has taken a record and not finished with it.
    pub(super) writing: bool,
    pub(super) closing: bool,
    pub(super) abandoned: bool,
    pub(super) events: Vec<Event>,
    /// Set with every event, so that looking for some costs nothing when there are none.
    pub(super) has_events: Arc<AtomicBool>,
    pub(super) counts: DiskStats,
    pub(super) rest: Rest,
    pub(super) last_error: Option<String>,
}

/// Writing rests after an error: so many records are refused before another one is tried, each time twice as many.
#[derive(Debug)]
pub(super) struct Rest {
    pub(super) left: u32,
    pub(super) next: u32,
}

impl Default for Rest {
    fn default() -> Self {
        Self { left: 0, next: 8 }
    }
}

const REST_MAX: u32 = 1024;

impl State {
    pub(super) fn event(&mut self, event: Event) {
        self.events.push(event);
        self.has_events.store(true, Ordering::Release);
    }

    /// Drops a record for room.
    pub(super) fn evict(&mut self, key: &Key) {
        self.counts.evicted += 1;
        self.lose(key);
    }

    /// Forgets a record and says so.
    pub(super) fn lose(&mut self, key: &Key) {
        if let Some(entry) = self.index.forget(key)
            && entry.own
        {
            self.event(Event::Dropped(*key));
        }
    }

    pub(super) fn failed(&mut self, error: &io::Error) {
        self.counts.write_errors += 1;
        self.last_error = Some(error.to_string());
    }

    /// After a write that failed: what waits is given up, and nothing is taken for a while.
    pub(super) fn give_up(&mut self) {
        self.rest.left = self.rest.next;
        self.rest.next = (self.rest.next * 2).min(REST_MAX);
        self.queued_bytes = 0;
        for record in std::mem::take(&mut self.queue) {
            self.counts.refused += 1;
            self.queued.remove(&record.key);
            self.event(Event::Dropped(record.key));
        }
    }
}

/// Where a payload lies.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) file: Arc<PositionedFile>,
    pub(super) segment: u64,
    pub(super) at: u64,
    pub(super) sum: u128,
}

/// How long uses are collected before they are written into the files.
const STAMPS_EVERY: Duration = Duration::from_secs(5);

impl Shared {
    /// The writing thread.
    pub(super) fn run(&self) {
        self.drain(&mut self.writer.lock());
        loop {
            {
                let mut state = self.state.lock();
                while state.queue.is_empty() && !state.closing {
                    self.idle.notify_all();
                    if state.index.stale.is_empty() && state.index.dropped.is_empty() {
                        self.work.wait(&mut state);
                    } else if self.work.wait_for(&mut state, STAMPS_EVERY).timed_out() {
                        break;
                    }
                }
                if state.abandoned || (state.queue.is_empty() && state.closing) {
                    self.idle.notify_all();
                    return;
                }
            }
            let mut writer = self.writer.lock();
            self.drain(&mut writer);
            if self.state.lock().abandoned {
                return;
            }
            writer.write_stamps(&self.state);
        }
    }

    /// Writes what is queued.
    pub(super) fn drain(&self, writer: &mut Writer) {
        // The budget may be smaller than it was when the directory was last open.
        writer.make_room(&self.state, 0);
        loop {
            let record = {
                let mut state = self.state.lock();
                let record = state.queue.pop_front();
                state.writing = record.is_some();
                if let Some(record) = &record {
                    state.queued_bytes -= record.payload.len() as u64;
                }
                record
            };
            let Some(record) = record else {
                self.idle.notify_all();
                return;
            };
            let written = writer.write(&self.state, &record);
            let mut state = self.state.lock();
            match written {
                Ok(()) => {
                    state.rest = Rest::default();
                    state.counts.written_records += 1;
                    state.counts.written_bytes += record.payload.len() as u64;
                }
                Err(not_written) => {
                    if state.queued.remove(&record.key) {
                        state.event(Event::Dropped(record.key));
                    }
                    match not_written {
                        NotWritten::NoRoom => state.counts.no_room += 1,
                        NotWritten::Failed(error) => {
                            state.failed(&error);
                            state.counts.refused += 1;
                            state.give_up();
                        }
                    }
                }
            }
        }
    }

    pub(super) fn read(&self, key: &Key, place: &Place, into: &mut [u8]) -> Result<(), Unreadable> {
        let read = read_payload(&place.file, place.at, key, place.sum, into);
        let mut state = self.state.lock();
        let error = match read {
            Ok(true) => {
                state.counts.read_records += 1;
                state.counts.read_bytes += into.len() as u64;
                return Ok(());
            }
            Ok(false) => {
                state.counts.damaged += 1;
                Unreadable::Damaged
            }
            Err(error) => {
                state.counts.unreadable += 1;
                Unreadable::Io(error)
            }
        };
        state.lose(key);
        Err(error)
    }
}
