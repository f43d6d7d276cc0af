//! A fixed team of threads that shares out one kernel's work at a time.
//!
//! The caller works too, so a team of one has no threads and no hand-over cost. Items are taken from a shared counter:
//! who computes an item varies from run to run, what it computes never does. Waiting is bounded spinning and then
//! sleep; a core taken by another process costs about that core, not the whole team.

use std::any::Any;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

pub use crate::scratch::Scratch;

/// How long a worker watches for the next task before it sleeps: the serial work between two kernels and the sampling of
/// a token fit in. An idle team costs nothing.
const WORKER_SPINS_FOR: Duration = Duration::from_micros(200);

/// How long the caller watches the workers finish their last items before it sleeps.
const CALLER_SPINS_FOR: Duration = Duration::from_micros(50);

type Work<'a> = dyn Fn(usize, &mut Scratch) + Sync + 'a;

/// What the caller asks of the team; valid while the gate is open and until every worker that joined has left.
#[derive(Clone, Copy)]
struct Task {
    work: *const Work<'static>,
    items: usize,
}

/// The word all hand-over goes through: how many workers are inside the current task (low bits), whether more may
/// join, whether the caller sleeps until the last one leaves, whether the team ends, and the task's number (high bits).
///
/// A worker that comes late, because its core is busy with something else, finds the gate closed and holds nobody up.
mod gate {
    pub(super) const INSIDE: u64 = 0xFFFF;
    pub(super) const OPEN: u64 = 1 << 16;
    pub(super) const CALLER_SLEEPS: u64 = 1 << 17;
    pub(super) const STOP: u64 = 1 << 18;
    pub(super) const TASK: u64 = 1 << 32;

    pub(super) fn task(gate: u64) -> u64 {
        gate / TASK
    }
}

/// On cache lines of its own: what one thread writes often does not slow down those who read its neighbours. Two lines,
/// because the hardware fetches them in pairs.
#[derive(Default)]
#[repr(align(128))]
struct Apart<T>(T);

struct Shared {
    gate: Apart<(AtomicU64, UnsafeCell<Option<Task>>)>,
    next_item: Apart<AtomicUsize>,
    /// Workers that sleep, or are about to.
    asleep: Apart<Vec<AtomicBool>>,
    sleepers: AtomicUsize,
    caller: Mutex<Option<Thread>>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    panicked: AtomicBool,
}

// SAFETY: the one field that is not `Sync` by itself is the task: the caller writes it while the gate is closed and
// nobody is inside, workers read it inside an open gate, and the gate orders the two. What its pointer leads to is
// `Sync` and outlives the task (see `Team::run`).
unsafe impl Sync for Shared {}
// SAFETY: as above.
unsafe impl Send for Shared {}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics under these locks; if something did, the data would still be whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn take_items(&self, task: Task, scratch: &mut Scratch) {
        // SAFETY: `run` does not return, so `work` lives, until this thread has left the gate.
        let work = unsafe { &*task.work };
        loop {
            let item = self.next_item.0.fetch_add(1, Ordering::Relaxed);
            if item >= task.items {
                return;
            }
            work(item, scratch);
        }
    }

    fn leave(&self) {
        let before = self.gate.0.0.fetch_sub(1, Ordering::AcqRel);
        if before & (gate::INSIDE | gate::CALLER_SLEEPS) == 1 | gate::CALLER_SLEEPS {
            // Left in place: whoever looked in too late leaves after this one, and the caller may be waiting for it.
            if let Some(caller) = &*lock(&self.caller) {
                caller.unpark();
            }
        }
    }
}

/// Threads that work together on one kernel at a time.
pub struct Team {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    scratch: Scratch,
}

impl Team {
    /// A team of `threads` (at least one) including the caller.
    pub fn new(threads: usize) -> Self {
        let threads = threads.clamp(1, gate::INSIDE as usize);
        let shared = Arc::new(Shared {
            gate: Apart::default(),
            next_item: Apart::default(),
            asleep: Apart((1..threads).map(|_| AtomicBool::new(false)).collect()),
            sleepers: AtomicUsize::new(0),
            caller: Mutex::default(),
            panic: Mutex::default(),
            panicked: AtomicBool::new(false),
        });
        let workers = (0..threads - 1)
            .map_while(|index| {
                let shared = Arc::clone(&shared);
                // A machine that refuses another thread gets a smaller team, not an error.
                std::thread::Builder::new()
                    .name(format!("fathom-team-{}", index + 1))
                    .spawn(move || worker(&shared, index))
                    .ok()
            })
            .collect();
        Self {
            shared,
            workers,
            scratch: Scratch::default(),
        }
    }

