//! The numerics profiles: what is rounded where.

use std::fmt;
use std::str::FromStr;

/// How a forward pass computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Numerics {
    /// Float32 activations, no round trips: what transformers computes in float32. State is kept in float32.
    Exact,
    /// The published low-precision path (spec §9): BF16 activations, E4M3 inputs of quantised linears, KV entries in
    /// E4M3, indexer queries and keys in E2M1 after a Hadamard transform. State is kept packed.
    Reference,
    /// Integer arithmetic on the weights: inputs of large linears in eight bits with a power-of-two scale per 128, every
    /// product exact, sums in float32. Activations are not rounded otherwise. State is kept packed as in `reference`.
    Fast,
}

impl Numerics {
    /// Every profile, in the order messages list them.
    pub const ALL: [Self; 3] = [Self::Exact, Self::Reference, Self::Fast];

    /// The name used on the command line and in every benchmark.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Reference => "reference",
            Self::Fast => "fast",
        }
    }

    /// Whether activations are rounded to BF16 between operations, and quantised where the published path does.
    pub(crate) fn rounds(self) -> bool {
        self == Self::Reference
    }

    /// Whether KV entries and indexer keys are stored packed, at the precision the model was trained with.
    pub fn packs(self) -> bool {
        self != Self::Exact
    }
}

impl fmt::Display for Numerics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no numerics profile.
#[derive(Debug, thiserror::Error)]
#[error(
    "numerics `{0}` is unknown: expected `exact` (float32), `reference` (the published low-precision path) or `fast` \
     (eight-bit integer products)"
)]
pub struct UnknownNumerics(pub String);

impl FromStr for Numerics {
    type Err = UnknownNumerics;

    fn from_str(name: &str) -> Result<Self, UnknownNumerics> {
        Self::ALL
            .into_iter()
            .find(|n| n.name() == name)
            .ok_or_else(|| UnknownNumerics(name.to_owned()))
    }
}
