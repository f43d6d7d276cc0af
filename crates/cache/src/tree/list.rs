//! What is in the tree, for people; and what they pin.

use super::{Item, NONE, Node, Tree};
use crate::disk::Kind;
use crate::stats::TreeStats;
use crate::{Key, Report};

/// A page that nothing follows or that is pinned, or a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its key.
    pub key: Key,
    /// The key of its root, which stands for the isolation id.
    pub root: Key,
    /// Page or snapshot.
    pub kind: Kind,
    /// Tokens up to its end.
    pub position: usize,
    /// Bytes of its payload.
    pub bytes: usize,
    /// Whether they are in RAM.
    pub in_ram: bool,
    /// Whether they are on disk.
    pub on_disk: bool,
    /// Whether it is kept whatever the budgets say.
    pub pinned: bool,
}

impl Tree {
    /// Snapshots, last pages and pinned ones, in no order.
    pub(crate) fn list(&self) -> Vec<Entry> {
        let listed = |node: &Node| !node.is_root() && (node.children.is_empty() || node.copies.pinned);
        let items = self
            .nodes
            .iter()
            .filter(|(_, node)| listed(node))
            .map(|(n, _)| Item::Page(n));
        let items = items.chain(self.snapshots.iter().map(|(s, _)| Item::Snapshot(s)));
        items.map(|item| self.entry(item)).collect()
    }

    fn entry(&self, item: Item) -> Entry {
        let copies = self.copies(item);
        let (kind, node, bytes) = match item {
            Item::Page(n) => (Kind::Page, n, self.shape.page_bytes),
            Item::Snapshot(s) => (Kind::Snapshot, self.snapshots[s].node, self.snapshots[s].size),
        };
        let root = self.page_above(node, 0);
        Entry {
            key: copies.key,
            root: self.nodes[root].copies.key,
            kind,
            position: self.position(item),
            bytes,
            in_ram: copies.bytes.is_some(),
            on_disk: copies.disk == super::OnDisk::Stored,
            pinned: copies.pinned,
        }
    }

    /// All token ids up to the end of the item with `key`.
    pub(crate) fn tokens(&self, key: &Key) -> Option<Vec<u32>> {
        let snapshot = self
            .snapshots
            .iter()
            .find(|(_, snapshot)| snapshot.copies.key == *key);
        let (mut n, tail) = match snapshot {
            Some((_, snapshot)) => (snapshot.node, &*snapshot.tail),
            None => (
                self.nodes.iter().find(|(_, node)| node.copies.key == *key)?.0,
                &[][..],
            ),
        };
        let mut pages = Vec::new();
        while !self.nodes[n].is_root() {
            pages.push(self.ids.page(n));
            n = self.nodes[n].parent;
        }
        pages.reverse();
        pages.push(tail);
        Some(pages.concat())
    }

    /// Pins or unpins the longest stored beginning of `tokens`: its last page, and the snapshot at its very end if there is
    /// one. Returns how many tokens that is, and the keys to be pinned or unpinned on disk.
    pub(crate) fn set_pinned(&mut self, root: &Key, tokens: &[u32], pinned: bool) -> (usize, Vec<Key>) {
        let walk = self.walk(root, tokens);
        let mut ends = Vec::new();
        if let Some(end) = walk.end.filter(|_| walk.pages > 0) {
            ends.push(Item::Page(end.index));
        }
        if let Some((position, handle)) = walk.snapshots.last()
            && (*position == tokens.len() || (*position > walk.pages * self.shape.page_tokens))
        {
            ends.push(Item::Snapshot(handle.index));
        }
        for &item in &ends {
            self.copies_mut(item).pinned = pinned;
            self.settle(item);
        }
        let Some(&last) = ends.last() else {
            return (0, Vec::new());
        };
        (self.position(last), self.path_keys(&ends, pinned))
    }

    /// Keys of `ends` and of all pages before them; when unpinning, those that no other pinned thing needs.
    fn path_keys(&self, ends: &[Item], pinned: bool) -> Vec<Key> {
        let needed: std::collections::HashSet<Item> = if pinned {
            std::collections::HashSet::new()
        } else {
            let pages = self.nodes.iter().map(|(n, node)| (Item::Page(n), &node.copies));
            let snapshots = self
                .snapshots
                .iter()
                .map(|(s, snapshot)| (Item::Snapshot(s), &snapshot.copies));
            let others = pages.chain(snapshots).filter(|(_, copies)| copies.pinned);
            others.flat_map(|(item, _)| self.upwards(item)).collect()
        };
        let mut items: Vec<Item> = ends.iter().flat_map(|item| self.upwards(*item)).collect();
        items.sort_unstable();
        items.dedup();
        items.retain(|item| !needed.contains(item));
        items.into_iter().map(|item| self.copies(item).key).collect()
    }

    /// Keys of the snapshot at the end of a path, and of the pages before it.
    pub(crate) fn snapshot_path_keys(&self, key: &Key) -> Vec<Key> {
        self.on_disk
            .get(key)
            .map_or_else(Vec::new, |item| self.path_keys(&[*item], true))
    }

    /// An item and the pages it hangs on, without the root.
    pub(super) fn upwards(&self, item: Item) -> impl Iterator<Item = Item> {
        let above = |item: &Item| Some(self.above(*item)).filter(|n| *n != NONE).map(Item::Page);
        std::iter::successors(Some(item), above).filter(|item| !self.is_root(*item))
    }

    pub(super) fn unpin_above(&mut self, item: Item) {
        let above: Vec<Item> = self.upwards(item).skip(1).collect();
        for item in above {
            self.copies_mut(item).pinned = false;
            self.settle(item);
        }
    }

    /// A lookup ended.
    pub(crate) fn count(&mut self, asked: usize, report: &Report) {
        self.stats.lookups += 1;
        self.stats.lookups_by_miss[report.miss.index()] += 1;
        self.stats.asked_tokens += asked as u64;
        self.stats.hit_tokens += report.hit as u64;
        self.stats.replayed_tokens += report.replayed as u64;
    }

    /// Counts and bytes now.
    pub(crate) fn stats(&self) -> TreeStats {
        TreeStats {
            ram_budget_bytes: self.room.budget(),
            ram_bytes: self.room.used(),
            pages: (self.nodes.len() - self.roots.len()) as u64,
            snapshots: self.snapshots.len() as u64,
            on_disk: self.on_disk.len() as u64,
            roots: self.roots.len() as u64,
            ..self.stats.clone()
        }
    }
}
