//! Keys: who may ask.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use crate::{AccountsError, Currency, Money};

/// Names are no longer than this.
pub(crate) const NAME_BYTES_MAX: usize = 64;

/// Which key, for ever: numbers are not used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct KeyId(pub i64);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// What a key may use. `None` is no limit of its own: the server's holds, if it has one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Requests at the same time.
    pub concurrent: Option<u32>,
    /// Requests at the same time of one model.
    pub concurrent_per_model: Option<u32>,
    /// Prompt and output tokens in any 60 seconds.
    pub tokens_per_minute: Option<u64>,
    /// Prompt and output tokens in any 24 hours.
    pub tokens_per_day: Option<u64>,
}

impl Limits {
    /// These, and `others` where there are none.
    #[must_use]
    pub fn or(self, others: Self) -> Self {
        Self {
            concurrent: self.concurrent.or(others.concurrent),
            concurrent_per_model: self.concurrent_per_model.or(others.concurrent_per_model),
            tokens_per_minute: self.tokens_per_minute.or(others.tokens_per_minute),
            tokens_per_day: self.tokens_per_day.or(others.tokens_per_day),
        }
    }
}

/// A key to be made.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// Up to 64 bytes; no other key that is not revoked has it.
    pub name: String,
    /// May see the administrator's pages.
    pub admin: bool,
    /// What it may use.
    pub limits: Limits,
    /// What its costs are counted in.
    pub currency: Currency,
    /// Whether it must have a balance: it stops where that is used up. Others may use what they like, and it is counted.
    pub prepaid: bool,
}

impl NewKey {
    /// An ordinary key without limits, its costs in US dollars.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            admin: false,
            limits: Limits::default(),
            currency: Currency::USD,
            prepaid: false,
        }
    }
}

/// A key. Its secret is not here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Key {
    /// Which.
    pub id: KeyId,
    /// What people call it.
    pub name: String,
    /// The last four characters of its secret.
    pub last_four: String,
    /// May see the administrator's pages.
    pub admin: bool,
    /// What its costs are counted in; never changes.
    pub currency: Currency,
    /// Whether it must have a balance.
    pub prepaid: bool,
    /// What it may use.
    pub limits: Limits,
    /// When it was made.
    pub created: Timestamp,
    /// When it was revoked.
    pub revoked: Option<Timestamp>,
}

/// What a key has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Balance {
    /// What the amounts are in.
    pub currency: Currency,
    /// Whether the amounts matter.
    pub prepaid: bool,
    /// Given; used up first.
    pub granted: Money,
    /// Paid. Below zero if the last requests cost more than was left: what is computed is charged.
    pub topped_up: Money,
}

impl Balance {
    /// Both.
    pub const fn total(&self) -> Money {
        self.granted.saturating_add(self.topped_up)
    }

    /// Whether the key may ask for anything: it need not pay in advance, or has something left.
    pub fn is_available(&self) -> bool {
        !self.prepaid || self.total() > Money::ZERO
    }

    /// How a charge is taken: what comes from the granted part and what from the other.
    pub(crate) fn split(&self, cost: Money) -> (Money, Money) {
        let granted = cost.min(self.granted).max(Money::ZERO);
        (granted, cost.saturating_sub(granted))
    }
}

/// Names that can be typed, printed and told from numbers and secrets.
pub(crate) fn check_name(name: &str) -> Result<(), AccountsError> {
    let problem = if name.is_empty() || name.len() > NAME_BYTES_MAX {
        "expected 1 to 64 bytes"
    } else if name.trim() != name || name.chars().any(char::is_control) {
        "expected no line breaks or control characters, and no blanks at its ends"
    } else if name.starts_with('#') {
        "# begins the number of a key"
    } else if name.starts_with("sk-") {
        "sk- begins a secret, and names are shown to everybody"
    } else {
        return Ok(());
    };
    Err(AccountsError::Name {
        name: name.chars().take(NAME_BYTES_MAX).collect(),
        problem,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_granted_part_goes_first() {
        let picos = Money::from_picos;
        let balance = |granted, topped_up| Balance {
            currency: Currency::USD,
            prepaid: true,
            granted: picos(granted),
            topped_up: picos(topped_up),
        };
        assert_eq!(balance(10, 5).split(picos(7)), (picos(7), picos(0)));
        assert_eq!(balance(10, 5).split(picos(12)), (picos(10), picos(2)));
        assert_eq!(balance(0, 5).split(picos(12)), (picos(0), picos(12)));
        assert!(balance(1, 0).is_available());
        assert!(!balance(5, -5).is_available());
    }

    #[test]
    fn names_are_checked() {
        for name in ["laptop", "Zoë's agent", "team/ci", "小王", "a b"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", " a", "a\nb", "#3", "sk-1234", &"x".repeat(65)] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
