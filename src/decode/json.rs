//! ZAP_JSON: one JSON object a line, as zap, slog, logrus and go-kit write it.
//!
//! The object is walked member by member in place. Once level, time and message are found, which zap writes first, the
//! rest is only searched, a vector at a time, for what could still change the outcome; if it holds nothing of the kind
//! the walk ends there, with what the whole walk would have found of any JSON, cut short or not. What is not quite JSON
//! is taken as far as it goes: text before the object and behind it, lines cut short, names repeated.

use super::{
    key::{Found, Kind, Name, Role, Unescaped, Value, role},
    rest,
    scan::{close_quote, end_of_scalar},
};

/// Reads the first object of `frame` into `found`. True if the object was there and was closed.
pub(super) fn read<'a>(frame: &'a [u8], found: &mut Found<'_, 'a>) -> bool {
    let Some(start) = object_start(frame) else { return false };
    let mut walk = Walk { text: frame, at: start };
    // Once is enough, or a line of repeated names would be searched again behind each of them.
    let mut searched = false;
    loop {
        match walk.member(found) {
            Step::Found => {}
            Step::Passed => continue,
            Step::End => return true,
            Step::Broken => return false,
        }
        if !searched && found.has_all() {
            searched = true;
            if rest::is_plain(frame, walk.at, found.has_names()) {
                return true;
            }
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

/// What a step through an object met.
enum Step {
    /// A member that means something to us.
    Found,
    /// Any other.
    Passed,
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
    fn member(&mut self, found: &mut Found<'_, 'a>) -> Step {
        match self.next() {
            Some(b'"') => self.pair(found).unwrap_or(Step::Broken),
            Some(b'}') => Step::End,
            _ => Step::Broken,
        }
    }

    /// From behind a name's opening quote to behind the comma or to the closing brace.
    #[inline]
    fn pair(&mut self, found: &mut Found<'_, 'a>) -> Option<Step> {
        let role = match self.usual_name() {
            Some((role, length)) => {
                self.at += length;
                Some(role)
            }
            None => {
                let from = self.at;
                let close = close_quote(self.text, from)?;
                self.at = close.at + 1;
                if self.next()? != b':' {
                    return None;
                }
                let key = &self.text[from..close.at];
                if close.escaped { Unescaped::of(key).and_then(|key| role(key.as_slice())) } else { role(key) }
            }
        };
        let value = self.value()?;
        match self.next()? {
            b',' => {}
            // Left for the next step, which ends there.
            b'}' => self.at -= 1,
            _ => return None,
        }
        // A bare value is no message in JSON: it is a number.
        match role {
            None => Some(Step::Passed),
            Some(Role::Message) if value.kind == Kind::Bare => Some(Step::Passed),
            Some(role) => {
                found.take(role, value);
                Some(Step::Found)
            }
        }
    }

    /// The names zap writes by default, told by one comparison each, quote and colon included; a shortcut for what
    /// `role` would say. Gives the bytes up to the value.
    #[inline]
    fn usual_name(&self) -> Option<(Role, usize)> {
        let word = u64::from_le_bytes(*self.text.get(self.at..)?.first_chunk::<8>()?);
        match &word.to_le_bytes() {
            b"level\":\"" => Some((Role::Level, 7)),
            b"logger\":" => Some((Role::Field(Name::Logger), 8)),
            b"caller\":" => Some((Role::Field(Name::Caller), 8)),
            [b'm', b's', b'g', b'"', b':', ..] => Some((Role::Message, 5)),
            [b't', b's', b'"', b':', ..] => Some((Role::Time, 4)),
            _ => None,
        }
    }

    #[inline]
    fn value(&mut self) -> Option<Value<'a>> {
        let first = self.next()?;
        let from = self.at;
        match first {
            b'"' => {
                let close = close_quote(self.text, from)?;
                self.at = close.at + 1;
                Some(Value::quoted(&self.text[from..close.at], close.escaped))
            }
            b'{' | b'[' => {
                self.skip_nested()?;
                Some(Value { kind: Kind::Other, span: &[] })
            }
            b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => {
                // A scalar that runs to the end of the frame was cut short: its digits are not all there.
                self.at = end_of_scalar(self.text, from)?;
                let span = self.text[from - 1..self.at].trim_ascii_end();
                let kind = if first.is_ascii_alphabetic() { Kind::Other } else { Kind::Bare };
                Some(Value { kind, span })
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
