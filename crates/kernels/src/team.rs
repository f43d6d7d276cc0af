//! A fixed team of threads that shares out one kernel's work at a time.
//!
//! The caller works too, so a team of one has no threads and no hand-over cost. Each thread has a run of the items and,
//! when it is done with them, part of another's: who computes an item varies from run to run, what it computes never
//! does.
//!
//! Waiting is bounded spinning and then sleep. A worker whose core is given to another process in the middle of an item
//! holds up everyone for a time slice of the scheduler, much longer than a kernel; when that costs more than the worker
//! brings, it rests for a while. So a core taken by another process costs about that core, not the whole team.

use std::any::Any;
use std::cell::UnsafeCell;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

use crate::cores;
pub use crate::scratch::Scratch;
use crate::shares::Shares;

/// How long a worker watches for the next task before it sleeps: the serial work between two kernels and the sampling of
/// a token fit in. An idle team costs nothing.
const WORKER_SPINS_FOR: Duration = Duration::from_micros(200);

/// How long the caller watches the workers finish their last items before it sleeps.
const CALLER_SPINS_FOR: Duration = Duration::from_micros(50);

/// A wait at the end of a task that is worth asking why.
const STALL: Duration = Duration::from_micros(500);

/// How long a worker rests after a stall; doubled when the next one follows soon.
const REST_MIN: Duration = Duration::from_millis(20);
const REST_MAX: Duration = Duration::from_millis(320);

type Work<'a> = dyn Fn(usize, &mut Scratch) + Sync + 'a;

/// What the caller asks of the team; valid while the gate is open and until every worker that joined has left.
#[derive(Clone, Copy)]
struct Task {
    work: *const Work<'static>,
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
pub(crate) struct Apart<T>(pub(crate) T);

/// What all threads look at to hand over a task.
#[derive(Default)]
struct Gate {
    word: AtomicU64,
    task: UnsafeCell<Option<Task>>,
    /// The processor the caller ran on when it opened the gate.
    caller_cpu: AtomicU32,
}

/// One worker's state.
#[derive(Default)]
struct Seat {
    /// It sleeps, or is about to.
    asleep: AtomicBool,
    /// It may be working on an item.
    inside: AtomicBool,
    /// It is to stay out of tasks.
    resting: AtomicBool,
    /// The system's account of its time.
    account: OnceLock<File>,
}

impl Seat {
    /// Nanoseconds that the worker has been ready to run and had no processor.
    fn queued_ns(&self) -> Option<u64> {
        let mut text = [0; 64];
        #[cfg(unix)]
        let len = std::os::unix::fs::FileExt::read_at(self.account.get()?, &mut text, 0).ok()?;
        #[cfg(not(unix))]
        let len = 0;
        let mut fields = std::str::from_utf8(&text[..len]).ok()?.split_ascii_whitespace();
        fields.nth(1)?.parse().ok()
    }
}

struct Shared {
    gate: Apart<Gate>,
    shares: Shares,
    seats: Vec<Apart<Seat>>,
    /// Seats that are asleep.
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

impl Shared {
    /// The caller is thread 0, the worker in seat i is thread i + 1.
    fn take_items(&self, task: Task, thread: usize, scratch: &mut Scratch) {
        // SAFETY: `run` does not return, so `work` lives, until this thread has left the gate.
        let work = unsafe { &*task.work };
        while let Some(item) = self.shares.take(thread) {
            work(item, scratch);
        }
    }

    fn nobody_inside(&self) -> bool {
        self.gate.0.word.load(Ordering::Acquire) & gate::INSIDE == 0
    }

    fn wake_sleepers(&self, workers: &[JoinHandle<()>]) {
        // Ordered against the opened gate: a worker either shows as asleep here or sees the news before it sleeps.
        if self.sleepers.load(Ordering::SeqCst) == 0 {
            return;
        }
        for (worker, Apart(seat)) in workers.iter().zip(&self.seats) {
            if !seat.resting.load(Ordering::Relaxed) && seat.asleep.swap(false, Ordering::SeqCst) {
                worker.thread().unpark();
            }
        }
    }

    /// A worker's life.
    fn serve(&self, index: usize) {
        let Apart(seat) = &self.seats[index];
        if let Ok(account) = File::open("/proc/thread-self/schedstat") {
            let _ = seat.account.set(account);
        }
        let mut scratch = Scratch::default();
        let gate = &self.gate.0;
        let (mut seen, mut overslept) = (0, false);
        loop {
            let news = || {
                let word = gate.word.load(Ordering::SeqCst);
                gate::task(word) != seen || word & gate::STOP != 0
            };
            // Who shares the caller's processor or woke up too late for a task would only be in the way.
            let caller_cpu = gate.caller_cpu.load(Ordering::Relaxed);
            let in_the_way = cores::current_cpu().is_some_and(|cpu| cpu == caller_cpu);
            let watches = !overslept && !in_the_way;
            overslept = !(watches && spin_until(WORKER_SPINS_FOR, news));
            if overslept {
                self.sleep(seat, news);
            }
            let word = gate.word.load(Ordering::Acquire);
            if word & gate::STOP != 0 {
                return;
            }
            seen = gate::task(word);
            if word & gate::OPEN == 0 || seat.resting.load(Ordering::Relaxed) {
                continue;
            }
            seat.inside.store(true, Ordering::Relaxed);
            let word = gate.word.fetch_add(1, Ordering::AcqRel);
            seen = gate::task(word);
            if word & gate::OPEN != 0 {
                overslept = false;
                // SAFETY: inside the open gate, so the caller wrote the task before and does not touch it now.
                let task = unsafe { *gate.task.get() };
                if let Some(task) = task
                    && let Err(panic) = catch_unwind(AssertUnwindSafe(|| {
                        self.take_items(task, index + 1, &mut scratch);
                    }))
                {
                    self.shares.clear();
                    lock(&self.panic).get_or_insert(panic);
                    self.panicked.store(true, Ordering::Relaxed);
                }
            }
            self.leave();
            seat.inside.store(false, Ordering::Relaxed);
        }
    }

