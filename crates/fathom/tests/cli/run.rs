//! `fathom run`, run as a user runs it.

use std::fs;

use crate::support::{command, fathom, fathom_with_input, text};
use serde_json::Value;

/// A question, answered the same way every time.
const QUESTION: [&str; 7] = [
    "run",
    "-p",
    "What is 12 plus 30?",
    "--temperature",
    "0",
    "--max-tokens",
    "40",
];

fn json(args: &[&str]) -> Value {
    let output = fathom(&[&QUESTION[..], &["--json"], args].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "", "nothing but the object");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn in_a_pipe_the_answer_comes_alone() {
    let report = json(&["--think", "off"]);
    let output = fathom(&[&QUESTION[..], &["--think", "off"]].concat());
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        text(&output.stdout),
        format!("{}\n", report["text"].as_str().unwrap().trim_matches('\n'))
    );
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn the_instruction_set_can_be_asked_for_and_changes_nothing() {
    let run = |isa| {
        command(&[&QUESTION[..], &["--think", "off"]].concat())
            .env("FATHOM_ISA", isa)
            .output()
            .unwrap()
    };
    assert_eq!(text(&run("scalar").stdout), text(&run("").stdout));
    let refused = run("mmx");
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).starts_with("error: FATHOM_ISA is `mmx`, but"));
    assert_eq!(text(&refused.stdout), "");
}

#[test]
fn reasoning_goes_to_standard_error_unless_asked_for() {
    let report = json(&["--think", "high"]);
    let reasoning = report["reasoning"]
        .as_str()
        .unwrap()
        .trim_matches('\n')
        .to_owned();
    assert!(!reasoning.is_empty(), "{report}");
    let apart = fathom(&[&QUESTION[..], &["--think", "high"]].concat());
    assert_eq!(text(&apart.stderr), format!("thinking: {reasoning}\n"));
    assert!(!text(&apart.stdout).contains("thinking: "));
    let together = fathom(&[&QUESTION[..], &["--think", "high", "--show-reasoning"]].concat());
    assert_eq!(text(&together.stderr), "");
    assert_eq!(
        text(&together.stdout),
        format!("thinking: {reasoning}\n{}", text(&apart.stdout))
    );
}

#[test]
fn the_prompt_comes_from_wherever_it_is() {
    let expected = fathom(&QUESTION).stdout;
    let rest = &QUESTION[3..];
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("prompt.txt");
    fs::write(&file, "What is 12 plus 30?\n").unwrap();
    let from_file = [&["run", "--prompt-file", file.to_str().unwrap()], rest].concat();
    assert_eq!(text(&fathom(&from_file).stdout), text(&expected));
    for source in [&["run"][..], &["run", "-p", "-"], &["run", "-f", "-"]] {
        let output = fathom_with_input(&[source, rest].concat(), "What is 12 plus 30?\r\n");
        assert_eq!(text(&output.stdout), text(&expected), "{source:?}");
    }
}

#[test]
fn json_tells_everything_and_adds_up() {
    let report = json(&["--think", "high", "--top-logprobs", "2", "--seed", "5"]);
    assert_eq!(report["model"], "fathom-small-1");
    assert_eq!(report["numerics"], "reference");
    let usage = &report["usage"];
    let tokens = report["tokens"].as_array().unwrap();
    assert_eq!(usage["generated_tokens"], tokens.len());
    assert_eq!(usage["cached_tokens"], 0);
    assert!(usage["reasoning_tokens"].as_u64() <= usage["generated_tokens"].as_u64());
    assert_eq!(report["sampling"]["seed"], 5);
    let shown = format!(
        "{}{}",
        report["reasoning"].as_str().unwrap(),
        report["text"].as_str().unwrap()
    );
    let spelled: String = tokens
        .iter()
        .map(|token| token["text"].as_str().unwrap())
        .collect();
    let spelled = spelled
        .replace("</think>", "")
        .replace("<｜end▁of▁sentence｜>", "");
    assert_eq!(spelled, shown);
    for token in tokens {
        // Temperature 0 takes the best.
        assert_eq!(token["top"].as_array().unwrap().len(), 2);
        assert_eq!(
            (&token["id"], &token["logprob"]),
            (&token["top"][0]["id"], &token["top"][0]["logprob"])
        );
    }
    for seconds in ["prefill_seconds", "decode_seconds"] {
        assert!(report["timings"][seconds].as_f64().unwrap() > 0.0);
    }
}

