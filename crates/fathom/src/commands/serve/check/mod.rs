//! `fathom serve --check`: would it work, and how well? Everything is looked at, nothing is loaded and nothing served.

mod estimate;
mod json;
mod place;
mod text;

use std::process::ExitCode;

use fathom_prompt::Tokenizer;
use serde_json::json;

use self::estimate::{Machine, Rates};
use super::Args;
use super::ledger::Keys;
use super::models::Planned;
use crate::config::{Configured, Problems};
use crate::output::print;

/// Whether to serve at all.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct CheckOptions {
    /// See whether everything would work, print what to expect, and exit: with status 1 if something has to be put right
    #[arg(long, help_heading = "Configuration")]
    pub(super) check: bool,

    /// With --check: print one JSON object instead
    #[arg(long, help_heading = "Configuration")]
    json: bool,
}

impl CheckOptions {
    /// Ends where the settings themselves are wrong and nothing else can be looked at.
    pub(super) fn refuse(self, problems: Problems) -> anyhow::Result<ExitCode> {
        if self.check && self.json {
            print(&format!("{:#}\n", json!({"ok": false, "problems": problems.0})))?;
            return Ok(ExitCode::FAILURE);
        }
        Err(problems.into())
    }
}

/// What was found.
struct Report<'a> {
    args: &'a Args,
    configured: &'a Configured,
    models: &'a [Planned],
    rates: Vec<Rates>,
    machine: Machine,
    keys: Keys,
    problems: &'a [String],
}

/// Looks at what cannot be known from the settings alone, and prints everything. `problems` are those found so far.
pub(super) fn run(
    args: &Args,
    configured: &Configured,
    models: &[Planned],
    keys: Keys,
    mut problems: Vec<String>,
) -> anyhow::Result<ExitCode> {
    for model in models {
        problems.extend(of_checkpoint(model));
        let dir = model.cache_dir.as_deref();
        problems.extend(dir.and_then(|dir| place::problem(dir, "states")));
    }
    if let Some(path) = args.ledger.path().filter(|path| !path.exists()) {
        let dir = path.parent().map(std::path::Path::to_owned);
        problems.extend(dir.and_then(|dir| place::problem(&dir, "accounts")));
    }
    if let Err(error) = args.access.try_port() {
        problems.push(error.to_string());
    }
    let mut machine = Machine::new();
    let report = Report {
        rates: models.iter().map(|model| machine.rates(model)).collect(),
        args,
        configured,
        models,
        machine,
        keys,
        problems: &problems,
    };
    if args.check.json {
        print(&format!("{:#}\n", report.to_json()))?;
    } else {
        print(&report.to_text())?;
    }
    Ok(if problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What would keep the model from being loaded, as far as headers tell.
fn of_checkpoint(model: &Planned) -> Vec<String> {
    let (name, checkpoint) = (&model.name, &model.opened.checkpoint);
    let mut problems = Vec::new();
    let audit = checkpoint.audit();
    if !audit.is_complete() {
        let source = checkpoint.directory().map(|dir| dir.display().to_string());
        problems.push(format!(
            "{name}: the checkpoint is not whole; `fathom inspect {}` says what is missing",
            source.unwrap_or_default()
        ));
    }
    let tokenizer = checkpoint
        .tokenizer_json()
        .map_err(anyhow::Error::from)
        .and_then(|json| Ok(Tokenizer::from_json(&json, checkpoint.config().vocab_size)?));
    if let Err(error) = tokenizer {
        problems.push(format!("{name}: tokenizer.json: {error}"));
    }
    if let Err(error) = model.opened.sampling() {
        problems.push(format!("{name}: {error:#}"));
    }
    problems
}
