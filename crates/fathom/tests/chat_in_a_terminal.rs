//! `fathom chat` with a person at the keyboard, played through a pseudo-terminal.

#![cfg(unix)]

use std::path::Path;
use std::process::Command;

use rexpect::session::{PtySession, spawn_command};
use tempfile::TempDir;

/// Longest wait for anything to appear: generous, since machines that run tests are busy.
const PATIENCE_MS: u64 = 60_000;

/// A terminal with `fathom chat` in it, and the home of the person at the keyboard.
struct Terminal {
    session: PtySession,
    home: TempDir,
}

impl Terminal {
    fn new(args: &[&str]) -> Self {
        Self::at(TempDir::new().unwrap(), args, &[])
    }

    fn at(home: TempDir, args: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fathom"));
        command.arg("chat").args(args);
        Self::run(home, command, variables)
    }

    fn run(home: TempDir, mut command: Command, variables: &[(&str, &str)]) -> Self {
        command.current_dir(home.path());
        command
            .env("XDG_STATE_HOME", home.path())
            .env("XDG_DATA_HOME", home.path())
            .env("TERM", "xterm")
            .env_remove("NO_COLOR");
        command.envs(variables.iter().copied());
        let session = spawn_command(command, Some(PATIENCE_MS)).unwrap();
        Self { session, home }
    }

    /// Waits for `text`; returns what came before it.
    fn see(&mut self, text: &str) -> String {
        self.session.exp_string(text).unwrap()
    }

    /// Waits for the prompt of an empty line.
    fn prompt(&mut self) {
        self.see("> ");
    }

    fn enter(&mut self, line: &str) {
        self.session.send_line(line).unwrap();
    }

    /// Presses keys without Enter at their end.
    fn keys(&mut self, keys: &str) {
        self.session.send(keys).unwrap();
        self.session.flush().unwrap();
    }

    fn control(&mut self, key: char) {
        self.session.send_control(key).unwrap();
    }

    /// Waits for the end of the program, which must be a good one.
    fn end(mut self) -> TempDir {
        self.session.exp_eof().unwrap();
        let status = self.session.process().wait().unwrap();
        assert!(format!("{status:?}").contains(", 0"), "{status:?}");
        self.home
    }

    /// The file `name` in the person's home, with enough text to be read for a while.
    fn long_file(&self, name: &str) {
        std::fs::write(
            self.home.path().join(name),
            "The river was wide and the bridge was old. ".repeat(2500),
        )
        .unwrap();
    }
}

#[test]
fn a_conversation_from_greeting_to_farewell() {
    let mut terminal = Terminal::new(&["--temperature", "0"]);
    terminal.see("numerics, ");
    terminal.see("/help lists commands, Ctrl-C stops an answer, Ctrl-D quits.");
    terminal.prompt();
    terminal.enter("What is 2 + 3?");
    // The reasoning, dimmed, before the closing line.
    terminal.see("\x1b[2m");
    terminal.see("(0 cached, ");
    terminal.prompt();
    terminal.enter("/nothink");
    terminal.see("thinking off");
    terminal.prompt();
    terminal.enter("/contxt");
    terminal.see("did you mean /context?");
    terminal.prompt();
    terminal.enter("/context");
    terminal.see("said      1 message");
    terminal.prompt();
    terminal.control('d');
    terminal.end();
}

#[test]
fn ctrl_c_stops_an_answer_and_not_the_program() {
    // So hot that it hardly ever ends by itself.
    let mut terminal = Terminal::new(&["--think", "off", "--temperature", "50", "--seed", "1"]);
    terminal.prompt();
    terminal.enter("Tell me a story.");
    // Something of the answer is on the screen.
    terminal.session.exp_regex("story\\.[\\s\\S]*[a-z]{3}").unwrap();
    terminal.control('c');
    terminal.see(", stopped");
    terminal.prompt();
    terminal.enter("/context");
    terminal.see("said      1 message");
    terminal.enter("/quit");
    terminal.end();
}

#[test]
fn ctrl_c_stops_reading_a_long_file() {
    let mut terminal = Terminal::new(&["--chunk", "64", "--threads", "1"]);
    terminal.long_file("long.txt");
    terminal.prompt();
    terminal.enter("/read long.txt");
    terminal.see("it goes into your next message");
    terminal.see("1 file > ");
    terminal.enter("What was wide?");
    // Long enough for a line about it.
    terminal.see("reading [");
    terminal.see(" left");
    terminal.control('c');
    terminal.see(", generated 0, stopped");
    terminal.see("your message was taken back");
    terminal.prompt();
    terminal.enter("/context");
    terminal.see("said      0 messages");
    terminal.enter("/quit");
    terminal.end();
}

