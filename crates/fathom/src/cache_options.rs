//! Where states are kept: the options of commands that keep them for others.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::Args;
use fathom_cache::Policy;
use fathom_cache::disk::DiskOptions;
use fathom_engine::CacheSettings;

use crate::units::parse_bytes;

/// Options of the prefix cache.
#[derive(Clone, Debug, Args)]
pub(crate) struct CacheOptions {
    /// Memory for states, of running answers and of what is kept for later ones (bytes, or with K, M, G, T); half of what
    /// is free beside the weights by default
    #[arg(long = "cache-ram", value_name = "BYTES", value_parser = parse_bytes, help_heading = "Cache")]
    ram: Option<u64>,

    /// Keep states on disk too, in this directory: more of them, and after a restart
    #[arg(long = "cache-dir", value_name = "DIR", help_heading = "Cache")]
    dir: Option<PathBuf>,

    /// What the files in --cache-dir may take
    #[arg(long = "cache-disk", value_name = "BYTES", value_parser = parse_bytes, default_value = "32G", help_heading = "Cache")]
    disk: u64,

    /// Where whole states are kept: full (every 128 tokens), periodic=N (every N tokens and where messages end) or none
    /// (they are recomputed from what is compressed). Changes speed and memory, never results
    #[arg(long = "cache-policy", value_name = "POLICY", value_parser = parse_policy, default_value = "periodic=4096", help_heading = "Cache")]
    policy: Policy,
}

impl CacheOptions {
    /// Memory for states in bytes, if it was said.
    pub(crate) fn ram_bytes(&self) -> Option<u64> {
        self.ram
    }

    /// The directory for states, if there is one.
    pub(crate) fn dir(&self) -> Option<&Path> {
        self.dir.as_deref()
    }

    /// What the engine is told; `model` names the states of its model in listings.
    pub(crate) fn settings(&self, model: &str) -> CacheSettings {
        CacheSettings {
            ram_bytes: self.ram,
            disk: self.dir.as_ref().map(|dir| DiskOptions {
                label: model.to_owned(),
                ..DiskOptions::new(dir, self.disk)
            }),
            policy: self.policy,
        }
    }
}

fn parse_policy(text: &str) -> Result<Policy, String> {
    match text {
        "full" => Ok(Policy::Full),
        "none" => Ok(Policy::None),
        _ => text
            .strip_prefix("periodic=")
            .and_then(|tokens| tokens.parse::<NonZeroUsize>().ok())
            .map(Policy::Periodic)
            .ok_or_else(|| "expected full, periodic=N with a number of tokens, or none".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_have_names() {
        assert_eq!(parse_policy("full"), Ok(Policy::Full));
        assert_eq!(
            parse_policy("periodic=256"),
            Ok(Policy::Periodic(NonZeroUsize::new(256).unwrap()))
        );
        assert_eq!(parse_policy("none"), Ok(Policy::None));
        for text in ["", "periodic", "periodic=0", "periodic=x", "some"] {
            assert!(parse_policy(text).is_err(), "{text}");
        }
    }
}
