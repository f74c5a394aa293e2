//! What must hold, judged from outside: by the lines that were written, the entries that arrived and the positions a
//! lane claims.
//!
//! A broken invariant panics with its name first, so that whoever plants bugs can say which one caught them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use super::line::{Line, Name, hash, name};
use crate::{
    lane::Lane,
    limits::FINGERPRINT_BYTES,
    model::{Level, ObjectId, Position, ReaderKey},
    orders::Port,
    ring::Ring,
};

/// Targets of one life, by index; a mask of them fits a byte.
pub const TARGETS: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invariant {
    /// Every line arrived, or is accounted for.
    NoLoss,
    /// What is settled is not sent again.
    Window,
    /// A position does not pass what has not arrived.
    Hole,
    /// A settled position does not go back.
    Position,
    /// Lines of one file and stream arrive in order at first.
    Order,
    /// A resent entry is the same.
    Identity,
    /// Equal neighbours stay distinct, and only they.
    Twins,
    /// What a filter forbids does not arrive.
    Filter,
    /// The counts are those of the world outside.
    Ledger,
    Memory,
    /// A dead target changes nothing for another.
    Isolation,
    Liveness,
}

/// Panics with the name of what is broken.
pub fn broken(invariant: Invariant, what: &str) -> ! {
    panic!("invariant {invariant:?} is broken: {what}")
}

pub fn demand(holds: bool, invariant: Invariant, what: impl FnOnce() -> String) {
    if !holds {
        broken(invariant, &what());
    }
}

/// One entry as a peer stored it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Labels, tenant and structured metadata, rendered; without the label that plans change.
    pub labels: String,
    /// What the peer keeps order in: all labels. Empty for one that keeps it in all it gets.
    pub stream: String,
    pub time: i64,
    pub line: String,
}

/// What is known of one line, a bit for each target.
#[derive(Clone, Copy, Debug, Default)]
pub struct Marks {
    pub arrived: u8,
    /// A filter in force since it was written may have kept it.
    pub filtered: u8,
    /// A filter was in force all the time.
    pub forbidden: u8,
    /// The peer said no for good.
    pub refused: u8,
    /// Lost by what the design declares: deleted unread, truncated, written before the target was.
    pub gone: u8,
}

impl Marks {
    fn may_be_missing(&self) -> u8 {
        self.filtered | self.forbidden | self.refused | self.gone
    }
}

/// One file over all its names, as the writers know it.
#[derive(Debug, Default)]
pub struct File {
    pub lines: Vec<u32>,
    /// What stands in it is not what was written line by line: truncated, torn.
    pub disturbed: bool,
    /// It was emptied at this size, or ended there before the power went.
    pub risky_below: u64,
    /// It has no name any more.
    pub unlinked: bool,
    /// It ends within a line whose writer is gone.
    pub is_fused: bool,
    /// Entries of a journal up to this one were vacuumed.
    pub vacuumed: u64,
    /// Lines before this one were written when plans had other labels.
    relabelled: u32,
    /// First line that has not arrived, of those that positions have passed.
    passed: [usize; TARGETS],
    /// The newest line of each stream that arrived at each target; lines of different levels are different streams.
    newest: HashMap<(usize, Level, String), u32>,
    /// Settled positions that a restart must know, and those that a power loss must leave.
    floor: [u64; TARGETS],
    durable: [u64; TARGETS],
    syncing: [u64; TARGETS],
}

#[derive(Debug, Default)]
pub struct Judge {
    pub lines: Vec<Line>,
    pub marks: Vec<Marks>,
    pub files: Vec<File>,
    /// The file that is a journal: seqnums are its offsets.
    pub journal: Option<usize>,
    /// By (inode, generation).
    pub known: HashMap<(u64, u64), usize>,
    /// Target indexes by object.
    pub targets: BTreeMap<ObjectId, usize>,
    entries: HashMap<(usize, u32), (String, i64)>,
    /// Distinct times of each group of equal lines at each target.
    twins: BTreeMap<(usize, u32), BTreeSet<(String, i64)>>,
    /// Entries that arrived at each target, again and again included.
    pub entries_arrived: [u64; TARGETS],
    pub first_arrivals: [u64; TARGETS],
    /// Batches up to this number may be out of order: one before them was given back.
    pub disordered: [u64; TARGETS],
    /// First arrivals at this target are noted, with their time.
    pub watched: Option<usize>,
    pub arrivals: Vec<(u32, Duration)>,
    pub now: Duration,
    is_deaf: bool,
    /// Targets that take equal entries for one.
    pub distinct: u8,
    /// Read times were lost: the power went, or the disk was full for longer than lines can wait.
    marks_lost: bool,
    /// Lines were torn: of a number there may be the first digits.
    pub fragments: bool,
    /// The generation that will hold what was settled at some turn.
    syncing: Option<u64>,
}

