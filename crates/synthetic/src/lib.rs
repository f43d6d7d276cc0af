//! Made-up checkpoints and made-up traffic for tests. Everything follows from a seed: the same seed gives the same bytes
//! on every machine.
//!
//! - [`Synthetic`] is a checkpoint in the official layout with random weights, small enough to be made anew by every test
//!   binary: `Synthetic::tiny_checkpoint()` opens the one that most tests want.
//!
//! Used by tests and benchmarks only; nothing that ships depends on it.

mod checkpoint;
mod random;

pub use checkpoint::{Synthetic, TINY};
pub use random::Random;
