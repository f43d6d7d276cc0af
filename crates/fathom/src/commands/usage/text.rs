//! The table for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use fathom_accounts::{Currency, Group, Money, Row};

use crate::table::{Align, lines};
use crate::units::count;

pub(super) fn of(by: &[Group], rows: &[Row]) -> String {
    if rows.is_empty() {
        return "No requests fit.\n".to_owned();
    }
    let mut columns: Vec<(&str, Align)> = by.iter().map(|group| (group.name(), Align::Left)).collect();
    for name in ["requests", "hit", "miss", "output", "of it reasoning", "cost", ""] {
        columns.push((name, Align::Right));
    }
    let mut cells: Vec<Vec<String>> = rows.iter().map(|row| row_cells(by, row)).collect();
    if rows.len() > 1 {
        cells.extend(totals(by.len(), rows));
    }
    let mut out = lines(&columns, &cells);
    let unpriced: u64 = rows.iter().map(|row| row.unpriced).sum();
    if unpriced > 0 {
        let _ = writeln!(
            out,
            "\n{} of these requests had no price and cost nothing.",
            count(unpriced)
        );
    }
    out
}

fn row_cells(by: &[Group], row: &Row) -> Vec<String> {
    let mut cells: Vec<String> = by
        .iter()
        .zip(&row.group)
        .map(|(group, text)| match (group, text.as_str()) {
            (Group::Key, "") => "(no key)".to_owned(),
            (_, "") => "–".to_owned(),
            (_, text) => text.to_owned(),
        })
        .collect();
    cells.extend(sums(row.requests, row));
    cells.extend([amount(row.cost), row.currency.to_string()]);
    cells
}

/// Rounded; the other outputs are exact.
fn amount(cost: Money) -> String {
    format!("{cost:.4}")
}

fn sums(requests: u64, row: &Row) -> [String; 5] {
    let tokens = &row.tokens;
    [requests, tokens.hit, tokens.miss, tokens.output, tokens.reasoning].map(count)
}

/// A line of sums for each currency; amounts in different ones are not added up.
fn totals(groups: usize, rows: &[Row]) -> Vec<Vec<String>> {
    let mut by_currency: BTreeMap<Currency, Row> = BTreeMap::new();
    for row in rows {
        let sum = by_currency.entry(row.currency).or_insert_with(|| Row {
            group: Vec::new(),
            currency: row.currency,
            requests: 0,
            tokens: fathom_accounts::Tokens::default(),
            cost: Money::ZERO,
            unpriced: 0,
            prefill_ms: 0,
            decode_ms: 0,
        });
        sum.requests += row.requests;
        sum.tokens.hit += row.tokens.hit;
        sum.tokens.miss += row.tokens.miss;
        sum.tokens.output += row.tokens.output;
        sum.tokens.reasoning += row.tokens.reasoning;
        sum.cost = sum.cost.saturating_add(row.cost);
    }
    let line = |sum: &Row| {
        let mut cells = vec![String::new(); groups];
        if let Some(first) = cells.first_mut() {
            "all".clone_into(first);
        }
        cells.extend(sums(sum.requests, sum));
        cells.extend([amount(sum.cost), sum.currency.to_string()]);
        cells
    };
    by_currency.values().map(line).collect()
}
