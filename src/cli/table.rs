//! Tables: columns as wide as they must be, two spaces between, nothing at the end of a line.

use super::print::plain;

/// Rows under a heading; every row has as many cells as the heading.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(heading: &[&str]) -> Self {
        Self { rows: vec![heading.iter().map(|cell| (*cell).to_owned()).collect()] }
    }

    pub fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.rows[0].len());
        let clean = |cell: String| if cell.is_empty() { "-".to_owned() } else { plain(&cell).replace('\n', " ") };
        self.rows.push(cells.into_iter().map(clean).collect());
    }

    /// No row was added.
    pub fn is_empty(&self) -> bool {
        self.rows.len() == 1
    }

    pub fn render(&self) -> String {
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.rows[0].len()).map(width).collect();
        let mut out = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(&format!("{cell:<width$}  "));
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_harmless() {
        let mut table = Table::new(&["NAME", "X"]);
        table.row(vec!["a-long-name".into(), "1".into()]);
        table.row(vec!["ä\u{1b}[2J".into(), String::new()]);
        assert_eq!(table.render(), "NAME         X\na-long-name  1\nä\u{fffd}[2J        -\n");
    }
}
