//! What a cache is opened with.

use std::num::NonZeroUsize;
use std::ops::Range;

use crate::disk::{DiskOpenError, DiskOptions};

/// What a cache is opened with. Sizes are those of the model, in tokens and bytes.
#[derive(Clone, Debug)]
pub struct CacheOptions {
    /// Everything that determines the bytes of a page: model and numerics.
    pub identity: [u8; 32],
    /// Tokens in a page; at least 1.
    pub page_tokens: usize,
    /// Bytes of a page.
    pub page_bytes: usize,
    /// Tokens that must be computed again to get a state from pages alone.
    pub replay_tokens: usize,
    /// Where snapshots are taken.
    pub policy: Policy,
    /// What the tree may hold in RAM, in bytes: pages, snapshots and its own bookkeeping.
    pub ram_bytes: u64,
    /// The disk tier, if there is one.
    pub disk: Option<DiskOptions>,
    /// Whether a thread writes to disk. If not, writes happen in `Cache::pump` alone (tests, the simulator).
    pub background: bool,
}

/// What the tree needs to know of the options.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) identity: [u8; 32],
    pub(crate) page_tokens: usize,
    pub(crate) page_bytes: usize,
    pub(crate) replay_tokens: usize,
    pub(crate) policy: Policy,
    /// Whether there is a disk tier.
    pub(crate) disk: bool,
}

impl CacheOptions {
    pub(crate) fn shape(&self) -> Result<Shape, OpenError> {
        let wrong = |what, found: usize, expected: String| {
            Err(OpenError::Options {
                what,
                found: found.to_string(),
                expected,
            })
        };
        if self.page_tokens == 0 {
            return wrong("page_tokens", 0, "at least 1".into());
        }
        if let Policy::Periodic(step) = self.policy
            && !step.get().is_multiple_of(self.page_tokens)
        {
            return wrong(
                "periodic snapshots",
                step.get(),
                format!("a multiple of {} tokens", self.page_tokens),
            );
        }
        Ok(Shape {
            identity: self.identity,
            page_tokens: self.page_tokens,
            page_bytes: self.page_bytes,
            replay_tokens: self.replay_tokens,
            policy: self.policy,
            disk: self.disk.is_some(),
        })
    }
}

/// Where snapshots are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// At every end of a page: a hit computes less than a page again.
    Full,
    /// Every so many tokens (a multiple of a page) and at boundaries that conversations are likely to return to.
    Periodic(NonZeroUsize),
    /// Nowhere: states come from pages, by replaying their last tokens.
    None,
}

impl Policy {
    /// Positions `p` with `range.start < p <= range.end` that deserve a snapshot, ascending. `semantic`: positions, ascending,
    /// where prompts are likely to part (end of the system prompt, of user input, of tool results, of an output).
    pub fn boundaries(&self, range: Range<usize>, semantic: &[usize], page_tokens: usize) -> Vec<usize> {
        let step = match self {
            Policy::None => return Vec::new(),
            Policy::Full => page_tokens,
            Policy::Periodic(step) => step.get(),
        };
        let step = step.max(1);
        let mut positions: Vec<usize> = (range.start / step + 1..=range.end / step)
            .map(|n| n * step)
            .collect();
        if matches!(self, Policy::Periodic(_)) {
            positions.extend(semantic.iter().filter(|p| range.start < **p && **p <= range.end));
            positions.sort_unstable();
            positions.dedup();
        }
        positions
    }
}

/// Why a cache could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Numbers that do not go together.
    #[error("the cache was given {what}: {found}; expected {expected}")]
    Options {
        /// Which option.
        what: &'static str,
        /// What it was.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// The disk tier.
    #[error(transparent)]
    Disk(#[from] DiskOpenError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundaries_by_policy() {
        let periodic = Policy::Periodic(NonZeroUsize::new(8).unwrap());
        assert_eq!(Policy::None.boundaries(0..100, &[3, 4], 4), []);
        assert_eq!(Policy::Full.boundaries(0..12, &[3], 4), [4, 8, 12]);
        assert_eq!(Policy::Full.boundaries(4..11, &[], 4), [8]);
        assert_eq!(periodic.boundaries(0..17, &[0, 3, 8, 17, 18], 4), [3, 8, 16, 17]);
        assert_eq!(periodic.boundaries(8..9, &[8], 4), []);
    }
}
