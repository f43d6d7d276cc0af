//! What the server costs over the bare engine: tokens per second at 64 streams, and the time to the first token.
//!
//! The same answers (same prompts, same seeds, hence the same tokens) are written by the engine alone and through HTTP, in
//! turns. The clients are a process of their own, which only reads: its processor time is told apart, because on the
//! machines that matter it is somebody else's.
//!
//! `cargo bench -p fathom-serve --bench overhead [-- DIR]`; `FATHOM_ROUNDS`, `FATHOM_STREAMS`, `FATHOM_ANSWERS`,
//! `FATHOM_TOKENS`, `FATHOM_THREADS` change the defaults of 7, 64, 6 one after the other in each stream, 128 and all cores.

#![allow(clippy::print_stdout, missing_docs)]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fathom_checkpoint::Checkpoint;
use fathom_engine::answer::{self, Prompt};
use fathom_engine::sampling::Params;
use fathom_engine::{Engine, EngineOptions, Scheduling};
use fathom_model::Numerics;
use fathom_prompt::{Conversation, Thinking};
use fathom_serve::{Options, ServedModel, Server};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const SUBJECTS: [&str; 8] = [
    "a lighthouse",
    "the river",
    "two friends",
    "an old clock",
    "the north wind",
    "a small boat",
    "the market",
    "a lost key",
];

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

fn subject(index: usize) -> String {
    format!(
        "Tell me story {index} about {}.",
        SUBJECTS[index % SUBJECTS.len()]
    )
}

fn main() {
    if let Ok(address) = std::env::var("FATHOM_CLIENT_OF") {
        return client(address.parse().expect("an address"));
    }
    let (rounds, streams) = (number("FATHOM_ROUNDS", 7), number("FATHOM_STREAMS", 64));
    let (answers, tokens) = (number("FATHOM_ANSWERS", 6), number("FATHOM_TOKENS", 128));
    let given = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'));
    let dir = given.map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../fathom/default-model"),
        PathBuf::from,
    );
    let threads = std::env::var("FATHOM_THREADS").map(|text| text.parse().expect("a number"));
    let options = EngineOptions {
        numerics: Numerics::Fast,
        threads: threads.ok(),
        scheduling: Scheduling {
            running_max: streams,
            waiting_max: streams,
            ..Scheduling::default()
        },
        ..EngineOptions::default()
    };
    let checkpoint = Checkpoint::open(&dir).expect("a checkpoint");
    let engine = Engine::load(checkpoint, &options).expect("the engine");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(number("FATHOM_WORKERS", 2))
        .enable_all()
        .build()
        .expect("a runtime");
    let address = runtime.block_on(serve(Arc::clone(&engine)));
    println!(
        "{}, fast, {} threads, {streams} streams of {answers} answers of at most {tokens} tokens, {rounds} rounds",
        dir.file_name().unwrap_or_default().display(),
        engine.threads()
    );
    // Once without counting, for buffers and pages.
    runtime.block_on(alone(&engine, streams, answers, tokens));
    through(address, streams, answers, tokens);
    let (mut rates, mut ratios, mut shares) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        let (count, bare) = runtime.block_on(alone(&engine, streams, answers, tokens));
        let (served, reading) = through(address, streams, answers, tokens);
        let rate = |elapsed: Duration| count as f64 / elapsed.as_secs_f64();
        let corrected = served.saturating_sub(reading / 2);
        println!(
            "round {round}: {count} tokens; engine {:.0}/s, server {:.0}/s, {:+.1} % time; clients {:.0} ms of processor, {:+.1} % without",
            rate(bare),
            rate(served),
            percent(served, bare),
            reading.as_secs_f64() * 1e3,
            percent(corrected, bare)
        );
        rates.push(rate(bare));
        ratios.push(percent(served, bare));
        shares.push(percent(corrected, bare));
    }
    println!(
        "median: engine {:.0} tokens/s; through the server {:+.1} % time, {:+.1} % without the clients' own",
        median(&mut rates),
        median(&mut ratios),
        median(&mut shares)
    );
    let (mut bare, mut served) = (Vec::new(), Vec::new());
    for index in 0..40 * rounds {
        // Prompts that nobody has sent before.
        bare.push(runtime.block_on(first_alone(&engine, 1000 + 2 * index)) * 1e3);
        served.push(first_through(address, 1001 + 2 * index) * 1e3);
    }
    let (bare, served) = (median(&mut bare), median(&mut served));
    println!(
        "first token, {} prompts, one at a time: engine {bare:.2} ms, server {served:.2} ms, {:+.2} ms",
        40 * rounds,
        served - bare
    );
}

