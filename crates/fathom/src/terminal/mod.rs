//! What commands share that talk to a person: streams and their styles, figures, progress, and the keyboard while an
//! answer runs.

mod answer_text;
pub(crate) mod figures;
mod keyboard;
mod pane;
mod progress;

pub(crate) use answer_text::AnswerText;
pub(crate) use keyboard::Quiet;
pub(crate) use pane::{Pane, is_dumb};
pub(crate) use progress::Progress;
