//! A conversation in the terminal.
//!
//! [`Chat`] takes lines and writes to two [`Pane`]s; it knows no keyboard, so tests drive it without a terminal. Answers
//! and what a command was asked for go to standard output, everything about them to standard error: a pipe gets the
//! answers alone.

mod attachment;
mod command;
mod input;
mod report;
mod saved;
mod session;
mod transcript;

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use fathom_engine::answer::{self, Answer, AnswerError, FinishReason, Options, Prompt};
use fathom_engine::generation::GenerateError;
use fathom_engine::{Engine, Session};
use fathom_prompt::{Conversation, Thinking};

use crate::commands;
use crate::interrupt::Interrupt;
use crate::terminal::figures::plural;
use crate::terminal::{Pane, closing_line, show_live};
use attachment::Attachment;
use command::{Command, Line};
pub(crate) use input::{Editor, Lines};
use input::{Input, Source};
use session::Kept;
pub(crate) use session::{Home as SessionHome, Name as SessionName, list as list_sessions};
use transcript::Transcript;

/// A conversation with a model.
pub(crate) struct Chat<'p> {
    session: Session,
    /// The model's name for people.
    name: String,
    transcript: Transcript,
    /// The session the conversation is kept in.
    kept: Option<Kept>,
    /// The directory of sessions.
    sessions: Option<PathBuf>,
    options: Options,
    answers: Pane<'p>,
    notes: Pane<'p>,
    /// Ctrl-C stops answers; `None` if it ends the program.
    interrupt: Option<Interrupt>,
    /// Lines that could not be done.
    failures: usize,
}

/// Where a chat writes.
pub(crate) struct Panes<'p> {
    /// Answers and what commands were asked for.
    pub(crate) answers: Pane<'p>,
    /// Everything about them.
    pub(crate) notes: Pane<'p>,
}

impl<'p> Chat<'p> {
    /// A conversation in which nothing has been said.
    pub(crate) fn new(
        session: Session,
        name: String,
        options: Options,
        panes: Panes<'p>,
        interrupt: Option<Interrupt>,
    ) -> Self {
        let Panes { answers, notes } = panes;
        let transcript = Transcript::new(None, Thinking::default());
        Self {
            session,
            name,
            transcript,
            kept: None,
            sessions: None,
            options,
            answers,
            notes,
            interrupt,
            failures: 0,
        }
    }

    /// Says hello: what runs, and what to type.
    pub(crate) fn greet(&mut self) -> io::Result<()> {
        self.notes.line(report::greeting(&self.name, self.engine()))
    }

    /// Mentions something, if there is something to mention.
    pub(crate) fn note(&mut self, note: Option<&str>) -> io::Result<()> {
        note.map_or(Ok(()), |note| self.notes.dim_line(note))
    }

    /// Takes lines from `source` until it ends or the user quits. Returns how many lines could not be done.
    pub(crate) fn talk(&mut self, source: &mut dyn Source) -> anyhow::Result<usize> {
        self.take_lines(source)?;
        self.keep(true)?;
        Ok(self.failures)
    }

    fn take_lines(&mut self, source: &mut dyn Source) -> anyhow::Result<()> {
        loop {
            match source.next(&self.prompt())? {
                Input::Line(line) => {
                    if let Some(interrupt) = &self.interrupt {
                        interrupt.clear();
                    }
                    if self.take(&line)?.is_break() {
                        return Ok(());
                    }
                }
                Input::Unusable(reason) => self.fail(&reason)?,
                Input::Cleared => {}
                Input::Left => return Ok(()),
                Input::End => {
                    if !self.transcript.waiting().is_empty() {
                        self.fail("the input ended, but a file still waits for a message to go with")?;
                    }
                    return Ok(());
                }
            }
        }
    }

    /// What the line editor shows before the cursor.
    fn prompt(&self) -> String {
        match self.transcript.waiting().len() {
            0 => "> ".to_owned(),
            files => format!("{} > ", plural(files, "file")),
        }
    }

