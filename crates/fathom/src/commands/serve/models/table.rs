//! What can be said of one model, in a `[[models]]` table or, for all of them, as options of `fathom serve`.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use fathom_engine::Scheduling;

use super::name::parse_name;
use crate::cache_options::CacheOptions;
use crate::model_source::RunOptions;

/// Settings that each model may have of its own; what is said for all holds where a table is silent.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct PerModel {
    /// Answers of one model computed at the same time, all of them in every step
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024), help_heading = "Server")]
    parallel: u16,

    /// Requests that may wait beyond those; one more is refused with status 429
    #[arg(long, value_name = "N", default_value_t = 256, help_heading = "Server")]
    queue: u16,

    /// How long a step may take while answers are written: prompts read beside them get what fits, so that no answer waits
    /// longer for its next token
    #[arg(long, value_name = "MS", default_value_t = 250, value_parser = clap::value_parser!(u64).range(1..), help_heading = "Server")]
    step_ms: u64,

    #[command(flatten)]
    pub(crate) cache: CacheOptions,

    #[command(flatten)]
    pub(crate) running: RunOptions,
}

impl PerModel {
    /// How its answers share the machine.
    pub(crate) fn scheduling(&self) -> Scheduling {
        Scheduling {
            running_max: self.parallel.into(),
            waiting_max: self.queue.into(),
            step_max: Duration::from_millis(self.step_ms),
        }
    }
}

/// One model: the keys of a `[[models]]` table.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ModelTable {
    /// Name in requests and replies; by default the model's own, or its directory's
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    pub(crate) name: Option<String>,

    /// Checkpoint directory
    #[arg(long, value_name = "DIR")]
    pub(crate) path: Option<PathBuf>,

    /// The small model that is part of the program, in place of a path
    #[arg(long)]
    pub(crate) builtin: bool,

    /// Other names that requests may use; by default the hosted API's names of its tier
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    pub(crate) aliases: Vec<String>,

    /// Which of the hosted models it stands for: pro (Expert) or flash (Quick); by default what the checkpoint is, flash for
    /// models of one's own
    #[arg(long, value_name = "TIER")]
    pub(crate) tier: Option<Tier>,

    /// The tier of the prices by which its use is counted, flash, pro or one of a file's own; by default the model's tier
    #[arg(long, value_name = "TIER", value_parser = parse_name)]
    pub(crate) price: Option<String>,

    #[command(flatten)]
    pub(crate) per_model: PerModel,
}

/// A tier as it is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Tier {
    Pro,
    Flash,
}

impl From<Tier> for fathom_serve::Tier {
    fn from(tier: Tier) -> Self {
        match tier {
            Tier::Pro => Self::Pro,
            Tier::Flash => Self::Flash,
        }
    }
}
