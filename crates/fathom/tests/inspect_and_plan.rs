//! `fathom inspect` and `fathom plan`, run as a user runs them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

fn fathom(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fathom"))
        .args(args)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Runs a command that must fail, and gives what it wrote to standard error.
fn refused(args: &[&str]) -> String {
    let output = fathom(args);
    assert!(!output.status.success(), "{args:?} succeeded");
    text(&output.stderr).to_owned()
}

fn json(args: &[&str]) -> Value {
    let output = fathom(args);
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn built_in_model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("default-model")
}

fn release(name: &str) -> String {
    format!(
        "{}/../checkpoint/tests/configs/{name}.json",
        env!("CARGO_MANIFEST_DIR")
    )
}

/// The built-in model as a directory of its own, to be damaged.
fn copy_of_built_in_model() -> TempDir {
    let dir = TempDir::new().unwrap();
    for file in ["config.json", "tokenizer.json", "model.safetensors"] {
        fs::copy(built_in_model().join(file), dir.path().join(file)).unwrap();
    }
    dir
}

#[test]
fn plan_reproduces_the_published_figures() {
    for (name, tensors, bytes, kv_per_token, kv, share) in [
        (
            "flash",
            69_187_u64,
            159_609_485_896_u64,
            3514.25,
            3_688_172_544_u64,
            "9.9",
        ),
        ("pro", 145_116, 864_704_792_696, 5031.4375, 5_280_404_480, "26.5"),
    ] {
        let plan = json(&["plan", &release(name), "--context", "1048576", "--json"]);
        assert_eq!(plan["tensors"], tensors, "{name}");
        assert_eq!(plan["weight_bytes"], bytes, "{name}");
        assert_eq!(plan["kv_bytes_per_token"], kv_per_token, "{name}");
        assert_eq!(plan["kv_bytes"]["total"], kv, "{name}");
        let percent = 100.0 * plan["share_of_v32_flops"].as_f64().unwrap();
        assert_eq!(format!("{percent:.1}"), share, "{name}");
        assert!(plan["machine"]["read_bytes_per_second"].as_f64().unwrap() > 0.0);
    }
}

#[test]
fn plan_says_what_a_person_wants_to_know() {
    let output = fathom(&[
        "plan",
        &release("flash"),
        "--context",
        "1048576",
        "--sessions",
        "2",
    ]);
    let report = text(&output.stdout);
    for phrase in [
        "284.33 B (284,332,240,471)",
        "13.27 B per token",
        "69,187 tensors, 159,609,485,896 bytes (148.6 GiB)",
        "3,514.25 bytes",
        "3,688,172,544 bytes",
        "measured just now",
        "9.9 % of V3.2's work",
        "for 2 sessions of 1,048,576 tokens",
        "page cache",
    ] {
        assert!(
            report.contains(phrase),
            "the report\n{report}\nshould say: {phrase}"
        );
    }
}

#[test]
fn plan_of_a_directory_counts_what_is_there() {
    let dir = built_in_model();
    let plan = json(&["plan", dir.to_str().unwrap(), "--json"]);
    let inspect = json(&["inspect", dir.to_str().unwrap(), "--json"]);
    assert_eq!(plan["tensors"], inspect["total"]["tensors"]);
    assert_eq!(plan["weight_bytes"], inspect["total"]["bytes"]);
    let file = fs::read(dir.join("model.safetensors")).unwrap();
    let header = 8 + u64::from_le_bytes(file[..8].try_into().unwrap());
    assert_eq!(
        plan["weight_bytes"],
        file.len() as u64 - header,
        "every byte of the file belongs to a tensor"
    );
}

#[test]
fn plan_refuses_what_it_cannot_know() {
    let error = refused(&["plan", &release("flash-base")]);
    assert!(
        error.contains("does not say how routed experts are stored"),
        "{error}"
    );
    let plan = json(&["plan", &release("flash-base"), "--experts", "fp8", "--json"]);
    assert_eq!(plan["tensors"], 69_187);
    let error = refused(&["plan", &release("flash"), "--context", "1048577"]);
    assert!(
        error.contains("beyond this model's context of 1048576 tokens"),
        "{error}"
    );
    let error = refused(&["plan", "/no/such/config.json"]);
    assert!(error.contains("cannot read /no/such/config.json"), "{error}");
}

#[test]
fn inspect_reports_a_whole_checkpoint() {
    let output = fathom(&["inspect", built_in_model().to_str().unwrap()]);
    let report = text(&output.stdout);
    assert!(output.status.success(), "{report}{}", text(&output.stderr));
    for phrase in [
        "Profile",
        "one of our own models",
        "Layers",
        "routed experts",
        "Complete: every tensor",
    ] {
        assert!(
            report.contains(phrase),
            "the report\n{report}\nshould say: {phrase}"
        );
    }
}

#[test]
fn inspect_names_what_is_missing_and_fails() {
    let dir = copy_of_built_in_model();
    let config = fs::read_to_string(dir.path().join("config.json")).unwrap();
    let mut config: Value = serde_json::from_str(&config).unwrap();
    // One more expert than there is, in every layer.
    config["n_routed_experts"] = (config["n_routed_experts"].as_u64().unwrap() + 1).into();
    fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    let output = fathom(&["inspect", dir.path().to_str().unwrap()]);
    let report = text(&output.stdout);
    assert!(!output.status.success());
    for phrase in [
        "Missing: ",
        "layers.0.ffn.experts.",
        "Unusable: ",
        "ffn.gate.weight has shape",
        "Incomplete",
    ] {
        assert!(
            report.contains(phrase),
            "the report\n{report}\nshould say: {phrase}"
        );
    }
}

#[test]
fn damaged_files_are_refused_with_advice() {
    let dir = copy_of_built_in_model();
    let path = dir.path().to_str().unwrap();
    let weights = dir.path().join("model.safetensors");
    let whole = fs::read(&weights).unwrap();
    fs::write(&weights, &whole[..whole.len() - 1]).unwrap();
    let error = refused(&["inspect", path]);
    assert!(
        error.contains("the file was cut off: download it again"),
        "{error}"
    );
    fs::write(
        dir.path().join("config.json"),
        r#"{"model_type": "deepseek_v41"}"#,
    )
    .unwrap();
    let error = refused(&["inspect", path]);
    assert!(error.contains("this is a deepseek_v41 model"), "{error}");
    let error = refused(&["inspect", path, "--profile", "flash-0732"]);
    assert!(error.contains("there is no profile \"flash-0732\""), "{error}");
}
