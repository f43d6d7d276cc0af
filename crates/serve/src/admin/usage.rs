//! `GET /admin/api/usage`.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use fathom_accounts::{Group, Query as Sums, Row, Timestamp};
use jiff::ToSpan as _;
use jiff::civil::Date;
use jiff::tz::{Offset, TimeZone};
use serde::{Deserialize, Serialize};

use super::Operator;
use crate::app::App;
use crate::error::ApiError;

/// Which requests, and how they are summed.
#[derive(Deserialize)]
pub(crate) struct Wanted {
    /// `key`, `model`, `day` or another of [`Group::ALL`].
    by: String,
    /// First day, `2026-11-22`.
    from: Option<String>,
    /// Last day.
    to: Option<String>,
    /// Where days begin: minutes east of UTC.
    #[serde(default)]
    offset: i32,
}

/// One row for each group and currency.
#[derive(Serialize)]
pub(crate) struct Usage {
    /// Whether this server records usage at all.
    accounts: bool,
    rows: Vec<Sum>,
}

#[derive(Serialize)]
struct Sum {
    /// Empty for requests without a key.
    group: String,
    currency: String,
    requests: u64,
    hit: u64,
    miss: u64,
    output: u64,
    reasoning: u64,
    /// Decimal.
    cost: String,
}

pub(crate) async fn usage(
    State(app): State<Arc<App>>,
    _: Operator,
    query: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Usage>, ApiError> {
    let Query(wanted) = query.map_err(|rejection| ApiError::invalid(rejection.body_text()))?;
    let sums = wanted.sums()?;
    let Some(accounts) = app.accounts.clone() else {
        return Ok(Json(Usage {
            accounts: false,
            rows: Vec::new(),
        }));
    };
    // It reads the file.
    let report = tokio::task::spawn_blocking(move || accounts.report(&sums)).await;
    let rows = report
        .map_err(|error| ApiError::internal(error.to_string()))?
        .map_err(|error| ApiError::internal(error.to_string()))?;
    Ok(Json(Usage {
        accounts: true,
        rows: rows.into_iter().map(Sum::of).collect(),
    }))
}

impl Wanted {
    fn sums(&self) -> Result<Sums, ApiError> {
        let group: Group = self
            .by
            .parse()
            .map_err(|error| ApiError::invalid(format!("by: {error}")))?;
        let offset = Offset::from_seconds(self.offset.saturating_mul(60)).map_err(|_| {
            ApiError::invalid(format!(
                "offset: {} minutes is no distance from UTC that any place has",
                self.offset
            ))
        })?;
        // Not before the first day begins, and before the day after the last one does.
        let from = self
            .from
            .as_deref()
            .map(|day| begin("from", day, 0, offset))
            .transpose()?;
        let to = self
            .to
            .as_deref()
            .map(|day| begin("to", day, 1, offset))
            .transpose()?;
        Ok(Sums {
            by: vec![group],
            from,
            to,
            offset,
            ..Sums::default()
        })
    }
}

/// When the day that many days after `day` begins.
fn begin(field: &str, day: &str, after: i64, offset: Offset) -> Result<Timestamp, ApiError> {
    let wrong = || {
        ApiError::invalid(format!(
            "{field}: {day:?} is no day; expected one such as 2026-11-22"
        ))
    };
    let day: Date = day.parse().map_err(|_| wrong())?;
    let day = day.checked_add(after.days()).map_err(|_| wrong())?;
    let begun = day.to_zoned(TimeZone::fixed(offset)).map_err(|_| wrong())?;
    Ok(begun.timestamp())
}

impl Sum {
    fn of(row: Row) -> Self {
        Self {
            group: row.group.into_iter().next().unwrap_or_default(),
            currency: row.currency.code().to_owned(),
            requests: row.requests,
            hit: row.tokens.hit,
            miss: row.tokens.miss,
            output: row.tokens.output,
            reasoning: row.tokens.reasoning,
            cost: row.cost.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(by: &str, from: &str, to: &str, offset: i32) -> Result<Sums, ApiError> {
        let day = |day: &str| (!day.is_empty()).then(|| day.to_owned());
        Wanted {
            by: by.to_owned(),
            from: day(from),
            to: day(to),
            offset,
        }
        .sums()
    }

    #[test]
    fn days_are_those_of_the_reader_and_the_last_one_counts() {
        let sums = wanted("day", "2026-11-20", "2026-11-22", 480).unwrap();
        assert_eq!(sums.from.unwrap().to_string(), "2026-11-19T16:00:00Z");
        assert_eq!(sums.to.unwrap().to_string(), "2026-11-22T16:00:00Z");
        let sums = wanted("key", "", "", 0).unwrap();
        assert_eq!((sums.from, sums.to), (None, None));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (by, from, to, offset, named) in [
            ("colour", "", "", 0, "by: nothing is summed by"),
            ("key", "yesterday", "", 0, "from: \"yesterday\" is no day"),
            ("key", "", "2026-13-01", 0, "to: \"2026-13-01\" is no day"),
            ("key", "", "9999-12-31", 0, "to: \"9999-12-31\" is no day"),
            ("key", "", "", i32::MAX, "offset: 2147483647 minutes"),
        ] {
            let error = wanted(by, from, to, offset).unwrap_err();
            assert!(
                error.body()["error"]["message"]
                    .as_str()
                    .unwrap()
                    .starts_with(named),
                "{error:?}"
            );
        }
    }
}
