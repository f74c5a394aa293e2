//! The systemd journal, read natively: all files of its directories as one sequence of records.
//!
//! No libsystemd. Bytes come by positional reads through the ring; of what lies in memory and is read from one end to
//! the other, stretches are mapped and only what is needed is copied (`window`, `ring::Mapping`).
//!
//! Files that share a `seqnum_id` share one counter and are merged by seqnum; files of different ids are merged by the
//! journal's time. Rotation renames a file, and its descriptor and `file_id` stay: the old file is drained, then the
//! new one follows by its seqnums.
//!
//! Reading is a loop of `look` (headers, directory, new files: only after `changed`) and `choose` (which file's next
//! entry is due), `assemble` (which sources want it, where its fields lie) and the record. Each step can be taken
//! again, so that a read that would wait costs nothing but coming back.

mod cache;
mod chain;
mod entry;
mod export;
mod field;
mod file;
mod gap;
mod gone;
mod index;
mod look;
mod lookup;
mod order;
mod own;
mod patience;
mod peek;
mod quick;
mod record;
mod repeat;
mod seek;
mod select;
mod seqnum;
mod span;
mod tables;
mod template;
#[cfg(test)]
mod tests;
mod trouble;
mod walk;
mod window;

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};

pub use self::{export::Payload, own::Own};
use self::{
    file::JournalFile,
    gap::Seqnums,
    gone::Gone,
    look::Look,
    order::Current,
    patience::Patience,
    repeat::Repeats,
    select::Selectors,
    span::{Flight, Io, Stop},
    trouble::Troubles,
};
use super::Next;
use crate::{
    limits::JOURNAL_STEP_ENTRIES_MAX,
    model::{JournalPosition, Nanos, SourceMask},
    plan::{JournalInput, StartAt},
    ring::{Ring, Token},
};

/// Where a journal reader begins.
#[derive(Clone, Copy, Debug)]
pub enum JournalStart {
    /// After this entry. The default position means before the first entry.
    Resume(JournalPosition),
    /// By the plan, at the wall clock's time now. Files that appear later are read from their beginning.
    At(StartAt, Nanos),
}

/// The same as the steps need it; times in microseconds since the epoch.
#[derive(Clone, Copy, Debug)]
enum Start {
    Position(JournalPosition),
    Beginning,
    End,
    Since(u64),
}

/// One pass over the journal files of some directories.
///
/// The caller steps it with `next`, brings the one read under way back with `complete`, and says `changed` when a watch
/// or a timer fires. Memory is bounded: a window per file being read, and what `limits::JOURNAL_*` say.
#[derive(Debug)]
pub struct JournalCursor {
    directories: Vec<PathBuf>,
    watched: Vec<PathBuf>,
    selectors: Selectors,
    start: Start,
    files: Vec<JournalFile>,
    next_id: u32,
    gone: Gone,
    flight: Option<Flight>,
    look: Look,
    /// The step of the look at hand has forgotten what it is to read anew.
    forgotten: bool,
    /// A look is due.
    stale: bool,
    /// No file was seen yet: those seen first are sought by `start`.
    first: bool,
    /// The seqnum of the position to resume from fits its file.
    seqnum_trusted: bool,
    /// The file of that position is gone: what is missing up to the first entry with this seqnum id was vacuumed.
    gap_after: Option<([u8; 16], u64)>,
    seqnums: Seqnums,
    current: Option<Current>,
    /// Index of the file whose record the caller has.
    handed: Option<usize>,
    position: JournalPosition,
    /// If given, the position is that of the entry this file accounted for last.
    passed: Option<usize>,
    troubles: Troubles,
    patience: Patience,
    /// The last step ended because the disk fails.
    failing: bool,
    /// Files and directories that could not be opened, and were complained of.
    refused: BTreeSet<PathBuf>,
    /// Device and inode of files that were refused, files and directories that could not be opened.
    unreadable: BTreeSet<(u64, u64)>,
    /// What could not be opened or listed by the last look, but may be by the next one.
    unopened: Vec<PathBuf>,
    too_many: bool,
    repeats: Repeats,
    own: Own,
    counts: JournalCounts,
    began: Option<JournalPosition>,
}

