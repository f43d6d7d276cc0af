//! Reading states from disk while others compute.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::{Builder, JoinHandle};

use fathom_cache::{Found, Prefix};

use super::bell::Bell;
use super::sequence::Sequence;

/// A thread that reads what the cache has found on disk, so that no decode waits for it.
pub(crate) struct Restorer {
    thread: Option<Reader>,
    /// Sequences there.
    count: usize,
}

struct Reader {
    send: Option<Sender<(Sequence, Found)>>,
    receive: Receiver<(Sequence, Prefix)>,
    thread: Option<JoinHandle<()>>,
}

impl Restorer {
    /// Reads in the caller's thread: simulations.
    pub(crate) fn inline() -> Self {
        Self {
            thread: None,
            count: 0,
        }
    }

    /// Starts the thread; it rings `bell` when a state is there.
    pub(crate) fn start(bell: Arc<Bell>) -> io::Result<Self> {
        let (send, jobs) = channel::<(Sequence, Found)>();
        let (done, receive) = channel();
        let thread = Builder::new().name("fathom-restore".to_owned()).spawn(move || {
            for (sequence, found) in jobs {
                let prefix = found.load();
                if done.send((sequence, prefix)).is_err() {
                    return;
                }
                bell.ring();
            }
        })?;
        Ok(Self {
            thread: Some(Reader {
                send: Some(send),
                receive,
                thread: Some(thread),
            }),
            count: 0,
        })
    }

    pub(super) fn is_inline(&self) -> bool {
        self.thread.is_none()
    }

    /// Sequences whose states are being read.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Has a sequence's state read.
    pub(super) fn send(&mut self, sequence: Sequence, found: Found) {
        if let Some(send) = self.thread.as_ref().and_then(|reader| reader.send.as_ref()) {
            // The thread ends with the scheduler only, and a panic in it would end up in `receive`.
            if send.send((sequence, found)).is_ok() {
                self.count += 1;
            }
        }
    }

    /// A sequence whose state has been read.
    pub(super) fn receive(&mut self) -> Option<(Sequence, Prefix)> {
        let reader = self.thread.as_ref()?;
        match reader.receive.try_recv() {
            Ok(done) => {
                self.count -= 1;
                Some(done)
            }
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => None,
        }
    }

    /// Waits for all of them.
    pub(super) fn drain(&mut self) -> Vec<Sequence> {
        let Some(reader) = &self.thread else {
            return Vec::new();
        };
        let all = reader
            .receive
            .iter()
            .take(self.count)
            .map(|(sequence, _)| sequence)
            .collect();
        self.count = 0;
        all
    }
}

impl Drop for Restorer {
    fn drop(&mut self) {
        if let Some(Reader { send, thread, .. }) = &mut self.thread {
            drop(send.take());
            if let Some(thread) = thread.take() {
                // A panic there has been reported already.
                thread.join().ok();
            }
        }
    }
}
