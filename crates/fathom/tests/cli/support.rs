//! Running the real program.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

/// Runs `fathom` with nothing on standard input.
pub(crate) fn fathom(args: &[&str]) -> Output {
    fathom_with_input(args, "")
}

/// Runs `fathom` with `input` on standard input.
pub(crate) fn fathom_with_input(args: &[&str], input: &str) -> Output {
    let mut child = command(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    // A program that refuses to read is no error here.
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()).ok());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

/// The command, not started.
pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fathom"));
    command.args(args);
    // What the person at this machine has set up is none of a test's business.
    let home = concat!(env!("CARGO_TARGET_TMPDIR"), "/nobody");
    for variable in [
        "XDG_CONFIG_HOME",
        "XDG_DATA_HOME",
        "XDG_STATE_HOME",
        "XDG_CACHE_HOME",
    ] {
        command.env(variable, home);
    }
    command
}

/// Output as text.
pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}
