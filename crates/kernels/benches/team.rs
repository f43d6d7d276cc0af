//! `cargo bench -p fathom-kernels --bench team`: what handing work over costs, and what is left of a team's rate when
//! another process takes one of its cores. Wants an otherwise idle machine.
#![allow(clippy::print_stdout)]

mod common;

use std::hint::black_box;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::median;
use fathom_kernels::team::Team;

fn main() {
    let mut team = Team::with_all_cores();
    println!("{} thread(s)", team.threads());
    if team.threads() > 1 {
        hand_over(&mut team);
        taken_core(&mut team);
    }
}

fn spin(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// Time from a call until another thread takes an item, and that of a whole call with nothing to do, after pauses as a
/// decode step has them, one in which the team sleeps last.
fn hand_over(team: &mut Team) {
    let threads = team.threads();
    let caller = std::thread::current().id();
    for pause in [0, 1, 10, 30, 100, 2000].map(Duration::from_micros) {
        let (mut starts, mut calls) = (Vec::new(), Vec::new());
        for _ in 0..200 {
            spin(pause);
            let (start, first) = (Instant::now(), AtomicU64::new(u64::MAX));
            team.run(threads, |_, _| {
                if std::thread::current().id() == caller {
                    // Long enough that everyone comes in time.
                    spin(Duration::from_micros(60));
                } else {
                    first.fetch_min(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
                }
            });
            starts.push(first.into_inner() as f64 / 1e3);
            spin(pause);
            let start = Instant::now();
            team.run(threads, |item, _| {
                black_box(item);
            });
            calls.push(start.elapsed().as_secs_f64() * 1e6);
        }
        println!(
            "  after {:>4} us: another thread starts after {:>6.2} us, an empty call takes {:>6.2} us",
            pause.as_micros(),
            median(&mut starts),
            median(&mut calls)
        );
    }
}

/// Rounds of dependent arithmetic.
fn compute(rounds: usize) {
    let mut x = black_box(1.0_f64);
    for _ in 0..rounds {
        x = x * 0.5 + 0.25;
    }
    black_box(x);
}

fn rounds_per_s() -> f64 {
    let time = common::time(|| compute(10_000));
    10_000.0 / time.best
}

/// Tasks a second, one after the other for `time`, each `items` items of `rounds` with a little serial work after it.
fn tasks_per_s(team: &mut Team, items: usize, rounds: usize, time: Duration) -> f64 {
    let (start, mut tasks) = (Instant::now(), 0);
    while start.elapsed() < time {
        team.run(items, |_, _| compute(rounds));
        compute(4_000);
        tasks += 1;
    }
    tasks as f64 / start.elapsed().as_secs_f64()
}

/// A busy process on core 1.
struct Hog(Child);

impl Hog {
    fn start() -> Option<Self> {
        let child = Command::new("taskset")
            .args(["-c", "1", "sh", "-c", "while :; do :; done"])
            .stdin(Stdio::null())
            .spawn()
            .ok()?;
        Some(Self(child))
    }
}

impl Drop for Hog {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn taken_core(team: &mut Team) {
    let rounds_per_us = rounds_per_s() / 1e6;
    let time = Duration::from_millis(250);
    for (task_us, items) in [(30, 16), (100, 32), (500, 32), (20_000, 200)] {
        let rounds = (f64::from(task_us) * rounds_per_us) as usize * team.threads() / items;
        let (mut quiet, mut taken) = (Vec::new(), Vec::new());
        for _ in 0..5 {
            quiet.push(tasks_per_s(team, items, rounds, time));
            let Some(_hog) = Hog::start() else {
                println!("  no taskset here: the rate with a taken core is not measured");
                return;
            };
            // Into the steady state first.
            tasks_per_s(team, items, rounds, time / 2);
            taken.push(tasks_per_s(team, items, rounds, time));
        }
        println!(
            "  tasks of {task_us:>5} us in {items:>3} items: {:>3.0} % of the quiet rate with core 1 taken",
            100.0 * median(&mut taken) / median(&mut quiet)
        );
    }
}
