//! An open batch of syslog messages: framed bytes in the order of the lines.

use super::{Appended, Item, Sealed, press};
use crate::wire::syslog::{Encoder, Message, Settings};

/// Framed messages of one target's shape.
#[derive(Debug)]
pub struct SyslogBatch {
    encoder: Encoder,
    bytes: Vec<u8>,
    entries: u32,
}

impl SyslogBatch {
    pub(super) fn new(settings: &Settings<'_>) -> Self {
        Self { encoder: Encoder::new(settings), bytes: Vec::new(), entries: 0 }
    }

    pub(super) fn append(&mut self, item: &Item<'_>) -> Appended {
        let written = self.encoder.put(
            &mut self.bytes,
            &Message {
                level: item.level,
                time: item.time,
                source: item.source,
                app: item.app,
                procid: item.procid,
                line: item.line,
            },
        );
        self.entries += 1;
        Appended { replaced_utf8: written.replaced_utf8, cut_metadata: false, extra_parts: written.parts - 1 }
    }

    pub(super) fn raw_bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn entries(&self) -> u32 {
        self.entries
    }

    pub(super) fn let_go(&mut self) {
        self.bytes = Vec::new();
    }

    pub(super) fn seal(&mut self) -> Sealed {
        let raw_bytes = self.bytes.len();
        let entries = std::mem::take(&mut self.entries);
        Sealed { body: press::hand_over(&mut self.bytes), raw_bytes, entries, streams: Vec::new() }
    }
}
