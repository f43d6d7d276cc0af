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
//! handler ── converts, renders the prompt ──> queue ──> worker thread ── session, answer ──> pieces ──> handler
//! ```
//!
//! The asynchronous side only moves bytes. Inference runs on worker threads of its own; how many requests may be there
//! at once is bounded, and one more is refused with 429. When a client goes away, its answer stops at the next token.
//!
//! This crate knows nothing of tensors.

mod app;
mod chat;
mod error;
mod model_list;
mod pieces;
mod request;
mod server;
mod session_pool;
mod worker;

pub use app::Options;
pub use server::{BindError, Server};
pub use worker::Completed;
