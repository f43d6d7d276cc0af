//! A session's tokens and state, and their way to the scheduler and back.

use std::sync::Arc;

use fathom_model::State;
use parking_lot::{Condvar, Mutex};

/// Tokens, and what the model knows after them.
#[derive(Clone, Default)]
pub(crate) struct Timeline {
    pub(crate) tokens: Vec<u32>,
    /// The state after all of `tokens`; `None` where it must be found in the cache or computed.
    pub(crate) state: Option<State>,
    /// Logits after the last token; empty if they are not known.
    pub(crate) logits: Vec<f32>,
}

/// Where the scheduler puts a timeline back when it is done with it.
#[derive(Default)]
pub(crate) struct Slot {
    timeline: Mutex<Option<Timeline>>,
    returned: Condvar,
}

impl Slot {
    pub(crate) fn put(&self, timeline: Timeline) {
        *self.timeline.lock() = Some(timeline);
        self.returned.notify_all();
    }

    /// Waits for the timeline and takes it.
    pub(crate) fn take(self: &Arc<Self>) -> Timeline {
        let mut timeline = self.timeline.lock();
        loop {
            match timeline.take() {
                Some(timeline) => return timeline,
                None => self.returned.wait(&mut timeline),
            }
        }
    }
}
