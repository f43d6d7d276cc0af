//! `fathom keys`: who may use a server.

mod backup;
mod create;
pub(crate) mod limit_flags;
mod limits;
mod list;
mod revoke;
mod top_up;

use std::process::ExitCode;

use clap::Subcommand;
use fathom_accounts::{Balance, Key, Limits};

use crate::units::count;

/// Arguments of `fathom keys`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Make a key and print its secret, this once
    Create(create::Args),
    /// List the keys with their limits and balances
    List(list::Args),
    /// End a key for good; running servers refuse it within a second
    Revoke(revoke::Args),
    /// Show or change what a key may use
    Limits(limits::Args),
    /// Add to the balance of a prepaid key
    TopUp(top_up::Args),
    /// Copy keys, balances and usage to a new file, also while servers run
    Backup(backup::Args),
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.action {
        Action::Create(args) => create::run(args),
        Action::List(args) => list::run(args),
        Action::Revoke(args) => revoke::run(args),
        Action::Limits(args) => limits::run(args),
        Action::TopUp(args) => top_up::run(args),
        Action::Backup(args) => backup::run(args),
    }
}

/// `laptop (#3)`.
fn title(key: &Key) -> String {
    format!("{} ({})", key.name, key.id)
}

/// `10 at once, 1,000 tokens/min`, or `none`.
fn limits_text(limits: &Limits) -> String {
    let parts = [
        limits
            .concurrent
            .map(|limit| format!("{} at once", count(limit.into()))),
        limits
            .concurrent_per_model
            .map(|limit| format!("{} at once of a model", count(limit.into()))),
        limits
            .tokens_per_minute
            .map(|limit| format!("{} tokens/min", count(limit))),
        limits
            .tokens_per_day
            .map(|limit| format!("{} tokens/day", count(limit))),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() {
        "none".to_owned()
    } else {
        parts.join(", ")
    }
}

/// `15.00 USD (5.00 granted)`; `unlimited` for a key that need not pay.
fn balance_text(balance: &Balance) -> String {
    if balance.prepaid {
        format!(
            "{} {} ({} granted)",
            balance.total(),
            balance.currency,
            balance.granted
        )
    } else {
        "unlimited".to_owned()
    }
}
