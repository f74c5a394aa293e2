//! A batch decoded: its streams and entries, and new requests made of some of them.
//!
//! Entries keep their bytes: what goes into another request is what was sealed, so that Loki knows it again. Entries
//! are added (a restamped one stands behind all others) and, when nobody knows them by their places, forgotten.

use std::ops::Range;

use bytes::Bytes;

use super::stream::Load;
use crate::{
    limits::LOKI_SPAN,
    model::{Field, Nanos},
    orders::Batch,
    target::loki::stream::{after, before},
    wire::{
        loki::{self, EntryAt, pairs, read_request},
        time::rfc3339_micros,
    },
};

/// The structured metadata a restamped entry has its own time in.
const ORIGINAL_TIME: &str = "original_time";

/// Neighbouring entries of one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Index into `Plain::streams`.
    pub stream: usize,
    pub entries: Range<usize>,
}

impl Cut {
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// In two halves; the first is the larger. `None` of a single entry.
    pub fn halves(&self) -> Option<[Self; 2]> {
        let middle = self.entries.start + self.len().div_ceil(2);
        (self.len() > 1).then(|| {
            [self.entries.start..middle, middle..self.entries.end].map(|entries| Self { stream: self.stream, entries })
        })
    }
}

#[derive(Debug)]
pub struct Plain {
    bytes: Vec<u8>,
    pub streams: Vec<Stream>,
}

#[derive(Debug)]
pub struct Stream {
    labels: Range<usize>,
    pub hash: u64,
    pub entries: Vec<Entry>,
}

#[derive(Debug)]
pub struct Entry {
    pub at: EntryAt,
    /// Index into the batch's parts.
    pub part: u32,
}

impl Plain {
    /// Decodes a batch. `None` if its bytes are not what its lane said they are, which is a defect.
    pub fn of(batch: &Batch) -> Option<Self> {
        if snap::raw::decompress_len(&batch.body).ok()? != batch.raw_bytes {
            return None;
        }
        let bytes = snap::raw::Decoder::new().decompress_vec(&batch.body).ok()?;
        let read = read_request(&bytes)?;
        if read.len() != batch.streams.len() {
            return None;
        }
        let mut streams = Vec::with_capacity(read.len());
        for (stream, fact) in read.into_iter().zip(&batch.streams) {
            let parts = fact.runs.iter().flat_map(|run| std::iter::repeat_n(run.part, run.entries as usize));
            let entries: Vec<Entry> =
                stream.entries.into_iter().zip(parts).map(|(at, part)| Entry { at, part }).collect();
            if entries.len() != fact.entries as usize {
                return None;
            }
            streams.push(Stream { labels: stream.labels, hash: fact.hash, entries });
        }
        let mut plain = Self { bytes, streams };
        plain.streams.iter_mut().for_each(Stream::straighten);
        Some(plain)
    }

    /// Everything there is.
    pub fn all(&self) -> Vec<Cut> {
        let whole = |(stream, entries): (usize, &Stream)| Cut { stream, entries: 0..entries.entries.len() };
        self.streams.iter().enumerate().map(whole).filter(|cut| cut.len() > 0).collect()
    }

    /// Forgets all entries but those of `cuts`, which are in order; gives the cuts they are now.
    pub fn keep_only(&mut self, cuts: &[Cut]) -> Vec<Cut> {
        let mut kept = Vec::new();
        for same in cuts.chunk_by(|a, b| a.stream == b.stream) {
            let stream = same[0].stream;
            let all = std::mem::take(&mut self.streams[stream].entries);
            let mut wanted = same.iter().flat_map(|cut| cut.entries.clone()).peekable();
            let keep = all.into_iter().enumerate().filter(|(index, _)| wanted.next_if_eq(index).is_some());
            let entries: Vec<Entry> = keep.map(|(_, entry)| entry).collect();
            kept.push(Cut { stream, entries: 0..entries.len() });
            self.streams[stream].entries = entries;
        }
        kept
    }

    pub fn entries(&self, cut: &Cut) -> &[Entry] {
        &self.streams[cut.stream].entries[cut.entries.clone()]
    }

    pub fn labels(&self, stream: usize) -> &str {
        str::from_utf8(&self.bytes[self.streams[stream].labels.clone()]).unwrap_or_default()
    }

    /// What decides whether a cut may travel in company.
    pub fn load(&self, cut: &Cut) -> Load {
        let mut load =
            Load { hash: self.streams[cut.stream].hash, oldest: Nanos(i64::MAX), newest: Nanos(i64::MIN), bytes: 0 };
        for entry in self.entries(cut) {
            load.oldest = load.oldest.min(entry.at.time);
            load.newest = load.newest.max(entry.at.time);
            load.bytes += entry.at.size();
        }
        load
    }

