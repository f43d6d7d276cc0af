//! A fixed team of threads that shares out one kernel's work at a time.
//!
//! The caller works too, so a team of one has no threads and no hand-over cost. Items are taken from a shared counter:
//! who computes an item varies from run to run, what it computes never does. Waiting is bounded spinning and then
//! sleep; a core taken by another process costs about that core, not the whole team.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Polls before a waiting thread goes to sleep: some tens of microseconds, the length of a short kernel.
const SPINS_BEFORE_SLEEP: u32 = 5_000;

/// Memory that a thread reuses from kernel to kernel. It grows to the largest request and stays.
#[derive(Default)]
pub struct Scratch {
    floats: Vec<f32>,
    pub(crate) indices: Vec<u32>,
}

impl Scratch {
    /// `N` disjoint buffers of the given lengths, with unspecified contents.
    pub(crate) fn floats<const N: usize>(&mut self, lengths: [usize; N]) -> [&mut [f32]; N] {
        let total = lengths.iter().sum();
        if self.floats.len() < total {
            self.floats.resize(total, 0.0);
        }
        let mut rest = self.floats.as_mut_slice();
        lengths.map(|length| {
            let (buffer, tail) = std::mem::take(&mut rest).split_at_mut(length);
            rest = tail;
            buffer
        })
    }
}

type Work<'a> = dyn Fn(usize, &mut Scratch) + Sync + 'a;

/// What the caller asks of the team; valid from its announcement until every worker has reported back.
#[derive(Clone, Copy)]
struct Task {
    work: *const Work<'static>,
    items: usize,
}

// SAFETY: the pointee is `Sync`, and `Team::run` keeps it alive until every worker has finished with it.
unsafe impl Send for Task {}

struct Announcement {
    /// The task that a worker may still join; the caller withdraws it when no item is left. A worker that comes late,
    /// because its core is busy with something else, then holds nobody up.
    task: Option<Task>,
    stop: bool,
    panic: Option<Box<dyn Any + Send>>,
}

struct Shared {
    announcement: Mutex<Announcement>,
    announced: Condvar,
    finished: Condvar,
    /// Rises by one with each task; workers watch it without taking the lock.
    epoch: AtomicU64,
    next_item: AtomicUsize,
    /// Workers that have joined the task and not yet left it; raised only under the lock.
    workers_busy: AtomicUsize,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Announcement> {
        // Panics are caught before they can poison the lock; if one did, the data is still consistent.
        self.announcement.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_items(&self, task: Task, scratch: &mut Scratch) {
        // SAFETY: `run` does not return, so `work` lives, until this worker has reported back.
        let work = unsafe { &*task.work };
        loop {
            let item = self.next_item.fetch_add(1, Ordering::Relaxed);
            if item >= task.items {
                return;
            }
            work(item, scratch);
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
        let shared = Arc::new(Shared {
            announcement: Mutex::new(Announcement {
                task: None,
                stop: false,
                panic: None,
            }),
            announced: Condvar::new(),
            finished: Condvar::new(),
            epoch: AtomicU64::new(0),
            next_item: AtomicUsize::new(0),
            workers_busy: AtomicUsize::new(0),
        });
        let workers = (1..threads)
            .map_while(|index| {
                let shared = Arc::clone(&shared);
                // A machine that refuses another thread gets a smaller team, not an error.
                std::thread::Builder::new()
                    .name(format!("fathom-team-{index}"))
                    .spawn(move || worker(&shared))
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
        // SAFETY: only the lifetime is erased. `work` outlives every use of the pointer: this function waits below
        // until `workers_busy` is zero, on the panicking path too, before it returns or unwinds.
        let erased: &'static Work<'static> = unsafe { std::mem::transmute(erased) };
        let task = Task { work: erased, items };
        {
            let mut announcement = self.shared.lock();
            self.shared.next_item.store(0, Ordering::Relaxed);
            announcement.task = Some(task);
            self.shared.epoch.fetch_add(1, Ordering::Release);
        }
        self.shared.announced.notify_all();
        let own = catch_unwind(AssertUnwindSafe(|| {
            self.shared.take_items(task, &mut self.scratch);
        }));
        if own.is_err() {
            self.shared.next_item.store(items, Ordering::Relaxed);
        }
        self.shared.lock().task = None;
        self.wait_for_workers();
        let theirs = self.shared.lock().panic.take();
        if let Err(panic) = own {
            resume_unwind(panic);
        }
        if let Some(panic) = theirs {
            resume_unwind(panic);
        }
    }

    fn wait_for_workers(&self) {
        for _ in 0..SPINS_BEFORE_SLEEP {
            if self.shared.workers_busy.load(Ordering::Acquire) == 0 {
                return;
            }
            std::hint::spin_loop();
        }
        let mut announcement = self.shared.lock();
        while self.shared.workers_busy.load(Ordering::Acquire) != 0 {
            announcement = self
                .shared
                .finished
                .wait(announcement)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.epoch.fetch_add(1, Ordering::Release);
        self.shared.announced.notify_all();
        for worker in self.workers.drain(..) {
            // A worker that panicked has nothing left to tell: `run` already raised it.
            let _ = worker.join();
        }
    }
}

fn worker(shared: &Shared) {
    let mut scratch = Scratch::default();
    let mut seen = 0;
    loop {
        let mut spins = 0;
        while shared.epoch.load(Ordering::Acquire) == seen && spins < SPINS_BEFORE_SLEEP {
            spins += 1;
            std::hint::spin_loop();
        }
        let task = {
            let mut announcement = shared.lock();
            while shared.epoch.load(Ordering::Acquire) == seen {
                announcement = shared
                    .announced
                    .wait(announcement)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            seen = shared.epoch.load(Ordering::Acquire);
            if announcement.stop {
                return;
            }
            let Some(task) = announcement.task else { continue };
            shared.workers_busy.fetch_add(1, Ordering::Relaxed);
            task
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| shared.take_items(task, &mut scratch)));
        if let Err(panic) = outcome {
            shared.next_item.store(task.items, Ordering::Relaxed);
            shared.lock().panic.get_or_insert(panic);
        }
        if shared.workers_busy.fetch_sub(1, Ordering::AcqRel) == 1 {
            // Taking the lock orders this after the caller's last look at the counter, so the wake-up is not lost.
            drop(shared.lock());
            shared.finished.notify_one();
        }
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
