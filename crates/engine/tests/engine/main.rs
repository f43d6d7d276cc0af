//! The engine over the built-in model.

mod answers;
mod grammars;
mod prompt_logprobs;
mod saved;
mod scheduling;
mod sessions;
mod support;
