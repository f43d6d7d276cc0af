//! The tier as the tree sees it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::index::Index;
use super::loaded::Loaded;
use super::lock::{DirectoryLock, NoLock};
use super::recover::recover;
use super::shared::{Place, Shared, State};
use super::writer::{Writer, now};
use super::{DiskOpenError, DiskOptions, DiskStats, Event, Foreign, NewRecord, Queued, Record, Unreadable};
use crate::Key;

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
        let contents = recover(dir, lock.is_some()).map_err(|error| DiskOpenError::List {
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
        let loaded = Loaded::new(contents, identity);
        let mut state = State {
            index: loaded.index,
            ..State::default()
        };
        state.counts.skipped = loaded.skipped;
        if let Some(number) = loaded.last_own
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
            foreign: loaded.foreign,
            read_only,
            thread: Mutex::new(thread),
            lock: Mutex::new(lock),
        };
        Ok((disk, loaded.own))
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
            results.push(match self.place(key, into.len()) {
                Ok(place) => {
                    reads.push((i, *key, place, &mut **into));
                    // Until it has been read.
                    Err(Unreadable::Missing)
                }
                Err(error) => Err(error),
            });
        }
        reads.sort_by_key(|(_, _, place, _)| (place.segment, place.at));
        let several = reads.len() > 1;
        let next = Mutex::new(reads.into_iter());
        let work = || {
            let mut read = Vec::new();
            loop {
                let item = next.lock().next();
                let Some((i, key, place, into)) = item else {
                    return read;
                };
                read.push((i, self.shared.read(&key, &place, into)));
            }
        };
        let read = if several {
            std::thread::scope(|scope| {
                // Without it, this thread reads everything.
                let other = std::thread::Builder::new().spawn_scoped(scope, work);
                let mut read = work();
                read.extend(other.ok().and_then(|other| other.join().ok()).unwrap_or_default());
                read
            })
        } else {
            work()
        };
        for (i, result) in read {
            results[i] = result;
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
        if let Some(thread) = self.thread.lock().as_ref() {
            let mut state = self.shared.state.lock();
            // A thread that is gone writes nothing any more; what it left is written below.
            while (state.writing || !state.queue.is_empty()) && !thread.is_finished() {
                self.shared.idle.wait_for(&mut state, Duration::from_millis(100));
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
