//! Balances against what they come from, and removing old rows without breaking that.

use jiff::Timestamp;
use rusqlite::Connection;

use crate::KeyId;

/// Rows removed in one transaction.
const PIECE: i64 = 5_000;

/// Keys whose balance is not credits minus charges.
pub(crate) fn wrong_balances(connection: &Connection) -> rusqlite::Result<Vec<KeyId>> {
    let mut statement = connection.prepare(
        "SELECT id FROM keys WHERE \
         granted <> (SELECT coalesce(sum(amount), 0) FROM credits WHERE key = keys.id AND granted = 1) \
                  - (SELECT coalesce(sum(from_granted), 0) FROM requests WHERE key = keys.id) \
         OR topped_up <> (SELECT coalesce(sum(amount), 0) FROM credits WHERE key = keys.id AND granted = 0) \
                  - (SELECT coalesce(sum(from_topped_up), 0) FROM requests WHERE key = keys.id) \
         ORDER BY id",
    )?;
    let keys = statement.query_map([], |row| row.get(0).map(KeyId))?;
    keys.collect()
}

/// Removes some rows that began before a moment, within the caller's transaction. What they had charged becomes a negative credit.
pub(crate) fn prune(connection: &Connection, before: Timestamp) -> rusqlite::Result<u64> {
    const OLD: &str = "SELECT rowid FROM requests WHERE started < ?1 ORDER BY started, rowid LIMIT ?2";
    let (before, now) = (before.as_millisecond(), Timestamp::now().as_millisecond());
    for (granted, part) in [(1, "from_granted"), (0, "from_topped_up")] {
        let sql = format!(
            "INSERT INTO credits (key, at, amount, granted) \
             SELECT key, ?3, -sum({part}), {granted} FROM requests WHERE rowid IN ({OLD}) AND {part} <> 0 GROUP BY key"
        );
        connection.execute(&sql, [before, PIECE, now])?;
    }
    let removed = connection.execute(
        &format!("DELETE FROM requests WHERE rowid IN ({OLD})"),
        [before, PIECE],
    )?;
    Ok(removed as u64)
}
