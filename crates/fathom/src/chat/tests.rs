//! Conversations with the built-in model, without a terminal.

use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use fathom_engine::sampling::Params;

use super::*;
use crate::model_source::ModelOptions;

/// The built-in model, loaded once for all tests.
fn engine() -> &'static Arc<Engine> {
    static ENGINE: OnceLock<Arc<Engine>> = OnceLock::new();
    ENGINE.get_or_init(|| ModelOptions::default().load().unwrap().engine)
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

/// A chat in the session `name` of `dir`, with an engine of its own as another process has, and what it says at first.
fn session(dir: &Path, name: &str, numerics: Option<fathom_model::Numerics>) -> (Talk, String) {
    let mut options = ModelOptions::default();
    options.running.numerics = numerics;
    let engine = options.load().unwrap().engine;
    let mut talk = Talk::new();
    talk.chat.session = engine.session();
    talk.chat.set_sessions_dir(Some(dir.to_owned()));
    talk.chat
        .resume(SessionHome::open(dir, name.parse().unwrap()).unwrap())
        .unwrap();
    let said = talk.notes.take();
    (talk, said)
}

/// The end of a chat, as at the end of its input.
fn leave(mut talk: Talk) {
    talk.chat.keep(true).unwrap();
    assert_eq!(talk.notes.take(), "");
}

#[test]
fn a_session_goes_on_with_nothing_to_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let (mut whole, said) = session(dir.path(), "whole", None);
    assert!(said.starts_with("session whole: new, kept in "), "{said}");
    whole.chat.set_thinking(Thinking::Off).unwrap();
    let lines = ["Hello", "What is 1 + 2?", "Thanks!"];
    let answers = lines.map(|line| whole.line(line).0);

    for (turn, line) in lines.into_iter().enumerate() {
        let (mut talk, said) = session(dir.path(), "parts", None);
        if turn > 0 {
            let messages = plural(turn, "message");
            assert!(
                said.starts_with(&format!("session parts: {messages}, ")),
                "{said}"
            );
            assert!(said.ends_with(" tokens, nothing to read again\n"), "{said}");
        }
        talk.chat.set_thinking(Thinking::Off).unwrap();
        let (answer, closing) = talk.line(line);
        assert_eq!(answer, answers[turn]);
        if turn > 0 {
            let tokens = number_before(&said, " tokens");
            assert!(
                number_before(&closing, " cached") + 1 >= tokens,
                "{said}{closing}"
            );
        }
        leave(talk);
    }
}

#[test]
fn a_session_can_be_rewound_after_a_restart() {
    for thinking in [Thinking::Off, Thinking::High] {
        let dir = tempfile::tempdir().unwrap();
        let lines = [
            "Hello, who are you?",
            "What is 17 + 25?",
            "What is 3 + 4?",
            "Thanks!",
        ];
        let (mut talk, _) = session(dir.path(), "demo", None);
        talk.chat.options.max_tokens = None;
        talk.chat.set_thinking(thinking).unwrap();
        let answers = lines.map(|line| talk.line(line).0);
        let expected = talk.note("/rewind 2");
        talk.line("What is 1 + 1?");
        drop(talk);

        let (mut talk, _) = session(dir.path(), "demo", None);
        talk.chat.options.max_tokens = None;
        // One more has been said.
        assert_eq!(
            talk.note("/rewind")
                .replace("took back 1 exchange;", "took back 2 exchanges;"),
            expected
        );
        let (answer, closing) = talk.line(lines[2]);
        assert_eq!(answer, answers[2], "{thinking}");
        assert!(number_before(&closing, " cached") > 0, "{closing}");
    }
}

#[test]
fn without_its_state_a_session_is_read_again_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let (mut talk, _) = session(dir.path(), "demo", None);
    talk.line("Hello");
    talk.line("What is 1 + 2?");
    let messages = talk.messages().to_vec();
    leave(talk);

    let (talk, said) = session(dir.path(), "demo", Some(fathom_model::Numerics::Exact));
    assert_eq!(said.lines().count(), 2, "{said}");
    assert!(said.contains("session demo: 2 messages, "), "{said}");
    assert!(said.contains("tokens, all to read again\n"), "{said}");
    assert!(
        said.contains("by another model, other numerics or another version of fathom; it is computed again"),
        "{said}"
    );
    drop(talk);

    let state = dir.path().join("demo").join("state");
    let mut bytes = std::fs::read(&state).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&state, bytes).unwrap();
    let (talk, said) = session(dir.path(), "demo", None);
    assert!(
        said.contains("all to read again\nits state is damaged; "),
        "{said}"
    );
    drop(talk);

    std::fs::remove_file(&state).unwrap();
    let (mut talk, said) = session(dir.path(), "demo", None);
    assert!(
        said.contains("all to read again\nits state is missing; "),
        "{said}"
    );
    let text = |messages: &[fathom_prompt::Message]| serde_json::to_string(messages).unwrap();
    assert_eq!(text(talk.messages()), text(&messages));
    // The next answer makes it whole.
    talk.line("Thanks!");
    leave(talk);
    let (_, said) = session(dir.path(), "demo", None);
    assert!(said.ends_with("nothing to read again\n"), "{said}");
}

