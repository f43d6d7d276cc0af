//! Writing: records are appended to segments, and room is made by dropping records and copying what is left elsewhere.

use std::fs::OpenOptions;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use super::file::PositionedFile;
use super::format::{
    ALIGN, Header, PAYLOAD_MAX, SEGMENT_HEADER, SegmentHeader, Stamp, TOKENS_MAX, payload_sum, read_payload,
};
use super::index::{Entry, Index, Segment};
use super::recover::segment_name;
use super::shared::State;
use super::{Event, NewRecord};
use crate::Key;

/// Segments of a directory that is full; more make cleaning finer, fewer make opening faster.
const SEGMENTS: u64 = 128;
const SEGMENT_BYTES_MAX: u64 = 2 << 30;

/// The one who writes. What is looked up is in [`State`], whose lock is never held while the disk works.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) dir: PathBuf,
    pub(super) identity: [u8; 32],
    pub(super) label: String,
    pub(super) next_number: u64,
    budget: u64,
    segment_bytes: u64,
    /// The segment that records of a model go to.
    appending: Vec<([u8; 32], u64)>,
    /// Segments written to since they were last synchronised.
    unsynced: Vec<u64>,
    /// Bytes that may still be written before the disk counts as full: for tests and the simulator.
    pub(super) allowance: Arc<AtomicU64>,
}

/// What making room does next.
enum Step {
    Done,
    /// All that is left is pinned.
    Stuck,
    Again,
    Clean(u64),
    Seal,
}

/// Why a record was not written.
#[derive(Debug)]
pub(super) enum NotWritten {
    NoRoom,
    Failed(io::Error),
}

impl Writer {
    pub(super) fn new(
        dir: PathBuf,
        identity: [u8; 32],
        label: String,
        next_number: u64,
        budget: u64,
        allowance: Arc<AtomicU64>,
    ) -> Self {
        Self {
            dir,
            identity,
            label,
            next_number,
            budget,
            segment_bytes: (budget / SEGMENTS).min(SEGMENT_BYTES_MAX),
            appending: Vec::new(),
            unsynced: Vec::new(),
            allowance,
        }
    }

    /// Goes on with a segment that has room, if it ends with a whole record.
    pub(super) fn resume(&mut self, index: &mut Index, number: u64) {
        if let Some(segment) = index.segments.get_mut(&number)
            && segment.len < self.segment_bytes
        {
            segment.open = true;
            self.appending.push((segment.identity, number));
        }
    }

    /// Writes a record; it can be read when this returns.
    pub(super) fn write(&mut self, state: &Mutex<State>, record: &NewRecord) -> Result<(), NotWritten> {
        let now = now();
        let header = Header {
            kind: record.kind,
            position: record.position,
            payload: record.payload.len() as u64,
            created: now,
            key: record.key,
            parent: record.parent,
            sum: payload_sum(&record.key, &record.payload),
            tokens: record.tokens.clone(),
        };
        let bytes = header.record_bytes();
        let too_large = header.tokens.len() > TOKENS_MAX || header.payload > PAYLOAD_MAX;
        if too_large || !self.make_room(state, bytes) {
            return Err(NotWritten::NoRoom);
        }
        let stamp = Stamp {
            tick: state.lock().index.tick(),
            used: now as u32,
            pinned: record.pinned,
            dropped: false,
        };
        let identity = self.identity;
        let padding = [0; ALIGN as usize];
        let padding = &padding[..(bytes - header.payload_at() - header.payload) as usize];
        let parts = [&header.encode(stamp, &identity), &*record.payload, padding];
        let (segment, at) = self.append(state, identity, &parts).map_err(NotWritten::Failed)?;
        let mut state = state.lock();
        let entry = Entry::new(segment, at, &header, stamp, true);
        if state.queued.remove(&record.key) {
            state.index.insert(record.key, entry);
            state.event(Event::Stored(record.key));
        } else {
            // Removed while it was being written.
            state.index.dropped.push((segment, at + entry.stamp_at));
        }
        Ok(())
    }

    /// Drops records and reclaims segments until `bytes` more fit into the budget.
    pub(super) fn make_room(&mut self, state: &Mutex<State>, bytes: u64) -> bool {
        // What cleaning copies exists twice for a while.
        let limit = self.budget.saturating_sub(self.segment_bytes);
        let needed = bytes + SEGMENT_HEADER as u64;
        if bytes > 0 && needed > limit {
            return false;
        }
        loop {
            // The lock is let go before anything is done.
            let step = self.next_step(&mut state.lock(), limit.saturating_sub(needed), limit);
            match step {
                Step::Done => return true,
                Step::Stuck => return false,
                Step::Again => {}
                Step::Clean(number) => self.clean(state, number),
                Step::Seal => self.seal_all(state),
            }
        }
    }

