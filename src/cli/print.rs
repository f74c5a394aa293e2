//! What goes to the terminal or into a pipe: plain text, no colour, and a closed pipe is no error.

use std::io::{ErrorKind, Write};

use serde_json::Value;

use super::grammar::OutputFormat;
use crate::fault::{Fault, Kind};

/// Writes to stdout.
///
/// # Errors
/// It cannot be written, unless the reader just went away (`… | head`).
pub fn out(text: &str) -> Result<(), Fault> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Fault::io("stdout", &error)),
        _ => Ok(()),
    }
}

/// One line on stderr; if that fails there is nobody left to tell.
pub fn error(fault: &Fault) {
    let _ = writeln!(std::io::stderr(), "corelane: {}", plain(&fault.to_string()));
}

/// A note for people on stderr, apart from the answer itself.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// A value in the format asked for; `human` makes the form for people.
///
/// # Errors
/// It cannot be written.
pub fn value(format: OutputFormat, value: &Value, human: impl FnOnce(&Value) -> String) -> Result<(), Fault> {
    match format {
        OutputFormat::HumanReadableFormat => out(&human(value)),
        OutputFormat::Json => {
            let text = serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string());
            out(&format!("{text}\n"))
        }
        OutputFormat::Yaml => {
            let text = serde_norway::to_string(value)
                .map_err(|error| Fault::new(Kind::Internal, "yaml", format!("cannot be written: {error}")))?;
            out(&text)
        }
    }
}

/// Text from outside without what could steer a terminal.
pub fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() && letter != '\n' { '\u{fffd}' } else { letter }).collect()
}