#[test]
fn a_conversation_that_cannot_be_read_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let home = SessionHome::open(dir.path(), "demo".parse().unwrap()).unwrap();
    let file = dir.path().join("demo").join("conversation.json");
    std::fs::write(&file, "half of").unwrap();
    let mut talk = Talk::new();
    let error = talk.chat.resume(home).unwrap_err().to_string();
    assert!(error.contains("is not a saved conversation"), "{error}");
    talk.line("Hello");
    talk.chat.keep(true).unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "half of");
}

#[test]
fn rewinding_takes_exchanges_back_and_reads_nothing_again() {
    let mut talk = Talk::new();
    let cold: Vec<_> = ["Hello", "What is 1 + 2?"].map(|line| talk.line(line).0).into();
    talk.line("Thanks!");
    assert_eq!(
        talk.note("/rewind 4"),
        "error: expected to take back at most 3, as many as were said; found 4\n"
    );
    let note = talk.note("/rewind 2");
    assert!(
        note.starts_with("took back 2 exchanges; left: 1 message, "),
        "{note}"
    );
    assert!(note.ends_with(" tokens, nothing to read again\n"), "{note}");
    assert_eq!(talk.messages().len(), 2);
    let left = number_before(&note, " tokens");
    let (answer, closing) = talk.line("What is 1 + 2?");
    assert_eq!(answer, cold[1]);
    assert!(number_before(&closing, " cached") + 1 >= left, "{note}{closing}");
    let note = talk.note("/rewind 2");
    assert!(
        note.starts_with("took back 2 exchanges; left: 0 messages, "),
        "{note}"
    );
    assert_eq!(talk.line("Hello").0, cold[0]);
}

#[test]
fn a_fork_goes_on_and_leaves_the_old_session_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let (mut talk, _) = session(dir.path(), "old", None);
    talk.line("Hello");
    let note = talk.note("/fork new");
    assert!(note.starts_with("session new: 1 message, "), "{note}");
    assert!(
        note.ends_with("nothing to read again; old stays as it is\n"),
        "{note}"
    );
    for name in ["new", "old"] {
        let note = talk.note(&format!("/fork {name}"));
        assert_eq!(
            note,
            format!(
                "error: session {name} exists; choose another name, or go on with it: fathom chat --session {name}\n"
            )
        );
    }
    talk.line("What is 1 + 2?");
    let (report, _) = talk.line("/context");
    assert!(report.contains("session   new, kept in "), "{report}");
    // The old one is free.
    let (_, said) = session(dir.path(), "old", None);
    assert!(said.starts_with("session old: 1 message, ") && said.ends_with("nothing to read again\n"));
    leave(talk);
    let (_, said) = session(dir.path(), "new", None);
    assert!(said.starts_with("session new: 2 messages, ") && said.ends_with("nothing to read again\n"));
}

#[test]
fn any_conversation_can_become_a_session_and_a_new_one_leaves_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut talk = Talk::new();
    assert!(talk.note("/fork demo").contains("there is no place for sessions"));
    talk.chat.set_sessions_dir(Some(dir.path().to_owned()));
    talk.line("Hello");
    let note = talk.note("/fork demo");
    assert!(note.starts_with("session demo: 1 message, "), "{note}");
    assert!(note.ends_with("nothing to read again\n"), "{note}");
    assert_eq!(
        talk.note("/new"),
        "new conversation\nsession demo stays as it was; /fork NAME keeps this conversation\n"
    );
    talk.line("What is 1 + 2?");
    leave(talk);
    let list = list_sessions(dir.path()).unwrap();
    assert!(list.contains("\n  demo            1  "), "{list}");
    let (talk, said) = session(dir.path(), "demo", None);
    assert!(said.starts_with("session demo: 1 message, "), "{said}");
    assert_eq!(talk.messages()[0], fathom_prompt::Message::user("Hello"));
}

#[test]
fn what_is_read_again_beyond_the_last_exchange_is_explained() {
    let mut talk = Talk::new();
    talk.note("/think");
    talk.chat.options.max_tokens = None;
    talk.line("What is 2 + 3?");
    // The reasoning is left out of the prompt: no surprise.
    let (_, notes) = talk.line("What is 4 + 4?");
    assert!(!notes.contains("was read again"), "{notes}");
    talk.note("/system Be brief.");
    let (report, _) = talk.line("/context");
    assert!(report.contains(" will be read: differs at token "), "{report}");
    let (_, notes) = talk.line("What is 1 + 1?");
    assert!(
        notes.contains("more than the last exchange was read again: differs at token "),
        "{notes}"
    );
}
