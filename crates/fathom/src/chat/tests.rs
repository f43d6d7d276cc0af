//! Conversations with the built-in model, without a terminal.

use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use fathom_engine::sampling::Params;

use super::*;
use crate::model_source::{DEFAULT_CHUNK, ModelOptions};

/// The built-in model, loaded once for all tests.
fn engine() -> &'static Arc<Engine> {
    static ENGINE: OnceLock<Arc<Engine>> = OnceLock::new();
    ENGINE.get_or_init(|| {
        let options = ModelOptions {
            model: None,
            numerics: None,
            threads: None,
            chunk: DEFAULT_CHUNK,
            profile: None,
            ignore_memory: false,
        };
        options.load().unwrap().engine
    })
}

/// A stream that can be looked at while somebody else writes to it.
#[derive(Clone, Default)]
struct Stream {
    bytes: Rc<RefCell<Vec<u8>>>,
    /// Pressed with the first byte that is written.
    on_write: Option<Interrupt>,
    closed: bool,
}

impl Stream {
    /// What was written since the last look.
    fn take(&self) -> String {
        String::from_utf8(self.bytes.take()).unwrap()
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.closed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if let Some(interrupt) = &self.on_write {
            interrupt.press();
        }
        self.bytes.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A chat and what it writes.
struct Talk {
    chat: Chat<'static>,
    answers: Stream,
    notes: Stream,
}

impl Talk {
    fn new() -> Self {
        Self::with(Stream::default(), None)
    }

    /// A chat that answers briefly, without thinking and always the same.
    fn with(answers: Stream, interrupt: Option<Interrupt>) -> Self {
        let notes = Stream::default();
        let panes = Panes {
            answers: Pane::new(answers.clone(), false, false),
            notes: Pane::new(notes.clone(), false, false),
        };
        let options = Options {
            sampling: Params::greedy(),
            max_tokens: Some(12),
            ..Options::default()
        };
        let mut chat = Chat::new(engine().session(), "small".to_owned(), options, panes, interrupt);
        chat.set_thinking(Thinking::Off).unwrap();
        Self { chat, answers, notes }
    }

    /// Hands in one line; returns what came on both streams.
    fn line(&mut self, line: &str) -> (String, String) {
        assert!(self.chat.take(line).unwrap().is_continue());
        (self.answers.take(), self.notes.take())
    }

    /// As [`line`](Self::line), for lines that only leave a note.
    fn note(&mut self, line: &str) -> String {
        let (answers, note) = self.line(line);
        assert_eq!(answers, "", "{note}");
        note
    }

    fn messages(&self) -> &[fathom_prompt::Message] {
        &self.chat.transcript.conversation().messages
    }
}

/// The first number before `word` in `text`.
fn number_before(text: &str, word: &str) -> usize {
    let before = text.split(word).next().unwrap().trim_end();
    let start = before
        .rfind(|c: char| !c.is_ascii_digit() && c != ',')
        .map_or(0, |index| index + 1);
    before[start..]
        .replace(',', "")
        .parse()
        .unwrap_or_else(|_| panic!("no number before {word:?} in {text:?}"))
}

#[test]
fn a_second_turn_reads_only_what_is_new() {
    let mut talk = Talk::new();
    let (answer, closing) = talk.line("Hello, who are you?");
    assert!(answer.len() > 1 && answer.ends_with('\n'), "{answer:?}");
    assert_eq!(number_before(&closing, " cached"), 0);
    let (_, closing) = talk.line("Thanks!");
    let (prompt, cached) = (
        number_before(&closing, " token"),
        number_before(&closing, " cached"),
    );
    assert!(cached > 10 && cached < prompt, "{closing}");
    assert_eq!(number_before(&closing, " new"), prompt - cached);
    assert_eq!(talk.messages().len(), 4);
}

#[test]
fn the_same_lines_give_the_same_answers() {
    let mut first = Talk::new();
    let mut second = Talk::new();
    for line in ["Hello", "What is 1 + 2?"] {
        assert_eq!(first.line(line).0, second.line(line).0);
    }
}

#[test]
fn a_message_beyond_the_context_is_refused_and_the_conversation_goes_on() {
    let mut talk = Talk::new();
    talk.line("Hello");
    let before = talk.messages().to_vec();
    let error = talk.note(&"one two three ".repeat(30_000));
    assert!(error.starts_with("error: the prompt has "), "{error}");
    assert!(error.contains("this model's context is 65536"), "{error}");
    assert!(
        error.ends_with("/save keeps it, /new starts another\n"),
        "{error}"
    );
    assert_eq!(talk.messages(), before);
    assert_eq!(talk.chat.failures, 1);
    assert!(!talk.line("Thanks").0.is_empty());
}

#[test]
fn ctrl_c_keeps_what_was_answered() {
    let interrupt = Interrupt::default();
    let answers = Stream {
        on_write: Some(interrupt.clone()),
        ..Stream::default()
    };
    let mut talk = Talk::with(answers, Some(interrupt));
    let (answer, closing) = talk.line("Tell me a story.");
    assert!(closing.contains(", generated 1, stopped"), "{closing}");
    let [_, fathom_prompt::Message::Assistant { content, .. }] = talk.messages() else {
        panic!("expected message and answer, found {:?}", talk.messages());
    };
    assert_eq!(format!("{content}\n"), answer);
}

#[test]
fn ctrl_c_while_reading_takes_the_message_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("long.txt");
    std::fs::write(&path, "The river was wide. ".repeat(400)).unwrap();
    let interrupt = Interrupt::default();
    let mut talk = Talk::with(Stream::default(), Some(interrupt.clone()));
    talk.note(&format!("/read {}", path.display()));
    interrupt.press();
    let note = talk.note("What was wide?");
    assert!(note.contains("your message was taken back"), "{note}");
    assert!(talk.messages().is_empty());
    assert_eq!(talk.chat.transcript.waiting(), []);
}

#[test]
fn a_reader_that_has_gone_ends_the_chat() {
    let mut talk = Talk::with(
        Stream {
            closed: true,
            ..Stream::default()
        },
        None,
    );
    let error = talk.chat.take("Hello").unwrap_err();
    assert_eq!(
        error.downcast_ref::<io::Error>().unwrap().kind(),
        io::ErrorKind::BrokenPipe
    );
}

#[test]
fn files_go_into_the_next_message_with_their_size() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("facts of life.txt");
    std::fs::write(&path, "The key of Orion is lamp.\n").unwrap();
    let mut talk = Talk::new();
    let note = talk.note(&format!("/read {}", path.display()));
    assert!(note.starts_with(&format!("{}: 26 B, ", path.display())), "{note}");
    assert!(
        note.ends_with("tokens; it goes into your next message\n"),
        "{note}"
    );
    assert_eq!(talk.chat.prompt(), "1 file > ");
    let (report, _) = talk.line("/context");
    assert!(report.contains("waiting   "), "{report}");
    assert_eq!(talk.note("/read"), "1 file taken back\n");
    assert_eq!(talk.note("/read"), "error: /read needs more: write /read FILE\n");
    talk.note(&format!("/read {}", path.display()));
    talk.line("What is the key of Orion?");
    assert_eq!(
        talk.messages()[0],
        fathom_prompt::Message::user("The key of Orion is lamp.\n\nWhat is the key of Orion?")
    );
    assert_eq!(talk.chat.prompt(), "> ");
}

