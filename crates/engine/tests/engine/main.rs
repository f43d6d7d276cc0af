//! The engine over the built-in model.

mod answers;
mod sessions;
mod support;
