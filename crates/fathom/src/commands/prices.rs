//! `fathom prices`: what tokens cost, from the built-in table or from a file of one's own.

use std::path::PathBuf;
use std::process::ExitCode;

use fathom_accounts::{Currency, Money, Price, Prices, Timestamp};
use serde_json::json;

use crate::output;
use crate::table::{Align, Table};

/// Arguments of `fathom prices`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A file of prices, which is checked; the published prices of the DeepSeek API by default
    #[arg(long, value_name = "FILE")]
    prices: Option<PathBuf>,

    /// The moment to show, such as 2026-11-23T02:00:00Z; now by default
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,

    /// Print one JSON object instead
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let prices = match &args.prices {
        Some(path) => Prices::read(path)?,
        None => Prices::deepseek(),
    };
    let at = args.at.unwrap_or_else(Timestamp::now);
    let shown: Vec<(&str, Price)> = prices
        .tiers()
        .flat_map(|tier| {
            let mut currencies = prices.currencies(tier);
            if currencies.is_empty() {
                // It is free in any.
                currencies.push(Currency::USD);
            }
            let prices = &prices;
            currencies
                .into_iter()
                .filter_map(move |currency| Some((tier, prices.price(tier, at, currency)?)))
        })
        .collect();
    if args.json {
        let shown: Vec<_> = shown
            .iter()
            .map(|(tier, price)| json!({"tier": tier, "price": price}))
            .collect();
        let object = json!({"at": at, "peak": prices.is_peak(at), "prices": shown});
        output::print(&format!("{object:#}\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let hours = if prices.is_peak(at) { "peak" } else { "off-peak" };
    let mut table = Table::new(&[
        ("tier", Align::Left),
        ("", Align::Left),
        ("hit", Align::Right),
        ("miss", Align::Right),
        ("output", Align::Right),
        ("price", Align::Left),
    ]);
    for (tier, price) in &shown {
        // A micro-unit per million tokens is a pico per token.
        let per_million = |picos: u64| {
            let picos = i64::try_from(picos).unwrap_or(i64::MAX).saturating_mul(1_000_000);
            Money::from_picos(picos).to_string()
        };
        table.row([
            (*tier).to_owned(),
            price.currency.to_string(),
            per_million(price.per_token.hit_picos),
            per_million(price.per_token.miss_picos),
            per_million(price.per_token.output_picos),
            price.id.clone(),
        ]);
    }
    let at = at.strftime("%Y-%m-%dT%H:%M:%SZ");
    let text = if shown.is_empty() {
        format!("Nothing has a price at {at}.\n")
    } else {
        format!("Per 1,000,000 tokens at {at} ({hours}):\n{table}")
    };
    output::print(&text)?;
    Ok(ExitCode::SUCCESS)
}
