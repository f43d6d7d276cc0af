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
