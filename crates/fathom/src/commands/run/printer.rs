//! An answer on standard output, while it is generated.

use std::io::{self, IsTerminal as _, Write as _};
use std::ops::ControlFlow;

use fathom_engine::answer::{Event, Text};

use crate::interrupt::Interrupt;

const DIM: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";

/// Writes the pieces of one answer: to a terminal with the reasoning dimmed, elsewhere the plain answer.
pub(super) struct Printer {
    interrupt: Interrupt,
    /// Write nothing; the answer is reported as a whole.
    silent: bool,
    show_reasoning: bool,
    terminal: bool,
    last: Part,
    /// Why the output could not be written.
    failed: Option<io::Error>,
}

/// What was written last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Nothing,
    Reasoning,
    Content,
    ToolCall,
}

impl Printer {
    /// A printer for standard output.
    pub(super) fn new(silent: bool, show_reasoning: bool, interrupt: Interrupt) -> Self {
        let terminal = io::stdout().is_terminal();
        Self {
            interrupt,
            silent,
            show_reasoning: show_reasoning || terminal,
            terminal,
            last: Part::Nothing,
            failed: None,
        }
    }

    /// Writes one event. `Break` after Ctrl-C, or when nobody reads any more.
    pub(super) fn show(&mut self, event: &Event<'_>) -> ControlFlow<()> {
        self.interrupt.flow()?;
        if let Err(error) = self.write(event) {
            self.failed = Some(error);
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    /// Ends the last line.
    pub(super) fn finish(mut self) -> io::Result<()> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        if self.silent {
            return Ok(());
        }
        self.enter(Part::Nothing)
    }

    fn write(&mut self, event: &Event<'_>) -> io::Result<()> {
        if self.silent {
            return Ok(());
        }
        match event {
            Event::Reasoning(_) if !self.show_reasoning => Ok(()),
            Event::Reasoning(Text { text, .. }) => self.write_text(Part::Reasoning, text),
            Event::Content(Text { text, .. }) => self.write_text(Part::Content, text),
            Event::ToolCallBegin { name, .. } => {
                self.enter(Part::ToolCall)?;
                self.write_text(Part::ToolCall, &format!("call {name} "))
            }
            Event::ToolCallArguments { json, .. } => self.write_text(Part::ToolCall, json),
            Event::Prefill(_) | Event::ToolCallEnd { .. } | Event::Tick => Ok(()),
        }
    }

    fn write_text(&mut self, part: Part, text: &str) -> io::Result<()> {
        if part != self.last {
            self.enter(part)?;
        }
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        stdout.flush()
    }

    /// Closes the previous part and opens the next.
    fn enter(&mut self, part: Part) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        let dim = |on: bool| {
            if self.terminal {
                if on { DIM } else { PLAIN }
            } else {
                ""
            }
        };
        match self.last {
            Part::Nothing => {}
            Part::Reasoning if part == Part::Nothing => writeln!(stdout, "{}", dim(false))?,
            Part::Reasoning => write!(stdout, "{}\n\n", dim(false))?,
            Part::Content | Part::ToolCall => writeln!(stdout)?,
        }
        if part == Part::Reasoning {
            write!(stdout, "{}", dim(true))?;
        }
        self.last = part;
        stdout.flush()
    }
}
