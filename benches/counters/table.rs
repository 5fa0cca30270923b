//! The table of figures: printed, kept in a file, and compared with the one that is kept.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Figures by row and column.
#[derive(Default)]
pub struct Table {
    rows: Vec<String>,
    columns: Vec<String>,
    cells: BTreeMap<(String, String), f64>,
}

impl Table {
    pub fn set(&mut self, row: &str, column: &str, figure: f64) {
        for (names, name) in [(&mut self.rows, row), (&mut self.columns, column)] {
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
        self.cells
            .insert((row.to_owned(), column.to_owned()), figure);
    }

    fn get(&self, row: &str, column: &str) -> Option<f64> {
        let key = (row.to_owned(), column.to_owned());
        self.cells.get(&key).copied()
    }

    /// As Markdown.
    pub fn to_markdown(&self) -> String {
        self.write(|row, column| {
            let figure = self.get(row, column)?;
            Some(if figure.abs() < 10.0 {
                format!("{figure:.2}")
            } else {
                format!("{figure:.0}")
            })
        })
    }

    /// How much more than in `kept` each figure is, as Markdown, in percent.
    pub fn compared(&self, kept: &Table) -> String {
        self.write(|row, column| {
            let (new, old) = (self.get(row, column)?, kept.get(row, column)?);
            Some(if old == new {
                "=".to_owned()
            } else if old == 0.0 {
                "new".to_owned()
            } else {
                format!("{:+.1}", (new / old - 1.0) * 100.0)
            })
        })
    }

    fn write(&self, cell: impl Fn(&str, &str) -> Option<String>) -> String {
        let mut text = format!("| corpus | {} |\n", self.columns.join(" | "));
        text.push_str(&"|---".repeat(self.columns.len() + 1));
        text.push_str("|\n");
        for row in &self.rows {
            let _always_ok = write!(text, "| {row} |");
            for column in &self.columns {
                let cell = cell(row, column).unwrap_or_else(|| "-".to_owned());
                let _always_ok = write!(text, " {cell} |");
            }
            text.push('\n');
        }
        text
    }

    /// Reads the first table of a page as [`Table::to_markdown`] writes it; what is no number is left out.
    pub fn from_markdown(text: &str) -> Table {
        let mut table = Table::default();
        let mut lines = text
            .lines()
            .filter(|line| line.starts_with('|'))
            .map(|line| {
                let cells = line.trim_matches('|').split('|').map(str::trim);
                cells.collect::<Vec<_>>()
            });
        let Some(header) = lines.next() else {
            return table;
        };
        for cells in lines {
            let Some((row, cells)) = cells.split_first() else {
                continue;
            };
            for (column, cell) in header.iter().skip(1).zip(cells) {
                if let Ok(figure) = cell.parse() {
                    table.set(row, column, figure);
                }
            }
        }
        table
    }
}
