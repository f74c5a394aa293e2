//! Seqnums that no file has.
//!
//! Files of one seqnum id are merged by seqnum. A seqnum that does not come was never used (a failed append), or its
//! entry is gone: its file was vacuumed before it was seen, or cannot be read. Which of these it was shows where a file
//! begins. All entries of a journal's name (`system`, `user-1000`) lie in one file after the other, so what is missing
//! since the last entry of that name, and since the new file was found, may have stood in a file between the two. What
//! is missing within the range of a file of the same name was never used.
//!
//! Nothing of this is done entry by entry: how many seqnums are missing in a run of entries of one file follows from
//! the seqnums and ordinals of its first and last one. What damage or an index passes over counts as an ordinal too,
//! and is no gap. Everything is an upper bound, and a gap is told only when the next look finds nothing that fills it.

use std::{
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
};

use super::{
    JournalCursor,
    file::{JournalFile, Stage},
    trouble::Troubles,
};
use crate::{
    limits::{JOURNAL_IDS_MAX, JOURNAL_NAMES_MAX},
    model::JournalPosition,
    wire::journal::State,
};

/// How far the entries of a file that is written to may be ahead of its header.
const AHEAD_MAX: u64 = 4096;

/// What is known of the seqnums of one file.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Run {
    /// Of its directory and name: the files of one journal follow one another.
    name: u64,
    /// Seqnums missing when it was found.
    since: u64,
    /// What is missing before its first entry was lost: the file was not there when reading began.
    begins: bool,
    /// Seqnum and ordinal of the first entry of the run under way, or of the last one of the run before.
    at: Option<(u64, u64)>,
}

/// The seqnums of one seqnum id.
#[derive(Debug)]
struct Line {
    id: [u8; 16],
    /// All up to this one are accounted for.
    through: u64,
    /// Those below that no file had.
    missing: u64,
    /// As many were missing when some were told of last.
    told: u64,
    /// The file whose entries are being read.
    file: Option<u32>,
    /// By name: how many were missing before the last entry of a file of that name.
    names: Vec<(u64, u64)>,
    waiting: Option<Gap>,
}

/// Missing seqnums that a file found by the next look may fill.
#[derive(Debug)]
struct Gap {
    /// The file that begins behind them.
    file: PathBuf,
    from: u64,
    to: u64,
    entries: u64,
    /// The file of the position resumed from is gone.
    resumed: bool,
}

/// The seqnums of a journal reader, by seqnum id.
#[derive(Debug, Default)]
pub(super) struct Seqnums {
    lines: Vec<Line>,
}

impl Seqnums {
    fn line(&self, id: [u8; 16]) -> Option<&Line> {
        self.lines.iter().find(|line| line.id == id)
    }

    /// The line of `id`; a new one begins behind `through`.
    fn line_from(&mut self, id: [u8; 16], through: u64) -> &mut Line {
        let index = self.lines.iter().position(|line| line.id == id).unwrap_or_else(|| {
            if self.lines.len() >= JOURNAL_IDS_MAX {
                self.lines.remove(0);
            }
            let names = Vec::new();
            self.lines.push(Line { id, through, missing: 0, told: 0, file: None, names, waiting: None });
            self.lines.len() - 1
        });
        &mut self.lines[index]
    }

    /// All up to this place was read once, or is not to be read.
    pub fn begin_after(&mut self, place: &JournalPosition) {
        let line = self.line_from(place.seqnum_id, place.seqnum);
        line.through = line.through.max(place.seqnum);
    }

    /// No file is being read any more.
    pub fn rest(&mut self, files: &mut [JournalFile]) {
        self.lines.iter_mut().for_each(|line| line.end_run(files));
    }

    /// The same for one seqnum id; gives the seqnum through which all is accounted for, if any is.
    fn rest_of(&mut self, id: [u8; 16], files: &mut [JournalFile]) -> Option<u64> {
        let line = self.lines.iter_mut().find(|line| line.id == id)?;
        line.end_run(files);
        Some(line.through)
    }