/// What a reader can say about every entry there was: read, or why not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JournalCounts {
    /// Entries read, whether some source wanted them or not.
    pub read: u64,
    /// At most so many were vacuumed before they could be read. Seqnums that were never used, or belong to files this
    /// reader does not see, are among them.
    pub unattributed: u64,
    /// Lost to damage.
    pub damaged: u64,
    /// Came without a field that could not be read, or with one whose hash says that it was another.
    pub spoiled: u64,
    /// Their message was cut at `limits::JOURNAL_FIELD_BYTES_MAX`.
    pub cut: u64,
    /// This process's own, kept from sources that do not name it.
    pub own: u64,
    /// Passed over since they stand in another file too.
    pub repeated: u64,
}

impl JournalCounts {
    pub fn add(&mut self, other: &Self) {
        self.read += other.read;
        self.unattributed = self.unattributed.saturating_add(other.unattributed);
        self.damaged = self.damaged.saturating_add(other.damaged);
        self.spoiled += other.spoiled;
        self.cut += other.cut;
        self.own += other.own;
        self.repeated += other.repeated;
    }
}

/// What one step came to.
enum Step {
    /// The next entry of this file is assembled, and these want it.
    Record(usize, SourceMask),
    Pending,
    Idle,
    Yield,
}

impl JournalCursor {
    /// Reads `*.journal` and `*.journal~` of `directories` and of the `<machine-id>[.<namespace>]` directories below
    /// them. A record has bit *i* of its `sources` set when `selectors[i]` wants it.
    pub fn new(directories: &[PathBuf], selectors: Vec<JournalInput>, start: JournalStart) -> Self {
        let (start, position) = match start {
            JournalStart::Resume(position) if position == JournalPosition::default() => (Start::Beginning, position),
            JournalStart::Resume(position) => (Start::Position(position), position),
            JournalStart::At(at, now) => (Start::at(at, now), JournalPosition::default()),
        };
        Self {
            directories: directories.to_vec(),
            watched: directories.to_vec(),
            selectors: Selectors::new(&selectors),
            start,
            files: Vec::new(),
            next_id: 0,
            gone: Gone::default(),
            flight: None,
            look: Look::Rest,
            forgotten: false,
            stale: true,
            first: true,
            seqnum_trusted: true,
            gap_after: None,
            seqnums: Seqnums::default(),
            current: None,
            handed: None,
            position,
            passed: None,
            troubles: Troubles::default(),
            patience: Patience::default(),
            failing: false,
            refused: BTreeSet::new(),
            unreadable: BTreeSet::new(),
            unopened: Vec::new(),
            too_many: false,
            repeats: Repeats::default(),
            own: Own::default(),
            counts: JournalCounts::default(),
            began: None,
        }
    }

    /// Keeps the entries of this process from sources that do not name it, so that nothing it says of a line makes a
    /// line again.
    pub fn spare(&mut self, own: Own) {
        self.own = own;
    }

