//! What a line says about itself: level, time, message and a few fields, found in place.
//!
//! A decoder never refuses a line. What is not of its format is shipped as it is, with the journal's PRIORITY as its
//! level, and counted by the caller (`Decoded::parsed`). What is found depends on the frame and the hint alone, so a
//! line read again is decoded again to the same; nothing is unescaped or copied: message and fields are spans of the
//! frame as written.

mod block;
mod json;
mod key;
mod level;
mod logfmt;
mod rest;
mod scan;
mod time;

#[cfg(test)]
mod tests;

use self::key::Found;
use crate::{
    model::{Decoded, Hint, Level},
    plan::Format,
};

/// Decodes the frames of one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoder {
    format: Format,
}

impl Decoder {
    pub fn new(format: Format) -> Self {
        Self { format }
    }

    /// What `frame`, one record without its line end, says.
    ///
    /// `parsed` is false when the frame is not of the format: a JSON object or a logfmt line that holds at least one of
    /// level, time and message, to its end. Then the message is the whole frame; a level and a time that were found
    /// before the line broke off still count. A line without a level that is known takes it from the hint's PRIORITY.
    #[inline]
    pub fn decode<'a>(&mut self, frame: &'a [u8], hint: &Hint<'_>) -> Decoded<'a> {
        let mut found = Found::default();
        let whole = match self.format {
            Format::ZapJson => json::read(frame, &mut found),
            Format::Logfmt => logfmt::read(frame, &mut found),
            Format::Unstructured => {
                let level = level_of(hint);
                return Decoded { parsed: true, level, message: frame, ..Decoded::default() };
            }
        };
        found.finish(frame, whole, hint)
    }
}

/// The level the source knows, the journal's PRIORITY.
fn level_of(hint: &Hint<'_>) -> Level {
    hint.priority.map_or(Level::Unknown, Level::from_priority)
}
