//! Sixty-four sessions at once on the built-in model, more than its cache has room for: every answer is the cold one.
//! `benches/soak.rs` does this for ten minutes and looks at memory and waiting times.

#![allow(clippy::print_stdout, reason = "what was measured is part of a test's output")]

#[path = "../common/mod.rs"]
mod common;

use fathom_cache::disk::DiskOptions;
use fathom_engine::{CacheSettings, Engine, EngineOptions};
use fathom_model::Numerics;

use common::crowd::{Plan, Size, Until, talk};
use common::{Cold, Model};

#[test]
fn sixty_four_sessions_get_their_cold_answers() {
    let size = Size {
        conversations: 12,
        turns: 3,
        system_max: 330,
        message_max: 120,
        answer_max: 12,
    };
    let dir = tempfile::tempdir().unwrap();
    let options = EngineOptions {
        numerics: Numerics::Fast,
        cache: CacheSettings {
            ram_bytes: Some(6 << 20),
            disk: Some(DiskOptions::new(dir.path(), 12 << 20)),
            ..CacheSettings::default()
        },
        ..EngineOptions::default()
    };
    let engine = Engine::load(Model::BuiltIn.checkpoint(), &options).unwrap();
    let mut cold = Cold::new(Model::BuiltIn, Numerics::Fast, engine.tokenizer().eos_id());
    let plan = Plan::new(&size, &mut cold, engine.config().vocab_size, 5);
    let seen = talk(&engine, &plan, 64, Until::Requests(4), |_| ());
    println!("{:?}\n{:?}", engine.stats(), engine.cache().stats());
    assert!(seen.wrong.is_empty(), "{}", seen.wrong.join("\n"));
    assert_eq!(seen.answers, 64 * 4);
    assert!(seen.cancelled > 0 && seen.cached_tokens > 0);
}
