//! The flags for what a key may use.

use fathom_accounts::Limits;

/// A limit as it is typed: a number, or `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    None,
    Of(u64),
}

impl Limit {
    /// Its number, if it is one.
    pub(crate) fn number(self) -> Option<u64> {
        match self {
            Self::None => None,
            Self::Of(limit) => Some(limit),
        }
    }
}

#[derive(clap::Args)]
pub(super) struct LimitFlags {
    /// Requests at the same time, or none
    #[arg(long, value_name = "N", value_parser = parse_requests, help_heading = "Limits")]
    concurrent: Option<Limit>,

    /// Requests at the same time of any one model, or none
    #[arg(long, value_name = "N", value_parser = parse_requests, help_heading = "Limits")]
    concurrent_per_model: Option<Limit>,

    /// Prompt and output tokens in any 60 seconds (such as 200k), or none
    #[arg(long, value_name = "N", value_parser = parse_tokens, help_heading = "Limits")]
    tokens_per_minute: Option<Limit>,

    /// Prompt and output tokens in any 24 hours (such as 10M), or none
    #[arg(long, value_name = "N", value_parser = parse_tokens, help_heading = "Limits")]
    tokens_per_day: Option<Limit>,
}

impl LimitFlags {
    /// `limits`, with what was typed put in.
    pub(super) fn apply(&self, limits: Limits) -> Limits {
        let requests = |typed: Option<Limit>, otherwise| match typed {
            None => otherwise,
            Some(Limit::None) => None,
            // The parser keeps to the range.
            Some(Limit::Of(limit)) => u32::try_from(limit).ok(),
        };
        let tokens = |typed: Option<Limit>, otherwise| match typed {
            None => otherwise,
            Some(Limit::None) => None,
            Some(Limit::Of(limit)) => Some(limit),
        };
        Limits {
            concurrent: requests(self.concurrent, limits.concurrent),
            concurrent_per_model: requests(self.concurrent_per_model, limits.concurrent_per_model),
            tokens_per_minute: tokens(self.tokens_per_minute, limits.tokens_per_minute),
            tokens_per_day: tokens(self.tokens_per_day, limits.tokens_per_day),
        }
    }
}

pub(crate) fn parse_requests(text: &str) -> Result<Limit, String> {
    if text == "none" {
        return Ok(Limit::None);
    }
    match text.parse::<u32>() {
        Ok(limit) if limit > 0 => Ok(Limit::Of(limit.into())),
        _ => Err("expected a number from 1, or none".to_owned()),
    }
}

pub(crate) fn parse_tokens(text: &str) -> Result<Limit, String> {
    if text == "none" {
        return Ok(Limit::None);
    }
    let expected = || "expected a number of tokens from 1, such as 5000, 200k, 10M or 2G, or none".to_owned();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" => 1,
        "k" | "K" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        _ => return Err(expected()),
    };
    let number: u64 = digits.parse().map_err(|_| expected())?;
    match number.checked_mul(unit) {
        Some(tokens @ 1..=0x7fff_ffff_ffff_ffff) => Ok(Limit::Of(tokens)),
        _ => Err(expected()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_people_type_them() {
        assert_eq!(parse_tokens("200k"), Ok(Limit::Of(200_000)));
        assert_eq!(parse_tokens("10M"), Ok(Limit::Of(10_000_000)));
        assert_eq!(parse_tokens("none"), Ok(Limit::None));
        assert_eq!(parse_requests("7"), Ok(Limit::Of(7)));
        for text in [
            "",
            "0",
            "0k",
            "-1",
            "1.5M",
            "M",
            "1m",
            "99999999999999999999",
            "9999999999999G",
        ] {
            assert!(parse_tokens(text).is_err(), "{text}");
        }
        for text in ["0", "-1", "5000000000", "1k"] {
            assert!(parse_requests(text).is_err(), "{text}");
        }
    }
}
