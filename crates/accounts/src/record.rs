//! What is kept of a request.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::{AccountsError, Currency, Key, KeyId, Money, Price, Prices, Tokens};

/// Ids are no longer than this.
pub(crate) const ID_BYTES_MAX: usize = 128;
/// Other texts are cut here.
const TEXT_BYTES_MAX: usize = 512;

/// A finished request: answered, cancelled half-way or failed, with the tokens that were computed for it.
#[derive(Clone, Debug)]
pub struct Record {
    /// 1 to 128 bytes, never used again: a second record with it is not counted.
    pub id: String,
    /// Whose it was; `None` without a key.
    pub key: Option<Arc<Key>>,
    /// Which of the key's own users, as the request said, or empty.
    pub user_id: String,
    /// The model that answered.
    pub model: String,
    /// The model's tier, by which it has a price; `None`: it has none.
    pub tier: Option<String>,
    /// By which API: `chat`, `messages`, `responses`, …
    pub wire: Cow<'static, str>,
    /// How it ended: `stop`, `length`, `tool_calls`, `cancelled`, `error`, …
    pub outcome: Cow<'static, str>,
    /// What it used.
    pub tokens: Tokens,
    /// Whether it costs what it used; `false` where the server failed. Its tokens are counted all the same.
    pub billed: bool,
    /// When it arrived; the price in force then holds for all of it.
    pub started: Timestamp,
    /// How long it waited.
    pub queued: Duration,
    /// How long its prompt took.
    pub prefill: Duration,
    /// How long its output took.
    pub decode: Duration,
}

/// What became of a record. It is on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Recorded {
    /// `false`: a record with its id was there already and nothing was changed; the rest is that one's.
    pub new: bool,
    /// What it cost; `None` without a price; 0 if it was not billed.
    pub cost: Option<Money>,
    /// What that is in.
    pub currency: Currency,
    /// The price it was computed from.
    pub price: Option<String>,
}

/// A record with its cost, ready to be written.
#[derive(Debug)]
pub(crate) struct Priced {
    pub(crate) id: String,
    pub(crate) key: Option<KeyId>,
    pub(crate) user_id: String,
    pub(crate) model: String,
    pub(crate) wire: Cow<'static, str>,
    pub(crate) outcome: Cow<'static, str>,
    pub(crate) tokens: Tokens,
    pub(crate) started: Timestamp,
    pub(crate) queued: Duration,
    pub(crate) prefill: Duration,
    pub(crate) decode: Duration,
    pub(crate) currency: Currency,
    pub(crate) price: Option<String>,
    pub(crate) cost: Option<Money>,
}

impl Record {
    /// With what it costs by `prices`; in `currency` if it has no key.
    pub(crate) fn priced(self, prices: &Prices, currency: Currency) -> Result<Priced, AccountsError> {
        if self.id.is_empty() || self.id.len() > ID_BYTES_MAX {
            return Err(AccountsError::RequestId(self.id.len()));
        }
        let currency = self.key.as_ref().map_or(currency, |key| key.currency);
        let price: Option<Price> = self
            .tier
            .as_ref()
            .filter(|_| self.billed)
            .and_then(|tier| prices.price(tier, self.started, currency));
        let cost = match &price {
            Some(price) => Some(price.cost(&self.tokens)),
            None if self.billed => None,
            None => Some(Money::ZERO),
        };
        Ok(Priced {
            id: self.id,
            key: self.key.map(|key| key.id),
            user_id: cut(self.user_id),
            model: cut(self.model),
            wire: cut(self.wire.into_owned()).into(),
            outcome: cut(self.outcome.into_owned()).into(),
            tokens: self.tokens,
            started: self.started,
            queued: self.queued,
            prefill: self.prefill,
            decode: self.decode,
            currency,
            cost,
            price: price.map(|price| price.id),
        })
    }
}

/// Of bounded length: better a name cut short than a request that is not counted.
fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
    text
}
