//! The items of a task, shared out in runs.
//!
//! Items that follow each other mostly read memory that follows on: a thread that keeps to a run of them goes through
//! one long stretch, of which what comes next is already on its way. Who has done its own takes half of what another
//! has left, so nobody waits for a thread that came late or is slow.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::team::Apart;

/// A run of items for each thread. The gate that opens and closes a task orders it against what items do; here only
/// each run's own word matters.
pub(crate) struct Shares {
    runs: Box<[Apart<AtomicU64>]>,
}

/// Items `next .. end`, in one word.
#[derive(Clone, Copy)]
struct Run {
    next: u32,
    end: u32,
}

impl Run {
    fn of(word: u64) -> Self {
        Self {
            next: word as u32,
            end: (word >> 32) as u32,
        }
    }

    fn word(self) -> u64 {
        u64::from(self.next) | u64::from(self.end) << 32
    }

    fn len(self) -> u32 {
        self.end.saturating_sub(self.next)
    }
}

impl Shares {
    pub(crate) fn new(threads: usize) -> Self {
        Self {
            runs: (0..threads).map(|_| Apart::default()).collect(),
        }
    }

    /// Shares out items `0 .. items`; nobody may take any meanwhile.
    pub(crate) fn deal(&self, items: usize) {
        let (items, threads) = (items as u64, self.runs.len() as u64);
        assert!(u32::try_from(items).is_ok(), "{items} items of one task");
        let bound = |thread: u64| (items * thread / threads) as u32;
        for (Apart(run), thread) in self.runs.iter().zip(0..) {
            let (next, end) = (bound(thread), bound(thread + 1));
            run.store(Run { next, end }.word(), Ordering::Relaxed);
        }
    }

    /// Gives up what nobody has begun.
    pub(crate) fn clear(&self) {
        self.runs
            .iter()
            .for_each(|Apart(run)| run.store(0, Ordering::Relaxed));
    }

    /// The next item for thread `own`.
    pub(crate) fn take(&self, own: usize) -> Option<usize> {
        let Apart(mine) = &self.runs[own];
        let mut word = mine.load(Ordering::Relaxed);
        loop {
            let run = Run::of(word);
            if run.len() == 0 {
                return self.take_over(mine);
            }
            let rest = Run {
                next: run.next + 1,
                ..run
            };
            match mine.compare_exchange_weak(word, rest.word(), Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Some(run.next as usize),
                Err(now) => word = now,
            }
        }
    }

    /// Moves the second half of the longest run to `mine`, which is empty: no other thread writes an empty run.
    #[cold]
    fn take_over(&self, mine: &AtomicU64) -> Option<usize> {
        loop {
            let words = self
                .runs
                .iter()
                .map(|Apart(run)| (run, run.load(Ordering::Relaxed)));
            let (longest, word) = words.max_by_key(|&(_, word)| Run::of(word).len())?;
            let run = Run::of(word);
            if run.len() == 0 {
                return None;
            }
            let half = run.next + run.len() / 2;
            let left = Run { end: half, ..run };
            let taken = longest.compare_exchange(word, left.word(), Ordering::Relaxed, Ordering::Relaxed);
            if taken.is_ok() {
                let next = half + 1;
                mine.store(Run { next, end: run.end }.word(), Ordering::Relaxed);
                return Some(half as usize);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_keeps_to_its_run_and_then_halves_the_longest() {
        let shares = Shares::new(3);
        shares.deal(9);
        let took = |thread, items: &[usize]| {
            for &item in items {
                assert_eq!(shares.take(thread), Some(item));
            }
        };
        took(1, &[3, 4, 5]);
        took(0, &[0]);
        // Thread 2 has 6, 7 and 8 left, thread 0 only 1 and 2.
        took(1, &[7, 8]);
        took(2, &[6]);
        took(1, &[2]);
        took(0, &[1]);
        assert!((0..3).all(|thread| shares.take(thread).is_none()));
    }

    #[test]
    fn cleared_shares_are_empty() {
        let shares = Shares::new(2);
        shares.deal(5);
        shares.clear();
        assert_eq!((shares.take(0), shares.take(1)), (None, None));
    }
}
