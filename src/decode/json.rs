//! ZAP_JSON: one JSON object a line, as zap, slog, logrus and go-kit write it.
//!
//! The object is walked member by member in place. Once level, time and message are found, which zap writes first, the
//! rest is only searched, a vector at a time, for what could still change the outcome; if it holds nothing of the kind
//! the walk ends there, with what the whole walk would have found of any JSON, cut short or not. What is not quite JSON
//! is taken as far as it goes: text before the object and behind it, lines cut short, names repeated.

use super::{
    key::{Found, Kind, Role, Unescaped, Value, role},
    rest,
    scan::{Quotes, end_of_scalar},
};
use crate::model::FieldName as Name;

/// Reads the first object of `frame` into `found`. True if the object was there and was closed.
pub(super) fn read<'a>(frame: &'a [u8], found: &mut Found<'a>) -> bool {
    let Some(start) = object_start(frame) else { return false };
    let mut walk = Walk { text: frame, at: start, quotes: Quotes::default() };
    walk.usual(found);
    // Once is enough, or a line of repeated names would be searched again behind each of them.
    let mut searched = false;
    loop {
        if !searched && found.has_all() {
            searched = true;
            if rest::take_plain(frame, walk.at, found) {
                return true;
            }
        }
        match walk.member(found) {
            Step::Passed => {}
            Step::End => return true,
            Step::Broken => return false,
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
    /// A member.
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
    quotes: Quotes,
}

impl<'a> Walk<'a> {
    /// Walks over what zap's default encoder writes first, in its order, without blanks: a shortcut for `member`, which
    /// finds the same. Each of them may be missing.
    #[inline]
    fn usual(&mut self, found: &mut Found<'a>) {
        if let Some(value) = self.usual_member(b"\"level\":\"") {
            found.take(Role::Level, value);
        }
        if let Some(value) = self.usual_member(b"\"ts\":\"") {
            found.take(Role::Time, value);
        }
        if let Some(value) = self.usual_member(b"\"logger\":\"") {
            found.take(Role::Field(Name::Logger), value);
        }
        if let Some(value) = self.usual_member(b"\"caller\":\"") {
            found.take(Role::Field(Name::Caller), value);
        }
        if let Some(value) = self.usual_member(b"\"msg\":\"") {
            found.take(Role::Message, value);
        }
    }

    /// The value of a member that begins with `name`, its quotes, colon and the value's quote, and has another behind.
    #[inline(always)]
    fn usual_member<const N: usize>(&mut self, name: &[u8; N]) -> Option<Value<'a>> {
        if self.text.get(self.at..)?.first_chunk::<N>()? != name {
            return None;
        }
        let from = self.at + N;
        let close = self.quotes.close(self.text, from).filter(|close| self.text.get(close.at + 1) == Some(&b','));
        let Some(close) = close else {
            // It is walked after all, from its beginning.
            self.quotes = Quotes::default();
            return None;
        };
        self.at = close.at + 2;
        Some(Value::quoted(&self.text[from..close.at], close.escaped))
    }

    fn member(&mut self, found: &mut Found<'a>) -> Step {
        match self.next() {
            Some(b'"') => self.pair(found).unwrap_or(Step::Broken),
            Some(b'}') => Step::End,
            _ => Step::Broken,
        }
    }

    /// From behind a name's opening quote to behind the comma or to the closing brace.
    #[inline]
    fn pair(&mut self, found: &mut Found<'a>) -> Option<Step> {
        let from = self.at;
        let close = self.quotes.close(self.text, from)?;
        self.at = close.at + 1;
        if self.next()? != b':' {
            return None;
        }
        let key = &self.text[from..close.at];
        let role = if close.escaped { Unescaped::of(key).and_then(|key| role(key.as_slice())) } else { role(key) };
        let value = self.value()?;
        match self.next()? {
            b',' => {}
            // Left for the next step, which ends there.
            b'}' => self.at -= 1,
            _ => return None,
        }
        // A bare value is no message in JSON: it is a number.
        match role {
            None => {}
            Some(Role::Message) if value.kind == Kind::Bare => {}
            Some(role) => found.take(role, value),
        }
        Some(Step::Passed)
    }

    #[inline]
    fn value(&mut self) -> Option<Value<'a>> {
        let first = self.next()?;
        let from = self.at;
        match first {
            b'"' => {
                let close = self.quotes.close(self.text, from)?;
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
                b'"' => self.at = self.quotes.close(self.text, self.at)?.at + 1,
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
