//! `fathom cache stat`.

use std::fmt::Write as _;
use std::process::ExitCode;

use fathom_cache::disk::{Kind, Skipped, SurveyedModel};
use serde_json::{Value, json};

use super::models::title;
use super::{Place, age, hex};
use crate::output;
use crate::table::{Align, Table};
use crate::units::{bytes, count};

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    place: Place,

    /// Print one JSON object instead
    #[arg(long)]
    json: bool,
}

/// One model in figures.
#[derive(Default)]
struct Sums {
    pages: u64,
    page_bytes: u64,
    snapshots: u64,
    snapshot_bytes: u64,
    pinned: u64,
    disk_bytes: u64,
    used: u64,
}

impl Sums {
    fn of(model: &SurveyedModel) -> Self {
        let mut sums = Self::default();
        for record in &model.records {
            let (number, payload) = match record.record.kind {
                Kind::Page => (&mut sums.pages, &mut sums.page_bytes),
                Kind::Snapshot => (&mut sums.snapshots, &mut sums.snapshot_bytes),
            };
            *number += 1;
            *payload += record.record.bytes;
            sums.pinned += u64::from(record.record.pinned);
            sums.disk_bytes += record.disk_bytes;
            sums.used = sums.used.max(record.used);
        }
        sums
    }
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (dir, survey) = args.place.survey()?;
    let models: Vec<(&SurveyedModel, Sums)> = survey
        .models
        .iter()
        .map(|model| (model, Sums::of(model)))
        .collect();
    if args.json {
        let models: Vec<Value> = models.iter().map(|(model, sums)| to_json(model, sums)).collect();
        let object = json!({
            "dir": dir,
            "segments": survey.segments,
            "file_bytes": survey.file_bytes,
            "live_bytes": survey.live_bytes(),
            "reclaimable_bytes": survey.dead_bytes(),
            "models": models,
            "skipped": skipped_json(&survey.skipped),
        });
        output::print(&format!("{object:#}\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut out = String::new();
    let _ = writeln!(out, "{}", dir.display());
    let _ = writeln!(
        out,
        "  files        {} in {}",
        bytes(survey.file_bytes),
        segments(survey.segments)
    );
    let _ = writeln!(out, "  in use       {}", bytes(survey.live_bytes()));
    let _ = writeln!(out, "  reclaimable  {}", bytes(survey.dead_bytes()));
    if !models.is_empty() {
        let now = age::now();
        let mut table = Table::new(&[
            ("model", Align::Left),
            ("pages", Align::Right),
            ("snapshots", Align::Right),
            ("pinned", Align::Right),
            ("on disk", Align::Right),
            ("last used", Align::Right),
        ]);
        for (model, sums) in &models {
            table.row([
                title(model),
                count(sums.pages),
                count(sums.snapshots),
                count(sums.pinned),
                bytes(sums.disk_bytes),
                age::ago(sums.used, now),
            ]);
        }
        let _ = write!(out, "\n{table}");
    }
    out.push_str(&skipped_text(&survey.skipped));
    output::print(&out)?;
    Ok(ExitCode::SUCCESS)
}

fn segments(number: u64) -> String {
    format!("{} segment{}", count(number), if number == 1 { "" } else { "s" })
}

/// Each kind of thing that was skipped: a name for programs, and what it means.
fn reasons(skipped: &Skipped) -> [(&'static str, u64, &'static str); 6] {
    [
        ("torn", skipped.torn, "cut off while they were written"),
        (
            "checksum",
            skipped.checksum,
            "damaged: a header's checksum is wrong",
        ),
        ("version", skipped.version, "in a format of another version"),
        ("foreign", skipped.foreign, "not files of the cache"),
        (
            "misnamed",
            skipped.misnamed,
            "with a key that does not follow from their tokens",
        ),
        (
            "unreadable",
            skipped.unreadable,
            "unreadable to this user or on this disk",
        ),
    ]
}

/// What was not used, or nothing if all was.
pub(super) fn skipped_text(skipped: &Skipped) -> String {
    let mut out = String::new();
    if skipped.total() > 0 {
        out.push_str("\nSkipped\n");
        for (_, number, meaning) in reasons(skipped) {
            if number > 0 {
                let _ = writeln!(out, "  {:>6}  {meaning}", count(number));
            }
        }
    }
    out
}

pub(super) fn skipped_json(skipped: &Skipped) -> Value {
    let reasons = reasons(skipped).into_iter();
    reasons
        .map(|(name, number, _)| (name.to_owned(), Value::from(number)))
        .collect()
}

fn to_json(model: &SurveyedModel, sums: &Sums) -> Value {
    json!({
        "identity": hex(&model.identity),
        "name": model.label,
        "pages": sums.pages,
        "page_bytes": sums.page_bytes,
        "snapshots": sums.snapshots,
        "snapshot_bytes": sums.snapshot_bytes,
        "pinned": sums.pinned,
        "disk_bytes": sums.disk_bytes,
        "last_used": sums.used,
    })
}