    /// A file whose header is new; `baseline` if all there is of its seqnum id is what reading begins with.
    pub fn meet(&mut self, file: &mut JournalFile, baseline: bool) {
        let header = &file.header;
        let line = self.lines.iter_mut().find(|line| line.id == header.seqnum_id);
        let since = line.as_ref().map_or(0, |line| line.missing);
        file.run = Run { name: name(&file.path), since, begins: !baseline, at: None };
        if let Some(gap) = line.and_then(|line| line.waiting.as_mut())
            && (gap.from..=gap.to).contains(&header.head_entry_seqnum)
        {
            gap.entries = gap.entries.saturating_sub(header.n_entries);
        }
    }

    pub fn knows(&self, id: [u8; 16]) -> bool {
        self.line(id).is_some()
    }

    /// What the last look did not fill: entries, and what to tell.
    pub fn take_gaps(&mut self) -> Vec<(u64, String)> {
        let gaps = self.lines.iter_mut().filter_map(|line| line.waiting.take());
        gaps.filter(|gap| gap.entries > 0 || gap.resumed).map(|gap| (gap.entries, gap.to_string())).collect()
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { to, entries, .. } = self;
        if self.resumed {
            write!(f, "the journal file of the last position is gone; at most {entries} entries were vacuumed unread")
        } else {
            let (file, first) = (self.file.display(), to.saturating_add(1));
            write!(f, "{file}: at most {entries} entries before its first one, seqnum {first}, are in no file: ")?;
            f.write_str("they were vacuumed unread, or lie in a file that cannot be read")
        }
    }
}

impl Line {
    /// Notes how far the run under way came, and what is missing in it.
    fn end_run(&mut self, files: &mut [JournalFile]) {
        let Some(id) = self.file.take() else { return };
        let owed = owed(files, self.id, id);
        let Some(file) = files.iter_mut().find(|file| file.id == id) else { return };
        let Some((first, ordinal)) = file.run.at else { return };
        let (seqnum, last) = file.run_end(first, ordinal);
        let missing = (seqnum - first).saturating_sub(last - ordinal).saturating_sub(owed);
        self.missing = self.missing.saturating_add(missing.min(seqnum.saturating_sub(self.through)));
        self.through = self.through.max(seqnum);
        file.run.at = Some((seqnum, last));
        self.mark(file.run.name);
    }

    /// What is missing so far was missing before an entry of a file of this name.
    fn mark(&mut self, name: u64) {
        match self.names.iter_mut().find(|(known, _)| *known == name) {
            Some((_, missing)) => *missing = self.missing,
            None => {
                if self.names.len() >= JOURNAL_NAMES_MAX {
                    self.names.remove(0);
                }
                self.names.push((name, self.missing));
            }
        }
    }

    /// A file begins: what is missing since it was found, since the last entry of its name and since it was told last
    /// may have stood in files that nobody saw.
    fn begin(&mut self, file: &JournalFile, before: u64, seqnum: u64, jump: u64, resumed: bool) {
        let run = &file.run;
        let marked = self.names.iter().find(|(name, _)| *name == run.name).map_or(0, |(_, missing)| *missing);
        let entries = self.missing.saturating_sub(run.since.max(marked).max(self.told));
        if entries == 0 && !resumed {
            return;
        }
        self.told = self.missing;
        let from = before.saturating_add(1).saturating_sub(entries - jump.min(entries));
        let file = &file.path;
        let gap = self.waiting.get_or_insert_with(|| Gap { file: file.clone(), from, to: 0, entries: 0, resumed });
        gap.entries = gap.entries.saturating_add(entries);
        (gap.to, gap.resumed) = (seqnum.saturating_sub(1), gap.resumed | resumed);
    }
}

impl JournalFile {
    /// The largest seqnum its entries may have.
    fn bound(&self) -> u64 {
        let ahead = if self.header.state == State::Archived { 0 } else { AHEAD_MAX };
        self.header.tail_entry_seqnum.saturating_add(ahead)
    }