    /// One thread for each core this process may use.
    pub fn with_all_cores() -> Self {
        Self::new(std::thread::available_parallelism().map_or(1, usize::from))
    }

    /// Threads that take part, the caller included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `work(item, scratch)` once for each item in `0..items`, in no particular order, and returns when all are
    /// done. A panic in any item is raised again here, after the others have stopped.
    pub fn run(&mut self, items: usize, work: impl Fn(usize, &mut Scratch) + Sync) {
        if self.workers.is_empty() || items <= 1 {
            for item in 0..items {
                work(item, &mut self.scratch);
            }
            return;
        }
        let erased: &Work<'_> = &work;
        // SAFETY: only the lifetime is erased. `work` outlives every use of the pointer: this function closes the gate
        // and waits below until nobody is inside, on the panicking path too, before it returns or unwinds.
        let erased: &'static Work<'static> = unsafe { std::mem::transmute(erased) };
        let task = Task { work: erased, items };
        let shared = &*self.shared;
        let (gate, announced) = &shared.gate.0;
        shared.next_item.0.store(0, Ordering::Relaxed);
        // SAFETY: the gate is closed and nobody is inside, so nobody else looks at the cell.
        unsafe { *announced.get() = Some(task) };
        gate.fetch_add(gate::TASK | gate::OPEN, Ordering::SeqCst);
        self.wake_sleepers();
        let own = catch_unwind(AssertUnwindSafe(|| {
            shared.take_items(task, &mut self.scratch);
        }));
        if own.is_err() {
            shared.next_item.0.store(items, Ordering::Relaxed);
        }
        if gate.fetch_and(!gate::OPEN, Ordering::AcqRel) & gate::INSIDE != 0 {
            shared.wait_for_workers();
        }
        if let Err(panic) = own {
            resume_unwind(panic);
        }
        if shared.panicked.swap(false, Ordering::Relaxed)
            && let Some(panic) = lock(&shared.panic).take()
        {
            resume_unwind(panic);
        }
    }

    fn wake_sleepers(&self) {
        // Ordered against the opened gate: a worker either shows as a sleeper here or sees the new task before it sleeps.
        if self.shared.sleepers.load(Ordering::SeqCst) > 0 {
            for (worker, asleep) in self.workers.iter().zip(&self.shared.asleep.0) {
                if asleep.swap(false, Ordering::Relaxed) {
                    worker.thread().unpark();
                }
            }
        }
    }
}

impl Shared {
    #[cold]
    fn wait_for_workers(&self) {
        let gate = &self.gate.0.0;
        let nobody_inside = || gate.load(Ordering::Acquire) & gate::INSIDE == 0;
        if spin_until(CALLER_SPINS_FOR, nobody_inside) {
            return;
        }
        *lock(&self.caller) = Some(std::thread::current());
        gate.fetch_or(gate::CALLER_SLEEPS, Ordering::AcqRel);
        while !nobody_inside() {
            std::thread::park();
        }
        gate.fetch_and(!gate::CALLER_SLEEPS, Ordering::AcqRel);
    }
}

/// Polls until `done` or for about `time`; whether it is done.
fn spin_until(time: Duration, done: impl Fn() -> bool) -> bool {
    let mut start = None;
    loop {
        for _ in 0..32 {
            if done() {
                return true;
            }
            std::hint::spin_loop();
        }
        if start.get_or_insert_with(Instant::now).elapsed() > time {
            return done();
        }
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.gate.0.0.fetch_or(gate::STOP, Ordering::SeqCst);
        self.wake_sleepers();
        for worker in self.workers.drain(..) {
            // A worker that panicked has nothing left to tell: `run` already raised it.
            let _ = worker.join();
        }
    }
}

