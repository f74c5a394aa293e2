//! ZAP_JSON: one JSON object a line, as zap, slog, logrus and go-kit write it.
//!
//! The object is walked member by member in place. Once level, time and message are found, which zap writes first, the
//! rest is only searched, a vector at a time, for what could still change the outcome; if it holds nothing of the kind
//! the walk ends there, with what the whole walk would have found of any JSON, cut short or not. JSON that is not quite JSON is taken as far
//! as it goes: text before the object and behind it, lines cut short, names repeated.

use super::{
    key::{Found, Role, Unescaped, Value, role},
    scan::close_quote,
};

/// Reads the first object of `frame` into `found`. True if the object was there and was closed.
pub(super) fn read<'a>(frame: &'a [u8], found: &mut Found<'a>) -> bool {
    let Some(start) = object_start(frame) else { return false };
    let mut walk = Walk { text: frame, at: start };
    // Once is enough, or a line of repeated names would be searched again behind each of them.
    let mut searched = false;
    loop {
        match walk.member() {
            Member::Pair { key, escaped, value } => {
                let role = if escaped { Unescaped::of(key).and_then(|key| role(key.as_slice())) } else { role(key) };
                // A bare word is no message in JSON: it is a number.
                let value = match (role, value) {
                    (Some(Role::Message), Value::Bare(_)) => Value::Other,
                    (_, value) => value,
                };
                if let Some(role) = role {
                    found.take(role, value);
                    if !searched && found.has_all() {
                        searched = true;
                        if rest_is_plain(&frame[walk.at..]) {
                            return true;
                        }
                    }
                }
            }
            Member::End => return true,
            Member::Broken => return false,
        }
    }
}

/// Index after the `{` that begins the object: the first one followed by a name, whatever stands before it.
fn object_start(frame: &[u8]) -> Option<usize> {
    if frame.starts_with(b"{\"") {
        return Some(1);
    }
    memchr::memchr_iter(b'{', frame)
        .map(|brace| brace + 1)
        .find(|&after| frame[after..].iter().find(|byte| !is_blank(**byte)) == Some(&b'"'))
}

/// Whether what follows level, time and message, up to the end of the frame, closes the object and holds no field we look for, no
/// nested value that could hide the end, and no escape. It may say no without need, never yes.
#[inline]
fn rest_is_plain(rest: &[u8]) -> bool {
    let rest = rest.trim_ascii_end();
    let Some((last, rest)) = rest.split_last() else { return false };
    if *last != b'}' {
        return false;
    }
    // Three bytes at the front make every byte of the rest the last of a window of four.
    let (mut odd_quotes, mut suspicious) = (0u8, 0u8);
    let windows = rest.len().saturating_sub(3);
    let (a, b, c, d) = match rest.len() {
        0..=3 => (&rest[..0], &rest[..0], &rest[..0], &rest[..0]),
        _ => (&rest[..windows], &rest[1..], &rest[2..], &rest[3..]),
    };
    for (((a, b), c), d) in a.iter().zip(b).zip(c).zip(d) {
        // `trace_id"`, `span_id"`, `request_id"`; `logger"`, `caller"`.
        let id = u8::from(*a == b'_') & u8::from(*b == b'i') & u8::from(*c == b'd');
        let er = (u8::from(*a == b'g') | u8::from(*a == b'l')) & u8::from(*b == b'e') & u8::from(*c == b'r');
        suspicious |= (id | er) & u8::from(*d == b'"');
    }
    for byte in rest {
        suspicious |= u8::from(*byte == b'{') | u8::from(*byte == b'\\');
        odd_quotes ^= u8::from(*byte == b'"');
    }
    suspicious | odd_quotes == 0
}

/// One step through an object.
enum Member<'a> {
    Pair {
        /// The span between the quotes.
        key: &'a [u8],
        escaped: bool,
        value: Value<'a>,
    },
    /// The closing brace.
    End,
    /// Not JSON, or no more of it.
    Broken,
}

/// A place within an object, between two members.
struct Walk<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Walk<'a> {
    #[inline]
    fn member(&mut self) -> Member<'a> {
        match self.next() {
            Some(b'"') => self.pair().unwrap_or(Member::Broken),
            Some(b'}') => Member::End,
            _ => Member::Broken,
        }
    }

    /// From behind a name's opening quote to behind the comma or to the closing brace.
    #[inline]
    fn pair(&mut self) -> Option<Member<'a>> {
        let from = self.at;
        let close = close_quote(self.text, from)?;
        self.at = close.at + 1;
        if self.next()? != b':' {
            return None;
        }
        let value = self.value()?;
        match self.next()? {
            b',' => {}
            // Left for the next step, which ends there.
            b'}' => self.at -= 1,
            _ => return None,
        }
        Some(Member::Pair { key: &self.text[from..close.at], escaped: close.escaped, value })
    }

    #[inline]
    fn value(&mut self) -> Option<Value<'a>> {
        let first = self.next()?;
        let from = self.at;
        match first {
            b'"' => {
                let close = close_quote(self.text, from)?;
                self.at = close.at + 1;
                Some(Value::Quoted { span: &self.text[from..close.at], escaped: close.escaped })
            }
            b'{' | b'[' => {
                self.skip_nested()?;
                Some(Value::Other)
            }
            b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => {
                let rest = &self.text[from..];
                // A scalar that runs to the end of the frame was cut short: its digits are not all there.
                let length = rest.iter().position(|byte| matches!(byte, b',' | b'}' | b']') || is_blank(*byte))?;
                self.at = from + length;
                let span = &self.text[from - 1..self.at];
                Some(if first.is_ascii_alphabetic() { Value::Other } else { Value::Bare(span) })
            }
            _ => None,
        }
    }

    /// From behind an opening bracket to behind the one that closes it. Depth is counted, not stacked, so it has no
    /// bound to hit.
    fn skip_nested(&mut self) -> Option<()> {
        let mut depth = 1u32;
        while depth > 0 {
            let byte = *self.text.get(self.at)?;
            self.at += 1;
            match byte {
                b'"' => self.at = close_quote(self.text, self.at)?.at + 1,
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
        }
        Some(())
    }

    /// The next byte that is not blank; the place is behind it.
    #[inline]
    fn next(&mut self) -> Option<u8> {
        loop {
            let byte = *self.text.get(self.at)?;
            self.at += 1;
            if !is_blank(byte) {
                return Some(byte);
            }
        }
    }
}

/// JSON's white space (RFC 8259 §2).
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}
