//! Who goes when room is needed: GreedyDual-Size over leaves.
//!
//! Whatever is used gets the rank `clock + tokens it saves / bytes it takes`; the lowest rank goes first, and the clock moves
//! up to the rank that went. Among pages, which all save a page of tokens at the same size, that is plain least recently
//! used. A snapshot saves the tokens between itself and the best start without it: one that stands close behind another
//! goes early, one that spares a whole replay stays longer than the pages it weighs as much as. A page goes after all that
//! hangs on it, so a lookup need not touch every page on its way: its end keeps them.

use std::collections::BTreeSet;
use std::mem::size_of;

use super::{Item, NONE, Node, OnDisk, Snapshot, Tree};
use crate::Payload;

/// Where an item stands in the order of eviction.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    order: Order,
    listed: Option<List>,
}

/// Rank, then the time of last use: all that were used while the clock stood still.
type Order = (u64, u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum List {
    /// Its bytes in RAM may be taken.
    Ram,
    /// It is on disk only, a leaf: the tree may forget it.
    DiskOnly,
}

/// The budget, and the order in which things leave.
#[derive(Debug)]
pub(super) struct Room {
    budget: u64,
    /// Payloads, bookkeeping and fixed tables.
    used: u64,
    /// Kept free for what is held outside.
    aside: u64,
    /// Bookkeeping of what has no bytes in RAM.
    bare: u64,
    ram: BTreeSet<(Order, Item)>,
    disk_only: BTreeSet<(Order, Item)>,
    clock: u64,
    uses: u64,
}

/// What a shared buffer takes besides its bytes: two counts, and what an allocator adds.
const BUFFER_OVERHEAD_BYTES: u64 = 32;
/// An item's places in its parent's list, in the map of keys and in the order of eviction, with the slack of each.
const LISTS_OVERHEAD_BYTES: u64 = 160;

/// Bookkeeping of a page with its ids.
pub(super) fn node_bytes(page_tokens: usize) -> u64 {
    size_of::<Node>() as u64 + 4 * page_tokens as u64 + LISTS_OVERHEAD_BYTES
}

/// Bookkeeping of a snapshot with its tail.
pub(super) fn snapshot_bytes(tail: usize) -> u64 {
    size_of::<Snapshot>() as u64 + 4 * tail as u64 + BUFFER_OVERHEAD_BYTES + LISTS_OVERHEAD_BYTES
}

pub(super) fn payload_bytes(payload: usize) -> u64 {
    payload as u64 + BUFFER_OVERHEAD_BYTES
}

impl Room {
    pub(super) fn new(budget: u64) -> Room {
        Room {
            budget,
            used: 0,
            aside: 0,
            bare: 0,
            ram: BTreeSet::new(),
            disk_only: BTreeSet::new(),
            clock: 0,
            uses: 0,
        }
    }

    pub(super) fn budget(&self) -> u64 {
        self.budget
    }

    pub(super) fn used(&self) -> u64 {
        self.used
    }

    pub(super) fn add_fixed(&mut self, bytes: u64) {
        self.used += bytes;
    }

    /// Bytes used and bytes of bare bookkeeping, and who is in the two lists.
    #[cfg(test)]
    pub(super) fn counted(&self) -> (u64, u64) {
        (self.used, self.bare)
    }

    #[cfg(test)]
    pub(super) fn listed(&self) -> (std::collections::HashSet<Item>, std::collections::HashSet<Item>) {
        let items = |list: &BTreeSet<(Order, Item)>| list.iter().map(|(_, item)| *item).collect();
        (items(&self.ram), items(&self.disk_only))
    }

    fn order_after(&mut self, value: u64) -> Order {
        self.uses += 1;
        (self.clock.saturating_add(value), self.uses)
    }
}

impl Tree {
    /// Makes `bytes` more fit into the budget. False if what is in use, pinned or held does not let it; what could go is
    /// gone then.
    pub(crate) fn make_room(&mut self, bytes: u64) -> bool {
        while self
            .room
            .used
            .saturating_add(self.room.aside)
            .saturating_add(bytes)
            > self.room.budget
        {
            if !self.evict_one() {
                return false;
            }
        }
        true
    }

    /// Keeps `bytes` of the budget free from now on, instead of what was kept free before. False if that cannot be.
    pub(crate) fn set_aside(&mut self, bytes: u64) -> bool {
        let before = std::mem::replace(&mut self.room.aside, bytes);
        let fits = self.make_room(0);
        if !fits {
            self.room.aside = before;
        }
        fits
    }

    /// Evicts the item of the lowest rank from RAM.
    fn evict_one(&mut self) -> bool {
        let Some(&(order, item)) = self
            .room
            .ram
            .iter()
            .find(|(_, item)| !self.copies(*item).in_use())
        else {
            return self.forget_one();
        };
        self.room.clock = self.room.clock.max(order.0);
        match item {
            Item::Page(_) => self.stats.evicted_pages += 1,
            Item::Snapshot(_) => self.stats.evicted_snapshots += 1,
        }
        if self.copies(item).disk == OnDisk::No {
            self.remember(item);
        }
        self.take_bytes(item);
        self.settle(item);
        self.bound_bookkeeping();
        true
    }

    /// What is only on disk costs bookkeeping: half of the budget at most, so that RAM is left for bytes.
    pub(super) fn bound_bookkeeping(&mut self) {
        while self.room.bare > self.room.budget / 2 && self.forget_one() {}
    }

    /// Forgets the least valuable leaf that is on disk only.
    fn forget_one(&mut self) -> bool {
        // Below that, the bookkeeping is not what fills the RAM, and forgetting hundreds of records for one page is no gain.
        if self.room.bare <= self.room.budget / 2 {
            return false;
        }
        let Some(&(_, item)) = self.room.disk_only.first() else {
            return false;
        };
        self.stats.forgotten += 1;
        self.remember(item);
        self.leave_disk(item);
        self.settle(item);
        true
    }

    /// Lets a later miss say that it was evicted.
    pub(super) fn remember(&mut self, item: Item) {
        let key = self.copies(item).key;
        self.evicted.remember(&key);
        if let Item::Snapshot(s) = item {
            let node = self.snapshots[s].node;
            self.nodes[node].lost_snapshot = true;
        }
    }

    /// The item's record on disk is to be forgotten.
    pub(super) fn leave_disk(&mut self, item: Item) {
        let copies = self.copies_mut(item);
        if copies.disk != OnDisk::No {
            copies.disk = OnDisk::No;
            let key = copies.key;
            self.on_disk.remove(&key);
            self.outside.forgotten.push(key);
        }
    }

    /// Gives an item its bytes; the caller has made room and settles.
    pub(super) fn give_bytes(&mut self, item: Item, bytes: Payload) {
        let overhead = self.overhead(item);
        self.room.used += payload_bytes(bytes.len());
        self.room.bare -= overhead;
        match item {
            Item::Page(_) => {
                self.stats.ram_pages += 1;
                self.stats.ram_page_bytes += bytes.len() as u64;
            }
            Item::Snapshot(_) => {
                self.stats.ram_snapshots += 1;
                self.stats.ram_snapshot_bytes += bytes.len() as u64;
            }
        }
        self.copies_mut(item).bytes = Some(bytes);
    }

    fn take_bytes(&mut self, item: Item) {
        let Some(bytes) = self.copies_mut(item).bytes.take() else {
            return;
        };
        let overhead = self.overhead(item);
        self.room.used -= payload_bytes(bytes.len());
        self.room.bare += overhead;
        match item {
            Item::Page(_) => {
                self.stats.ram_pages -= 1;
                self.stats.ram_page_bytes -= bytes.len() as u64;
            }
            Item::Snapshot(_) => {
                self.stats.ram_snapshots -= 1;
                self.stats.ram_snapshot_bytes -= bytes.len() as u64;
            }
        }
        self.outside.freed.push(bytes);
    }

    /// A new item, without bytes yet.
    pub(super) fn add_overhead(&mut self, item: Item) {
        let overhead = self.overhead(item);
        self.room.used += overhead;
        self.room.bare += overhead;
    }

    /// An item that goes; it has no bytes any more.
    pub(super) fn sub_overhead(&mut self, item: Item) {
        let overhead = self.overhead(item);
        self.room.used -= overhead;
        self.room.bare -= overhead;
    }

    /// An item was used.
    pub(super) fn touch(&mut self, item: Item) {
        let value = self.value(item);
        self.unplace(item);
        let order = self.room.order_after(value);
        self.copies_mut(item).place.order = order;
        self.place(item);
    }

    /// Sets the order of a record found on disk, which was used before everything that is used from now on.
    pub(super) fn touch_before_all(&mut self, item: Item) {
        self.unplace(item);
        let order = self.room.order_after(0);
        self.copies_mut(item).place.order = order;
        self.place(item);
    }

    /// Tokens saved per byte, in units of 2^-32.
    fn value(&self, item: Item) -> u64 {
        let (saved, bytes) = match item {
            Item::Page(_) => (self.shape.page_tokens, self.shape.page_bytes),
            Item::Snapshot(s) => (self.saved_by(s), self.snapshots[s].size),
        };
        ((saved as u64) << 32) / (bytes as u64).max(1)
    }

    /// Tokens that would have to be computed again without this snapshot: back to the one before it, or those of a replay.
    fn saved_by(&self, s: u32) -> usize {
        let (page, replay) = (self.shape.page_tokens, self.shape.replay_tokens);
        let snapshot = &self.snapshots[s];
        let position = self.position(Item::Snapshot(s));
        let replayed = self.replay_start(self.nodes[snapshot.node].pages as usize);
        let last = |n: u32, ids: &[u32]| {
            let mut last = 0;
            self.snapshots_along(n, ids, &mut |s| last = last.max(self.position(Item::Snapshot(s))));
            last
        };
        let mut node = snapshot.node;
        let mut earlier = match snapshot.tail.split_last() {
            Some((_, shorter)) => last(node, shorter),
            None => 0,
        };
        // Further back than a replay goes, an earlier snapshot makes no difference.
        for _ in 0..=replay / page {
            let above = self.nodes[node].parent;
            if above == NONE || earlier > 0 {
                break;
            }
            earlier = last(above, &self.ids.page(node)[..page - 1]);
            node = above;
        }
        position - earlier.max(replayed).min(position)
    }

    /// Puts an item into the list it belongs to now.
    pub(super) fn place(&mut self, item: Item) {
        let copies = self.copies(item);
        let wanted = if copies.kept() || self.is_root(item) {
            None
        } else if copies.bytes.is_some() {
            (self.anchors(item) == 0).then_some(List::Ram)
        } else {
            self.is_leaf(item).then_some(List::DiskOnly)
        };
        if copies.place.listed != wanted {
            self.unplace(item);
            let entry = (self.copies(item).place.order, item);
            match wanted {
                Some(List::Ram) => _ = self.room.ram.insert(entry),
                Some(List::DiskOnly) => _ = self.room.disk_only.insert(entry),
                None => {}
            }
            self.copies_mut(item).place.listed = wanted;
        }
    }

    /// Takes an item out of the list it is in.
    pub(super) fn unplace(&mut self, item: Item) {
        let Place { order, listed } = self.copies(item).place;
        match listed {
            Some(List::Ram) => _ = self.room.ram.remove(&(order, item)),
            Some(List::DiskOnly) => _ = self.room.disk_only.remove(&(order, item)),
            None => {}
        }
        self.copies_mut(item).place.listed = None;
    }
}
