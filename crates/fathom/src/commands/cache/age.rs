//! Moments as people speak of them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const UNITS: [(&str, u64); 5] = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400), ("w", 604_800)];

/// Unix seconds.
pub(super) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |duration| duration.as_secs())
}

/// A length of time as people type it: `90m`, `12h`, `7d`, `2w`.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let expected = || "expected a number and a unit, such as 90m, 12h, 7d or 2w".to_owned();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let (_, seconds) = UNITS
        .iter()
        .find(|(unit, _)| *unit == &text[digits.len()..])
        .ok_or_else(expected)?;
    let number: u64 = digits.parse().map_err(|_| expected())?;
    number
        .checked_mul(*seconds)
        .map(Duration::from_secs)
        .ok_or_else(expected)
}

/// How long ago a moment was: `just now`, `5 min ago`, `3 h ago`, `12 days ago`.
pub(super) fn ago(moment: u64, now: u64) -> String {
    let seconds = now.saturating_sub(moment);
    match seconds {
        0..60 => "just now".to_owned(),
        60..3_600 => format!("{} min ago", seconds / 60),
        3_600..172_800 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_type_them() {
        for (text, seconds) in [
            ("0s", 0),
            ("90m", 5_400),
            ("12h", 43_200),
            ("7d", 604_800),
            ("2w", 1_209_600),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in [
            "",
            "7",
            "d",
            "-1d",
            "1.5h",
            "7 d",
            "3y",
            "99999999999999999999d",
            "9999999999999999w",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn moments_are_told_as_people_tell_them() {
        let now = 10_000_000;
        let cases = [
            (now + 5, "just now"),
            (now - 59, "just now"),
            (now - 60, "1 min ago"),
            (now - 3_600, "1 h ago"),
            (now - 172_799, "47 h ago"),
            (now - 172_800, "2 days ago"),
        ];
        for (moment, text) in cases {
            assert_eq!(ago(moment, now), text);
        }
    }
}
