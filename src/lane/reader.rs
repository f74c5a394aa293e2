//! A reader (one file or one journal directory), its passes and the branches of a pass.
//!
//! A pass is one walk over the reader, shared by all flows that stand at its position. Within a pass, flows that want
//! the same lines in the same bytes form a branch: a record is decoded once for each source, filtered and encoded once
//! for each branch, and counted there; the counts go to the flows when a batch is sealed.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::{
    batch_set::OpenIndex,
    flow::{Flow, FlowState},
    identity::{Identity, Marks, Span, Stamp},
    pool::Pool,
    target::TargetSet,
    vanish::Vanishing,
};
use crate::{
    batch::Shape,
    decode::Decoder,
    model::{JournalPosition, Level, Nanos, ObjectId, Position, ReaderKey, Record},
    plan::SourcePlan,
    ring::{Handle, Token, Watch},
    source::{
        FileCursor,
        journal::{JournalCounts, JournalCursor},
    },
    stats::Totals,
};

/// One file or one journal directory, with everything that reads it.
#[derive(Debug)]
pub struct Reader {
    pub id: u32,
    pub key: ReaderKey,
    pub origin: Origin,
    pub sources: Vec<Source>,
    pub passes: Vec<Pass>,
    pub flows: Vec<Flow>,
    /// Read times of records without a time (files only).
    pub marks: Marks,
    pub marks_dirty: bool,
    /// Lines lost before they could be seen, as an upper bound.
    pub unattributed: u64,
    /// What became of the entries of a journal, walks that ended included; and its first entry this process read.
    pub entries: JournalCounts,
    /// Device and inode of journal files that could not be read.
    pub unreadable: BTreeSet<(u64, u64)>,
    pub began: Option<JournalPosition>,
    /// Where flows begin that were never seen before.
    pub start: Position,
    /// Flows must be grouped into passes anew.
    pub regroup: bool,
    pub next_pass: u32,
}

#[derive(Debug)]
pub enum Origin {
    File(FileOrigin),
    Journal(JournalOrigin),
}

impl Origin {
    /// Of the file; a journal has none.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::File(file) => Some(&file.path),
            Self::Journal(_) => None,
        }
    }
}

#[derive(Debug)]
pub struct FileOrigin {
    pub path: PathBuf,
    pub handle: Handle,
    /// Size at the last look.
    pub size: u64,
    pub tail: Tail,
    /// No longer at a path of its source: read to the end, then let go.
    pub draining: bool,
    /// The reader of what stood at this path before: its lines go first.
    pub after: Option<u32>,
    /// The head was shorter than a fingerprint when it was hashed.
    pub head_short: bool,
    /// When the head is to be compared again, should the file have grown.
    pub next_head_check: Duration,
    /// What is done to keep it, once its name is gone.
    pub vanishing: Vanishing,
}

/// How a file's growth is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// Looked at each `TAIL_POLL`; grew last at this time.
    Hot { grew: Duration },
    /// Waits on a one-shot watch (or, without one, for the next discovery).
    Idle { watch: Option<Watch> },
}

#[derive(Debug)]
pub struct JournalOrigin {
    pub directories: Vec<PathBuf>,
    pub watches: Vec<Watch>,
    pub next_look: Duration,
}

/// A source as one reader carries it.
#[derive(Debug)]
pub struct Source {
    pub plan: Arc<SourcePlan>,
    pub decoder: Decoder,
    /// Lane-wide stream numbers by level, given at first use.
    pub streams: [Option<u32>; Level::COUNT],
    /// Until the first line that `startAt` means.
    pub not_before: Option<Limit>,
}

/// What `startAt` leaves out of a reader that was never seen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Lines older than this, before the first that is not, are not meant.
    pub time: Nanos,
    /// Lines that end behind this offset were written since and are meant, whatever they say; of a journal none.
    pub end: u64,
}

impl Limit {
    /// Whether a record is left out. The journal's own time counts first: what a line says of itself may be anything.
    pub fn leaves_out(&self, record: &Record<'_>, stamp: Stamp) -> bool {
        let is_old = stamp.marked || record.hint.time.unwrap_or(stamp.time) < self.time;
        is_old && record.end.offset() <= self.end
    }
}

/// What a pass walks with.
#[derive(Debug)]
pub enum Cursor {
    File(FileCursor),
    Journal(Box<JournalCursor>),
}

/// Whether a pass has something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassState {
    Ready,
    /// A read is under way.
    Pending,
    /// At the end; the size of the file then.
    Idle {
        size: u64,
    },
    /// The reader failed; tried again at this time.
    Failed {
        until: Duration,
    },
}

