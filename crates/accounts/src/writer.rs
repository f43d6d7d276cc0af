//! The thread that writes, and the queue before it.
//!
//! Waiting for a disk takes as long for a hundred rows as for one. While one group is on its way to the disk, others queue up, and
//! become the next group: nobody waits for a timer, and the rate is that of the disk times the length of the queue.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::record::{Priced, Recorded};
use crate::{AccountsError, ledger};

/// Records and other work that wait.
const QUEUE_MAX: usize = 4_096;
/// Records in a transaction.
const GROUP_MAX: usize = 512;

/// The sending side.
#[derive(Debug)]
pub(crate) struct Writer {
    queue: mpsc::Sender<Job>,
    failing: Arc<Mutex<Option<String>>>,
    thread: Option<JoinHandle<()>>,
}

enum Job {
    Write(Box<Priced>, oneshot::Sender<Result<Recorded, AccountsError>>),
    Do(Box<dyn FnOnce(&mut Connection) + Send>),
    End,
}

impl Writer {
    /// `on_written` is told of every new record, in order, before those who wait for it are.
    pub(crate) fn start(
        mut connection: Connection,
        on_written: impl Fn(&Priced) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (queue, mut jobs) = mpsc::channel(QUEUE_MAX);
        let failing = Arc::new(Mutex::new(None));
        let failing_here = failing.clone();
        let thread = std::thread::Builder::new()
            .name("accounts".to_owned())
            .spawn(move || {
                let mut group = Vec::new();
                while let Some(job) = jobs.blocking_recv() {
                    let mut next = Some(job);
                    while let Some(job) = next.take() {
                        match job {
                            Job::Write(record, reply) => {
                                group.push((*record, reply));
                                if group.len() < GROUP_MAX {
                                    next = jobs.try_recv().ok();
                                }
                            }
                            Job::Do(work) => {
                                commit(&mut connection, &mut group, &on_written, &failing_here);
                                work(&mut connection);
                            }
                            // What is in the queue is still done; nothing is added.
                            Job::End => jobs.close(),
                        }
                    }
                    commit(&mut connection, &mut group, &on_written, &failing_here);
                }
            })?;
        Ok(Self {
            queue,
            failing,
            thread: Some(thread),
        })
    }

    /// Queues a record at once if there is room, whether or not the result is waited for; otherwise it is queued when the
    /// result is waited for.
    pub(crate) fn write(
        &self,
        record: Priced,
    ) -> impl Future<Output = Result<Recorded, AccountsError>> + Send + use<> {
        let (reply, result) = oneshot::channel();
        let unsent = self
            .queue
            .try_send(Job::Write(Box::new(record), reply))
            .map_err(|error| (error, self.queue.clone()));
        async move {
            match unsent {
                Ok(()) => {}
                Err((mpsc::error::TrySendError::Full(job), queue)) => {
                    queue.send(job).await.map_err(|_| AccountsError::Closed)?;
                }
                Err((mpsc::error::TrySendError::Closed(_), _)) => return Err(AccountsError::Closed),
            }
            result.await.map_err(|_| AccountsError::Closed)?
        }
    }

    /// Does something on the writing connection, after everything that was queued before. Blocks.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> T + Send + 'static,
    ) -> Result<T, AccountsError> {
        let (reply, result) = std::sync::mpsc::sync_channel(1);
        self.push(Job::Do(Box::new(move |connection| {
            // Nobody waits any more: no matter.
            let _ = reply.send(work(connection));
        })))?;
        result.recv().map_err(|_| AccountsError::Closed)
    }

    /// Why the last group could not be written, if it could not.
    pub(crate) fn failing(&self) -> Option<String> {
        self.failing.lock().clone()
    }

    fn push(&self, mut job: Job) -> Result<(), AccountsError> {
        loop {
            match self.queue.try_send(job) {
                Ok(()) => return Ok(()),
                Err(mpsc::error::TrySendError::Closed(_)) => return Err(AccountsError::Closed),
                Err(mpsc::error::TrySendError::Full(back)) => {
                    job = back;
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        }
    }
}

/// Waits until everything queued is written.
impl Drop for Writer {
    fn drop(&mut self) {
        // If it has ended already, that is fine.
        let _ = self.push(Job::End);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

type Waiting = (Priced, oneshot::Sender<Result<Recorded, AccountsError>>);

fn commit(
    connection: &mut Connection,
    group: &mut Vec<Waiting>,
    on_written: &impl Fn(&Priced),
    failing: &Mutex<Option<String>>,
) {
    if group.is_empty() {
        return;
    }
    let (records, replies): (Vec<_>, Vec<_>) = group.drain(..).unzip();
    let outcome = ledger::write(connection, &records).map_err(AccountsError::from);
    *failing.lock() = outcome.as_ref().err().map(ToString::to_string);
    match outcome {
        Ok(recorded) => {
            for ((record, recorded), reply) in records.iter().zip(recorded).zip(replies) {
                if recorded.new {
                    on_written(record);
                }
                // Nobody waits for it: it is written all the same.
                let _ = reply.send(Ok(recorded));
            }
        }
        Err(error) => {
            for reply in replies {
                let _ = reply.send(Err(error.clone()));
            }
        }
    }
}
