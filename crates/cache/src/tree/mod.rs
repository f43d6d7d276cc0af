//! The tree itself: nodes, snapshots, and what changes when one gains or loses its bytes. No locks, no files.
//!
//! A node is a page; its place in the tree is the tokens before it. Children are sorted by their ids and compared id by id,
//! so there is no hash that two pages could share. Snapshots hang on the node of the last page before them, sorted by the
//! ids in between (the *tail*).
//!
//! Bytes may be in RAM, on disk, in both places or (while something below still is) in neither: a *hole*, which ends every
//! walk. A thing is *anchored* while it has bytes in RAM, is pinned or held, or has something anchored below it. Eviction
//! takes only what has nothing anchored below: leaves first, snapshots before the pages they need.

#[cfg(test)]
pub(crate) mod check;
mod evicted;
mod explain;
mod ids;
mod insert;
mod list;
mod load;
mod rebuild;
mod room;
mod slab;
mod walk;

use std::collections::HashMap;
use std::sync::Arc;

use evicted::Evicted;
use ids::Ids;
pub use insert::Path;
pub use list::Entry;
pub(crate) use load::PageAt;
use room::Room;
pub(crate) use slab::Handle;
use slab::Slab;
pub(crate) use walk::{Start, Walk};

use crate::disk::Foreign;
use crate::options::Shape;
use crate::stats::TreeStats;
use crate::{Key, Payload};

/// No node.
const NONE: u32 = u32::MAX;

pub(crate) struct Tree {
    shape: Shape,
    ids: Ids,
    nodes: Slab<Node>,
    snapshots: Slab<Snapshot>,
    roots: HashMap<Key, u32>,
    /// What has a copy on disk, or is about to.
    on_disk: HashMap<Key, Item>,
    /// How many roots have a first page with these ids (fingerprint of the ids alone).
    firsts: HashMap<u64, u32>,
    room: Room,
    evicted: Evicted,
    foreign: Foreign,
    pub(crate) stats: TreeStats,
    /// Bytes to be given back and records to be forgotten once the lock is released.
    pub(crate) outside: Outside,
}

/// What an operation leaves to be done when it is over.
#[derive(Default)]
pub(crate) struct Outside {
    /// Freeing big buffers takes longer than a lookup.
    pub(crate) freed: Vec<Payload>,
    /// Records that the tree no longer points at.
    pub(crate) forgotten: Vec<Key>,
}

/// A page or a snapshot, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Item {
    Page(u32),
    Snapshot(u32),
}