    /// The last seqnum by its header, if that is no nonsense.
    fn tail(&self) -> Option<u64> {
        let (head, tail) = (self.header.head_entry_seqnum, self.header.tail_entry_seqnum);
        tail.checked_sub(head).filter(|range| *range >= self.header.n_entries.saturating_sub(1)).map(|_| tail)
    }

    /// Seqnum and ordinal of the last entry of the run that began with these.
    fn run_end(&self, first: u64, ordinal: u64) -> (u64, u64) {
        let passed = self.passed();
        let last = passed.ordinal.max(ordinal);
        let least = first.saturating_add(last - ordinal);
        let seqnum = if passed.ordinal < ordinal { first } else { passed.seqnum };
        let tail = self.tail().filter(|tail| *tail >= least);
        // Behind the last one that was read others may have been passed over.
        let ended = self.header.state == State::Archived && self.next >= self.header.n_entries;
        match tail {
            Some(tail) if ended && last + 1 < self.header.n_entries => (tail, self.header.n_entries - 1),
            _ if (least..=self.bound()).contains(&seqnum) => (seqnum, last),
            // Damaged.
            Some(tail) if ended => (tail, last),
            _ => (least, last),
        }
    }

    /// Entries that may have a smaller seqnum than the one that is due: those an index passed over since the last one
    /// that was read; or all, when damage says that its next one is not due.
    fn owed(&self) -> u64 {
        let done = self.run.at.map_or(0, |(_, ordinal)| ordinal + 1);
        match self.peeked() {
            _ if self.stage != Stage::Ready => 0,
            _ if self.next >= self.seen => self.run.at.map_or(0, |_| self.next.saturating_sub(done)),
            Some(peeked) if peeked.head.seqnum > self.bound() => self.seen - self.next,
            Some(peeked) if self.index.is_some() => peeked.ordinal.saturating_sub(done),
            None if self.next == 0 && self.header.head_entry_seqnum > self.bound() => self.seen,
            _ => 0,
        }
    }

    /// The seqnum it begins with: its header and its first entry say so, and one of them may be damaged.
    fn begins_at(&self) -> u64 {
        let head = self.header.head_entry_seqnum;
        match self.peeked().filter(|peeked| peeked.ordinal == 0).map(|peeked| peeked.head.seqnum) {
            None => head,
            Some(seqnum) => {
                let (less, more) = (seqnum.min(head), seqnum.max(head));
                if less == 0 || more <= self.bound() { more } else { less }
            }
        }
    }
}

impl JournalCursor {
    /// The entry of the file at `index` is due; to be called for each that is not taken by `quick`.
    #[inline]
    pub(super) fn note_due(&mut self, index: usize) {
        let file = &self.files[index];
        if self.seqnums.line(file.header.seqnum_id).and_then(|line| line.file) != Some(file.id) {
            self.begin_run(index);
        }
    }

    fn begin_run(&mut self, index: usize) {
        let id = self.files[index].header.seqnum_id;
        let through = self.seqnums.rest_of(id, &mut self.files);
        let file = &self.files[index];
        let Some(peeked) = file.peeked() else { return };
        let (mut seqnum, mut ordinal) = (peeked.head.seqnum, peeked.ordinal);
        let (begins, mut own) = (file.run.begins && file.run.at.is_none(), 0);
        let mut sound = seqnum <= file.bound();
        match file.run.at {
            // Looked back at, or read anew.
            Some((seqnum_before, before)) if ordinal <= before => (seqnum, ordinal) = (seqnum_before, before),
            Some((_, before)) => own = ordinal - before - 1,
            None if begins && through.is_none_or(|through| file.begins_at() > through) => {
                (seqnum, ordinal, sound) = (file.begins_at(), 0, true);
            }
            None => own = ordinal,
        }
        if sound {
            self.go_to(index, (seqnum, ordinal), begins, own);
            self.seqnums.line_from(id, seqnum).file = Some(self.files[index].id);
        }
    }

