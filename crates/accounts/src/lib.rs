//! Who may use a server, what they have used, and what it costs.
//!
//! This crate knows nothing of HTTP or of models. [`Accounts`] is one SQLite file: keys, of whose secrets it has hashes; balances; and a
//! ledger with one row for each finished request, on disk before its last byte is sent. Several servers and `fathom keys` may
//! have it open at once.

mod accounts;
mod audit;
mod currency;
mod error;
mod key;
mod key_table;
mod ledger;
pub mod limiter;
mod money;
pub mod prices;
mod record;
pub mod report;
mod schema;
mod secret;
mod tokens;
mod writer;

pub use accounts::{Accounts, Options};
pub use currency::{Currency, NoCurrency};
pub use error::{AccountsError, OpenError};
pub use jiff::Timestamp;
pub use jiff::tz::Offset;
pub use key::{Balance, Key, KeyId, Limits, NewKey};
pub use limiter::{Limiter, Permit, Refusal};
pub use money::{Money, NoAmount};
pub use prices::{Price, Prices, PricesError};
pub use record::{Record, Recorded};
pub use report::{Group, Query, Row};
pub use secret::Secret;
pub use tokens::Tokens;