    fn sleep(&self, seat: &Seat, news: impl Fn() -> bool) {
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        loop {
            // Said again each time: a wake-up may be for a task that is already done.
            seat.asleep.store(true, Ordering::SeqCst);
            if news() {
                break;
            }
            std::thread::park();
        }
        seat.asleep.store(false, Ordering::SeqCst);
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }

    fn leave(&self) {
        let word = self.gate.0.word.fetch_sub(1, Ordering::AcqRel);
        if word & (gate::INSIDE | gate::CALLER_SLEEPS) == 1 | gate::CALLER_SLEEPS {
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
    rests: Vec<Rest>,
    /// Workers that rest.
    resting: usize,
    scratch: Scratch,
}

/// A worker's last rest, and what the caller found when it last waited for it.
#[derive(Clone, Default)]
struct Rest {
    until: Option<Instant>,
    length: Duration,
    queued_ns: Option<u64>,
}

impl Team {
    /// A team of `threads` (at least one) including the caller.
    ///
    /// On a machine with several NUMA nodes each worker keeps to the cores of one.
    pub fn new(threads: usize) -> Self {
        let threads = threads.clamp(1, gate::INSIDE as usize);
        let shared = Arc::new(Shared {
            gate: Apart::default(),
            shares: Shares::new(threads),
            seats: (1..threads).map(|_| Apart::default()).collect(),
            sleepers: AtomicUsize::new(0),
            caller: Mutex::default(),
            panic: Mutex::default(),
            panicked: AtomicBool::new(false),
        });
        let workers: Vec<_> = cores::places(threads)
            .skip(1)
            .enumerate()
            .map_while(|(index, place)| {
                let shared = Arc::clone(&shared);
                // A machine that refuses another thread gets a smaller team, not an error.
                std::thread::Builder::new()
                    .name(format!("fathom-team-{}", index + 1))
                    .spawn(move || {
                        if let Some(place) = place {
                            place.take();
                        }
                        shared.serve(index);
                    })
                    .ok()
            })
            .collect();
        Self {
            shared,
            rests: vec![Rest::default(); workers.len()],
            workers,
            resting: 0,
            scratch: Scratch::default(),
        }
    }

    /// One thread for each physical core this process may use.
    pub fn with_all_cores() -> Self {
        Self::new(cores::allowed_cores())
    }

    /// Threads that take part, the caller included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `work(item, scratch)` once for each item in `0..items`, in no particular order, and returns when all are
    /// done. A panic in any item is raised again here, after the others have stopped.
    pub fn run(&mut self, items: usize, work: impl Fn(usize, &mut Scratch) + Sync) {
        let start = Instant::now();
        if self.resting > 0 {
            self.end_rests(start);
        }
        if self.workers.len() == self.resting || items <= 1 {
            for item in 0..items {
                work(item, &mut self.scratch);
            }
            return;
        }
        let erased: &Work<'_> = &work;
        // SAFETY: only the lifetime is erased. `work` outlives every use of the pointer: this function closes the gate
        // and waits below until nobody is inside, on the panicking path too, before it returns or unwinds.
        let erased: &'static Work<'static> = unsafe { std::mem::transmute(erased) };
        let task = Task { work: erased };
        let shared = &*self.shared;
        let gate = &shared.gate.0;
        shared.shares.deal(items);
        gate.caller_cpu
            .store(cores::current_cpu().unwrap_or(0), Ordering::Relaxed);
        // SAFETY: the gate is closed and nobody is inside, so nobody else looks at the cell.
        unsafe { *gate.task.get() = Some(task) };
        gate.word.fetch_add(gate::TASK | gate::OPEN, Ordering::SeqCst);
        shared.wake_sleepers(&self.workers);
        let own = catch_unwind(AssertUnwindSafe(|| {
            shared.take_items(task, 0, &mut self.scratch);
        }));
        if own.is_err() {
            shared.shares.clear();
        }
        if gate.word.fetch_and(!gate::OPEN, Ordering::AcqRel) & gate::INSIDE != 0
            && !spin_until(CALLER_SPINS_FOR, || shared.nobody_inside())
        {
            self.sleep_until_nobody_is_inside(start.elapsed());
        }
        if let Err(panic) = own {
            resume_unwind(panic);
        }
        if self.shared.panicked.swap(false, Ordering::Relaxed)
            && let Some(panic) = lock(&self.shared.panic).take()
        {
            resume_unwind(panic);
        }
    }

    /// Waits for workers that have taken long already, the task as a whole `so_far`. If they had no processor, and the
    /// wait costs more than half a core brings, they rest.
    #[cold]
    fn sleep_until_nobody_is_inside(&mut self, so_far: Duration) {
        let (shared, closed) = (&*self.shared, Instant::now());
        *lock(&shared.caller) = Some(std::thread::current());
        shared.gate.0.word.fetch_or(gate::CALLER_SLEEPS, Ordering::AcqRel);
        let mut asked = None;
        while !shared.nobody_inside() {
            let time_left = STALL.saturating_sub(closed.elapsed());
            if asked.is_some() {
                std::thread::park();
            } else if !time_left.is_zero() {
                std::thread::park_timeout(time_left);
            } else {
                asked = Some(Instant::now());
                for (rest, Apart(seat)) in self.rests.iter_mut().zip(&shared.seats) {
                    let inside = seat.inside.load(Ordering::Relaxed);
                    rest.queued_ns = inside.then(|| seat.queued_ns()).flatten();
                }
            }
        }
        shared
            .gate
            .0
            .word
            .fetch_and(!gate::CALLER_SLEEPS, Ordering::AcqRel);
        let (Some(asked), waited, now) = (asked, closed.elapsed(), Instant::now()) else {
            return;
        };
        if waited < so_far / 2 {
            return;
        }
        for (rest, Apart(seat)) in self.rests.iter_mut().zip(&shared.seats) {
            let Some((before, after)) = rest.queued_ns.take().zip(seat.queued_ns()) else {
                continue;
            };
            // The account is brought up to date when the worker gets its processor back: all of this wait is in it.
            if u128::from(after.saturating_sub(before)) < (now - asked).as_nanos() / 2 {
                continue;
            }
            let soon = rest.until.is_some_and(|until| now < until + 2 * rest.length);
            rest.length = if soon {
                (2 * rest.length).min(REST_MAX)
            } else {
                REST_MIN
            };
            rest.until = Some(now + rest.length);
            seat.resting.store(true, Ordering::Relaxed);
            self.resting += 1;
        }
    }

    fn end_rests(&mut self, now: Instant) {
        for (rest, Apart(seat)) in self.rests.iter().zip(&self.shared.seats) {
            if seat.resting.load(Ordering::Relaxed) && rest.until.is_none_or(|until| until <= now) {
                seat.resting.store(false, Ordering::Relaxed);
                self.resting -= 1;
            }
        }
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.gate.0.word.fetch_or(gate::STOP, Ordering::SeqCst);
        for Apart(seat) in &self.shared.seats {
            seat.resting.store(false, Ordering::Relaxed);
        }
        self.shared.wake_sleepers(&self.workers);
        for worker in self.workers.drain(..) {
            // A worker that panicked has nothing left to tell: `run` already raised it.
            let _ = worker.join();
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

/// Values that one item of an elementwise kernel works on: some hundred nanoseconds, several times what taking an item
/// costs.
const PIECE: usize = 2048;

/// Calls `work(row, from, columns from .. of the row, scratch)` for pieces of the rows of `out`, each `width` wide, cut at
/// multiples of `unit`: elementwise kernels, for which one long row is enough work for several threads.
pub(crate) fn for_each_piece(
    team: &mut Team,
    out: &mut [f32],
    width: usize,
    unit: usize,
    work: impl Fn(usize, usize, &mut [f32], &mut Scratch) + Sync,
) {
    let rows = out.len() / width;
    let piece = if out.len() > 2 * PIECE {
        PIECE.next_multiple_of(unit).min(width)
    } else {
        width
    };
    let (pieces, rows_per_item) = (width.div_ceil(piece), (PIECE / width).max(1));
    let parts = Disjoint::new(out);
    team.run(rows.div_ceil(rows_per_item) * pieces, |item, scratch| {
        let from = item % pieces * piece;
        let first = item / pieces * rows_per_item;
        for row in first..rows.min(first + rows_per_item) {
            // SAFETY: each piece of each row belongs to exactly one item.
            let part = unsafe { parts.part(row * width + from, piece.min(width - from)) };
            work(row, from, part, scratch);
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
    fn pieces_cover_every_element_once() {
        let mut team = Team::new(2);
        for (rows, width, unit) in [
            (1, 1, 1),
            (1, 5000, 128),
            (3, 2050, 64),
            (7, 300, 128),
            (100, 33, 1),
            (2, 9000, 4096),
        ] {
            let mut out = vec![0.0; rows * width];
            for_each_piece(&mut team, &mut out, width, unit, |row, from, part, _| {
                assert!(from.is_multiple_of(unit));
                for (i, x) in part.iter_mut().enumerate() {
                    *x += (row * width + from + i + 1) as f32;
                }
            });
            assert!(out.iter().enumerate().all(|(i, &x)| x == (i + 1) as f32));
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
