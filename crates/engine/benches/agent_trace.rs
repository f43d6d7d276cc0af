//! A coding agent's session, 60 turns from 40,000 tokens, through the engine: how many of the prompts' tokens come from the
//! cache, against what a perfect prefix cache would serve.
//!
//! `cargo bench -p fathom-engine --bench agent_trace -- [SEED] [DIVISOR] [POLICY] [MIB]`: the trace's seed, what lengths
//! are divided by, `full`, `none` or a number of tokens, and the cache's memory.

#![allow(clippy::print_stdout, missing_docs)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Instant;

use fathom_cache::Policy;
use fathom_checkpoint::Checkpoint;
use fathom_engine::{CacheSettings, Engine, EngineOptions};
use fathom_model::Numerics;

use common::agent;

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    let number = |at: usize, otherwise: usize| match arguments.get(at) {
        Some(text) => text.parse().expect("a number"),
        None => otherwise,
    };
    let policy = match arguments.get(2).map(String::as_str) {
        None => CacheSettings::default().policy,
        Some("full") => Policy::Full,
        Some("none") => Policy::None,
        Some(_) => Policy::Periodic(NonZeroUsize::new(number(2, 0)).expect("above 0")),
    };
    let mib = number(3, 2_048);
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fathom/default-model");
    let options = EngineOptions {
        numerics: Numerics::Fast,
        cache: CacheSettings {
            ram_bytes: Some((mib as u64) << 20),
            policy,
            ..CacheSettings::default()
        },
        ..EngineOptions::default()
    };
    let engine =
        Engine::load(Checkpoint::open(&dir).expect("the built-in model"), &options).expect("the engine");
    let trace = agent::trace_for(&engine, number(1, 1), number(0, 1) as u64);
    println!(
        "{} requests, {policy:?}, {mib} MiB, built-in model, fast, {} threads",
        trace.requests().len(),
        engine.threads()
    );
    let started = Instant::now();
    let eos = engine.tokenizer().eos_id();
    let account = agent::replay(
        &trace,
        || engine.session(),
        eos,
        |number, event, tokens, miss| {
            let agent::Tokens {
                prompt,
                ideal,
                served,
                replayed,
                ..
            } = *tokens;
            let short = ideal.saturating_sub(served);
            println!(
                "{number:3} {event:?}: {prompt} tokens, ideal {ideal}, served {served}, short {short}, replayed {replayed} ({miss})"
            );
        },
    );
    println!("\n{account}; {:.0} s", started.elapsed().as_secs_f64());
    let tree = engine.cache().stats().tree;
    println!(
        "cache: {} pages ({} MB), {} snapshots ({} MB) in RAM, {} pages and {} snapshots evicted",
        tree.ram_pages,
        tree.ram_page_bytes >> 20,
        tree.ram_snapshots,
        tree.ram_snapshot_bytes >> 20,
        tree.evicted_pages,
        tree.evicted_snapshots
    );
}
