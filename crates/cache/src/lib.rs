//! The prefix tree: what sequences have computed, kept in RAM and on disk, found again by token ids.
//!
//! Two things are kept. A *page* holds what a run of `page_tokens` tokens leaves behind for good; a *snapshot* holds
//! everything else that a sequence needs at one position. Pages `0 .. n / page_tokens` and a snapshot at `n` are the
//! state after `n` tokens. To this crate both are opaque bytes: it knows token ids, sizes and keys, and nothing of models.

mod cache;
pub mod disk;
mod found;
mod key;
mod le;
#[cfg(test)]
mod model_test;
mod options;
#[cfg(test)]
mod path_test;
mod report;
pub mod saved;
mod stats;
mod tree;

use std::sync::Arc;

pub use cache::Cache;
pub use found::{Found, Prefix};
pub use key::{Key, page_key, root_key, snapshot_key};
pub use options::{CacheOptions, OpenError, Policy};
pub use report::{Miss, Report};
pub use stats::{Stats, TreeStats};
pub use tree::{Entry, Path};

/// Bytes of a page or a snapshot, shared by all who use them.
pub type Payload = Arc<[u8]>;
