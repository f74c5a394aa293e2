//! An open Loki push request: one buffer per stream, entries encoded as they come.
//!
//! Sealing only has to put stream heads before the buffers: the line is copied once, into its stream, and the
//! compressor reads it there, unless its stream is small. Streams stand in the order of their first line. Of each
//! stream a few facts are noted on the way (times, bytes, whose entries), by which `target::loki` decides without
//! decoding.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::{Appended, Item, Sealed, press};
use crate::{
    limits::BATCH_KEPT_BYTES,
    model::Nanos,
    orders::{Run, StreamFact},
    wire::loki,
};

/// Streams of one request and their entries.
#[derive(Debug, Default)]
pub struct LokiBatch {
    /// Of the tenant: the same labels of two tenants are two streams.
    seed: u64,
    /// Labels and entries, encoded, of each stream in order of first append. Those from `used` on are empty and kept
    /// for their memory.
    streams: Vec<Vec<u8>>,
    used: usize,
    /// Of the streams in use.
    facts: Vec<StreamFact>,
    /// (the lane's stream number, place in `streams`), ordered by number.
    places: Vec<(u32, usize)>,
    /// Stream number and place of the line before: mostly the next line's as well.
    last: Option<(u32, usize)>,
    raw_bytes: usize,
    entries: u32,
}

impl LokiBatch {
    /// For the lines of one tenant; `None` leaves it to the target.
    pub fn new(tenant: Option<&str>) -> Self {
        Self { seed: tenant.map_or(0, |tenant| xxh3_64(tenant.as_bytes())), ..Self::default() }
    }

    pub(super) fn append(&mut self, item: &Item<'_>) -> Appended {
        let place = self.place(item);
        let stream = &mut self.streams[place];
        let before = loki::stream_bytes(stream.len());
        let mended = loki::put_entry(stream, item.time, item.line, item.metadata);
        self.raw_bytes += loki::stream_bytes(stream.len()) - before;
        self.entries += 1;
        note(&mut self.facts[place], item);
        Appended { replaced_utf8: mended.utf8, cut_metadata: mended.metadata, extra_parts: 0 }
    }

    pub(super) fn raw_bytes(&self) -> usize {
        self.raw_bytes
    }

    pub(super) fn entries(&self) -> u32 {
        self.entries
    }

    pub(super) fn streams(&self) -> usize {
        self.used
    }

    pub(super) fn let_go(&mut self) {
        self.streams = Vec::new();
    }

    pub(super) fn seal(&mut self) -> Sealed {
        let (body, raw_bytes) = (press::compress(&self.streams[..self.used], self.raw_bytes), self.raw_bytes);
        let entries = self.entries;
        let mut streams = std::mem::take(&mut self.facts);
        for (fact, stream) in streams.iter_mut().zip(&self.streams) {
            fact.bytes = stream.len();
        }
        self.reset();
        Sealed { body, raw_bytes, entries, streams }
    }

    /// Where the item's stream stands; a new one begins with its labels.
    #[inline]
    fn place(&mut self, item: &Item<'_>) -> usize {
        match self.last {
            Some((number, place)) if number == item.stream => place,
            _ => {
                let place = match self.places.binary_search_by_key(&item.stream, |&(number, _)| number) {
                    Ok(index) => self.places[index].1,
                    Err(index) => {
                        self.places.insert(index, (item.stream, self.used));
                        self.begin_stream(item.labels)
                    }
                };
                self.last = Some((item.stream, place));
                place
            }
        }
    }

    fn begin_stream(&mut self, labels: &str) -> usize {
        let place = self.used;
        if place == self.streams.len() {
            self.streams.push(Vec::new());
        }
        let stream = &mut self.streams[place];
        loki::put_stream_labels(stream, labels);
        self.raw_bytes += loki::stream_bytes(stream.len());
        self.used += 1;
        self.facts.push(StreamFact {
            hash: xxh3_64_with_seed(labels.as_bytes(), self.seed),
            oldest: Nanos(i64::MAX),
            newest: Nanos(i64::MIN),
            ..StreamFact::default()
        });
        place
    }

    fn reset(&mut self) {
        for stream in &mut self.streams[..self.used] {
            stream.clear();
        }
        // Which stream is the large one changes; without this, in time every buffer would be as large as a batch.
        let mut kept = 0;
        for stream in &mut self.streams {
            kept += stream.capacity();
            if kept > BATCH_KEPT_BYTES {
                kept -= stream.capacity();
                *stream = Vec::new();
            }
        }
        self.used = 0;
        self.places.clear();
        self.last = None;
        self.raw_bytes = 0;
        self.entries = 0;
    }

    #[cfg(test)]
    pub(super) fn kept_bytes(&self) -> usize {
        self.streams.iter().map(Vec::capacity).sum()
    }
}

/// Writes down what must be known of an entry without decoding it again.
#[inline]
fn note(fact: &mut StreamFact, item: &Item<'_>) {
    fact.oldest = fact.oldest.min(item.time);
    fact.newest = fact.newest.max(item.time);
    fact.entries += 1;
    match fact.runs.last_mut() {
        Some(run) if run.part == item.part => run.entries += 1,
        _ => fact.runs.push(Run { part: item.part, entries: 1 }),
    }
}
