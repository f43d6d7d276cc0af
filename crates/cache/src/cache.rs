//! The cache: the tree behind a lock, and the disk tier beside it.

use std::ops::Range;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use crate::disk::{Disk, Event, NewRecord, Queued};
use crate::found::Found;
use crate::options::Shape;
use crate::tree::{Entry, Outside, Path, Tree};
use crate::{CacheOptions, Key, OpenError, Payload, Report, Stats};

/// Pages and snapshots of all sequences, found by their tokens. A clone is the same cache.
///
/// All methods may be called from any thread. A short lock guards the tree; it is never held while something is read, written,
/// hashed in bulk or freed.
#[derive(Clone)]
pub struct Cache {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) shape: Shape,
    tree: Mutex<Tree>,
    pub(crate) disk: Option<Disk>,
}

/// The tree while it is locked. Buffers that it gave up are freed after the lock is released.
pub(crate) struct Locked<'a> {
    shared: &'a Shared,
    // An Option so that `drop` can release the lock first.
    tree: Option<MutexGuard<'a, Tree>>,
}

impl Cache {
    /// Opens a cache: an empty one, or what its directory still holds.
    pub fn open(options: &CacheOptions) -> Result<Cache, OpenError> {
        let shape = options.shape()?;
        let (disk, records) = match &options.disk {
            Some(disk) => {
                let (disk, records) = Disk::open(disk, &options.identity, options.background)?;
                (Some(disk), records)
            }
            None => (None, Vec::new()),
        };
        let foreign = disk
            .as_ref()
            .map(|disk| disk.foreign().clone())
            .unwrap_or_default();
        let mut tree = Tree::new(shape, options.ram_bytes, foreign);
        tree.rebuild(&records);
        let shared = Arc::new(Shared {
            shape,
            tree: Mutex::new(tree),
            disk,
        });
        // What could not be linked is removed from disk.
        drop(shared.lock());
        Ok(Cache { shared })
    }

    /// The longest usable beginning of `tokens[..limit]`: what leaves the fewest tokens to compute. Microseconds: nothing is
    /// read. What was found cannot be evicted until it is loaded or dropped.
    pub fn find(&self, isolation: &str, tokens: &[u32], limit: usize) -> Found {
        self.shared.sync();
        let tokens = &tokens[..limit.min(tokens.len())];
        let mut tree = self.shared.lock();
        let root = tree.root(isolation);
        let walk = tree.walk(&root, tokens);
        let start = tree.choose(&walk);
        let mut report = Report {
            miss: tree.explain(isolation, tokens, &walk, start),
            ..Report::default()
        };
        (report.hit, report.replayed) = start.tokens(self.shared.shape.page_tokens);
        tree.count(tokens.len(), &report);
        tree.hold(&walk, start);
        drop(tree);
        Found::new(self.shared.clone(), root, walk, start, report)
    }

    /// The path of a sequence that begins with nothing.
    pub fn path(&self, isolation: &str) -> Path {
        let root = crate::root_key(&self.shared.shape.identity, isolation);
        Path::new(root, Vec::new(), self.shared.shape.page_tokens)
    }

    /// Stores a complete page: `ids` are its `page_tokens` ids, and it follows the path's pages. Returns the bytes to go on
    /// with, which are the tree's own if it had the page already, so that it is in memory once. Does not walk.
    ///
    /// If there is no room, because everything is in use, the page waits in the path and is tried again with the next one.
    pub fn push_page(&self, path: &mut Path, ids: &[u32], page: Payload) -> Payload {
        self.shared.sync();
        let mut records = Vec::new();
        let page = self.shared.lock().push_page(path, ids, page, &mut records);
        self.shared.write(records);
        page
    }

    /// Stores the live state at `path` plus `tail` (ids after the path's pages, fewer than a page's). `live` is called only
    /// if the state is not in RAM already. `pin`: it and the pages before it are kept until [`Cache::unpin`]. Returns whether
    /// it is in RAM now.
    pub fn keep_snapshot(
        &self,
        path: &Path,
        tail: &[u32],
        live: impl FnOnce() -> Payload,
        pin: bool,
    ) -> bool {
        self.shared.sync();
        if !pin && self.shared.lock().has_snapshot(path, tail) {
            return true;
        }
        let live = live();
        let mut records = Vec::new();
        let mut tree = self.shared.lock();
        let key = tree.keep_snapshot(path, tail, live, pin, &mut records);
        let pinned = if pin {
            key.map(|key| tree.snapshot_path_keys(&key))
        } else {
            None
        };
        drop(tree);
        self.shared.write(records);
        self.pin_on_disk(&pinned.unwrap_or_default(), true);
        key.is_some()
    }

