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

/// The scheduler's end of a slot. Should a bug lose what it belongs to, the session comes back empty rather than never.
pub(crate) struct Home(Option<Arc<Slot>>);

impl Home {
    pub(crate) fn new(slot: Arc<Slot>) -> Self {
        Self(Some(slot))
    }

    pub(crate) fn put(mut self, timeline: Timeline) {
        if let Some(slot) = self.0.take() {
            slot.put(timeline);
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if let Some(slot) = self.0.take() {
            slot.put(Timeline::default());
        }
    }
}

impl Slot {
    fn put(&self, timeline: Timeline) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeline_that_is_lost_is_an_empty_one() {
        let slot = Arc::<Slot>::default();
        let timeline = Timeline {
            tokens: vec![1, 2],
            ..Timeline::default()
        };
        Home::new(Arc::clone(&slot)).put(timeline);
        assert_eq!(slot.take().tokens, [1, 2]);
        drop(Home::new(Arc::clone(&slot)));
        assert!(slot.take().tokens.is_empty());
    }
}