    /// Does what a line asks for; `Break` to quit.
    fn take(&mut self, line: &str) -> anyhow::Result<ControlFlow<()>> {
        match Line::parse(line) {
            Ok(Line::Empty) => {}
            Ok(Line::Message(text)) => self.say(&text)?,
            Ok(Line::Command(Command::Quit)) => return Ok(ControlFlow::Break(())),
            Ok(Line::Command(command)) => {
                if let Err(error) = self.obey(command) {
                    self.fail_or_leave(error)?;
                }
            }
            Err(error) => self.fail(&error.to_string())?,
        }
        Ok(ControlFlow::Continue(()))
    }

    fn engine(&self) -> &Engine {
        self.session.engine()
    }

    /// Sends a message and shows the answer. If there is no answer, the message is taken back, so that the conversation
    /// goes on as if it had not been sent.
    fn say(&mut self, text: &str) -> anyhow::Result<()> {
        self.transcript.say(text);
        let answer = match self.answer() {
            Ok(answer) => answer,
            Err(error) => {
                self.transcript.take_back();
                let too_long = matches!(
                    error.downcast_ref(),
                    Some(AnswerError::Generate(GenerateError::PromptTooLong { .. }))
                );
                self.fail_or_leave(error)?;
                let hint = "the conversation is as before this message; /save keeps it, /new starts another";
                return Ok(self.note(too_long.then_some(hint))?);
            }
        };
        let context = self.engine().context_max();
        let cut = matches!(
            answer.finish_reason,
            FinishReason::Cancelled | FinishReason::Length
        );
        self.notes.dim_line(closing_line(&answer, context))?;
        let prompt = Prompt::of_conversation(self.engine(), self.transcript.conversation())?;
        let surprise = report::surprise(prompt.ids(), &answer.report, self.engine().tokenizer());
        if let Some(reason) = surprise {
            self.notes.dim_line(format_args!(
                "more than the last exchange was read again: {reason}"
            ))?;
        }
        if let ([first, others @ ..], false) = (answer.parsed.defects.as_slice(), cut) {
            let others = if others.is_empty() {
                String::new()
            } else {
                format!(" (and {} more)", others.len())
            };
            self.notes.dim_line(format_args!(
                "the answer departs from the model's format: {first}{others}"
            ))?;
        }
        if cut && answer.parsed.content.is_empty() {
            self.transcript.take_back();
            self.notes
                .dim_line("no answer yet: your message was taken back (what was read of it stays cached)")?;
        } else {
            self.transcript.answer(answer.into_message());
            self.changed();
            self.keep(false)?;
        }
        self.notes
            .text(if self.notes.is_terminal() { "\n" } else { "" })?;
        Ok(())
    }

    /// Lets the model answer and shows what it writes.
    fn answer(&mut self) -> anyhow::Result<Answer> {
        let (session, options) = (&mut self.session, &self.options);
        let conversation = self.transcript.conversation();
        show_live(
            &mut self.answers,
            &mut self.notes,
            self.interrupt.as_ref(),
            |on_event| answer::answer(session, conversation, options, on_event),
        )
    }

    fn obey(&mut self, command: Command) -> anyhow::Result<()> {
        match command {
            Command::Think(mode) => self.think(mode),
            Command::Read(Some(path)) => self.read(&path),
            Command::Read(None) => self.unread(),
            Command::Context => {
                let seed = self.options.sampling.seed;
                let report = report::context(&self.session, &self.transcript, self.where_kept(), seed)?;
                Ok(self.answers.line(report)?)
            }
            Command::System(None) => {
                let system = self
                    .transcript
                    .system()
                    .unwrap_or("there is no system text; /system TEXT sets one");
                Ok(self.answers.line(system)?)
            }
            Command::System(Some(text)) => {
                self.set_system(&text);
                let done = if text.is_empty() {
                    "system text removed"
                } else {
                    "system text set"
                };
                Ok(self.notes.dim_line(done)?)
            }
            Command::New => {
                let left = self.leave_session()?;
                self.transcript.restart();
                self.session.clear();
                self.notes.dim_line("new conversation")?;
                Ok(self.note(left.as_deref())?)
            }
            Command::Rewind(exchanges) => self.rewind(exchanges.get()),
            Command::Fork(name) => self.fork(&name),
            Command::Save(path) => {
                saved::save(&path, &self.name, self.transcript.conversation())?;
                let said = plural(self.transcript.turns(), "message");
                Ok(self
                    .notes
                    .dim_line(format_args!("saved {said} and the answers to {}", path.display()))?)
            }
            Command::Load(path) => self.load(&path),
            Command::Help => Ok(self.answers.line(report::help())?),
            Command::Quit => Ok(()),
        }
    }

