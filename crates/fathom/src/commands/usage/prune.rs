//! `fathom usage prune`.

use std::process::ExitCode;

use fathom_accounts::Offset;

use super::moment::Moment;
use crate::accounts_file::AccountsFile;
use crate::output;
use crate::units::count;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Remove what arrived before this month, day or moment (UTC)
    #[arg(long, value_name = "TIME")]
    before: Moment,

    #[command(flatten)]
    file: AccountsFile,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let accounts = args.file.open()?;
    let removed = accounts.prune(args.before.begin(Offset::UTC)?)?;
    output::print(&format!(
        "{} request{} removed. Balances are as they were; reports no longer know what was removed.\n",
        count(removed),
        if removed == 1 { "" } else { "s" }
    ))?;
    Ok(ExitCode::SUCCESS)
}
