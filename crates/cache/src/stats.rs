//! What a cache counts.

use crate::Miss;
use crate::disk::DiskStats;

/// Bytes, counts and what lookups found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// The tree and its RAM tier.
    pub tree: TreeStats,
    /// The disk tier, if there is one.
    pub disk: Option<DiskStats>,
}

/// Counts and bytes of the tree. Counts of events begin at 0 when the cache is opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TreeStats {
    /// What the tree may hold in RAM.
    pub ram_budget_bytes: u64,
    /// What it holds: pages, snapshots and bookkeeping.
    pub ram_bytes: u64,
    /// Pages in RAM.
    pub ram_page_bytes: u64,
    /// Snapshots in RAM.
    pub ram_snapshot_bytes: u64,
    /// Pages known, wherever their bytes are.
    pub pages: u64,
    /// Snapshots known, wherever their bytes are.
    pub snapshots: u64,
    /// Pages in RAM.
    pub ram_pages: u64,
    /// Snapshots in RAM.
    pub ram_snapshots: u64,
    /// Pages and snapshots with a copy on disk, or queued for one.
    pub on_disk: u64,
    /// Isolation ids with something stored.
    pub roots: u64,

    /// Lookups.
    pub lookups: u64,
    /// Lookups by how they ended, in the order of [`Miss::NAMES`].
    pub lookups_by_miss: [u64; Miss::NAMES.len()],
    /// Tokens that lookups asked for.
    pub asked_tokens: u64,
    /// Of these, tokens that need not be computed.
    pub hit_tokens: u64,
    /// Tokens computed again for want of a snapshot.
    pub replayed_tokens: u64,

    /// Pages that left RAM.
    pub evicted_pages: u64,
    /// Snapshots that left RAM.
    pub evicted_snapshots: u64,
    /// Records on disk that the tree gave up so that its bookkeeping keeps within bounds.
    pub forgotten: u64,
    /// Pages and snapshots that found no room in RAM.
    pub no_room: u64,
    /// Pages and snapshots that the disk tier's queue had no room for.
    pub not_queued: u64,
    /// Pages and snapshots that came with pages missing before them, or with a wrong size.
    pub refused: u64,
    /// Records that could not be read back.
    pub damaged: u64,
    /// Records found on disk whose pages before them were not there, or which do not fit this model.
    pub unlinked: u64,
}