impl Judge {
    /// A new line of a file.
    pub fn written(&mut self, line: Line, marks: Marks) -> u32 {
        let id = self.lines.len() as u32;
        self.files[line.file].lines.push(id);
        self.lines.push(line);
        self.marks.push(marks);
        id
    }

    /// A peer stored an entry of batch `batch`.
    pub fn stored(&mut self, target: usize, batch: u64, entry: &Entry) {
        if self.is_deaf {
            return;
        }
        self.entries_arrived[target] += 1;
        match name(&entry.line) {
            Name::Line(id) if self.is_whole(id, &entry.line) => self.line_stored(target, batch, id, entry),
            Name::Twin(group) => {
                let known = self.twins.entry((target, group)).or_default();
                // Only Loki takes equal entries for one.
                let number = if self.distinct & 1 << target == 0 { known.len().to_string() } else { String::new() };
                known.insert((entry.labels.clone() + &number, entry.time));
            }
            _ => {}
        }
    }

    fn is_whole(&self, id: u32, text: &str) -> bool {
        let Some(line) = self.lines.get(id as usize) else { broken(Invariant::Identity, text) };
        let whole = line.hash == hash(text);
        demand(whole || self.fragments || self.files[line.file].disturbed, Invariant::Identity, || {
            format!("line {id} is {text:?}")
        });
        whole
    }

    fn line_stored(&mut self, target: usize, batch: u64, id: u32, entry: &Entry) {
        let (bit, line) = (1 << target, &self.lines[id as usize]);
        let marks = &mut self.marks[id as usize];
        let file = &self.files[line.file];
        demand(marks.forbidden & bit == 0, Invariant::Filter, || format!("line {id} {line:?} at target {target}"));
        if let Some(first) = self.entries.get(&(target, id)) {
            let is_untimed = self.marks_lost && line.level == Level::Unknown;
            let same = first.0 == entry.labels && (first.1 == entry.time || is_untimed);
            demand(same || file.disturbed, Invariant::Identity, || format!("{first:?}, then {entry:?}"));
            let floor = file.floor[target];
            // A new reader leaps over what was vacuumed, and one whose source was disabled still has it in flight.
            let is_left_over = line.end <= file.vacuumed;
            demand(file.disturbed || is_left_over || line.end > floor, Invariant::Window, || {
                format!("line {id} arrived again at target {target}, settled up to {floor}: {line:?}")
            });
            return;
        }
        // What a peer refused in one stream may, read again, be of another one, which has younger lines already.
        let excused = marks.may_be_missing() & bit != 0 || id < file.relabelled;
        marks.arrived |= bit;
        self.first_arrivals[target] += 1;
        self.entries.insert((target, id), (entry.labels.clone(), entry.time));
        self.arrivals.extend((self.watched == Some(target)).then_some((id, self.now)));
        if file.disturbed {
            return;
        }
        let stream = (target, line.level, entry.stream.clone());
        let newest = self.files[line.file].newest.entry(stream).or_default();
        demand(excused || *newest <= id, Invariant::Order, || {
            format!("line {id} came to target {target} after line {newest} of its stream")
        });
        if batch > self.disordered[target] {
            *newest = id.max(*newest);
        }
    }

    /// The first line of a file that must arrive and has not.
    fn next_missing(&mut self, file: usize, target: usize) -> Option<u32> {
        let file = &mut self.files[file];
        while let Some(id) = file.lines.get(file.passed[target]) {
            let marks = &self.marks[*id as usize];
            let known = (marks.arrived | marks.may_be_missing()) & 1 << target != 0;
            if !known && self.lines[*id as usize].twin.is_none() {
                return Some(*id);
            }
            file.passed[target] += 1;
        }
        None
    }

    /// After each turn: positions, what they passed, and what is kept.
    pub fn turned<R: Ring, P: Port>(&mut self, lane: &Lane<R, P>) {
        let kept = lane.checkpoint.lets_go(Duration::ZERO);
        self.marks_lost |= !kept && lane.checkpoint.lets_go(lane.now.mono);
        for reader in lane.readers.values() {
            let file = match &reader.key {
                ReaderKey::File(identity) => self.known.get(&(identity.inode, identity.generation)).copied(),
                ReaderKey::Journal { .. } => self.journal,
            };
            let Some(file) = file else { continue };
            if self.files[file].disturbed {
                continue;
            }
            for flow in &reader.flows {
                let Some(target) = self.targets.get(&flow.target).copied() else { continue };
                let settled = match flow.settled() {
                    Position::Journal(position) => position.seqnum,
                    position => position.offset(),
                };
                self.flow_turned(file, target, settled, kept);
            }
        }
        match self.syncing {
            None => {
                self.syncing = Some(lane.checkpoint.generation());
                self.files.iter_mut().for_each(|file| file.syncing = file.floor);
            }
            Some(generation) if lane.checkpoint.is_synced(generation) => {
                self.syncing = None;
                self.files.iter_mut().for_each(|file| file.durable = file.syncing);
            }
            Some(_) => {}
        }
    }

