//! What stdout is: whether it takes colours, and how wide it is.
//!
//! Colours are for a terminal only, and never carry what the words do not say. `NO_COLOR` (no-color.org) and
//! `TERM=dumb` turn them off, `--color` decides over both.

use std::io::IsTerminal;

use super::grammar::{Access, ColorWhen};

/// Narrower terminals are treated as this wide, in columns.
const WIDTH_MIN: usize = 40;

/// What a piece of text means, in colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Plain,
    Heading,
    Good,
    Warning,
    Bad,
    Faint,
    /// The place of a change in a diff.
    Place,
}

/// Where answers go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Screen {
    colour: bool,
    /// Columns and rows; `None` when there is nobody to fold lines for.
    size: Option<(usize, usize)>,
    terminal: bool,
}

impl Screen {
    /// As stdout is, and as the flags want it.
    pub fn stdout(access: &Access) -> Self {
        let stdout = std::io::stdout();
        let terminal = stdout.is_terminal();
        let size = if terminal { size(&stdout) } else { None };
        Self { colour: coloured(access.color, terminal), size, terminal }
    }

    /// No colours, no end of line: a pipe.
    pub fn plain() -> Self {
        Self { colour: false, size: None, terminal: false }
    }

    #[cfg(test)]
    pub fn terminal(width: usize) -> Self {
        Self { colour: true, size: Some((width, 24)), terminal: true }
    }

    pub fn width(&self) -> Option<usize> {
        self.size.map(|(columns, _)| columns)
    }

    /// Somebody looks at it, so that it may be drawn over.
    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// The text in place of what is on the screen. Lines that do not fit below are counted.
    pub fn redraw(&self, text: &str) -> String {
        let rows = self.size.map_or(usize::MAX, |(_, rows)| rows);
        let lines: Vec<&str> = text.lines().collect();
        // The last row stays free for the cursor.
        let fits = if lines.len() < rows { lines.len() } else { rows - 2 };
        let mut out = String::from("\u{1b}[H");
        for line in &lines[..fits] {
            out.push_str(&format!("{line}\u{1b}[K\n"));
        }
        if fits < lines.len() {
            out.push_str(&format!("… {} more lines\u{1b}[K\n", lines.len() - fits));
        }
        out.push_str("\u{1b}[J");
        out
    }

    /// The text in the colour of its tone, if there are colours.
    pub fn paint(&self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Plain => return text.to_owned(),
            _ if !self.colour || text.is_empty() => return text.to_owned(),
            Tone::Heading => "1",
            Tone::Good => "32",
            Tone::Warning => "33",
            Tone::Bad => "31",
            Tone::Faint => "2",
            Tone::Place => "36",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

/// Whether there are colours at all; also for clap's own words.
pub fn coloured(when: ColorWhen, terminal: bool) -> bool {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    match when {
        ColorWhen::Always => true,
        ColorWhen::Never => false,
        ColorWhen::Auto => {
            terminal && set("NO_COLOR").is_none() && set("TERM").is_none_or(|terminal| terminal != "dumb")
        }
    }
}

/// Columns (`COLUMNS`, which a user may set, goes first) and rows of the terminal.
fn size(stdout: &std::io::Stdout) -> Option<(usize, usize)> {
    let wished = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let real = rustix::termios::tcgetwinsize(stdout).ok();
    let columns = wished.or_else(|| real.map(|size| usize::from(size.ws_col))).filter(|columns| *columns > 0)?;
    let rows = real.map(|size| usize::from(size.ws_row)).filter(|rows| *rows > 1).unwrap_or(usize::MAX);
    Some((columns.max(WIDTH_MIN), rows))
}
