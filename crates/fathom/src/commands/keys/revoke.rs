//! `fathom keys revoke`.

use std::process::ExitCode;

use super::title;
use crate::accounts_file::AccountsFile;
use crate::output;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Its name, or its number as #3
    name: String,

    #[command(flatten)]
    file: AccountsFile,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let accounts = args.file.open()?;
    let key = accounts.find_key(&args.name)?;
    let text = if key.revoked.is_some() {
        format!("Key {} was revoked before.\n", title(&key))
    } else {
        accounts.revoke_key(key.id)?;
        format!(
            "Key {} is revoked. Running servers refuse it within a second; what it has in progress ends as usual.\n",
            title(&key)
        )
    };
    output::print(&text)?;
    Ok(ExitCode::SUCCESS)
}
