//! Keys, prices and the ledger of a server.

use std::path::PathBuf;

use anyhow::Context as _;
use fathom_accounts::{Accounts, Currency, Limits, Options, Prices, Timestamp, Tokens};

use super::log;
use crate::accounts_file::AccountsFile;
use crate::commands::keys::limit_flags::{Limit, parse_requests, parse_tokens};
use crate::commands::message;

/// How a server's accounts are kept.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct LedgerOptions {
    #[command(flatten)]
    file: AccountsFile,

    /// Prices by tier, from this TOML file; by default the published prices of the hosted API
    #[arg(long, value_name = "FILE", help_heading = "Accounts")]
    prices: Option<PathBuf>,

    /// What the use of callers without a key is counted in
    #[arg(long, value_name = "CODE", default_value_t = Currency::USD, help_heading = "Accounts")]
    currency: Currency,

    /// Requests that a key may have at the same time, if it has no limit of its own
    #[arg(long, value_name = "N", value_parser = parse_requests, help_heading = "Accounts")]
    key_concurrent: Option<Limit>,

    /// The same of one model
    #[arg(long, value_name = "N", value_parser = parse_requests, help_heading = "Accounts")]
    key_concurrent_per_model: Option<Limit>,

    /// Prompt and output tokens that a key may use in any 60 seconds (such as 200k), if it has no limit of its own
    #[arg(long, value_name = "N", value_parser = parse_tokens, help_heading = "Accounts")]
    key_tokens_per_minute: Option<Limit>,

    /// The same in any 24 hours
    #[arg(long, value_name = "N", value_parser = parse_tokens, help_heading = "Accounts")]
    key_tokens_per_day: Option<Limit>,
}

/// What is known of the keys before serving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Keys {
    /// Those that are not revoked.
    pub(crate) usable: usize,
}

impl LedgerOptions {
    /// Where accounts are or would be.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        self.file.path()
    }

    /// Reads the prices.
    pub(crate) fn prices(&self) -> anyhow::Result<Prices> {
        match &self.prices {
            Some(path) => Ok(Prices::read(path)?),
            None => Ok(Prices::deepseek()),
        }
    }

    /// Opens the accounts; the file is made if it is not there. Where nobody named a file and the usual one cannot be had, what is
    /// used is counted until the server ends, with a note.
    pub(crate) fn open(&self) -> anyhow::Result<Accounts> {
        let options = self.options(true)?;
        let Some(path) = self.path() else {
            log::line(
                "note: this user has no home, so usage is forgotten when the server ends; name a file with --accounts",
            );
            return Ok(Accounts::in_memory(options));
        };
        if let Some(dir) = path.parent().filter(|_| !self.file.is_named()) {
            // If that fails, opening says so.
            std::fs::create_dir_all(dir).ok();
        }
        match Accounts::open(&path, options.clone()) {
            Err(error) if !self.file.is_named() && !path.exists() => {
                log::line(&format!("note: {error}. Usage is forgotten when the server ends"));
                Ok(Accounts::in_memory(options))
            }
            opened => Ok(opened?),
        }
    }

    /// What tokens of a tier cost now: per million, and which entry says so. `None` if nothing does.
    pub(crate) fn price(&self, tier: &str) -> Option<String> {
        let price = self.prices().ok()?.price(tier, Timestamp::now(), self.currency)?;
        let million = |tokens: Tokens| price.cost(&tokens);
        let (hit, miss, output) = (
            million(Tokens {
                hit: 1_000_000,
                ..Tokens::default()
            }),
            million(Tokens {
                miss: 1_000_000,
                ..Tokens::default()
            }),
            million(Tokens {
                output: 1_000_000,
                ..Tokens::default()
            }),
        );
        Some(format!(
            "{} per million tokens: hit {hit}, miss {miss}, output {output} ({})",
            self.currency, price.id
        ))
    }

    /// Looks at the accounts without making any, and at the prices, which have to have one for each of `tiers`. What is wrong is
    /// said.
    pub(crate) fn look<'a>(&self, tiers: impl IntoIterator<Item = &'a str>) -> (Keys, Vec<String>) {
        let mut problems = Vec::new();
        match self.prices() {
            Err(error) => problems.push(format!("--prices: {}", message(&error))),
            Ok(prices) => {
                for tier in tiers {
                    if !prices.tiers().any(|known| known == tier) {
                        let known: Vec<_> = prices.tiers().collect();
                        problems.push(format!(
                            "price = \"{tier}\": the prices have no such tier, they have {}",
                            known.join(", ")
                        ));
                    }
                }
            }
        }
        let (keys, problem) = self.keys();
        problems.extend(problem);
        (keys, problems)
    }

    fn keys(&self) -> (Keys, Option<String>) {
        let none = Keys { usable: 0 };
        let Some(path) = self.path().filter(|path| path.exists()) else {
            return (none, None);
        };
        let options = Options {
            create: false,
            ..Options::default()
        };
        let keys = Accounts::open(&path, options)
            .map_err(anyhow::Error::from)
            .and_then(|accounts| accounts.keys().context("the accounts cannot be read"));
        match keys {
            Ok(keys) => {
                let usable = keys.iter().filter(|key| key.revoked.is_none()).count();
                (Keys { usable }, None)
            }
            Err(error) => (none, Some(message(&error))),
        }
    }

    /// Limits of keys that have none of their own.
    pub(crate) fn limits(&self) -> Limits {
        // Their parser keeps to the range.
        let requests = |limit: Option<Limit>| u32::try_from(limit?.number()?).ok();
        Limits {
            concurrent: requests(self.key_concurrent),
            concurrent_per_model: requests(self.key_concurrent_per_model),
            tokens_per_minute: self.key_tokens_per_minute.and_then(Limit::number),
            tokens_per_day: self.key_tokens_per_day.and_then(Limit::number),
        }
    }

    fn options(&self, create: bool) -> anyhow::Result<Options> {
        Ok(Options {
            prices: self.prices()?,
            currency: self.currency,
            limits: self.limits(),
            create,
        })
    }
}
