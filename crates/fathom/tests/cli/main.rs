//! The program, run as a user runs it.

mod logits;
mod run;
#[cfg(unix)]
mod serve;
mod support;
