//! Figures in the words a conversation about them needs. Plain numbers and bytes are in [`crate::units`].

use std::time::Duration;

use crate::units::count;

/// A count and its noun: `1 token`, `1,234 tokens`.
pub(crate) fn plural(number: usize, noun: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{} {noun}{ending}", count(number as u64))
}

/// Tokens per second with three digits or more: `8.21`, `82.1`, `821`, `8,210`.
pub(crate) fn rate(per_second: f64) -> String {
    if per_second < 9.995 {
        format!("{per_second:.2}")
    } else if per_second < 99.95 {
        format!("{per_second:.1}")
    } else {
        count(per_second.round() as u64)
    }
}

/// A time with the precision a person has use for: `0.3 s`, `25 s`, `3 min 20 s`, `2 h 05 min`.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 9.95 {
        return format!("{seconds:.1} s");
    }
    let seconds = seconds.round() as u64;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// A share of a whole: `0.4 %`, `42 %`.
pub(crate) fn percent(part: usize, whole: usize) -> String {
    let percent = 100.0 * part as f64 / whole.max(1) as f64;
    if percent < 9.95 {
        format!("{percent:.1} %")
    } else {
        format!("{percent:.0} %")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_is_singular() {
        let cases = [
            (0, "0 tokens"),
            (1, "1 token"),
            (2, "2 tokens"),
            (65_536, "65,536 tokens"),
        ];
        for (number, text) in cases {
            assert_eq!(plural(number, "token"), text);
        }
    }

    #[test]
    fn rates_keep_three_digits() {
        let cases = [
            (0.5, "0.50"),
            (8.214, "8.21"),
            (9.999, "10.0"),
            (99.99, "100"),
            (821.4, "821"),
            (8214.0, "8,214"),
        ];
        for (per_second, text) in cases {
            assert_eq!(rate(per_second), text);
        }
    }

    #[test]
    fn times_coarsen_as_they_grow() {
        let cases = [
            (0.04, "0.0 s"),
            (9.94, "9.9 s"),
            (9.96, "10 s"),
            (59.4, "59 s"),
            (59.6, "1 min 00 s"),
        ];
        for (seconds, text) in cases {
            assert_eq!(duration(Duration::from_secs_f64(seconds)), text);
        }
        assert_eq!(duration(Duration::from_secs(200)), "3 min 20 s");
        assert_eq!(duration(Duration::from_mins(125)), "2 h 05 min");
    }

    #[test]
    fn shares_of_nothing_are_no_division_by_zero() {
        assert_eq!(percent(1, 250), "0.4 %");
        assert_eq!(percent(420, 1000), "42 %");
        assert_eq!(percent(0, 0), "0.0 %");
    }
}
