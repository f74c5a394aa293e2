//! An open batch for people: `TIME LEVEL source message`, one line each.
//!
//! A terminal obeys what it is shown, and log lines come from anywhere; so control characters (but for the tab) are
//! written as `\x1b`, and nobody's log can move the cursor, set the title or fake another line.

use super::{Appended, Item, Sealed, press};
use crate::wire::{time::rfc3339_micros, utf8::Text};

/// Lines for a terminal.
#[derive(Debug, Default)]
pub struct ConsoleBatch {
    bytes: Vec<u8>,
    /// A line with its invalid UTF-8 replaced.
    text: Vec<u8>,
    entries: u32,
}

impl ConsoleBatch {
    pub(super) fn append(&mut self, item: &Item<'_>) -> Appended {
        let text = Text::new(item.line, usize::MAX);
        let line = if text.replaced() {
            self.text.clear();
            text.put(&mut self.text);
            self.text.as_slice()
        } else {
            item.line
        };
        let out = &mut self.bytes;
        out.extend_from_slice(&rfc3339_micros(item.time));
        out.push(b' ');
        let level = item.level.as_str();
        out.extend(level.bytes().map(|byte| byte.to_ascii_uppercase()));
        out.extend(std::iter::repeat_n(b' ', LEVEL_WIDTH.saturating_sub(level.len()) + 1));
        put_visible(out, item.source.as_bytes());
        out.push(b' ');
        put_visible(out, line);
        out.push(b'\n');
        self.entries += 1;
        Appended { replaced_utf8: text.replaced(), ..Appended::default() }
    }

    pub(super) fn raw_bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn entries(&self) -> u32 {
        self.entries
    }

    pub(super) fn let_go(&mut self) {
        self.bytes = Vec::new();
    }

    pub(super) fn seal(&mut self) -> Sealed {
        let raw_bytes = self.bytes.len();
        let entries = std::mem::take(&mut self.entries);
        Sealed { body: press::hand_over(&mut self.bytes), raw_bytes, entries, streams: Vec::new() }
    }
}

/// Longest level that is common; `UNKNOWN` sticks out.
const LEVEL_WIDTH: usize = 5;

/// Appends UTF-8 text with control characters made visible: C0 and DEL, and C1, which are two bytes, `C2 80`–`C2 9F`.
fn put_visible(out: &mut Vec<u8>, text: &[u8]) {
    let hex = |nibble: u8| b"0123456789abcdef"[usize::from(nibble & 0xf)];
    let mut before = 0;
    for &byte in text {
        let is_c1 = before == 0xC2 && (0x80..=0x9F).contains(&byte);
        if is_c1 {
            out.pop();
        }
        if is_c1 || (byte.is_ascii_control() && byte != b'\t') {
            out.extend_from_slice(&[b'\\', b'x', hex(byte >> 4), hex(byte)]);
        } else {
            out.push(byte);
        }
        before = byte;
    }
}