    /// Sets the thinking mode of the next answers.
    pub(crate) fn think(&mut self, mode: Thinking) -> anyhow::Result<()> {
        self.set_thinking(mode)?;
        Ok(self.notes.dim_line(format_args!("thinking {mode}"))?)
    }

    /// As [`think`](Self::think), without a word.
    pub(crate) fn set_thinking(&mut self, mode: Thinking) -> anyhow::Result<()> {
        mode.check(self.engine().checkpoint().profile().effort)?;
        self.transcript.set_thinking(mode);
        self.changed();
        Ok(())
    }

    /// Sets the system text; an empty one removes it.
    pub(crate) fn set_system(&mut self, text: &str) {
        self.transcript.set_system(text);
        self.changed();
    }

    /// Puts a file into the next message, if the context can hold it.
    fn read(&mut self, path: &Path) -> anyhow::Result<()> {
        let engine = self.engine();
        let context = engine.context_max();
        let file = Attachment::read(path, engine.tokenizer(), context)?;
        let before = engine
            .renderer()
            .render(&self.transcript.with_next_message())?
            .ids
            .len();
        let used = before + file.tokens;
        anyhow::ensure!(
            used < context,
            "{} has {}; with the {before} in use that is more than this model's context of {context}. Use a shorter \
             file, or /new for a new conversation",
            path.display(),
            plural(file.tokens, "token"),
        );
        let size = crate::units::bytes(file.text.len() as u64);
        self.notes.dim_line(format_args!(
            "{}: {size}, {}; it goes into your next message",
            path.display(),
            plural(file.tokens, "token")
        ))?;
        self.transcript.attach(file);
        Ok(())
    }

    /// Takes waiting files back.
    fn unread(&mut self) -> anyhow::Result<()> {
        let files = self.transcript.detach();
        anyhow::ensure!(!files.is_empty(), "/read needs more: write /read FILE");
        Ok(self
            .notes
            .dim_line(format_args!("{} taken back", plural(files.len(), "file")))?)
    }

    /// Goes on with a saved conversation.
    pub(crate) fn load(&mut self, path: &Path) -> anyhow::Result<()> {
        let conversation = saved::load(path)?;
        let left = self.leave_session()?;
        let saved_mode = conversation.thinking;
        let mode = self.take_over(conversation);
        let said = plural(self.transcript.turns(), "message");
        self.notes.dim_line(format_args!(
            "loaded {said} and the answers, thinking {saved_mode}"
        ))?;
        self.note(mode.as_deref())?;
        Ok(self.note(left.as_deref())?)
    }

    /// Makes `conversation` this one. Returns what to say if the model does not have its thinking mode.
    fn take_over(&mut self, conversation: Conversation) -> Option<String> {
        let effort = self.engine().checkpoint().profile().effort;
        let (saved_mode, mode) = (conversation.thinking, self.transcript.thinking());
        self.transcript.replace(conversation);
        saved_mode.check(effort).is_err().then(|| {
            self.transcript.set_thinking(mode);
            format!("this model has no thinking mode {saved_mode}; it is {mode} now")
        })
    }

    /// Reports that a line could not be done; the conversation goes on.
    fn fail(&mut self, reason: &str) -> anyhow::Result<()> {
        self.failures += 1;
        Ok(self.notes.line(format_args!("error: {reason}"))?)
    }

    /// As [`fail`](Self::fail), unless there is nobody left to report to.
    fn fail_or_leave(&mut self, error: anyhow::Error) -> anyhow::Result<()> {
        if error.downcast_ref::<io::Error>().is_some() {
            return Err(error);
        }
        self.fail(&commands::message(&error))
    }
}

#[cfg(test)]
mod tests;