#[derive(Debug)]
pub struct Pass {
    pub id: u32,
    pub token: Token,
    pub cursor: Cursor,
    /// Everything before it has been carried.
    pub at: Position,
    /// Its cursor stands there too. What lies between was asked for by nobody, but may be by a source that came since.
    pub exact: bool,
    pub state: PassState,
    /// Since when it has had something to read.
    pub busy_since: Duration,
    /// Since when a read is under way, while one is.
    pub reads_since: Duration,
    /// Event time of the last record carried.
    pub time: Option<Nanos>,
    /// Event time of the next record, where it had to wait for other readers.
    pub next: Option<Nanos>,
    /// When it had its last turn, in turns taken by all passes.
    pub served: u64,
    /// The one source it is read for, if that has a rate of its own.
    pub limit: Option<ObjectId>,
    /// By source index.
    pub identities: Vec<Identity>,
    pub branches: Vec<Branch>,
    pub targets: TargetSet,
}

/// Flows of one source in one pass that want the same bytes.
#[derive(Debug)]
pub struct Branch {
    pub source: usize,
    pub id: ObjectId,
    pub targets: TargetSet,
    pub shape: Shape,
    pub min_level: Level,
    /// Lines older than so many nanoseconds are dropped.
    pub max_age: i64,
    pub open: OpenIndex,
    /// Records before it are not for this branch.
    pub from: Option<Position>,
    /// Since the last part.
    pub counts: Totals,
    pub newest: Nanos,
    /// The number of its part of the open batch, when it has lines in it.
    pub part: Option<u32>,
}

impl Reader {
    pub fn new(id: u32, key: ReaderKey, origin: Origin, sources: Vec<Source>, start: Position, marks: Marks) -> Self {
        Self {
            id,
            key,
            origin,
            sources,
            passes: Vec::new(),
            flows: Vec::new(),
            marks,
            marks_dirty: false,
            unattributed: 0,
            entries: JournalCounts::default(),
            unreadable: BTreeSet::new(),
            began: None,
            start,
            regroup: true,
            next_pass: 0,
        }
    }

    /// Takes over what the walks over a journal have counted.
    pub fn tally(&mut self) {
        for pass in &mut self.passes {
            if let Cursor::Journal(cursor) = &mut pass.cursor {
                self.entries.add(&cursor.take_counts());
                // Files, however many walks met them.
                self.unreadable.extend(cursor.unreadable());
                let earlier = |began: &JournalPosition| self.began.is_none_or(|known| began.realtime < known.realtime);
                self.began = cursor.began().filter(earlier).or(self.began);
            }
        }
    }

    pub fn flow_mut(&mut self, source: ObjectId, target: ObjectId) -> Option<&mut Flow> {
        self.flows.iter_mut().find(|flow| flow.source == source && flow.target == target)
    }

    pub fn pass_mut(&mut self, id: u32) -> Option<&mut Pass> {
        self.passes.iter_mut().find(|pass| pass.id == id)
    }

    pub fn path(&self) -> String {
        match &self.origin {
            Origin::File(file) => file.path.display().to_string(),
            Origin::Journal(journal) => {
                journal.directories.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
            }
        }
    }

    pub fn file(&self) -> Option<&FileOrigin> {
        match &self.origin {
            Origin::File(file) => Some(file),
            Origin::Journal(_) => None,
        }
    }

    pub fn file_mut(&mut self) -> Option<&mut FileOrigin> {
        match &mut self.origin {
            Origin::File(file) => Some(file),
            Origin::Journal(_) => None,
        }
    }

    /// Nothing has come for a while: what its passes remember of the lines before is forgotten, since thousands of
    /// quiet files remember more than the lane may hold. The look-back reads it again when something comes.
    pub fn lie_down(&mut self) {
        let Origin::File(file) = &self.origin else { return };
        for pass in self.passes.iter_mut().filter(|pass| matches!(pass.state, PassState::Idle { .. })) {
            pass.cursor = Cursor::File(file.cursor(pass.at.offset()));
            pass.identities.iter_mut().for_each(|identity| *identity = Identity::new(Span::Bytes));
        }
    }

    /// What of a file may have been sent and may be sent again, as byte ranges.
    pub fn sent(&self) -> Vec<(u64, u64)> {
        let end = |flow: &Flow| match flow.state {
            FlowState::Reading { pass } => {
                self.passes.iter().find(|other| other.id == pass).map(|pass| pass.at.offset())
            }
            FlowState::Waiting | FlowState::Parked => None,
        };
        let range = |flow: &Flow| (flow.settled().offset(), flow.head().offset().max(end(flow).unwrap_or_default()));
        self.flows.iter().map(range).collect()
    }

    /// Of `targets`, those with something left to read.
    pub fn behind(&self, targets: TargetSet) -> TargetSet {
        // One that cannot be read must not stop what came after it.
        let rests = |state| matches!(state, PassState::Idle { .. } | PassState::Failed { .. });
        let busy = self.passes.iter().filter(|pass| !rests(pass.state));
        busy.fold(TargetSet::default(), |behind, pass| behind.union(pass.targets.intersection(targets)))
    }
}

