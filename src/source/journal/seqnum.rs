//! Seqnums that cannot be.
//!
//! Files are merged by seqnum, and read on behind one after a restart. A damaged one that was believed would put the
//! rest of its file behind entries that were written later, and a restart in their midst would pass over it. So an
//! entry whose seqnum contradicts the entries beside it, or the header, comes right after the one before it: what is
//! taken for earlier than it is can be read twice, but not be passed over.

use super::{file::JournalFile, span::Io};
use crate::wire::journal::{EntryHead, Header, State};

/// The last seqnum in the header of a file that is written to may lag behind what was read, but not by so many.
const LAG: u64 = 1 << 16;

impl JournalFile {
    /// Seqnums from here on are damaged; none, if it is the header that is.
    #[inline]
    pub fn seqnum_end(&self) -> u64 {
        let Header { state, tail_entry_seqnum, .. } = self.header;
        let lag = if state == State::Archived { 0 } else { LAG };
        let end = tail_entry_seqnum.saturating_add(lag).saturating_add(1);
        if self.last.is_some_and(|last| last.seqnum.saturating_add(1) >= end) { u64::MAX } else { end }
    }

    /// The next entry, with a seqnum that can be.
    pub fn mended<R>(&mut self, io: &mut Io<'_, R>, mut head: EntryHead) -> EntryHead {
        let seqnum = self.likely_seqnum(&head);
        let is_first = self.next == 0 && self.last.is_none();
        if seqnum != head.seqnum || (is_first && seqnum != self.header.head_entry_seqnum) {
            let header = &self.header;
            let what = format!(
                "the seqnum of an entry ({}), of one beside it, or in the header ({} to {}) is damaged; it counts as \
                 {seqnum}",
                head.seqnum, header.head_entry_seqnum, header.tail_entry_seqnum
            );
            self.complain(io, &what);
            head.seqnum = seqnum;
        }
        head
    }

    fn likely_seqnum(&self, head: &EntryHead) -> u64 {
        let seqnum = head.seqnum;
        let Some(last) = self.last.map(|last| last.seqnum) else {
            let first = self.header.head_entry_seqnum;
            let is_wrong = self.next == 0 || seqnum >= self.seqnum_end();
            return if is_wrong && first > 0 { first.min(seqnum) } else { seqnum };
        };
        // Not one more: if the one before was the damaged one, it would go on so to the end of the file.
        if seqnum <= last {
            return last;
        }
        let ahead = if seqnum > last + 1 { self.seqnum_ahead() } else { None };
        let is_passed = ahead.is_some_and(|ahead| ahead > last && ahead <= seqnum);
        if is_passed || seqnum >= self.seqnum_end() { last + 1 } else { seqnum }
    }

    /// The seqnum of the entry after the next one, if it is in memory.
    fn seqnum_ahead(&self) -> Option<u64> {
        let offset = self.items_ahead().nth(1).filter(|_| self.walk.is_none())?;
        EntryHead::parse(self.window.rest(offset)).map(|head| head.seqnum)
    }

    /// The seqnum of the first entry, before that is due: the smaller of what header and entry say, if it can be.
    pub fn first_seqnum(&self) -> Option<u64> {
        let Header { head_entry_seqnum: head, tail_entry_seqnum: tail, .. } = self.header;
        self.first.map(|first| if head > tail { first } else { first.min(head) }).or((head <= tail).then_some(head))
    }
}
