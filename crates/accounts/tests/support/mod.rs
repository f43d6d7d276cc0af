//! Making records.

use std::sync::Arc;
use std::time::Duration;

use fathom_accounts::{Key, Record, Timestamp, Tokens};

/// A Sunday: off-peak.
pub(crate) const SUNDAY: &str = "2026-11-15T12:00:00Z";

/// One that costs 0.75 USD (4 + 1 CNY): a million tokens computed, a million generated, of the flash tier.
pub(crate) fn record(id: &str, key: Option<&Arc<Key>>) -> Record {
    Record {
        id: id.to_owned(),
        key: key.cloned(),
        user_id: String::new(),
        model: "deepseek-v4-flash".to_owned(),
        tier: Some("flash".to_owned()),
        wire: "chat".into(),
        outcome: "stop".into(),
        tokens: Tokens {
            hit: 0,
            miss: 1_000_000,
            output: 1_000_000,
            reasoning: 400_000,
        },
        billed: true,
        started: SUNDAY.parse::<Timestamp>().unwrap(),
        queued: Duration::from_millis(1),
        prefill: Duration::from_millis(20),
        decode: Duration::from_millis(300),
    }
}
