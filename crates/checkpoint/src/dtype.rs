//! Element types a V4 checkpoint may hold.

use std::fmt;

/// The element type of a stored tensor, as named in a safetensors header.
///
/// V4 checkpoints use exactly these (spec §10.2, §10.5) but U8, which is ours; any other name in a header is an error that names the tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dtype {
    /// IEEE 754 single precision, little-endian.
    F32,
    /// The upper half of an `F32`, little-endian.
    Bf16,
    /// `E4M3FN`: bias 7, largest finite value 448, no infinities (spec §9.1).
    F8E4M3,
    /// `UE8M0`: byte `b` means 2^(b − 127) (spec §9.1). Scales only.
    F8E8M0,
    /// In V4 always two packed `E2M1` codes, low nibble first (spec §10.3).
    I8,
    /// Codes and scales of grouped integers, the format of `fathom quantize`.
    U8,
    /// Little-endian 32-bit integers: a routing table as some converters write it.
    I32,
    /// Little-endian 64-bit integers: the routing table `tid2eid`.
    I64,
}

impl Dtype {
    /// Every type, in the order messages list them.
    pub const ALL: [Self; 8] = [
        Self::F32,
        Self::Bf16,
        Self::F8E4M3,
        Self::F8E8M0,
        Self::I8,
        Self::U8,
        Self::I32,
        Self::I64,
    ];

    /// Bytes per stored element.
    pub const fn size(self) -> usize {
        match self {
            Self::F8E4M3 | Self::F8E8M0 | Self::I8 | Self::U8 => 1,
            Self::Bf16 => 2,
            Self::F32 | Self::I32 => 4,
            Self::I64 => 8,
        }
    }

    /// The name used in safetensors headers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::Bf16 => "BF16",
            Self::F8E4M3 => "F8_E4M3",
            Self::F8E8M0 => "F8_E8M0",
            Self::I8 => "I8",
            Self::U8 => "U8",
            Self::I32 => "I32",
            Self::I64 => "I64",
        }
    }

    /// The type with this safetensors name, if a V4 checkpoint may hold it.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dtype| dtype.name() == name)
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
