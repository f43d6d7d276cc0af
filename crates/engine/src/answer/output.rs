//! Pieces on their way out: stop strings cut them, log-probabilities go with them.

use std::ops::ControlFlow;

use fathom_prompt::Piece;

use super::{Event, Text};
use crate::sampling::TokenLogprob;
use crate::stop::StopStrings;

/// Where pieces go: to the callback, and into the answer.
pub(super) struct Output<'a> {
    pub(super) on_event: &'a mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    pub(super) parsed: fathom_prompt::Answer,
    stop: StopStrings,
    pub(super) stopped_by: Option<String>,
    /// Tokens whose text has not been passed on.
    pub(super) logprobs: Vec<TokenLogprob>,
    /// The callback has broken off and wants no more.
    pub(super) silent: bool,
}

impl<'a> Output<'a> {
    pub(super) fn new(stop: &[String], on_event: &'a mut dyn FnMut(Event<'_>) -> ControlFlow<()>) -> Self {
        Self {
            on_event,
            parsed: fathom_prompt::Answer::default(),
            stop: StopStrings::new(stop),
            stopped_by: None,
            logprobs: Vec::new(),
            silent: false,
        }
    }

    pub(super) fn pass_all(&mut self, pieces: &[Piece]) -> ControlFlow<()> {
        if pieces.is_empty() {
            return self.emit(Event::Tick);
        }
        pieces.iter().try_for_each(|piece| self.pass(piece))
    }

    fn pass(&mut self, piece: &Piece) -> ControlFlow<()> {
        if let Piece::Content(text) = piece {
            let passed = self.stop.push(text);
            self.pass_text(passed.text, Piece::Content)?;
            self.stopped_by = passed.stopped_by;
            return if self.stopped_by.is_some() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            };
        }
        if !matches!(piece, Piece::Defect(_)) {
            // Content cannot go on behind this: what was held back is no stop string.
            self.finish()?;
        }
        match piece {
            Piece::Reasoning(text) => self.pass_text(text.clone(), Piece::Reasoning),
            other => {
                self.parsed.push(other);
                self.logprobs.clear();
                match other {
                    Piece::ToolCallBegin { index, name } => {
                        self.emit(Event::ToolCallBegin { index: *index, name })
                    }
                    Piece::ToolCallArguments { index, json } => {
                        self.emit(Event::ToolCallArguments { index: *index, json })
                    }
                    Piece::ToolCallEnd { index } => self.emit(Event::ToolCallEnd { index: *index }),
                    Piece::Defect(_) | Piece::Reasoning(_) | Piece::Content(_) => self.emit(Event::Tick),
                }
            }
        }
    }

    /// Passes on what the stop strings held back.
    pub(super) fn finish(&mut self) -> ControlFlow<()> {
        let held = self.stop.finish();
        self.pass_text(held, Piece::Content)
    }

    fn pass_text(&mut self, text: String, kind: fn(String) -> Piece) -> ControlFlow<()> {
        if text.is_empty() {
            return ControlFlow::Continue(());
        }
        let piece = kind(text);
        self.parsed.push(&piece);
        let logprobs = std::mem::take(&mut self.logprobs);
        match &piece {
            Piece::Reasoning(text) => self.emit(Event::Reasoning(Text {
                text,
                logprobs: &logprobs,
            })),
            Piece::Content(text) => self.emit(Event::Content(Text {
                text,
                logprobs: &logprobs,
            })),
            _ => ControlFlow::Continue(()),
        }
    }

    fn emit(&mut self, event: Event<'_>) -> ControlFlow<()> {
        if self.silent {
            ControlFlow::Break(())
        } else {
            (self.on_event)(event)
        }
    }
}
