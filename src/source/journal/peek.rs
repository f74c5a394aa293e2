//! Going from entry to entry: the one that is next, and where a reader stands that is done with it.

use super::{JournalCounts, file::JournalFile, gone::Reached};
use crate::{
    model::{JournalPosition, SourceMask},
    wire::journal::{ALIGNMENT, EntryHead},
};

/// The entry that is next.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Peeked {
    pub offset: u64,
    pub ordinal: u64,
    pub head: EntryHead,
}

/// What must be known of the entry before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Last {
    pub offset: u64,
    pub seqnum: u64,
    pub realtime: u64,
}

impl Last {
    pub fn of(offset: u64, head: &EntryHead) -> Self {
        Self { offset, seqnum: head.seqnum, realtime: head.realtime }
    }
}

impl JournalFile {
    /// Goes past the peeked entry.
    #[inline]
    pub fn advance(&mut self) {
        if let Some(Peeked { offset, head, .. }) = self.peeked() {
            let (last, group) = (Last::of(*offset, head), (offset + head.size).next_multiple_of(ALIGNMENT));
            (self.last, self.group) = (Some(last), group);
            self.index.iter_mut().for_each(|index| index.go_past(last.offset));
            (self.has_peeked, self.weighed, self.counted) = (false, false, false);
            self.odd = !self.odd;
            self.next += 1;
            self.draft.restart();
            self.walked_past(Some(last.seqnum));
        }
    }

    #[inline]
    pub fn set_peeked(&mut self, peeked: Peeked) {
        self.peeks[usize::from(self.odd)] = peeked;
        self.has_peeked = true;
    }

    /// Forgets the peeked entry: another one may be next.
    pub fn unpeek(&mut self) {
        (self.has_peeked, self.weighed) = (false, false);
        self.draft.restart();
    }

    /// The entry that is next, once it was read.
    #[inline]
    pub fn peeked(&self) -> Option<&Peeked> {
        self.has_peeked.then(|| &self.peeks[usize::from(self.odd)])
    }

    /// Counts the peeked entry, which is about to be handed out or passed over; false if it is only looked back at.
    #[inline]
    pub fn account(&mut self, counts: &mut JournalCounts, sources: SourceMask) -> bool {
        self.counted = self.next >= self.look_back_until;
        counts.read += u64::from(self.counted && self.next >= self.given.until);
        counts.spoiled += u64::from(self.draft.spoiled);
        counts.cut += u64::from(sources != 0 && self.draft.cut);
        self.counted
    }

    /// The position of the entry that was accounted for last.
    pub fn passed(&self) -> JournalPosition {
        self.position(&self.peeks[usize::from(self.odd == self.counted)])
    }

    /// How far it was read.
    pub fn reached(&self) -> Reached {
        Reached { position: self.position(&self.peeks[usize::from(!self.odd)]), next: self.next }
    }

    /// The position of an entry, as a checkpoint has it.
    #[inline]
    pub fn position(&self, entry: &Peeked) -> JournalPosition {
        JournalPosition {
            file_id: self.header.file_id,
            offset: entry.offset,
            ordinal: entry.ordinal,
            seqnum_id: self.header.seqnum_id,
            seqnum: entry.head.seqnum,
            boot_id: entry.head.boot_id,
            monotonic: entry.head.monotonic,
            realtime: entry.head.realtime,
            xor_hash: entry.head.xor_hash,
        }
    }
}
