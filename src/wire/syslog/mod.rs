//! RFC 5424 messages, framed for TCP and TLS.
//!
//! `<PRI>1 2026-02-24T15:46:29.123456Z HOST APP PROCID - [sdId cluster="…" source="…" level="…"] message`
//!
//! The message is UTF-8 without a byte order mark (RFC 5424 §6.4 MSG-ANY): receivers show the mark as dirt. What does
//! not fit one message is split between characters and every piece says which it is by `part="2/3"`; the pieces put
//! together again are the line. With octet counting (RFC 6587 §3.4.1, RFC 5425 §4.3) the message is arbitrary; with
//! newline framing (RFC 6587 §3.4.2) a line feed stands as `#012` and a carriage return as `#015`, the octal escapes
//! rsyslog itself uses. A `#012` that was in the line already is not told apart from them.

mod header;
#[cfg(test)]
mod tests;

use self::header::{escape_param, printable};
use super::{
    decimal::{digits, put_decimal},
    utf8::{Text, boundary},
};
use crate::{
    limits::SYSLOG_PART_BYTES_MIN,
    model::{Framing, Level, Nanos},
    wire::time::rfc3339_micros,
};

/// Longest HOSTNAME, APP-NAME, PROCID and SD-ID, in characters (RFC 5424 §6).
pub const HOSTNAME_BYTES_MAX: usize = 255;
pub const APP_NAME_BYTES_MAX: usize = 48;
pub const PROCID_BYTES_MAX: usize = 128;
pub const SD_ID_BYTES_MAX: usize = 32;

/// The highest facility, `local7` (RFC 5424 table 1).
const FACILITY_MAX: u8 = 23;

/// What is the same for all messages to one target.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    /// 0–23; higher ones count as 23.
    pub facility: u8,
    pub framing: Framing,
    /// Longest message without its frame, in bytes. A piece always carries `SYSLOG_PART_BYTES_MIN` bytes of the line,
    /// even if a long header leaves less room.
    pub max_message_bytes: usize,
    pub sd_id: &'a str,
    pub cluster: &'a str,
    pub node: &'a str,
}

/// One line on its way to syslog.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    pub level: Level,
    pub time: Nanos,
    pub source: &'a str,
    /// Empty: `-`.
    pub app: &'a [u8],
    /// Empty: `-`.
    pub procid: &'a [u8],
    pub line: &'a [u8],
}

/// How a line went out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Invalid UTF-8 was replaced by U+FFFD.
    pub replaced_utf8: bool,
    /// Messages the line became; 1 unless it was split.
    pub parts: u32,
}

/// Encodes messages for one target. Its buffers are reused: warm, it allocates nothing.
#[derive(Debug)]
pub struct Encoder {
    facility: u8,
    framing: Framing,
    max_message_bytes: usize,
    /// ` HOSTNAME `, what stands between time and app.
    host: Vec<u8>,
    /// ` - [sdId cluster="…" source="`, what stands between procid and source.
    element: Vec<u8>,
    /// Header and structured data of the message at hand, without `]`.
    head: Vec<u8>,
    /// The line with what had to be replaced or escaped, when anything had to.
    text: Vec<u8>,
}

impl Encoder {
    pub fn new(settings: &Settings<'_>) -> Self {
        let mut host = vec![b' '];
        printable(&mut host, settings.node.as_bytes(), HOSTNAME_BYTES_MAX, b"");
        host.push(b' ');
        let mut element = b" - [".to_vec();
        printable(&mut element, settings.sd_id.as_bytes(), SD_ID_BYTES_MAX, b"=]\"");
        element.extend_from_slice(b" cluster=\"");
        escape_param(&mut element, settings.cluster);
        element.extend_from_slice(b"\" source=\"");
        Self {
            facility: settings.facility.min(FACILITY_MAX),
            framing: settings.framing,
            max_message_bytes: settings.max_message_bytes,
            host,
            element,
            head: Vec::new(),
            text: Vec::new(),
        }
    }

    /// Appends `message` as one framed message, or as several when it is longer than `max_message_bytes`.
    pub fn put(&mut self, out: &mut Vec<u8>, message: &Message<'_>) -> Written {
        self.fill_head(message);
        let text = Text::new(message.line, usize::MAX);
        let escape = self.framing == Framing::Newline && memchr::memchr2(b'\n', b'\r', message.line).is_some();
        let line = if escape || text.replaced() {
            self.text.clear();
            if escape {
                escape_line_ends(&mut self.text, message.line)
            } else {
                text.put(&mut self.text)
            }
            self.text.as_slice()
        } else {
            message.line
        };
        let whole = self.head.len() + b"] ".len() + line.len();
        let parts = if whole <= self.max_message_bytes || line.len() <= SYSLOG_PART_BYTES_MIN {
            self.frame(out, whole);
            out.extend_from_slice(&self.head);
            out.extend_from_slice(b"] ");
            out.extend_from_slice(line);
            self.end_frame(out);
            1
        } else {
            self.put_parts(out, line)
        };
        Written { replaced_utf8: text.replaced(), parts }
    }

