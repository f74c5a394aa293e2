//! Tables: columns as wide as they must be, numbers to the right, states in colour, nothing at the end of a line.
//!
//! A table that is wider than the terminal is folded: its widest columns give way, their cells go on below. In a pipe
//! every row is one line.

use super::{
    print::plain,
    screen::{Screen, Tone},
};

/// Spaces between columns.
const GAP: usize = 2;
/// A column is folded to no less than this, in columns of the terminal.
const FOLDED_MIN: usize = 12;
/// Columns whose words have a colour.
const STATES: [&str; 9] =
    ["ENABLED", "STATE", "STATUS", "ALLOY STATUS", "PIPELINE", "RESULT", "ACTION", "TRUSTED", "IN FORCE"];
/// Columns that say what is wrong, when they say anything.
const TROUBLES: [&str; 3] = ["TROUBLE", "REASON", "WAITING"];

/// Rows under a heading; every row has as many cells as the heading.
#[derive(Debug)]
pub struct Table {
    heading: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(heading: &[&str]) -> Self {
        Self { heading: heading.iter().map(|cell| (*cell).to_owned()).collect(), rows: Vec::new() }
    }

    pub fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.heading.len());
        let clean = |cell: String| if cell.is_empty() { "-".to_owned() } else { plain(&cell).replace('\n', " ") };
        self.rows.push(cells.into_iter().map(clean).collect());
    }

    /// No row was added.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// What the rows are about: their first cells.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.rows.iter().filter_map(|row| row.first()).map(String::as_str)
    }

    pub fn render(&self, screen: &Screen) -> String {
        let widths = self.widths(screen.width());
        let right: Vec<bool> = (0..self.heading.len()).map(|column| self.is_numeric(column)).collect();
        let mut out = String::new();
        let heading: Vec<(&str, Tone)> = self.heading.iter().map(|cell| (cell.as_str(), Tone::Heading)).collect();
        render_row(&mut out, &heading, &widths, &right, screen);
        for row in &self.rows {
            let cells: Vec<(&str, Tone)> =
                row.iter().zip(&self.heading).map(|(cell, column)| (cell.as_str(), tone(column, cell))).collect();
            render_row(&mut out, &cells, &widths, &right, screen);
        }
        out
    }

    fn is_numeric(&self, column: usize) -> bool {
        let mut cells = self.rows.iter().filter_map(|row| row.get(column)).filter(|cell| *cell != "-").peekable();
        cells.peek().is_some() && cells.all(|cell| is_number(cell))
    }

    /// The widths of the columns, so that a row fits into `room` if that can be.
    fn widths(&self, room: Option<usize>) -> Vec<usize> {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.chain(self.heading.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let mut widths: Vec<usize> = (0..self.heading.len()).map(width).collect();
        let Some(room) = room else { return widths };
        let least: Vec<usize> = self.heading.iter().map(|cell| cell.chars().count().max(FOLDED_MIN)).collect();
        loop {
            let total = widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1);
            let Some(surplus) = total.checked_sub(room).filter(|surplus| *surplus > 0) else { return widths };
            // The widest gives way, down to the next widest at most, so that all bear their share.
            let widest = (0..widths.len()).filter(|column| widths[*column] > least[*column]).max_by_key(|c| widths[*c]);
            let Some(widest) = widest else { return widths };
            let others = (0..widths.len()).filter(|column| *column != widest).map(|column| widths[column]);
            let next = others.filter(|width| *width < widths[widest]).max().unwrap_or(0);
            let floor = least[widest].max(next).min(widths[widest] - 1);
            widths[widest] = (widths[widest] - surplus.min(widths[widest] - floor)).max(least[widest]);
        }
    }
}

/// A number as people write it: `1,204`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A time of the API to the second, which is what a person wants: `2026-02-24T15:46:29Z`.
pub fn time(text: &str) -> String {
    match text.split_once('.') {
        Some((seconds, rest)) if rest.ends_with('Z') => format!("{seconds}Z"),
        _ => text.to_owned(),
    }
}

fn is_number(cell: &str) -> bool {
    let digits = cell.strip_suffix('s').unwrap_or(cell);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit() || b",.".contains(&byte))
}

/// The colour of a cell, by what its column is about.
fn tone(column: &str, cell: &str) -> Tone {
    if cell == "-" {
        return Tone::Faint;
    }
    if TROUBLES.contains(&column) {
        return Tone::Bad;
    }
    if !STATES.contains(&column) {
        return Tone::Plain;
    }
    match cell {
        "OK" | "UP" | "ONLINE" | "yes" | "created" => Tone::Good,
        "ERROR" | "FAIL" | "FAILING" | "OFFLINE" | "DOWN" | "deleted" => Tone::Bad,
        "DEGRADED" | "STALE" | "UNKNOWN" | "WARN" | "changed" => Tone::Warning,
        "DISABLED" | "IDLE" | "no" | "unchanged" => Tone::Faint,
        _ => Tone::Plain,
    }
}

