//! A deterministic simulation: one seed decides who asks what and when, who leaves, what is forked, rewound and edited, how
//! much memory and disk there is, what every step does, when the process dies and what becomes of its files. The engine is
//! the real one, on the tiny model. Every output is held to the cold run, bit for bit.
//!
//! `FATHOM_SIMULATION_SEED=n cargo test -p fathom-engine --test simulation` runs one seed again, and says what happens.
//! `FATHOM_SIMULATION_SEEDS=from..to` runs many.

#![allow(clippy::print_stdout, reason = "what was measured is part of a test's output")]

#[path = "../common/mod.rs"]
mod common;

mod client;
mod damage;
mod judge;
mod traffic;
mod world;

use std::collections::HashMap;
use std::env;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use fathom_model::Numerics;

use common::Cold;
use world::{Counts, World};

/// Seeds of an ordinary test run.
const SEEDS: Range<u64> = 0..12;

/// The models to compare with, loaded once by each worker.
type Colds = HashMap<Numerics, Cold>;

/// Runs a seed; what happened in it, or what went wrong.
fn run(seed: u64, colds: &mut Colds, tell: bool) -> Result<Counts, String> {
    let result = catch_unwind(AssertUnwindSafe(|| World::new(seed, tell).run(colds)));
    let result = result.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
        Err(format!("panic: {}", text.unwrap_or_default()))
    });
    result.map_err(|what| {
        format!(
            "seed {seed}: {what}\nreplay: FATHOM_SIMULATION_SEED={seed} cargo test -p fathom-engine --test simulation seeds -- --nocapture"
        )
    })
}

fn seeds() -> (Range<u64>, bool) {
    let number = |text: &str| text.parse::<u64>().expect("a number");
    if let Ok(seed) = env::var("FATHOM_SIMULATION_SEED") {
        let seed = number(&seed);
        return (seed..seed + 1, true);
    }
    let Ok(range) = env::var("FATHOM_SIMULATION_SEEDS") else {
        return (SEEDS, false);
    };
    let (from, to) = range.split_once("..").expect("FATHOM_SIMULATION_SEEDS=from..to");
    (number(from)..number(to), false)
}

#[test]
fn every_output_is_the_cold_output() {
    let (seeds, tell) = seeds();
    let next = AtomicU64::new(seeds.start);
    let (failures, total) = (Mutex::new(Vec::new()), Mutex::new(Counts::default()));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut colds = Colds::new();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if !seeds.contains(&seed) {
                        return;
                    }
                    match run(seed, &mut colds, tell) {
                        Ok(counts) => total.lock().unwrap().add(&counts),
                        Err(failure) => {
                            println!("{failure}");
                            failures.lock().unwrap().push(failure);
                        }
                    }
                }
            });
        }
    });
    println!("seeds {seeds:?}: {}", total.into_inner().unwrap());
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Otherwise a failing seed could not be looked at again.
#[test]
fn a_seed_is_a_run() {
    let mut colds = Colds::new();
    for seed in [1, 2] {
        let [first, second] =
            [(); 2].map(|()| run(seed, &mut colds, false).unwrap_or_else(|what| panic!("{what}")));
        assert_eq!(first, second, "seed {seed} went two ways");
    }
}
