//! Which file's entry is next.
//!
//! Within a seqnum id the smallest seqnum; between ids the one whose smallest-seqnum entry is oldest: by the clock of
//! the boot when both are of one, which nobody sets, else by the time since the epoch. Files wait
//! unopened until their first entry is due, by what their header says of it. As long as the file at hand stays ahead of
//! the runners-up noted when it was chosen, choosing again costs two comparisons.

use std::io;

use super::{
    JournalCursor,
    file::{JournalFile, Stage},
    patience::may_pass,
    peek::Peeked,
    span::{Io, Stop},
    window::Window,
};
use crate::{ring::Ring, wire::journal::State};

/// The file being read, and up to where no other one is due.
#[derive(Clone, Copy, Debug)]
pub(super) struct Current {
    pub index: usize,
    /// The smallest seqnum any other file of its seqnum id has next.
    pub seqnum: u64,
    /// The oldest entry another seqnum id has next.
    pub rival: Option<Moment>,
}

/// When an entry was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    boot_id: [u8; 16],
    /// Not known before the entry is read.
    monotonic: Option<u64>,
    realtime: u64,
}

impl Moment {
    fn is_before(&self, other: &Self) -> bool {
        match (self.monotonic, other.monotonic) {
            (Some(own), Some(others)) if self.boot_id == other.boot_id => own < others,
            _ => self.realtime < other.realtime,
        }
    }
}

/// The best file of one seqnum id.
#[derive(Clone, Copy, Debug)]
struct Best {
    id: [u8; 16],
    index: usize,
    seqnum: u64,
    moment: Moment,
    /// The second smallest seqnum.
    runner_up: u64,
    /// Some file of this id has entries that may be handed out.
    safe: bool,
}

impl JournalCursor {
    /// The index of the file whose peeked entry is due; `None` when all that may be handed out was.
    #[inline]
    pub(super) fn choose<R: Ring>(&mut self, io: &mut Io<'_, R>) -> Result<Option<usize>, Stop> {
        if let Some(current) = self.current
            && let Some(file) = self.files.get_mut(current.index)
            && file.peek(io)?
            && file.next < file.safe
            && file.key().is_some_and(|(seqnum, moment)| {
                seqnum < current.seqnum && current.rival.is_none_or(|rival| !rival.is_before(&moment))
            })
        {
            return Ok(Some(current.index));
        }
        loop {
            let Some((index, current)) = self.due() else { return Ok(None) };
            if self.files[index].peeked().is_some() {
                self.current = Some(current);
                return Ok(Some(index));
            }
            self.pass_window(index);
            // By its header it is due; its first entry says whether it is.
            if self.opened(io, index)? && !self.skips(io, index)? {
                self.files[index].peek(io)?;
            } else {
                self.note_skipped(index);
            }
        }
    }

    /// The file at `index` reads into the memory of one that is read to its end: memory that was used is faster than
    /// new one, and as many windows are enough as files take turns.
    fn pass_window(&mut self, index: usize) {
        if !self.files[index].window.is_warm()
            && let Some(window) = self.files.iter_mut().find_map(JournalFile::spare_window)
        {
            self.files[index].window = window;
        }
    }

    /// The file that is due by what is known.
    fn due(&self) -> Option<(usize, Current)> {
        let mut bests: smallvec::SmallVec<[Best; 4]> = smallvec::SmallVec::new();
        for (index, file) in self.files.iter().enumerate().filter(|(_, file)| file.is_waiting()) {
            let (seqnum, moment) = file.key().unwrap_or((0, Moment { boot_id: [0; 16], monotonic: None, realtime: 0 }));
            let safe = file.next < file.safe;
            let id = file.header.seqnum_id;
            let new = Best { id, index, seqnum, moment, runner_up: u64::MAX, safe };
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
        let mut safe = bests.iter().filter(|best| best.safe);
        let first = safe.next()?;
        let best = safe.fold(first, |best, other| if other.moment.is_before(&best.moment) { other } else { best });
        let mut rival: Option<Moment> = None;
        for other in bests.iter().filter(|other| other.safe && other.id != best.id) {
            let unread = other.moment.monotonic.is_none() && other.moment.boot_id == best.moment.boot_id;
            if unread && best.moment.monotonic.is_some() {
                // Both are of one boot, and only its entry says when in it.
                return Some((other.index, Current { index: other.index, seqnum: 0, rival: None }));
            }
            if rival.is_none_or(|rival| other.moment.is_before(&rival)) {
                rival = Some(other.moment);
            }
        }
        Some((best.index, Current { index: best.index, seqnum: best.runner_up, rival }))
    }

    /// Opens a file that was closed to wait for its turn; one that cannot be opened any more is counted.
    fn opened<R: Ring>(&mut self, io: &mut Io<'_, R>, index: usize) -> Result<bool, Stop> {
        let file = &mut self.files[index];
        if file.handle.is_some() {
            return Ok(true);
        }
        match io.ring.open(&file.path) {
            Ok(handle) => {
                file.handle = Some(handle);
                io.patience.names_heal();
                Ok(true)
            }
            Err(error) if may_pass(&error) && io.patience.endures_names(io.ring.now().mono) => Err(Stop::Failing),
            Err(error) => {
                let lost = file.seen - file.next;
                let why = match error.kind() {
                    io::ErrorKind::NotFound => "it was vacuumed before its turn".to_owned(),
                    _ => error.to_string(),
                };
                io.troubles.tell(format!("{}: {lost} entries were not read: {why}", file.path.display()));
                self.counts.unattributed = self.counts.unattributed.saturating_add(lost);
                file.finish(io.ring);
                Ok(false)
            }
        }
    }
}

impl JournalFile {
    fn is_waiting(&self) -> bool {
        self.stage == Stage::Ready && self.next < self.seen
    }

    /// Nobody will write to it, and all its entries were read.
    pub fn is_drained(&self) -> bool {
        self.header.state == State::Archived && self.next >= self.seen && self.peeked().is_none()
    }

    /// The memory of the window, which a file read to its end needs no more.
    fn spare_window(&mut self) -> Option<Window> {
        (self.is_drained() && self.window.is_warm()).then(|| self.window.take_memory())
    }

    /// Seqnum and time of its next entry: of the entry itself, or of the first one by the header. `None` while neither
    /// is known: then it is due at once, to be known.
    #[inline]
    fn key(&self) -> Option<(u64, Moment)> {
        match self.peeked() {
            Some(Peeked { head, .. }) => {
                let (boot_id, realtime) = (head.boot_id, head.realtime);
                Some((head.seqnum, Moment { boot_id, monotonic: Some(head.monotonic), realtime }))
            }
            None if self.next == 0 => {
                let (boot_id, realtime) = (self.header.tail_entry_boot_id, self.header.head_entry_realtime);
                Some((self.first_seqnum()?, Moment { boot_id, monotonic: None, realtime }))
            }
            None => None,
        }
    }
}
