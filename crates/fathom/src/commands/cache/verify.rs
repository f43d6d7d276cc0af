//! `fathom cache verify`.

use std::fmt::Write as _;
use std::process::ExitCode;

use fathom_cache::disk::{SurveyedRecord, Verdict};
use serde_json::json;

use super::models::{ModelChoice, title};
use super::stat::{skipped_json, skipped_text};
use super::{Place, hex, short};
use crate::output;
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

/// Reads every record. Fails if one is damaged.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (dir, survey) = args.place.survey()?;
    let mut buffer = Vec::new();
    let (mut sound, mut sound_bytes) = (0, 0);
    let mut bad: Vec<(String, &SurveyedRecord, &str)> = Vec::new();
    for model in args.model.select(&survey)? {
        for record in &model.records {
            match record.verify(&mut buffer) {
                Verdict::Sound => {
                    sound += 1;
                    sound_bytes += record.record.bytes;
                }
                Verdict::Damaged => bad.push((title(model), record, "damaged")),
                Verdict::Unreadable => bad.push((title(model), record, "unreadable")),
            }
        }
    }
    if args.json {
        let records: Vec<_> = bad
            .iter()
            .map(|(_, record, what)| json!({"key": hex(&record.record.key), "problem": what}))
            .collect();
        let object = json!({
            "dir": dir,
            "sound_records": sound,
            "sound_bytes": sound_bytes,
            "bad_records": records,
            "skipped": skipped_json(&survey.skipped),
        });
        output::print(&format!("{object:#}\n"))?;
    } else {
        let mut out = format!("{} records are sound ({}).\n", count(sound), bytes(sound_bytes));
        for (model, record, what) in &bad {
            let _ = writeln!(
                out,
                "  {} is {what}: {} of {model}, up to token {}",
                short(&record.record.key),
                bytes(record.record.bytes),
                count(record.record.position)
            );
        }
        if !bad.is_empty() {
            let _ = writeln!(
                out,
                "{} cannot be used. Answers are not affected: what is missing is computed again.",
                count(bad.len() as u64)
            );
        }
        out.push_str(&skipped_text(&survey.skipped));
        output::print(&out)?;
    }
    Ok(if bad.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
