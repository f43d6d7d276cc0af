//! Memory that running sequences hold, counted once where they share it.

use std::collections::HashMap;
use std::sync::Arc;

/// Pages in use.
#[derive(Debug, Default)]
pub(super) struct Holdings {
    /// Holders of each page, by its address: a page that is held does not move.
    holders: HashMap<usize, usize>,
    bytes: u64,
}

impl Holdings {
    /// Bytes of all pages held.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// One more holder of each of `pages`.
    pub(super) fn hold(&mut self, pages: &[Arc<[u8]>]) {
        for page in pages {
            let holders = self.holders.entry(page.as_ptr().addr()).or_default();
            *holders += 1;
            if *holders == 1 {
                self.bytes += page.len() as u64;
            }
        }
    }

    /// One holder less of each of `pages`.
    pub(super) fn release(&mut self, pages: &[Arc<[u8]>]) {
        for page in pages {
            let Some(holders) = self.holders.get_mut(&page.as_ptr().addr()) else {
                continue;
            };
            *holders -= 1;
            if *holders == 0 {
                self.holders.remove(&page.as_ptr().addr());
                self.bytes -= page.len() as u64;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shared_counts_once() {
        let page = |byte: u8| -> Arc<[u8]> { Arc::from(vec![byte; 10]) };
        let (a, b, c) = (page(1), page(2), page(1));
        let mut holdings = Holdings::default();
        holdings.hold(&[a.clone(), b.clone()]);
        holdings.hold(&[a.clone(), c.clone()]);
        assert_eq!(holdings.bytes(), 30, "equal bytes in two places are two pages");
        holdings.release(&[a.clone(), b]);
        assert_eq!(holdings.bytes(), 20);
        holdings.release(&[a, c]);
        assert_eq!(holdings.bytes(), 0);
        assert!(holdings.holders.is_empty());
    }
}
