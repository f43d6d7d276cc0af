//! One line that says how far a long piece of work has come.
//!
//! It appears only when the work turns out to take long enough for a person to wonder, and it goes without a trace.
//! A thread draws it, so that it moves while the work itself is deep in a computation and reports nothing.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::figures::{duration, rate};
use crate::interrupt::Interrupt;
use crate::units::count;

/// Time between two looks at the work, and between two drawings.
const TICK: Duration = Duration::from_millis(100);

/// A running indicator; dropping it takes the line away.
pub(crate) struct Progress {
    shared: Arc<Shared>,
    drawer: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    status: Mutex<Status>,
    changed: Condvar,
}

#[derive(Debug, Clone, Copy, Default)]
struct Status {
    /// Tokens done and to do, once known.
    tokens: Option<(usize, usize)>,
    over: bool,
}

impl Progress {
    /// Starts to watch. `what` is a phrase such as "reading the prompt". Nothing is ever drawn unless `visible`. If
    /// Ctrl-C is pressed, the line says that it was noticed.
    pub(crate) fn start(what: &str, visible: bool, interrupt: Option<Interrupt>) -> Self {
        let shared = Arc::<Shared>::default();
        let drawer = visible.then(|| {
            let (shared, what) = (Arc::clone(&shared), what.to_owned());
            std::thread::spawn(move || shared.draw(&what, interrupt.as_ref()))
        });
        Self { shared, drawer }
    }

    /// `done` of `total` tokens are done.
    pub(crate) fn report(&self, done: usize, total: usize) {
        self.shared.lock().tokens = Some((done, total));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.shared.lock().over = true;
        self.shared.changed.notify_all();
        if let Some(drawer) = self.drawer.take() {
            // If drawing failed there is nothing on the screen that matters.
            drawer.join().ok();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Draws until the work is over.
    fn draw(&self, what: &str, interrupt: Option<&Interrupt>) {
        let started = Instant::now();
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        bar.set_prefix(what.to_owned());
        let mut shown = false;
        let mut status = self.lock();
        while !status.over {
            let (now, elapsed) = (*status, started.elapsed());
            drop(status);
            let stopping = interrupt.is_some_and(Interrupt::is_pressed);
            if !shown && (stopping || worth_showing(elapsed, now.tokens)) {
                bar.set_draw_target(ProgressDrawTarget::stderr());
                shown = true;
            }
            if shown {
                show(&bar, elapsed, now.tokens, stopping);
            }
            status = self.lock();
            if !status.over {
                let waited = self.changed.wait_timeout(status, TICK);
                status = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
        bar.finish_and_clear();
    }
}

fn show(bar: &ProgressBar, elapsed: Duration, tokens: Option<(usize, usize)>, stopping: bool) {
    let template = if tokens.is_some() {
        "{prefix} [{bar:20}] {wide_msg}"
    } else {
        "{prefix} {wide_msg}"
    };
    // Both templates are valid; without one the default style does.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("##."));
    }
    if let Some((done, total)) = tokens {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    }
    bar.set_message(if stopping {
        "stopping".to_owned()
    } else {
        message(elapsed, tokens)
    });
    bar.tick();
}

/// The words behind the bar.
fn message(elapsed: Duration, tokens: Option<(usize, usize)>) -> String {
    let Some((done, total)) = tokens else {
        return duration(elapsed);
    };
    let counted = format!("{} of {} tokens", count(done as u64), count(total as u64));
    let Some(left) = time_left(elapsed, done, total) else {
        return counted;
    };
    let per_second = done as f64 / elapsed.as_secs_f64();
    format!(
        "{counted}, {} tokens/s, {} left",
        rate(per_second),
        duration(left)
    )
}

/// Time the rest takes at the average pace so far.
fn time_left(elapsed: Duration, done: usize, total: usize) -> Option<Duration> {
    (done > 0 && !elapsed.is_zero()).then(|| elapsed.mul_f64(total.saturating_sub(done) as f64 / done as f64))
}

/// Whether the work takes long enough for a line about it. Short work must not make the screen flicker: the line stays
/// for half a second or more, as far as that can be foreseen.
fn worth_showing(elapsed: Duration, tokens: Option<(usize, usize)>) -> bool {
    let left = tokens.and_then(|(done, total)| time_left(elapsed, done, total));
    match left {
        Some(left) if elapsed < Duration::from_secs(1) => left >= Duration::from_secs(2),
        Some(left) => left >= Duration::from_millis(500),
        None => elapsed >= Duration::from_secs(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_work_shows_nothing() {
        let millis = Duration::from_millis;
        assert!(!worth_showing(millis(900), None));
        assert!(!worth_showing(millis(300), Some((500, 1000))));
        assert!(!worth_showing(millis(1900), Some((950, 1000))));
        assert!(!worth_showing(millis(500), Some((0, 1000))));
    }

    #[test]
    fn long_work_shows_as_soon_as_it_is_known_to_be_long() {
        assert!(worth_showing(Duration::from_secs(1), None));
        assert!(worth_showing(Duration::from_millis(300), Some((512, 60_000))));
        assert!(worth_showing(Duration::from_millis(1100), Some((512, 1024))));
        assert!(worth_showing(Duration::from_secs(2), Some((0, 1024))));
    }

    #[test]
    fn the_line_says_pace_and_time_left() {
        assert_eq!(
            message(Duration::from_secs(2), Some((4_000, 60_000))),
            "4,000 of 60,000 tokens, 2,000 tokens/s, 28 s left"
        );
        assert_eq!(
            message(Duration::from_secs(2), Some((0, 60_000))),
            "0 of 60,000 tokens"
        );
        assert_eq!(message(Duration::from_secs(3), None), "3.0 s");
    }

    #[test]
    fn an_indicator_ends_when_it_is_dropped() {
        let progress = Progress::start("working", false, None);
        progress.report(1, 2);
        let shared = Arc::clone(&progress.shared);
        drop(progress);
        assert!(shared.lock().over);
    }
}
