//! The engine: a loaded model, and timelines over it.
//!
//! * [`Engine`] is a loaded model with its tokenizer and prompt encoding. It never changes and is shared by everyone.
//! * [`Session`] is one timeline of tokens with the model's state at its end: append, read logits, fork (`Clone`),
//!   and [`align`](Session::align) with a prompt so that only what is new is computed.
//! * [`sampling`] chooses tokens from logits, reproducibly.
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
//! Several sessions may run at once, each on its own thread. They take turns: one step of decoding or one chunk of
//! prefill at a time, first come, first served. What a session computes does not depend on the others.
//!
//! This crate knows nothing of HTTP, terminals or files.

pub mod answer;
mod engine;
mod executor;
pub mod generation;
pub mod memory;
pub mod sampling;
mod session;
mod stop;

pub use engine::{Engine, EngineOptions, LoadError};
pub use session::{Progress, Session, SessionError};
