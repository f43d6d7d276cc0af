//! The engine over the built-in model.

mod answers;
mod scheduling;
mod sessions;
mod support;
