//! `fathom cache`, run as a user runs it, on a directory that the cache itself wrote.

use std::fs;
use std::path::{Path, PathBuf};

use fathom_cache::disk::{Disk, DiskOptions, Kind, NewRecord};
use fathom_cache::{Key, page_key, root_key, snapshot_key};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{fathom, text};

const FLASH: [u8; 32] = [0xf1; 32];
const PRO: [u8; 32] = [0xb0; 32];

/// Two conversations of one model that begin alike, a pinned snapshot, and one page of another model.
fn cache() -> TempDir {
    let dir = TempDir::new().unwrap();
    let mut disk = open(dir.path(), "flash", &FLASH);
    let first = page(&disk, &root_key(&FLASH, ""), 0, 1);
    let long = page(&disk, &first, 4, 2);
    page(&disk, &first, 4, 3);
    let tail = [9, 9];
    disk.put(NewRecord {
        key: snapshot_key(&long, &tail),
        parent: long,
        kind: Kind::Snapshot,
        tokens: tail.to_vec(),
        position: 10,
        payload: vec![7; 5_000].into(),
        pinned: true,
    });
    drop(disk);
    disk = open(dir.path(), "pro", &PRO);
    page(&disk, &root_key(&PRO, ""), 0, 1);
    drop(disk);
    dir
}

fn open(dir: &Path, label: &str, identity: &[u8; 32]) -> Disk {
    let options = DiskOptions {
        label: label.to_owned(),
        ..DiskOptions::new(dir, 1 << 30)
    };
    Disk::open(&options, identity, false).unwrap().0
}

fn page(disk: &Disk, parent: &Key, start: u64, id: u32) -> Key {
    let tokens = vec![id; 4];
    let key = page_key(parent, &tokens);
    disk.put(NewRecord {
        key,
        parent: *parent,
        kind: Kind::Page,
        tokens,
        position: start + 4,
        payload: vec![id as u8; 3_000].into(),
        pinned: false,
    });
    key
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = entries.filter(|path| path.extension().is_some()).collect();
    paths.sort();
    paths
}

