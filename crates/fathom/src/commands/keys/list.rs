//! `fathom keys list`.

use std::process::ExitCode;

use serde_json::json;

use super::{balance_text, limits_text};
use crate::accounts_file::AccountsFile;
use crate::output;
use crate::table::{Align, Table};

#[derive(clap::Args)]
pub(super) struct Args {
    /// Revoked keys, too
    #[arg(long)]
    all: bool,

    #[command(flatten)]
    file: AccountsFile,

    /// Print one JSON object instead
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let accounts = args.file.open()?;
    let mut keys = accounts.keys()?;
    keys.retain(|key| args.all || key.revoked.is_none());
    let balances: Vec<_> = keys
        .iter()
        .map(|key| accounts.balance(key.id))
        .collect::<Result<_, _>>()?;
    if args.json {
        let keys: Vec<_> = keys
            .iter()
            .zip(&balances)
            .map(|(key, balance)| json!({"key": key, "balance": balance}))
            .collect();
        output::print(&format!("{:#}\n", json!({"keys": keys})))?;
        return Ok(ExitCode::SUCCESS);
    }
    if keys.is_empty() {
        output::print("There are no keys. `fathom keys create NAME` makes one.\n")?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(&[
        ("", Align::Right),
        ("name", Align::Left),
        ("secret", Align::Left),
        ("made", Align::Left),
        ("balance", Align::Left),
        ("limits", Align::Left),
        ("", Align::Left),
    ]);
    for (key, balance) in keys.iter().zip(&balances) {
        let day = |moment: fathom_accounts::Timestamp| moment.strftime("%Y-%m-%d").to_string();
        let mut remarks = Vec::new();
        if key.admin {
            remarks.push("admin".to_owned());
        }
        if let Some(revoked) = key.revoked {
            remarks.push(format!("revoked {}", day(revoked)));
        }
        table.row([
            key.id.to_string(),
            key.name.clone(),
            format!("…{}", key.last_four),
            day(key.created),
            balance_text(balance),
            limits_text(&key.limits),
            remarks.join(", "),
        ]);
    }
    output::print(&table.to_string())?;
    Ok(ExitCode::SUCCESS)
}
