//! `fathom chat` between pipes: answers alone on standard output, no escape codes anywhere, an exit status to rely on.

use std::io::{BufRead as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

/// Standard output, standard error and exit status of `fathom chat` with `input`.
fn chat(args: &[&str], input: &[u8]) -> (String, String, Option<i32>) {
    chat_at(None, args, input)
}

/// As [`chat`], for somebody whose data lies in `home`.
fn chat_at(home: Option<&Path>, args: &[&str], input: &[u8]) -> (String, String, Option<i32>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_fathom"))
        .arg("chat")
        .args(args)
        .envs(home.map(|home| ("XDG_DATA_HOME", home)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that refuses its arguments does not read.
    child.stdin.take().unwrap().write_all(input).ok();
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr), output.status.code())
}

const BRIEF: [&str; 6] = ["--think", "off", "--temperature", "0", "--max-tokens", "30"];

#[test]
fn each_line_gets_an_answer_without_escape_codes() {
    let (answers, notes, status) = chat(&BRIEF, b"hello\nthanks\n");
    assert_eq!(status, Some(0), "{notes}");
    assert!(
        answers.lines().count() >= 2 && answers.ends_with('\n'),
        "{answers:?}"
    );
    let closings: Vec<_> = notes.lines().collect();
    assert_eq!(closings.len(), 2, "{notes}");
    assert!(
        closings[0].starts_with("prompt ") && closings[0].contains("(0 cached, "),
        "{notes}"
    );
    assert!(
        closings[1].starts_with("prompt ") && !closings[1].contains("(0 cached, "),
        "{notes}"
    );
    assert!(!answers.contains('\x1b') && !notes.contains('\x1b'));
}

#[test]
fn reasoning_stays_off_standard_output() {
    let (thought, notes, status) = chat(&["--temperature", "0"], b"What is 2 + 3?\n");
    assert_eq!(status, Some(0), "{notes}");
    let reasoning = notes
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("thinking: "));
    assert!(
        reasoning.is_some_and(|reasoning| !reasoning.is_empty()),
        "{notes}"
    );
    assert!(!thought.contains("thinking"), "{thought}");
}

#[test]
fn the_same_seed_gives_the_same_answers() {
    let args = ["--think", "off", "--temperature", "2", "--max-tokens", "20"];
    let seeded = |seed| chat(&[&args[..], &["--seed", seed]].concat(), b"Tell me a story.\n").0;
    assert_eq!(seeded("5"), seeded("5"));
    assert_ne!(seeded("5"), seeded("6"));
}

#[test]
fn lines_that_cannot_be_done_are_reported_and_end_in_status_1() {
    let input = b"/contxt\n\xff\n/read nowhere.txt\n/think low\n/quit\nnever read\n";
    let (answers, notes, status) = chat(&BRIEF, input);
    assert_eq!(answers, "");
    let expected = "error: there is no command /contxt; did you mean /context? /help lists them all\n\
                    error: line 2 of the input is not UTF-8 text; it was skipped\n\
                    error: cannot read nowhere.txt: No such file or directory (os error 2)\n\
                    error: this checkpoint has no thinking mode \"low\"; choose one of: off, high, max\n";
    assert_eq!(notes, expected);
    assert_eq!(status, Some(1));
}

#[test]
fn what_was_saved_in_one_run_goes_on_in_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("chat.json").display().to_string();
    let (first, notes, status) = chat(&BRIEF, format!("hello\n/save {file}\n").as_bytes());
    assert_eq!(status, Some(0), "{notes}");
    let both = chat(&BRIEF, b"hello\nthanks\n").0;
    let (second, notes, status) = chat(&[&BRIEF[..], &["--load", &file]].concat(), b"thanks\n");
    assert_eq!(status, Some(0), "{notes}");
    assert_eq!(format!("{first}{second}"), both);
}