/// Runs `fathom cache ARGS --cache-dir DIR`.
fn run(dir: &Path, args: &[&str]) -> (bool, String, String) {
    let dir = dir.to_str().unwrap();
    let output = fathom(&[&["cache"], args, &["--cache-dir", dir]].concat());
    let text = |bytes| text(bytes).replace(dir, "DIR");
    (
        output.status.success(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

fn json(dir: &Path, args: &[&str]) -> Value {
    let (_, out, error) = run(dir, &[args, &["--json"]].concat());
    serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{error}"))
}

#[test]
fn ls_lists_conversations_and_counts_what_they_share_once() {
    let dir = cache();
    let (ok, out, error) = run(dir.path(), &["ls", "--identity", "flash"]);
    assert!(ok, "{error}");
    let lines: Vec<Vec<&str>> = out
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(lines[0], ["flash", "(f1f1f1f1f1f1)"]);
    assert_eq!(
        lines[1],
        ["prefix", "tokens", "snapshots", "on", "disk", "last", "used"]
    );
    assert_eq!(lines[2][1..], ["8", "0", "6.2", "KiB", "just", "now"]);
    assert_eq!(lines[3][1..], ["10", "1", "8.2", "KiB", "just", "now", "pinned"]);
    let all = json(dir.path(), &["ls"]);
    assert_eq!(all["models"].as_array().unwrap().len(), 2);
    let (ok, _, error) = run(dir.path(), &["ls", "--identity", "nano"]);
    assert!(!ok);
    assert_eq!(
        error,
        "error: no model in the cache is called \"nano\"; there are: pro (b0b0b0b0b0b0), flash (f1f1f1f1f1f1)\n"
    );
}

#[test]
fn stat_adds_up_by_model_and_says_what_was_skipped() {
    let dir = cache();
    let stat = json(dir.path(), &["stat"]);
    let flash = &stat["models"][1];
    assert_eq!((&flash["name"], &flash["pages"]), (&"flash".into(), &3.into()));
    assert_eq!((&flash["snapshots"], &flash["pinned"]), (&1.into(), &1.into()));
    assert_eq!(flash["page_bytes"], 9_000);
    assert_eq!(stat["reclaimable_bytes"], 0);
    let on_disk: u64 = segments(dir.path())
        .iter()
        .map(|path| fs::metadata(path).unwrap().len())
        .sum();
    assert_eq!(stat["file_bytes"], on_disk);
    // Cut off the last record of the first segment.
    let path = &segments(dir.path())[0];
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(file.metadata().unwrap().len() - 1_000).unwrap();
    fs::write(dir.path().join("notes.txt"), "").unwrap();
    let (ok, out, _) = run(dir.path(), &["stat"]);
    assert!(ok);
    assert!(out.starts_with("DIR\n  files        "), "{out}");
    assert!(
        out.contains(
            "\nSkipped\n       1  cut off while they were written\n       1  not files of the cache\n"
        ),
        "{out}"
    );
}

#[test]
fn verify_finds_the_record_that_is_damaged() {
    let dir = cache();
    let (ok, out, _) = run(dir.path(), &["verify"]);
    assert!(ok);
    assert_eq!(out, "5 records are sound (16.6 KiB).\n");
    let path = &segments(dir.path())[0];
    let mut bytes = fs::read(path).unwrap();
    *bytes.iter_mut().rfind(|byte| **byte == 7).unwrap() = 8;
    fs::write(path, bytes).unwrap();
    let (ok, out, _) = run(dir.path(), &["verify"]);
    assert!(!ok);
    assert!(out.starts_with("4 records are sound (11.7 KiB).\n"), "{out}");
    assert!(
        out.contains(" is damaged: 4.9 KiB of flash (f1f1f1f1f1f1), up to token 10\n"),
        "{out}"
    );
    let report = json(dir.path(), &["verify"]);
    assert_eq!(report["bad_records"][0]["problem"], "damaged");
}

#[test]
fn prune_drops_what_it_is_told_to() {
    let dir = cache();
    // Nothing is that old.
    let pruned = json(dir.path(), &["prune", "--older-than", "1d"]);
    assert_eq!(pruned["records"], 0);
    // One branch has nothing pinned.
    let pruned = json(dir.path(), &["prune", "--to", "1"]);
    assert_eq!(pruned["records"], 2);
    let (_, out, _) = run(dir.path(), &["prune", "--to", "1"]);
    assert!(
        out.contains("could not be reached: what is left is pinned"),
        "{out}"
    );
    let stat = json(dir.path(), &["stat"]);
    assert_eq!(
        (&stat["models"][0]["pages"], &stat["models"][0]["pinned"]),
        (&2.into(), &1.into())
    );
    assert_eq!(stat["reclaimable_bytes"], 0);
    let pruned = json(dir.path(), &["prune", "--all", "--identity", "f1"]);
    assert_eq!(
        (&pruned["records"], &pruned["bytes_after"]),
        (&3.into(), &0.into())
    );
    assert!(segments(dir.path()).is_empty());
    let (_, out, _) = run(dir.path(), &["ls"]);
    assert_eq!(out, "The cache is empty.\n");
}

#[test]
fn prune_by_model_leaves_the_others() {
    let dir = cache();
    let pruned = json(dir.path(), &["prune", "--all", "--identity", "pro"]);
    assert_eq!(pruned["records"], 1);
    let stat = json(dir.path(), &["stat"]);
    assert_eq!(stat["models"].as_array().unwrap().len(), 1);
    assert_eq!(stat["models"][0]["name"], "flash");
}

#[test]
fn prune_leaves_a_cache_alone_that_is_written_to() {
    let dir = cache();
    let disk = open(dir.path(), "flash", &FLASH);
    let (ok, _, error) = run(dir.path(), &["prune", "--all"]);
    assert!(!ok);
    let process = std::process::id();
    assert_eq!(
        error,
        format!(
            "error: process {process} writes to the cache in DIR; nothing was changed. \
             Stop that process first: it keeps to its own budget meanwhile\n"
        )
    );
    assert_eq!(disk.stats().records, 4);
    // Looking is allowed.
    assert!(run(dir.path(), &["ls"]).0);
}

#[test]
fn a_directory_that_is_not_there_is_an_error_that_says_what_to_do() {
    let dir = TempDir::new().unwrap();
    let (ok, _, error) = run(&dir.path().join("none"), &["stat"]);
    assert!(!ok);
    assert!(
        error.contains("expected a directory. Name the one given to fathom serve --cache-dir"),
        "{error}"
    );
    let (ok, _, error) = run(dir.path(), &["prune"]);
    assert!(!ok && error.contains("--older-than"), "{error}");
    let (ok, _, error) = run(dir.path(), &["prune", "--older-than", "soon"]);
    assert!(!ok && error.contains("such as 90m, 12h, 7d or 2w"), "{error}");
}
