//! Entries by walking the arena, object by object, where the chain that lists them is broken.
//!
//! The walk begins behind the last good entry. Objects say how long they are; one that does not is passed over eight
//! bytes at a time until something looks like an entry. Only what could follow is taken for one: a larger seqnum, and
//! items that lie before it. The walk never gives more entries than the header counts.

use super::{
    file::JournalFile,
    span::{Io, Stop},
};
use crate::{
    limits::JOURNAL_ARRAY_READ_BYTES,
    ring::Ring,
    wire::journal::{
        ALIGNMENT, EntryHead, ObjectHead, ObjectKind,
        object::{ENTRY_BYTES_MAX, ENTRY_ITEMS_AT, OBJECT_HEAD_BYTES},
    },
};

/// A walk under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Walk {
    /// The object to look at next.
    at: u64,
    /// Nothing is known of where objects begin here.
    lost: bool,
    /// It was lost once.
    damage: bool,
    /// The next entry has a larger seqnum.
    above: Option<u64>,
    /// An entry that was found and not gone past yet.
    found: Option<u64>,
}

impl JournalFile {
    /// From here on entries are looked for one object after the other.
    pub fn walk_on<R>(&mut self, io: &mut Io<'_, R>, why: &str) {
        self.complain(io, why);
        self.index = None;
        let at = self.group.max(self.header.header_size).next_multiple_of(ALIGNMENT);
        self.walk =
            Some(Walk { at, lost: false, damage: false, above: self.last.map(|last| last.seqnum), found: None });
    }

    /// The offset of the next entry; `None` when the walk has come to its end.
    pub fn walked<R: Ring>(&mut self, io: &mut Io<'_, R>) -> Result<Option<u64>, Stop> {
        let owner = self.owner()?;
        // A damaged header may name an end that lies before what was read already.
        let tail = self.header.tail_object_offset;
        while let Some(mut walk) = self.walk {
            if walk.found.is_some() {
                return Ok(walk.found);
            }
            let end = if tail >= self.group { tail } else { u64::MAX };
            if walk.at > end {
                return Ok(None);
            }
            match self.object.fill(io, owner, walk.at, OBJECT_HEAD_BYTES, JOURNAL_ARRAY_READ_BYTES) {
                Err(Stop::End | Stop::Io(_)) => return Ok(None),
                other => other?,
            }
            let head = ObjectHead::parse(self.object.rest(walk.at)).filter(|head| self.is_whole(walk.at, head));
            let found = match head {
                Some(head) if head.kind == ObjectKind::Entry => self.is_next(io, walk)?,
                _ => false,
            };
            let at = walk.at;
            match head {
                Some(head) if found || !walk.lost => {
                    let end = walk.at.saturating_add(head.size);
                    walk.at = end.checked_next_multiple_of(ALIGNMENT).unwrap_or(u64::MAX);
                    walk.lost = false;
                }
                _ => {
                    walk.at = walk.at.saturating_add(ALIGNMENT);
                    (walk.lost, walk.damage) = (true, true);
                }
            }
            walk.found = found.then_some(at);
            self.walk = Some(walk);
            if !found {
                io.spend()?;
            }
        }
        Ok(None)
    }

    /// The entry that was found is done with: what follows has a larger seqnum.
    pub fn walked_past(&mut self, seqnum: Option<u64>) {
        if let Some(walk) = &mut self.walk {
            (walk.above, walk.found) = (seqnum.or(walk.above), None);
        }
    }

    /// Whether the walk met anything but whole objects.
    pub fn walk_was_damaged(&self) -> bool {
        self.walk.is_some_and(|walk| walk.damage)
    }

    /// Whether an object may be what its head says.
    fn is_whole(&self, at: u64, head: &ObjectHead) -> bool {
        let known = !matches!(head.kind, ObjectKind::Unused | ObjectKind::Unknown(_));
        known && at.checked_add(head.size).is_some_and(|end| end <= self.header.end().max(self.group))
    }

    /// Whether the ENTRY at the walk's place is one that can come next.
    fn is_next<R: Ring>(&mut self, io: &mut Io<'_, R>, walk: Walk) -> Result<bool, Stop> {
        let owner = self.owner()?;
        let bytes = self.layout.entry_item_bytes();
        let mut need = ENTRY_ITEMS_AT;
        loop {
            match self.object.fill(io, owner, walk.at, need, need.max(JOURNAL_ARRAY_READ_BYTES)) {
                Err(Stop::End | Stop::Io(_)) => return Ok(false),
                other => other?,
            }
            let Some(head) = EntryHead::parse(self.object.rest(walk.at)) else { return Ok(false) };
            if need < head.size.min(ENTRY_BYTES_MAX) as usize {
                need = head.size as usize;
                continue;
            }
            let items = self.object.slice(walk.at + ENTRY_ITEMS_AT as u64, head.items(self.layout) * bytes);
            let before = |item: &[u8]| {
                let offset = self.layout.offset(item).unwrap_or_default();
                offset >= self.header.header_size && offset < walk.at && offset.is_multiple_of(ALIGNMENT)
            };
            let known = items.is_some_and(|items| !items.is_empty() && items.chunks_exact(bytes).all(before));
            let above = walk.above.is_none_or(|seqnum| head.seqnum > seqnum);
            let within = !walk.damage || head.seqnum <= self.header.tail_entry_seqnum;
            return Ok(known && above && within && head.seqnum > 0);
        }
    }
}
