//! `fathom keys backup`.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::accounts_file::AccountsFile;
use crate::output;

#[derive(clap::Args)]
pub(super) struct Args {
    /// The copy, which must not be there yet; it can be used as an accounts file
    copy: PathBuf,

    #[command(flatten)]
    file: AccountsFile,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    args.file.open()?.backup(&args.copy)?;
    output::print(&format!("Everything is in {}.\n", args.copy.display()))?;
    Ok(ExitCode::SUCCESS)
}
