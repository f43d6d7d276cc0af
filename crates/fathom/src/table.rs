//! Aligned columns for the terminal.

use std::fmt;

/// Where a column's text goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Rows under a header, indented by two, columns separated by two spaces.
pub(crate) struct Table<const N: usize> {
    columns: [(&'static str, Align); N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    pub(crate) fn new(columns: &[(&'static str, Align); N]) -> Self {
        Self {
            columns: *columns,
            rows: Vec::new(),
        }
    }

    pub(crate) fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells);
    }
}

impl<const N: usize> fmt::Display for Table<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&lines(&self.columns, &self.rows))
    }
}

/// The same for columns whose number is known only when the program runs. Every row has a cell for each.
pub(crate) fn lines<R: AsRef<[String]>>(columns: &[(&str, Align)], rows: &[R]) -> String {
    let header: Vec<String> = columns.iter().map(|(name, _)| (*name).to_owned()).collect();
    let all = || std::iter::once(&header[..]).chain(rows.iter().map(AsRef::as_ref));
    let width = |column: usize| {
        all()
            .map(|row: &[String]| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut out = String::new();
    for row in all() {
        let cells = row.iter().zip(&widths).zip(columns);
        let cells = cells.map(|((cell, width), (_, align))| match align {
            Align::Left => format!("  {cell:<width$}"),
            Align::Right => format!("  {cell:>width$}"),
        });
        out += cells.collect::<String>().trim_end();
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&[("name", Align::Left), ("size", Align::Right)]);
        table.row(["größe".to_owned(), "7".to_owned()]);
        table.row(["x".to_owned(), "12345".to_owned()]);
        assert_eq!(
            table.to_string(),
            "  name    size\n  größe      7\n  x      12345\n"
        );
    }
}