    fn flow_turned(&mut self, file: usize, target: usize, settled: u64, kept: bool) {
        let floor = self.files[file].floor[target];
        demand(settled >= floor, Invariant::Position, || {
            format!("target {target} was settled up to {floor} of file {file} and is now up to {settled}")
        });
        if settled == floor && !kept {
            return;
        }
        if kept {
            self.files[file].floor[target] = settled;
        }
        let missing = self.next_missing(file, target);
        let hole = missing.filter(|id| self.lines[*id as usize].end <= settled);
        demand(hole.is_none(), Invariant::Hole, || {
            let id = hole.unwrap_or_default();
            let line = &self.lines[id as usize];
            format!("settled up to {settled} of file {file} at target {target}, where {id} never arrived: {line:?}")
        });
    }

    /// The machine went off: only what was synced is known.
    pub fn power_lost(&mut self) {
        self.marks_lost = true;
        self.syncing = None;
        for file in &mut self.files {
            // A file that had no whole fingerprint yet is known anew, and that may be lost.
            file.floor = file.durable.map(|durable| if durable < FINGERPRINT_BYTES as u64 { 0 } else { durable });
        }
    }

    /// The process is gone, batches are numbered anew.
    pub fn killed(&mut self) {
        self.syncing = None;
        self.disordered = [0; TARGETS];
    }

    /// Plans have other labels from now on.
    pub fn relabelled(&mut self) {
        let written = self.lines.len() as u32;
        self.files.iter_mut().for_each(|file| file.relabelled = written);
    }

    /// What is stored next comes from the link of this target. If its name has a new one already, it is nobody's.
    pub fn listen_to(&mut self, target: Option<ObjectId>) {
        self.is_deaf = target.is_some_and(|target| !self.targets.contains_key(&target));
    }

    /// A target was deleted: its positions are forgotten, and what was written is not meant for a new one.
    pub fn target_forgotten(&mut self, target: usize) {
        // A new one may get what the old one had; nothing of it is sent *again*.
        for marks in &mut self.marks {
            marks.gone |= 1 << target;
            marks.arrived &= !(1 << target);
        }
        self.entries.retain(|(of, _), _| *of != target);
        self.twins.retain(|(of, _), _| *of != target);
        for file in &mut self.files {
            (file.floor[target], file.durable[target], file.syncing[target]) = (0, 0, 0);
            file.passed[target] = 0;
            file.newest.retain(|(of, ..), _| *of != target);
        }
    }

    /// Whatever of this file has not arrived at `targets` may never do.
    pub fn file_gone(&mut self, file: usize, targets: u8) {
        for id in &self.files[file].lines {
            let marks = &mut self.marks[*id as usize];
            marks.gone |= targets & !marks.arrived;
        }
    }

    /// At the end: every line arrived or is accounted for, and equal lines are as many as were written.
    pub fn check_arrivals(&self) {
        for target in 0..self.targets.values().max().map_or(0, |last| last + 1) {
            let missing = |id: &usize| {
                let marks = &self.marks[*id];
                self.lines[*id].twin.is_none() && (marks.arrived | marks.may_be_missing()) & 1 << target == 0
            };
            let missing: Vec<usize> = (0..self.lines.len()).filter(missing).collect();
            demand(missing.is_empty(), Invariant::NoLoss, || {
                let (first, last) = (missing.first(), missing.last());
                let ends = first.zip(last).map(|(first, last)| (&self.lines[*first], &self.lines[*last]));
                format!("target {target} never got {} lines, the first and the last: {ends:?}", missing.len())
            });
            self.check_twins(target);
        }
    }

    /// Lines without a time, after their read times could not be kept.
    fn is_untimed(&self, group: u32) -> bool {
        let line = self.lines.iter().find(|line| line.twin == Some(group));
        self.marks_lost && line.is_some_and(|line| line.level == Level::Unknown)
    }

    fn check_twins(&self, target: usize) {
        let mut groups: BTreeMap<u32, (usize, usize, bool)> = BTreeMap::new();
        for (line, marks) in self.lines.iter().zip(&self.marks) {
            let Some(group) = line.twin else { continue };
            let (all, excused, disturbed) = groups.entry(group).or_default();
            *all += 1;
            *excused += usize::from(marks.may_be_missing() & 1 << target != 0);
            *disturbed |= self.files[line.file].disturbed;
        }
        for (group, (all, excused, disturbed)) in groups {
            let arrived = self.twins.get(&(target, group)).map_or(0, BTreeSet::len);
            let may_be_more = disturbed || self.distinct & 1 << target == 0 || self.is_untimed(group);
            let fits = arrived + excused >= all && (arrived <= all || may_be_more);
            demand(fits, Invariant::Twins, || {
                let times = self.twins.get(&(target, group));
                format!("{all} equal lines of group {group} are {arrived} at target {target}: {times:?}")
            });
        }
    }
}
