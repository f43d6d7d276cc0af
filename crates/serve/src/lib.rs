//! The chat completions API over HTTP.
//!
//! * `POST /v1/chat/completions`, also without `/v1`: streamed and not
//! * `GET /v1/models`, also without `/v1`
//! * `GET /health`
//!
//! Requests are converted, and replies put together, by the vendor's `deepseek-recipe`, so fields, checks and their
//! error texts are those of the hosted API; where this server departs from it, [`request`] says so.
//!
//! ```text
//! handler ── converts, renders the prompt ──> task ── session, answer ──> pieces ──> handler
//! ```
//!
//! Everything here is asynchronous and only moves bytes: the engine's thread computes, all requests together. How many may
//! be there at once is bounded, and one more is refused with 429. When a client goes away, its answer ends within a step;
//! when it reads slowly, the engine serves others.
//!
//! This crate knows nothing of tensors.

mod app;
mod chat;
mod error;
mod model_list;
mod pieces;
mod request;
mod server;
mod worker;

pub use app::Options;
pub use server::{BindError, Server};
pub use worker::Completed;
