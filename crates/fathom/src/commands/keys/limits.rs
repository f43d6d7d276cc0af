//! `fathom keys limits`.

use std::process::ExitCode;

use super::limit_flags::LimitFlags;
use super::{limits_text, title};
use crate::accounts_file::AccountsFile;
use crate::output;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Its name, or its number as #3
    name: String,

    #[command(flatten)]
    limits: LimitFlags,

    #[command(flatten)]
    file: AccountsFile,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let accounts = args.file.open()?;
    let mut key = accounts.find_key(&args.name)?;
    let limits = args.limits.apply(key.limits);
    if limits != key.limits {
        key = accounts.set_limits(key.id, limits)?;
    }
    output::print(&format!(
        "Key {}: limits {}\n",
        title(&key),
        limits_text(&key.limits)
    ))?;
    Ok(ExitCode::SUCCESS)
}
