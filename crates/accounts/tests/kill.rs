//! `kill -9` at random moments while requests are recorded, by one process or by two on one file: every record that was acknowledged is
//! there, each once, and the balance is what was paid in minus what all rows cost. Some ids are recorded twice at once, and each process
//! records again the last ids of the one that was killed before it.
//!
//! `FATHOM_KILLS=300 cargo test --release -p fathom-accounts --test kill -- --nocapture` is the long run. What a power failure leaves is up
//! to SQLite, which synchronises every commit (`synchronous = FULL`); it cannot be tried here.

#![cfg(unix)]
#![expect(clippy::print_stdout, reason = "figures for the record")]

mod support;

use std::collections::HashSet;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use fathom_accounts::{Accounts, Money, NewKey, Options, Query};
use proptest::prelude::Rng as _;
use proptest::test_runner::{RngAlgorithm, TestRng};
use support::record;

const FILE: &str = "FATHOM_KILL_FILE";
const RUN: &str = "FATHOM_KILL_RUN";
/// Records in progress at once.
const AT_ONCE: usize = 16;
/// Ids of the run before that are recorded again.
const AGAIN: u64 = 200;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// What the killed process does: records without end, and says what was acknowledged.
#[tokio::main(flavor = "current_thread")]
async fn record_for_ever(file: &str) {
    let accounts = Accounts::open(Path::new(file), Options::default()).unwrap();
    let key = Arc::new(accounts.find_key("team").unwrap());
    let run = number(RUN, 0);
    let mut waiting = tokio::task::JoinSet::new();
    let ids = (0..AGAIN)
        .filter(|_| run > 0)
        .map(|id| format!("{}-{id}", run - 1));
    let own = (0_u64..).map(|id| format!("{run}-{id}"));
    for (index, id) in ids.chain(own).enumerate() {
        for _ in 0..=u8::from(index % 3 == 0) {
            let written = accounts.record(record(&id, Some(&key)));
            let id = id.clone();
            waiting.spawn(async move { (id, written.await.unwrap()) });
        }
        while waiting.len() >= AT_ONCE {
            let (id, _) = waiting.join_next().await.unwrap().unwrap();
            // One write, so that what arrives is a whole line or its beginning.
            std::io::stdout()
                .write_all(format!("recorded {id} .\n").as_bytes())
                .unwrap();
        }
    }
}

/// This test in a process of its own.
fn start(file: &Path, run: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "killed_servers_lose_nothing_and_bill_nothing_twice",
            "--nocapture",
        ])
        .env(FILE, file)
        .env(RUN, run.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

/// Kills it, and returns what it had acknowledged.
fn kill(mut child: Child) -> Vec<String> {
    child.kill().unwrap();
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    let status = child.wait().unwrap();
    assert!(status.code().is_none(), "the server ended by itself: {said}");
    let lines = said
        .lines()
        .filter_map(|line| line.strip_prefix("recorded ")?.strip_suffix(" ."));
    lines.map(str::to_owned).collect()
}

#[test]
fn killed_servers_lose_nothing_and_bill_nothing_twice() {
    if let Ok(file) = std::env::var(FILE) {
        record_for_ever(&file);
    }
    let kills = number("FATHOM_KILLS", 20);
    let mut random = TestRng::from_seed(RngAlgorithm::ChaCha, &[number("FATHOM_SEED", 1) as u8; 32]);
    let mut below = |bound: u64| random.next_u64() % bound;
    let paid: Money = "1000000".parse().unwrap();
    let each: Money = "0.75".parse().unwrap();
    let (mut acknowledged, mut rows_in_all, mut unacknowledged, mut pairs) = (0, 0, 0, 0);
    let mut dir = tempfile::tempdir().unwrap();
    let mut expected: HashSet<String> = HashSet::new();
    for run in 0..kills {
        let file = dir.path().join("accounts");
        // A file is used several times over: a server goes on where another one was killed.
        if run % 10 == 0 {
            dir = tempfile::tempdir().unwrap();
            expected.clear();
        }
        let file = if run % 10 == 0 {
            dir.path().join("accounts")
        } else {
            file
        };
        if run % 10 == 0 {
            let accounts = Accounts::open(&file, Options::default()).unwrap();
            let new = NewKey {
                prepaid: true,
                ..NewKey::named("team")
            };
            let (key, _) = accounts.create_key(new).unwrap();
            accounts.top_up(key.id, paid, false).unwrap();
        }
        let mut children = vec![start(&file, run)];
        if below(4) == 0 {
            // A second server, killed a moment before or after the first, with the same ids.
            children.push(start(&file, run));
            pairs += 1;
        }
        for child in children {
            std::thread::sleep(Duration::from_micros(5_000 + below(100_000)));
            let said = kill(child);
            acknowledged += said.len();
            expected.extend(said);
        }
        let accounts = Accounts::open(&file, Options::default()).unwrap();
        // With other eyes than the crate's own.
        let connection = rusqlite::Connection::open(&file).unwrap();
        let mut statement = connection.prepare("SELECT id FROM requests").unwrap();
        let ids: Vec<String> = statement
            .query_map([], |row| row.get(0))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        let there: HashSet<String> = ids.iter().cloned().collect();
        assert_eq!(there.len(), ids.len(), "an id is there twice after kill {run}");
        let lost: Vec<_> = expected.difference(&there).collect();
        assert!(
            lost.is_empty(),
            "acknowledged and lost after kill {run}: {lost:?}"
        );
        unacknowledged += there.difference(&expected).count();
        let key = accounts.find_key("team").unwrap();
        let costs = Money::from_picos(each.picos() * ids.len() as i64);
        assert_eq!(
            accounts.balance(key.id).unwrap().total(),
            paid.saturating_sub(costs)
        );
        let rows = accounts.report(&Query::default()).unwrap();
        assert_eq!(rows.iter().map(|row| row.cost).next().unwrap_or_default(), costs);
        assert_eq!(accounts.audit().unwrap(), []);
        let check: String = connection
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .unwrap();
        assert_eq!(check, "ok");
        if run % 10 == 9 || run + 1 == kills {
            rows_in_all += ids.len();
        }
        // What is there from now on stays, acknowledged or not.
        expected = there;
    }
    println!(
        "{kills} kills ({pairs} of two servers at once): {acknowledged} acknowledgements, {rows_in_all} rows, \
         {unacknowledged} of them on disk before anybody was told; 0 lost, 0 twice, 0 wrong balances"
    );
    assert!(
        acknowledged as u64 > kills,
        "hardly anything was recorded: {acknowledged}"
    );
}
