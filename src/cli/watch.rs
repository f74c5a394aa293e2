//! `--watch`: a view that is kept up to date.
//!
//! On a terminal it is drawn over itself. In a pipe only what changes is printed, a line for each: then it is a stream
//! that other programs can read. Trouble in between (a node that restarts) is told once and waited out.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;

use super::{
    grammar::{Access, OutputFormat, Watch},
    print,
    screen::{Screen, Tone},
};
use crate::{
    config::compile::amount,
    fault::{Fault, Kind},
};

/// Looking more often helps nobody.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

/// A line of a view in a pipe, and what it is about; it is printed again when it changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Empty for a heading, which is never taken back.
    pub about: String,
    pub text: String,
}

/// What is looked at, and how it is shown.
pub trait View {
    /// # Errors
    /// The API cannot be reached, or refuses.
    fn look(&self) -> Result<Value, Fault>;

    fn human(&self, value: &Value, screen: &Screen) -> String;

    /// For a pipe.
    fn lines(&self, value: &Value) -> Vec<Line>;
}

/// Shows the view once, or until nobody reads it any more.
///
/// # Errors
/// The first look failed, the caller is refused, or stdout cannot be written.
pub fn show(view: &impl View, watch: &Watch, access: &Access) -> Result<(), Fault> {
    let first = view.look()?;
    if !watch.watch {
        return print::value(access, &first, |value, screen| view.human(value, screen));
    }
    let interval = amount::duration(&watch.interval)
        .map_err(|cause| Fault::new(Kind::Usage, "--interval", cause))?
        .max(INTERVAL_MIN);
    let mut stream = Stream { format: access.output_format, shown: BTreeMap::new(), last: None };
    let mut latest: Result<Value, Fault> = Ok(first);
    let mut failing = false;
    loop {
        // Looked at each time: the terminal may have been resized.
        let screen = Screen::stdout(access);
        let text = match &latest {
            Ok(value) if access.is_for_people() && screen.is_terminal() => screen.redraw(&view.human(value, &screen)),
            Ok(value) => stream.news(value, view)?,
            Err(fault) if matches!(fault.kind(), Kind::Unauthenticated | Kind::Forbidden | Kind::Usage) => {
                return Err(fault.clone());
            }
            Err(fault) if screen.is_terminal() => screen.redraw(&screen.paint(Tone::Bad, &format!("{fault}\n"))),
            Err(fault) => {
                if !failing {
                    print::error(fault);
                }
                String::new()
            }
        };
        failing = latest.is_err();
        if !print::out_while_read(&text)? {
            return Ok(());
        }
        std::thread::sleep(interval);
        latest = view.look();
    }
}

/// What a pipe has been told already.
struct Stream {
    format: OutputFormat,
    /// Text by what it is about.
    shown: BTreeMap<String, String>,
    last: Option<Value>,
}

impl Stream {
    /// What is new, as text.
    fn news(&mut self, value: &Value, view: &impl View) -> Result<String, Fault> {
        if self.last.as_ref() == Some(value) {
            return Ok(String::new());
        }
        self.last = Some(value.clone());
        match self.format {
            OutputFormat::HumanReadableFormat => Ok(self.changed(view.lines(value))),
            OutputFormat::Json => Ok(format!("{value}\n")),
            OutputFormat::Yaml => Ok(format!("---\n{}", print::yaml(value)?)),
        }
    }

    fn changed(&mut self, lines: Vec<Line>) -> String {
        let mut out = String::new();
        let gone: Vec<String> =
            self.shown.keys().filter(|about| lines.iter().all(|line| line.about != **about)).cloned().collect();
        for about in gone {
            self.shown.remove(&about);
            out.push_str(&format!("{about}  deleted\n"));
        }
        for Line { about, text } in lines {
            if self.shown.get(&about) != Some(&text) && !(about.is_empty() && self.shown.contains_key("")) {
                out.push_str(&text);
                out.push('\n');
                self.shown.insert(about, text);
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(lines: &[(&str, &str)]) -> Vec<Line> {
        lines.iter().map(|(about, text)| Line { about: (*about).into(), text: (*text).into() }).collect()
    }

    #[test]
    fn a_pipe_gets_only_what_changed() {
        let mut stream = Stream { format: OutputFormat::HumanReadableFormat, shown: BTreeMap::new(), last: None };
        assert_eq!(stream.changed(lines(&[("", "NAME X"), ("a", "a 1"), ("b", "b 1")])), "NAME X\na 1\nb 1\n");
        assert_eq!(stream.changed(lines(&[("", "NAME  X"), ("a", "a 1"), ("b", "b 2")])), "b 2\n");
        assert_eq!(stream.changed(lines(&[("", "NAME  X"), ("b", "b 2")])), "a  deleted\n");
        assert_eq!(stream.changed(lines(&[("", "NAME  X"), ("a", "a 1"), ("b", "b 2")])), "a 1\n");
    }
}
