//! Why a hit is no longer than it is.

use super::evicted::fingerprint;
use super::walk::common;
use super::{Handle, Start, Tree, Walk};
use crate::{Key, Miss, page_key, root_key, snapshot_key};

/// The token where a request parts from something stored.
#[derive(Clone, Copy)]
struct Parting {
    /// Ids in common after the end of the walk.
    agree: usize,
    /// The stored id that follows them; None if it is the request that ends there.
    cached: Option<u32>,
}

impl Tree {
    /// The reason in the order of what explains most: bytes that were there, bytes that are somebody else's, the token where
    /// the request parts from what is stored, and only then that little or nothing is known.
    pub(crate) fn explain(&self, isolation: &str, tokens: &[u32], walk: &Walk, start: Start) -> Miss {
        let page = self.shape.page_tokens;
        if start.position() == tokens.len() {
            return Miss::None;
        }
        let done = walk.pages * page;
        let rest = &tokens[done..];
        if walk.hole {
            return Miss::Evicted;
        }
        let end = walk
            .end
            .map_or_else(|| self.root(isolation), |end| self.nodes[end.index].copies.key);
        let next = rest.get(..page);
        if self
            .evicted
            .contains(&next.map_or_else(|| snapshot_key(&end, rest), |ids| page_key(&end, ids)))
        {
            return Miss::Evicted;
        }
        if let (0, Some(ids)) = (walk.pages, next) {
            if self.firsts.contains_key(&first(ids)) {
                return Miss::OtherIsolation;
            }
            if self.other_model(isolation, ids) {
                return Miss::OtherModel;
            }
        }
        // As far as anything stored goes, whether or not that is where to start.
        let known = walk
            .snapshots
            .last()
            .map_or(done, |(position, _)| done.max(*position));
        let parting = walk.end.and_then(|end| self.parting(end.index, rest));
        if let Some(Parting { agree, cached }) = parting {
            let at = done + agree;
            match cached {
                Some(cached) if at >= known && at > 0 => {
                    return Miss::Differs {
                        at,
                        cached,
                        found: tokens[at],
                    };
                }
                None if start.position() == known => return Miss::BelowOnePage,
                _ => {}
            }
        }
        if start.position() < known {
            return if self.lost_between(walk, start) {
                Miss::Evicted
            } else {
                Miss::NoSnapshot
            };
        }
        if tokens.len() - known < page {
            Miss::BelowOnePage
        } else {
            Miss::NeverSeen
        }
    }

    pub(crate) fn root(&self, isolation: &str) -> Key {
        root_key(&self.shape.identity, isolation)
    }

    /// Whether another model left this first page on disk.
    fn other_model(&self, isolation: &str, ids: &[u32]) -> bool {
        let foreign = &self.foreign;
        let has = |identity| {
            foreign
                .first_pages
                .contains(&page_key(&root_key(identity, isolation), ids))
        };
        foreign.identities.iter().any(has)
    }

    /// Of what hangs on node `n`, how far that agrees with `rest` which agrees longest. In sorted lists that is a neighbour
    /// of the place where `rest` would be.
    fn parting(&self, n: u32, rest: &[u32]) -> Option<Parting> {
        let node = &self.nodes[n];
        let child = node.children.partition_point(|&c| self.ids.page(c) <= rest);
        let snapshot = node
            .snapshots
            .partition_point(|&s| *self.snapshots[s].tail <= *rest);
        let around = |place: usize, len: usize| place.saturating_sub(1)..len.min(place + 1);
        let children = around(child, node.children.len()).map(|i| self.ids.page(node.children[i]));
        let tails = around(snapshot, node.snapshots.len()).map(|i| &*self.snapshots[node.snapshots[i]].tail);
        children
            .chain(tails)
            .filter_map(|ids| {
                let agree = common(ids, rest);
                // A tail that ends while it agrees is a snapshot of the request itself.
                let cached = ids.get(agree).copied()?;
                Some(Parting {
                    agree,
                    cached: (agree < rest.len()).then_some(cached),
                })
            })
            .max_by_key(|parting| parting.agree)
    }

    /// Whether a snapshot was evicted between the start and the end of the walk.
    fn lost_between(&self, walk: &Walk, start: Start) -> bool {
        let Some(Handle { index: mut n, .. }) = walk.end else {
            return false;
        };
        loop {
            let node = &self.nodes[n];
            if node.lost_snapshot {
                return true;
            }
            if node.is_root() || (node.pages as usize) * self.shape.page_tokens <= start.position() {
                return false;
            }
            n = node.parent;
        }
    }

    /// A root got its first page `n`.
    pub(super) fn count_first(&mut self, n: u32) {
        *self.firsts.entry(first(self.ids.page(n))).or_default() += 1;
    }

    /// A root lost its first page `n`.
    pub(super) fn forget_first(&mut self, n: u32) {
        let print = first(self.ids.page(n));
        if let Some(count) = self.firsts.get_mut(&print) {
            *count -= 1;
            if *count == 0 {
                self.firsts.remove(&print);
            }
        }
    }
}

/// A fingerprint of a first page's ids, whatever root they are under.
fn first(ids: &[u32]) -> u64 {
    fingerprint(&page_key(&[0; 32], ids))
}
