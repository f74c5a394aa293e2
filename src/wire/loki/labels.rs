//! Label sets as Loki reads them: `{a="b", c="d"}`, and what a label or metadata name may be.
//!
//! Loki parses the text with the PromQL grammar and Go's `strconv.Unquote`, and refuses the whole push when one set
//! does not parse; so the text is made to parse whatever it is made from. Rendering is for the lane's table of streams,
//! once per set, never once per line.

use std::{borrow::Cow, fmt::Write as _};

use crate::{limits::LABEL_VALUE_BYTES_MAX, wire::utf8::boundary};

/// The text of a label set, sorted by name. Names are made valid, values over `LABEL_VALUE_BYTES_MAX` are cut between
/// characters. A pair whose name or value is empty stays out (an empty label is no label to Loki), and of two pairs of
/// one name the first given counts. How many labels there are is for the caller to bound (`limits::LABELS_MAX`).
pub fn render_labels(labels: &[(&str, &str)]) -> String {
    let mut pairs: Vec<(Cow<'_, str>, &str)> = labels
        .iter()
        .map(|(name, value)| (label_name(name), *value))
        .filter(|(name, value)| !name.is_empty() && !value.is_empty())
        .collect();
    pairs.sort_by(|a, b| a.0.cmp(&b.0));
    pairs.dedup_by(|later, first| later.0 == first.0);
    let mut out =
        String::with_capacity(2 + pairs.iter().map(|(name, value)| name.len() + value.len() + 6).sum::<usize>());
    out.push('{');
    for (index, (name, value)) in pairs.iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        out.push_str(name);
        out.push('=');
        put_quoted(&mut out, &value[..boundary(value.as_bytes(), LABEL_VALUE_BYTES_MAX)]);
    }
    out.push('}');
    out
}

/// A valid name of a label or metadata pair, `[a-zA-Z_][a-zA-Z0-9_]*`: `_` stands for every other character, and
/// before a leading digit. Empty stays empty.
pub fn label_name(name: &str) -> Cow<'_, str> {
    let valid = Name::new(name);
    if valid.plain {
        return Cow::Borrowed(name);
    }
    let mut out = Vec::with_capacity(valid.len());
    valid.put(&mut out);
    // Only ASCII was written, so nothing is lost here.
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

/// A name on its way into an encoding: `label_name` of it once written, without building it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Name<'a> {
    name: &'a str,
    /// It is valid as it is.
    plain: bool,
    len: usize,
}

impl<'a> Name<'a> {
    #[inline]
    pub fn new(name: &'a str) -> Self {
        let plain = is_plain(name);
        let len = if plain { name.len() } else { usize::from(begins_with_digit(name)) + name.chars().count() };
        Self { name, plain, len }
    }

    /// Bytes `put` will append.
    pub fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub fn put(&self, out: &mut Vec<u8>) {
        if self.plain {
            out.extend_from_slice(self.name.as_bytes());
            return;
        }
        if begins_with_digit(self.name) {
            out.push(b'_');
        }
        out.extend(self.name.chars().map(|c| if c.is_ascii_alphanumeric() { c as u8 } else { b'_' }));
    }
}

fn is_plain(name: &str) -> bool {
    !begins_with_digit(name) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn begins_with_digit(name: &str) -> bool {
    name.bytes().next().is_some_and(|byte| byte.is_ascii_digit())
}

/// A Go string literal. What `strconv.Quote` would escape only for being unprintable, beyond ASCII, stands as it is.
fn put_quoted(out: &mut String, value: &str) {
    out.push('"');
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            c if c.is_ascii_control() => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\x{:02x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
}
