//! The tree from what is found on disk.

use super::{Item, OnDisk, Tree};
use crate::disk::{Kind, Record};
use crate::{page_key, snapshot_key};

impl Tree {
    /// Links records, oldest use first, into an empty tree. Those without the pages before them, and those that are not what
    /// this model would have written, are given up and counted.
    pub(crate) fn rebuild(&mut self, records: &[Record]) {
        let mut order: Vec<&Record> = records.iter().collect();
        order.sort_by_key(|record| (record.position, record.kind == Kind::Snapshot));
        for record in order {
            if !self.link(record) {
                self.stats.unlinked += 1;
                if !self.on_disk.contains_key(&record.key) {
                    self.outside.forgotten.push(record.key);
                }
            }
        }
        for record in records {
            if let Some(&item) = self.on_disk.get(&record.key) {
                self.touch_before_all(item);
            }
        }
        // On disk all pages up to a pinned end are pinned; here the end is enough.
        let pinned: Vec<Item> = self
            .on_disk
            .values()
            .copied()
            .filter(|item| self.copies(*item).pinned)
            .collect();
        for item in pinned {
            self.unpin_above(item);
        }
        self.bound_bookkeeping();
    }

    fn link(&mut self, record: &Record) -> bool {
        let page = self.shape.page_tokens;
        let Ok(position) = usize::try_from(record.position) else {
            return false;
        };
        let len = record.tokens.len();
        let sound = match record.kind {
            Kind::Page => {
                len == page
                    && position.is_multiple_of(page)
                    && record.bytes == self.shape.page_bytes as u64
                    && record.key == page_key(&record.parent, &record.tokens)
            }
            Kind::Snapshot => {
                len == position % page
                    && position > 0
                    && record.key == snapshot_key(&record.parent, &record.tokens)
            }
        };
        if !sound || position < len || self.on_disk.contains_key(&record.key) {
            return false;
        }
        let before = position - len;
        let above = if before == 0 {
            let root = self.roots.get(&record.parent).copied();
            root.unwrap_or_else(|| self.add_root(record.parent))
        } else {
            match self.on_disk.get(&record.parent) {
                Some(&Item::Page(n)) if self.position(Item::Page(n)) == before => n,
                _ => return false,
            }
        };
        let item = match record.kind {
            Kind::Page => Item::Page(self.add_page(above, &record.tokens)),
            Kind::Snapshot => Item::Snapshot(self.add_snapshot(above, &record.tokens, record.bytes as usize)),
        };
        let copies = self.copies_mut(item);
        copies.disk = OnDisk::Stored;
        copies.pinned = record.pinned;
        self.on_disk.insert(record.key, item);
        self.settle(item);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Policy;
    use crate::disk::Foreign;
    use crate::options::Shape;

    const ROOT: [u8; 32] = [5; 32];

    fn tree() -> Tree {
        let shape = Shape {
            identity: [0; 32],
            page_tokens: 2,
            page_bytes: 10,
            replay_tokens: 0,
            policy: Policy::Full,
            disk: true,
        };
        Tree::new(shape, 1 << 20, Foreign::default())
    }

    fn page(parent: [u8; 32], ids: [u32; 2], position: u64) -> Record {
        let key = page_key(&parent, &ids);
        Record {
            key,
            parent,
            kind: Kind::Page,
            tokens: ids.to_vec(),
            position,
            bytes: 10,
            pinned: false,
        }
    }

    fn snapshot(parent: [u8; 32], tail: &[u32], position: u64) -> Record {
        let (key, tokens) = (snapshot_key(&parent, tail), tail.to_vec());
        Record {
            key,
            parent,
            kind: Kind::Snapshot,
            tokens,
            position,
            bytes: 7,
            pinned: false,
        }
    }

    /// Pages, snapshots and records given up.
    fn rebuilt(records: &[Record]) -> (u64, u64, usize) {
        let mut tree = tree();
        tree.rebuild(records);
        tree.check();
        let stats = tree.stats();
        assert_eq!(stats.unlinked as usize, tree.outside.forgotten.len());
        (stats.pages, stats.snapshots, tree.outside.forgotten.len())
    }

    #[test]
    fn whatever_their_order_records_are_linked() {
        let first = page(ROOT, [1, 2], 2);
        let second = page(first.key, [3, 4], 4);
        let last = snapshot(second.key, &[5], 5);
        let beginning = snapshot(ROOT, &[1], 1);
        assert_eq!(
            rebuilt(&[last.clone(), second.clone(), beginning, first.clone()]),
            (2, 2, 0)
        );
        // Without the first page there is nothing for the others to hang on.
        assert_eq!(rebuilt(&[last, second]), (0, 0, 2));
        assert_eq!(rebuilt(&[]), (0, 0, 0));
    }

    #[test]
    fn records_that_do_not_fit_are_given_up() {
        let first = page(ROOT, [1, 2], 2);
        for wrong in [
            page(first.key, [3, 4], 6),
            page(first.key, [3, 4], 5),
            page(first.key, [3, 4], 2),
            Record {
                bytes: 11,
                ..page(first.key, [3, 4], 4)
            },
            Record {
                tokens: vec![3, 5],
                ..page(first.key, [3, 4], 4)
            },
            Record {
                tokens: vec![3, 4, 5],
                ..page(first.key, [3, 4], 4)
            },
            Record {
                kind: Kind::Snapshot,
                ..page(first.key, [3, 4], 4)
            },
            snapshot(first.key, &[3], 5),
            snapshot(first.key, &[3], 1),
            snapshot(first.key, &[3], 0),
            snapshot(first.key, &[3], u64::MAX),
            snapshot(first.key, &[], 4),
        ] {
            let linked = rebuilt(&[first.clone(), wrong.clone()]);
            // With a position of a first page's, a parent is taken for a root: nobody will ever ask for that one.
            let stray = wrong.position == wrong.tokens.len() as u64;
            assert!(stray || linked == (1, 0, 1), "{wrong:?} gave {linked:?}");
        }
    }
}
