//! What commands share that talk to a person: streams and their styles, figures, progress, and the keyboard while an
//! answer runs.

mod answer_text;
mod closing_line;
pub(crate) mod figures;
pub(crate) mod keyboard;
mod live_answer;
mod pane;
mod progress;

pub(crate) use closing_line::closing_line;
pub(crate) use live_answer::show_live;
pub(crate) use pane::{Pane, is_dumb};
pub(crate) use progress::Progress;

use answer_text::AnswerText;
use keyboard::Quiet;
