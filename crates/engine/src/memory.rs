//! Will it fit? Checked before loading a model and before a long prompt, so that a machine is not brought down.
//!
//! Weights are mapped, so a model larger than memory does run, at the speed of the disk; that is refused too unless the
//! user asks for it.

use std::fmt;

use fathom_checkpoint::budget::{KvBytes, RowBytes};
use fathom_checkpoint::{Checkpoint, Config};
use fathom_model::Numerics;
use sysinfo::{MemoryRefreshKind, RefreshKind, System};

/// Something that does not fit into free memory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "not enough memory for {what}: {} needed, {} available. {advice}, or pass --ignore-memory to try anyway",
    Bytes(*needed), Bytes(*available)
)]
pub struct NotEnoughMemory {
    /// What was to be stored.
    pub what: String,
    /// Bytes it takes.
    pub needed: u64,
    /// Bytes free.
    pub available: u64,
    /// What the user can do.
    pub advice: &'static str,
}

/// A number of bytes as a person reads it: `584 B`, `13.2 MiB`, `148.7 GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
        if self.0 < 1024 {
            return write!(f, "{} B", self.0);
        }
        let mut value = self.0 as f64 / 1024.0;
        let mut unit = 0;
        // 1023.95 would print as 1024.0.
        while value >= 1023.95 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        write!(f, "{value:.1} {}", UNITS[unit])
    }
}

/// Bytes that can be used without swapping: what the system reports, or what the container still allows if that is
/// less. Cached files count as available, for they make room. `None` where the system does not tell.
pub fn available() -> Option<u64> {
    let memory = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    let system = System::new_with_specifics(memory).ok()?;
    let container = system
        .cgroup_limits()
        .map(|limits| limits.total_memory.saturating_sub(limits.rss));
    Some(container.map_or(system.available_memory(), |allowed| {
        allowed.min(system.available_memory())
    }))
}

/// Checks that the tensors of `checkpoint` fit.
pub fn check_weights(checkpoint: &Checkpoint) -> Result<(), NotEnoughMemory> {
    check(
        weight_bytes(checkpoint),
        available(),
        || "the weights".to_owned(),
        "Choose a smaller model or a machine with more memory",
    )
}

/// Bytes of tensors that have to be brought into memory. A checkpoint inside the program is there already.
pub fn weight_bytes(checkpoint: &Checkpoint) -> u64 {
    if checkpoint.directory().is_none() {
        return 0;
    }
    checkpoint
        .tensors()
        .map(|(_, tensor)| tensor.data.len() as u64)
        .sum()
}

/// Bytes that a session's state takes at `tokens` tokens.
pub fn state_bytes(config: &Config, numerics: Numerics, tokens: usize) -> u64 {
    let rows = match numerics {
        Numerics::Exact => RowBytes::float32(config),
        Numerics::Reference | Numerics::Fast => RowBytes::packed(config),
    };
    KvBytes::at(config, rows, tokens as u64).total()
}

/// Least memory for states, however little is free: a small model's contexts fit into it.
pub const STATES_BYTES_MIN: u64 = 256 << 20;

/// Memory for states and what is kept of them: half of what is left beside the weights.
pub(crate) fn for_states(checkpoint: &Checkpoint) -> u64 {
    let left = available().map_or(0, |available| available.saturating_sub(weight_bytes(checkpoint)));
    (left / 2).max(STATES_BYTES_MIN)
}

fn check(
    needed: u64,
    available: Option<u64>,
    what: impl Fn() -> String,
    advice: &'static str,
) -> Result<(), NotEnoughMemory> {
    match available {
        Some(available) if needed > available => Err(NotEnoughMemory {
            what: what(),
            needed,
            available,
            advice,
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_read_well() {
        let cases = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_048_575, "1.0 MiB"),
            (159_609_485_896, "148.6 GiB"),
            (u64::MAX, "16777216.0 TiB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_with_both_sizes_and_the_way_out() {
        let what = || "the weights".to_owned();
        assert_eq!(check(10, Some(10), what, "Buy memory"), Ok(()));
        let error = check(160 << 30, Some(24 << 30), what, "Choose a smaller model").unwrap_err();
        assert_eq!(
            error.to_string(),
            "not enough memory for the weights: 160.0 GiB needed, 24.0 GiB available. Choose a smaller model, or pass \
             --ignore-memory to try anyway"
        );
    }

    #[test]
    fn this_machine_has_some_memory() {
        assert!(available().is_some_and(|bytes| bytes > 1 << 20));
    }
}
