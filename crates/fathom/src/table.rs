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
        let header = self.columns.map(|(name, _)| name.to_owned());
        let width = |column: usize| {
            std::iter::once(&header)
                .chain(&self.rows)
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: [usize; N] = std::array::from_fn(width);
        for row in std::iter::once(&header).chain(&self.rows) {
            let cells =
                row.iter()
                    .zip(widths)
                    .zip(self.columns)
                    .map(|((cell, width), (_, align))| match align {
                        Align::Left => format!("  {cell:<width$}"),
                        Align::Right => format!("  {cell:>width$}"),
                    });
            writeln!(f, "{}", cells.collect::<String>().trim_end())?;
        }
        Ok(())
    }
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
