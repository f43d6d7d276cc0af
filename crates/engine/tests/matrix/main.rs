//! The matrix: a cached, batched, chunked, restored or forked answer is the cold answer, bit for bit.
//!
//! Every cell computes the same answers in its own way, and asserts that it really went that way (that something came from
//! the cache, was replayed, was preempted). Logits, tokens and log-probabilities are compared with `==` to those of the
//! model alone: one thread, one chunk, no engine ([`common::Cold`]). A failure names its cells.

#![allow(clippy::print_stdout, reason = "what was measured is part of a test's output")]

#[path = "../common/mod.rs"]
mod common;

mod cells;
mod ground;

use fathom_model::Numerics;

use common::Model;
use ground::Ground;

/// What a cell says when it fails, one line for each answer that differs.
type Failures = Vec<String>;

/// Asks the ground's questions in its own way.
type Cell = fn(&Ground) -> Failures;

/// The rows of the matrix in ARCHITECTURE.md.
const CELLS: [(&str, Cell); 13] = [
    ("any chunking", cells::chunking),
    ("any batch company and order", cells::company),
    ("RAM hit", cells::ram_hit),
    ("disk hit after a restart", cells::disk_hit),
    ("policy full", cells::policy_full),
    ("policy periodic", cells::policy_periodic),
    ("policy none", cells::policy_none),
    ("saved to a file and restored", cells::saved),
    ("fork", cells::fork),
    ("rewind and append again", cells::rewind),
    ("preempt and resume", cells::preempt),
    ("1 or 2 threads", cells::threads),
    ("sampled with a seed while others come and go", cells::come_and_go),
];

fn hold(model: Model, numerics: Numerics) {
    let ground = Ground::new(model, numerics);
    let failures: Failures = CELLS
        .iter()
        .flat_map(|(name, cell)| {
            let started = std::time::Instant::now();
            let failures = cell(&ground);
            println!(
                "{model:?} {numerics}: {name}: {} ({:.1} s)",
                if failures.is_empty() { "==" } else { "DIFFERS" },
                started.elapsed().as_secs_f32()
            );
            failures
                .into_iter()
                .map(move |failure| format!("{name}: {failure}"))
        })
        .collect();
    assert!(
        failures.is_empty(),
        "{model:?} {numerics} is not the cold answer:\n{}",
        failures.join("\n")
    );
}

#[test]
fn tiny_exact() {
    hold(Model::Tiny, Numerics::Exact);
}

#[test]
fn tiny_reference() {
    hold(Model::Tiny, Numerics::Reference);
}

#[test]
fn tiny_fast() {
    hold(Model::Tiny, Numerics::Fast);
}

#[test]
fn built_in_exact() {
    hold(Model::BuiltIn, Numerics::Exact);
}

#[test]
fn built_in_reference() {
    hold(Model::BuiltIn, Numerics::Reference);
}

#[test]
fn built_in_fast() {
    hold(Model::BuiltIn, Numerics::Fast);
}
