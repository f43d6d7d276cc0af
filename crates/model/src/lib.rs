//! The DeepSeek-V4 forward pass over a mapped checkpoint (spec §4–§6).
//!
//! A [`Model`] is immutable and shared; a [`State`] is one sequence; a [`Workspace`] is the memory a step needs.
//! [`Model::forward`] appends tokens to a state and returns logits. Whatever the chunks, the threads and the company,
//! a position's logits have the same bits.
//!
//! ```text
//! embed ─ ×n streams ─┬─ read ─ norm ─ attention ─ write ─┬─ … layers … ─ read ─ norm ─ head
//!                     └─ read ─ norm ─ experts ── write ──┘
//! ```
//!
//! The model knows neither text nor files nor requests: tokens go in, logits come out.

mod attention;
mod error;
mod experts;
mod forward;
mod graft;
mod layout;
mod numerics;
mod restore;
mod state;
mod weights;
mod workspace;

pub use error::{ForwardError, LoadError};
pub use forward::{Part, Want};
pub use graft::GraftError;
pub use numerics::{Numerics, UnknownNumerics};
pub use restore::RestoreError;
pub use state::State;
pub use weights::Model;
pub use workspace::Workspace;