impl Item {
    fn number(self) -> u32 {
        match self {
            Item::Page(n) | Item::Snapshot(n) => n,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnDisk {
    No,
    /// Given to the disk tier; not yet readable.
    Queued,
    Stored,
}

/// What pages and snapshots have in common.
#[derive(Debug)]
struct Copies {
    key: Key,
    bytes: Option<Payload>,
    disk: OnDisk,
    pinned: bool,
    /// Lookups that are about to use it.
    holds: u32,
    /// Whether the node above counts it as anchored.
    anchored: bool,
    place: room::Place,
}

#[derive(Debug)]
struct Node {
    /// NONE for a root.
    parent: u32,
    /// The child that was used last: tried first.
    hint: u32,
    /// Pages from the root to here, this one included.
    pages: u32,
    /// Children and snapshots that are anchored.
    anchors: u32,
    /// A snapshot on this page was evicted and has not come back.
    lost_snapshot: bool,
    copies: Copies,
    /// Sorted by ids.
    children: Vec<u32>,
    /// Sorted by tail.
    snapshots: Vec<u32>,
}

#[derive(Debug)]
struct Snapshot {
    node: u32,
    tail: Box<[u32]>,
    /// Bytes of its payload, wherever that is.
    size: usize,
    copies: Copies,
}

impl Copies {
    fn new(key: Key) -> Copies {
        Copies {
            key,
            bytes: None,
            disk: OnDisk::No,
            pinned: false,
            holds: 0,
            anchored: false,
            place: room::Place::default(),
        }
    }

    /// In RAM or readable from disk.
    fn available(&self) -> bool {
        self.bytes.is_some() || self.disk == OnDisk::Stored
    }

    /// Somebody outside the tree has the bytes: a sequence, or the writer of the disk tier.
    fn in_use(&self) -> bool {
        self.bytes
            .as_ref()
            .is_some_and(|bytes| Arc::strong_count(bytes) > 1)
    }

    fn kept(&self) -> bool {
        self.pinned || self.holds > 0
    }
}

impl Node {
    fn is_root(&self) -> bool {
        self.parent == NONE
    }
}

impl Tree {
    pub(crate) fn new(shape: Shape, ram_bytes: u64, foreign: Foreign) -> Tree {
        let evicted = Evicted::new(ram_bytes);
        let mut room = Room::new(ram_bytes);
        room.add_fixed(evicted.bytes());
        Tree {
            shape,
            ids: Ids::new(shape.page_tokens),
            nodes: Slab::new(),
            snapshots: Slab::new(),
            roots: HashMap::new(),
            on_disk: HashMap::new(),
            firsts: HashMap::new(),
            room,
            evicted,
            foreign,
            stats: TreeStats::default(),
            outside: Outside::default(),
        }
    }

    fn copies(&self, item: Item) -> &Copies {
        match item {
            Item::Page(n) => &self.nodes[n].copies,
            Item::Snapshot(s) => &self.snapshots[s].copies,
        }
    }

    fn copies_mut(&mut self, item: Item) -> &mut Copies {
        match item {
            Item::Page(n) => &mut self.nodes[n].copies,
            Item::Snapshot(s) => &mut self.snapshots[s].copies,
        }
    }

    /// The node that an item hangs on.
    fn above(&self, item: Item) -> u32 {
        match item {
            Item::Page(n) => self.nodes[n].parent,
            Item::Snapshot(s) => self.snapshots[s].node,
        }
    }

    /// Children and snapshots that keep an item from being evicted.
    fn anchors(&self, item: Item) -> u32 {
        match item {
            Item::Page(n) => self.nodes[n].anchors,
            Item::Snapshot(_) => 0,
        }
    }

    /// Whether anything hangs on an item.
    fn is_leaf(&self, item: Item) -> bool {
        match item {
            Item::Page(n) => self.nodes[n].children.is_empty() && self.nodes[n].snapshots.is_empty(),
            Item::Snapshot(_) => true,
        }
    }

    fn is_root(&self, item: Item) -> bool {
        matches!(item, Item::Page(n) if self.nodes[n].is_root())
    }

    /// Tokens up to the end of an item.
    fn position(&self, item: Item) -> usize {
        match item {
            Item::Page(n) => self.nodes[n].pages as usize * self.shape.page_tokens,
            Item::Snapshot(s) => {
                let snapshot = &self.snapshots[s];
                self.nodes[snapshot.node].pages as usize * self.shape.page_tokens + snapshot.tail.len()
            }
        }
    }

    /// Bookkeeping of an item: what it takes besides its payload.
    fn overhead(&self, item: Item) -> u64 {
        match item {
            Item::Page(_) => room::node_bytes(self.shape.page_tokens),
            Item::Snapshot(s) => room::snapshot_bytes(self.snapshots[s].tail.len()),
        }
    }

    /// Brings everything that depends on an item's state up to date, upwards as far as it matters: who is anchored, who may
    /// be evicted, and who is nothing any more and goes.
    fn settle(&mut self, mut item: Item) {
        loop {
            let above = self.above(item);
            let copies = self.copies(item);
            let anchored = copies.bytes.is_some() || copies.kept() || self.anchors(item) > 0;
            let dead = !anchored && copies.disk == OnDisk::No && self.is_leaf(item);
            let was_anchored = copies.anchored;
            if anchored != was_anchored {
                self.copies_mut(item).anchored = anchored;
                if above != NONE {
                    let anchors = &mut self.nodes[above].anchors;
                    *anchors = if anchored { *anchors + 1 } else { *anchors - 1 };
                }
            }
            if dead {
                self.remove(item);
            } else {
                self.place(item);
            }
            if above == NONE || (!dead && anchored == was_anchored) {
                return;
            }
            item = Item::Page(above);
        }
    }

    /// Takes an item without bytes, copies or anything below out of the tree.
    fn remove(&mut self, item: Item) {
        self.unplace(item);
        self.sub_overhead(item);
        match item {
            Item::Page(n) => {
                let node = &self.nodes[n];
                let (parent, key) = (node.parent, node.copies.key);
                if parent == NONE {
                    self.roots.remove(&key);
                } else {
                    let at = self.child_place(parent, self.ids.page(n));
                    let above = &mut self.nodes[parent];
                    if let Ok(at) = at {
                        above.children.remove(at);
                    }
                    if above.hint == n {
                        above.hint = above.children.first().copied().unwrap_or(NONE);
                    }
                    if above.is_root() {
                        self.forget_first(n);
                    }
                }
                self.nodes.remove(n);
            }
            Item::Snapshot(s) => {
                let node = self.snapshots[s].node;
                if let Ok(at) = self.snapshot_place(node, &self.snapshots[s].tail) {
                    self.nodes[node].snapshots.remove(at);
                }
                self.snapshots.remove(s);
            }
        }
    }

    /// Where among its parent's children a page with `ids` is (`Ok`) or would be (`Err`).
    fn child_place(&self, parent: u32, ids: &[u32]) -> Result<usize, usize> {
        self.nodes[parent]
            .children
            .binary_search_by(|&child| self.ids.page(child).cmp(ids))
    }

    /// Where among a node's snapshots one with `tail` is or would be.
    fn snapshot_place(&self, node: u32, tail: &[u32]) -> Result<usize, usize> {
        self.nodes[node]
            .snapshots
            .binary_search_by(|&s| (*self.snapshots[s].tail).cmp(tail))
    }

    /// The child with `ids`. The one used last is looked at first: along a prefix that is used again, no search is needed.
    fn child(&self, parent: u32, ids: &[u32]) -> Option<u32> {
        let node = &self.nodes[parent];
        if node.hint != NONE && self.ids.page(node.hint) == ids {
            return Some(node.hint);
        }
        if node.children.len() < 2 {
            return None;
        }
        let place = self.child_place(parent, ids).ok()?;
        Some(node.children[place])
    }
}
