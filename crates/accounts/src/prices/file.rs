//! The file format: strict, with errors that name the entry.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use jiff::civil::Date;
use serde::Deserialize;
use serde::de::{Deserializer, Visitor};
use toml::value::Datetime;

use super::peak::{self, PeakHours};
use super::self_host::Machine;
use super::{BYTES_MAX, Entry, PerToken, Prices, PricesError, Rates};
use crate::{Currency, Money};

/// No file has more entries.
const ENTRIES_MAX: usize = 4_096;
/// Nothing that a file names has a longer name.
const NAME_BYTES_MAX: usize = 64;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    peak_hours: Option<PeakHoursTable>,
    price: Vec<EntryTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PeakHoursTable {
    utc_offset: String,
    weekdays: Vec<String>,
    windows: Vec<String>,
    #[serde(default)]
    holidays: Vec<Datetime>,
}

/// All keys of all kinds; which of them belong together is checked afterwards, because the library's own way of choosing by `kind`
/// loses the place of an error.
#[derive(Deserialize)]
struct EntryTable {
    id: String,
    tier: String,
    kind: Kind,
    from: Datetime,
    peak: Option<Decimal>,
    currency: Option<Currency>,
    prefill_tokens_per_second: Option<Figure>,
    decode_tokens_per_second: Option<Figure>,
    power_watts: Option<Figure>,
    idle_watts: Option<Figure>,
    price_per_kwh: Option<Figure>,
    hardware_price: Option<Figure>,
    lifetime_hours: Option<Figure>,
    utilisation: Option<Figure>,
    /// Whatever else there is: tables by currency, in capitals, if all is well.
    #[serde(flatten)]
    others: BTreeMap<String, toml::Value>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Table,
    Free,
    SelfHost,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RatesTable {
    hit: Decimal,
    miss: Decimal,
    output: Decimal,
}

/// A decimal number, `0.003` or `"0.003"`, with all its digits: a float is taken as the shortest decimal that reads as it, which is what
/// was typed as long as that has at most 15 digits.
#[derive(Clone)]
struct Decimal(String);

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Decimal;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a decimal number, such as 0.003")
            }

            fn visit_i64<E>(self, number: i64) -> Result<Decimal, E> {
                Ok(Decimal(number.to_string()))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Decimal, E> {
                Ok(Decimal(number.to_string()))
            }

            fn visit_str<E>(self, text: &str) -> Result<Decimal, E> {
                Ok(Decimal(text.to_owned()))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// A measured figure; whole numbers are welcome.
#[derive(Clone, Copy)]
struct Figure(f64);

impl<'de> Deserialize<'de> for Figure {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Figure;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number")
            }

            fn visit_i64<E>(self, number: i64) -> Result<Figure, E> {
                Ok(Figure(number as f64))
            }

            fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Figure, E> {
                if number.is_finite() {
                    Ok(Figure(number))
                } else {
                    Err(E::custom("expected a finite number"))
                }
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

pub(super) fn parse(text: &str) -> Result<Prices, PricesError> {
    if text.len() as u64 > BYTES_MAX {
        return Err(PricesError::Format(format!(
            "it is longer than {BYTES_MAX} bytes: expected a list of prices"
        )));
    }
    let file: File = toml::from_str(text).map_err(|error| PricesError::Format(error.to_string()))?;
    if file.price.len() > ENTRIES_MAX {
        return Err(PricesError::Format(format!(
            "it has {} prices: expected at most {ENTRIES_MAX}",
            file.price.len()
        )));
    }
    let peak_hours = match &file.peak_hours {
        Some(table) => Some(peak_hours(table).map_err(|problem| PricesError::Content {
            place: "peak_hours".to_owned(),
            problem,
        })?),
        None => None,
    };
    let mut ids = BTreeSet::new();
    let mut tiers: BTreeMap<String, Vec<Entry>> = BTreeMap::new();
    for table in &file.price {
        let entry = entry(table, peak_hours.is_some());
        let entry = entry.and_then(|entry| {
            if !ids.insert(entry.id.clone()) {
                return Err("there are two with this id; give each its own".to_owned());
            }
            let others = tiers.entry(table.tier.clone()).or_default();
            if let Some(other) = others.iter().find(|other| other.collides(&entry)) {
                return Err(format!(
                    "price {:?} is for the same tier and currency from the same moment; remove one",
                    other.id
                ));
            }
            others.push(entry);
            Ok(())
        });
        entry.map_err(|problem| PricesError::Content {
            place: format!(
                "price {:?}",
                table.id.chars().take(NAME_BYTES_MAX).collect::<String>()
            ),
            problem,
        })?;
    }
    for entries in tiers.values_mut() {
        entries.sort_by_key(|entry| entry.from);
    }
    Ok(Prices { tiers, peak_hours })
}

impl Entry {
    /// Whether both could be in force for one currency from the same moment.
    fn collides(&self, other: &Self) -> bool {
        let shared = match (&self.rates, &other.rates) {
            (Rates::Of { by_currency: a, .. }, Rates::Of { by_currency: b, .. }) => {
                a.keys().any(|currency| b.contains_key(currency))
            }
            _ => true,
        };
        shared && self.from == other.from
    }
}

fn entry(table: &EntryTable, has_peak_hours: bool) -> Result<Entry, String> {
    for (key, name) in [("id", &table.id), ("tier", &table.tier)] {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(plain) {
            return Err(format!(
                "{key} is {name:?}: expected 1 to {NAME_BYTES_MAX} letters, digits, dots, hyphens and underscores"
            ));
        }
    }
    let from = table.from.to_string();
    let from: Timestamp = from.parse().map_err(|_| {
        format!(
            "from is {from}: expected a date and time with its UTC offset, such as 2026-09-10T00:00:00+08:00"
        )
    })?;
    let rates = match table.kind {
        Kind::Free => Rates::Free,
        Kind::Table => rates(table)?,
        Kind::SelfHost => machine(table)?,
    };
    let foreign = foreign_key(table);
    if let Some(key) = foreign {
        return Err(format!("{key} does not belong to this kind of price; remove it"));
    }
    if table.peak.is_some() && !has_peak_hours {
        return Err("peak needs to know when: add a [peak_hours] table".to_owned());
    }
    Ok(Entry {
        id: table.id.clone(),
        from,
        rates,
    })
}

/// A key that only another kind has.
fn foreign_key(table: &EntryTable) -> Option<String> {
    let is = |kind| table.kind == kind;
    let self_host = [
        ("currency", table.currency.is_some()),
        (
            "prefill_tokens_per_second",
            table.prefill_tokens_per_second.is_some(),
        ),
        (
            "decode_tokens_per_second",
            table.decode_tokens_per_second.is_some(),
        ),
        ("power_watts", table.power_watts.is_some()),
        ("idle_watts", table.idle_watts.is_some()),
        ("price_per_kwh", table.price_per_kwh.is_some()),
        ("hardware_price", table.hardware_price.is_some()),
        ("lifetime_hours", table.lifetime_hours.is_some()),
        ("utilisation", table.utilisation.is_some()),
    ];
    if !is(Kind::SelfHost)
        && let Some((key, _)) = self_host.iter().find(|(_, there)| *there)
    {
        return Some((*key).to_owned());
    }
    if is(Kind::Free) && table.peak.is_some() {
        return Some("peak".to_owned());
    }
    if !is(Kind::Table) {
        return table.others.keys().next().cloned();
    }
    None
}

fn rates(table: &EntryTable) -> Result<Rates, String> {
    let mut by_currency = BTreeMap::new();
    for (name, value) in &table.others {
        let currency = name.parse::<Currency>().ok().filter(|code| code.code() == name);
        let currency = currency.ok_or_else(|| {
            format!("{name} is neither a key of a price nor a currency of three capital letters")
        })?;
        let rates: RatesTable = value
            .clone()
            .try_into()
            .map_err(|error: toml::de::Error| format!("{name}: {}", error.message()))?;
        let per_token = PerToken {
            hit_picos: per_million(name, "hit", &rates.hit)?,
            miss_picos: per_million(name, "miss", &rates.miss)?,
            output_picos: per_million(name, "output", &rates.output)?,
        };
        by_currency.insert(currency, per_token);
    }
    if by_currency.is_empty() {
        return Err(
            "expected at least one currency, such as USD = { hit = 0.003, miss = 0.15, output = 0.60 }"
                .to_owned(),
        );
    }
    Ok(Rates::Of {
        by_currency,
        peak_thousandths: peak_thousandths(table)?,
    })
}

/// Picos per token: micro-units per million tokens.
fn per_million(currency: &str, key: &str, decimal: &Decimal) -> Result<u64, String> {
    let wrong = || {
        format!(
            "{currency}.{key} is {}: expected a price per 1,000,000 tokens from 0 to 1,000,000 with at most six decimals",
            decimal.0.chars().take(40).collect::<String>()
        )
    };
    let money: Money = decimal.0.parse().map_err(|_| wrong())?;
    let picos_per_million = u64::try_from(money.picos()).map_err(|_| wrong())?;
    if !picos_per_million.is_multiple_of(1_000_000) || picos_per_million > 1_000_000 * 1_000_000_000_000 {
        return Err(wrong());
    }
    Ok(picos_per_million / 1_000_000)
}

fn peak_thousandths(table: &EntryTable) -> Result<u32, String> {
    let Some(peak) = &table.peak else {
        return Ok(1_000);
    };
    let factor = peak.0.parse::<Money>().ok().map(Money::picos);
    factor
        .filter(|picos| *picos > 0 && picos % 1_000_000_000 == 0 && *picos <= 100_000_000_000_000)
        .map(|picos| (picos / 1_000_000_000) as u32)
        .ok_or_else(|| {
            format!(
                "peak is {}: expected a factor above 0, at most 100, with at most three decimals",
                peak.0.chars().take(40).collect::<String>()
            )
        })
}

fn machine(table: &EntryTable) -> Result<Rates, String> {
    let needed = |key: &str, figure: Option<Figure>| {
        figure
            .map(|figure| figure.0)
            .ok_or_else(|| format!("{key} is missing: a self-host price needs it"))
    };
    let machine = Machine {
        prefill_tokens_per_second: needed("prefill_tokens_per_second", table.prefill_tokens_per_second)?,
        decode_tokens_per_second: needed("decode_tokens_per_second", table.decode_tokens_per_second)?,
        power_watts: needed("power_watts", table.power_watts)?,
        idle_watts: table.idle_watts.map_or(0.0, |figure| figure.0),
        price_per_kwh: needed("price_per_kwh", table.price_per_kwh)?,
        hardware_price: needed("hardware_price", table.hardware_price)?,
        lifetime_hours: needed("lifetime_hours", table.lifetime_hours)?,
        utilisation: needed("utilisation", table.utilisation)?,
    };
    let currency = table
        .currency
        .ok_or("currency is missing: say what the prices of power and hardware are in")?;
    Ok(Rates::Of {
        by_currency: BTreeMap::from([(currency, machine.per_token()?)]),
        peak_thousandths: peak_thousandths(table)?,
    })
}

fn peak_hours(table: &PeakHoursTable) -> Result<PeakHours, String> {
    let offset = peak::offset(&table.utc_offset).ok_or_else(|| {
        format!(
            "utc_offset is {:?}: expected one such as \"+08:00\"",
            table.utc_offset
        )
    })?;
    let mut weekdays = [false; 7];
    for name in &table.weekdays {
        let day = peak::weekday(name)
            .ok_or_else(|| format!("{name:?} is no weekday: expected mon, tue, wed, thu, fri, sat or sun"))?;
        weekdays[day.to_monday_zero_offset() as usize] = true;
    }
    let windows = table.windows.iter().map(|text| {
        peak::window(text).ok_or_else(|| {
            format!("{text:?} is no window: expected one such as \"09:00-12:00\", within a day")
        })
    });
    let holidays = table.holidays.iter().map(|date| {
        date.to_string()
            .parse::<Date>()
            .ok()
            .filter(|_| date.time.is_none())
            .ok_or_else(|| format!("the holiday {date} is no date: expected one such as 2026-01-01"))
    });
    Ok(PeakHours {
        offset,
        weekdays,
        windows: windows.collect::<Result<_, _>>()?,
        holidays: holidays.collect::<Result<_, _>>()?,
    })
}
