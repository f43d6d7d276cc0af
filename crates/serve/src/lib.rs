//! The APIs over HTTP.
//!
//! * `POST /chat/completions`, also under `/v1` and `/beta`: streamed and not
//! * `POST /anthropic/v1/messages`, also at `/anthropic/messages` and `/v1/messages`, with `/count_tokens` under each
//! * `POST /responses`, also under `/v1`
//! * `GET /models`, also under `/v1` and `/anthropic/v1`
//! * `GET /health`, `GET /metrics`, `GET /user/balance`, `GET /openapi.json`
//! * `GET /`: the chat page, and `/admin`
//!
//! Requests are converted, and replies put together, by the vendor's `deepseek-recipe`, so fields, checks and their
//! error texts are those of the hosted API; where this server departs from it, the wires' own docs say so.
//!
//! ```text
//! network ── routes ── caller ── wire: reads the body, renders the prompt ──> answer: a task ── session ──> chunks ──> reply
//!                      (access)                                                    └── ledger, log, figures (observe)
//! ```
//!
//! Everything here is asynchronous and only moves bytes: the engine's thread computes, all requests together. How many may
//! be there at once is bounded: some wait, and one more is refused with 429. When a client goes away, its answer ends within a
//! step; when it reads slowly, the engine serves others. What was used is in the ledger before the client knows that its answer
//! is complete.
//!
//! This crate knows nothing of tensors.

mod access;
mod admin;
mod answer;
mod app;
mod catalog;
mod error;
mod grammars;
mod network;
mod observe;
mod openapi;
mod options;
mod page;
mod presence;
mod replay;
mod routes;
mod server;
mod wire;

pub use answer::{Completed, Outcome};
pub use catalog::{Alias, ServedModel, Tier};
pub use network::{Network, Tls, TlsError};
pub use options::Options;
pub use server::{BindError, Server};