#[test]
fn files_that_cannot_be_messages_are_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.display().to_string()
    };
    let mut talk = Talk::new();
    let here = dir.path().display();
    let (binary, empty) = (file("binary", b"text\xff"), file("empty", b"\n"));
    let (long, huge) = (
        file("long", "one two three ".repeat(30_000).as_bytes()),
        file("huge", &vec![b'a'; 5 << 20]),
    );
    let cases = [
        (format!("{here}/none"), "none: No such file"),
        (here.to_string(), "is not a file"),
        (
            binary,
            "binary is not UTF-8 text (from byte 4 on); convert it first",
        ),
        (empty, "empty is empty"),
        (
            long,
            "that is more than this model's context of 65536. Use a shorter file",
        ),
        (
            huge,
            "huge has 5.0 MiB, far more than a context of 65536 tokens can hold",
        ),
    ];
    for (path, reason) in cases {
        let note = talk.note(&format!("/read {path}"));
        assert!(note.starts_with("error: ") && note.contains(reason), "{note}");
    }
    assert_eq!(talk.chat.transcript.waiting(), []);
}

#[test]
fn modes_the_model_was_not_trained_with_are_refused() {
    let mut talk = Talk::new();
    assert_eq!(talk.note("/max"), "thinking max\n");
    assert_eq!(
        talk.note("/think low"),
        "error: this checkpoint has no thinking mode \"low\"; choose one of: off, high, max\n"
    );
    assert_eq!(talk.chat.transcript.thinking(), Thinking::Max);
}

