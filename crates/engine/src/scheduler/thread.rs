//! Who runs the scheduler: a thread of its own, or a simulation step by step.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use fathom_kernels::team::Team;
use parking_lot::Mutex;

use super::restore::Restorer;
use super::{Bell, Job, Scheduler, SchedulerStats, Scheduling, StepRules};
use crate::core::Core;
use crate::generation::GenerateError;
use crate::session::SessionError;

/// How long a round of rest is when there is nothing else to do.
const REST: Duration = Duration::from_millis(10);

/// No room for another request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{requests} requests are here already, as many as the engine accepts; try again when one is done")]
pub struct Busy {
    /// Most that may be here at once.
    pub requests: usize,
}

/// Runs the scheduler and passes jobs to it.
pub(crate) struct Driver {
    inbox: Arc<Inbox>,
    requests_max: usize,
    runner: Runner,
}

enum Runner {
    Thread(Option<JoinHandle<()>>),
    Stepped(Box<Mutex<Scheduler>>),
}

#[derive(Default)]
struct Inbox {
    jobs: Mutex<VecDeque<(Job, RequestPlace)>>,
    bell: Arc<Bell>,
    /// Jobs that are here, waiting or running.
    requests: Arc<AtomicUsize>,
    closed: AtomicBool,
    stats: Mutex<SchedulerStats>,
}

/// One of the places for requests; free again when dropped.
pub(crate) struct RequestPlace(Arc<AtomicUsize>);

impl Drop for RequestPlace {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Driver {
    /// Starts the engine's thread.
    pub(crate) fn start(core: Arc<Core>, team: Team, rules: Scheduling) -> io::Result<Self> {
        let inbox = Arc::<Inbox>::default();
        let restorer = Restorer::start(Arc::clone(&inbox.bell))?;
        let requests_max = rules.running_max + rules.waiting_max;
        let mut scheduler = Scheduler::new(core, team, rules, restorer);
        let theirs = Arc::clone(&inbox);
        let thread = Builder::new()
            .name("fathom-engine".to_owned())
            .spawn(move || theirs.run(&mut scheduler))?;
        Ok(Self {
            inbox,
            requests_max,
            runner: Runner::Thread(Some(thread)),
        })
    }

    /// A scheduler that moves only when told to.
    pub(crate) fn stepped(core: Arc<Core>, team: Team, rules: Scheduling) -> Self {
        let requests_max = rules.running_max + rules.waiting_max;
        let scheduler = Scheduler::new(core, team, rules, Restorer::inline());
        Self {
            inbox: Arc::default(),
            requests_max,
            runner: Runner::Stepped(Box::new(Mutex::new(scheduler))),
        }
    }

    pub(crate) fn bell(&self) -> Arc<Bell> {
        Arc::clone(&self.inbox.bell)
    }

    /// Hands a job over.
    pub(crate) fn submit(&self, job: Job) -> Result<(), Busy> {
        let requests = self.inbox.requests.fetch_add(1, Ordering::Relaxed);
        let place = RequestPlace(Arc::clone(&self.inbox.requests));
        if requests >= self.requests_max {
            drop(place);
            job.slot.put(job.timeline);
            return Err(Busy {
                requests: self.requests_max,
            });
        }
        self.inbox.jobs.lock().push_back((job, place));
        self.inbox.bell.ring();
        Ok(())
    }

    /// One step by hand; `None` if a thread does that.
    pub(crate) fn step(&self, rules: StepRules) -> Option<bool> {
        let Runner::Stepped(scheduler) = &self.runner else {
            return None;
        };
        let mut scheduler = scheduler.lock();
        self.inbox.pass_on(&mut scheduler);
        let worked = scheduler.step(rules);
        *self.inbox.stats.lock() = scheduler.stats();
        Some(worked)
    }

    pub(crate) fn stats(&self) -> SchedulerStats {
        *self.inbox.stats.lock()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.inbox.closed.store(true, Ordering::Relaxed);
        self.inbox.bell.ring();
        if let Runner::Thread(thread) = &mut self.runner
            && let Some(thread) = thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            // A panic there has been reported already.
            thread.join().ok();
        }
    }
}

impl Inbox {
    fn pass_on(&self, scheduler: &mut Scheduler) {
        let jobs = std::mem::take(&mut *self.jobs.lock());
        for (job, place) in jobs {
            scheduler.take(job, place);
        }
    }

    fn run(&self, scheduler: &mut Scheduler) {
        while !self.closed.load(Ordering::Relaxed) {
            self.pass_on(scheduler);
            // A bug met by one request must not cost the others their engine.
            let step = catch_unwind(AssertUnwindSafe(|| scheduler.step(StepRules::default())));
            let worked = step.unwrap_or_else(|_| {
                scheduler.fail_all(&|| GenerateError::Session(SessionError::Bug));
                true
            });
            *self.stats.lock() = scheduler.stats();
            if !worked {
                self.bell.wait(scheduler.is_held_up().then_some(REST));
            }
        }
        scheduler.fail_all(&|| GenerateError::Session(SessionError::Ended));
    }
}
