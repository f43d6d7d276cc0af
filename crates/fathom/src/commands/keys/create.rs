//! `fathom keys create`.

use std::process::ExitCode;

use fathom_accounts::{Currency, Limits, NewKey, Options};
use serde_json::json;

use super::limit_flags::LimitFlags;
use super::{limits_text, title};
use crate::accounts_file::AccountsFile;
use crate::output;

#[derive(clap::Args)]
pub(super) struct Args {
    /// What to call it: a person, a team, a machine
    name: String,

    /// It may see the administrator's pages
    #[arg(long)]
    admin: bool,

    /// It must have a balance (`fathom keys top-up`) and is refused when that is used up
    #[arg(long)]
    prepaid: bool,

    /// What its costs are counted in; cannot be changed later
    #[arg(long, value_name = "CODE", default_value = "USD")]
    currency: Currency,

    #[command(flatten)]
    limits: LimitFlags,

    #[command(flatten)]
    file: AccountsFile,

    /// Print one JSON object instead, with the secret in it
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let accounts = args.file.open_or_create(Options::default())?;
    let (key, secret) = accounts.create_key(NewKey {
        name: args.name.clone(),
        admin: args.admin,
        limits: args.limits.apply(Limits::default()),
        currency: args.currency,
        prepaid: args.prepaid,
    })?;
    let secret = secret.expose();
    if args.json {
        let object = json!({"key": key, "secret": secret});
        output::print(&format!("{object:#}\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let balance = if key.prepaid {
        format!(
            "balance  0.00 {}; it can be used after: fathom keys top-up {:?} AMOUNT\n",
            key.currency, key.name
        )
    } else {
        String::new()
    };
    output::print(&format!(
        "Key {} is made. Its secret, which is shown this once:\n\n  {secret}\n\n\
         Give it to the client as its API key (OPENAI_API_KEY, ANTHROPIC_AUTH_TOKEN, or the header\n\
         Authorization: Bearer ...). Only a hash of it is kept: if it is lost, revoke the key and make another.\n\
         limits   {}\n{balance}",
        title(&key),
        limits_text(&key.limits)
    ))?;
    Ok(ExitCode::SUCCESS)
}
