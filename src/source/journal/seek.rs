//! Where reading of a file begins.
//!
//! Entries are in order of seqnum within a file, and nearly always of time, so a place is found by halving over the
//! entry array. An entry that cannot be read counts as lying behind the place, and so does one whose seqnum is not
//! above that of the entry before it: at worst reading begins too early.

use super::{
    chain::Item,
    file::{JournalFile, Stage},
    gone::Reached,
    peek::{Last, Peeked},
    span::{Io, Stop},
};
use crate::{
    limits::{JOURNAL_DATA_READ_BYTES, LOOK_BACK_ENTRIES},
    model::JournalPosition,
    ring::Ring,
    wire::journal::{ALIGNMENT, EntryHead, object::ENTRY_ITEMS_AT},
};

/// What the first entry to be read is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Goal {
    Beginning,
    End,
    /// The first with a larger seqnum.
    AfterSeqnum(u64),
    /// The first at or after this time, in microseconds since the epoch.
    FromRealtime(u64),
    /// The first of this boot at or after so many microseconds of it; where the boot is another one, by the time since
    /// the epoch.
    FromMonotonic {
        boot_id: [u8; 16],
        monotonic: u64,
        realtime: u64,
    },
    /// The one after this, if it is still where it was; else by seqnum or time.
    After(JournalPosition),
    /// Where the reader was when the file went away.
    Again(Reached),
}

impl Goal {
    /// As far before `position` as the clocks of two journals may differ, in microseconds.
    pub fn near(position: &JournalPosition, slack: u64) -> Self {
        Self::FromMonotonic {
            boot_id: position.boot_id,
            monotonic: position.monotonic.saturating_sub(slack),
            realtime: position.realtime.saturating_sub(slack),
        }
    }
}

/// A search under way: the place lies in `low..=high`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Seek {
    goal: Goal,
    low: u64,
    high: u64,
    /// The last entry was looked at: most files lie wholly before or behind the place.
    probed: bool,
    /// An entry that lies before the place, if its seqnum, which this is, can be believed.
    doubted: Option<(u64, u64)>,
}

impl Seek {
    pub fn to(goal: Goal, entries: u64) -> Self {
        Self { goal, low: 0, high: entries, probed: false, doubted: None }
    }
}

impl JournalFile {
    /// Looks for the place to begin; the file is `Ready` afterwards. Gives the entry before that place, if there is one
    /// and it can be read.
    pub fn seek<R: Ring>(&mut self, io: &mut Io<'_, R>) -> Result<Option<JournalPosition>, Stop> {
        loop {
            let Stage::Seeking(seek) = self.stage else { return Ok(None) };
            let place = match seek.goal {
                Goal::Beginning => Some(0),
                Goal::End => Some(self.seen),
                Goal::After(position) => self.exact(io, &position)?,
                Goal::Again(reached) => {
                    self.again(io, &reached)?;
                    None
                }
                Goal::AfterSeqnum(_) | Goal::FromRealtime(_) | Goal::FromMonotonic { .. } => self.halve(io, seek)?,
            };
            if let Some(place) = place {
                if place == 0 && self.seen > 0 {
                    self.first = self.head_of(io, 0)?.map(|head| head.seqnum);
                }
                let before = self.before(io, place)?;
                self.begin_at(place, before);
                return Ok(before.map(|before| self.position(&before)));
            }
        }
    }

    /// Goes on where it was; if the entry read last is not there any more, the search goes on by another goal.
    fn again<R: Ring>(&mut self, io: &mut Io<'_, R>, reached: &Reached) -> Result<(), Stop> {
        let &Reached { position: JournalPosition { offset, ordinal, .. }, next } = reached;
        if offset == 0 {
            self.begin_at(next, None);
            return Ok(());
        }
        match self.entry_head(io, offset)?.filter(|head| is_at(head, &reached.position)) {
            // The list of entries is not asked: it may be broken, and they were found by walking.
            Some(head) => {
                let head = EntryHead { seqnum: reached.position.seqnum, ..head };
                self.begin_at(next, Some(Peeked { offset, ordinal, head }));
            }
            None => self.stage = Stage::Seeking(Seek::to(self.otherwise(&reached.position), self.seen)),
        }
        Ok(())
    }

    /// The place after `position`; `None` when the search has to go on by another goal.
    fn exact<R: Ring>(&mut self, io: &mut Io<'_, R>, position: &JournalPosition) -> Result<Option<u64>, Stop> {
        let there = position.ordinal < self.seen && self.item(io, position.ordinal)? == Item::At(position.offset);
        if there
            && let Some(head) = self.entry_head(io, position.offset)?
            && is_at(&head, position)
        {
            let place = position.ordinal + 1;
            self.look_back_until = place;
            return Ok(Some(place));
        }
        self.stage = Stage::Seeking(Seek::to(self.otherwise(position), self.seen));
        Ok(None)
    }

