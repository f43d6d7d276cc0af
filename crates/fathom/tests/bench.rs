//! `fathom bench`, run as a user runs it, on the built-in model.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

fn bench(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fathom"))
        .arg("bench")
        .args(args)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Runs a bench that must succeed, in a directory of its own; the files it wrote, and standard output.
fn measured(args: &str) -> (TempDir, String) {
    let args: Vec<&str> = args.split_whitespace().collect();
    let dir = TempDir::new().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (json, csv, svg) = (path("b.json"), path("b.csv"), path("b.svg"));
    let files = ["--json", &json, "--csv", &csv, "--svg", &svg];
    let output = bench(&[&args[..], &files].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let names = fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(names, 3, "nothing but the three files is left");
    (dir, text(&output.stdout).to_owned())
}

fn read(dir: &TempDir, name: &str) -> String {
    fs::read_to_string(dir.path().join(name)).unwrap()
}

fn json(dir: &TempDir) -> Value {
    serde_json::from_str(&read(dir, "b.json")).unwrap()
}

/// Runs a bench that must be refused before it measures anything, and gives what it said.
fn refused(args: &[&str]) -> String {
    let output = bench(args);
    assert!(!output.status.success(), "{args:?} succeeded");
    let message = text(&output.stderr);
    assert!(!message.contains("warm-up"), "{message}");
    assert_eq!(text(&output.stdout), "");
    message.to_owned()
}

fn positive(value: &Value, field: &str) -> f64 {
    let number = value[field]
        .as_f64()
        .unwrap_or_else(|| panic!("{field} of {value:#}"));
    assert!(number > 0.0 && number.is_finite(), "{field} is {number}");
    number
}

#[test]
fn the_report_has_every_promised_field() {
    let args = "--prefill 64,150 --depths 0,4096,65536 --batch 1,3 --gen 4 --repeats 2";
    let (dir, stdout) = measured(args);
    let report = json(&dir);
    assert_eq!(report["model"], "fathom-small-1");
    assert_eq!(report["numerics"], "reference");
    assert_eq!(report["versions"]["fathom"], env!("CARGO_PKG_VERSION"));
    assert_eq!(
        report["date"].as_str().unwrap().len(),
        "2026-11-22T08:00:00Z".len()
    );
    let machine = &report["machine"];
    for field in [
        "read_bytes_per_s",
        "int8_ops_per_s",
        "bf16_flops_per_s",
        "f32_flops_per_s",
        "threads",
    ] {
        positive(machine, field);
    }
    assert!(["scalar", "avx2", "avx512"].contains(&machine["isa"].as_str().unwrap()));

    let prefill = report["prefill"].as_array().unwrap();
    assert_eq!(
        prefill
            .iter()
            .map(|p| p["tokens"].as_u64().unwrap())
            .collect::<Vec<_>>(),
        [64, 150]
    );
    for prefill in prefill {
        let (rate, spread) = (positive(prefill, "tokens_per_s"), &prefill["tokens_per_s_spread"]);
        assert!(positive(spread, "min") <= rate && rate <= positive(spread, "max"));
        assert_eq!(spread["samples"].as_array().unwrap().len(), 2);
        let limit = positive(machine, "bf16_flops_per_s") / positive(prefill, "operations_per_token");
        let share = positive(prefill, "share_of_limit");
        assert!((share - rate / limit).abs() <= 1e-9 * share, "{share}");
    }

    let decode = report["decode"].as_array().unwrap();
    assert_eq!(
        decode
            .iter()
            .map(|d| d["depth"].as_u64().unwrap())
            .collect::<Vec<_>>(),
        [0, 4096, 65536]
    );
    assert_eq!(
        decode[2]["start"],
        65536 - 4 - 1,
        "the last token decoded is the context's last"
    );
    for pair in decode.windows(2) {
        assert!(positive(&pair[0], "bytes_per_token") < positive(&pair[1], "bytes_per_token"));
        assert!(positive(&pair[0], "operations_per_token") < positive(&pair[1], "operations_per_token"));
        assert!(positive(&pair[0], "kv_bytes") < positive(&pair[1], "kv_bytes"));
    }
    for decode in decode {
        positive(decode, "tokens_per_s");
        positive(decode, "share_of_limit");
        let parts = positive(decode, "weight_bytes_per_token") + positive(decode, "cache_bytes_per_token");
        assert_eq!(parts, positive(decode, "bytes_per_token"));
    }
    let batch = report["batch"].as_array().unwrap();
    let sessions: Vec<_> = batch.iter().map(|b| b["sessions"].as_u64().unwrap()).collect();
    assert_eq!(sessions, [1, 3]);
    for batch in batch {
        positive(batch, "tokens_per_s");
        positive(batch, "times_one_session");
    }
    assert_eq!(report["memory"]["kv_bytes_per_token"], 61.6875);
    if cfg!(target_os = "linux") {
        assert!(positive(&report["memory"], "anonymous_bytes") < positive(&report["memory"], "rss_bytes"));
    }

    assert!(
        stdout.starts_with("fathom-small-1, reference numerics, 20"),
        "{stdout}"
    );
    for phrase in [
        "int8 ",
        "65,536",
        "61.69 bytes per token",
        "the context ends there",
        "grafting",
        "Sessions decoding together at 0",
    ] {
        assert!(stdout.contains(phrase), "{stdout}\nshould say: {phrase}");
    }
    let csv = read(&dir, "b.csv");
    let columns: Vec<_> = csv.lines().map(|line| line.split(',').count()).collect();
    assert_eq!(columns, [11; 8], "{csv}");
    let svg = read(&dir, "b.svg");
    assert!(
        svg.starts_with("<svg ") && svg.ends_with("</svg>\n") && svg.contains("64K"),
        "{svg}"
    );
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
}

#[test]
fn a_sweep_reads_one_prompt_in_steps() {
    let args = "--interval 300 --depths 1000 --gen 2 --numerics exact --threads 1";
    let (dir, stdout) = measured(args);
    let report = json(&dir);
    assert_eq!(
        (&report["repeats"], &report["machine"]["threads"]),
        (&1.into(), &1.into())
    );
    let column = |list: &str, field: &str| {
        let list = report[list].as_array().unwrap();
        list.iter()
            .map(|entry| entry[field].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(column("prefill", "from"), [0, 300, 600]);
    assert_eq!(column("prefill", "tokens"), [300; 3]);
    assert_eq!(column("decode", "depth"), [300, 600, 900]);
    assert_eq!(column("decode", "start"), [300, 600, 900]);
    assert_eq!(report["arithmetic_of_limit"], "f32");
    assert!(!stdout.contains("graft"), "{stdout}");
}

#[test]
fn a_directory_may_be_named_and_parts_left_out() {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("default-model");
    let model = model.to_str().unwrap();
    let (dir, _) = measured(&format!(
        "{model} --prefill none --batch none --depths 100 --gen 1 --repeats 1"
    ));
    assert_eq!(json(&dir)["prefill"], serde_json::json!([]));
    let (dir, stdout) = measured(&format!(
        "--model {model} --prefill 5 --depths none --batch none --repeats 1"
    ));
    assert_eq!(json(&dir)["decode"], serde_json::json!([]));
    assert_eq!(json(&dir)["batch"], serde_json::json!([]));
    assert!(!stdout.contains("Decode"), "{stdout}");
}

#[test]
fn what_cannot_be_measured_is_refused_first() {
    let dir = TempDir::new().unwrap();
    let nowhere = dir.path().join("missing/b.json");
    let cases: [(&[&str], &str); 13] = [
        (
            &["--depths", "0,65537"],
            "--depths 65537 is beyond this model's context of 65,536 tokens",
        ),
        (&["--prefill", "70000"], "--prefill 70000 is beyond"),
        (&["--prefill", "0"], "--prefill 0"),
        (&["--prefill", "512;2048"], "`512;2048` is no whole number"),
        (&["--batch", "0"], "--batch 0: expected 1 to 1,024 sessions"),
        (
            &["--prefill", "none", "--depths", "none", "--batch", "none"],
            "nothing to measure",
        ),
        (&["--repeats", "0"], "--repeats 0 would measure nothing"),
        (&["--gen", "0"], "--gen 0"),
        (&["--gen", "65536"], "does not fit"),
        (&["--interval", "0"], "--interval 0"),
        (
            &["--interval", "2000", "--depths", "1000"],
            "no frontier up to 1,000",
        ),
        (
            &["--json", nowhere.to_str().unwrap()],
            "is no directory. Create it first",
        ),
        (&["--svg", dir.path().to_str().unwrap()], "no ordinary file"),
    ];
    for (args, expected) in cases {
        let message = refused(args);
        assert!(message.contains(expected), "{args:?}: {message}");
    }
    assert!(refused(&["--interval", "10", "--prefill", "10"]).contains("cannot be used with"));
    assert!(refused(&["missing-model"]).contains("missing-model"));
    assert!(
        fs::read_dir(dir.path()).unwrap().next().is_none(),
        "nothing was left behind"
    );
}
