//! Storing: a sequence's path through the tree, and what is put on it.

use super::{Copies, Handle, Item, NONE, Node, OnDisk, Snapshot, Tree, room};
use crate::disk::{Kind, NewRecord};
use crate::{Key, Payload, Policy, page_key, snapshot_key};

/// Where a running sequence is in the tree, so that its pages are stored without walking there again.
///
/// A path belongs to one sequence of tokens. A fork clones it; after a rewind, [`Path::rewind`] must be told.
#[derive(Clone, Debug)]
pub struct Path {
    root: Key,
    page_tokens: usize,
    /// The sequence's pages in the tree, from the first on. One may have left the tree since.
    nodes: Vec<Handle>,
    /// Pages after them for which there was no room; they are tried again.
    waiting: Vec<(Box<[u32]>, Payload)>,
    /// Pages after all these that can't be stored, because one before them is not in the tree and will not be; nothing
    /// waits then.
    lost: usize,
}

impl Path {
    pub(crate) fn new(root: Key, nodes: Vec<Handle>, page_tokens: usize) -> Path {
        Path {
            root,
            page_tokens,
            nodes,
            waiting: Vec::new(),
            lost: 0,
        }
    }

    /// The sequence was cut to `tokens` tokens.
    pub fn rewind(&mut self, tokens: usize) {
        let mut pages = tokens / self.page_tokens;
        self.nodes.truncate(pages);
        pages -= self.nodes.len();
        self.waiting.truncate(pages);
        pages -= self.waiting.len();
        self.lost = self.lost.min(pages);
    }

    /// Complete pages of the sequence that are in the tree, or were when they were stored.
    pub fn stored_pages(&self) -> usize {
        self.nodes.len()
    }

    /// Complete pages of the sequence.
    pub fn pages(&self) -> usize {
        self.nodes.len() + self.waiting.len() + self.lost
    }

    /// Gives up what waits and one page more: nothing can be stored after it until it is rewound.
    fn lose(&mut self) {
        self.lost += self.waiting.len() + 1;
        self.waiting = Vec::new();
    }
}

impl Tree {
    /// Stores the page with `ids` after those of the path. Returns the bytes to share, and adds what is to be written to disk.
    pub(crate) fn push_page(
        &mut self,
        path: &mut Path,
        ids: &[u32],
        bytes: Payload,
        records: &mut Vec<NewRecord>,
    ) -> Payload {
        let fits = ids.len() == self.shape.page_tokens && bytes.len() == self.shape.page_bytes;
        if !fits || path.lost > 0 || self.is_gone(path) {
            self.stats.refused += 1;
            path.lose();
            return bytes;
        }
        while let Some((ids, bytes)) = path.waiting.first().cloned() {
            if self.store_page(path, &ids, &bytes, records).is_none() {
                break;
            }
            path.waiting.remove(0);
        }
        let shared = if path.waiting.is_empty() {
            self.store_page(path, ids, &bytes, records)
        } else {
            None
        };
        shared.unwrap_or_else(|| {
            self.stats.no_room += 1;
            path.waiting.push((ids.into(), bytes.clone()));
            bytes
        })
    }

    fn store_page(
        &mut self,
        path: &mut Path,
        ids: &[u32],
        bytes: &Payload,
        records: &mut Vec<NewRecord>,
    ) -> Option<Payload> {
        let parent = self.seek(path)?;
        let child = self.child(parent, ids);
        let held = child.and_then(|child| self.nodes[child].copies.bytes.clone());
        let (n, shared) = if let (Some(child), Some(held)) = (child, held) {
            (child, held)
        } else {
            let new = if child.is_some() {
                0
            } else {
                room::node_bytes(self.shape.page_tokens)
            };
            let kept = Item::Page(child.unwrap_or(parent));
            if !self.make_room_beside(kept, new + room::payload_bytes(bytes.len())) {
                return None;
            }
            let child = child.unwrap_or_else(|| self.add_page(parent, ids));
            self.give_bytes(Item::Page(child), bytes.clone());
            self.settle(Item::Page(child));
            (child, bytes.clone())
        };
        path.nodes.push(self.nodes.handle(n));
        self.nodes[parent].hint = n;
        self.touch(Item::Page(n));
        records.extend(self.record(Item::Page(n)));
        Some(shared)
    }

    /// Whether the snapshot `tail` after the path is in RAM. If so, it was used just now.
    pub(crate) fn has_snapshot(&mut self, path: &Path, tail: &[u32]) -> bool {
        // While pages wait or are lost, the path's end is not in the tree.
        let at_its_end = path.pages() == path.nodes.len();
        let Some(node) = self.known(path).filter(|_| at_its_end) else {
            return false;
        };
        let Ok(place) = self.snapshot_place(node, tail) else {
            return false;
        };
        let s = self.nodes[node].snapshots[place];
        let there = self.snapshots[s].copies.bytes.is_some();
        if there {
            self.touch(Item::Snapshot(s));
        }
        there
    }

