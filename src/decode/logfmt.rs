//! LOGFMT: `time=… level=INFO msg="…" k=v`, as slog's text handler, logrus and go-kit write it.
//!
//! Values are bare words or Go strings in double quotes; a word without `=` is a bare key and stands for nothing.

use super::{
    key::{Found, Kind, Value, role},
    scan::close_quote,
};

/// Reads the pairs of `frame` into `found`. False if a quote is never closed: then the line was cut short.
pub(super) fn read<'a>(frame: &'a [u8], found: &mut Found<'a>) -> bool {
    let mut at = 0;
    loop {
        at += frame[at..].iter().take_while(|byte| is_blank(**byte)).count();
        let key_bytes = frame[at..].iter().take_while(|byte| !is_blank(**byte) && **byte != b'=').count();
        let key = &frame[at..at + key_bytes];
        at += key_bytes;
        if frame.get(at) != Some(&b'=') {
            if at == frame.len() {
                return true;
            }
            continue;
        }
        at += 1;
        let value = if frame.get(at) == Some(&b'"') {
            let Some(close) = close_quote(frame, at + 1) else { return false };
            let span = &frame[at + 1..close.at];
            at = close.at + 1;
            Value::quoted(span, close.escaped)
        } else {
            let length = frame[at..].iter().take_while(|byte| !is_blank(**byte)).count();
            at += length;
            Value { kind: Kind::Bare, span: &frame[at - length..at] }
        };
        if let Some(role) = role(key) {
            found.take(role, value);
        }
    }
}

/// Blanks and control characters part words; so a carriage return at the end belongs to none.
fn is_blank(byte: u8) -> bool {
    byte <= b' '
}
