//! What wakes the engine's thread.

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

    /// Sleeps until the bell has rung since the last time.
    pub(crate) fn wait(&self) {
        let mut rung = self.rung.lock();
        while !*rung {
            self.wake.wait(&mut rung);
        }
        *rung = false;
    }
}