impl Pass {
    /// Whether its cursor stands at `at`, for every source: flows may join and passes become one there only.
    pub fn stands(&self) -> bool {
        self.exact && !matches!(&self.cursor, Cursor::Journal(journal) if journal.is_rewound())
    }

    /// There is something to read again.
    pub fn wake(&mut self, now: Duration) {
        self.state = PassState::Ready;
        self.busy_since = now;
    }

    /// Whether a read is under way that will make it ready again.
    pub fn is_waiting(&self) -> bool {
        match &self.cursor {
            Cursor::File(cursor) => cursor.is_waiting(),
            // Has windows of its own, and says so only when it waits.
            Cursor::Journal(_) => true,
        }
    }

    /// Whether it can read without another chunk of the pool.
    pub fn has_chunk(&self) -> bool {
        match &self.cursor {
            Cursor::File(cursor) => cursor.has_chunk(),
            Cursor::Journal(_) => true,
        }
    }

    /// Gives its chunk back; what is left in it is read again.
    pub fn put_down(&mut self, pool: &mut Pool) {
        if let Cursor::File(cursor) = &mut self.cursor
            && let Some(chunk) = cursor.take_chunk()
        {
            pool.give_back(chunk);
        }
    }
}

impl Branch {
    /// Whether lines read in this branch of pass `pass` are read for `flow`. One that was rewound since (a batch came
    /// back) is not: its position must not move over what it reads again.
    pub fn serves(&self, pass: u32, flow: &Flow) -> bool {
        flow.source == self.id && self.targets.contains(flow.bit) && flow.state == FlowState::Reading { pass }
    }
}

/// Whether who stands at `from` has had the record that ends at `end`. By the record itself: the one before it may lie
/// far back where a journal was vacuumed. In doubt it has not.
pub fn has_had(from: &Position, end: &Position) -> bool {
    match (from, end) {
        (Position::File { offset: from }, Position::File { offset: end }) => from >= end,
        (Position::Journal(from), Position::Journal(end)) if from.seqnum_id == end.seqnum_id => {
            from.seqnum >= end.seqnum
        }
        (Position::Journal(from), Position::Journal(end)) if from.boot_id == end.boot_id => {
            from.monotonic > end.monotonic
        }
        (Position::Journal(from), Position::Journal(end)) => from.realtime > end.realtime,
        _ => false,
    }
}

/// Whether `from` lies at or before `at`, both of one reader. Journals of different seqnum ids are merged by the clock
/// of the boot, which nobody sets, else by the time; so are their positions told apart.
pub fn reached(at: &Position, from: &Position) -> bool {
    match (at, from) {
        (Position::File { offset: at }, Position::File { offset: from }) => at >= from,
        (Position::Journal(at), Position::Journal(from)) if at.seqnum_id == from.seqnum_id => at.seqnum >= from.seqnum,
        (Position::Journal(at), Position::Journal(from)) if at.boot_id == from.boot_id => {
            at.monotonic >= from.monotonic
        }
        (Position::Journal(at), Position::Journal(from)) => at.realtime >= from.realtime,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The wall clock was set back by an hour between two entries of one boot: lines of the second journal were left
    /// out for an hour, since it seemed that their place was not reached yet.
    #[test]
    fn a_clock_set_back_does_not_hide_what_another_journal_says_next() {
        let at = |seqnum_id: u8, boot_id: u8, monotonic, realtime| {
            let (seqnum_id, boot_id) = ([seqnum_id; 16], [boot_id; 16]);
            Position::Journal(JournalPosition { seqnum_id, boot_id, monotonic, realtime, ..Default::default() })
        };
        let hour = 3_600_000_000;
        let before = at(1, 9, 100, 7 * hour);
        assert!(reached(&at(2, 9, 110, 6 * hour), &before));
        assert!(!reached(&at(2, 9, 90, 8 * hour), &before));
        assert!(reached(&at(2, 8, 90, 8 * hour), &before) && !reached(&at(2, 8, 110, 6 * hour), &before));
        assert!(reached(&before, &Position::Journal(JournalPosition::default())), "the beginning is reached by all");
        assert!(!has_had(&before, &at(2, 9, 110, 6 * hour)) && has_had(&before, &at(2, 9, 90, 8 * hour)));
    }

    /// Entries 2 to 8 were vacuumed: who stood at 5 lacked the ninth, since the one before it was the first.
    #[test]
    fn the_first_entry_behind_a_gap_is_for_all_that_have_not_had_it() {
        let at = |seqnum| Position::Journal(JournalPosition { seqnum, ..Default::default() });
        assert!(!has_had(&at(5), &at(9)) && !has_had(&at(1), &at(9)));
        assert!(has_had(&at(9), &at(9)) && has_had(&at(9), &at(1)));
        assert!(
            has_had(&Position::file(10), &Position::file(10)) && !has_had(&Position::file(10), &Position::file(11))
        );
    }
}
