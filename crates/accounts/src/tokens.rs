//! What a request used.

use serde::Serialize;

/// Tokens of one request, or of many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tokens {
    /// Of the prompt, from the cache.
    pub hit: u64,
    /// Of the prompt, computed.
    pub miss: u64,
    /// Generated, reasoning included.
    pub output: u64,
    /// Those of `output` that were reasoning.
    pub reasoning: u64,
}

impl Tokens {
    /// Of prompt and output.
    pub const fn total(&self) -> u64 {
        self.hit.saturating_add(self.miss).saturating_add(self.output)
    }
}
