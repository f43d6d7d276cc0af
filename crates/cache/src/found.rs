//! What a lookup found, and reading it.

use std::sync::Arc;

use crate::cache::Shared;
use crate::tree::{Handle, PageAt, Path, Start, Walk};
use crate::{Key, Miss, Payload, Report};

/// What a lookup found. Until it is loaded or dropped, nothing of it is evicted.
pub struct Found {
    held: Held,
    root: Key,
    report: Report,
}

/// The end of a walk, held in the tree.
struct Held {
    shared: Arc<Shared>,
    walk: Walk,
    start: Start,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shared.lock().release(&self.walk, self.start);
    }
}

/// Where a sequence starts, with what it needs for that.
#[derive(Clone, Debug)]
pub struct Prefix {
    /// The position to start from: tokens that need not be computed.
    pub len: usize,
    /// Tokens whose entries `pages` hold: more than `len` if they are to be replayed.
    pub known: usize,
    /// All complete pages up to `known`.
    pub pages: Vec<Payload>,
    /// The live state at `len`; None: start from nothing, or replay.
    pub live: Option<Payload>,
    /// What the request gets, and why not more.
    pub report: Report,
    /// The sequence's path, at the end of `pages`.
    pub path: Path,
}

/// Pages whose bytes are gathered, or made resident, under one lock.
const PAGES_PER_LOCK: usize = 64;

impl Found {
    pub(crate) fn new(shared: Arc<Shared>, root: Key, walk: Walk, start: Start, report: Report) -> Found {
        Found {
            held: Held { shared, walk, start },
            root,
            report,
        }
    }

    /// The position to start from.
    pub fn len(&self) -> usize {
        self.held.start.position()
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the request gets, and why not more. Loading may still give less, if a record on disk is damaged.
    pub fn report(&self) -> Report {
        self.report
    }

    /// Whether everything is in RAM, so that loading takes microseconds.
    pub fn is_resident(&self) -> bool {
        let Held { shared, walk, start } = &self.held;
        start.pages(shared.shape.page_tokens) <= walk.first_on_disk && shared.lock().in_ram(*start)
    }

    /// Gathers what was found, reading from disk what is not in RAM. A record that cannot be read, or is not what was written,
    /// is dropped and counted, and the next best start is taken.
    pub fn load(self) -> Prefix {
        let Found {
            held,
            root,
            mut report,
        } = self;
        let shared = &held.shared;
        let page_tokens = shared.shape.page_tokens;
        // What is left of the walk after damage; `held` keeps all of it from eviction.
        let mut walk = held.walk.clone();
        let mut start = held.start;
        let nodes = shared.lock().nodes_of(&walk);
        let mut gathered: Vec<Payload> = Vec::new();
        let live = loop {
            let live = match start {
                Start::Snapshot { handle, .. } => match shared.snapshot(handle) {
                    Ok(live) => Some(live),
                    Err(lost) => {
                        report.miss = lost.miss();
                        walk.snapshots.retain(|(_, other)| *other != handle);
                        start = shared.lock().choose(&walk);
                        continue;
                    }
                },
                Start::Nothing | Start::Replay { .. } => None,
            };
            match shared.pages(&nodes[..start.pages(page_tokens)], &mut gathered) {
                Ok(()) => break live,
                Err(lost) => report.miss = lost.miss(),
            }
            walk.cut(gathered.len(), page_tokens);
            start = shared.lock().choose(&walk);
        };
        (report.hit, report.replayed) = start.tokens(page_tokens);
        let mut pages = gathered;
        pages.truncate(start.pages(page_tokens));
        if let Some(disk) = &shared.disk {
            let keys = shared.lock().keys_used(&nodes, start);
            disk.used(&keys);
        }
        Prefix {
            len: start.position(),
            known: start.position() + report.replayed,
            path: Path::new(root, nodes[..pages.len()].to_vec(), page_tokens),
            pages,
            live,
            report,
        }
    }
}

/// Why something that was found cannot be had.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lost {
    /// The disk tier has dropped it since, to make room.
    Evicted,
    /// It could not be read, or is not what was written.
    Damaged,
}

impl Lost {
    fn miss(self) -> Miss {
        match self {
            Lost::Evicted => Miss::Evicted,
            Lost::Damaged => Miss::Damaged,
        }
    }
}

impl Shared {
    /// A snapshot's bytes, from RAM or disk.
    fn snapshot(&self, handle: Handle) -> Result<Payload, Lost> {
        let held = self.lock().snapshot_at(handle).ok_or(Lost::Evicted)?;
        let (key, size) = match held {
            Ok(bytes) => return Ok(bytes),
            Err(on_disk) => on_disk,
        };
        let disk = self.disk.as_ref().ok_or(Lost::Evicted)?;
        let mut bytes = zeroed(size);
        // Nobody else has it yet.
        let into = Arc::get_mut(&mut bytes).ok_or(Lost::Evicted)?;
        if let Err(error) = disk.read(&key, into) {
            return Err(self.lock().unreadable(&key, &error));
        }
        Ok(self.lock().promote_snapshot(handle, bytes))
    }

    /// Adds the pages at `nodes` that are not there yet to `gathered`. If one cannot be had, all before it are there.
    fn pages(&self, nodes: &[Handle], gathered: &mut Vec<Payload>) -> Result<(), Lost> {
        while gathered.len() < nodes.len() {
            let to = nodes.len().min(gathered.len() + PAGES_PER_LOCK);
            let mut some = self.lock().pages_at(&nodes[gathered.len()..to]);
            let missing = some.iter_mut().filter(|page| page.bytes.is_none());
            let mut read: Vec<(&mut PageAt, Payload)> = missing
                .map(|page| (page, zeroed(self.shape.page_bytes)))
                .collect();
            let mut first_lost = Lost::Evicted;
            if !read.is_empty() {
                let disk = self.disk.as_ref().ok_or(Lost::Evicted)?;
                let wanted = read
                    .iter_mut()
                    .filter_map(|(page, bytes)| Some((page.key, Arc::get_mut(bytes)?)));
                let mut wanted: Vec<(Key, &mut [u8])> = wanted.collect();
                let results = disk.read_many(&mut wanted);
                let mut tree = self.lock();
                let mut lost = None;
                for ((page, bytes), result) in read.into_iter().zip(results) {
                    match result {
                        Ok(()) => page.bytes = Some(tree.promote_page(page.handle, bytes)),
                        Err(error) => {
                            let why = tree.unreadable(&page.key, &error);
                            lost.get_or_insert(why);
                        }
                    }
                }
                first_lost = lost.unwrap_or(first_lost);
            }
            for page in some {
                gathered.push(page.bytes.ok_or(first_lost)?);
            }
        }
        Ok(())
    }
}

/// A buffer of its own, to read into.
fn zeroed(len: usize) -> Payload {
    std::iter::repeat_n(0, len).collect()
}
