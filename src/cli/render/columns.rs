//! Rows of cells as a table.

use std::fmt::Write as _;

use super::{Style, escape};

/// The rows with their columns aligned; the first one is the heading.
pub(in crate::cli) fn aligned(rows: &[Vec<String>], style: Style) -> String {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| escape(cell)).collect()).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let cells = |column: usize| rows.iter().filter_map(move |row| row.get(column));
    let widths: Vec<usize> = (0..columns)
        .map(|column| cells(column).map(|cell| cell.chars().count()).max().unwrap_or_default())
        .collect();
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        let padded = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}"));
        let line = padded.collect::<Vec<_>>().join("  ");
        let line = line.trim_end();
        let _ = writeln!(text, "{}", if number == 0 { style.bold(line) } else { line.to_owned() });
    }
    text
}
