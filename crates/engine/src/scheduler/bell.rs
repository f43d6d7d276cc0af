//! What wakes the engine's thread.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Rung when there may be something to do.
#[derive(Default)]
pub(crate) struct Bell {
    rung: Mutex<bool>,
    wake: Condvar,
}

impl Bell {
    /// Wakes the thread, or keeps it from falling asleep.
    pub(crate) fn ring(&self) {
        *self.rung.lock() = true;
        self.wake.notify_one();
    }

    /// Sleeps until the bell has rung since the last time, but no longer than `most`.
    pub(crate) fn wait(&self, most: Option<Duration>) {
        let mut rung = self.rung.lock();
        match most {
            Some(most) => drop(self.wake.wait_while_for(&mut rung, |rung| !*rung, most)),
            None => self.wake.wait_while(&mut rung, |rung| !*rung),
        }
        *rung = false;
    }
}
