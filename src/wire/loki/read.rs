//! A push request read back: where each stream and entry lies, without copying any of it.
//!
//! Only the slow way needs it, when a request must be cut, or lines taken out of it. It reads what this module's
//! encoder writes; anything else is malformed and never a panic.

use std::ops::Range;

use super::{
    ENTRY_LINE, ENTRY_METADATA, ENTRY_TIMESTAMP, PAIR_NAME, PAIR_VALUE, PUSH_STREAMS, STREAM_ENTRIES, STREAM_LABELS,
    TIMESTAMP_NANOS, TIMESTAMP_SECONDS,
};
use crate::{
    model::Nanos,
    wire::protobuf::{Reader, Value},
};

/// One stream of a request. Ranges are of the request's bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamAt {
    pub labels: Range<usize>,
    pub entries: Vec<EntryAt>,
}

/// One entry of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryAt {
    /// The whole field, its head included: what is put into another request as it is.
    pub field: Range<usize>,
    pub time: Nanos,
    pub line: Range<usize>,
    /// Names and values of its structured metadata, in bytes.
    pub metadata_bytes: usize,
    pub pairs: usize,
}

impl EntryAt {
    /// What Loki counts against its rates, in bytes.
    pub fn size(&self) -> usize {
        self.line.len() + self.metadata_bytes
    }
}

/// The streams of a request; `None` if it is malformed.
pub fn read_request(request: &[u8]) -> Option<Vec<StreamAt>> {
    let mut streams = Vec::new();
    for field in Reader::new(request, 0..request.len()) {
        if let (PUSH_STREAMS, Value::Bytes(range)) = (field.number, field.value?) {
            streams.push(read_stream(request, range)?);
        }
    }
    Some(streams)
}

fn read_stream(request: &[u8], range: Range<usize>) -> Option<StreamAt> {
    let mut stream = StreamAt::default();
    for field in Reader::new(request, range) {
        match (field.number, field.value?) {
            (STREAM_LABELS, Value::Bytes(labels)) => stream.labels = labels,
            (STREAM_ENTRIES, Value::Bytes(content)) => {
                stream.entries.push(read_entry(request, field.start..content.end, content)?);
            }
            _ => {}
        }
    }
    Some(stream)
}

fn read_entry(request: &[u8], field: Range<usize>, content: Range<usize>) -> Option<EntryAt> {
    let (mut seconds, mut nanos) = (0i64, 0i64);
    let mut entry = EntryAt { field, time: Nanos(0), line: content.end..content.end, metadata_bytes: 0, pairs: 0 };
    for field in Reader::new(request, content) {
        match (field.number, field.value?) {
            (ENTRY_TIMESTAMP, Value::Bytes(range)) => {
                for part in Reader::new(request, range) {
                    match (part.number, part.value?) {
                        (TIMESTAMP_SECONDS, Value::Integer(value)) => seconds = value as i64,
                        (TIMESTAMP_NANOS, Value::Integer(value)) => nanos = value as i64,
                        _ => {}
                    }
                }
            }
            (ENTRY_LINE, Value::Bytes(line)) => entry.line = line,
            (ENTRY_METADATA, Value::Bytes(range)) => {
                let (name, value) = read_pair(request, range)?;
                entry.metadata_bytes += name.len() + value.len();
                entry.pairs += 1;
            }
            _ => {}
        }
    }
    entry.time = Nanos(seconds.checked_mul(1_000_000_000)?.checked_add(nanos)?);
    Some(entry)
}

fn read_pair(request: &[u8], range: Range<usize>) -> Option<(Range<usize>, Range<usize>)> {
    let (mut name, mut value) = (0..0, 0..0);
    for field in Reader::new(request, range) {
        match (field.number, field.value?) {
            (PAIR_NAME, Value::Bytes(range)) => name = range,
            (PAIR_VALUE, Value::Bytes(range)) => value = range,
            _ => {}
        }
    }
    Some((name, value))
}

/// Name and value of each metadata pair of an entry.
pub fn pairs<'a>(request: &'a [u8], entry: &EntryAt) -> Vec<(&'a str, &'a [u8])> {
    let mut pairs = Vec::with_capacity(entry.pairs);
    let mut outer = Reader::new(request, entry.field.clone());
    let Some(Some(Value::Bytes(content))) = outer.next().map(|field| field.value) else { return pairs };
    for field in Reader::new(request, content) {
        if let (ENTRY_METADATA, Some(Value::Bytes(range))) = (field.number, field.value)
            && let Some((name, value)) = read_pair(request, range)
        {
            pairs.push((str::from_utf8(&request[name]).unwrap_or_default(), &request[value]));
        }
    }
    pairs
}
