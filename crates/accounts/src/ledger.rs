//! Writing records: a row and its charge together, once.

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};

use crate::record::{Priced, Recorded};
use crate::{Balance, Currency, KeyId, Money};

/// Writes all records in one transaction: all are on disk when it returns, or none.
pub(crate) fn write(connection: &mut Connection, records: &[Priced]) -> rusqlite::Result<Vec<Recorded>> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let recorded = records
        .iter()
        .map(|record| write_one(&transaction, record))
        .collect::<rusqlite::Result<_>>()?;
    transaction.commit()?;
    Ok(recorded)
}

fn write_one(transaction: &Transaction<'_>, record: &Priced) -> rusqlite::Result<Recorded> {
    let mut known = transaction.prepare_cached("SELECT cost, currency, price FROM requests WHERE id = ?1")?;
    let known = known.query_row([&record.id], |row| {
        Ok(Recorded {
            new: false,
            cost: row.get::<_, Option<i64>>(0)?.map(Money::from_picos),
            currency: currency(&row.get::<_, String>(1)?),
            price: row.get(2)?,
        })
    });
    if let Some(recorded) = known.optional()? {
        return Ok(recorded);
    }
    let (granted, topped_up) = match (record.key, record.cost) {
        (Some(key), Some(cost)) if cost > Money::ZERO => charge(transaction, key, cost)?,
        _ => (Money::ZERO, Money::ZERO),
    };
    let mut insert = transaction.prepare_cached(
        "INSERT INTO requests (id, key, user_id, model, wire, outcome, started, queued, prefill, decode, \
         hit, miss, output, reasoning, currency, price, cost, from_granted, from_topped_up) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)",
    )?;
    insert.execute(params![
        record.id,
        record.key.map(|key| key.0),
        record.user_id,
        record.model,
        record.wire,
        record.outcome,
        record.started.as_millisecond(),
        milliseconds(record.queued),
        milliseconds(record.prefill),
        milliseconds(record.decode),
        count(record.tokens.hit),
        count(record.tokens.miss),
        count(record.tokens.output),
        count(record.tokens.reasoning),
        record.currency.code(),
        record.price,
        record.cost.map(Money::picos),
        granted.picos(),
        topped_up.picos(),
    ])?;
    Ok(Recorded {
        new: true,
        cost: record.cost,
        currency: record.currency,
        price: record.price.clone(),
    })
}

/// Takes a cost from a prepaid key's balance, and says from which parts. Nothing is taken from others.
fn charge(transaction: &Transaction<'_>, key: KeyId, cost: Money) -> rusqlite::Result<(Money, Money)> {
    let Some(balance) = balance(transaction, key)?.filter(|balance| balance.prepaid) else {
        return Ok((Money::ZERO, Money::ZERO));
    };
    let (granted, topped_up) = balance.split(cost);
    let left = (
        balance.granted.saturating_sub(granted),
        balance.topped_up.saturating_sub(topped_up),
    );
    transaction
        .prepare_cached("UPDATE keys SET granted = ?2, topped_up = ?3 WHERE id = ?1")?
        .execute(params![key.0, left.0.picos(), left.1.picos()])?;
    Ok((granted, topped_up))
}

pub(crate) fn balance(connection: &Connection, key: KeyId) -> rusqlite::Result<Option<Balance>> {
    connection
        .prepare_cached("SELECT currency, prepaid, granted, topped_up FROM keys WHERE id = ?1")?
        .query_row([key.0], |row| {
            Ok(Balance {
                currency: currency(&row.get::<_, String>(0)?),
                prepaid: row.get(1)?,
                granted: Money::from_picos(row.get(2)?),
                topped_up: Money::from_picos(row.get(3)?),
            })
        })
        .optional()
}

/// Only currencies are written, so only currencies are read.
pub(crate) fn currency(code: &str) -> Currency {
    code.parse().unwrap_or(Currency::USD)
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn count(tokens: u64) -> i64 {
    // Sums over a million million such rows still fit.
    tokens.min(1 << 40) as i64
}

/// What each key used in the last 24 hours: key, how long ago (to the quarter of an hour, rounded down), tokens.
pub(crate) fn recent_tokens(
    connection: &Connection,
    now: Timestamp,
) -> rusqlite::Result<Vec<(KeyId, Duration, u64)>> {
    const DAY: i64 = 24 * 60 * 60 * 1_000;
    const STEP: i64 = 15 * 60 * 1_000;
    let now = now.as_millisecond();
    // A request counts when it ends.
    let mut statement = connection.prepare(
        "SELECT key, max(0, (?1 - (started + queued + prefill + decode)) / ?2) AS steps, sum(hit + miss + output) \
         FROM requests WHERE key IS NOT NULL AND started >= ?3 GROUP BY key, steps",
    )?;
    let rows = statement.query_map([now, STEP, now - 2 * DAY], |row| {
        let ago = row.get::<_, i64>(1)? * STEP;
        Ok((
            KeyId(row.get(0)?),
            Duration::from_millis(ago as u64),
            row.get::<_, i64>(2)?.max(0) as u64,
        ))
    })?;
    rows.collect()
}
