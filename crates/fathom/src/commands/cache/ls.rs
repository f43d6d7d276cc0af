//! `fathom cache ls`.

use std::fmt::Write as _;
use std::process::ExitCode;

use serde_json::json;

use super::models::{ModelChoice, title};
use super::prefixes::{Prefix, prefixes};
use super::{Place, age, hex, short};
use crate::output;
use crate::table::{Align, Table};
use crate::units::{bytes, count};

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    place: Place,

    #[command(flatten)]
    model: ModelChoice,

    /// Print one JSON object instead
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (dir, survey) = args.place.survey()?;
    let models: Vec<_> = args
        .model
        .select(&survey)?
        .into_iter()
        .map(|model| (model, prefixes(model)))
        .collect();
    if args.json {
        let models: Vec<_> = models
            .iter()
            .map(|(model, prefixes)| {
                let prefixes: Vec<_> = prefixes.iter().map(to_json).collect();
                json!({"identity": hex(&model.identity), "name": model.label, "prefixes": prefixes})
            })
            .collect();
        let object = json!({"dir": dir, "models": models});
        output::print(&format!("{object:#}\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let now = age::now();
    let mut out = String::new();
    for (model, prefixes) in &models {
        if !out.is_empty() {
            out.push('\n');
        }
        let _ = writeln!(out, "{}", title(model));
        let mut table = Table::new(&[
            ("prefix", Align::Left),
            ("tokens", Align::Right),
            ("snapshots", Align::Right),
            ("on disk", Align::Right),
            ("last used", Align::Right),
            ("", Align::Left),
        ]);
        for prefix in prefixes {
            table.row([
                short(&prefix.key),
                count(prefix.tokens),
                count(prefix.snapshots),
                bytes(prefix.own_bytes),
                age::ago(prefix.used, now),
                remark(prefix).to_owned(),
            ]);
        }
        let _ = write!(out, "{table}");
    }
    if models.is_empty() {
        out.push_str("The cache is empty.\n");
    } else {
        out.push_str("\nWhat prefixes share is counted with the one that is listed first.\n");
    }
    output::print(&out)?;
    Ok(ExitCode::SUCCESS)
}

fn remark(prefix: &Prefix) -> &'static str {
    match (prefix.broken, prefix.pinned) {
        (true, _) => "unusable: a page before it is missing",
        (false, true) => "pinned",
        (false, false) => "",
    }
}

fn to_json(prefix: &Prefix) -> serde_json::Value {
    json!({
        "key": hex(&prefix.key),
        "tokens": prefix.tokens,
        "snapshots": prefix.snapshots,
        "bytes": prefix.own_bytes,
        "last_used": prefix.used,
        "pinned": prefix.pinned,
        "usable": !prefix.broken,
    })
}