fn percent(longer: Duration, shorter: Duration) -> f64 {
    (longer.as_secs_f64() / shorter.as_secs_f64() - 1.0) * 100.0
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

async fn serve(engine: Arc<Engine>) -> SocketAddr {
    let options = Options::new(vec![ServedModel::new(engine, "m")]);
    let server = Server::bind("127.0.0.1", 0, options).await.expect("a port");
    let address = server.address().expect("an address");
    tokio::spawn(server.run(std::future::pending()));
    address
}

/// The answer to a subject, as the server would begin it.
fn options(engine: &Engine, index: usize, tokens: usize) -> (Prompt, answer::Options) {
    let conversation = Conversation {
        thinking: Thinking::Off,
        ..Conversation::from_user(subject(index))
    };
    let options = answer::Options {
        sampling: Params {
            seed: index as u64,
            ..Params::default()
        },
        max_tokens: Some(tokens),
        ..answer::Options::default()
    };
    let prompt = Prompt::of_conversation(engine, &conversation).expect("a prompt");
    (prompt, options)
}

fn request(index: usize, tokens: usize) -> String {
    let body = format!(
        r#"{{"model":"m","stream":true,"thinking":{{"type":"disabled"}},"seed":{index},"max_tokens":{tokens},"messages":[{{"role":"user","content":"{}"}}]}}"#,
        subject(index)
    );
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Tokens that all streams got from the engine, and how long that took.
async fn alone(engine: &Arc<Engine>, streams: usize, answers: usize, tokens: usize) -> (usize, Duration) {
    let started = Instant::now();
    let streams = (0..streams).map(|stream| {
        let engine = Arc::clone(engine);
        tokio::spawn(async move {
            let mut count = 0;
            for index in 0..answers {
                let (prompt, options) = options(&engine, stream * answers + index, tokens);
                let mut session = engine.session();
                let mut run = answer::start(&mut session, prompt, &options, 64).expect("a place");
                while run.next().await.is_some() {}
                count += run.finish().await.expect("an answer").usage.generated;
            }
            count
        })
    });
    let streams: Vec<_> = streams.collect();
    let mut count = 0;
    for stream in streams {
        count += stream.await.expect("no panic");
    }
    (count, started.elapsed())
}

/// How long all streams took through HTTP, and the clients' processor time.
fn through(address: SocketAddr, streams: usize, answers: usize, tokens: usize) -> (Duration, Duration) {
    let output = Command::new(std::env::current_exe().expect("this program"))
        .env("FATHOM_CLIENT_OF", address.to_string())
        .env("FATHOM_STREAMS", streams.to_string())
        .env("FATHOM_ANSWERS", answers.to_string())
        .env("FATHOM_TOKENS", tokens.to_string())
        .output()
        .expect("a client");
    let text = String::from_utf8_lossy(&output.stdout);
    let mut micros = text
        .split_whitespace()
        .map(|field| Duration::from_micros(field.parse().expect("microseconds")));
    let mut next = || {
        micros.next().unwrap_or_else(|| {
            panic!(
                "the client failed: {text}{}",
                String::from_utf8_lossy(&output.stderr)
            )
        })
    };
    (next(), next())
}

/// Opens all streams, reads them to their ends, and prints the time that took and the processor time of this process.
fn client(address: SocketAddr) {
    let (streams, answers, tokens) = (
        number("FATHOM_STREAMS", 64),
        number("FATHOM_ANSWERS", 6),
        number("FATHOM_TOKENS", 128),
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let before = processor_time();
    let started = Instant::now();
    runtime.block_on(async {
        let streams = (0..streams).map(|stream| {
            tokio::spawn(async move {
                for index in 0..answers {
                    read(address, &request(stream * answers + index, tokens)).await;
                }
            })
        });
        let streams: Vec<_> = streams.collect();
        for stream in streams {
            stream.await.expect("no panic");
        }
    });
    let elapsed = started.elapsed();
    println!(
        "{} {}",
        elapsed.as_micros(),
        processor_time().saturating_sub(before).as_micros()
    );
}

async fn read(address: SocketAddr, request: &str) {
    let mut stream = tokio::net::TcpStream::connect(address)
        .await
        .expect("a connection");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let (mut bytes, mut tail) = (vec![0; 1 << 14], Vec::new());
    loop {
        let count = stream.read(&mut bytes).await.expect("read");
        if count == 0 {
            break;
        }
        tail.extend_from_slice(&bytes[..count]);
        tail.drain(..tail.len().saturating_sub(64));
    }
    assert!(
        String::from_utf8_lossy(&tail).contains("[DONE]"),
        "a stream was cut"
    );
}

/// Processor time of this process, in clock ticks of 10 ms; nothing where the system does not tell this way.
fn processor_time() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The second field, the name, is in parentheses and may hold anything.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    Duration::from_millis(10 * ticks)
}

/// An answer of one token: what there is of it is its first.
async fn first_alone(engine: &Arc<Engine>, index: usize) -> f64 {
    let (prompt, options) = options(engine, index, 1);
    let started = Instant::now();
    let mut session = engine.session();
    let mut run = answer::start(&mut session, prompt, &options, 64).expect("a place");
    while run.next().await.is_some() {}
    run.finish().await.expect("an answer");
    started.elapsed().as_secs_f64()
}

fn first_through(address: SocketAddr, index: usize) -> f64 {
    let mut stream = TcpStream::connect(address).expect("a connection");
    let started = Instant::now();
    stream.write_all(request(index, 1).as_bytes()).expect("sent");
    let mut text = Vec::new();
    stream.read_to_end(&mut text).expect("read");
    let elapsed = started.elapsed().as_secs_f64();
    assert!(
        String::from_utf8_lossy(&text).contains("[DONE]"),
        "a stream was cut"
    );
    elapsed
}
