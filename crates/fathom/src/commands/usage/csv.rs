//! Comma-separated values (RFC 4180).

use fathom_accounts::{Group, Row};

pub(super) fn of(by: &[Group], rows: &[Row]) -> String {
    let mut names: Vec<&str> = by.iter().map(|group| group.name()).collect();
    names.extend([
        "requests",
        "hit",
        "miss",
        "output",
        "reasoning",
        "currency",
        "cost",
        "unpriced",
        "prefill_ms",
        "decode_ms",
    ]);
    let mut out = names.join(",") + "\n";
    for row in rows {
        let mut cells: Vec<String> = row.group.iter().map(|text| quoted(text)).collect();
        let tokens = &row.tokens;
        cells.extend([
            row.requests.to_string(),
            tokens.hit.to_string(),
            tokens.miss.to_string(),
            tokens.output.to_string(),
            tokens.reasoning.to_string(),
            row.currency.to_string(),
            row.cost.to_string(),
            row.unpriced.to_string(),
            row.prefill_ms.to_string(),
            row.decode_ms.to_string(),
        ]);
        out += &(cells.join(",") + "\n");
    }
    out
}

fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_break_a_row_is_quoted() {
        assert_eq!(quoted("laptop"), "laptop");
        assert_eq!(quoted("a,b"), "\"a,b\"");
        assert_eq!(quoted("the \"big\" one"), "\"the \"\"big\"\" one\"");
        assert_eq!(quoted("two\nlines"), "\"two\nlines\"");
    }
}
