//! Sixty-four sessions on the built-in model for ten minutes: mixed lengths, random cancellations, a cache that overflows.
//! Every answer is held to its cold run; memory and waiting times are told.
//!
//! `FATHOM_SOAK_SECONDS=600 cargo bench -p fathom-engine --bench soak`

#![allow(clippy::print_stdout, missing_docs)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::time::{Duration, Instant};

use fathom_cache::disk::DiskOptions;
use fathom_engine::{CacheSettings, Engine, EngineOptions};
use fathom_model::Numerics;

use common::crowd::{Plan, Size, Until, Waits, talk};
use common::{Cold, Model};

const SESSIONS: usize = 64;

fn main() {
    let seconds =
        std::env::var("FATHOM_SOAK_SECONDS").map_or(600, |text| text.parse().expect("a number of seconds"));
    let size = Size {
        conversations: 40,
        turns: 5,
        system_max: 1_800,
        message_max: 400,
        answer_max: 60,
    };
    let dir = tempfile::tempdir().expect("a directory");
    let options = EngineOptions {
        numerics: Numerics::Fast,
        cache: CacheSettings {
            ram_bytes: Some(24 << 20),
            disk: Some(DiskOptions::new(dir.path(), 48 << 20)),
            ..CacheSettings::default()
        },
        ..EngineOptions::default()
    };
    let engine = Engine::load(Model::BuiltIn.checkpoint(), &options).expect("the engine");
    let started = Instant::now();
    let plan = {
        let mut cold = Cold::new(Model::BuiltIn, Numerics::Fast, engine.tokenizer().eos_id());
        Plan::new(&size, &mut cold, engine.config().vocab_size, 5)
    };
    println!(
        "{SESSIONS} sessions, {seconds} s, built-in model, fast, {} threads; {size:?}, prompts of {:?} tokens; cold answers took {:.0} s",
        engine.threads(),
        plan.lengths(),
        started.elapsed().as_secs_f64()
    );
    let time = Duration::from_secs(seconds);
    let started = Instant::now();
    let mut resident: Vec<(Duration, u64)> = Vec::new();
    let mut next = Duration::ZERO;
    let mut work = Waits::default();
    let spins = (0..50).map(|_| {
        let from = Instant::now();
        spin();
        from.elapsed().as_secs_f64() * 1e3
    });
    let quiet = spins.fold(f64::INFINITY, f64::min);
    let seen = talk(&engine, &plan, SESSIONS, Until::Passed(time), |answers| {
        let now = started.elapsed();
        // How much of the machine there is for a thread.
        let from = Instant::now();
        spin();
        work.note(from.elapsed());
        if now < next {
            return;
        }
        next = now + time / 60;
        if let Some(kib) = resident_kib() {
            resident.push((now, kib));
            println!(
                "{:4.0} s: {:.1} MiB resident, {answers} answers",
                now.as_secs_f64(),
                kib as f64 / 1024.0
            );
        }
    });
    // The first sixth is warm-up: buffers grow to their size, the cache fills.
    let after = |part: f64| {
        resident
            .iter()
            .find(|(at, _)| *at >= time.mul_f64(part))
            .map_or(0, |sample| sample.1)
    };
    let mib = |kib: u64| kib as f64 / 1024.0;
    let longest = resident
        .iter()
        .filter(|(at, _)| *at >= time / 6)
        .map(|sample| sample.1)
        .max()
        .unwrap_or(0);
    println!(
        "\nresident: {:.1} MiB after warm-up, {:.1} in the middle, {:.1} at the end, {:.1} at most after warm-up",
        mib(after(1.0 / 6.0)),
        mib(after(0.5)),
        mib(resident.last().map_or(0, |sample| sample.1)),
        mib(longest)
    );
    println!(
        "{} answers, {} of them cancelled by the client, {} tokens, {} of {} prompt tokens from the cache",
        seen.answers, seen.cancelled, seen.tokens, seen.cached_tokens, seen.prompt_tokens
    );
    for (what, waits) in [
        ("admitted", &seen.admissions),
        ("first token", &seen.first_tokens),
        ("from token to token", &seen.decodes),
        (&format!("a piece of work that takes {quiet:.1} ms alone"), &work),
    ] {
        println!("{what}: {waits}");
    }
    println!("{:?}\n{:?}", engine.stats(), engine.cache().stats());
    println!("answers that were not the cold ones: {}", seen.wrong.len());
    assert!(seen.wrong.is_empty(), "{}", seen.wrong.join("\n"));
}

/// A few milliseconds of arithmetic.
fn spin() {
    let mut x = 1_u64;
    for _ in 0..1_000_000 {
        x = std::hint::black_box(x ^ (x << 13));
    }
}

/// Memory of this process that is in RAM; `None` where the system does not tell this way.
fn resident_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}