#[test]
fn a_session_goes_on_in_the_next_run() {
    let dir = tempfile::tempdir().unwrap();
    let keep = |args: &[&str], input: &[u8]| chat_at(Some(dir.path()), &[&BRIEF[..], args].concat(), input);
    let (answers, ..) = keep(&["--sessions"], b"");
    assert!(
        answers.starts_with("no sessions in ")
            && answers.ends_with("fathom chat --session NAME begins one\n"),
        "{answers}"
    );
    let (first, notes, status) = keep(&["--session", "demo"], b"hello\n");
    assert_eq!(status, Some(0), "{notes}");
    assert!(notes.starts_with("session demo: new, kept in "), "{notes}");
    let (second, notes, status) = keep(&["--session", "demo"], b"thanks\n");
    assert_eq!(status, Some(0), "{notes}");
    let resumed = notes.lines().next().unwrap();
    assert!(resumed.starts_with("session demo: 1 message, "), "{notes}");
    assert!(resumed.ends_with(" tokens, nothing to read again"), "{notes}");
    assert_eq!(format!("{first}{second}"), chat(&BRIEF, b"hello\nthanks\n").0);

    let (answers, ..) = keep(&["--sessions"], b"");
    assert!(answers.contains("\n  demo            2  "), "{answers}");
    let (_, notes, status) = keep(&["--session", "../demo"], b"hello\n");
    assert!(
        notes.contains("a session cannot be called \"../demo\""),
        "{notes}"
    );
    assert_eq!(status, Some(2));
}

#[test]
fn a_session_is_open_in_one_process() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = Command::new(env!("CARGO_BIN_EXE_fathom"))
        .args(["chat", "--session", "demo"])
        .env("XDG_DATA_HOME", dir.path())
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It says so when it has the session.
    let mut line = String::new();
    std::io::BufReader::new(first.stderr.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert!(line.starts_with("session demo: new"), "{line}");
    let (_, notes, status) = chat_at(Some(dir.path()), &["--session", "demo"], b"hello\n");
    let process = first.id();
    assert_eq!(
        notes,
        format!(
            "error: session demo is open in another fathom (process {process}); end that one, or choose another name\n"
        )
    );
    assert_eq!(status, Some(1));
    drop(first.stdin.take());
    assert!(first.wait().unwrap().success());
}

#[test]
fn help_and_context_are_answers() {
    let (answers, notes, status) = chat(&[], b"/help\n/context\n");
    assert_eq!((notes.as_str(), status), ("", Some(0)));
    assert!(
        answers.contains("  /save FILE      save the conversation as JSON\n"),
        "{answers}"
    );
    assert!(
        answers.contains("thinking  high (this model has off, high, max)\n"),
        "{answers}"
    );
}

#[test]
fn wrong_options_end_before_the_conversation_begins() {
    let refused = |args: &[&str], reason: &str| {
        let (answers, notes, status) = chat(args, b"hello\n");
        assert_eq!(answers, "");
        assert!(notes.starts_with("error: ") && notes.contains(reason), "{notes}");
        assert!(matches!(status, Some(1 | 2)), "{status:?}");
    };
    refused(
        &["--think", "low"],
        "this checkpoint has no thinking mode \"low\"; choose one of: off, high, max",
    );
    refused(
        &["--think", "hard"],
        "expected a thinking mode (off, low, high or max), found \"hard\"",
    );
    refused(&["--model", "nowhere"], "nowhere");
    refused(
        &["--top-p", "2"],
        "top_p is 2; expected a number above 0 and at most 1",
    );
    refused(&["--load", "nowhere.json"], "cannot read nowhere.json");
}

#[test]
fn a_reader_that_closes_early_is_no_error() {
    let program = env!("CARGO_BIN_EXE_fathom");
    let script =
        format!("yes hello | head -50 | '{program}' chat --think off --temperature 0 2>/dev/null | head -1");
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 1);
}

#[test]
fn the_help_of_the_program_groups_its_commands() {
    let output = Command::new(env!("CARGO_BIN_EXE_fathom"))
        .arg("--help")
        .output()
        .unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    assert!(help.contains("\nUse a model:\n  chat "), "{help}");
    assert!(help.contains("\nExamples:\n  fathom chat\n"), "{help}");
}
