//! What the operator sees: a line for every request, and figures.

mod collect;
mod metrics;
mod panics;
mod request;

pub(crate) use metrics::{Metrics, Refused, Seen};
pub(crate) use panics::{Panics, note as note_panic};
pub(crate) use request::{Arrival, milliseconds, observe};
