//! A coding agent's session at a twentieth of its size: how much of the prompts the cache serves.

#![allow(clippy::print_stdout, reason = "what was measured is part of a test's output")]

#[path = "../common/mod.rs"]
mod common;

use std::path::Path;

use fathom_checkpoint::Checkpoint;
use fathom_engine::{CacheSettings, Engine, EngineOptions};
use fathom_model::Numerics;

use common::agent;

/// Clients edit, rewind, regenerate, drop reasoning, delegate and summarise in it; of what a perfect prefix cache would
/// serve, at least this much must come from ours.
const OF_IDEAL_MIN: f64 = 0.97;

#[test]
fn nearly_all_that_could_be_served_is_served() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fathom/default-model");
    let options = EngineOptions {
        numerics: Numerics::Fast,
        cache: CacheSettings {
            ram_bytes: Some(256 << 20),
            ..CacheSettings::default()
        },
        ..EngineOptions::default()
    };
    let engine = Engine::load(Checkpoint::open(&dir).unwrap(), &options).unwrap();
    let trace = agent::trace_for(&engine, 20, 1);
    let account = agent::replay(
        &trace,
        || engine.session(),
        engine.tokenizer().eos_id(),
        |_, _, _, _| {},
    );
    println!("{account}");
    assert!(
        account.all.of_ideal() >= OF_IDEAL_MIN,
        "too little was served:\n{account}"
    );
}
