//! Getting at the bytes of a walk.

use std::ops::Range;

use super::{Handle, Item, Start, Tree, Walk, room};
use crate::{Key, Payload};

/// A page on a walk.
pub(crate) struct PageAt {
    pub(crate) handle: Handle,
    pub(crate) key: Key,
    pub(crate) bytes: Option<Payload>,
}

impl Tree {
    /// Pages `range` of a walk.
    pub(crate) fn pages_at(&self, walk: &Walk, range: Range<usize>) -> Vec<PageAt> {
        let Some(end) = walk.end else { return Vec::new() };
        let mut pages = Vec::with_capacity(range.len());
        let mut n = self.page_above(end.index, range.end);
        for _ in range {
            let copies = &self.nodes[n].copies;
            pages.push(PageAt {
                handle: self.nodes.handle(n),
                key: copies.key,
                bytes: copies.bytes.clone(),
            });
            n = self.nodes[n].parent;
        }
        pages.reverse();
        pages
    }

    /// The first `pages` pages of a walk.
    pub(crate) fn nodes_at(&self, walk: &Walk, pages: usize) -> Vec<Handle> {
        let Some(end) = walk.end else { return Vec::new() };
        let last = Item::Page(self.page_above(end.index, pages));
        let mut nodes = Vec::with_capacity(pages);
        nodes.extend(self.upwards(last).filter_map(|item| match item {
            Item::Page(n) => Some(self.nodes.handle(n)),
            Item::Snapshot(_) => None,
        }));
        nodes.reverse();
        nodes
    }

    /// A snapshot's bytes, or what to read; None if it is gone.
    pub(crate) fn snapshot_at(&self, handle: Handle) -> Option<Result<Payload, (Key, usize)>> {
        let snapshot = self.snapshots.get(handle)?;
        Some(
            snapshot
                .copies
                .bytes
                .clone()
                .ok_or((snapshot.copies.key, snapshot.size)),
        )
    }

    /// Whether what a start needs besides its pages is in RAM.
    pub(crate) fn in_ram(&self, start: Start) -> bool {
        match start {
            Start::Snapshot { handle, .. } => matches!(self.snapshot_at(handle), Some(Ok(_))),
            Start::Nothing | Start::Replay { .. } => true,
        }
    }

    /// A page was read. Returns the bytes to share: those of another reader if that came first. Without room in RAM the
    /// reader alone has them.
    pub(crate) fn promote_page(&mut self, handle: Handle, bytes: Payload) -> Payload {
        if !self.nodes.holds(handle) {
            return bytes;
        }
        self.promote(Item::Page(handle.index), bytes)
    }

    /// A snapshot was read.
    pub(crate) fn promote_snapshot(&mut self, handle: Handle, bytes: Payload) -> Payload {
        if !self.snapshots.holds(handle) {
            return bytes;
        }
        self.promote(Item::Snapshot(handle.index), bytes)
    }

    fn promote(&mut self, item: Item, bytes: Payload) -> Payload {
        if let Some(bytes) = &self.copies(item).bytes {
            return bytes.clone();
        }
        if self.make_room_beside(item, room::payload_bytes(bytes.len())) {
            self.give_bytes(item, bytes.clone());
            self.settle(item);
        } else {
            self.stats.no_room += 1;
        }
        bytes
    }

    /// A record could not be read.
    pub(crate) fn damaged(&mut self, key: &Key) {
        if let Some(&item) = self.on_disk.get(key) {
            self.stats.damaged += 1;
            self.leave_disk(item);
            self.settle(item);
        }
    }

    /// Keys of what a start used, the first page last.
    pub(crate) fn keys_used(&self, walk: &Walk, start: Start) -> Vec<Key> {
        let mut keys = Vec::new();
        if let Start::Snapshot { handle, .. } = start
            && let Some(snapshot) = self.snapshots.get(handle)
        {
            keys.push(snapshot.copies.key);
        }
        if let Some(end) = walk.end {
            let last = self.page_above(end.index, start.pages(self.shape.page_tokens));
            keys.extend(self.upwards(Item::Page(last)).map(|item| self.copies(item).key));
        }
        keys
    }
}
