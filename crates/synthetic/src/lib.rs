//! Made-up checkpoints and made-up traffic for tests. Everything follows from a seed: the same seed gives the same bytes
//! on every machine.
//!
//! - [`Synthetic`] is a checkpoint in the official layout with random weights, small enough to be made anew by every test
//!   binary: `Synthetic::tiny_checkpoint()` opens the one that most tests want.
//! - [`trace`] makes what coding agents send, edits, rewinds and compactions included, and says how much of it a perfect
//!   prefix cache would serve.
//!
//! Used by tests and benchmarks only; nothing that ships depends on it.

mod checkpoint;
mod random;
pub mod trace;

pub use checkpoint::{Synthetic, TINY};
pub use random::Random;
