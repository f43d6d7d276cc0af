//! The walk along a request's tokens, and where to start from.

use super::{Handle, Item, NONE, Tree};
use crate::{Key, Policy};

/// What is stored along a request's tokens.
#[derive(Clone, Debug)]
pub(crate) struct Walk {
    /// The last page, or the root. None: nothing is known of the root.
    pub(crate) end: Option<Handle>,
    /// Complete pages from the root on, all of them in RAM or on disk.
    pub(crate) pages: usize,
    /// The first of them that is not in RAM.
    pub(crate) first_on_disk: usize,
    /// Snapshots on the way, by position, ascending; in RAM or on disk. None are looked for under the policy `None`.
    pub(crate) snapshots: Vec<(usize, Handle)>,
    /// The next page is known, but its bytes are gone.
    pub(crate) hole: bool,
}

/// Where to start computing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// From the first token, with nothing.
    Nothing,
    /// From a snapshot, which lies at `position` and needs the pages before it.
    Snapshot { position: usize, handle: Handle },
    /// From `position`, a page's end, over the entries of `pages` pages.
    Replay { position: usize, pages: usize },
}

impl Walk {
    /// Leaves out what needs more than `pages` pages.
    pub(crate) fn cut(&mut self, pages: usize, page_tokens: usize) {
        self.pages = self.pages.min(pages);
        self.snapshots
            .retain(|(position, _)| position / page_tokens <= pages);
    }
}

impl Start {
    /// Tokens that need not be computed.
    pub(crate) fn position(&self) -> usize {
        match *self {
            Start::Nothing => 0,
            Start::Snapshot { position, .. } | Start::Replay { position, .. } => position,
        }
    }

    /// Pages that it needs.
    pub(crate) fn pages(&self, page_tokens: usize) -> usize {
        match *self {
            Start::Nothing => 0,
            Start::Snapshot { position, .. } => position / page_tokens,
            Start::Replay { pages, .. } => pages,
        }
    }

    /// Tokens that need not be computed, and those that are computed again.
    pub(crate) fn tokens(&self, page_tokens: usize) -> (usize, usize) {
        let replayed = match *self {
            Start::Nothing | Start::Snapshot { .. } => 0,
            Start::Replay { position, pages } => pages * page_tokens - position,
        };
        (self.position(), replayed)
    }
}

impl Tree {
    /// Follows `tokens` (already cut to what may be used) from the root `root`.
    pub(crate) fn walk(&self, root: &Key, tokens: &[u32]) -> Walk {
        let page = self.shape.page_tokens;
        let mut walk = Walk {
            end: None,
            pages: 0,
            first_on_disk: usize::MAX,
            snapshots: Vec::new(),
            hole: false,
        };
        let Some(&root) = self.roots.get(root) else {
            return walk;
        };
        let mut n = root;
        loop {
            let done = walk.pages * page;
            let rest = &tokens[done..];
            if !self.nodes[n].snapshots.is_empty() && self.shape.policy != Policy::None {
                let before = walk.snapshots.len();
                self.snapshots_along(n, &rest[..rest.len().min(page - 1)], &mut |s| {
                    if self.snapshots[s].copies.available() {
                        walk.snapshots
                            .push((done + self.snapshots[s].tail.len(), self.snapshots.handle(s)));
                    }
                });
                walk.snapshots[before..].reverse();
            }
            let Some(child) = rest.get(..page).and_then(|ids| self.child(n, ids)) else {
                break;
            };
            let copies = &self.nodes[child].copies;
            if !copies.available() {
                walk.hole = true;
                break;
            }
            if copies.bytes.is_none() {
                walk.first_on_disk = walk.first_on_disk.min(walk.pages);
            }
            walk.pages += 1;
            n = child;
        }
        walk.end = Some(self.nodes.handle(n));
        walk
    }

    /// The start that leaves the fewest tokens to compute; with equal ones, the one that needs the fewest bytes.
    pub(crate) fn choose(&self, walk: &Walk) -> Start {
        let replay = self.replay_start(walk.pages);
        match walk.snapshots.last().copied() {
            Some((position, handle)) if position > 0 && position >= replay => {
                Start::Snapshot { position, handle }
            }
            _ if replay > 0 => Start::Replay {
                position: replay,
                pages: walk.pages,
            },
            _ => Start::Nothing,
        }
    }

    /// Where a replay over `pages` pages begins: the end of a page.
    pub(super) fn replay_start(&self, pages: usize) -> usize {
        let page = self.shape.page_tokens;
        (pages * page).saturating_sub(self.shape.replay_tokens) / page * page
    }

    /// Calls `each` with the snapshots on node `n` whose tail is a beginning of `ids`, longest first.
    ///
    /// Tails are sorted, and no tail that follows `ids` in that order is a beginning of it. The last one that does not follow
    /// either is a beginning, or parts from `ids` somewhere: then longer ones are out, and the search goes on with
    /// the part that agrees.
    pub(super) fn snapshots_along(&self, n: u32, mut ids: &[u32], each: &mut dyn FnMut(u32)) {
        let snapshots = &self.nodes[n].snapshots;
        loop {
            let place = snapshots.partition_point(|&s| *self.snapshots[s].tail <= *ids);
            let Some(&s) = snapshots[..place].last() else {
                return;
            };
            let tail = &self.snapshots[s].tail;
            let agree = common(tail, ids);
            if agree == tail.len() {
                each(s);
                if agree == 0 {
                    return;
                }
                ids = &ids[..agree - 1];
            } else {
                ids = &ids[..agree];
            }
        }
    }

    /// Marks the end of a walk as in use, so that nothing on it can be evicted, and what it starts from as used.
    pub(crate) fn hold(&mut self, walk: &Walk, start: Start) {
        let Some(end) = walk.end else { return };
        let end_page = Item::Page(end.index);
        self.copies_mut(end_page).holds += 1;
        self.settle(end_page);
        let pages = match start {
            Start::Nothing => return,
            Start::Snapshot { position, handle } => {
                let snapshot = Item::Snapshot(handle.index);
                self.copies_mut(snapshot).holds += 1;
                self.settle(snapshot);
                self.touch(snapshot);
                position / self.shape.page_tokens
            }
            Start::Replay { pages, .. } => pages,
        };
        let n = self.page_above(end.index, pages);
        if !self.nodes[n].is_root() {
            self.touch(Item::Page(n));
        }
    }

    /// Ends what [`Tree::hold`] began.
    pub(crate) fn release(&mut self, walk: &Walk, start: Start) {
        if let Start::Snapshot { handle, .. } = start {
            self.copies_mut(Item::Snapshot(handle.index)).holds -= 1;
            self.settle(Item::Snapshot(handle.index));
        }
        if let Some(end) = walk.end {
            self.copies_mut(Item::Page(end.index)).holds -= 1;
            self.settle(Item::Page(end.index));
        }
    }

    /// The node `pages` pages from the root on the way to `n`.
    pub(super) fn page_above(&self, mut n: u32, pages: usize) -> u32 {
        while self.nodes[n].pages as usize > pages && self.nodes[n].parent != NONE {
            n = self.nodes[n].parent;
        }
        n
    }
}

/// How many ids two sequences have in common at their beginning.
pub(super) fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