    fn fill_head(&mut self, message: &Message<'_>) {
        let head = &mut self.head;
        head.clear();
        head.push(b'<');
        put_decimal(head, usize::from(self.facility * 8 + message.level.severity()));
        head.extend_from_slice(b">1 ");
        head.extend_from_slice(&rfc3339_micros(message.time));
        head.extend_from_slice(&self.host);
        printable(head, message.app, APP_NAME_BYTES_MAX, b"");
        head.push(b' ');
        printable(head, message.procid, PROCID_BYTES_MAX, b"");
        head.extend_from_slice(&self.element);
        escape_param(head, message.source);
        head.extend_from_slice(b"\" level=\"");
        head.extend_from_slice(message.level.as_str().as_bytes());
        head.push(b'"');
    }

    /// The line in pieces, none longer than allowed, each marked with its number and how many there are.
    fn put_parts(&self, out: &mut Vec<u8>, line: &[u8]) -> u32 {
        let (room, parts) = self.plan_parts(line);
        let mut rest = line;
        let mut number = 0;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(self.cut(rest, room));
            rest = after;
            number += 1;
            let mark_bytes = b" part=\"/\"".len() + digits(number) + digits(parts);
            self.frame(out, self.head.len() + mark_bytes + b"] ".len() + piece.len());
            out.extend_from_slice(&self.head);
            out.extend_from_slice(b" part=\"");
            put_decimal(out, number);
            out.push(b'/');
            put_decimal(out, parts);
            out.extend_from_slice(b"\"] ");
            out.extend_from_slice(piece);
            self.end_frame(out);
        }
        debug_assert_eq!(number, parts);
        number as u32
    }

    /// Bytes of the line one piece may carry, and the number of pieces that makes. The mark needs room for the number,
    /// so the number is sought with ever wider marks; the first that fits is the answer.
    fn plan_parts(&self, line: &[u8]) -> (usize, usize) {
        let mut width = 1;
        loop {
            let overhead = self.head.len() + b" part=\"/\"] ".len() + 2 * width;
            let room = self.max_message_bytes.saturating_sub(overhead).max(SYSLOG_PART_BYTES_MIN);
            let (mut parts, mut rest) = (0, line);
            while !rest.is_empty() {
                rest = &rest[self.cut(rest, room)..];
                parts += 1;
            }
            if digits(parts) <= width {
                return (room, parts);
            }
            width += 1;
        }
    }

    /// Bytes of the next piece: at most `room`, no character and no escape torn apart. Never 0.
    fn cut(&self, line: &[u8], room: usize) -> usize {
        if line.len() <= room {
            return line.len();
        }
        let at = boundary(line, room);
        if self.framing == Framing::Newline {
            // An escape is `#` and three digits; one that begins less than four bytes before the cut is left whole.
            let torn = (at.saturating_sub(3)..at).find(|&from| is_escape(&line[from..]));
            return torn.unwrap_or(at);
        }
        at
    }

    fn frame(&self, out: &mut Vec<u8>, message_bytes: usize) {
        if self.framing == Framing::OctetCounted {
            put_decimal(out, message_bytes);
            out.push(b' ');
        }
    }

    fn end_frame(&self, out: &mut Vec<u8>) {
        if self.framing == Framing::Newline {
            out.push(b'\n');
        }
    }
}

fn is_escape(text: &[u8]) -> bool {
    text.starts_with(b"#012") || text.starts_with(b"#015")
}

/// Appends `line` as UTF-8 with `#012` for a line feed and `#015` for a carriage return.
fn escape_line_ends(out: &mut Vec<u8>, line: &[u8]) {
    let mut rest = line;
    while let Some(at) = memchr::memchr2(b'\n', b'\r', rest) {
        // Both are ASCII, hence never inside a character: the pieces can be mended one by one.
        Text::new(&rest[..at], usize::MAX).put(out);
        out.extend_from_slice(if rest[at] == b'\n' { b"#012" } else { b"#015" });
        rest = &rest[at + 1..];
    }
    Text::new(rest, usize::MAX).put(out);
}