    /// Stores the live state `tail` after the path. Returns its key if it is stored, and adds what is to be written to disk.
    pub(crate) fn keep_snapshot(
        &mut self,
        path: &Path,
        tail: &[u32],
        bytes: Payload,
        pinned: bool,
        records: &mut Vec<NewRecord>,
    ) -> Option<Key> {
        if tail.len() >= self.shape.page_tokens || self.shape.policy == Policy::None {
            self.stats.refused += 1;
            return None;
        }
        if path.lost > 0 || self.is_gone(path) {
            self.stats.refused += 1;
            return None;
        }
        // Pages that wait for room are not in the tree, and nothing can hang on them.
        let node = if path.waiting.is_empty() {
            self.seek(path)
        } else {
            None
        };
        let Some(node) = node else {
            self.stats.no_room += 1;
            return None;
        };
        let known = self
            .snapshot_place(node, tail)
            .ok()
            .map(|place| self.nodes[node].snapshots[place]);
        let missing = known.is_none_or(|s| self.snapshots[s].copies.bytes.is_none());
        let mut need = if known.is_none() {
            room::snapshot_bytes(tail.len())
        } else {
            0
        };
        if missing {
            need += room::payload_bytes(bytes.len());
        }
        let kept = known.map_or(Item::Page(node), Item::Snapshot);
        if need > 0 && !self.make_room_beside(kept, need) {
            self.stats.no_room += 1;
            return None;
        }
        let s = known.unwrap_or_else(|| self.add_snapshot(node, tail, bytes.len()));
        let item = Item::Snapshot(s);
        if missing {
            self.snapshots[s].size = bytes.len();
            self.give_bytes(item, bytes);
        }
        self.nodes[node].lost_snapshot = false;
        self.copies_mut(item).pinned |= pinned;
        self.settle(item);
        self.touch(item);
        records.extend(self.record(item));
        Some(self.copies(item).key)
    }

    /// Makes room, but not by taking `kept` or what it hangs on.
    pub(super) fn make_room_beside(&mut self, kept: Item, bytes: u64) -> bool {
        self.copies_mut(kept).holds += 1;
        self.settle(kept);
        let fits = self.make_room(bytes);
        self.copies_mut(kept).holds -= 1;
        // A node about to get its first child must not go for having none.
        if fits {
            self.place(kept);
        } else {
            self.settle(kept);
        }
        fits
    }

    /// The node of the last page in the tree, or the root, if it is still there.
    fn known(&self, path: &Path) -> Option<u32> {
        match path.nodes.last() {
            None => self.roots.get(&path.root).copied(),
            Some(node) => self.nodes.holds(*node).then_some(node.index),
        }
    }

    /// The same, making the root if need be.
    fn seek(&mut self, path: &Path) -> Option<u32> {
        self.known(path)
            .or_else(|| path.nodes.is_empty().then(|| self.add_root(path.root)))
    }

    /// Whether the last page in the tree has left it.
    fn is_gone(&self, path: &Path) -> bool {
        !path.nodes.is_empty() && self.known(path).is_none()
    }

    pub(super) fn add_root(&mut self, key: Key) -> u32 {
        let root = self.nodes.insert(Node::new(NONE, 0, key));
        self.roots.insert(key, root);
        self.add_overhead(Item::Page(root));
        root
    }

    pub(super) fn add_page(&mut self, parent: u32, ids: &[u32]) -> u32 {
        let above = &self.nodes[parent];
        let n = self.nodes.insert(Node::new(
            parent,
            above.pages + 1,
            page_key(&above.copies.key, ids),
        ));
        self.ids.set(n, ids);
        let (Ok(place) | Err(place)) = self.child_place(parent, ids);
        let above = &mut self.nodes[parent];
        above.children.insert(place, n);
        above.hint = n;
        if above.is_root() {
            self.count_first(n);
        }
        self.add_overhead(Item::Page(n));
        n
    }

    pub(super) fn add_snapshot(&mut self, node: u32, tail: &[u32], size: usize) -> u32 {
        let key = snapshot_key(&self.nodes[node].copies.key, tail);
        let s = self.snapshots.insert(Snapshot {
            node,
            tail: tail.into(),
            size,
            copies: Copies::new(key),
        });
        let (Ok(place) | Err(place)) = self.snapshot_place(node, tail);
        self.nodes[node].snapshots.insert(place, s);
        self.add_overhead(Item::Snapshot(s));
        s
    }

    /// What is to be written so that an item is on disk; None if it is, or if there is no disk.
    fn record(&mut self, item: Item) -> Option<NewRecord> {
        if !self.shape.disk || self.copies(item).disk != OnDisk::No {
            return None;
        }
        let (kind, tokens) = match item {
            Item::Page(n) => (Kind::Page, self.ids.page(n).to_vec()),
            Item::Snapshot(s) => (Kind::Snapshot, self.snapshots[s].tail.to_vec()),
        };
        let parent = self.nodes[self.above(item)].copies.key;
        let position = self.position(item) as u64;
        let copies = self.copies_mut(item);
        let payload = copies.bytes.clone()?;
        copies.disk = OnDisk::Queued;
        let (key, pinned) = (copies.key, copies.pinned);
        self.on_disk.insert(key, item);
        Some(NewRecord {
            key,
            parent,
            kind,
            tokens,
            position,
            payload,
            pinned,
        })
    }

    /// A queued record can be read.
    pub(crate) fn stored(&mut self, key: &Key) {
        if let Some(&item) = self.on_disk.get(key) {
            self.copies_mut(item).disk = OnDisk::Stored;
            self.settle(item);
        }
    }

    /// The disk tier did not take a record.
    pub(crate) fn not_queued(&mut self, key: &Key) {
        self.stats.not_queued += 1;
        self.dropped(key);
    }

    /// A record can't be read any more.
    pub(crate) fn dropped(&mut self, key: &Key) {
        if let Some(item) = self.on_disk.remove(key) {
            self.copies_mut(item).disk = OnDisk::No;
            if self.copies(item).bytes.is_none() {
                self.remember(item);
            }
            self.settle(item);
        }
    }
}

impl Node {
    fn new(parent: u32, pages: u32, key: Key) -> Node {
        Node {
            parent,
            hint: NONE,
            pages,
            anchors: 0,
            lost_snapshot: false,
            copies: Copies::new(key),
            children: Vec::new(),
            snapshots: Vec::new(),
        }
    }
}
