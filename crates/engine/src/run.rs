//! Something a session is doing: its events, and its result.

use std::sync::Arc;
use std::task::{Context, Poll};

use crate::Session;
use crate::events::Consumer;
use crate::generation::GenerateError;
use crate::scheduler::Cancel;
use crate::timeline::Slot;

/// What comes through the queue.
pub(crate) enum Message<E, D> {
    Event(E),
    Done(Box<Result<D, GenerateError>>),
}

/// Work in progress. Take its events, on a thread ([`next_blocking`](Self::next_blocking)) or as futures
/// ([`next`](Self::next)), and then its result. The engine works only so far ahead of a listener as the listener allowed.
///
/// Dropping it ends the work within one step. The session brings its timeline home when it is used next.
pub struct Run<'s, E, D> {
    session: &'s mut Session,
    events: Consumer<Message<E, D>>,
    cancel: Cancel,
    done: Option<Result<D, GenerateError>>,
    ended: bool,
}

impl<'s, E, D> Run<'s, E, D> {
    pub(crate) fn new(session: &'s mut Session, events: Consumer<Message<E, D>>, cancel: Cancel) -> Self {
        Self {
            session,
            events,
            cancel,
            done: None,
            ended: false,
        }
    }

    /// The next event, waiting on this thread; `None` when the work is done.
    pub fn next_blocking(&mut self) -> Option<E> {
        if self.ended {
            return None;
        }
        let message = self.events.next_blocking();
        self.read(message)
    }

    /// The next event; `None` when the work is done.
    pub async fn next(&mut self) -> Option<E> {
        if self.ended {
            return None;
        }
        let message = self.events.next().await;
        self.read(message)
    }

    /// As [`next`](Self::next), for those who poll.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<E>> {
        if self.ended {
            return Poll::Ready(None);
        }
        self.events.poll_next(context).map(|message| self.read(message))
    }

    /// Asks for an early end. Events that are under way still come.
    pub fn cancel(&self) {
        self.cancel.set();
        self.session.engine().wake();
    }

    /// Takes the remaining events, waiting on this thread, and returns the result.
    pub fn finish_blocking(mut self) -> Result<D, GenerateError> {
        while self.next_blocking().is_some() {}
        self.result()
    }

    /// Takes the remaining events and returns the result.
    pub async fn finish(mut self) -> Result<D, GenerateError> {
        while self.next().await.is_some() {}
        self.result()
    }

    fn read(&mut self, message: Option<Message<E, D>>) -> Option<E> {
        match message {
            Some(Message::Event(event)) => return Some(event),
            Some(Message::Done(result)) => {
                self.done = Some(*result);
                self.session.come_home();
            }
            None => {}
        }
        self.ended = true;
        None
    }

    fn result(mut self) -> Result<D, GenerateError> {
        self.done
            .take()
            .unwrap_or(Err(GenerateError::Session(crate::SessionError::Ended)))
    }
}

impl<E, D> Drop for Run<'_, E, D> {
    fn drop(&mut self) {
        if !self.ended {
            self.cancel();
        }
    }
}

/// Where a session's timeline is.
pub(crate) enum Place {
    Here,
    /// With the engine, which puts it there.
    Away(Arc<Slot>),
}
