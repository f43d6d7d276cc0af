//! Numbers for people.

use fathom_engine::memory::Bytes;

/// Thousands separated: `1234567` → `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A number of bytes in binary units: `3688172544` → `3.4 GiB`.
pub(crate) fn bytes(number: u64) -> String {
    Bytes(number).to_string()
}

/// A number of bytes as people type it: `1000`, `512M`, `1.5G`, `32GiB`, in powers of 1,024.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text[digits.len()..].to_ascii_uppercase();
    let power = match unit
        .strip_suffix("IB")
        .or(unit.strip_suffix('B'))
        .unwrap_or(&unit)
    {
        "" => 0,
        "K" => 1,
        "M" => 2,
        "G" => 3,
        "T" => 4,
        _ => return Err(format!("{unit} is no unit of bytes; expected K, M, G or T")),
    };
    let number: f64 = digits
        .parse()
        .map_err(|_| "expected a number of bytes, such as 1000, 512M or 1.5G".to_owned())?;
    let bytes = number * 1024_f64.powi(power);
    // Above this an f64 is no longer an exact number of bytes.
    if number.is_finite() && (0.0..9e15).contains(&bytes) {
        Ok(bytes as u64)
    } else {
        Err("expected a number of bytes from 0 to 8192T".to_owned())
    }
}

/// Two decimals and an SI prefix, ready for a unit: `13270000000.0` → `13.27 G`, `12.0` → `12.00 `.
pub(crate) fn si(number: f64) -> String {
    let (scale, suffix) = match number {
        n if n >= 1e12 => (1e12, " T"),
        n if n >= 1e9 => (1e9, " G"),
        n if n >= 1e6 => (1e6, " M"),
        n if n >= 1e3 => (1e3, " k"),
        _ => (1.0, " "),
    };
    format!("{:.2}{suffix}", number / scale)
}

/// A number of parameters as models are named by it: `13270000000` → `13.27 B`.
pub(crate) fn parameters(number: u64) -> String {
    si(number as f64).replace('G', "B").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_as_people_type_them() {
        for (text, bytes) in [
            ("0", 0),
            ("1000", 1000),
            ("1k", 1024),
            ("1.5G", 3 << 29),
            ("32GiB", 32 << 30),
            ("2MB", 2 << 20),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for text in ["", "G", "-1", "1X", "nan", "1e30", "9999999T"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_read_as_people_write_them() {
        assert_eq!(
            [0, 7, 999, 1000, 159_609_485_896].map(count),
            ["0", "7", "999", "1,000", "159,609,485,896"]
        );
        assert_eq!([12.0, 13.27e9, 1.573e12].map(si), ["12.00 ", "13.27 G", "1.57 T"]);
        assert_eq!(
            [12, 15_115_049, 13_270_000_000].map(parameters),
            ["12.00", "15.12 M", "13.27 B"]
        );
    }
}
