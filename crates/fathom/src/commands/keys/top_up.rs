//! `fathom keys top-up`.

use std::process::ExitCode;

use fathom_accounts::Money;

use super::{balance_text, title};
use crate::accounts_file::AccountsFile;
use crate::output;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Its name, or its number as #3
    name: String,

    /// How much to add, in the key's currency; with a minus sign, to take away
    #[arg(allow_negative_numbers = true)]
    amount: Money,

    /// A gift: used up before what was paid for
    #[arg(long)]
    granted: bool,

    #[command(flatten)]
    file: AccountsFile,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let accounts = args.file.open()?;
    let key = accounts.find_key(&args.name)?;
    let balance = accounts.top_up(key.id, args.amount, args.granted)?;
    output::print(&format!(
        "Key {}: balance {}\n",
        title(&key),
        balance_text(&balance)
    ))?;
    Ok(ExitCode::SUCCESS)
}