/// One row, on as many lines as its longest folded cell takes.
fn render_row(out: &mut String, cells: &[(&str, Tone)], widths: &[usize], right: &[bool], screen: &Screen) {
    let folded: Vec<Vec<String>> = cells.iter().zip(widths).map(|((cell, _), width)| fold(cell, *width)).collect();
    let lines = folded.iter().map(Vec::len).max().unwrap_or(0);
    for line in 0..lines {
        let mut text = String::new();
        // Spaces wait until something follows them.
        let mut owed = 0;
        for (index, parts) in folded.iter().enumerate() {
            let part = parts.get(line).map_or("", String::as_str);
            let room = widths[index].saturating_sub(part.chars().count());
            let (before, after) = if right[index] { (room, 0) } else { (0, room) };
            if part.is_empty() {
                owed += room + GAP;
                continue;
            }
            text.push_str(&" ".repeat(owed + before));
            text.push_str(&screen.paint(cells[index].1, part));
            owed = after + GAP;
        }
        out.push_str(&text);
        out.push('\n');
    }
}

/// A cell in pieces no wider than `width`, divided between words where that can be.
fn fold(cell: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut filled = 0;
    for word in cell.split(' ') {
        let mut letters: Vec<char> = word.chars().collect();
        if filled > 0 && filled + 1 + letters.len() <= width {
            line.push(' ');
            filled += 1;
        } else if filled > 0 {
            lines.push(std::mem::take(&mut line));
            filled = 0;
        }
        while letters.len() > width.max(1) {
            let rest = letters.split_off(width.max(1));
            lines.push(letters.iter().collect());
            letters = rest;
        }
        filled += letters.len();
        line.extend(letters);
    }
    if !line.is_empty() || lines.is_empty() {
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_harmless() {
        let mut table = Table::new(&["NAME", "X"]);
        table.row(vec!["a-long-name".into(), "1".into()]);
        table.row(vec!["ä\u{1b}[2J".into(), String::new()]);
        let shown = table.render(&Screen::plain());
        assert_eq!(shown, "NAME         X\na-long-name  1\nä\u{fffd}[2J        -\n");
    }

    #[test]
    fn numbers_stand_to_the_right() {
        let mut table = Table::new(&["NAME", "LINES", "LAG"]);
        table.row(vec!["a".into(), count(1_234_567), "0s".into()]);
        table.row(vec!["b".into(), count(1), "12s".into()]);
        let shown = table.render(&Screen::plain());
        assert_eq!(shown, "NAME      LINES  LAG\na     1,234,567   0s\nb             1  12s\n");
    }

    #[test]
    fn a_wide_table_folds_on_a_terminal_and_never_in_a_pipe() {
        let mut table = Table::new(&["NAME", "ENABLED", "TROUBLE"]);
        table.row(vec!["a".into(), "yes".into(), "one two three four five six seven eight nine ten".into()]);
        assert_eq!(table.render(&Screen::plain()).lines().count(), 2);
        let shown = table.render(&Screen::terminal(40));
        let bare: Vec<String> =
            shown.lines().map(|line| line.split('\u{1b}').map(after_code).collect::<String>()).collect();
        assert!(bare.iter().all(|line| line.chars().count() <= 40), "{bare:?}");
        assert!(bare.len() > 2 && bare[2].starts_with("               "), "{bare:?}");
        assert!(shown.contains("\u{1b}[32myes\u{1b}[0m"), "{shown:?}");
    }

    fn after_code(piece: &str) -> &str {
        piece.split_once('m').filter(|(code, _)| code.starts_with('[')).map_or(piece, |(_, rest)| rest)
    }

    #[test]
    fn times_are_told_to_the_second() {
        assert_eq!(time("2026-02-24T15:46:29.123456789Z"), "2026-02-24T15:46:29Z");
        assert_eq!(time("2026-02-24T15:46:29Z"), "2026-02-24T15:46:29Z");
        assert_eq!(time(""), "");
    }

    #[test]
    fn a_word_too_long_for_its_column_is_cut_into_pieces() {
        assert_eq!(fold("aaaaa bb", 3), ["aaa", "aa", "bb"]);
        assert_eq!(fold("", 3), [""]);
        assert_eq!(fold("a b c", 3), ["a b", "c"]);
    }
}
