//! Moments as people type them.

use std::str::FromStr;

use anyhow::Context as _;
use fathom_accounts::{Offset, Timestamp};
use jiff::Span;
use jiff::civil::{Date, DateTime};

/// A month, a day, or a moment with or without its UTC offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    Month(Date),
    Day(Date),
    Local(DateTime),
    At(Timestamp),
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(moment) = text.parse() {
            return Ok(Self::At(moment));
        }
        // The library would read a date and time as a date, too.
        if text.len() == 7
            && let Ok(first) = format!("{text}-01").parse()
        {
            return Ok(Self::Month(first));
        }
        if text.len() == 10
            && let Ok(date) = text.parse()
        {
            return Ok(Self::Day(date));
        }
        if text.len() > 10
            && let Ok(local) = text.parse()
        {
            return Ok(Self::Local(local));
        }
        Err("expected a month, day or moment, such as 2026-11, 2026-11-22 or 2026-11-22T13:00".to_owned())
    }
}

impl Moment {
    /// Where it begins.
    pub(super) fn begin(self, offset: Offset) -> anyhow::Result<Timestamp> {
        self.at(offset, false)
    }

    /// Where it ends: a month or a day with its last moment, anything else at once.
    pub(super) fn end(self, offset: Offset) -> anyhow::Result<Timestamp> {
        self.at(offset, true)
    }

    fn at(self, offset: Offset, end: bool) -> anyhow::Result<Timestamp> {
        let (first, length) = match self {
            Self::At(moment) => return Ok(moment),
            Self::Local(local) => return local_time(local, offset),
            Self::Month(first) => (first, Span::new().months(1)),
            Self::Day(day) => (day, Span::new().days(1)),
        };
        let day = if end {
            first.checked_add(length).context("the time is too far away")?
        } else {
            first
        };
        local_time(day.at(0, 0, 0, 0), offset)
    }
}

fn local_time(local: DateTime, offset: Offset) -> anyhow::Result<Timestamp> {
    offset.to_timestamp(local).context("the time is too far away")
}

/// `+08:00`, `-03:30`, `Z`.
pub(super) fn offset(text: &str) -> Result<Offset, String> {
    let expected = || "expected an offset from UTC, such as +08:00".to_owned();
    if text == "Z" {
        return Ok(Offset::UTC);
    }
    let (sign, time) = match text.as_bytes() {
        [b'+', time @ ..] => (1, time),
        [b'-', time @ ..] => (-1, time),
        _ => return Err(expected()),
    };
    let &[h1, h0, b':', m1, m0] = time else {
        return Err(expected());
    };
    if ![h1, h0, m1, m0].iter().all(u8::is_ascii_digit) || m1 > b'5' {
        return Err(expected());
    }
    let digit = |byte: u8| i32::from(byte - b'0');
    let minutes = 60 * (10 * digit(h1) + digit(h0)) + 10 * digit(m1) + digit(m0);
    Offset::from_seconds(sign * 60 * minutes).map_err(|_| expected())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(text: &str) -> (String, String) {
        let moment: Moment = text.parse().unwrap();
        let beijing = offset("+08:00").unwrap();
        (
            moment.begin(beijing).unwrap().to_string(),
            moment.end(beijing).unwrap().to_string(),
        )
    }

    #[test]
    fn months_and_days_have_a_beginning_and_an_end() {
        let pair = |from: &str, to: &str| (from.to_owned(), to.to_owned());
        assert_eq!(
            bounds("2026-11"),
            pair("2026-10-31T16:00:00Z", "2026-11-30T16:00:00Z")
        );
        assert_eq!(
            bounds("2026-12-31"),
            pair("2026-12-30T16:00:00Z", "2026-12-31T16:00:00Z")
        );
        let moment = "2026-11-22T05:00:00Z";
        assert_eq!(bounds("2026-11-22T13:00"), pair(moment, moment));
        assert_eq!(bounds("2026-11-22 13:00:00"), pair(moment, moment));
        assert_eq!(bounds("2026-11-22T05:00:00Z"), pair(moment, moment));
        for text in [
            "",
            "2026",
            "2026-13",
            "2026-11-31",
            "yesterday",
            "2026-11-22T25:00",
            "22.11.2026",
        ] {
            assert!(text.parse::<Moment>().is_err(), "{text}");
        }
        assert!("9999-12-31".parse::<Moment>().unwrap().end(Offset::UTC).is_err());
    }

    #[test]
    fn offsets_are_strict() {
        assert_eq!(
            offset("-03:30"),
            Offset::from_seconds(-12_600).map_err(|_| String::new())
        );
        for text in ["", "8", "+8:00", "+08:60", "+99:00", "UTC", "+é0:00"] {
            assert!(offset(text).is_err(), "{text}");
        }
    }
}
