//! `fathom quantize`, run as a user runs it.

use std::fs;
use std::path::PathBuf;

use crate::support::{fathom, text};
use serde_json::Value;
use tempfile::TempDir;

fn model() -> String {
    format!("{}/default-model", env!("CARGO_MANIFEST_DIR"))
}

fn mini(name: &str) -> String {
    format!("{}/../model/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// A directory for results.
struct Bench {
    dir: TempDir,
}

impl Bench {
    fn new() -> Self {
        Self {
            dir: TempDir::new().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn text_path(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path()).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    /// The logits of a few ids.
    fn logits(&self, model: &str, numerics: &str) -> Vec<f32> {
        let ids: Vec<u8> = (0..50i32).flat_map(|i| (i * 13 % 64).to_le_bytes()).collect();
        fs::write(self.path("ids"), ids).unwrap();
        let (ids, out) = (self.text_path("ids"), self.text_path("out"));
        let output = fathom(&[
            "logits",
            model,
            "--ids",
            &ids,
            "--out",
            &out,
            "--numerics",
            numerics,
        ]);
        assert!(
            output.status.success(),
            "{model} {numerics}: {}",
            text(&output.stderr)
        );
        let bytes = fs::read(self.path("out")).unwrap();
        bytes
            .as_chunks::<4>()
            .0
            .iter()
            .map(|&bytes| f32::from_le_bytes(bytes))
            .collect()
    }

    /// Logits of the result that are near the source's, and not the same, in every numerics.
    fn assert_runs(&self, source: &str, result: &str, tolerance: f32) {
        for numerics in ["exact", "reference", "fast"] {
            let (before, after) = (self.logits(source, numerics), self.logits(result, numerics));
            assert_eq!(before.len(), after.len());
            assert!(after.iter().all(|x| x.is_finite()), "{numerics}");
            let square = |x: f32| f64::from(x) * f64::from(x);
            let difference: f64 = before.iter().zip(&after).map(|(a, b)| square(a - b)).sum();
            let size: f64 = before.iter().map(|&x| square(x)).sum();
            let relative = (difference / size).sqrt() as f32;
            assert!(relative > 0.0 && relative < tolerance, "{numerics}: {relative}");
        }
    }
}

#[test]
fn the_result_runs_and_says_what_it_is() {
    let bench = Bench::new();
    let result = bench.text_path("small-q8");
    let output = fathom(&["quantize", &model(), &result, "--dense", "q8", "--head", "q6"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(bench.names(), ["small-q8"], "nothing else is left");
    let said = text(&output.stdout);
    for phrase in [
        "formats: dense q8, head q6",
        "accepted**",
        "per decoded token",
        "Written to",
    ] {
        assert!(said.contains(phrase), "{said}\nshould say {phrase}");
    }
    let receipt = fs::read(bench.path("small-q8/fathom-quantize.json")).unwrap();
    let receipt: Value = serde_json::from_slice(&receipt).unwrap();
    assert_eq!(receipt["quantization"]["dense"], "q8");
    assert_eq!(receipt["command"][1], "quantize");
    assert!(receipt["accepted"].is_boolean());
    assert!(bench.path("small-q8/fathom-quantize.md").exists());
    bench.assert_runs(&model(), &result, 0.3);

    let inspect = fathom(&["inspect", &result]);
    let report = text(&inspect.stdout);
    assert!(inspect.status.success(), "{report}");
    assert!(
        report.contains("dense q8, head q6, routed experts keep") && report.contains("U8"),
        "{report}"
    );
    let json = |args: &[&str]| -> Value { serde_json::from_slice(&fathom(args).stdout).unwrap() };
    let plan = json(&["plan", &result, "--json"]);
    assert_eq!(plan["quantization"]["head"], "q6");
    assert_eq!(plan["weight_bytes"], receipt["bytes"]["result"]["total"]);
    // The configuration alone gives the same figures.
    let alone = json(&["plan", &format!("{result}/config.json"), "--json"]);
    assert_eq!(
        (&alone["tensors"], &alone["weight_bytes"]),
        (&plan["tensors"], &plan["weight_bytes"])
    );
}

/// A fixture whose rows are too narrow for groups, in the official format instead.
#[test]
fn a_narrow_model_takes_fp8() {
    let bench = Bench::new();
    let result = bench.text_path("r");
    let refused = fathom(&[
        "quantize",
        &mini("mini-fp4"),
        &result,
        "--dense",
        "q5",
        "--head",
        "q5",
    ]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        text(&refused.stderr).contains("rows of a multiple of 128 columns"),
        "{}",
        text(&refused.stderr)
    );
    let output = fathom(&["quantize", &mini("mini-fp4"), &result, "--head", "fp8"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    bench.assert_runs(&mini("mini-fp4"), &result, 0.3);
}

#[test]
fn existing_results_are_never_touched() {
    let bench = Bench::new();
    fs::create_dir(bench.path("r")).unwrap();
    fs::write(bench.path("r/mine"), "x").unwrap();
    let output = fathom(&["quantize", &model(), &bench.text_path("r"), "--dense", "q4"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("is not an empty directory"),
        "{}",
        text(&output.stderr)
    );
    assert_eq!(bench.names(), ["r"]);
    assert_eq!(fs::read(bench.path("r/mine")).unwrap(), b"x");
    let usage = fathom(&["quantize", &model(), &bench.text_path("s"), "--dense", "q7"]);
    assert_eq!(usage.status.code(), Some(2));
    assert!(
        text(&usage.stderr).contains("expected q8, q6, q5, q4, fp8 or keep"),
        "{}",
        text(&usage.stderr)
    );
}

#[test]
fn without_comparison_nothing_is_accepted() {
    let bench = Bench::new();
    let output = fathom(&[
        "quantize",
        &model(),
        &bench.text_path("r"),
        "--head",
        "q5",
        "--no-comparison",
    ]);
    assert!(
        text(&output.stdout).contains("NOT accepted"),
        "{}",
        text(&output.stdout)
    );
    let receipt = fs::read(bench.path("r/fathom-quantize.json")).unwrap();
    assert_eq!(
        serde_json::from_slice::<Value>(&receipt).unwrap()["accepted"],
        false
    );
}

#[cfg(unix)]
#[test]
fn an_interrupt_leaves_nothing() {
    use std::process::Stdio;
    use std::time::{Duration, Instant};

    use rustix::process::{Pid, Signal, kill_process};

    let bench = Bench::new();
    let mut child = crate::support::command(&["quantize", &model(), &bench.text_path("r"), "--dense", "q5"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while bench.names().is_empty() {
        assert!(start.elapsed() < Duration::from_mins(1), "the work never began");
        std::thread::sleep(Duration::from_millis(1));
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(bench.names().is_empty(), "{:?}", bench.names());
}
