//! An open Loki push request: one buffer per stream, entries encoded as they come.
//!
//! Sealing only has to put stream heads before the buffers: the line is copied once, into its stream, and the
//! compressor
//! reads it there, unless its stream is small. Streams stand in the order of their first line.

use super::{Appended, Item, Sealed, press};
use crate::{limits::BATCH_KEPT_BYTES, wire::loki};

/// Streams of one request and their entries.
#[derive(Debug, Default)]
pub struct LokiBatch {
    /// Labels and entries, encoded, of each stream in order of first append. Those from `used` on are empty and kept
    /// for their memory.
    streams: Vec<Vec<u8>>,
    used: usize,
    /// (the lane's stream number, place in `streams`), ordered by number.
    places: Vec<(u32, usize)>,
    /// Stream number and place of the line before: mostly the next line's as well.
    last: Option<(u32, usize)>,
    raw_bytes: usize,
    entries: u32,
}

impl LokiBatch {
    pub(super) fn append(&mut self, item: &Item<'_>) -> Appended {
        let place = self.place(item);
        let stream = &mut self.streams[place];
        let before = loki::stream_bytes(stream.len());
        let mended = loki::put_entry(stream, item.time, item.line, item.metadata);
        self.raw_bytes += loki::stream_bytes(stream.len()) - before;
        self.entries += 1;
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

    pub(super) fn seal(&mut self) -> Sealed {
        let (body, raw_bytes) = (press::compress(&self.streams[..self.used], self.raw_bytes), self.raw_bytes);
        let entries = self.entries;
        self.reset();
        Sealed { body, raw_bytes, entries }
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
