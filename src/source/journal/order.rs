//! Which file's entry is next.
//!
//! Within a seqnum id the smallest seqnum; between ids the one whose smallest-seqnum entry is oldest. Files wait
//! unopened until their first entry is due, by what their header says of it. As long as the file at hand stays ahead of
//! the runners-up noted when it was chosen, choosing again costs two comparisons.

use std::io;

use super::{
    JournalCursor,
    file::{JournalFile, Stage},
    span::{Io, Stop},
};
use crate::ring::Ring;

/// The file being read, and up to where no other one is due.
#[derive(Clone, Copy, Debug)]
pub(super) struct Current {
    index: usize,
    /// The smallest seqnum any other file of its seqnum id has next.
    seqnum: u64,
    /// The oldest time another seqnum id has next.
    realtime: u64,
}

/// The best file of one seqnum id.
#[derive(Clone, Copy, Debug)]
struct Best {
    id: [u8; 16],
    index: usize,
    seqnum: u64,
    realtime: u64,
    /// The second smallest seqnum.
    runner_up: u64,
    /// Some file of this id has entries that may be handed out.
    safe: bool,
}

impl JournalCursor {
    /// The index of the file whose peeked entry is due; `None` when all that may be handed out was.
    pub(super) fn choose<R: Ring>(&mut self, io: &mut Io<'_, R>) -> Result<Option<usize>, Stop> {
        if let Some(current) = self.current
            && let Some(file) = self.files.get_mut(current.index)
            && file.peek(io)?
            && file.next < file.safe
            && file.key().is_some_and(|(seqnum, realtime)| seqnum < current.seqnum && realtime <= current.realtime)
        {
            return Ok(Some(current.index));
        }
        loop {
            let Some((index, current)) = self.due() else { return Ok(None) };
            if self.files[index].peeked.is_some() {
                self.current = Some(current);
                return Ok(Some(index));
            }
            // By its header it is due; its first entry says whether it is.
            if self.opened(io, index) {
                self.files[index].peek(io)?;
            }
        }
    }

    /// The file that is due by what is known.
    fn due(&self) -> Option<(usize, Current)> {
        let mut bests: smallvec::SmallVec<[Best; 4]> = smallvec::SmallVec::new();
        for (index, file) in self.files.iter().enumerate().filter(|(_, file)| file.is_waiting()) {
            let (seqnum, realtime) = file.key().unwrap_or_default();
            let safe = file.next < file.safe;
            let id = file.header.seqnum_id;
            let new = Best { id, index, seqnum, realtime, runner_up: u64::MAX, safe };
            match bests.iter_mut().find(|best| best.id == id) {
                None => bests.push(new),
                Some(best) if seqnum < best.seqnum => {
                    *best = Best { runner_up: best.seqnum, safe: safe || best.safe, ..new };
                }
                Some(best) => {
                    best.runner_up = best.runner_up.min(seqnum);
                    best.safe |= safe;
                }
            }
        }
        let safe = || bests.iter().filter(|best| best.safe);
        let best = safe().min_by_key(|best| best.realtime)?;
        let others = safe().filter(|other| other.id != best.id).map(|other| other.realtime);
        let realtime = others.min().unwrap_or(u64::MAX);
        Some((best.index, Current { index: best.index, seqnum: best.runner_up, realtime }))
    }

    /// Opens a file that was closed to wait for its turn; one that cannot be opened any more is counted.
    fn opened<R: Ring>(&mut self, io: &mut Io<'_, R>, index: usize) -> bool {
        let file = &mut self.files[index];
        if file.handle.is_some() {
            return true;
        }
        match io.ring.open(&file.path) {
            Ok(handle) => {
                file.handle = Some(handle);
                true
            }
            Err(error) => {
                let lost = file.seen - file.next;
                let why = match error.kind() {
                    io::ErrorKind::NotFound => "it was vacuumed before its turn".to_owned(),
                    _ => error.to_string(),
                };
                io.troubles.tell(format!("{}: {lost} entries were not read: {why}", file.path.display()));
                self.unattributed = self.unattributed.saturating_add(lost);
                file.finish(io.ring);
                false
            }
        }
    }
}

impl JournalFile {
    fn is_waiting(&self) -> bool {
        self.stage == Stage::Ready && self.next < self.seen
    }

    /// Seqnum and time of its next entry: of the entry itself, or of the first one by the header. `None` while neither
    /// is known: then it is due at once, to be known.
    fn key(&self) -> Option<(u64, u64)> {
        match self.peeked {
            Some(peeked) => Some((peeked.head.seqnum, peeked.head.realtime)),
            None if self.next == 0 => Some((self.header.head_entry_seqnum, self.header.head_entry_realtime)),
            None => None,
        }
    }
}
