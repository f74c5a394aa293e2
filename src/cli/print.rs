//! What goes to the terminal or into a pipe; a closed pipe is no error.

use std::io::{ErrorKind, Write};

use serde_json::Value;

use super::{
    grammar::{Access, OutputFormat},
    screen::Screen,
};
use crate::fault::{Fault, Kind};

/// Writes to stdout.
///
/// # Errors
/// It cannot be written, unless the reader just went away (`… | head`).
pub fn out(text: &str) -> Result<(), Fault> {
    out_while_read(text).map(|_| ())
}

/// Writes to stdout; false when the reader has gone away and more would be in vain.
///
/// # Errors
/// It cannot be written.
pub fn out_while_read(text: &str) -> Result<bool, Fault> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Fault::io("stdout", &error)),
    }
}

/// One line on stderr; if that fails there is nobody left to tell.
pub fn error(fault: &Fault) {
    let _ = writeln!(std::io::stderr(), "corelane: {}", plain(&fault.to_string()));
}

/// A note for people on stderr, apart from the answer itself.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", plain(text));
}

/// A value in the format asked for; `human` makes the form for people.
///
/// # Errors
/// It cannot be written.
pub fn value(access: &Access, value: &Value, human: impl FnOnce(&Value, &Screen) -> String) -> Result<(), Fault> {
    out(&worded(access, value, human)?)
}

/// The text that `value` prints.
///
/// # Errors
/// It has no form in the format asked for.
pub fn worded(access: &Access, value: &Value, human: impl FnOnce(&Value, &Screen) -> String) -> Result<String, Fault> {
    match access.output_format {
        OutputFormat::HumanReadableFormat => Ok(human(value, &Screen::stdout(access))),
        OutputFormat::Json => {
            let text = serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string());
            Ok(format!("{text}\n"))
        }
        OutputFormat::Yaml => yaml(value),
    }
}

/// A value as YAML.
///
/// # Errors
/// It has no such form.
pub fn yaml(value: &Value) -> Result<String, Fault> {
    serde_norway::to_string(value)
        .map_err(|error| Fault::new(Kind::Internal, "yaml", format!("cannot be written: {error}")))
}

/// Text from outside without what could steer a terminal.
pub fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() && letter != '\n' { '\u{fffd}' } else { letter }).collect()
}