    /// One step towards files that take at most `target` bytes.
    fn next_step(&mut self, state: &mut State, target: u64, limit: u64) -> Step {
        let index = &mut state.index;
        if index.file_bytes() <= target {
            return Step::Done;
        }
        // A segment being written that holds nothing any more is not worth going on with.
        if index.segments.values().any(Segment::is_open_in_vain) {
            self.close(index, Segment::is_open_in_vain);
        }
        let sealed = index.segments.iter().filter(|(_, segment)| !segment.open);
        let emptiest = sealed.max_by(|(_, a), (_, b)| {
            // By the share that is dead; one without any record costs nothing at all.
            let share = u128::from(a.dead()) * u128::from(b.len);
            let other = u128::from(b.dead()) * u128::from(a.len);
            (a.live == 0, share).cmp(&(b.live == 0, other))
        });
        let (number, worth_it, mostly_dead) = emptiest.map_or((0, false, false), |(number, segment)| {
            let (dead, len, empty) = (segment.dead(), segment.len, segment.live == 0);
            (*number, empty || dead >= len / 8, empty || dead >= len / 4 * 3)
        });
        // Copying much to gain little is put off by dropping more, but not for longer than this.
        let sparse = index.live() <= limit / 4 * 3;
        if worth_it && (mostly_dead || sparse) {
            return Step::Clean(number);
        }
        if let Some(key) = index.least_recently_used() {
            state.evict(&key);
            Step::Again
        } else if worth_it {
            Step::Clean(number)
        } else if index.segments.values().any(|segment| segment.open) {
            Step::Seal
        } else {
            Step::Stuck
        }
    }

