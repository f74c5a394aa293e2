//! The few parts of the protobuf encoding that a push needs: varints, tags and length-delimited fields, and a reader.
//!
//! Sizes are computed before anything is written, so that a message goes straight into its final place: no message is
//! ever built apart and copied. Source: protobuf.dev, "Encoding". Field numbers are 1–15 throughout, hence tags of one
//! byte.

use std::ops::Range;

/// Bytes of one tag: field numbers up to 15 fit one byte.
const TAG_BYTES: usize = 1;
const WIRE_VARINT: u8 = 0;
const WIRE_LENGTH_DELIMITED: u8 = 2;

/// Bytes `value` takes as a varint, 1–10.
pub const fn varint_bytes(value: u64) -> usize {
    ((64 - (value | 1).leading_zeros()) as usize).div_ceil(7)
}

/// Bytes of a length-delimited field whose content has `length` bytes.
pub const fn delimited_bytes(length: usize) -> usize {
    TAG_BYTES + varint_bytes(length as u64) + length
}

/// Bytes of an integer field; none when it is 0, the default of proto3. A negative number takes ten bytes.
pub const fn integer_bytes(value: i64) -> usize {
    if value == 0 { 0 } else { TAG_BYTES + varint_bytes(value as u64) }
}

/// Longest head, in bytes. The longest there is, that of an entry with a time before 1970, has 41.
const HEAD_BYTES_MAX: usize = 64;

/// Tags, lengths and numbers before a content, gathered on the stack and appended at once: one check for room instead
/// of one for each byte.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    bytes: [u8; HEAD_BYTES_MAX],
    len: usize,
}

impl Default for Head {
    fn default() -> Self {
        Self { bytes: [0; HEAD_BYTES_MAX], len: 0 }
    }
}

impl Head {
    /// Adds `value` as a varint.
    pub fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.byte(value as u8 | 0x80);
            value >>= 7;
        }
        self.byte(value as u8);
    }

    /// Adds tag and length of a length-delimited field, a string, bytes or a message; its `length` bytes must follow.
    pub fn delimited_head(&mut self, field: u8, length: usize) {
        self.byte(tag(field, WIRE_LENGTH_DELIMITED));
        self.varint(length as u64);
    }

    /// Adds an `int32` or `int64` field; nothing when it is 0.
    pub fn integer(&mut self, field: u8, value: i64) {
        if value != 0 {
            self.byte(tag(field, WIRE_VARINT));
            self.varint(value as u64);
        }
    }

    /// What was added.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn byte(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }
}

/// Appends a whole length-delimited field.
pub fn put_delimited(out: &mut Vec<u8>, field: u8, content: &[u8]) {
    let mut head = Head::default();
    head.delimited_head(field, content.len());
    out.extend_from_slice(head.as_slice());
    out.extend_from_slice(content);
}

/// One field of a message that is read.
#[derive(Clone, Debug)]
pub struct FieldAt {
    pub number: u8,
    /// Where its tag stands.
    pub start: usize,
    /// `None`: malformed; nothing behind it can be read.
    pub value: Option<Value>,
}

#[derive(Clone, Debug)]
pub enum Value {
    Integer(u64),
    /// Where the content lies.
    Bytes(Range<usize>),
}

/// Reads the fields of one message, in their order, without copying.
#[derive(Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Reader<'a> {
    /// Of the message that lies at `range` of `bytes`.
    pub fn new(bytes: &'a [u8], range: Range<usize>) -> Self {
        let end = range.end.min(bytes.len());
        Self { bytes, at: range.start.min(end), end }
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.bytes.get(self.at).filter(|_| self.at < self.end)?;
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
}

impl Iterator for Reader<'_> {
    type Item = FieldAt;

    /// `None` at the end, and behind a malformed one.
    fn next(&mut self) -> Option<FieldAt> {
        if self.at >= self.end {
            return None;
        }
        let start = self.at;
        let tag = self.varint();
        let number = tag.and_then(|tag| u8::try_from(tag >> 3).ok()).unwrap_or_default();
        let value = tag.and_then(|tag| match (tag & 7) as u8 {
            WIRE_VARINT => self.varint().map(Value::Integer),
            WIRE_LENGTH_DELIMITED => {
                let length = usize::try_from(self.varint()?).ok()?;
                let end = self.at.checked_add(length).filter(|end| *end <= self.end)?;
                let start = std::mem::replace(&mut self.at, end);
                Some(Value::Bytes(start..end))
            }
            _ => None,
        });
        if value.is_none() {
            self.at = self.end;
        }
        Some(FieldAt { number, start, value })
    }
}

fn tag(field: u8, wire_type: u8) -> u8 {
    debug_assert!((1..=15).contains(&field));
    field << 3 | wire_type
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::encoding;

    use super::*;

    #[test]
    fn varints_of_the_protobuf_guide() {
        for (value, golden) in [
            (0, &[0u8][..]),
            (1, &[1]),
            (127, &[0x7f]),
            (128, &[0x80, 1]),
            (150, &[0x96, 0x01]),
            (u64::MAX, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
        ] {
            let mut head = Head::default();
            head.varint(value);
            assert_eq!(head.as_slice(), golden, "{value}");
            assert_eq!(varint_bytes(value), golden.len(), "{value}");
        }
    }

    proptest! {
        #[test]
        fn fields_are_prosts_bytes(number: i64, content in proptest::collection::vec(any::<u8>(), 0..300)) {
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            put_delimited(&mut ours, 3, &content);
            prop_assert_eq!(ours.len(), delimited_bytes(content.len()));
            let mut head = Head::default();
            head.integer(1, number);
            prop_assert_eq!(head.as_slice().len(), integer_bytes(number));
            ours.extend_from_slice(head.as_slice());
            encoding::bytes::encode(3, &content, &mut theirs);
            if number != 0 {
                encoding::int64::encode(1, &number, &mut theirs);
            }
            prop_assert_eq!(ours, theirs);
        }
    }
}