fn worker(shared: &Shared, index: usize) {
    let mut scratch = Scratch::default();
    let (gate, announced) = &shared.gate.0;
    let mut seen = 0;
    loop {
        let news = || {
            let gate = gate.load(Ordering::SeqCst);
            gate::task(gate) != seen || gate & gate::STOP != 0
        };
        if !spin_until(WORKER_SPINS_FOR, news) {
            let asleep = &shared.asleep.0[index];
            shared.sleepers.fetch_add(1, Ordering::SeqCst);
            asleep.store(true, Ordering::SeqCst);
            while !news() {
                std::thread::park();
            }
            asleep.store(false, Ordering::SeqCst);
            shared.sleepers.fetch_sub(1, Ordering::SeqCst);
        }
        let before = gate.load(Ordering::Acquire);
        seen = gate::task(before);
        if before & gate::STOP != 0 {
            return;
        }
        if before & gate::OPEN == 0 {
            continue;
        }
        let before = gate.fetch_add(1, Ordering::AcqRel);
        seen = gate::task(before);
        if before & gate::OPEN != 0 {
            // SAFETY: inside the open gate, so the caller wrote the task before and does not touch it now.
            let task = unsafe { *announced.get() };
            if let Some(task) = task
                && let Err(panic) = catch_unwind(AssertUnwindSafe(|| shared.take_items(task, &mut scratch)))
            {
                shared.next_item.0.store(task.items, Ordering::Relaxed);
                lock(&shared.panic).get_or_insert(panic);
                shared.panicked.store(true, Ordering::Relaxed);
            }
        }
        shared.leave();
    }
}

/// A slice that several items of one task write, each to its own disjoint part.
///
/// Private to the crate: every use states which part an item owns.
#[derive(Clone, Copy)]
pub(crate) struct Disjoint<'a, T> {
    start: *mut T,
    len: usize,
    _owner: std::marker::PhantomData<&'a mut [T]>,
}

// SAFETY: parts handed out to different threads are disjoint (the contract of `part`), so this is sending `&mut [T]`.
unsafe impl<T: Send> Send for Disjoint<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Disjoint<'_, T> {}

impl<'a, T> Disjoint<'a, T> {
    pub(crate) fn new(slice: &'a mut [T]) -> Self {
        Self {
            start: slice.as_mut_ptr(),
            len: slice.len(),
            _owner: std::marker::PhantomData,
        }
    }

    /// Elements `from .. from + len`; panics outside the slice.
    ///
    /// # Safety
    /// No two parts that are alive at once may overlap.
    #[inline(always)]
    pub(crate) unsafe fn part(&self, from: usize, len: usize) -> &'a mut [T] {
        assert!(
            from <= self.len && len <= self.len - from,
            "part {from}+{len} of a slice of {}",
            self.len
        );
        // SAFETY: in bounds by the assertion; exclusive by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(from), len) }
    }
}

/// Calls `work(row, row_of_out, scratch)` for each `width`-wide row of `out`, shared out in runs of rows.
pub(crate) fn for_each_row(
    team: &mut Team,
    out: &mut [f32],
    width: usize,
    rows_per_item: usize,
    work: impl Fn(usize, &mut [f32], &mut Scratch) + Sync,
) {
    let rows = out.len() / width;
    let parts = Disjoint::new(out);
    team.run(rows.div_ceil(rows_per_item), |item, scratch| {
        for row in item * rows_per_item..rows.min((item + 1) * rows_per_item) {
            // SAFETY: each row belongs to exactly one item.
            work(row, unsafe { parts.part(row * width, width) }, scratch);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_runs_exactly_once() {
        for threads in 1..5 {
            let mut team = Team::new(threads);
            for items in [0, 1, 2, 3, 100, 1000] {
                let counts: Vec<_> = (0..items).map(|_| AtomicUsize::new(0)).collect();
                team.run(items, |item, _| {
                    counts[item].fetch_add(1, Ordering::Relaxed);
                });
                assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1));
            }
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_team_survives() {
        let mut team = Team::new(3);
        for bad in [0, 7, 63] {
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                team.run(64, |item, _| assert_ne!(item, bad, "item fails"));
            }));
            assert!(outcome.is_err());
            let done = AtomicUsize::new(0);
            team.run(64, |_, _| {
                done.fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!(done.into_inner(), 64);
        }
    }

    /// More threads than cores, tasks of every length, pauses on both sides of falling asleep.
    #[test]
    fn no_wake_up_is_lost() {
        let mut team = Team::new(5);
        for round in 0..3000_u64 {
            let (items, pause) = (2 + round as usize % 7, round * 7919 % 400);
            let done = AtomicUsize::new(0);
            team.run(items, |item, _| {
                if round % 3 == 0 {
                    spin_until(Duration::from_micros(round * 31 % 97 * (item as u64 % 2)), || {
                        false
                    });
                }
                done.fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!(done.into_inner(), items);
            if round % 5 == 0 {
                std::thread::sleep(Duration::from_micros(pause));
            }
        }
    }

    #[test]
    fn sleeping_workers_wake_up() {
        let mut team = Team::new(2);
        for _ in 0..3 {
            std::thread::sleep(std::time::Duration::from_millis(20));
            let done = AtomicUsize::new(0);
            team.run(16, |_, _| {
                done.fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!(done.into_inner(), 16);
        }
    }
}