    /// Copies what is in use out of a segment and deletes the file.
    pub(super) fn clean(&mut self, state: &Mutex<State>, number: u64) {
        let (segment, mut records) = {
            let state = state.lock();
            let Some(segment) = state.index.segments.get(&number).cloned() else {
                return;
            };
            let records: Vec<(Key, Entry)> = state
                .index
                .entries()
                .filter(|(_, entry)| entry.segment == number)
                .map(|(key, entry)| (*key, entry.clone()))
                .collect();
            (segment, records)
        };
        records.sort_unstable_by_key(|(_, entry)| entry.at);
        let mut bytes = Vec::new();
        for (key, entry) in records {
            let moved = self.copy(state, &segment, &key, &entry, &mut bytes);
            let mut state = state.lock();
            match moved {
                Ok(Some((to, at))) => {
                    state.counts.moved_bytes += entry.bytes();
                    // Unless it was removed meanwhile.
                    if state.index.get(&key).is_some() {
                        state.index.relocate(&key, to, at);
                        state.index.stale.insert(key);
                    } else {
                        state.index.dropped.push((to, at + entry.stamp_at));
                    }
                }
                Ok(None) => {
                    state.counts.damaged += 1;
                    state.lose(&key);
                }
                Err(error) => {
                    state.failed(&error);
                    state.lose(&key);
                }
            }
        }
        let removed = std::fs::remove_file(&segment.path);
        let mut state = state.lock();
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                // It still takes room and cannot be helped: out of sight, so that nothing tries again and again.
                state.failed(&error);
            }
            _ => {}
        }
        state.index.segments.remove(&number);
        state.index.dropped.retain(|(segment, _)| *segment != number);
        self.unsynced.retain(|segment| *segment != number);
    }

    /// Appends a copy of a record. `None`: it is damaged.
    fn copy(
        &mut self,
        state: &Mutex<State>,
        from: &Segment,
        key: &Key,
        entry: &Entry,
        bytes: &mut Vec<u8>,
    ) -> io::Result<Option<(u64, u64)>> {
        bytes.clear();
        bytes.resize(entry.bytes() as usize, 0);
        let (head, rest) = bytes.split_at_mut(entry.payload_at as usize);
        let payload = &mut rest[..entry.payload as usize];
        from.file.read_exact_at(head, entry.at)?;
        if !read_payload(&from.file, entry.at + entry.payload_at, key, entry.sum, payload)? {
            return Ok(None);
        }
        let stamp_at = entry.stamp_at as usize;
        let stamp = entry.stamp.encode();
        head[stamp_at..stamp_at + stamp.len()].copy_from_slice(&stamp);
        self.append(state, from.identity, &[bytes]).map(Some)
    }

    /// Appends the parts of one record to the segment of a model. Returns where it begins.
    fn append(
        &mut self,
        state: &Mutex<State>,
        identity: [u8; 32],
        parts: &[&[u8]],
    ) -> io::Result<(u64, u64)> {
        let bytes: u64 = parts.iter().map(|part| part.len() as u64).sum();
        let number = self.segment_for(state, identity, bytes)?;
        let (file, at) = {
            let state = state.lock();
            let segment = state.index.segments.get(&number).ok_or(io::ErrorKind::NotFound)?;
            (Arc::clone(&segment.file), segment.len)
        };
        let written = parts.iter().try_fold(at, |at, part| {
            self.write_at(&file, part, at)?;
            Ok(at + part.len() as u64)
        });
        if let Err(error) = written {
            // Without its tail the segment stays sound; if even that fails, nothing is appended to it any more.
            let cut = file.0.set_len(at).is_ok();
            let mut state = state.lock();
            if !cut {
                let len = file.0.metadata().map_or(at + bytes, |metadata| metadata.len());
                if let Some(segment) = state.index.segments.get_mut(&number) {
                    segment.len = len;
                }
                self.close(&mut state.index, |_| true);
            }
            return Err(error);
        }
        if let Some(segment) = state.lock().index.segments.get_mut(&number) {
            segment.len = at + bytes;
        }
        if !self.unsynced.contains(&number) {
            self.unsynced.push(number);
        }
        Ok((number, at))
    }

    /// The segment to append `bytes` to: the one in use, or a new one.
    fn segment_for(&mut self, state: &Mutex<State>, identity: [u8; 32], bytes: u64) -> io::Result<u64> {
        let current = self
            .appending
            .iter()
            .find(|(model, _)| *model == identity)
            .map(|(_, number)| *number);
        if let Some(number) = current {
            let mut locked = state.lock();
            match locked.index.segments.get(&number) {
                Some(segment)
                    if segment.len + bytes <= self.segment_bytes || segment.len <= SEGMENT_HEADER as u64 =>
                {
                    return Ok(number);
                }
                _ => {
                    self.close(&mut locked.index, |segment| segment.identity == identity);
                    drop(locked);
                    self.sync(state);
                }
            }
        }
        let label = {
            let state = state.lock();
            let of_model = |segment: &&Segment| segment.identity == identity && !segment.label.is_empty();
            let known = state.index.segments.values().rev().find(of_model);
            match known {
                Some(segment) if identity != self.identity => segment.label.clone(),
                _ => self.label.clone(),
            }
        };
        let number = self.next_number;
        let path = self.dir.join(segment_name(number));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)?;
        // Whatever happens to it now, the name is taken.
        self.next_number += 1;
        let file = Arc::new(PositionedFile(file));
        let header = SegmentHeader {
            identity,
            created: now(),
            label: label.clone(),
        };
        if let Err(error) = self.write_at(&file, &header.encode(), 0) {
            let _ = std::fs::remove_file(&path);
            return Err(error);
        }
        self.appending.push((identity, number));
        let segment = Segment {
            path,
            file,
            identity,
            label,
            len: SEGMENT_HEADER as u64,
            live: 0,
            open: true,
        };
        state.lock().index.segments.insert(number, segment);
        Ok(number)
    }

    /// Writes into the files what changed about records that are there: uses, pins, drops.
    pub(super) fn write_stamps(&mut self, state: &Mutex<State>) {
        let mut writes = Vec::new();
        {
            let mut state = state.lock();
            let index = &mut state.index;
            let file = |index: &Index, number: u64| {
                let segment = index.segments.get(&number)?;
                Some(Arc::clone(&segment.file))
            };
            for (number, at) in std::mem::take(&mut index.dropped) {
                if let Some(file) = file(index, number) {
                    let stamp = Stamp {
                        dropped: true,
                        ..Stamp::default()
                    };
                    writes.push((number, at, file, stamp));
                }
            }
            for key in std::mem::take(&mut index.stale) {
                if let Some(entry) = index.get(&key)
                    && let Some(file) = file(index, entry.segment)
                {
                    writes.push((entry.segment, entry.at + entry.stamp_at, file, entry.stamp));
                }
            }
        }
        writes.sort_unstable_by_key(|(number, at, ..)| (*number, *at));
        for (_, at, file, stamp) in writes {
            // A stamp that is not written costs nothing but a little order.
            let _ = self.write_at(&file, &stamp.encode(), at);
        }
    }

    /// Nothing is appended to any segment any more.
    pub(super) fn seal_all(&mut self, state: &Mutex<State>) {
        self.close(&mut state.lock().index, |_| true);
        self.sync(state);
    }

    fn close(&mut self, index: &mut Index, which: impl Fn(&Segment) -> bool) {
        self.appending
            .retain(|(_, number)| match index.segments.get_mut(number) {
                Some(segment) if !which(segment) => true,
                Some(segment) => {
                    segment.open = false;
                    false
                }
                None => false,
            });
    }

    /// Waits until everything written is on the medium.
    pub(super) fn sync(&mut self, state: &Mutex<State>) {
        for number in std::mem::take(&mut self.unsynced) {
            let file = {
                let state = state.lock();
                let segment = state.index.segments.get(&number);
                segment.map(|segment| Arc::clone(&segment.file))
            };
            if let Some(Err(error)) = file.map(|file| file.0.sync_data()) {
                state.lock().failed(&error);
            }
        }
    }

    fn write_at(&self, file: &PositionedFile, bytes: &[u8], at: u64) -> io::Result<()> {
        let allowed = self.allowance.load(Ordering::Relaxed);
        if allowed == u64::MAX {
            return file.write_all_at(bytes, at);
        }
        let part = &bytes[..bytes.len().min(allowed as usize)];
        self.allowance
            .store(allowed - part.len() as u64, Ordering::Relaxed);
        file.write_all_at(part, at)?;
        if part.len() < bytes.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

/// Unix seconds.
pub(super) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |duration| duration.as_secs())
}
