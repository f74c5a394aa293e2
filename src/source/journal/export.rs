//! Every field of an entry, whole: what a record leaves out.
//!
//! A lane never asks for it. The fields come as they lie in the file, by the items of the entry that `next` handed out,
//! and are decoded like those of a record.

use super::{
    JournalCursor, JournalFile,
    span::{Io, Stop},
};
use crate::{
    limits::{JOURNAL_DATA_READ_BYTES, JOURNAL_EXPORT_FIELD_BYTES_MAX, JOURNAL_STEP_ENTRIES_MAX},
    ring::{Ring, Token},
    wire::journal::{ALIGNMENT, Compression, DataHead, object::DATA_HEAD_BYTES},
};

/// One field of an entry.
#[derive(Debug, PartialEq, Eq)]
pub enum Payload<'a> {
    /// `FIELD=value`.
    Whole(&'a [u8]),
    /// `FIELD=value` as it lies in the file, by its hash not what was written.
    Differs(&'a [u8]),
    /// Damaged, or longer than `limits::JOURNAL_EXPORT_FIELD_BYTES_MAX`.
    Unreadable,
    /// Ask again when the read under way has ended, or at once when none is.
    Pending,
    /// The entry has no more.
    End,
}

/// What became of a field.
#[derive(Clone, Copy, Debug)]
enum Decoded {
    Whole,
    /// Its hash is another one. That may be the fault of the hash, or of its key in the header.
    Differs,
    No,
}

impl JournalCursor {
    /// The field number `field` of the entry handed out last, in the order of the file.
    pub fn payload<R: Ring>(&mut self, ring: &mut R, token: Token, field: usize) -> Payload<'_> {
        if self.flight.is_some() {
            return Payload::Pending;
        }
        let Some(file) = self.handed.and_then(|index| self.files.get_mut(index)) else { return Payload::End };
        let mut flight = None;
        let mut io = Io {
            ring,
            token,
            flight: &mut flight,
            troubles: &mut self.troubles,
            patience: &mut self.patience,
            budget: JOURNAL_STEP_ENTRIES_MAX,
            rewound: None,
        };
        let done = file.payload(&mut io, field);
        self.flight = flight;
        match done {
            Ok(Some(Decoded::Whole)) => Payload::Whole(file.draft.exported()),
            Ok(Some(Decoded::Differs)) => Payload::Differs(file.draft.exported()),
            Ok(Some(Decoded::No)) | Err(Stop::End | Stop::Io(_) | Stop::Failing) => Payload::Unreadable,
            Ok(None) => Payload::End,
            Err(Stop::Pending | Stop::Yield) => Payload::Pending,
        }
    }
}

impl JournalFile {
    /// Decodes one field of the peeked entry into the draft; `None` when there is none.
    fn payload<R: Ring>(&mut self, io: &mut Io<'_, R>, field: usize) -> Result<Option<Decoded>, Stop> {
        let Some((entry, items)) = self.peeked().map(|peeked| (peeked.offset, peeked.head.items(self.layout))) else {
            return Ok(None);
        };
        if field >= items {
            return Ok(None);
        }
        let owner = self.owner()?;
        let at = self.layout.offset(self.items(entry, field, 1)).unwrap_or_default();
        if at < self.header.header_size || at >= entry || !at.is_multiple_of(ALIGNMENT) {
            return Ok(Some(Decoded::No));
        }
        self.object.fill(io, owner, at, DATA_HEAD_BYTES, JOURNAL_DATA_READ_BYTES)?;
        let Some(head) = DataHead::parse(self.object.rest(at), self.layout) else { return Ok(Some(Decoded::No)) };
        let payload_at = self.layout.payload_at();
        let stored = usize::try_from(head.payload_bytes).unwrap_or(usize::MAX);
        if stored > JOURNAL_EXPORT_FIELD_BYTES_MAX {
            return Ok(Some(Decoded::No));
        }
        self.object.fill(io, owner, at, payload_at + stored, payload_at + stored)?;
        let object = self.object.slice(at, payload_at + stored).unwrap_or_default();
        let stored = object.get(payload_at..).unwrap_or_default();
        let decoded = match self.draft.export(head.compression, stored) {
            true if self.header.hash(self.draft.exported()) == head.hash => Decoded::Whole,
            true => Decoded::Differs,
            false => Decoded::No,
        };
        Ok(Some(decoded))
    }
}

impl super::entry::Draft {
    /// Decodes a payload; false when it is damaged or too long.
    fn export(&mut self, compression: Compression, stored: &[u8]) -> bool {
        let Self { decompressor, plain, .. } = self;
        decompressor.decode(compression, stored, JOURNAL_EXPORT_FIELD_BYTES_MAX, plain) == Ok(false)
    }

    fn exported(&self) -> &[u8] {
        &self.plain
    }
}