    /// Positions in `range` (its start excluded, its end included) that deserve a snapshot under the cache's policy.
    pub fn boundaries(&self, range: Range<usize>, semantic: &[usize]) -> Vec<usize> {
        let shape = &self.shared.shape;
        shape.policy.boundaries(range, semantic, shape.page_tokens)
    }

    /// Sets aside `bytes` of the budget, in place of what was set aside before, for what is held outside the tree. False, and
    /// nothing changes but what was evicted, if what is in use or pinned leaves less.
    pub fn make_room(&self, bytes: u64) -> bool {
        self.shared.sync();
        self.shared.lock().set_aside(bytes)
    }

    /// Keeps the longest stored beginning of `tokens` whatever the budgets say. Returns how many tokens that is.
    pub fn pin(&self, isolation: &str, tokens: &[u32]) -> usize {
        self.set_pinned(isolation, tokens, true)
    }

    /// Ends [`Cache::pin`] for the longest stored beginning of `tokens`. Returns how many tokens that is.
    pub fn unpin(&self, isolation: &str, tokens: &[u32]) -> usize {
        self.set_pinned(isolation, tokens, false)
    }

    fn set_pinned(&self, isolation: &str, tokens: &[u32], pinned: bool) -> usize {
        let root = crate::root_key(&self.shared.shape.identity, isolation);
        let (position, keys) = self.shared.lock().set_pinned(&root, tokens, pinned);
        self.pin_on_disk(&keys, pinned);
        position
    }

    fn pin_on_disk(&self, keys: &[Key], pinned: bool) {
        if let Some(disk) = &self.shared.disk {
            keys.iter().for_each(|key| disk.set_pinned(key, pinned));
        }
    }

    /// Snapshots, last pages and pinned ones, in no order.
    pub fn list(&self) -> Vec<Entry> {
        self.shared.sync();
        self.shared.lock().list()
    }

    /// All token ids up to the end of a listed entry.
    pub fn tokens(&self, key: &Key) -> Option<Vec<u32>> {
        self.shared.lock().tokens(key)
    }

    /// Bytes and counts.
    pub fn stats(&self) -> Stats {
        self.shared.sync();
        let tree = self.shared.lock().stats();
        Stats {
            tree,
            disk: self.shared.disk.as_ref().map(Disk::stats),
        }
    }

    /// Does the disk tier's queued work in this thread; for caches opened without `background`.
    pub fn pump(&self) {
        if let Some(disk) = &self.shared.disk {
            disk.pump();
        }
        self.shared.sync();
    }

    /// Waits until everything queued is on disk.
    pub fn flush(&self) {
        if let Some(disk) = &self.shared.disk {
            disk.flush();
        }
        self.shared.sync();
    }

    /// The disk tier, if there is one.
    pub fn disk(&self) -> Option<&Disk> {
        self.shared.disk.as_ref()
    }

    /// Counts everything again; panics if the tree is not what it should be.
    #[cfg(test)]
    pub(crate) fn check(&self) {
        self.shared.lock().check();
    }

    /// Everything that can be used.
    #[cfg(test)]
    pub(crate) fn dump(&self) -> Vec<crate::tree::check::Stored> {
        self.shared.lock().dump()
    }
}

impl Shared {
    pub(crate) fn lock(&self) -> Locked<'_> {
        Locked {
            shared: self,
            tree: Some(self.tree.lock()),
        }
    }

    /// Learns what became of records on disk.
    pub(crate) fn sync(&self) {
        let Some(disk) = &self.disk else { return };
        // Taken and applied under one lock: applied late, the end of a record would be taken for that of the next one
        // with its key.
        let mut tree = self.lock();
        for event in disk.events() {
            match event {
                Event::Stored(key) => tree.stored(&key),
                Event::Dropped(key) => tree.dropped(&key),
            }
        }
    }

    /// Hands records to the disk tier.
    fn write(&self, records: Vec<NewRecord>) {
        let Some(disk) = &self.disk else { return };
        for record in records {
            let key = record.key;
            if disk.put(record) != Queued::Yes {
                self.lock().not_queued(&key);
            }
        }
    }
}

impl std::ops::Deref for Locked<'_> {
    type Target = Tree;

    fn deref(&self) -> &Tree {
        self.tree.as_ref().expect("locked until dropped")
    }
}

impl std::ops::DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut Tree {
        self.tree.as_mut().expect("locked until dropped")
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        let Some(mut tree) = self.tree.take() else { return };
        let Outside { freed, forgotten } = std::mem::take(&mut tree.outside);
        if let Some(disk) = &self.shared.disk {
            // Under the lock: after it, another thread may have handed in the same page again, and that must stay. The
            // disk tier only changes its index here, and never calls the tree.
            forgotten.iter().for_each(|key| disk.remove(key));
        }
        drop(tree);
        drop(freed);
    }
}
