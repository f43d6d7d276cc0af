//! Getting at the bytes of a walk.

use super::{Handle, Item, OnDisk, Start, Tree, Walk, room};
use crate::disk::Unreadable;
use crate::found::Lost;
use crate::{Key, Payload};

/// A page on a walk.
pub(crate) struct PageAt {
    pub(crate) handle: Handle,
    pub(crate) key: Key,
    pub(crate) bytes: Option<Payload>,
}

impl Tree {
    /// The pages of a walk, first to last.
    pub(crate) fn nodes_of(&self, walk: &Walk) -> Vec<Handle> {
        let Some(end) = walk.end else { return Vec::new() };
        let mut nodes: Vec<Handle> = self
            .upwards(Item::Page(end.index))
            .map(|item| self.nodes.handle(item.number()))
            .collect();
        nodes.reverse();
        nodes
    }

    /// Pages by their nodes, which are held.
    pub(crate) fn pages_at(&self, nodes: &[Handle]) -> Vec<PageAt> {
        let page = |handle: &Handle| {
            let copies = &self.nodes[handle.index].copies;
            PageAt {
                handle: *handle,
                key: copies.key,
                bytes: copies.bytes.clone(),
            }
        };
        nodes.iter().map(page).collect()
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

    /// A record could not be read. One that the disk tier has dropped meanwhile is not damaged: that it tells of the drop
    /// is only a matter of time.
    pub(crate) fn unreadable(&mut self, key: &Key, error: &Unreadable) -> Lost {
        if matches!(error, Unreadable::Missing) {
            if self
                .on_disk
                .get(key)
                .is_some_and(|item| self.copies(*item).disk == OnDisk::Stored)
            {
                self.dropped(key);
            }
            return Lost::Evicted;
        }
        if let Some(&item) = self.on_disk.get(key) {
            self.stats.damaged += 1;
            self.leave_disk(item);
            self.settle(item);
        }
        Lost::Damaged
    }

    /// Keys of what a start used, the first page last.
    pub(crate) fn keys_used(&self, nodes: &[Handle], start: Start) -> Vec<Key> {
        let snapshot = match start {
            Start::Snapshot { handle, .. } => self.snapshots.get(handle).map(|snapshot| snapshot.copies.key),
            Start::Nothing | Start::Replay { .. } => None,
        };
        let pages = &nodes[..start.pages(self.shape.page_tokens)];
        snapshot
            .into_iter()
            .chain(pages.iter().rev().map(|page| self.nodes[page.index].copies.key))
            .collect()
    }
}
