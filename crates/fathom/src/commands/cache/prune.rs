//! `fathom cache prune`.

use std::process::ExitCode;
use std::time::Duration;

use fathom_cache::disk::{Prune, prune};
use serde_json::json;

use super::models::ModelChoice;
use super::{Place, age};
use crate::output;
use crate::units::{bytes, count, parse_bytes};

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    place: Place,

    #[command(flatten)]
    what: What,

    #[command(flatten)]
    model: ModelChoice,

    /// Print one JSON object instead
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct What {
    /// Drop what was used longest ago until the files take no more than this (bytes, or with K, M, G, T)
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, conflicts_with = "identity")]
    to: Option<u64>,

    /// Drop what has not been used for this long (such as 12h, 7d, 2w)
    #[arg(long, value_name = "TIME", value_parser = age::parse)]
    older_than: Option<Duration>,

    /// Drop everything, pinned prefixes too
    #[arg(long)]
    all: bool,
}

impl What {
    fn prune(&self) -> Prune {
        match (self.to, self.older_than) {
            (Some(bytes), _) => Prune::ToBytes(bytes),
            (None, Some(age)) => Prune::UsedBefore(age::now().saturating_sub(age.as_secs())),
            (None, None) => Prune::All,
        }
    }
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (dir, survey) = args.place.survey()?;
    let identity = args.model.find(&survey)?.map(|model| model.identity);
    let pruned = prune(&dir, identity.as_ref(), &args.what.prune())?;
    if args.json {
        let object = json!({
            "dir": dir,
            "records": pruned.records,
            "bytes_before": pruned.bytes_before,
            "bytes_after": pruned.bytes_after,
        });
        output::print(&format!("{object:#}\n"))?;
    } else {
        let plural = if pruned.records == 1 { "" } else { "s" };
        output::print(&format!(
            "{} record{plural} dropped; the files took {}, now {}.\n",
            count(pruned.records),
            bytes(pruned.bytes_before),
            bytes(pruned.bytes_after)
        ))?;
        if let Some(target) = args.what.to.filter(|target| pruned.bytes_after > *target) {
            output::print(&format!(
                "{} could not be reached: what is left is pinned. --all drops that too.\n",
                bytes(target)
            ))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
