//! What the receiver remembers of its messages.

use super::parse::{Message, parse};
use crate::verify::{Marker, Print, Sequence, Tally};

/// Broken messages of which the text is kept.
const MALFORMED_KEPT_MAX: usize = 16;

/// Sums since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections accepted.
    pub sessions: u64,
    /// Connections that failed in the TLS handshake.
    pub handshakes_failed: u64,
    /// Bytes read, after TLS, framing included.
    pub bytes: u64,
    /// Well-formed messages, resends included.
    pub messages: u64,
    /// Messages that break the grammar, and streams that broke their framing.
    pub malformed: u64,
    /// Sessions that ended inside a message.
    pub cut_short: u64,
    /// Messages without a number, when numbers are verified.
    pub unnumbered: u64,
    /// What became of the numbers, when they are verified.
    pub tally: Tally,
}

/// A message that breaks the grammar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    pub why: String,
    pub text: String,
}

pub(crate) struct Store {
    keep: usize,
    marker: Option<Marker>,
    pub(crate) counters: Counters,
    pub(crate) kept: Vec<Message>,
    pub(crate) malformed: Vec<Malformed>,
    pub(crate) sequence: Sequence,
}

impl Store {
    pub(crate) fn new(keep: usize, marker: Option<Marker>) -> Self {
        Self {
            keep,
            marker,
            counters: Counters::default(),
            kept: Vec::new(),
            malformed: Vec::new(),
            sequence: Sequence::default(),
        }
    }

    pub(crate) fn take(&mut self, bytes: &[u8]) {
        let message = match parse(bytes) {
            Ok(message) => message,
            Err(why) => return self.note_malformed(why, bytes),
        };
        self.counters.messages += 1;
        if let Some(marker) = &self.marker {
            match marker.number(message.text.as_bytes()) {
                None => self.counters.unnumbered += 1,
                Some(seq) => {
                    let labels = (&message.hostname, &message.app, message.facility, message.severity);
                    let metadata = (&message.procid, &message.msgid, &message.data);
                    let text = message.text.as_bytes();
                    let print = Print::of(labels, message.time_ns.unwrap_or(0), text, metadata);
                    self.sequence.note(seq, print, text);
                    self.counters.tally = self.sequence.tally();
                }
            }
        }
        if self.kept.len() < self.keep {
            self.kept.push(message);
        }
    }

    pub(crate) fn broken(&mut self, why: &str) {
        self.note_malformed(why.to_owned(), b"");
    }

    fn note_malformed(&mut self, why: String, bytes: &[u8]) {
        self.counters.malformed += 1;
        if self.malformed.len() < MALFORMED_KEPT_MAX {
            let text = String::from_utf8_lossy(&bytes[..bytes.len().min(1024)]).into_owned();
            self.malformed.push(Malformed { why, text });
        }
    }
}
