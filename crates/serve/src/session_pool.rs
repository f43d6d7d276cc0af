//! Finished sessions, kept for conversations that go on.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fathom_engine::{Engine, Session};

/// The sessions used last, most recent at the back.
pub(crate) struct SessionPool {
    engine: Arc<Engine>,
    idle: Mutex<VecDeque<Session>>,
    sessions_max: usize,
}

impl SessionPool {
    pub(crate) fn new(engine: Arc<Engine>, sessions_max: usize) -> Self {
        Self {
            engine,
            idle: Mutex::default(),
            sessions_max,
        }
    }

    /// A session that holds as much of `prompt` as any here does: a fork of it, for others may go on from there too.
    pub(crate) fn take(&self, prompt: &[u32]) -> Session {
        let mut idle = self.idle();
        let reusable = idle.iter().map(|session| session.reusable(prompt));
        let best = reusable
            .enumerate()
            .max_by_key(|&(_, tokens)| tokens)
            .filter(|&(_, tokens)| tokens > 0);
        let Some(used) = best.and_then(|(index, _)| idle.remove(index)) else {
            return self.engine.session();
        };
        let fork = used.clone();
        idle.push_back(used);
        fork
    }

    /// Keeps a session, in place of the one that was not used for longest.
    pub(crate) fn put(&self, session: Session) {
        let mut idle = self.idle();
        // The fork's origin holds nothing more.
        idle.retain(|other| !session.tokens().starts_with(other.tokens()));
        idle.push_back(session);
        if idle.len() > self.sessions_max {
            idle.pop_front();
        }
    }

    fn idle(&self) -> MutexGuard<'_, VecDeque<Session>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
