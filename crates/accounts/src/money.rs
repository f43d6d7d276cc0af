//! Amounts of money, exact.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// Picos in one unit of a currency.
const ONE: i64 = 1_000_000_000_000;
const DECIMALS: usize = 12;

/// An amount in some currency, in units of 10⁻¹² (picos): what one token costs is a whole number of them as long as
/// prices per million tokens have at most six decimals, so sums are exact. At most about ±9,223,372 of the currency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money(i64);

impl Money {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The greatest amount.
    pub const MAX: Self = Self(i64::MAX);

    /// An amount of 10⁻¹² units.
    pub const fn from_picos(picos: i64) -> Self {
        Self(picos)
    }

    /// In units of 10⁻¹².
    pub const fn picos(self) -> i64 {
        self.0
    }

    /// The nearest amount that there is.
    pub(crate) fn saturating(picos: i128) -> Self {
        Self(picos.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64)
    }

    /// The sum, or the greatest amount.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The difference, or the smallest amount.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// The sum, if there is such an amount.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }
}

/// A decimal number that is no amount of money.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no amount: expected a decimal number such as 5, 0.25 or -1.50, at most 12 decimals and 9,223,372"
)]
pub struct NoAmount(String);

impl FromStr for Money {
    type Err = NoAmount;

    fn from_str(text: &str) -> Result<Self, NoAmount> {
        let error = || NoAmount(text.chars().take(40).collect());
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text),
        };
        let (whole, decimals) = digits.split_once('.').unwrap_or((digits, "0"));
        let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !all_digits(whole) || !all_digits(decimals) || whole.len() > 9 || decimals.len() > DECIMALS {
            return Err(error());
        }
        let whole: i128 = whole.parse().map_err(|_| error())?;
        let decimals: i128 = format!("{decimals:0<DECIMALS$}").parse().map_err(|_| error())?;
        let picos = whole * i128::from(ONE) + decimals;
        let picos = if negative { -picos } else { picos };
        i64::try_from(picos).map(Self).map_err(|_| error())
    }
}

/// All decimals that are not zero, but at least two: `0.000003625`, `5.00`. With a precision, rounded to it, halves away
/// from zero: `{:.2}`.
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = f.precision().unwrap_or(DECIMALS).min(DECIMALS);
        let step = 10_u128.pow((DECIMALS - places) as u32);
        let steps = (u128::from(self.0.unsigned_abs()) + step / 2) / step;
        let per_unit = 10_u128.pow(places as u32);
        let sign = if self.0 < 0 && steps > 0 { "-" } else { "" };
        let mut text = format!("{sign}{}", steps / per_unit);
        if places > 0 {
            let mut decimals = format!("{:0places$}", steps % per_unit);
            if f.precision().is_none() {
                let kept = decimals.trim_end_matches('0').len().max(2);
                decimals.truncate(kept);
            }
            text = format!("{text}.{decimals}");
        }
        f.pad_integral(true, "", &text)
    }
}

/// As a string: a JSON number would be read as binary floating point.
impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn amounts_are_read_and_written_as_decimals() {
        for (text, picos, written) in [
            ("0", 0, "0.00"),
            ("5", 5 * ONE, "5.00"),
            ("0.003625", 3_625_000_000, "0.003625"),
            ("-1.5", -3 * ONE / 2, "-1.50"),
            ("0.000000000001", 1, "0.000000000001"),
            ("9223372.036854775807", i64::MAX, "9223372.036854775807"),
        ] {
            let money: Money = text.parse().unwrap();
            assert_eq!((money.picos(), money.to_string().as_str()), (picos, written));
        }
        for text in [
            "",
            "-",
            ".5",
            "5.",
            "1e3",
            "+1",
            "1,000",
            " 1",
            "0.0000000000001",
            "9223373",
            "--1",
            "१",
        ] {
            assert!(text.parse::<Money>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_precision_rounds() {
        let money: Money = "-0.005".parse().unwrap();
        assert_eq!(format!("{money:.2}|{money:.0}|{money:>8.3}"), "-0.01|0|  -0.005");
        assert_eq!(format!("{:.2}", Money::MAX), "9223372.04");
        assert_eq!(format!("{:.2}", Money::from_picos(i64::MIN)), "-9223372.04");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(picos: i64) {
            let money = Money::from_picos(picos);
            prop_assert_eq!(money.to_string().parse::<Money>(), Ok(money));
        }

        #[test]
        fn any_text_is_an_amount_or_an_error(text: String) {
            if let Ok(money) = text.parse::<Money>() {
                prop_assert_eq!(money.to_string().parse::<Money>(), Ok(money));
            }
        }
    }
}
