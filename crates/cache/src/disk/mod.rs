//! The disk tier: records by key, found again after a restart.
//!
//! A directory holds *segments*, files named `00000000.seg`, `00000001.seg`, …, to whose end records are appended, and
//! a file `lock`. There is no index on disk: opening a directory reads the header of every record, so nothing can
//! disagree with the records themselves. Numbers are little-endian; segment headers, records and payloads begin at
//! multiples of 64 bytes.
//!
//! | segment: bytes | what |
//! |---|---|
//! | 0..8 | `FATHOMSG` |
//! | 8..12 | version, 1 |
//! | 12..16 | zero |
//! | 16..48 | identity of the model, the same for all records of the segment |
//! | 48..56 | when it was made, Unix seconds |
//! | 56..112 | name of the model for people, UTF-8, filled up with zeros |
//! | 112..120 | zero |
//! | 120..128 | XXH3-64 of bytes 0..120 |
//! | 128.. | records |
//!
//! | record: bytes | what |
//! |---|---|
//! | 0..8 | `FATHOMRC` |
//! | 8 | 1 page, 2 snapshot |
//! | 9..16 | zero |
//! | 16..20 | number of token ids, *n* (at most 16,384) |
//! | 20..24 | zero |
//! | 24..32 | position: tokens from the beginning to the record's end |
//! | 32..40 | bytes of the payload, *p* |
//! | 40..48 | when it was written, Unix seconds |
//! | 48..80 | key |
//! | 80..112 | parent: key of the page (or root) before it |
//! | 112..128 | XXH3-128 of the payload, seeded with the first 8 bytes of the key |
//! | 128..128 + 4*n* | token ids |
//! | 8 bytes | XXH3-64 of everything before, seeded with the first 8 bytes of the identity |
//! | 16 bytes | stamp, rewritten in place: count of its last use (8), Unix seconds of it (4), `A7` if pinned (1), `5D` if dropped (1), zero (2) |
//! | zeros | up to a multiple of 64 from the record's beginning |
//! | *p* bytes | payload |
//! | zeros | up to a multiple of 64 |
//!
//! A page of Flash (128 tokens, 449,824 bytes) takes 450,560: 0.16 % more.
//!
//! **What is protected.** A header counts only if its checksum is right *and* its key is the BLAKE3 hash of parent and
//! ids ([`crate::page_key`]), so a record can't pass for another prefix or, through its parents, for another model's. A
//! payload is checked on every read; the seed ties it to its key. This finds every kind of *damage*: torn and misplaced
//! writes, flipped bits, truncated, spliced and exchanged files. It does not stop an *attacker* who may write to the
//! directory and computes the checksums anew; protect the directory as you would the model's weights. Stamps are not
//! covered: a damaged one makes a record go earlier or later than it should.
//!
//! **What survives.** Killing the process loses what was queued and the record being written, which opening then reports
//! as torn. Segments are synchronised to the medium when they are full and on closing, not after every record: a
//! power failure may lose what was written since. Either way what is read is right or is not returned.
//!
//! **Budget.** Records go in order of their last use, but never before what follows them, and pinned ones not at all. Their
//! room is reclaimed by segment: whatever is still in use in the emptiest one is copied to the end, the file deleted.

mod file;
mod format;
mod index;
mod lock;
mod recover;
mod stats;
mod writer;

