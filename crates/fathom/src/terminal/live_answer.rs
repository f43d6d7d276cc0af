//! One answer from first to last, in front of a person or into a pipe.

use std::ops::ControlFlow;

use fathom_engine::answer::{Answer, AnswerError, Event};

use super::{AnswerText, Pane, Progress, Quiet, is_dumb};
use crate::interrupt::Interrupt;

/// Runs `answer`, shows how far its prompt has been read, and writes the pieces as they come: the answer to one pane, the
/// rest to the other (see [`AnswerText`]). Ctrl-C breaks it off.
pub(crate) fn show_live<'p>(
    answers: &mut Pane<'p>,
    asides: &mut Pane<'p>,
    interrupt: Option<&Interrupt>,
    answer: impl FnOnce(&mut dyn FnMut(Event) -> ControlFlow<()>) -> Result<Answer, AnswerError>,
) -> anyhow::Result<Answer> {
    let quiet = Quiet::begin();
    let watched = asides.is_terminal() && !is_dumb();
    let mut progress = Some(Progress::start("reading", watched, interrupt.cloned()));
    let mut text = AnswerText::new(answers, asides);
    let mut failed = None;
    let answer = answer(&mut |event| {
        match &event {
            Event::Prefill(prefill) => {
                if let Some(progress) = &progress {
                    progress.report(prefill.done, prefill.total);
                }
            }
            event => {
                progress = None;
                if let Err(error) = text.show(event) {
                    failed = Some(error);
                    return ControlFlow::Break(());
                }
            }
        }
        interrupt.map_or(ControlFlow::Continue(()), Interrupt::flow)
    });
    drop(progress);
    let finished = text.finish();
    drop(quiet);
    if let Some(error) = failed {
        return Err(error.into());
    }
    finished?;
    Ok(answer?)
}
