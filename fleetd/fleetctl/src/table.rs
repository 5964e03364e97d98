//! Columns as fleetctl prints them: tabs between cells, widened to the longest.

/// Prints rows under headings, unless these are not wanted.
pub(crate) fn print(headings: &[&str], rows: &[Vec<String>], legend: bool) {
    let mut lines: Vec<Vec<String>> = Vec::new();
    if legend {
        lines.push(headings.iter().map(|heading| heading.to_uppercase()).collect());
    }
    lines.extend_from_slice(rows);
    let columns = headings.len();
    // As Go's tabwriter does with tabs of eight: each column is as wide as its longest cell and ends at a tab.
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let tabs: Vec<usize> = (0..columns).map(|column| (width(column) + 8) / 8 * 8).collect();
    for line in &lines {
        let mut text = String::new();
        for (column, cell) in line.iter().enumerate() {
            text.push_str(cell);
            if column + 1 < columns {
                let missing = tabs[column] - cell.chars().count();
                text.push_str(&"\t".repeat(missing.div_ceil(8)));
            }
        }
        say!("{text}");
    }
}

/// An id as people see it.
pub(crate) fn short(id: &str, full: bool) -> String {
    if full || id.chars().count() <= 8 {
        return id.to_owned();
    }
    format!("{}...", id.chars().take(8).collect::<String>())
}

/// A cell that is never empty.
pub(crate) fn or_dash(cell: &str) -> String {
    if cell.is_empty() { "-".into() } else { cell.into() }
}