    /// The next record some source wants. Entries nobody wants are passed over, at most
    /// `limits::JOURNAL_STEP_ENTRIES_MAX` before `Next::Yield`; `position` moves with them.
    #[inline(always)]
    pub fn next<R: Ring>(&mut self, ring: &mut R, token: Token) -> Next<'_> {
        match self.step(ring, token) {
            Step::Record(index, sources) => match self.files[index].record(sources) {
                Some(record) => Next::Record(record),
                None => Next::Yield,
            },
            Step::Pending => Next::Pending,
            Step::Idle => Next::Idle,
            Step::Yield => Next::Yield,
        }
    }

    #[inline(always)]
    fn step<R: Ring>(&mut self, ring: &mut R, token: Token) -> Step {
        if self.flight.is_some() {
            return Step::Pending;
        }
        if let Some(file) = self.handed.take().and_then(|index| self.files.get_mut(index)) {
            file.advance();
        }
        let mut budget = JOURNAL_STEP_ENTRIES_MAX;
        if let Some((index, sources)) = self.quick(&mut budget) {
            self.handed = Some(index);
            return Step::Record(index, sources);
        }
        let mut flight = None;
        let mut troubles = std::mem::take(&mut self.troubles);
        let mut patience = std::mem::take(&mut self.patience);
        let mut io = Io {
            ring,
            token,
            flight: &mut flight,
            troubles: &mut troubles,
            patience: &mut patience,
            budget,
            rewound: None,
        };
        let round = self.round(&mut io);
        if let Some(position) = io.rewound {
            (self.position, self.passed) = (position, None);
        }
        (self.flight, self.troubles, self.patience) = (flight, troubles, patience);
        self.tell_failures();
        self.failing = matches!(round, Err(Stop::Failing));
        match round {
            Ok(Some((index, sources))) => {
                self.handed = Some(index);
                Step::Record(index, sources)
            }
            Ok(None) => Step::Idle,
            Err(Stop::Pending) => Step::Pending,
            Err(Stop::Yield | Stop::End) => Step::Yield,
            // A disk that fails is asked again at the next look, not in a circle.
            Err(Stop::Io(_) | Stop::Failing) => Step::Idle,
        }
    }

    /// Tells of a place that cannot be read, with the file's name.
    fn tell_failures(&mut self) {
        for (id, what) in self.patience.take_news() {
            if let Some(file) = self.files.iter().find(|file| file.id == id) {
                self.troubles.tell(format!("{}: {what}", file.path.display()));
            }
        }
    }

    /// The file whose next entry is assembled, and who wants it; `None` when nothing is left.
    fn round<R: Ring>(&mut self, io: &mut Io<'_, R>) -> Result<Option<(usize, SourceMask)>, Stop> {
        loop {
            while self.look != Look::Rest {
                self.look(io)?;
            }
            let Some(index) = self.choose(io)? else {
                if !self.stale {
                    return Ok(None);
                }
                // A look costs as much as many entries, and a busy writer always gives a reason for the next one.
                io.budget = io.budget.checked_sub(JOURNAL_STEP_ENTRIES_MAX / 4).ok_or(Stop::Yield)?;
                self.stale = false;
                self.look = Look::Live(0);
                continue;
            };
            if !self.files[index].is_as_listed(io) {
                return Err(Stop::Yield);
            }
            self.note_due(index);
            if self.is_repeat(index) {
                self.files[index].advance();
                io.spend()?;
                continue;
            }
            let sources = self.files[index].assemble(io, &mut self.selectors)?;
            let sources = self.spared(index, sources);
            self.account(io, index, sources);
            if sources != 0 {
                return Ok(Some((index, sources)));
            }
            self.files[index].advance();
            io.spend()?;
        }
    }

    /// Those that get the assembled entry, unless it is this process's own.
    fn spared(&mut self, index: usize, sources: SourceMask) -> SourceMask {
        if sources == 0 || !self.own.wrote(&self.files[index]) {
            return sources;
        }
        self.counts.own += 1;
        sources & self.selectors.named()
    }

    /// Whether the peeked entry was read of another file already.
    fn is_repeat(&mut self, index: usize) -> bool {
        let file = &mut self.files[index];
        let Some(peeked) = file.peeked().filter(|_| !file.weighed) else { return false };
        let repeat = self.repeats.is_repeat(file.id, &peeked.head);
        file.weighed = true;
        self.counts.repeated += u64::from(repeat);
        repeat
    }

    /// Accounts for the entry about to be handed out or passed over.
    fn account<R>(&mut self, io: &mut Io<'_, R>, index: usize, sources: SourceMask) {
        let file = &mut self.files[index];
        if file.account(&mut self.counts, sources) {
            (self.passed, io.rewound) = (Some(index), None);
            self.began.get_or_insert_with(|| file.passed());
        }
    }

    /// The operation under way has ended.
    pub fn complete(&mut self, result: io::Result<usize>, buf: Vec<u8>) {
        if let Some(flight) = self.flight.take()
            && let Some(file) = self.files.iter_mut().find(|file| file.id == flight.file)
        {
            file.complete(flight, result, buf);
        }
    }

    /// Something may be new: once what is known has been read, the headers and directories are looked at again.
    pub fn changed(&mut self) {
        self.stale = true;
    }

    /// Whether it is idle only because something cannot be read or opened at the moment.
    pub fn is_failing(&self) -> bool {
        self.failing
    }

    /// Directories to be watched for names and for content. May grow with every look.
    pub fn watch_paths(&self) -> impl Iterator<Item = &Path> {
        self.watched.iter().map(PathBuf::as_path)
    }

    /// The last entry that was handed out or passed over; what comes next lies after it.
    pub fn position(&self) -> JournalPosition {
        let file = self.passed.and_then(|index| self.files.get(index));
        file.map_or(self.position, JournalFile::passed)
    }

    /// Keeps the position apart from the file it lies in.
    fn note_position(&mut self) {
        self.position = self.position();
        self.passed = None;
    }

    /// Other sources share this reader from the next record on.
    pub fn set_selectors(&mut self, selectors: Vec<JournalInput>) {
        self.selectors = Selectors::new(&selectors);
        for file in &mut self.files {
            file.cache.clear();
            file.templates.clear();
            file.draft.restart();
            (file.index, file.lookup) = (None, None);
        }
    }

    /// Whether it went back and has not come to where it had been before: it stands before its last record.
    pub fn is_rewound(&self) -> bool {
        self.files.iter().any(|file| file.next < file.given.until)
    }

    /// Complaints since the last call, in words, at most `limits::JOURNAL_TROUBLES_MAX`.
    pub fn take_troubles(&mut self) -> Vec<String> {
        self.troubles.take()
    }

    /// The first entry that was read.
    pub fn began(&self) -> Option<JournalPosition> {
        self.began
    }

    /// What was counted since the last call.
    pub fn take_counts(&mut self) -> JournalCounts {
        self.count_files();
        std::mem::take(&mut self.counts)
    }

    /// Device and inode of all that could not be read: files that were refused or could not be opened, directories.
    /// They stay here when they are read later.
    pub fn unreadable(&self) -> &BTreeSet<(u64, u64)> {
        &self.unreadable
    }

    /// What was counted and not taken yet.
    pub fn counts(&self) -> JournalCounts {
        let damaged = self.files.iter().fold(self.counts.damaged, |sum, file| sum.saturating_add(file.damaged));
        let read = self.files.iter().fold(self.counts.read, |sum, file| sum.saturating_add(file.passed_over));
        JournalCounts { read, damaged, ..self.counts }
    }

    /// Closes all files. A read under way still completes; the cursor begins at its position again if it is stepped.
    pub fn release<R: Ring>(&mut self, ring: &mut R) {
        self.note_position();
        self.count_files();
        self.seqnums.rest(&mut self.files);
        let mut troubles = std::mem::take(&mut self.troubles);
        self.tell_gaps(&mut troubles);
        self.troubles = troubles;
        self.files.iter_mut().for_each(|file| file.finish(ring));
        self.files.clear();
        (self.handed, self.current) = (None, None);
        (self.repeats, self.gone) = (Repeats::default(), Gone::default());
        (self.look, self.stale, self.first) = (Look::Rest, true, true);
        if self.position != JournalPosition::default() {
            self.start = Start::Position(self.position);
        }
    }

    /// Moves what files about to be forgotten have counted into the total.
    fn count_files(&mut self) {
        for file in &mut self.files {
            self.counts.read += std::mem::take(&mut file.passed_over);
            self.counts.damaged = self.counts.damaged.saturating_add(std::mem::take(&mut file.damaged));
        }
    }

    /// Nothing before `before` is to be read; the latest such entry is where the reader stands.
    fn begin_after(&mut self, before: JournalPosition) {
        self.note_position();
        let resumed = matches!(self.start, Start::Position(_));
        if !resumed && before.realtime >= self.position.realtime {
            self.position = before;
        }
    }
}

impl Start {
    fn at(at: StartAt, now: Nanos) -> Self {
        match at {
            StartAt::Beginning => Self::Beginning,
            StartAt::End => Self::End,
            StartAt::Since(age) => {
                let age = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
                Self::Since((now.0 / 1000).saturating_sub(age).max(0) as u64)
            }
        }
    }
}