#[test]
fn ctrl_c_at_the_prompt_clears_the_line() {
    let mut terminal = Terminal::new(&[]);
    terminal.prompt();
    terminal.keys("/quit not");
    terminal.see("/quit not");
    terminal.control('c');
    terminal.prompt();
    terminal.enter("/nothink");
    terminal.see("thinking off");
    terminal.control('d');
    terminal.end();
}

#[test]
fn several_lines_make_one_message() {
    let mut terminal = Terminal::new(&["--think", "off", "--temperature", "0"]);
    terminal.prompt();
    terminal.enter("one\\");
    terminal.keys("two\x1b\rthree");
    // Pasted, as terminals that know about pasting send it.
    terminal.keys("\x1b[200~\rfour\rfive\x1b[201~");
    terminal.enter("");
    terminal.see("cached, ");
    terminal.prompt();
    terminal.enter("/save chat.json");
    terminal.see("saved 1 message");
    terminal.enter("/quit");
    let home = terminal.end();
    let saved = std::fs::read_to_string(home.path().join("chat.json")).unwrap();
    assert!(
        saved.contains(r#""content": "one\ntwo\nthree\nfour\nfive""#),
        "{saved}"
    );
}

#[test]
fn lines_are_remembered_from_one_session_to_the_next() {
    let mut terminal = Terminal::new(&[]);
    terminal.prompt();
    terminal.enter("/system Be brief.");
    terminal.see("system text set");
    terminal.enter("/quit");
    let home = terminal.end();
    assert!(Path::new(&home.path().join("fathom").join("history")).exists());
    let mut terminal = Terminal::at(home, &[], &[]);
    terminal.prompt();
    // Up, past the /quit that ended it.
    terminal.keys("\x1b[A\x1b[A\r");
    terminal.see("system text set");
    terminal.control('d');
    terminal.end();
}

#[test]
fn a_session_is_forked_rewound_and_gone_on_with() {
    let args = ["--think", "off", "--temperature", "0", "--session", "demo"];
    let mut terminal = Terminal::new(&args);
    terminal.see("session demo: new, kept in ");
    terminal.prompt();
    for line in ["Hello", "Thanks"] {
        terminal.enter(line);
        terminal.see("cached, ");
        terminal.prompt();
    }
    terminal.enter("/fork other");
    terminal.see("nothing to read again; demo stays as it is");
    terminal.prompt();
    terminal.enter("/rewind");
    terminal.see("took back 1 exchange; left: 1 message, ");
    terminal.prompt();
    terminal.control('d');
    let home = terminal.end();
    let mut terminal = Terminal::at(home, &args, &[]);
    terminal.see("session demo: 2 messages, ");
    terminal.see("nothing to read again");
    terminal.prompt();
    terminal.control('d');
    let mut terminal = Terminal::at(terminal.end(), &["--session", "other"], &[]);
    terminal.see("session other: 1 message, ");
    terminal.prompt();
    terminal.control('d');
    terminal.end();
}

#[test]
fn no_color_is_respected() {
    let variables = [("NO_COLOR", "1")];
    let mut terminal = Terminal::at(TempDir::new().unwrap(), &["--temperature", "0"], &variables);
    let mut shown = terminal.see("> ");
    terminal.enter("What is 2 + 3?");
    shown += &terminal.see("thinking: ");
    shown += &terminal.see("(0 cached, ");
    assert!(!shown.contains("\x1b[2m"), "{shown:?}");
    terminal.control('d');
    terminal.end();
}

#[test]
fn keys_pressed_during_an_answer_wait_for_the_next_prompt() {
    let mut terminal = Terminal::new(&["--think", "off", "--chunk", "64", "--threads", "1"]);
    terminal.long_file("long.txt");
    terminal.prompt();
    terminal.enter("/read long.txt");
    terminal.see("1 file > ");
    terminal.enter("What was wide?");
    terminal.see("reading [");
    terminal.enter("/nothink");
    terminal.enter("/system Be brief.");
    let reading = terminal.see("prompt ");
    assert!(!reading.contains("/nothink"), "{reading:?}");
    terminal.see("thinking off");
    terminal.see("system text set");
    terminal.enter("/quit");
    terminal.end();
}

#[test]
fn a_redirected_output_gets_the_answers_alone() {
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "\"$0\" chat --think off --temperature 0 > answers.txt",
        env!("CARGO_BIN_EXE_fathom"),
    ]);
    let mut terminal = Terminal::run(TempDir::new().unwrap(), command, &[]);
    terminal.see("/help lists commands");
    terminal.prompt();
    terminal.enter("hello");
    terminal.see("(0 cached, ");
    terminal.prompt();
    terminal.control('d');
    let home = terminal.end();
    let answers = std::fs::read_to_string(home.path().join("answers.txt")).unwrap();
    assert!(
        answers.len() > 1 && !answers.contains(['\x1b', '>']),
        "{answers:?}"
    );
}
