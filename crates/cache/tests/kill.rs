//! `kill -9` at random moments while records are written: whatever reads back is what was written, what was flushed is
//! there, and the directory always opens.
//!
//! `FATHOM_KILLS=1000 cargo test --release -p fathom-cache --test kill -- --nocapture` is the long run.

#![cfg(unix)]
#![expect(clippy::print_stdout, reason = "figures for the record")]

mod support;

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use fathom_cache::disk::{Disk, DiskOptions, Skipped};
use support::{Chain, IDENTITY, Random, number, payload};

const DIR: &str = "FATHOM_KILL_DIR";
const SEED: &str = "FATHOM_KILL_SEED";
const BYTES: &str = "FATHOM_KILL_BYTES";

/// Bytes of the payload of page `index` of a chain: everything follows from what is in the record.
fn bytes_of(tokens: &[u32]) -> usize {
    let seed = u64::from(tokens[0]) << 32 | u64::from(*tokens.last().unwrap());
    let mut random = Random(seed);
    // Mostly pages, now and then something of a snapshot's size.
    let bytes = if random.below(8) == 0 { 4_000_000 } else { 200_000 };
    random.below(bytes)
}

/// What the killed process does: writes without end, and says after every flush how many pages must be there.
fn write_for_ever(dir: &str) -> ! {
    let (seed, bytes) = (number(SEED, 0), number(BYTES, 0));
    let (disk, _) = Disk::open(&DiskOptions::new(dir, bytes), &IDENTITY, true).unwrap();
    let mut random = Random(seed);
    let mut chain = Chain::new(seed as u32);
    let mut put = 0;
    loop {
        for _ in 0..=random.below(8) {
            let mut page = chain.page(0);
            page.payload = payload(&page.key, bytes_of(&page.tokens)).into();
            disk.put(page);
            put += 1;
        }
        if random.below(4) == 0 {
            disk.flush();
            // One write, so that what arrives is a whole line.
            std::io::stdout()
                .write_all(format!("flushed {put}\n").as_bytes())
                .unwrap();
        }
    }
}

/// Starts a writer, which is this test in a process that is given a directory, and kills it after `delay`. Returns how many pages it had flushed.
fn kill_a_writer(dir: &Path, seed: u64, bytes: u64, delay: Duration) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed_writers_leave_nothing_wrong", "--nocapture"])
        .env(DIR, dir)
        .env(SEED, seed.to_string())
        .env(BYTES, bytes.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    std::thread::sleep(delay);
    child.kill().unwrap();
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    let status = child.wait().unwrap();
    assert!(status.code().is_none(), "the writer ended by itself: {said}");
    let flushed = said.lines().rev().find_map(|line| line.strip_prefix("flushed "));
    flushed.map_or(0, |pages| pages.parse().unwrap())
}

#[test]
fn killed_writers_leave_nothing_wrong() {
    if let Ok(dir) = std::env::var(DIR) {
        write_for_ever(&dir);
    }
    let kills = number("FATHOM_KILLS", 20);
    let mut random = Random(number("FATHOM_SEED", 1));
    let (mut skipped, mut read, mut had_some, mut evicting) = (Skipped::default(), 0, 0, 0);
    let mut dir = tempfile::tempdir().unwrap();
    for kill in 0..kills {
        // Directories are used several times over: a writer goes on where another one was killed.
        if kill % 10 == 0 {
            dir = tempfile::tempdir().unwrap();
        }
        // Half of them with so little room that records are dropped and moved all the time.
        let tight = kill / 10 % 2 == 1;
        let bytes = if tight { 40 << 20 } else { 1 << 40 };
        let seed = random.next() >> 32;
        let flushed = kill_a_writer(
            dir.path(),
            seed,
            bytes,
            Duration::from_micros(3_000 + random.next() % 60_000),
        );
        let options = DiskOptions::new(dir.path(), bytes);
        let (disk, records) = Disk::open(&options, &IDENTITY, false).unwrap();
        assert_eq!(disk.notice(), None);
        let mut of_chain = 0;
        for record in &records {
            let mut into = vec![0; record.bytes as usize];
            disk.read(&record.key, &mut into).unwrap();
            assert_eq!(into.len(), bytes_of(&record.tokens));
            assert!(
                into == payload(&record.key, into.len()),
                "a wrong payload after kill {kill}"
            );
            of_chain += u64::from(record.tokens[3] == seed as u32);
        }
        let stats = disk.stats();
        assert_eq!((stats.damaged, stats.unreadable), (0, 0));
        if tight {
            // What cleaning copies may be there twice when the process dies.
            assert!(stats.file_bytes <= bytes + bytes / 8, "{stats:?}");
        } else {
            assert!(
                of_chain >= flushed,
                "{of_chain} pages of {flushed} that were flushed"
            );
        }
        skipped += stats.skipped;
        read += stats.read_records;
        had_some += u64::from(!records.is_empty());
        evicting += u64::from(tight);
    }
    println!(
        "{kills} kills ({evicting} while evicting): {read} records read back, 0 wrong, 0 failures to open; \
         {had_some} directories had records; reported: {skipped:?}"
    );
    assert!(read > kills, "the writers wrote hardly anything: {read} records");
    // Appending is cut off, nothing else happens to files.
    assert_eq!(skipped.total(), skipped.torn);
}
