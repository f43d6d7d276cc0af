//! A crowd on the loopback: 256 streams at once, some read slowly, half of them leave.
//!
//! Whoever stays gets the text that it would get alone, to the letter; afterwards the engine is idle and no task is left.
//! `FATHOM_CROWD_SECONDS=600 cargo test --release -p fathom-serve --test crowd -- --nocapture` goes on for ten minutes and
//! tells waiting times and memory.

#![allow(clippy::print_stdout)]

mod client;
mod figures;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fathom_checkpoint::Checkpoint;
use fathom_engine::{CacheSettings, Engine, EngineOptions, Scheduling};
use fathom_model::Numerics;
use fathom_serve::{Options, ServedModel, Server};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use client::{Behaviour, Visit};
use figures::{Figures, resident_mib};

const STREAMS: usize = 256;
/// Different requests; each has one right answer.
const REQUESTS: usize = 16;

fn engine() -> Arc<Engine> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fathom/default-model");
    let options = EngineOptions {
        numerics: Numerics::Fast,
        // The cache overflows, so that memory has a reason to move.
        cache: CacheSettings {
            ram_bytes: Some(24 << 20),
            ..CacheSettings::default()
        },
        scheduling: Scheduling {
            running_max: 64,
            waiting_max: STREAMS,
            ..Scheduling::default()
        },
        ..EngineOptions::default()
    };
    Engine::load(Checkpoint::open(&dir).unwrap(), &options).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_of_which_half_leaves_harms_nobody() {
    let engine = engine();
    let options = Options::new(vec![ServedModel::new(Arc::clone(&engine), "m")]);
    let server = Server::bind("127.0.0.1", 0, options).await.unwrap();
    let address = server.address().unwrap();
    let (end, asked) = oneshot::channel::<()>();
    let serving = tokio::spawn(server.run(async { drop(asked.await) }));

    let mut right = Vec::new();
    for request in 0..REQUESTS {
        let visit = client::visit(address, request, Behaviour::Reads).await;
        right.push(visit.text);
    }
    idle(&engine).await;
    let tasks = Handle::current().metrics().num_alive_tasks();

    let seconds = std::env::var("FATHOM_CROWD_SECONDS").map(|text| text.parse().unwrap());
    let long = seconds.is_ok();
    let time = Duration::from_secs(seconds.unwrap_or(0));
    let (started, mut figures, mut wave) = (Instant::now(), Figures::default(), 0);
    let mut resident = Vec::new();
    loop {
        let visits: Vec<_> = (0..STREAMS)
            .map(|stream| {
                let request = (stream + wave) % REQUESTS;
                tokio::spawn(client::visit(address, request, Behaviour::of(stream, wave)))
            })
            .collect();
        for (stream, visit) in visits.into_iter().enumerate() {
            let Visit { text, whole, times } = visit.await.unwrap();
            let right = &right[(stream + wave) % REQUESTS];
            match Behaviour::of(stream, wave) {
                Behaviour::Leaves { .. } => {
                    assert!(right.starts_with(&text), "{text:?} is no start of {right:?}");
                }
                behaviour => {
                    assert!(whole, "stream {stream} was cut");
                    assert_eq!(text, *right, "stream {stream}");
                    figures.note(&times, matches!(behaviour, Behaviour::Reads));
                }
            }
        }
        wave += 1;
        idle(&engine).await;
        resident.push(resident_mib());
        if started.elapsed() >= time {
            break;
        }
    }
    if long {
        println!(
            "{wave} waves of {STREAMS} streams, half of which left, in {:.0} s",
            started.elapsed().as_secs_f64()
        );
        println!("{figures}");
        let part = |part: usize| resident[(resident.len() - 1) * part / 4];
        println!(
            "resident after the first wave {:.1} MiB; at a quarter, half, three quarters, the end: {:.1}, {:.1}, {:.1}, {:.1}",
            resident[0],
            part(1),
            part(2),
            part(3),
            part(4)
        );
        println!("{:?}\n{:?}", engine.stats(), engine.cache().stats());
    }
    // Connections close a moment after their last byte.
    let patience = Instant::now();
    while Handle::current().metrics().num_alive_tasks() > tasks {
        assert!(
            patience.elapsed() < Duration::from_secs(20),
            "tasks are left over"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(end);
    serving.await.unwrap().unwrap();
}

/// Waits until nothing runs and nothing waits: work that nobody wants has ended.
async fn idle(engine: &Engine) {
    let patience = Instant::now();
    loop {
        let stats = engine.stats();
        if stats.running == 0 && stats.waiting == 0 {
            return;
        }
        assert!(patience.elapsed() < Duration::from_secs(20), "{stats:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
