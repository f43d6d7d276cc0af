//! How much was used in the last minute or day.

use std::time::Duration;

/// Tokens used within a sliding window, in `N` equal steps of it and the one that is open.
///
/// What was used counts until the whole step in which it was used is a window old: at least a window, at most a step longer. So the
/// sum is never less than what was used in any stretch of the window's length that ends now.
#[derive(Clone, Debug)]
pub(super) struct Window<const N: usize> {
    step: Duration,
    /// Number of the newest step that was written to.
    newest: u64,
    /// By the step's number modulo their number; the open step has a place of its own in `open`.
    closed: [u64; N],
    open: u64,
}

impl<const N: usize> Window<N> {
    pub(super) fn new(length: Duration) -> Self {
        Self {
            step: length / N as u32,
            newest: 0,
            closed: [0; N],
            open: 0,
        }
    }

    fn number(&self, now: Duration) -> u64 {
        (now.as_nanos() / self.step.as_nanos()) as u64
    }

    /// Closes steps that have ended. Time does not run backwards; if the caller's does, it stands.
    fn advance(&mut self, now: Duration) {
        let number = self.number(now);
        while self.newest < number {
            if number - self.newest > N as u64 + 1 {
                // All of it is older than the window.
                self.closed = [0; N];
                self.open = 0;
                self.newest = number;
                return;
            }
            self.closed[(self.newest % N as u64) as usize] = self.open;
            self.open = 0;
            self.newest += 1;
        }
    }

    pub(super) fn add(&mut self, now: Duration, tokens: u64) {
        self.advance(now);
        self.open = self.open.saturating_add(tokens);
    }

    /// What was used `ago`, before this window was there. At its first use only.
    pub(super) fn add_before(&mut self, now: Duration, ago: Duration, tokens: u64) {
        self.advance(now);
        // Rounded down: it counts longer rather than shorter.
        let steps = (ago.as_nanos() / self.step.as_nanos()) as u64;
        if steps == 0 {
            self.open = self.open.saturating_add(tokens);
        } else if steps <= N as u64 {
            let place = (self.newest + N as u64 - steps) % N as u64;
            let step = &mut self.closed[place as usize];
            *step = step.saturating_add(tokens);
        }
    }

    pub(super) fn used(&mut self, now: Duration) -> u64 {
        self.advance(now);
        self.closed
            .iter()
            .fold(self.open, |sum, step| sum.saturating_add(*step))
    }

    /// How long until less than `limit` counts, if nothing more is used. Zero if that is so now.
    pub(super) fn wait(&mut self, now: Duration, limit: u64) -> Duration {
        let mut used = self.used(now);
        if used < limit {
            return Duration::ZERO;
        }
        // The oldest step is forgotten when the open one closes, the next a step later, at last the open one itself.
        let oldest_first = (0..N as u64).map(|age| self.closed[((self.newest + age) % N as u64) as usize]);
        let steps = oldest_first.chain([self.open]);
        let mut ends = self.newest + 1;
        for tokens in steps {
            used = used.saturating_sub(tokens);
            if used < limit {
                break;
            }
            ends += 1;
        }
        let at = self.step.as_nanos() * u128::from(ends);
        let at = Duration::from_nanos(u64::try_from(at).unwrap_or(u64::MAX));
        at.saturating_sub(now)
    }
}
