//! `fathom usage`: what was used, by whom, and what it cost.

mod csv;
mod moment;
mod prune;
mod text;

use std::process::ExitCode;

use clap::Subcommand;
use fathom_accounts::{Currency, Group, Offset, Query, Row};
use serde_json::{Map, Value, json};

use crate::accounts_file::AccountsFile;
use crate::output;
use moment::Moment;

/// Arguments of `fathom usage`.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Option<Action>,

    /// One line for each combination of these: key, user, model, wire, outcome, price, hour, day, month
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "key,model")]
    by: Vec<Group>,

    /// Requests that arrived at this moment or later: 2026-11-22, 2026-11, or 2026-11-22T13:00
    #[arg(long, value_name = "TIME")]
    from: Option<Moment>,

    /// Requests before the end of this day or month, or before this moment
    #[arg(long, value_name = "TIME")]
    to: Option<Moment>,

    /// Where days begin, and what times without one are in: an offset from UTC
    #[arg(long, value_name = "±HH:MM", default_value = "+00:00", value_parser = moment::offset, allow_hyphen_values = true)]
    utc_offset: Offset,

    /// Only this key: its name, or its number as #3
    #[arg(long, value_name = "NAME")]
    key: Option<String>,

    /// Only this user_id
    #[arg(long, value_name = "ID")]
    user: Option<String>,

    /// Only this model
    #[arg(long, value_name = "NAME")]
    model: Option<String>,

    /// Only this API: chat, messages, responses and so on
    #[arg(long, value_name = "NAME")]
    wire: Option<String>,

    /// Only what is counted in this currency
    #[arg(long, value_name = "CODE")]
    currency: Option<Currency>,

    #[command(flatten)]
    file: AccountsFile,

    /// Print one JSON object instead
    #[arg(long, conflicts_with = "csv")]
    json: bool,

    /// Print comma-separated values instead
    #[arg(long)]
    csv: bool,
}

const EXAMPLES: &str = "\
Examples:
  fathom usage --from 2026-11-01 --by key,day
  fathom usage --from 2026-11 --to 2026-11 --by key --csv";

#[derive(Subcommand)]
enum Action {
    /// Remove old requests; balances stay
    Prune(prune::Args),
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if let Some(Action::Prune(args)) = &args.action {
        return prune::run(args);
    }
    let accounts = args.file.open()?;
    let key = match &args.key {
        Some(name) => Some(accounts.find_key(name)?.id),
        None => None,
    };
    let query = Query {
        by: args.by.clone(),
        from: args
            .from
            .map(|moment| moment.begin(args.utc_offset))
            .transpose()?,
        to: args.to.map(|moment| moment.end(args.utc_offset)).transpose()?,
        key,
        user_id: args.user.clone(),
        model: args.model.clone(),
        wire: args.wire.clone(),
        currency: args.currency,
        offset: args.utc_offset,
    };
    let rows = accounts.report(&query)?;
    let out = if args.json {
        format!("{:#}\n", to_json(&query, &rows))
    } else if args.csv {
        csv::of(&query.by, &rows)
    } else {
        text::of(&query.by, &rows)
    };
    output::print(&out)?;
    Ok(ExitCode::SUCCESS)
}

fn to_json(query: &Query, rows: &[Row]) -> Value {
    let rows = rows.iter().map(|row| {
        let mut object = Map::new();
        for (group, value) in query.by.iter().zip(&row.group) {
            object.insert(group.name().to_owned(), value.as_str().into());
        }
        if let Ok(Value::Object(sums)) = serde_json::to_value(row) {
            object.extend(sums.into_iter().filter(|(name, _)| name != "group"));
        }
        Value::Object(object)
    });
    json!({"from": query.from, "to": query.to, "rows": rows.collect::<Vec<_>>()})
}
