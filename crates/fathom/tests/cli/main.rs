//! The program, run as a user runs it.

mod cache;
mod configuration;
mod keys;
mod logits;
mod quantize;
mod run;
#[cfg(unix)]
mod serve;
mod support;
mod usage;
