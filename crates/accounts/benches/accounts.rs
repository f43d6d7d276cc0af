//! What looking up a key and recording a request take.
//!
//! `cargo bench -p fathom-accounts --bench accounts [-- DIR]`: DIR is on the disk to measure, the system's directory for temporary files by
//! default.

#![expect(clippy::print_stdout, reason = "figures for the record")]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fathom_accounts::{Accounts, Key, KeyId, Limits, NewKey, Options, Record, Timestamp, Tokens};

const KEYS: usize = 1_000;
const LOOKUPS: usize = 200_000;
const RECORDERS: usize = 64;
const SECONDS: u64 = 5;

fn main() {
    let dir = std::env::args().skip(1).find(|arg| !arg.starts_with("--"));
    let dir = match &dir {
        Some(dir) => tempfile::tempdir_in(dir),
        None => tempfile::tempdir(),
    };
    let dir = dir.expect("a directory");
    let accounts = Accounts::open(&dir.path().join("accounts"), Options::default()).expect("accounts");
    let secrets: Vec<_> = (0..KEYS)
        .map(|index| {
            let new = NewKey {
                prepaid: true,
                limits: Limits {
                    concurrent: Some(1_000),
                    tokens_per_minute: Some(1 << 50),
                    tokens_per_day: Some(1 << 50),
                    ..Limits::default()
                },
                ..NewKey::named(&format!("key {index}"))
            };
            accounts.create_key(new).expect("a key").1
        })
        .collect();
    let known = each("authenticate, of 1,000 keys", LOOKUPS, |index| {
        let secret = secrets[index * 7_919 % KEYS].expose();
        accounts.authenticate(secret).expect("fresh").expect("known")
    });
    each("authenticate, a wrong secret", LOOKUPS, |_| {
        accounts.authenticate("sk-0123456789abcdef").expect("fresh")
    });
    each("admit and release", LOOKUPS, |_| {
        drop(accounts.admit(&known, "flash"));
    });
    each("balance", 20_000, |index| {
        accounts.balance(KeyId(1 + (index % KEYS) as i64)).expect("a key")
    });
    let accounts = Arc::new(accounts);
    for recorders in [1, 8, RECORDERS, 512] {
        record(&accounts, &known, recorders);
    }
    synchronise(dir.path());
}

/// Median and 99 % of single calls, and the mean.
fn each<T>(what: &str, times: usize, mut call: impl FnMut(usize) -> T) -> T {
    let mut last = call(0);
    let mut nanoseconds = Vec::with_capacity(times);
    let all = Instant::now();
    for index in 0..times {
        let start = Instant::now();
        last = black_box(call(index));
        nanoseconds.push(start.elapsed().as_nanos());
    }
    let mean = all.elapsed().as_nanos() / times as u128;
    nanoseconds.sort_unstable();
    println!(
        "{what:<34} {:>8} ns median, {:>8} ns p99, {mean:>8} ns mean",
        nanoseconds[times / 2],
        nanoseconds[times * 99 / 100]
    );
    last
}

/// So many tasks, each of which records one request after the other and waits until it is on disk.
fn record(accounts: &Arc<Accounts>, key: &Arc<Key>, recorders: usize) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let start = Instant::now();
    let mut latencies: Vec<Duration> = runtime.block_on(async {
        let tasks: Vec<_> = (0..recorders)
            .map(|task| tokio::spawn(recorder(accounts.clone(), key.clone(), recorders, task)))
            .collect();
        let mut latencies = Vec::new();
        for task in tasks {
            latencies.extend(task.await.expect("a task"));
        }
        latencies
    });
    let rate = latencies.len() as f64 / start.elapsed().as_secs_f64();
    latencies.sort_unstable();
    let at = |share: usize| latencies[(latencies.len() - 1) * share / 1_000].as_secs_f64() * 1e3;
    println!(
        "record, {recorders:>3} at once: {:>6} in {SECONDS} s, {rate:>8.0}/s; median {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, worst {:.2} ms",
        latencies.len(),
        at(500),
        at(990),
        at(999),
        at(1_000)
    );
}

async fn recorder(accounts: Arc<Accounts>, key: Arc<Key>, recorders: usize, task: usize) -> Vec<Duration> {
    let mut latencies = Vec::new();
    let until = Instant::now() + Duration::from_secs(SECONDS);
    while Instant::now() < until {
        let record = Record {
            id: format!("{recorders:04}-{task:04}-{:026}", latencies.len()),
            key: Some(key.clone()),
            user_id: "user-0001".to_owned(),
            model: "deepseek-v4-flash".to_owned(),
            tier: Some("flash".to_owned()),
            wire: "chat".into(),
            outcome: "stop".into(),
            tokens: Tokens {
                hit: 6_784,
                miss: 122,
                output: 50,
                reasoning: 20,
            },
            billed: true,
            started: Timestamp::now(),
            queued: Duration::ZERO,
            prefill: Duration::from_millis(100),
            decode: Duration::from_millis(900),
        };
        let start = Instant::now();
        accounts.record(record).await.expect("written");
        latencies.push(start.elapsed());
    }
    latencies
}

/// What the disk takes for one synchronised write of 4 KiB, for comparison.
fn synchronise(dir: &Path) {
    use std::io::Write as _;
    let mut file = std::fs::File::create(dir.join("plain")).expect("a file");
    each("write and fdatasync of 4 KiB", 500, |_| {
        file.write_all(&[7; 4_096]).expect("written");
        file.sync_data().expect("synchronised");
    });
}
