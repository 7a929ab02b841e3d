//! A table in Markdown that also reads well in a terminal.

use std::fmt;

/// Rows of cells under a heading; the first column is text, the others are figures.
#[derive(Clone, Debug)]
pub struct Table<const COLUMNS: usize> {
    rows: Vec<[String; COLUMNS]>,
}

impl<const COLUMNS: usize> Table<COLUMNS> {
    /// Returns a table without rows.
    #[must_use]
    pub fn new(headings: [&str; COLUMNS]) -> Self {
        let rows = vec![headings.map(str::to_owned)];
        Self { rows }
    }

    /// Appends a row.
    pub fn push(&mut self, row: [String; COLUMNS]) {
        self.rows.push(row);
    }

    fn widths(&self) -> [usize; COLUMNS] {
        let width = |row: &[String; COLUMNS], at: usize| row[at].chars().count();
        std::array::from_fn(|at| {
            let widest = self.rows.iter().map(|row| width(row, at)).max();
            widest.unwrap_or(0).max(3)
        })
    }
}

impl<const COLUMNS: usize> fmt::Display for Table<COLUMNS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        for (number, row) in self.rows.iter().enumerate() {
            for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
                match at {
                    0 => write!(f, "| {cell:<width$} |")?,
                    _ => write!(f, " {cell:>width$} |")?,
                }
            }
            writeln!(f)?;
            if number == 0 {
                write!(f, "| {} |", "-".repeat(widths[0]))?;
                for width in &widths[1..] {
                    write!(f, " {}: |", "-".repeat(width - 1))?;
                }
                writeln!(f)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(["who", "ns"]);
        table.push(["governor".into(), "28.1".into()]);
        let expected = "| who      |   ns |\n| -------- | ---: |\n| governor | 28.1 |\n";
        assert_eq!(table.to_string(), expected);
    }
}
