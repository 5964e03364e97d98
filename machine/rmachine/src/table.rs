//! Columns as docker-machine prints them: each as wide as its widest cell, three spaces apart, and
//! at least five wide.

const MINIMUM: usize = 5;
const PADDING: usize = 3;

/// Lines of cells into lines of text. The last cell of a line is not padded.
pub(crate) fn align(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count() + PADDING).max().unwrap_or(0).max(MINIMUM)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for line in lines {
        for (at, cell) in line.iter().enumerate() {
            out.push_str(cell);
            if at + 1 < line.len() {
                out.extend(std::iter::repeat_n(' ', widths[at] - cell.chars().count()));
            }
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_three_apart() {
        let line = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let text = align(&[line(["NAME", "A", "LAST"]), line(["worker10", "-", ""])]);
        assert_eq!(text, "NAME       A    LAST\nworker10   -    \n");
    }
}
