//! Pieces on their way out: stop strings cut them, log-probabilities go with them.

use std::ops::ControlFlow;

use fathom_prompt::Piece;

use super::{AnswerProducer, Event, Text};
use crate::run::Message;
use crate::sampling::TokenLogprob;
use crate::stop::StopStrings;

/// Where pieces go: to the listener, and into the answer.
pub(super) struct Output {
    pub(super) producer: AnswerProducer,
    pub(super) parsed: fathom_prompt::Answer,
    stop: StopStrings,
    pub(super) stopped_by: Option<String>,
    /// Tokens whose text has not been passed on.
    pub(super) logprobs: Vec<TokenLogprob>,
    /// The listener has broken off and wants no more.
    pub(super) silent: bool,
}

impl Output {
    pub(super) fn new(stop: &[String], producer: AnswerProducer) -> Self {
        Self {
            producer,
            parsed: fathom_prompt::Answer::default(),
            stop: StopStrings::new(stop),
            stopped_by: None,
            logprobs: Vec::new(),
            silent: false,
        }
    }

    pub(super) fn pass_all(&mut self, pieces: &[Piece]) -> ControlFlow<()> {
        if pieces.is_empty() {
            self.emit(Event::Tick);
        }
        pieces.iter().try_for_each(|piece| self.pass(piece))
    }

    fn pass(&mut self, piece: &Piece) -> ControlFlow<()> {
        if let Piece::Content(text) = piece {
            let passed = self.stop.push(text);
            self.pass_text(passed.text, Piece::Content);
            self.stopped_by = passed.stopped_by;
            return if self.stopped_by.is_some() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            };
        }
        if !matches!(piece, Piece::Defect(_)) {
            // Content cannot go on behind this: what was held back is no stop string.
            self.finish();
        }
        if let Piece::Reasoning(text) = piece {
            self.pass_text(text.clone(), Piece::Reasoning);
            return ControlFlow::Continue(());
        }
        self.parsed.push(piece);
        self.logprobs.clear();
        self.emit(match piece.clone() {
            Piece::ToolCallBegin { index, name } => Event::ToolCallBegin { index, name },
            Piece::ToolCallArguments { index, json } => Event::ToolCallArguments { index, json },
            Piece::ToolCallEnd { index } => Event::ToolCallEnd { index },
            Piece::Defect(_) | Piece::Reasoning(_) | Piece::Content(_) => Event::Tick,
        });
        ControlFlow::Continue(())
    }

    /// Passes on what the stop strings held back.
    pub(super) fn finish(&mut self) {
        let held = self.stop.finish();
        self.pass_text(held, Piece::Content);
    }

    fn pass_text(&mut self, text: String, kind: fn(String) -> Piece) {
        if text.is_empty() {
            return;
        }
        let text = Text {
            text,
            logprobs: std::mem::take(&mut self.logprobs),
        };
        let piece = kind(text.text.clone());
        self.parsed.push(&piece);
        self.emit(match piece {
            Piece::Reasoning(_) => Event::Reasoning(text),
            _ => Event::Content(text),
        });
    }

    pub(super) fn emit(&mut self, event: Event) {
        if !self.silent {
            self.producer.send(Message::Event(event));
        }
    }
}