use std::collections::{HashSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::Key;
use file::PositionedFile;
use format::read_payload;
use index::{Entry, Index, Segment};
use lock::{DirectoryLock, NoLock};
pub use stats::{DiskStats, Skipped};
use writer::{NotWritten, Writer, now};

/// Where records lie and how much they may take.
#[derive(Clone, Debug)]
pub struct DiskOptions {
    /// The directory; made if it is not there. Several models may share one.
    pub dir: PathBuf,
    /// What its files may take together, in bytes.
    pub bytes: u64,
    /// The model's name for people; the first 56 bytes are kept.
    pub label: String,
    /// What may wait to be written, in bytes of payload.
    pub queue_bytes: u64,
}

impl DiskOptions {
    /// No label, a queue of 128 MiB.
    pub fn new(dir: impl Into<PathBuf>, bytes: u64) -> Self {
        Self {
            dir: dir.into(),
            bytes,
            label: String::new(),
            queue_bytes: 128 << 20,
        }
    }
}

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

/// The disk tier of one directory. All methods may be called from any thread; none but [`Disk::read`],
/// [`Disk::read_many`], [`Disk::pump`] and [`Disk::flush`] waits for the disk.
#[derive(Debug)]
pub struct Disk {
    shared: Arc<Shared>,
    foreign: Foreign,
    read_only: Option<String>,
    thread: Mutex<Option<JoinHandle<()>>>,
    lock: Mutex<Option<DirectoryLock>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// There is something to write, or the end has come.
    work: Condvar,
    /// Everything queued has been dealt with.
    idle: Condvar,
    writer: Mutex<Writer>,
    has_events: Arc<AtomicBool>,
    allowance: Arc<AtomicU64>,
    budget: u64,
    queue_bytes: u64,
}

/// What is known without asking the disk.
#[derive(Debug, Default)]
struct State {
    index: Index,
    queue: VecDeque<NewRecord>,
    /// Keys of records that are queued or being written.
    queued: HashSet<Key>,
    queued_bytes: u64,
    /// The writer has taken a record and not finished with it.
    writing: bool,
    closing: bool,
    abandoned: bool,
    events: Vec<Event>,
    /// Set with every event, so that looking for some costs nothing when there are none.
    has_events: Arc<AtomicBool>,
    counts: DiskStats,
    rest: Rest,
    last_error: Option<String>,
}

/// Writing rests after an error: so many records are refused before another one is tried, each time twice as many.
#[derive(Debug)]
struct Rest {
    left: u32,
    next: u32,
}

impl Default for Rest {
    fn default() -> Self {
        Self { left: 0, next: 8 }
    }
}

const REST_MAX: u32 = 1024;

impl State {
    fn event(&mut self, event: Event) {
        self.events.push(event);
        self.has_events.store(true, Ordering::Release);
    }

    /// Drops a record for room.
    fn evict(&mut self, key: &Key) {
        self.counts.evicted += 1;
        self.lose(key);
    }

    /// Forgets a record and says so.
    fn lose(&mut self, key: &Key) {
        if let Some(entry) = self.index.forget(key)
            && entry.own
        {
            self.event(Event::Dropped(*key));
        }
    }

    fn failed(&mut self, error: &io::Error) {
        self.counts.write_errors += 1;
        self.last_error = Some(error.to_string());
    }

    /// After a write that failed: what waits is given up, and nothing is taken for a while.
    fn give_up(&mut self) {
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

impl Disk {
    /// Opens `options.dir`, recovers what is there, and returns the records of `identity`, oldest use first.
    ///
    /// `background`: a thread writes; otherwise [`Disk::pump`] does. A directory that cannot be written to, or that another process
    /// writes to, is opened read-only, and [`Disk::notice`] says so.
    pub fn open(
        options: &DiskOptions,
        identity: &[u8; 32],
        background: bool,
    ) -> Result<(Disk, Vec<Record>), DiskOpenError> {
        let dir = &options.dir;
        if let Err(error) = std::fs::create_dir_all(dir)
            && !dir.is_dir()
        {
            return Err(DiskOpenError::Make {
                dir: dir.clone(),
                error,
            });
        }
        let (lock, read_only) = match DirectoryLock::acquire(dir) {
            Ok(lock) => (Some(lock), None),
            Err(reason) => (None, Some(read_only_notice(dir, &reason))),
        };
        let contents = recover::recover(dir, lock.is_some()).map_err(|error| DiskOpenError::List {
            dir: dir.clone(),
            error,
        })?;
        let allowance = Arc::new(AtomicU64::new(u64::MAX));
        let mut writer = Writer::new(
            dir.clone(),
            *identity,
            options.label.clone(),
            contents.next_number,
            options.bytes,
            Arc::clone(&allowance),
        );
        let mut state = State::default();
        state.counts.skipped = contents.skipped;
        let mut records = Vec::new();
        let mut foreign = Foreign::default();
        let mut last_own = None;
        for useless in contents.useless {
            // They take room until it is needed.
            if let Ok(file) = std::fs::File::open(&useless.path) {
                let segment = Segment {
                    path: useless.path,
                    file: Arc::new(PositionedFile(file)),
                    identity: [0; 32],
                    label: String::new(),
                    len: useless.len,
                    live: 0,
                    open: false,
                };
                state.index.segments.insert(useless.number, segment);
            }
        }
        for recovered in contents.segments {
            let own = recovered.header.identity == *identity;
            if !own && !foreign.identities.contains(&recovered.header.identity) {
                foreign.identities.push(recovered.header.identity);
            }
            let number = recovered.number;
            state.index.segments.insert(
                number,
                Segment {
                    path: recovered.path,
                    file: recovered.file,
                    identity: recovered.header.identity,
                    label: recovered.header.label,
                    len: recovered.len,
                    live: 0,
                    open: false,
                },
            );
            if own {
                last_own = recovered.clean.then_some(number);
            }
            for found in recovered.found {
                if found.stamp.dropped {
                    continue;
                }
                let header = found.header;
                let entry = Entry::new(number, found.at, &header, found.stamp, own);
                if !state.index.insert(header.key, entry) {
                    continue;
                }
                if own {
                    records.push((
                        found.stamp.tick,
                        Record {
                            key: header.key,
                            parent: header.parent,
                            kind: header.kind,
                            tokens: header.tokens,
                            position: header.position,
                            bytes: header.payload,
                            pinned: found.stamp.pinned,
                        },
                    ));
                } else if header.position == header.tokens.len() as u64 {
                    foreign.first_pages.insert(header.key);
                }
            }
        }
        // What is used together has neighbouring ticks; equal ones (damage) must not depend on the order of files.
        records.sort_by_key(|(tick, record)| (*tick, std::cmp::Reverse(record.position), record.key));
        if let Some(number) = last_own
            && lock.is_some()
        {
            writer.resume(&mut state.index, number);
        }
        let has_events = Arc::clone(&state.has_events);
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            work: Condvar::new(),
            idle: Condvar::new(),
            writer: Mutex::new(writer),
            has_events,
            allowance,
            budget: options.bytes,
            queue_bytes: options.queue_bytes,
        });
        let thread = if background && lock.is_some() {
            let shared = Arc::clone(&shared);
            let thread = std::thread::Builder::new()
                .name("fathom-cache".to_owned())
                .spawn(move || shared.run());
            Some(thread.map_err(DiskOpenError::Thread)?)
        } else {
            None
        };
        let disk = Disk {
            shared,
            foreign,
            read_only,
            thread: Mutex::new(thread),
            lock: Mutex::new(lock),
        };
        Ok((disk, records.into_iter().map(|(_, record)| record).collect()))
    }

    /// Queues a record. Never blocks.
    ///
    /// One that is stored already is reported as [`Event::Stored`] again.
    pub fn put(&self, record: NewRecord) -> Queued {
        let mut state = self.shared.state.lock();
        if self.read_only.is_some() || state.abandoned {
            state.counts.refused += 1;
            return Queued::Refused;
        }
        if state.index.get(&record.key).is_some() {
            state.event(Event::Stored(record.key));
            return Queued::Yes;
        }
        if state.queued.contains(&record.key) {
            return Queued::Yes;
        }
        if state.rest.left > 0 {
            state.rest.left -= 1;
            state.counts.refused += 1;
            return Queued::Refused;
        }
        let bytes = record.payload.len() as u64;
        // One record always fits, however large.
        if !state.queue.is_empty() && state.queued_bytes + bytes > self.shared.queue_bytes {
            state.counts.queue_full += 1;
            return Queued::Full;
        }
        state.queued_bytes += bytes;
        state.queued.insert(record.key);
        state.queue.push_back(record);
        drop(state);
        self.shared.work.notify_one();
        Queued::Yes
    }

    /// Reads a record's payload, verified, into `into`, which has its length.
    ///
    /// A record that cannot be read is dropped and counted.
    pub fn read(&self, key: &Key, into: &mut [u8]) -> Result<(), Unreadable> {
        let place = self.place(key, into.len())?;
        self.shared.read(key, &place, into)
    }

    /// Reads several records with two threads, in the order in which they lie on disk. Results are in the order of `wanted`.
    pub fn read_many(&self, wanted: &mut [(Key, &mut [u8])]) -> Vec<Result<(), Unreadable>> {
        let mut results = Vec::with_capacity(wanted.len());
        let mut reads = Vec::with_capacity(wanted.len());
        for (i, (key, into)) in wanted.iter_mut().enumerate() {
            let place = self.place(key, into.len());
            if let Ok(place) = &place {
                reads.push((i, *key, place.clone(), &mut **into));
            }
            results.push(place.map(|_| ()));
        }
        reads.sort_by_key(|(_, _, place, _)| (place.segment, place.at));
        let wanted = reads.len();
        let next = Mutex::new(reads.into_iter());
        let work = || {
            let mut failed = Vec::new();
            loop {
                let read = next.lock().next();
                let Some((i, key, place, into)) = read else {
                    return failed;
                };
                if let Err(error) = self.shared.read(&key, &place, into) {
                    failed.push((i, error));
                }
            }
        };
        let failed = if wanted < 2 {
            work()
        } else {
            std::thread::scope(|scope| {
                // Without it, this thread reads everything.
                let other = std::thread::Builder::new().spawn_scoped(scope, work);
                let mut failed = work();
                failed.extend(other.ok().and_then(|other| other.join().ok()).unwrap_or_default());
                failed
            })
        };
        for (i, error) in failed {
            results[i] = Err(error);
        }
        results
    }

    fn place(&self, key: &Key, bytes: usize) -> Result<Place, Unreadable> {
        let state = self.shared.state.lock();
        let entry = state.index.get(key).ok_or(Unreadable::Missing)?;
        if entry.payload != bytes as u64 {
            return Err(Unreadable::Size {
                expected: bytes as u64,
                found: entry.payload,
            });
        }
        let segment = state
            .index
            .segments
            .get(&entry.segment)
            .ok_or(Unreadable::Missing)?;
        Ok(Place {
            file: Arc::clone(&segment.file),
            segment: entry.segment,
            at: entry.at + entry.payload_at,
            sum: entry.sum,
        })
    }

    /// Records that were just used, the most recent last.
    pub fn used(&self, keys: &[Key]) {
        let used = now() as u32;
        let mut state = self.shared.state.lock();
        for key in keys {
            let tick = state.index.tick();
            state.index.restamp(key, |stamp| {
                stamp.tick = tick;
                stamp.used = used;
            });
        }
    }

    /// Forgets a record.
    pub fn remove(&self, key: &Key) {
        let mut state = self.shared.state.lock();
        if state.queued.remove(key)
            && let Some(i) = state.queue.iter().position(|record| record.key == *key)
            && let Some(record) = state.queue.remove(i)
        {
            state.queued_bytes -= record.payload.len() as u64;
        }
        state.index.forget(key);
    }

    /// Says whether a record may be dropped for room.
    pub fn set_pinned(&self, key: &Key, pinned: bool) {
        let mut state = self.shared.state.lock();
        state.index.restamp(key, |stamp| stamp.pinned = pinned);
        if let Some(record) = state.queue.iter_mut().find(|record| record.key == *key) {
            record.pinned = pinned;
        }
    }

    /// What happened since the last call, in order.
    pub fn events(&self) -> Vec<Event> {
        if !self.shared.has_events.swap(false, Ordering::AcqRel) {
            return Vec::new();
        }
        std::mem::take(&mut self.shared.state.lock().events)
    }

    /// What other models left in the directory when it was opened.
    pub fn foreign(&self) -> &Foreign {
        &self.foreign
    }

    /// Why nothing is written, or what went wrong with writing last; for people.
    pub fn notice(&self) -> Option<String> {
        self.read_only.clone().or_else(|| {
            let state = self.shared.state.lock();
            let error = state.last_error.as_ref()?;
            Some(format!(
                "the cache could not be written: {error}. Answers are not affected; free some room or choose another directory"
            ))
        })
    }

    /// Does queued work in this thread.
    pub fn pump(&self) {
        if self.writes() {
            let mut writer = self.shared.writer.lock();
            self.shared.drain(&mut writer);
            writer.write_stamps(&self.shared.state);
        }
    }

    /// Waits until everything queued is on disk.
    pub fn flush(&self) {
        if self.thread.lock().is_some() {
            let mut state = self.shared.state.lock();
            while state.writing || !state.queue.is_empty() {
                self.shared.idle.wait(&mut state);
            }
        }
        if self.writes() {
            let mut writer = self.shared.writer.lock();
            self.shared.drain(&mut writer);
            writer.write_stamps(&self.shared.state);
            writer.sync(&self.shared.state);
        }
    }

    /// Counts and bytes.
    pub fn stats(&self) -> DiskStats {
        let state = self.shared.state.lock();
        DiskStats {
            read_only: self.read_only.is_some(),
            records: state.index.own(),
            other_records: state.index.others(),
            live_bytes: state.index.live(),
            file_bytes: state.index.file_bytes(),
            budget_bytes: self.shared.budget,
            segments: state.index.segments.len() as u64,
            queued_records: state.queue.len() as u64,
            queued_bytes: state.queued_bytes,
            ..state.counts
        }
    }

    /// Stops at once and drops what is queued, as a crash would: from now on nothing is there and nothing is taken, and
    /// the directory can be opened again. For tests and the simulator.
    pub fn abandon(&self) {
        {
            let mut state = self.shared.state.lock();
            state.queue.clear();
            state.queued.clear();
            state.queued_bytes = 0;
            state.closing = true;
            state.abandoned = true;
        }
        self.join();
        self.shared.state.lock().index = Index::default();
        self.lock.lock().take();
    }

    /// Waits for the thread, which has been told to stop.
    fn join(&self) {
        self.shared.work.notify_one();
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
    }

    fn writes(&self) -> bool {
        self.read_only.is_none() && !self.shared.state.lock().abandoned
    }

    /// After so many more bytes every write fails as on a full disk; `None` ends that. For tests and the simulator.
    pub fn fail_writes_after(&self, bytes: Option<u64>) {
        self.shared
            .allowance
            .store(bytes.unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.shared.state.lock().closing = true;
        self.join();
        self.flush();
    }
}

/// Where a payload lies.
#[derive(Clone)]
struct Place {
    file: Arc<PositionedFile>,
    segment: u64,
    at: u64,
    sum: u128,
}

/// How long uses are collected before they are written into the files.
const STAMPS_EVERY: Duration = Duration::from_secs(5);

impl Shared {
    /// The writing thread.
    fn run(&self) {
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
    fn drain(&self, writer: &mut Writer) {
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

    fn read(&self, key: &Key, place: &Place, into: &mut [u8]) -> Result<(), Unreadable> {
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

fn read_only_notice(dir: &Path, reason: &NoLock) -> String {
    let dir = dir.display();
    match reason {
        NoLock::Held(Some(pid)) => format!(
            "process {pid} writes to the cache in {dir}; this one only reads what is there. \
             Choose another directory for a cache of its own"
        ),
        NoLock::Held(None) => format!(
            "another process writes to the cache in {dir}; this one only reads what is there. \
             Choose another directory for a cache of its own"
        ),
        NoLock::NotWritable(error) => format!(
            "the cache in {dir} cannot be written ({error}); it is only read. Make it writable, or choose another directory"
        ),
    }
}
