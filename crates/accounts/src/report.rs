//! Sums over the ledger.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::tz::Offset;
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};
use serde::Serialize;

use crate::ledger::currency;
use crate::{Currency, KeyId, Money, Tokens};

/// What rows are summed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Group {
    /// The key's name; empty without a key.
    Key,
    /// The key's own users.
    User,
    /// The model that answered.
    Model,
    /// The API.
    Wire,
    /// How requests ended.
    Outcome,
    /// What they were charged by.
    Price,
    /// The hour in which they arrived, `2026-11-22 13:00`.
    Hour,
    /// The day, `2026-11-22`.
    Day,
    /// The month, `2026-11`.
    Month,
}

impl Group {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Key,
        Self::User,
        Self::Model,
        Self::Wire,
        Self::Outcome,
        Self::Price,
        Self::Hour,
        Self::Day,
        Self::Month,
    ];

    /// Its name, as [`FromStr`] reads it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::User => "user",
            Self::Model => "model",
            Self::Wire => "wire",
            Self::Outcome => "outcome",
            Self::Price => "price",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
        }
    }

    /// What SQL groups by; `?1` is the UTC offset in milliseconds.
    fn sql(self) -> &'static str {
        match self {
            // Names may be used again once a key is revoked.
            Self::Key => {
                "CASE WHEN r.key IS NULL THEN '' WHEN k.revoked IS NULL THEN k.name \
                 ELSE k.name || ' (#' || k.id || ', revoked)' END"
            }
            Self::User => "r.user_id",
            Self::Model => "r.model",
            Self::Wire => "r.wire",
            Self::Outcome => "r.outcome",
            Self::Price => "coalesce(r.price, '')",
            Self::Hour => "strftime('%Y-%m-%d %H:00', (r.started + ?1) / 1000, 'unixepoch')",
            Self::Day => "strftime('%Y-%m-%d', (r.started + ?1) / 1000, 'unixepoch')",
            Self::Month => "strftime('%Y-%m', (r.started + ?1) / 1000, 'unixepoch')",
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Group {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|group| group.name() == text);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("nothing is summed by {text:?}; expected one of {names}")
        })
    }
}

/// Which requests, and how they are summed. The default is one sum over everything.
#[derive(Clone, Debug)]
pub struct Query {
    /// One row for each combination of these, in this order.
    pub by: Vec<Group>,
    /// Not before.
    pub from: Option<Timestamp>,
    /// Before.
    pub to: Option<Timestamp>,
    /// Of this key.
    pub key: Option<KeyId>,
    /// Of this `user_id`.
    pub user_id: Option<String>,
    /// Of this model.
    pub model: Option<String>,
    /// By this API.
    pub wire: Option<String>,
    /// Counted in this currency.
    pub currency: Option<Currency>,
    /// Where days begin.
    pub offset: Offset,
}

impl Default for Query {
    fn default() -> Self {
        Self {
            by: Vec::new(),
            from: None,
            to: None,
            key: None,
            user_id: None,
            model: None,
            wire: None,
            currency: None,
            offset: Offset::UTC,
        }
    }
}

/// A sum. Currencies are never added up: there is a row for each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// What is summed here, one for each of [`Query::by`].
    pub group: Vec<String>,
    /// What `cost` is in.
    pub currency: Currency,
    /// Requests.
    pub requests: u64,
    /// Their tokens.
    #[serde(flatten)]
    pub tokens: Tokens,
    /// What those with a price cost.
    pub cost: Money,
    /// Requests without a price.
    pub unpriced: u64,
    /// Time spent on their prompts, in milliseconds; requests that share steps count each.
    pub prefill_ms: u64,
    /// Time spent on their output, likewise.
    pub decode_ms: u64,
}

pub(crate) fn rows(connection: &Connection, query: &Query) -> rusqlite::Result<Vec<Row>> {
    let mut values = vec![Value::Integer(i64::from(query.offset.seconds()) * 1_000)];
    // Used even if nothing is grouped by time, so that it can always be bound.
    let mut conditions = vec!["?1 IS NOT NULL".to_owned()];
    let mut condition = |sql: &str, value: Option<Value>| {
        if let Some(value) = value {
            values.push(value);
            conditions.push(format!("{sql} ?{}", values.len()));
        }
    };
    let time = |time: Option<Timestamp>| time.map(|time| Value::Integer(time.as_millisecond()));
    let text = |text: &Option<String>| text.clone().map(Value::Text);
    condition("r.started >=", time(query.from));
    condition("r.started <", time(query.to));
    condition("r.key =", query.key.map(|key| Value::Integer(key.0)));
    condition("r.user_id =", text(&query.user_id));
    condition("r.model =", text(&query.model));
    condition("r.wire =", text(&query.wire));
    let code = query.currency.map(|currency| currency.code().to_owned());
    condition("r.currency =", text(&code));
    let groups: Vec<&str> = query.by.iter().map(|group| group.sql()).collect();
    let selected = [&groups[..], &["r.currency"]].concat().join(", ");
    let numbers: Vec<String> = (1..=query.by.len() + 1)
        .map(|number| number.to_string())
        .collect();
    // Costs in two parts, for their sum may be greater than a 64-bit number.
    let sql = format!(
        "SELECT {selected}, count(*), sum(hit), sum(miss), sum(output), sum(reasoning), \
         coalesce(sum(cost / 1000000), 0), coalesce(sum(cost % 1000000), 0), sum(cost IS NULL), sum(prefill), sum(decode) \
         FROM requests AS r LEFT JOIN keys AS k ON k.id = r.key WHERE {} GROUP BY {order} ORDER BY {order}",
        conditions.join(" AND "),
        order = numbers.join(", "),
    );
    let first = query.by.len();
    let mut statement = connection.prepare(&sql)?;
    let rows = statement.query_map(params_from_iter(values), |row| {
        let number =
            |column: usize| -> rusqlite::Result<u64> { Ok(row.get::<_, i64>(first + column)?.max(0) as u64) };
        let group = (0..first).map(|column| row.get::<_, Option<String>>(column));
        let group = group.map(|text| Ok(text?.unwrap_or_default()));
        let millions = i128::from(row.get::<_, i64>(first + 6)?);
        let rest = i128::from(row.get::<_, i64>(first + 7)?);
        Ok(Row {
            group: group.collect::<rusqlite::Result<_>>()?,
            currency: currency(&row.get::<_, String>(first)?),
            requests: number(1)?,
            tokens: Tokens {
                hit: number(2)?,
                miss: number(3)?,
                output: number(4)?,
                reasoning: number(5)?,
            },
            cost: Money::saturating(millions * 1_000_000 + rest),
            unpriced: number(8)?,
            prefill_ms: number(9)?,
            decode_ms: number(10)?,
        })
    })?;
    rows.collect()
}
