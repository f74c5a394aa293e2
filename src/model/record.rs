//! A record on its way: the frame as read, what the source knew beside it, and what the decoder found in it.
//!
//! All of it borrows from the chunk or window it was read into; nothing is copied before the encoding.

use smallvec::SmallVec;

use super::{Level, Nanos, Position};
use crate::limits::FIELDS_MAX;

/// Which sources of a reader a record belongs to: bit *i* is the reader's *i*-th source.
pub type SourceMask = u128;

/// One record as framing hands it over.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The bytes as written, without the line end.
    pub frame: &'a [u8],
    /// The position after this record.
    pub end: Position,
    /// Identifies the record's place within its reader: byte offset of its first byte, or the journal's seqnum.
    pub place: u64,
    pub sources: SourceMask,
    /// Lies before the position asked for: read again only to tell equal neighbours apart, never emitted.
    pub look_back: bool,
    pub hint: Hint<'a>,
}

/// What the source knows about a record beside its bytes. Empty slices mean "not known".
#[derive(Clone, Copy, Debug, Default)]
pub struct Hint<'a> {
    /// The journal's own time of the entry; files have none.
    pub time: Option<Nanos>,
    /// The journal's PRIORITY, 0–7.
    pub priority: Option<u8>,
    pub identifier: &'a [u8],
    pub unit: &'a [u8],
    pub pid: &'a [u8],
    pub boot_id: &'a [u8],
    pub hostname: &'a [u8],
}

/// One field a decoder found: a fixed name and the bytes of its value, unescaped only if the format needs no copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Field<'a> {
    pub name: &'a str,
    pub value: &'a [u8],
}

/// The fields of one record, in the order given, at most `FIELDS_MAX`; further ones are left away. It is made for every
/// line: making it costs nothing and it never allocates, but it is large, so it is filled where it stands.
#[derive(Clone, Debug, Default)]
pub struct Fields<'a> {
    items: SmallVec<[Field<'a>; FIELDS_MAX]>,
}

impl<'a> Fields<'a> {
    /// Adds a field; false when the list is full.
    #[inline]
    pub fn push(&mut self, name: &'a str, value: &'a [u8]) -> bool {
        let fits = self.items.len() < FIELDS_MAX;
        if fits {
            self.items.push(Field { name, value });
        }
        fits
    }

    #[inline]
    pub fn as_slice(&self) -> &[Field<'a>] {
        &self.items
    }
}

/// The fields a decoder looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldName {
    Logger,
    Caller,
    TraceId,
    SpanId,
    RequestId,
}

impl FieldName {
    pub const ALL: [Self; 5] = [Self::Logger, Self::Caller, Self::TraceId, Self::SpanId, Self::RequestId];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Logger => "logger",
            Self::Caller => "caller",
            Self::TraceId => "trace_id",
            Self::SpanId => "span_id",
            Self::RequestId => "request_id",
        }
    }
}

/// The values a decoder found, one place for each name: it is made and moved for every line, so it is no list with room
/// for anything. An empty value is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FoundFields<'a> {
    values: [&'a [u8]; FieldName::ALL.len()],
}

impl<'a> FoundFields<'a> {
    /// Keeps `value` unless there is one already.
    #[inline]
    pub fn offer(&mut self, name: FieldName, value: &'a [u8]) {
        let place = &mut self.values[name as usize];
        if place.is_empty() {
            *place = value;
        }
    }

    #[inline]
    pub fn has(&self, name: FieldName) -> bool {
        !self.values[name as usize].is_empty()
    }

    #[inline]
    pub fn find(&self, name: &str) -> Option<&'a [u8]> {
        let name = match name {
            "logger" => FieldName::Logger,
            "caller" => FieldName::Caller,
            "trace_id" => FieldName::TraceId,
            "span_id" => FieldName::SpanId,
            "request_id" => FieldName::RequestId,
            _ => return None,
        };
        Some(self.values[name as usize]).filter(|value| !value.is_empty())
    }

    /// All that have a value.
    pub fn iter(&self) -> impl Iterator<Item = Field<'a>> {
        let fields = FieldName::ALL.map(|name| Field { name: name.as_str(), value: self.values[name as usize] });
        fields.into_iter().filter(|field| !field.value.is_empty())
    }
}

/// What a decoder found in a frame.
#[derive(Clone, Copy, Debug, Default)]
pub struct Decoded<'a> {
    /// False: the line is not of its format. It is shipped as it is, and counted.
    pub parsed: bool,
    pub level: Level,
    /// The line's own time.
    pub time: Option<Nanos>,
    /// The message within the frame; the whole frame when there is none apart.
    pub message: &'a [u8],
    /// Only fields worth sending as structured metadata (logger, caller, trace_id …).
    pub fields: FoundFields<'a>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn found_fields_go_by_their_names() {
        for name in FieldName::ALL {
            let mut found = FoundFields::default();
            assert_eq!(found.find(name.as_str()), None);
            found.offer(name, b"");
            found.offer(name, b"first");
            found.offer(name, b"second");
            assert_eq!(found.find(name.as_str()), Some(&b"first"[..]));
            assert!(found.has(name) && found.iter().eq([Field { name: name.as_str(), value: b"first" }]));
        }
        assert_eq!(FoundFields::default().find("level"), None);
    }

    #[test]
    fn a_full_list_takes_no_more() {
        let mut fields = Fields::default();
        assert!((0..FIELDS_MAX).all(|_| fields.push("name", b"value")));
        assert!(!fields.push("name", b"value"));
        assert_eq!(fields.as_slice().len(), FIELDS_MAX);
    }
}
