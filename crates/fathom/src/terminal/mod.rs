//! What commands share that talk to a person: style, figures, progress and the keyboard while an answer runs.

pub(crate) mod figures;
pub(crate) mod keyboard;
pub(crate) mod pane;
pub(crate) mod progress;