    /// How to look for the place after `position` when its entry is not there.
    fn otherwise(&self, position: &JournalPosition) -> Goal {
        if position.seqnum_id == self.header.seqnum_id {
            Goal::AfterSeqnum(position.seqnum)
        } else {
            Goal::near(position, 0)
        }
    }

    /// One step of the search; the place when it is found.
    fn halve<R: Ring>(&mut self, io: &mut Io<'_, R>, mut seek: Seek) -> Result<Option<u64>, Stop> {
        if seek.low >= seek.high {
            return Ok(Some(seek.low));
        }
        if let Some((ordinal, seqnum)) = seek.doubted {
            let believed = self.head_of(io, ordinal - 1)?.is_none_or(|before| before.seqnum < seqnum);
            (seek.low, seek.high) = if believed { (ordinal + 1, seek.high) } else { (seek.low, ordinal) };
            seek.doubted = None;
            self.stage = Stage::Seeking(seek);
            return Ok(None);
        }
        let middle = if seek.probed { seek.low + (seek.high - seek.low) / 2 } else { seek.high - 1 };
        let entry = self.head_of(io, middle)?;
        let before = entry.is_some_and(|entry| match seek.goal {
            Goal::AfterSeqnum(seqnum) => entry.seqnum <= seqnum,
            Goal::FromRealtime(realtime) => entry.realtime < realtime,
            Goal::FromMonotonic { boot_id, monotonic, .. } if entry.boot_id == boot_id => entry.monotonic < monotonic,
            Goal::FromMonotonic { realtime, .. } => entry.realtime < realtime,
            Goal::Beginning | Goal::End | Goal::After(_) | Goal::Again(_) => false,
        });
        let by_seqnum = matches!(seek.goal, Goal::AfterSeqnum(_));
        match entry {
            // In a step of its own: one step never needs two entries.
            Some(entry) if before && by_seqnum && middle > 0 => seek.doubted = Some((middle, entry.seqnum)),
            _ if before => seek.low = middle + 1,
            _ => seek.high = middle,
        }
        seek.probed = true;
        self.stage = Stage::Seeking(seek);
        Ok(None)
    }

    /// The entry before `place`.
    fn before<R: Ring>(&mut self, io: &mut Io<'_, R>, place: u64) -> Result<Option<Peeked>, Stop> {
        let Some(ordinal) = place.checked_sub(1) else { return Ok(None) };
        let Item::At(offset) = self.item(io, ordinal)? else { return Ok(None) };
        let head = self.entry_head(io, offset)?;
        Ok(head.map(|head| Peeked { offset, ordinal, head }))
    }

    /// Begins with the entry `place`, or with those to be looked back at.
    fn begin_at(&mut self, place: u64, before: Option<Peeked>) {
        let back = if self.look_back_until == place { LOOK_BACK_ENTRIES.min(place) } else { 0 };
        self.next = place - back;
        self.peeks[usize::from(!self.odd)] = before.unwrap_or_default();
        if let Some(before) = before.filter(|before| back == 0 && before.head.seqnum < self.seqnum_end()) {
            let group = (before.offset + before.head.size).next_multiple_of(ALIGNMENT);
            (self.last, self.group) = (Some(Last::of(before.offset, &before.head)), group);
        }
        self.stage = Stage::Ready;
        self.cool();
    }

    /// The entry of this ordinal; `None` when it cannot be read.
    fn head_of<R: Ring>(&mut self, io: &mut Io<'_, R>, ordinal: u64) -> Result<Option<EntryHead>, Stop> {
        match self.item(io, ordinal)? {
            Item::At(offset) => self.entry_head(io, offset),
            Item::Broken => Ok(None),
        }
    }

    /// The ENTRY at `offset`, without its items; `None` when there is none.
    fn entry_head<R: Ring>(&mut self, io: &mut Io<'_, R>, offset: u64) -> Result<Option<EntryHead>, Stop> {
        let owner = self.owner()?;
        match self.object.fill(io, owner, offset, ENTRY_ITEMS_AT, JOURNAL_DATA_READ_BYTES) {
            Ok(()) => Ok(EntryHead::parse(self.object.rest(offset))),
            Err(Stop::End | Stop::Io(_)) => Ok(None),
            Err(stop) => Err(stop),
        }
    }
}

/// Whether this is the head of the entry of `position`, which has another seqnum if that was damaged.
fn is_at(head: &EntryHead, position: &JournalPosition) -> bool {
    (head.xor_hash, head.realtime, head.monotonic) == (position.xor_hash, position.realtime, position.monotonic)
}
