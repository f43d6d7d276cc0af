//! Events on their way from the engine's thread to whoever asked for them.
//!
//! The queue is bounded by demand: the engine works for a listener only as far ahead of its questions as the listener
//! allowed, and otherwise serves others. With nothing ahead both sides go in step: a token is not computed before the one
//! before it has been looked at, so that breaking off wastes nothing. A listener waits on its thread or as a future.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::{Condvar, Mutex};

use crate::scheduler::Bell;

/// The engine's end.
pub(crate) struct Producer<E> {
    shared: Arc<Shared<E>>,
}

/// The listener's end. Dropping it tells the engine that nobody listens.
pub(crate) struct Consumer<E> {
    shared: Arc<Shared<E>>,
    bell: Arc<Bell>,
}

struct Shared<E> {
    queue: Mutex<Queue<E>>,
    arrived: Condvar,
    /// Events the engine may be ahead of the listener's questions.
    ahead: u64,
}

struct Queue<E> {
    events: VecDeque<E>,
    /// Events the listener has asked for so far, and events that were sent.
    asked: u64,
    sent: u64,
    /// The engine will send no more.
    ended: bool,
    /// Nobody listens.
    deaf: bool,
    waker: Option<Waker>,
}

/// Both ends of a queue. `bell` wakes the engine when there is room again.
pub(crate) fn channel<E>(ahead: usize, bell: Arc<Bell>) -> (Producer<E>, Consumer<E>) {
    let queue = Queue {
        events: VecDeque::new(),
        asked: 0,
        sent: 0,
        ended: false,
        deaf: false,
        waker: None,
    };
    let shared = Arc::new(Shared {
        queue: Mutex::new(queue),
        arrived: Condvar::new(),
        ahead: ahead as u64,
    });
    let producer = Producer {
        shared: Arc::clone(&shared),
    };
    (producer, Consumer { shared, bell })
}

impl<E> Producer<E> {
    /// Whether the listener wants more.
    pub(crate) fn wanted(&self) -> bool {
        let queue = self.shared.queue.lock();
        !queue.deaf && queue.sent < queue.asked + self.shared.ahead
    }

    /// Whether nobody listens any more.
    pub(crate) fn unheard(&self) -> bool {
        self.shared.queue.lock().deaf
    }

    /// Sends an event. A few more than are wanted do no harm: a token can mean several.
    pub(crate) fn send(&self, event: E) {
        let mut queue = self.shared.queue.lock();
        if queue.deaf {
            return;
        }
        queue.sent += 1;
        queue.events.push_back(event);
        self.shared.notify(&mut queue);
    }
}

impl<E> Drop for Producer<E> {
    fn drop(&mut self) {
        let mut queue = self.shared.queue.lock();
        queue.ended = true;
        self.shared.notify(&mut queue);
    }
}

impl<E> Shared<E> {
    fn notify(&self, queue: &mut Queue<E>) {
        if let Some(waker) = queue.waker.take() {
            waker.wake();
        }
        self.arrived.notify_one();
    }
}

impl<E> Consumer<E> {
    /// The next event, waiting on this thread; `None` after the last.
    pub(crate) fn next_blocking(&mut self) -> Option<E> {
        let mut queue = self.shared.queue.lock();
        if queue.events.is_empty() && !queue.ended {
            queue.asked = queue.asked.max(queue.sent + 1);
            self.bell.ring();
        }
        while queue.events.is_empty() && !queue.ended {
            self.shared.arrived.wait(&mut queue);
        }
        self.take(&mut queue)
    }

    /// The next event as a future; `None` after the last.
    pub(crate) async fn next(&mut self) -> Option<E> {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// As [`next`](Self::next), for streams.
    pub(crate) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<E>> {
        let mut queue = self.shared.queue.lock();
        if queue.events.is_empty() && !queue.ended {
            queue.asked = queue.asked.max(queue.sent + 1);
            self.bell.ring();
            queue.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(self.take(&mut queue))
    }

    fn take(&self, queue: &mut Queue<E>) -> Option<E> {
        let event = queue.events.pop_front();
        // With some ahead, room for another appears as one is taken.
        let taken = queue.sent - queue.events.len() as u64;
        if self.shared.ahead > 0 && taken > queue.asked {
            queue.asked = taken;
            self.bell.ring();
        }
        event
    }
}

impl<E> Drop for Consumer<E> {
    fn drop(&mut self) {
        self.shared.queue.lock().deaf = true;
        self.bell.ring();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_step_nothing_is_wanted_before_it_is_asked_for() {
        let (producer, mut consumer) = channel(0, Arc::default());
        assert!(!producer.wanted());
        std::thread::scope(|scope| {
            let listener = scope.spawn(move || {
                let first = consumer.next_blocking();
                (first, consumer)
            });
            while !producer.wanted() {
                std::thread::yield_now();
            }
            producer.send(1);
            let (first, mut consumer) = listener.join().unwrap();
            assert_eq!(first, Some(1));
            assert!(!producer.wanted(), "it has not asked again");
            producer.send(2);
            drop(producer);
            assert_eq!(consumer.next_blocking(), Some(2), "what was sent arrives");
            assert_eq!(consumer.next_blocking(), None);
        });
    }

    #[test]
    fn some_ahead_bounds_what_waits() {
        let (producer, mut consumer) = channel(3, Arc::default());
        let mut sent = 0;
        while producer.wanted() {
            producer.send(sent);
            sent += 1;
        }
        assert_eq!(sent, 3);
        assert_eq!(consumer.next_blocking(), Some(0));
        assert!(producer.wanted(), "room for one more");
        producer.send(3);
        assert!(!producer.wanted());
    }

    #[test]
    fn a_listener_that_leaves_is_noticed() {
        let (producer, consumer) = channel::<u8>(3, Arc::default());
        assert!(!producer.unheard());
        drop(consumer);
        assert!(producer.unheard() && !producer.wanted());
        producer.send(1);
    }
}
