//! What tokens cost, and when.
//!
//! Prices are data: a TOML file whose entries hold for one *tier* of models (`flash`, `pro`, or a name of your own) from one
//! moment on, until a later entry of that tier and currency takes over. The published prices of the DeepSeek API are built in
//! (`prices/deepseek.toml`, also the best example); an operator's own file replaces them as a whole.
//!
//! | `kind` | further keys |
//! |---|---|
//! | `table` | one table per currency, `USD = { hit = 0.003, miss = 0.15, output = 0.60 }`, per 1,000,000 tokens with at most six decimals; optionally `peak`, by which all three are multiplied in peak hours |
//! | `free` | none: costs nothing in every currency |
//! | `self-host` | what the machine costs, see [`self_host`] |
//!
//! Every entry has an `id` (kept with each request that it priced), a `tier`, a `kind` and `from`, a date and time with UTC
//! offset. `[peak_hours]` says which windows of which weekdays are peak, in which UTC offset, and which dates are holidays and so
//! are not. A year for which no holidays are listed has none: weekends alone are off-peak.

mod file;
mod peak;
pub mod self_host;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;

use crate::{Currency, Money, Tokens};

/// The published prices.
const DEEPSEEK: &str = include_str!("deepseek.toml");
/// No price file is longer.
const BYTES_MAX: u64 = 1 << 20;

/// Every price there is, past, present and announced.
#[derive(Clone, Debug)]
pub struct Prices {
    /// By tier, each ordered by `from`.
    tiers: BTreeMap<String, Vec<Entry>>,
    peak_hours: Option<peak::PeakHours>,
}

/// One entry of a file.
#[derive(Clone, Debug)]
struct Entry {
    id: String,
    from: Timestamp,
    rates: Rates,
}

#[derive(Clone, Debug)]
enum Rates {
    Free,
    /// `peak_thousandths`: the factor in peak hours, in thousandths; 1,000 if there is none.
    Of {
        by_currency: BTreeMap<Currency, PerToken>,
        peak_thousandths: u32,
    },
}

/// The price of one token of each kind, in 10⁻¹² of the currency: as many micro-units per million tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PerToken {
    /// A prompt token that came from the cache.
    pub hit_picos: u64,
    /// A prompt token that was computed.
    pub miss_picos: u64,
    /// A generated token, reasoning included.
    pub output_picos: u64,
}

impl PerToken {
    /// Of [`Tokens`], each price per token at most 10¹⁸, without rounding; saturates.
    fn cost(&self, tokens: &Tokens) -> Money {
        let of = |picos: u64, tokens: u64| i128::from(picos).saturating_mul(i128::from(tokens));
        let sum = of(self.hit_picos, tokens.hit)
            .saturating_add(of(self.miss_picos, tokens.miss))
            .saturating_add(of(self.output_picos, tokens.output));
        Money::saturating(sum)
    }

    /// Rounded to the nearest pico, halves up.
    fn times_thousandths(self, factor: u32) -> Self {
        let times = |picos: u64| {
            let product = u128::from(picos) * u128::from(factor) + 500;
            u64::try_from(product / 1_000).unwrap_or(u64::MAX)
        };
        Self {
            hit_picos: times(self.hit_picos),
            miss_picos: times(self.miss_picos),
            output_picos: times(self.output_picos),
        }
    }
}

/// The price of a tier at a moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Price {
    /// Which entry of the file it comes from; ends in `/peak` in its peak hours.
    pub id: String,
    /// What it is in.
    pub currency: Currency,
    /// Per token.
    #[serde(flatten)]
    pub per_token: PerToken,
}

impl Price {
    /// What these tokens cost. Reasoning is part of the output and not counted twice.
    pub fn cost(&self, tokens: &Tokens) -> Money {
        self.per_token.cost(tokens)
    }
}

/// Why a file of prices is not used.
#[derive(Debug, thiserror::Error)]
pub enum PricesError {
    /// It cannot be read.
    #[error("cannot read the prices in {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        error: std::io::Error,
    },
    /// It is not what it should be.
    #[error("the prices in {} are not usable: {error}", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// Why.
        error: Box<PricesError>,
    },
    /// It is not TOML, or has other keys or types than the format.
    #[error("{0}")]
    Format(String),
    /// An entry, or the peak hours, say something that cannot be.
    #[error("{place}: {problem}")]
    Content {
        /// `price "ID"` or `peak_hours`.
        place: String,
        /// Expected, found, what to do.
        problem: String,
    },
}

impl Prices {
    /// The published prices of the DeepSeek API.
    pub fn deepseek() -> Self {
        Self::parse(DEEPSEEK).expect("the file in the program is tested")
    }

    /// Nothing has a price.
    pub fn none() -> Self {
        Self {
            tiers: BTreeMap::new(),
            peak_hours: None,
        }
    }

    /// An operator's own file.
    pub fn read(path: &Path) -> Result<Self, PricesError> {
        use std::io::Read as _;
        let read = || {
            let mut text = String::new();
            std::fs::File::open(path)?
                .take(BYTES_MAX + 1)
                .read_to_string(&mut text)?;
            Ok(text)
        };
        let text = read().map_err(|error| PricesError::Read {
            path: path.to_owned(),
            error,
        })?;
        Self::parse(&text).map_err(|error| PricesError::InFile {
            path: path.to_owned(),
            error: Box::new(error),
        })
    }

    /// The text of a file.
    pub fn parse(text: &str) -> Result<Self, PricesError> {
        file::parse(text)
    }

    /// The price in force; `None` if this tier has none in this currency at that time.
    pub fn price(&self, tier: &str, at: Timestamp, currency: Currency) -> Option<Price> {
        let entries = self.tiers.get(tier)?;
        let begun = entries.partition_point(|entry| entry.from <= at);
        entries[..begun]
            .iter()
            .rev()
            .find_map(|entry| match &entry.rates {
                Rates::Free => Some(Price {
                    id: entry.id.clone(),
                    currency,
                    per_token: PerToken::default(),
                }),
                Rates::Of {
                    by_currency,
                    peak_thousandths,
                } => {
                    let per_token = *by_currency.get(&currency)?;
                    let peak = *peak_thousandths != 1_000 && self.is_peak(at);
                    Some(Price {
                        id: if peak {
                            format!("{}/peak", entry.id)
                        } else {
                            entry.id.clone()
                        },
                        currency,
                        per_token: if peak {
                            per_token.times_thousandths(*peak_thousandths)
                        } else {
                            per_token
                        },
                    })
                }
            })
    }

    /// Whether the moment lies in peak hours.
    pub fn is_peak(&self, at: Timestamp) -> bool {
        self.peak_hours.as_ref().is_some_and(|hours| hours.contains(at))
    }

    /// The tiers that have a price at some time.
    pub fn tiers(&self) -> impl Iterator<Item = &str> {
        self.tiers.keys().map(String::as_str)
    }

    /// The currencies that a tier has a price in at some time. Empty for one that is free.
    pub fn currencies(&self, tier: &str) -> Vec<Currency> {
        let mut currencies = Vec::new();
        for entry in self.tiers.get(tier).into_iter().flatten() {
            if let Rates::Of { by_currency, .. } = &entry.rates {
                currencies.extend(by_currency.keys());
            }
        }
        currencies.sort_unstable();
        currencies.dedup();
        currencies
    }
}

#[cfg(test)]
mod tests;
