//! The engine over the built-in model.

mod answers;
mod saved;
mod scheduling;
mod sessions;
mod support;
