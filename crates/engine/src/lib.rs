//! The engine: a loaded model, and timelines over it.
//!
//! * [`Engine`] is a loaded model with its tokenizer and prompt encoding. It never changes and is shared by everyone.
//! * [`Session`] is one timeline of tokens with the model's state at its end: append, read logits, generate, fork,
//!   rewind, [`save`](Session::save) to a file and [`restore`](Engine::restore) from it.
//! * [`sampling`] chooses tokens from logits, reproducibly.
//! * [`grammar`] keeps answers to JSON schemas, regular expressions, grammars and the forms of tool calls.
//! * [`answer`] puts the pieces together: a conversation in, reasoning, content and tool calls out while they arrive.
//!
//! ```no_run
//! # fn example(checkpoint: fathom_checkpoint::Checkpoint) -> Result<(), Box<dyn std::error::Error>> {
//! use std::ops::ControlFlow;
//! use fathom_engine::{Engine, EngineOptions, answer};
//! use fathom_prompt::Conversation;
//!
//! let engine = Engine::load(checkpoint, &EngineOptions::default())?;
//! let mut session = engine.session();
//! let conversation = Conversation::from_user("What is the capital of France?");
//! let options = answer::Options::default();
//! let answer = answer::answer(&mut session, &conversation, &options, &mut |_event| ControlFlow::Continue(()))?;
//! assert!(answer.usage.prompt > 0);
//! # Ok(())
//! # }
//! ```
//!
//! All sessions advance together: one thread runs the model, a token of every sequence that generates and a chunk of the
//! prompts in each step ([`Scheduling`]). What they have computed lies in one cache, in RAM and on disk. Whatever the
//! company and whatever came from the cache, a session's logits have the bits that it would compute cold and alone.
//!
//! Work is asked for on a thread or in a future: [`Session::generate`] and [`answer::start`] return a [`Run`], whose events
//! are taken either way. No request has a thread of its own, and all queues are bounded.
//!
//! This crate knows nothing of HTTP or terminals.

pub mod answer;
mod boundaries;
mod core;
mod engine;
mod events;
pub mod generation;
pub mod grammar;
pub mod memory;
mod miss;
mod run;
pub mod sampling;
mod scheduler;
mod session;
mod stop;
mod timeline;

pub use engine::{CacheSettings, Engine, EngineOptions, LoadError, SNAPSHOT_INTERVAL};
pub use miss::explain as explain_miss;
pub use run::Run;
pub use scheduler::{BATCH_SIZES, Busy, SchedulerStats, Scheduling, StepRules};
pub use session::{RestoreError, SaveError, Session, SessionError};
