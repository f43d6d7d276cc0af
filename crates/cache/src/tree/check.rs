//! Counts everything again, for tests.

use std::collections::HashSet;

use super::{Item, NONE, OnDisk, Tree, room};
use crate::disk::Kind;
use crate::{Key, Payload};

/// Something that can be used: its root, the tokens up to its end, and its bytes if they are in RAM.
pub(crate) struct Stored {
    pub(crate) root: Key,
    pub(crate) kind: Kind,
    pub(crate) tokens: Vec<u32>,
    pub(crate) bytes: Option<Payload>,
    pub(crate) on_disk: bool,
    pub(crate) pinned: bool,
}

impl Tree {
    /// Everything that is in RAM or on disk, found without the lists that lookups use.
    pub(crate) fn dump(&self) -> Vec<Stored> {
        let items = (self
            .nodes
            .iter()
            .filter(|(_, node)| !node.is_root())
            .map(|(n, _)| Item::Page(n)))
        .chain(self.snapshots.iter().map(|(s, _)| Item::Snapshot(s)));
        let items = items.filter(|item| self.copies(*item).available());
        items
            .map(|item| {
                let mut tokens = Vec::new();
                let mut at = item;
                let root = loop {
                    let ids = match at {
                        Item::Page(n) if self.nodes[n].is_root() => break n,
                        Item::Page(n) => self.ids.page(n),
                        Item::Snapshot(s) => &self.snapshots[s].tail,
                    };
                    tokens.splice(..0, ids.iter().copied());
                    at = Item::Page(self.above(at));
                };
                let copies = self.copies(item);
                Stored {
                    root: self.nodes[root].copies.key,
                    kind: if matches!(item, Item::Page(_)) {
                        Kind::Page
                    } else {
                        Kind::Snapshot
                    },
                    tokens,
                    bytes: copies.bytes.clone(),
                    on_disk: copies.disk == OnDisk::Stored,
                    pinned: copies.pinned,
                }
            })
            .collect()
    }

    /// Panics if anything that the tree keeps up to date is not what counting gives.
    pub(crate) fn check(&self) {
        let items: Vec<Item> = (self.nodes.iter().map(|(n, _)| Item::Page(n)))
            .chain(self.snapshots.iter().map(|(s, _)| Item::Snapshot(s)))
            .collect();
        let mut used = self.evicted.bytes();
        let mut bare = 0;
        let mut lists = (HashSet::new(), HashSet::new());
        for &item in &items {
            let copies = self.copies(item);
            let below: Vec<Item> = match item {
                Item::Page(n) => {
                    let node = &self.nodes[n];
                    assert!(
                        node.children
                            .is_sorted_by(|a, b| self.ids.page(*a) < self.ids.page(*b))
                    );
                    let tail = |s: u32| &self.snapshots[s].tail;
                    assert!(node.snapshots.is_sorted_by(|a, b| tail(*a) < tail(*b)));
                    assert!(node.hint == NONE || node.children.contains(&node.hint));
                    assert_eq!(node.is_root(), node.pages == 0);
                    (node.children.iter().map(|&c| Item::Page(c)))
                        .chain(node.snapshots.iter().map(|&s| Item::Snapshot(s)))
                        .collect()
                }
                Item::Snapshot(s) => {
                    assert!(self.snapshots[s].tail.len() < self.shape.page_tokens);
                    Vec::new()
                }
            };
            assert!(
                below
                    .iter()
                    .all(|b| matches!(item, Item::Page(n) if self.above(*b) == n))
            );
            let anchors = below.iter().filter(|b| self.copies(**b).anchored).count();
            assert_eq!(anchors, self.anchors(item) as usize, "anchors of {item:?}");
            let anchored = copies.bytes.is_some() || copies.pinned || copies.holds > 0 || anchors > 0;
            assert_eq!(anchored, copies.anchored, "{item:?} is anchored");
            assert!(
                anchored || copies.disk != OnDisk::No || !below.is_empty(),
                "{item:?} should be gone"
            );
            assert_eq!(
                self.on_disk.get(&copies.key) == Some(&item),
                copies.disk != OnDisk::No
            );
            used += self.overhead(item);
            match &copies.bytes {
                Some(bytes) => used += room::payload_bytes(bytes.len()),
                None => bare += self.overhead(item),
            }
            if !self.is_root(item) && !copies.pinned && copies.holds == 0 {
                if copies.bytes.is_some() && anchors == 0 {
                    lists.0.insert(item);
                }
                if copies.bytes.is_none() && below.is_empty() {
                    lists.1.insert(item);
                }
            }
        }
        assert_eq!((used, bare), self.room.counted());
        assert_eq!(lists, self.room.listed(), "lists of what may go");
        assert_eq!(
            self.on_disk.len(),
            items
                .iter()
                .filter(|i| self.copies(**i).disk != OnDisk::No)
                .count()
        );
        let roots = items.iter().filter(|item| self.is_root(**item)).count();
        assert_eq!(roots, self.roots.len());
        let firsts = self.nodes.iter().filter(|(_, node)| node.pages == 1).count();
        assert_eq!(firsts, self.firsts.values().sum::<u32>() as usize);
        let ram = |pages: bool| {
            let sizes = items.iter().filter(|item| matches!(item, Item::Page(_)) == pages);
            let sizes = sizes.filter_map(|item| Some(self.copies(*item).bytes.as_ref()?.len() as u64));
            (sizes.clone().count() as u64, sizes.sum::<u64>())
        };
        assert_eq!(ram(true), (self.stats.ram_pages, self.stats.ram_page_bytes));
        assert_eq!(
            ram(false),
            (self.stats.ram_snapshots, self.stats.ram_snapshot_bytes)
        );
    }
}