    /// The next entry of the file at `index`, or the first of those passed over, has this seqnum.
    fn go_to(&mut self, index: usize, at: (u64, u64), begins: bool, own: u64) {
        let (id, file_id) = (self.files[index].header.seqnum_id, self.files[index].id);
        let line = self.seqnums.line_from(id, at.0);
        line.end_run(&mut self.files);
        let owed = own.saturating_add(owed(&self.files, id, file_id));
        let before = line.through;
        let jump = at.0.saturating_sub(before).saturating_sub(1).saturating_sub(owed);
        let jump =
            if jump > 0 && begins { jump.saturating_sub(filled(&self.files, index, before, at.0)) } else { jump };
        line.missing = line.missing.saturating_add(jump);
        line.through = before.max(at.0);
        let resumed = self.gap_after.take_if(|(gone, _)| *gone == id).is_some();
        if (begins && at.0 > before) || resumed {
            line.begin(&self.files[index], before, at.0, jump, resumed);
            // The next look tells, or finds what is missing.
            self.stale |= line.waiting.is_some();
        }
        self.files[index].run.at = Some(at);
    }

    /// All entries of the file at `index` are passed over unread: its seqnums are those its header says.
    pub(super) fn note_skipped(&mut self, index: usize) {
        let file = &self.files[index];
        let (Some(tail), last) = (file.tail(), file.header.n_entries.saturating_sub(1)) else { return };
        let (id, begins) = (file.header.seqnum_id, file.run.begins && file.run.at.is_none());
        let at = file.run.at.unwrap_or((file.header.head_entry_seqnum, 0));
        self.go_to(index, at, begins, 0);
        let line = self.seqnums.line_from(id, tail);
        line.through = line.through.max(tail);
        line.mark(self.files[index].run.name);
        self.files[index].run.at = Some((tail, last));
    }

    /// The place to begin in the file at `index` is found; `before` is the entry before it.
    pub(super) fn note_begin(&mut self, index: usize, before: Option<&JournalPosition>) {
        let run = &mut self.files[index].run;
        if let Some(before) = before {
            run.at = Some((before.seqnum, before.ordinal));
            self.seqnums.begin_after(before);
        } else if self.files[index].next > 0 {
            self.files[index].run.begins = false;
        }
    }

    /// Counts and tells what is missing and was not found by the look at hand.
    pub(super) fn tell_gaps(&mut self, troubles: &mut Troubles) {
        for (entries, what) in self.seqnums.take_gaps() {
            self.counts.unattributed = self.counts.unattributed.saturating_add(entries);
            troubles.tell(what);
        }
    }
}

/// How many of the seqnums between two may have been used by files of other seqnum ids: the journals of one machine
/// have one counter, but those of users may have an id of their own (systemd 252).
fn filled(files: &[JournalFile], index: usize, after: u64, before: u64) -> u64 {
    let (id, path) = (files[index].header.seqnum_id, &files[index].path);
    let others = files.iter().filter(|file| file.header.seqnum_id != id && file.path.parent() == path.parent());
    others.fold(0, |sum, file| {
        let (head, tail) = (file.header.head_entry_seqnum, file.bound());
        let within = tail.min(before.saturating_sub(1)).saturating_sub(head.max(after.saturating_add(1)) - 1);
        sum.saturating_add(if tail >= head { within.min(file.header.n_entries.max(file.seen)) } else { 0 })
    })
}

/// What files of a seqnum id other than this one may fill.
fn owed(files: &[JournalFile], id: [u8; 16], but: u32) -> u64 {
    let others = files.iter().filter(|file| file.header.seqnum_id == id && file.id != but);
    others.fold(0, |sum, file| sum.saturating_add(file.owed()))
}

/// A number for the directory and the name without what archiving adds: `system@….journal` and `system.journal`.
fn name(path: &Path) -> u64 {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    let end = name.iter().position(|&byte| byte == b'@').or_else(|| name.iter().position(|&byte| byte == b'.'));
    let mut hasher = DefaultHasher::new();
    (path.parent(), &name[..end.unwrap_or(name.len())]).hash(&mut hasher);
    hasher.finish()
}
