//! `fathom logits`, run as a user runs it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{command, fathom, text};
use tempfile::TempDir;

/// A small model without a tokenizer: this command needs none.
fn model() -> String {
    format!("{}/../model/tests/fixtures/mini-fp4", env!("CARGO_MANIFEST_DIR"))
}

const VOCAB_SIZE: usize = 96;

/// A directory with token ids in it.
struct Bench {
    dir: TempDir,
}

impl Bench {
    fn new(ids: &[i32]) -> Self {
        let bench = Self {
            dir: TempDir::new().unwrap(),
        };
        let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        fs::write(bench.path("ids"), bytes).unwrap();
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn arguments(&self, out: &Path) -> Vec<String> {
        let [ids, out] = [self.path("ids"), out.to_owned()].map(|path| path.to_str().unwrap().to_owned());
        vec!["logits".into(), model(), "--ids".into(), ids, "--out".into(), out]
    }

    fn run(&self, more: &[&str]) -> Vec<u8> {
        let arguments = self.arguments(&self.path("out"));
        let arguments: Vec<&str> = arguments
            .iter()
            .map(String::as_str)
            .chain(more.iter().copied())
            .collect();
        let output = fathom(&arguments);
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(
            output.stdout.is_empty() && output.stderr.is_empty(),
            "a tool for scripts says nothing"
        );
        fs::read(self.path("out")).unwrap()
    }

    /// What a run that must fail says; nothing may be left behind.
    fn refused(&self, out: &Path) -> String {
        let arguments = self.arguments(out);
        let output = fathom(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(output.status.code(), Some(1));
        let left: Vec<_> = fs::read_dir(self.dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left, ["ids"], "half a result was left behind");
        text(&output.stderr).replace(self.dir.path().to_str().unwrap(), "DIR")
    }
}

fn some_ids(count: i32) -> Vec<i32> {
    (0..count).map(|n| (n * 37 + n * n) % VOCAB_SIZE as i32).collect()
}

#[test]
fn one_row_per_id_with_the_same_bits_whatever_the_chunks_and_threads() {
    let bench = Bench::new(&some_ids(45));
    for numerics in ["exact", "reference"] {
        let expected = bench.run(&["--numerics", numerics, "--threads", "1"]);
        assert_eq!(expected.len(), 45 * VOCAB_SIZE * 4);
        for (chunk, threads) in [("1", "1"), ("7", "2"), ("45", "3"), ("1000", "2")] {
            let found = bench.run(&["--numerics", numerics, "--chunk", chunk, "--threads", threads]);
            assert!(
                found == expected,
                "{numerics}, chunks of {chunk}, {threads} threads"
            );
        }
        // A prefix is a prefix: no position sees what comes after it.
        assert!(expected.starts_with(&Bench::new(&some_ids(20)).run(&["--numerics", numerics])));
    }
    assert_ne!(
        bench.run(&["--numerics", "exact"]),
        bench.run(&["--numerics", "reference"])
    );
}

#[test]
fn an_existing_result_is_replaced() {
    let bench = Bench::new(&[1, 2]);
    fs::write(bench.path("out"), "old").unwrap();
    assert_eq!(bench.run(&[]).len(), 2 * VOCAB_SIZE * 4);
}

#[test]
fn bad_ids_are_refused_with_their_place() {
    let case = |ids: &[i32]| {
        let bench = Bench::new(ids);
        bench.refused(&bench.path("out"))
    };
    assert_eq!(
        case(&[]),
        "error: DIR/ids is empty; expected at least one token id\n"
    );
    assert_eq!(
        case(&[3, 96]),
        "error: id 96 at index 1 of DIR/ids is out of range; this model's ids are 0 to 95\n"
    );
    assert_eq!(
        case(&[3, 5, -1]),
        "error: id -1 at index 2 of DIR/ids is out of range; this model's ids are 0 to 95\n"
    );
    let bench = Bench::new(&[]);
    fs::write(bench.path("ids"), [1, 0, 0, 0, 2]).unwrap();
    assert_eq!(
        bench.refused(&bench.path("out")),
        "error: DIR/ids is 5 bytes; expected little-endian int32 ids, 4 bytes each. Is the file cut off, or of another \
         type?\n"
    );
}

#[test]
fn an_output_that_cannot_be_written_is_refused_before_any_work() {
    let bench = Bench::new(&[1]);
    assert_eq!(
        bench.refused(&bench.path("missing/out")),
        "error: cannot write DIR/missing/out: DIR/missing is no directory. Create it first\n"
    );
    assert_eq!(
        bench.refused(bench.dir.path()),
        "error: DIR exists and is no ordinary file; choose another output\n"
    );
}

#[test]
fn wrong_usage_is_told_apart_from_failure() {
    for args in [
        &["logits"][..],
        &["logits", "x", "--ids", "a", "--out", "b", "--numerics", "quick"],
    ] {
        let output = command(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    }
}
