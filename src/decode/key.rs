//! What keys mean, and what was found under them.
//!
//! The names are those zap, slog, logrus and go-kit use by default and their common variants (contract of ZAP_JSON and
//! LOGFMT). Of several keys with one meaning the first with a usable value counts, so duplicates change nothing.

use super::{level, level_of, time};
use crate::model::{Decoded, FieldName as Name, FoundFields, Hint, Level, Nanos};

/// What a key's value is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Level,
    Time,
    Message,
    /// A field that may go along as structured metadata.
    Field(Name),
    /// The same, under zap's one-letter names. They count only before the message, where zap writes them; elsewhere
    /// they are somebody's own.
    Letter(Name),
}

/// `None` for a key that is nothing to us; `stacktrace` is one of them: it stays in the line.
#[inline]
pub(super) fn role(key: &[u8]) -> Option<Role> {
    Some(match key {
        b"ts" | b"time" | b"timestamp" | b"@timestamp" | b"T" => Role::Time,
        b"msg" | b"message" | b"M" => Role::Message,
        b"level" | b"lvl" | b"severity" | b"L" => Role::Level,
        b"logger" => Role::Field(Name::Logger),
        b"caller" => Role::Field(Name::Caller),
        b"N" => Role::Letter(Name::Logger),
        b"C" => Role::Letter(Name::Caller),
        b"trace_id" => Role::Field(Name::TraceId),
        b"span_id" => Role::Field(Name::SpanId),
        b"request_id" => Role::Field(Name::RequestId),
        _ => return None,
    })
}

/// A value as it stands in the frame. A plain pair rather than an enum with contents: it goes through registers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value<'a> {
    pub kind: Kind,
    /// What stands between the quotes, escapes as written, or the bare word.
    pub span: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// In quotes, without an escape.
    Quoted,
    /// In quotes, with escapes.
    Escaped,
    /// A number, or a bare word of logfmt.
    Bare,
    /// `true`, `false`, `null`, an object, an array: nothing we look for.
    Other,
}

impl<'a> Value<'a> {
    pub fn quoted(span: &'a [u8], escaped: bool) -> Self {
        Self { kind: if escaped { Kind::Escaped } else { Kind::Quoted }, span }
    }
}

/// What a frame has said so far.
#[derive(Debug, Default)]
pub(super) struct Found<'a> {
    level: Option<Level>,
    time: Option<Nanos>,
    message: Option<&'a [u8]>,
    fields: FoundFields<'a>,
}

impl<'a> Found<'a> {
    /// Takes the value of a key with `role`, if it is the first usable one.
    #[inline(always)]
    pub fn take(&mut self, role: Role, value: Value<'a>) {
        match role {
            Role::Level if self.level.is_none() => self.level = with_text(value, level::parse),
            Role::Time if self.time.is_none() => self.time = with_text(value, time::parse),
            Role::Message if self.message.is_none() => {
                self.message = (value.kind != Kind::Other).then_some(value.span);
            }
            Role::Letter(_) if self.message.is_some() => {}
            Role::Field(name) | Role::Letter(name) => {
                if value.kind != Kind::Other {
                    self.fields.offer(name, value.span);
                }
            }
            Role::Level | Role::Time | Role::Message => {}
        }
    }

    /// Whether all that a line must have was found.
    #[inline]
    pub fn has_all(&self) -> bool {
        self.level.is_some() && self.message.is_some() && self.time.is_some()
    }

    /// Whether logger and caller, which zap writes before the message, are known.
    #[inline]
    pub fn has_names(&self) -> bool {
        self.fields.has(Name::Logger) && self.fields.has(Name::Caller)
    }

    /// The verdict on a frame that was of its format to the end (`whole`) or not.
    #[inline]
    pub fn finish(self, frame: &'a [u8], whole: bool, hint: &Hint<'_>) -> Decoded<'a> {
        let parsed = whole && (self.level.is_some() || self.message.is_some() || self.time.is_some());
        Decoded {
            parsed,
            level: self.level.unwrap_or_else(|| level_of(hint)),
            time: self.time,
            message: self.message.filter(|_| parsed).unwrap_or(frame),
            fields: self.fields,
        }
    }
}

/// Longest value that can be a level or a time. Longer ones are not looked at.
const TEXT_BYTES_MAX: usize = 64;

/// Applies `parse` to the text a value stands for.
#[inline]
fn with_text<T>(value: Value<'_>, parse: impl Fn(&[u8]) -> Option<T>) -> Option<T> {
    match value.kind {
        Kind::Quoted | Kind::Bare if value.span.len() <= TEXT_BYTES_MAX => parse(value.span),
        Kind::Escaped => Unescaped::of(value.span).and_then(|text| parse(text.as_slice())),
        _ => None,
    }
}

/// A short text with its escapes resolved, on the stack: keys and levels are hardly ever written with any.
pub(super) struct Unescaped {
    bytes: [u8; TEXT_BYTES_MAX],
    len: usize,
}

impl Unescaped {
    /// Resolves the escapes of JSON (RFC 8259 §7), which Go's quoted strings share as far as text of ours goes. `None`
    /// if the text is too long, an escape is unknown, or it stands for a character outside ASCII: then it is no key,
    /// level or time of ours.
    pub fn of(span: &[u8]) -> Option<Self> {
        let mut text = Self { bytes: [0; TEXT_BYTES_MAX], len: 0 };
        let mut rest = span;
        while let Some((&byte, after)) = rest.split_first() {
            rest = after;
            let byte = if byte == b'\\' {
                let (&escape, after) = rest.split_first()?;
                rest = after;
                match escape {
                    b'"' | b'\\' | b'/' => escape,
                    b'b' => 0x08,
                    b'f' => 0x0c,
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'u' => {
                        let (digits, after) = rest.split_first_chunk::<4>()?;
                        rest = after;
                        ascii_of(digits)?
                    }
                    _ => return None,
                }
            } else {
                byte
            };
            *text.bytes.get_mut(text.len)? = byte;
            text.len += 1;
        }
        Some(text)
    }

    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// The ASCII character of four hexadecimal digits.
fn ascii_of(digits: &[u8; 4]) -> Option<u8> {
    let mut code = 0;
    for digit in digits {
        code = code << 4 | (*digit as char).to_digit(16)?;
    }
    u8::try_from(code).ok().filter(u8::is_ascii)
}