#[test]
fn a_saved_conversation_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("chat.json");
    let mut talk = Talk::new();
    talk.note("/system Answer in short sentences.");
    talk.line("Hello");
    assert_eq!(
        talk.note(&format!("/save {}", path.display())),
        format!("saved 1 message and the answers to {}\n", path.display())
    );
    let mut later = Talk::new();
    let note = later.note(&format!("/load {}", path.display()));
    assert_eq!(note, "loaded 1 message and the answers, thinking off\n");
    assert_eq!(later.line("/system").0, "Answer in short sentences.\n");
    // What the model sampled is not saved, only what it wrote: that must make no difference to what it sees.
    assert_eq!(later.line("Thanks!").0, talk.line("Thanks!").0);
}

#[test]
fn a_new_conversation_forgets_what_was_said_and_computed() {
    let mut talk = Talk::new();
    talk.note("/system Be kind.");
    talk.line("Hello");
    let (report, _) = talk.line("/context");
    assert!(
        number_before(&report, " tokens need not be read again") > 5,
        "{report}"
    );
    assert!(report.contains("said      1 message\n"), "{report}");
    assert_eq!(talk.note("/new"), "new conversation\n");
    let (report, _) = talk.line("/context");
    assert!(
        report.contains("cached    0 tokens need not be read again"),
        "{report}"
    );
    assert!(report.contains("said      0 messages\n"), "{report}");
    assert!(report.contains("system    8 characters of text"), "{report}");
}

#[test]
fn answers_that_never_came_are_not_part_of_the_conversation() {
    let mut talk = Talk::new();
    talk.chat.options.max_tokens = Some(1);
    talk.note("/think");
    let note = talk.line("What is 12 + 30?").1;
    assert!(note.contains("token limit reached"), "{note}");
    assert!(note.contains("your message was taken back"), "{note}");
    assert!(talk.messages().is_empty());
}

#[test]
fn lines_are_taken_until_the_input_ends_or_the_user_quits() {
    struct Script(std::vec::IntoIter<Input>);
    impl Source for Script {
        fn next(&mut self, _prompt: &str) -> anyhow::Result<Input> {
            Ok(self.0.next().unwrap_or(Input::End))
        }
    }
    let script = |inputs: Vec<Input>| Script(inputs.into_iter());
    let line = |text: &str| Input::Line(text.to_owned());
    let mut talk = Talk::new();
    let inputs = vec![
        line("/hlep"),
        Input::Cleared,
        Input::Unusable("bad".to_owned()),
        line(""),
        line("/quit"),
        line("/hlep"),
    ];
    assert_eq!(talk.chat.talk(&mut script(inputs)).unwrap(), 2);
    assert_eq!(
        talk.notes.take(),
        "error: there is no command /hlep; did you mean /help? /help lists them all\nerror: bad\n"
    );
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.txt");
    std::fs::write(&path, "a").unwrap();
    let mut talk = Talk::new();
    assert_eq!(
        talk.chat
            .talk(&mut script(vec![line(&format!("/read {}", path.display()))]))
            .unwrap(),
        1
    );
    assert!(
        talk.notes
            .take()
            .ends_with("error: the input ended, but a file still waits for a message to go with\n")
    );
}