#[test]
fn logprobs_have_the_same_bits_whatever_the_chunks_and_threads() {
    let expected = json(&["--threads", "1"])["tokens"].clone();
    for args in [
        ["--threads", "2", "--chunk", "1"],
        ["--threads", "3", "--chunk", "7"],
    ] {
        assert_eq!(json(&args)["tokens"], expected, "{args:?}");
    }
}

#[test]
fn a_seed_repeats_and_another_differs() {
    let say = |seed: &str| {
        let args = [
            "run",
            "-p",
            "Tell me a story.",
            "--temperature",
            "1.5",
            "--max-tokens",
            "30",
            "--seed",
            seed,
        ];
        text(&fathom(&args).stdout).to_owned()
    };
    assert_eq!(say("1"), say("1"));
    assert!((2..6).any(|seed| say(&seed.to_string()) != say("1")));
}

#[test]
fn raw_text_is_continued() {
    let args = [
        "run",
        "--raw",
        "-p",
        "Once upon a time",
        "--temperature",
        "0",
        "--max-tokens",
        "5",
        "--json",
    ];
    let report: Value = serde_json::from_slice(&fathom(&args).stdout).unwrap();
    assert_eq!(report["reasoning"], "");
    assert_eq!(report["usage"]["reasoning_tokens"], 0);
}

#[test]
fn a_stop_string_ends_the_answer() {
    let whole = json(&["--think", "off"])["text"].as_str().unwrap().to_owned();
    let stop: String = whole.chars().skip(2).take(2).collect();
    let report = json(&["--think", "off", "--stop", &stop]);
    assert_eq!(
        report["text"].as_str().unwrap(),
        &whole[..whole.find(&stop).unwrap()]
    );
    assert_eq!(
        (&report["finish_reason"], &report["stop"]),
        (&Value::from("stop"), &Value::from(stop))
    );
}

#[test]
fn what_cannot_be_done_is_said_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    let missing = missing.to_str().unwrap();
    for (args, code, message) in [
        (
            &["run", "-p", ""][..],
            1,
            "error: the prompt is empty; expected some text\n".to_owned(),
        ),
        (
            &["run"],
            1,
            "error: the prompt is empty; give one with -p TEXT or --prompt-file FILE, or pipe it in\n"
                .to_owned(),
        ),
        (
            &["run", "-p", "q", "--think", "low"],
            1,
            "error: this checkpoint has no thinking mode \"low\"; choose one of: off, high, max\n".to_owned(),
        ),
        (
            &["run", "-p", "q", "--temperature", "-1"],
            1,
            "error: temperature is -1; expected a number from 0\n".to_owned(),
        ),
        (
            &["run", "-f", missing],
            1,
            format!("error: cannot read the prompt in {missing}: No such file or directory (os error 2)\n"),
        ),
        (
            &["run", "-p", "q", "--model", missing],
            1,
            format!(
                "error: cannot open the checkpoint in {missing}: cannot read {missing}: No such file or directory (os \
                 error 2)\n"
            ),
        ),
        (
            &["run", "-p", "q", "--profile", "flash-0731"],
            1,
            "error: --profile says what a checkpoint directory holds; give the directory with --model DIR\n"
                .to_owned(),
        ),
    ] {
        let output = fathom(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}");
        assert_eq!(
            (text(&output.stdout), text(&output.stderr)),
            ("", message.as_str()),
            "{args:?}"
        );
    }
    for args in [
        &["run", "-p", "q", "--think", "hard"][..],
        &["run", "--raw", "--system", "s", "-p", "q"],
    ] {
        assert_eq!(fathom(args).status.code(), Some(2), "{args:?}: wrong usage");
    }
}

#[test]
fn a_prompt_beyond_the_context_is_refused_with_both_lengths() {
    let output = fathom_with_input(&["run"], &"word ".repeat(80_000));
    assert_eq!(output.status.code(), Some(1));
    let message = text(&output.stderr);
    assert!(message.starts_with("error: the prompt has "), "{message}");
    assert!(
        message.ends_with(
            "tokens, but this model's context is 65536 and one more must fit behind it. Shorten the prompt\n"
        ),
        "{message}"
    );
}
