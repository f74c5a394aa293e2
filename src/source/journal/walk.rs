//! Entries by walking the arena, object by object, where the chain that lists them is broken.
//!
//! The walk begins behind the last good entry. Objects say how long they are; one that does not is passed over eight
//! bytes at a time until something looks like an entry. Only what could follow is taken for one: a larger seqnum, and
//! items that lie before it. The walk never gives more entries than the header counts.
//!
//! A hole is not walked through: zeros are passed over a whole read at a time, and a walk that sees nothing like an
//! object for `JOURNAL_WALK_BLIND_BYTES_MAX` ends. A file may claim to be as long as numbers go, and be sparse.

use super::{
    file::JournalFile,
    span::{Io, Stop},
};
use crate::{
    limits::{JOURNAL_ARRAY_READ_BYTES, JOURNAL_WALK_BLIND_BYTES_MAX, JOURNAL_WINDOW_BYTES},
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
    /// Behind the last place that looked like an object.
    seen: u64,
    /// Zeros were all that was read last.
    hole: bool,
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
        let above = self.last.map(|last| last.seqnum);
        self.walk = Some(Walk { at, lost: false, seen: at, hole: false, damage: false, above, found: None });
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
            let want = if walk.hole { JOURNAL_WINDOW_BYTES } else { JOURNAL_ARRAY_READ_BYTES };
            match self.object.fill(io, owner, walk.at, OBJECT_HEAD_BYTES, want) {
                Err(Stop::End | Stop::Io(_)) => return Ok(None),
                other => other?,
            }
            let found = !self.pass_zeros(io, &mut walk) && self.pass_object(io, &mut walk)?;
            if !found && walk.at.saturating_sub(walk.seen) > JOURNAL_WALK_BLIND_BYTES_MAX {
                self.give_up(io, &mut walk);
            }
            self.walk = Some(walk);
            if !found {
                io.spend()?;
            }
        }
        Ok(None)
    }

    /// Goes past the zeros at hand, where no object begins; false when there are none.
    fn pass_zeros<R>(&self, io: &mut Io<'_, R>, walk: &mut Walk) -> bool {
        let rest = self.object.rest(walk.at);
        let zeros = leading_zeros(rest) as u64 / ALIGNMENT * ALIGNMENT;
        walk.hole = zeros > 0 && zeros + ALIGNMENT > rest.len() as u64;
        if zeros > 0 {
            walk.at += zeros;
            (walk.lost, walk.damage) = (true, true);
            // A large read is more work than a step.
            io.budget = io.budget.saturating_sub((zeros / JOURNAL_ARRAY_READ_BYTES as u64) as u32);
        }
        zeros > 0
    }

    /// Goes past the object at hand, or eight bytes on where none is; true when it is the next entry.
    fn pass_object<R: Ring>(&mut self, io: &mut Io<'_, R>, walk: &mut Walk) -> Result<bool, Stop> {
        let at = walk.at;
        let head = ObjectHead::parse(self.object.rest(at)).filter(|head| self.is_whole(at, head));
        let found = match head {
            Some(head) if head.kind == ObjectKind::Entry => self.is_next(io, *walk)?,
            _ => false,
        };
        match head {
            Some(head) if found || !walk.lost => {
                walk.at = at.saturating_add(head.size).checked_next_multiple_of(ALIGNMENT).unwrap_or(u64::MAX);
                (walk.lost, walk.seen) = (false, walk.at);
            }
            head => {
                // By chance hardly anything does: six bytes of the head are always zero.
                let rest = self.object.rest(at);
                let like = head.is_some_and(|head| head.size <= JOURNAL_WALK_BLIND_BYTES_MAX);
                if like && rest.get(2..8).is_some_and(|reserved| reserved == [0; 6]) {
                    walk.seen = at;
                }
                walk.at = at.saturating_add(ALIGNMENT);
                (walk.lost, walk.damage) = (true, true);
            }
        }
        walk.found = found.then_some(at);
        Ok(found)
    }

    /// Ends the walk.
    fn give_up<R>(&self, io: &mut Io<'_, R>, walk: &mut Walk) {
        let (path, seen, mib) = (self.path.display(), walk.seen, JOURNAL_WALK_BLIND_BYTES_MAX >> 20);
        io.troubles.tell(format!(
            "{path}: nothing looks like an object in the {mib} MiB from byte {seen} on; what its header counts beyond \
             is lost"
        ));
        (walk.at, walk.damage) = (u64::MAX, true);
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

/// Zeros at the beginning of `bytes`.
fn leading_zeros(bytes: &[u8]) -> usize {
    const ZEROS: [u8; 4096] = [0; 4096];
    let blocks = bytes.chunks_exact(ZEROS.len()).take_while(|block| *block == ZEROS.as_slice()).count();
    let rest = &bytes[blocks * ZEROS.len()..];
    bytes.len() - rest.len() + rest.iter().take_while(|byte| **byte == 0).count()
}
