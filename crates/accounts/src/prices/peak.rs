//! Peak hours.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::civil::{Date, Weekday};
use jiff::tz::Offset;

/// Windows of weekdays, without holidays.
#[derive(Clone, Debug)]
pub(super) struct PeakHours {
    pub(super) offset: Offset,
    /// By [`Weekday::to_monday_zero_offset`].
    pub(super) weekdays: [bool; 7],
    /// Minutes of the day: from, to (exclusive).
    pub(super) windows: Vec<(u16, u16)>,
    pub(super) holidays: BTreeSet<Date>,
}

impl PeakHours {
    pub(super) fn contains(&self, at: Timestamp) -> bool {
        let there = self.offset.to_datetime(at);
        let minute = there.hour() as u16 * 60 + there.minute() as u16;
        self.weekdays[there.date().weekday().to_monday_zero_offset() as usize]
            && self
                .windows
                .iter()
                .any(|(from, to)| (*from..*to).contains(&minute))
            && !self.holidays.contains(&there.date())
    }
}

/// `mon` … `sun`.
pub(super) fn weekday(text: &str) -> Option<Weekday> {
    let names = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    let index = names.iter().position(|name| *name == text)?;
    Weekday::from_monday_zero_offset(index as i8).ok()
}

/// `09:00-12:00` in minutes; the end may be `24:00`.
pub(super) fn window(text: &str) -> Option<(u16, u16)> {
    let (from, to) = text.split_once('-')?;
    let window = (minute(from)?, minute(to)?);
    (window.0 < window.1).then_some(window)
}

/// `+08:00` or `-03:30`.
pub(super) fn offset(text: &str) -> Option<Offset> {
    let (sign, time) = match text.as_bytes().first()? {
        b'+' => (1, &text[1..]),
        b'-' => (-1, &text[1..]),
        _ => return None,
    };
    Offset::from_seconds(sign * 60 * i32::from(minute(time)?)).ok()
}

/// `HH:MM`, up to `24:00`.
fn minute(text: &str) -> Option<u16> {
    let &[h1, h0, b':', m1, m0] = text.as_bytes() else {
        return None;
    };
    let digit = |byte: u8| byte.is_ascii_digit().then(|| u16::from(byte - b'0'));
    let (hours, minutes) = (10 * digit(h1)? + digit(h0)?, 10 * digit(m1)? + digit(m0)?);
    (minutes < 60 && 60 * hours + minutes <= 24 * 60).then_some(60 * hours + minutes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_and_offsets_are_strict() {
        assert_eq!(window("09:00-12:00"), Some((540, 720)));
        assert_eq!(window("00:00-24:00"), Some((0, 1_440)));
        for text in [
            "",
            "9:00-12:00",
            "12:00-09:00",
            "09:00-09:00",
            "09:00-24:01",
            "09:60-10:00",
            "09:00–10:00",
        ] {
            assert_eq!(window(text), None, "{text}");
        }
        assert_eq!(offset("+08:00"), Offset::from_hours(8).ok());
        assert_eq!(offset("-03:30"), Offset::from_seconds(-12_600).ok());
        for text in ["", "8", "08:00", "+8:00", "+0800", "UTC", "+é:00"] {
            assert_eq!(offset(text), None, "{text}");
        }
    }
}