    /// The beginning of a cut that is at most so large (encoded, and as Loki counts it) and spans no more time than
    /// Loki takes behind a stream's newest; at least one entry.
    pub fn beginning(&self, cut: &Cut, room: usize, allowance: usize) -> Cut {
        let (mut bytes, mut size) = (self.streams[cut.stream].labels.len(), 0);
        let (mut oldest, mut newest) = (Nanos(i64::MAX), Nanos(i64::MIN));
        let mut end = cut.entries.start;
        for entry in self.entries(cut) {
            bytes += entry.at.field.len();
            size += entry.at.size();
            oldest = oldest.min(entry.at.time);
            newest = newest.max(entry.at.time);
            let is_first = end == cut.entries.start;
            if !is_first && (bytes > room || size > allowance || oldest < before(newest, LOKI_SPAN)) {
                break;
            }
            end += 1;
        }
        Cut { stream: cut.stream, entries: cut.entries.start..end }
    }

    /// Bytes a cut takes in a request before compression, its labels included.
    pub fn encoded_bytes(&self, cut: &Cut) -> usize {
        let labels = self.streams[cut.stream].labels.len();
        labels + 16 + self.entries(cut).iter().map(|entry| entry.at.field.len()).sum::<usize>()
    }

    /// A request of these cuts. Cuts of one stream that follow each other are one stream of it.
    pub fn request(&self, cuts: &[Cut]) -> Bytes {
        let mut request = Vec::with_capacity(cuts.iter().map(|cut| self.encoded_bytes(cut)).sum());
        let mut stream = Vec::new();
        for same in cuts.chunk_by(|a, b| a.stream == b.stream) {
            stream.clear();
            loki::put_stream_labels(&mut stream, self.labels(same[0].stream));
            for entry in same.iter().flat_map(|cut| self.entries(cut)) {
                stream.extend_from_slice(&self.bytes[entry.at.field.clone()]);
            }
            loki::put_stream(&mut request, &stream);
        }
        match snap::raw::Encoder::new().compress_vec(&request) {
            Ok(body) => Bytes::from(body),
            Err(error) => unreachable!("snappy refused {} bytes: {error}", request.len()),
        }
    }

    /// The line of an entry. Its encoder made it valid UTF-8.
    pub fn line(&self, entry: &Entry) -> &str {
        str::from_utf8(&self.bytes[entry.at.line.clone()]).unwrap_or_default()
    }

    /// Names and values of an entry's structured metadata.
    pub fn metadata(&self, entry: &Entry) -> Vec<(String, String)> {
        let owned = |(name, value): (&str, &[u8])| (name.to_owned(), String::from_utf8_lossy(value).into_owned());
        pairs(&self.bytes, &entry.at).into_iter().map(owned).collect()
    }

    /// Adds an entry again with the time `now`, its own time beside it; gives the cut it is.
    pub fn restamp(&mut self, stream: usize, index: usize, now: Nanos) -> Cut {
        let entry = &self.streams[stream].entries[index];
        let (part, original) = (entry.part, entry.at.time);
        let line = self.bytes[entry.at.line.clone()].to_vec();
        let metadata = self.metadata(entry);
        let text = rfc3339_micros(original);
        let mut fields: Vec<Field<'_>> = metadata
            .iter()
            .filter(|(name, _)| name != ORIGINAL_TIME)
            .map(|(name, value)| Field { name, value: value.as_bytes() })
            .collect();
        fields.push(Field { name: ORIGINAL_TIME, value: &text });
        let start = self.bytes.len();
        loki::put_entry(&mut self.bytes, now, &line, &fields);
        let metadata_bytes = fields.iter().map(|field| field.name.len() + field.value.len()).sum();
        let (field, pairs) = (start..self.bytes.len(), fields.len());
        let entries = &mut self.streams[stream].entries;
        // The line is the same bytes wherever it stands.
        let at = EntryAt { field, time: now, line: entries[index].at.line.clone(), metadata_bytes, pairs };
        entries.push(Entry { at, part });
        Cut { stream, entries: entries.len() - 1..entries.len() }
    }
}

impl Stream {
    /// Puts the entries in order of time where they span more than Loki takes behind a newest: sent as they are, those
    /// behind would be refused for those before. Loki shows them by time anyway.
    fn straighten(&mut self) {
        let times = || self.entries.iter().map(|entry| entry.at.time);
        let (oldest, newest) = (times().min().unwrap_or_default(), times().max().unwrap_or_default());
        if after(oldest, LOKI_SPAN) < newest {
            self.entries.sort_by_key(|entry| entry.at.time);
        }
    }
}
