//! Loki's push protocol: entries, streams and label sets as protobuf.
//!
//! Source: `pkg/push/push.proto` and `pkg/logproto` of Grafana Loki:
//! `PushRequest { streams = 1 }`, `Stream { labels = 1, entries = 2 }`,
//! `Entry { timestamp = 1 { seconds = 1, nanos = 2 }, line = 2, structuredMetadata = 3 { name = 1, value = 2 } }`.
//! An entry's bytes depend on its own values alone, never on its neighbours: an entry sent again in another batch is
//! the same entry, and Loki stores it once.

mod labels;
mod read;
#[cfg(test)]
pub(crate) mod schema;
#[cfg(test)]
mod tests;

pub use labels::{label_name, render_labels};
pub use read::{EntryAt, StreamAt, pairs, read_request};

use smallvec::SmallVec;

use self::labels::Name;
use super::{
    protobuf::{Head, delimited_bytes, integer_bytes, put_delimited},
    utf8::Text,
};
use crate::{
    limits::{FIELDS_MAX, FRAME_BYTES_MAX, METADATA_BYTES_MAX, METADATA_VALUE_BYTES_MAX},
    model::{Field, Nanos},
};

const PUSH_STREAMS: u8 = 1;
const STREAM_LABELS: u8 = 1;
const STREAM_ENTRIES: u8 = 2;
const ENTRY_TIMESTAMP: u8 = 1;
const ENTRY_LINE: u8 = 2;
const ENTRY_METADATA: u8 = 3;
const TIMESTAMP_SECONDS: u8 = 1;
const TIMESTAMP_NANOS: u8 = 2;
const PAIR_NAME: u8 = 1;
const PAIR_VALUE: u8 = 2;

/// What had to be changed to make an entry acceptable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mended {
    /// Invalid UTF-8 in the line or in a metadata value was replaced.
    pub utf8: bool,
    /// A metadata value was cut, or a pair left out, to keep within Loki's limits.
    pub metadata: bool,
}

/// Appends one entry as a field of its stream. Invalid UTF-8 becomes U+FFFD (`?` where the line would outgrow
/// `FRAME_BYTES_MAX`, which Loki would refuse); metadata pairs without a name or beyond the limits stay out.
pub fn put_entry(out: &mut Vec<u8>, time: Nanos, line: &[u8], metadata: &[Field<'_>]) -> Mended {
    let line = Text::new(line, FRAME_BYTES_MAX);
    let (seconds, nanos) = time.parts();
    let nanos = i64::from(nanos);
    let timestamp_bytes = integer_bytes(seconds) + integer_bytes(nanos);
    let mut bytes = delimited_bytes(timestamp_bytes) + delimited_bytes(line.len());
    let mut mended = Mended { utf8: line.replaced(), metadata: false };
    let mut room = METADATA_BYTES_MAX;
    let mut pairs: SmallVec<[Pair<'_>; FIELDS_MAX]> = SmallVec::new();
    for field in metadata {
        if let Some(pair) = Pair::of(field, &mut room, &mut mended) {
            pairs.push(pair);
        }
    }
    bytes += pairs.iter().map(|pair| delimited_bytes(pair.bytes)).sum::<usize>();

    out.reserve(delimited_bytes(bytes));
    let mut head = Head::default();
    head.delimited_head(STREAM_ENTRIES, bytes);
    head.delimited_head(ENTRY_TIMESTAMP, timestamp_bytes);
    head.integer(TIMESTAMP_SECONDS, seconds);
    head.integer(TIMESTAMP_NANOS, nanos);
    head.delimited_head(ENTRY_LINE, line.len());
    out.extend_from_slice(head.as_slice());
    line.put(out);
    for pair in &pairs {
        pair.put(out);
    }
    mended
}

/// Appends the label set of a stream, as `render_labels` made it. It comes before the stream's entries.
pub fn put_stream_labels(out: &mut Vec<u8>, labels: &str) {
    put_delimited(out, STREAM_LABELS, labels.as_bytes());
}

/// Appends one stream, given as its labels and entries already encoded, to a push request.
pub fn put_stream(out: &mut Vec<u8>, stream: &[u8]) {
    put_delimited(out, PUSH_STREAMS, stream);
}

/// Appends what stands before a stream of `length` bytes: with the stream behind it the same as `put_stream`.
pub fn put_stream_head(out: &mut Vec<u8>, length: usize) {
    let mut head = Head::default();
    head.delimited_head(PUSH_STREAMS, length);
    out.extend_from_slice(head.as_slice());
}

/// Bytes `put_stream` appends for a stream of `length` bytes.
pub const fn stream_bytes(length: usize) -> usize {
    delimited_bytes(length)
}

/// One metadata pair that will be written.
struct Pair<'a> {
    name: Name<'a>,
    value: Text<'a>,
    /// Of name and value as fields.
    bytes: usize,
}

impl<'a> Pair<'a> {
    /// `None` for a pair that must stay out: Loki answers 500 for ever to an empty name, and 400 to too many bytes.
    #[inline]
    fn of(field: &Field<'a>, room: &mut usize, mended: &mut Mended) -> Option<Self> {
        let name = Name::new(field.name);
        if name.len() == 0 {
            return None;
        }
        let (value, cut) = Text::cut(field.value, METADATA_VALUE_BYTES_MAX);
        let Some(left) = room.checked_sub(name.len() + value.len()) else {
            mended.metadata = true;
            return None;
        };
        *room = left;
        mended.metadata |= cut;
        mended.utf8 |= value.replaced();
        let bytes = delimited_bytes(name.len()) + delimited_bytes(value.len());
        Some(Self { name, value, bytes })
    }

    #[inline]
    fn put(&self, out: &mut Vec<u8>) {
        let mut head = Head::default();
        head.delimited_head(ENTRY_METADATA, self.bytes);
        head.delimited_head(PAIR_NAME, self.name.len());
        out.extend_from_slice(head.as_slice());
        self.name.put(out);
        let mut head = Head::default();
        head.delimited_head(PAIR_VALUE, self.value.len());
        out.extend_from_slice(head.as_slice());
        self.value.put(out);
    }
}
