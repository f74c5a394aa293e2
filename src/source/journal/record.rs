//! The record of an assembled entry: its values where they lie, in the window, the cache or a template.

use super::{entry::Place, field::Field, file::JournalFile, template::Template};
use crate::{
    limits::JOURNAL_SOURCE_TIME_SKEW,
    model::{Hint, Nanos, Position, Record, SourceMask},
};

impl JournalFile {
    /// The value of a field of the assembled entry; nothing if it has none.
    pub fn text(&self, field: Field) -> &[u8] {
        self.text_of(self.templates.get(self.draft.template), field)
    }

    /// The value of a field, of the entry itself or of what it has in common with others.
    #[inline(always)]
    fn text_of<'a>(&'a self, template: Option<&'a Template>, field: Field) -> &'a [u8] {
        if self.draft.own & field.bit() == 0 {
            let template = template.filter(|_| self.draft.known & field.bit() != 0);
            return template.map(|template| template.text(field)).unwrap_or_default();
        }
        self.own_text(field)
    }

    /// A value of the entry's own.
    #[inline]
    fn own_text(&self, field: Field) -> &[u8] {
        let found = match self.draft.texts[field as usize] {
            Place::Nowhere => None,
            Place::Window(offset, bytes) => self.window.slice(offset, bytes),
            Place::Slot(slot) => Some(self.cache.slot(slot).value.as_slice()),
            Place::Message(from) => self.draft.message.get(from..),
            Place::Scratch(from, to) => self.draft.scratch.get(from..to),
        };
        found.unwrap_or_default()
    }

    /// The peeked entry as a record, once it is assembled. `None` when nothing is peeked.
    #[inline(always)]
    pub fn record(&self, sources: SourceMask) -> Option<Record<'_>> {
        let peeked = self.peeked()?;
        let template = self.templates.get(self.draft.template);
        let text = |field| self.text_of(template, field);
        let pid = match text(Field::Pid) {
            [] => text(Field::SyslogPid),
            pid => pid,
        };
        Some(Record {
            frame: text(Field::Message),
            end: Position::Journal(self.position(peeked)),
            place: peeked.head.seqnum,
            sources,
            look_back: self.next < self.look_back_until,
            hint: Hint {
                time: Nanos::from_micros(self.time(peeked.head.realtime)),
                priority: self.draft.priority,
                identifier: text(Field::Identifier),
                unit: text(Field::Unit),
                pid,
                boot_id: &self.draft.boot_id_hex,
                hostname: text(Field::Hostname),
            },
        })
    }

    /// When the entry happened: as its sender's kernel said (`_SOURCE_REALTIME_TIMESTAMP`), if that is near the time at
    /// which the journal took it; else the latter.
    fn time(&self, realtime: u64) -> u64 {
        let skew = JOURNAL_SOURCE_TIME_SKEW.as_micros() as u64;
        self.draft.source_time.filter(|source| source.abs_diff(realtime) <= skew).unwrap_or(realtime)
    }
}
