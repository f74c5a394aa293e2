//! Carrying: read → frame → decode → filter → label → batch, a pass at a time, while there is credit.
//!
//! `schedule.rs` decides who may; `records` is the hot loop. It touches nothing but the pass's own state and the open
//! batches: no allocation, system call or lock for a line. A full batch ends the loop, since sealing needs every
//! reader.

use std::time::Duration;

use super::{
    Lane,
    batch_set::{BatchSet, Contributor, OpenIndex},
    identity::{Identity, Marks},
    pool::Pool,
    reader::{Branch, Cursor, Origin, Pass, PassState, Reader, Source, has_had},
    stream::Streams,
};
use crate::{
    batch::Item,
    limits::{FRAME_BYTES_MAX, JOURNAL_POLL, READ_RETRY, TAIL_POLL},
    model::{Decoded, Fields, Level, Nanos, ObjectId, Position, Record},
    orders::{Part, Port},
    plan::{MetadataField, Output, Plan},
    ring::{Now, Ring, Token},
    source::Next,
    stats::{DropReason, Totals},
};

/// Why the hot loop ended.
enum Carried {
    /// An open batch must be sealed, or several; go on afterwards.
    Full,
    /// The turn's share is used up.
    Budget,
    /// A read is under way.
    Pending,
    /// The next record is of this time, beyond the horizon.
    Ahead(Nanos),
    /// Nothing more now.
    Idle,
    /// There may be more, which the disk does not give at the moment; the journal itself tells.
    Failing,
    Failed(std::io::Error),
}

/// What the hot loop works with, lent by the lane.
struct Hands<'a, R> {
    ring: &'a mut R,
    pool: &'a mut Pool,
    batches: &'a mut BatchSet,
    streams: &'a mut Streams,
    plan: &'a Plan,
    now: Now,
    /// Records of a later time must wait for other readers.
    horizon: Nanos,
    /// Bytes left; the last record may reach beyond.
    budget: &'a mut i64,
}

impl<R: Ring, P: Port> Lane<R, P> {
    /// Carries records of one pass until `given` bytes are used up, no later than event time `horizon`.
    pub(super) fn carry_pass(&mut self, id: u32, pass_id: u32, given: usize, horizon: Nanos) {
        let mut budget = given as i64;
        let ended = loop {
            let Some(reader) = self.readers.get_mut(&id) else { return };
            let Some(at) = reader.passes.iter().position(|pass| pass.id == pass_id) else { return };
            let mut hands = Hands {
                ring: &mut self.ring,
                pool: &mut self.pool,
                batches: &mut self.batches,
                streams: &mut self.streams,
                plan: &self.plan,
                now: self.now,
                horizon,
                budget: &mut budget,
            };
            match records(&mut hands, reader, at) {
                Carried::Full => {
                    self.batches.full().into_iter().for_each(|open| self.seal(open));
                    self.targets.watch_credit(self.now.mono);
                    if !self.may_carry(id, pass_id) {
                        break Carried::Budget;
                    }
                }
                ended => break ended,
            }
        };
        self.carried_bytes += u64::try_from(given as i64 - budget).unwrap_or_default();
        self.pass_ended(id, pass_id, &ended);
        self.merge(id, pass_id);
    }

    /// Notes how a pass's share of the turn ended, and settles what was only filtered.
    fn pass_ended(&mut self, id: u32, pass_id: u32, ended: &Carried) {
        let now = self.now.mono;
        let Some(reader) = self.readers.get_mut(&id) else { return };
        let size = reader.file().map_or(0, |file| file.size);
        let path = reader.path();
        let Reader { passes, flows, .. } = &mut **reader;
        let Some(pass) = passes.iter_mut().find(|pass| pass.id == pass_id) else { return };
        for branch in pass.branches.iter_mut().filter(|branch| branch.part.is_none() && branch.from.is_none()) {
            let counts = std::mem::take(&mut branch.counts);
            for flow in flows.iter_mut().filter(|flow| branch.serves(pass.id, flow)) {
                flow.read_to(None, pass.at, &counts, branch.newest);
            }
        }
        match ended {
            Carried::Idle => pass.state = PassState::Idle { size },
            Carried::Ahead(time) => pass.next = Some(*time),
            Carried::Pending if pass.is_waiting() => {
                pass.state = PassState::Pending;
                pass.reads_since = now;
            }
            // The ring has no room for another read.
            Carried::Pending => pass.state = PassState::Failed { until: now + TAIL_POLL },
            Carried::Failing => pass.state = PassState::Failed { until: now + JOURNAL_POLL },
            Carried::Failed(_) => pass.state = PassState::Failed { until: now + READ_RETRY },
            Carried::Budget | Carried::Full => {}
        }
        if matches!(pass.state, PassState::Idle { .. } | PassState::Failed { .. }) {
            pass.put_down(&mut self.pool);
        }
        if let Carried::Failed(error) = ended {
            self.trouble(format!("{path}: {error}; trying again"));
        }
    }

    /// Seals what has waited for the linger, and what is more than open batches may hold.
    pub(super) fn seal_due(&mut self) {
        for open in self.batches.due(self.now.mono, false) {
            self.seal(open);
        }
        while let Some(open) = self.batches.too_many() {
            self.seal(open);
        }
    }

    pub(super) fn seal_all(&mut self) {
        for open in self.batches.due(self.now.mono, true) {
            self.seal(open);
        }
    }

    /// Compresses an open batch and writes down what it settles.
    pub(super) fn seal(&mut self, open: OpenIndex) {
        let Some(sealing) = self.batches.seal(open) else { return };
        let mut parts = Vec::with_capacity(sealing.contributors.len());
        let mut newest = None;
        for Contributor { reader, pass, branch } in &sealing.contributors {
            // What is lost of a batch is counted by the number of its part: one whose reader is gone keeps its place.
            parts.push(Part {
                reader: *reader,
                source: ObjectId(0),
                end: Position::file(0),
                counts: Totals::default(),
            });
            let Some(part) = parts.last_mut() else { continue };
            let Some(found) = self.readers.get_mut(reader) else { continue };
            let Reader { passes, flows, .. } = &mut **found;
            let Some(pass) = passes.iter_mut().find(|candidate| candidate.id == *pass) else { continue };
            let Some(branch) = pass.branches.get_mut(*branch as usize) else { continue };
            branch.part = None;
            let counts = std::mem::take(&mut branch.counts);
            for flow in flows.iter_mut().filter(|flow| branch.serves(pass.id, flow)) {
                flow.read_to(Some(sealing.id), pass.at, &counts, branch.newest);
            }
            newest = newest.max(Some(branch.newest));
            *part = Part { reader: *reader, source: branch.id, end: pass.at, counts };
        }
        // A reader that is gone does not tell how young its lines are.
        let newest = newest.filter(|_| parts.iter().all(|part| part.source != ObjectId(0)));
        self.batches.post(sealing, parts, newest, &mut self.targets);
    }
}

/// The hot loop: records of one pass until something ends it.
fn records<R: Ring>(hands: &mut Hands<'_, R>, reader: &mut Reader, pass_at: usize) -> Carried {
    let Reader { id, sources, passes, marks, marks_dirty, origin, .. } = reader;
    let Pass { id: pass_id, token, cursor, at, exact, identities, branches, time, next, .. } = &mut passes[pass_at];
    *next = None;
    let filename = match origin {
        Origin::File(file) => file.path.as_os_str().as_encoded_bytes(),
        Origin::Journal(_) => &[],
    };
    loop {
        if *hands.budget <= 0 {
            return Carried::Budget;
        }
        let record = match step(cursor, hands.ring, *token, hands.pool) {
            Ok(Next::Record(record)) => record,
            Ok(stopped @ (Next::Pending | Next::Yield)) => {
                let ended = if matches!(stopped, Next::Pending) { Carried::Pending } else { Carried::Budget };
                // It went back: who parts from it now goes back as well.
                if let Cursor::Journal(journal) = cursor
                    && journal.is_rewound()
                {
                    *at = Position::Journal(journal.position());
                }
                return ended;
            }
            Ok(Next::Idle) => {
                if let Cursor::Journal(journal) = cursor {
                    *at = Position::Journal(journal.position());
                    if journal.is_failing() {
                        return Carried::Failing;
                    }
                }
                return Carried::Idle;
            }
            Err(error) => return Carried::Failed(error),
        };
        *hands.budget -= record.frame.len() as i64 + 1;
        let mut full = false;
        let mut ahead = None;
        let mut mask = record.sources;
        while mask != 0 {
            let index = mask.trailing_zeros() as usize;
            mask &= mask - 1;
            let (Some(source), Some(identity)) = (sources.get_mut(index), identities.get_mut(index)) else { continue };
            // A journal message may be longer than a line may be: it goes in pieces, as a long line of a file does.
            for piece in pieces(&record) {
                let timed =
                    Timed { marks, marks_dirty, wall: hands.now.wall, mono: hands.now.mono, horizon: hands.horizon };
                let (decoded, stamp) = match meaning(source, identity, &piece, timed) {
                    Meaning::Line(decoded, stamp) => (decoded, stamp),
                    Meaning::None => continue,
                    Meaning::Ahead(beyond) => {
                        ahead = Some(beyond);
                        break;
                    }
                };
                *time = Some(stamp.0);
                let line = Line { record: &piece, decoded: &decoded, time: stamp, filename };
                full |= share(hands, source, (index, branches), (*id, *pass_id), &line);
            }
        }
        if let Some(beyond) = ahead {
            let place = record.place;
            if let Cursor::File(file) = cursor {
                file.step_back(place);
            }
            return Carried::Ahead(beyond);
        }
        if !record.look_back {
            (*at, *exact) = (record.end, true);
        }
        if full {
            return Carried::Full;
        }
    }
}

/// A record in pieces of at most `FRAME_BYTES_MAX`; nearly always one.
fn pieces<'a>(record: &Record<'a>) -> impl Iterator<Item = Record<'a>> {
    let (frame, record) = (record.frame, *record);
    let count = frame.len().div_ceil(FRAME_BYTES_MAX).max(1);
    (0..count).map(move |number| {
        let start = number * FRAME_BYTES_MAX;
        Record { frame: &frame[start..frame.len().min(start + FRAME_BYTES_MAX)], ..record }
    })
}

fn step<'a, R: Ring>(cursor: &'a mut Cursor, ring: &mut R, token: Token, pool: &mut Pool) -> std::io::Result<Next<'a>> {
    match cursor {
        Cursor::File(file) => file.next(ring, token, &mut || pool.lend()),
        Cursor::Journal(journal) => Ok(journal.next(ring, token)),
    }
}

/// The reader's time marks and the clock, for records without a time.
struct Timed<'a> {
    marks: &'a mut Marks,
    marks_dirty: &'a mut bool,
    wall: Nanos,
    mono: Duration,
    horizon: Nanos,
}

/// What a record means to one source.
enum Meaning<'a> {
    /// A line, its time and the lane's clock.
    Line(Decoded<'a>, (Nanos, Duration)),
    /// It is not to be emitted.
    None,
    /// It is of this time and must wait.
    Ahead(Nanos),
}

/// Decodes a record and gives it its time.
#[inline]
fn meaning<'a>(source: &mut Source, identity: &mut Identity, record: &Record<'a>, timed: Timed<'_>) -> Meaning<'a> {
    let Timed { marks, marks_dirty, wall, mono, horizon } = timed;
    let decoded = source.decoder.decode(record.frame, &record.hint);
    if let Some(time) = decoded.time.filter(|time| *time > horizon && !record.look_back) {
        return Meaning::Ahead(time);
    }
    let stamp = identity.stamp(record.place, decoded.time, record.hint.time, record.frame, || {
        if record.look_back {
            return Nanos::default();
        }
        let (time, changed) = marks.at(record.place, wall);
        *marks_dirty |= changed;
        time
    });
    if record.look_back {
        return Meaning::None;
    }
    if let Some(limit) = source.not_before {
        if limit.leaves_out(record, stamp) {
            return Meaning::None;
        }
        source.not_before = None;
    }
    Meaning::Line(decoded, (stamp.time, mono))
}

/// One record with all that is known of it.
struct Line<'a> {
    record: &'a Record<'a>,
    decoded: &'a Decoded<'a>,
    /// Its time, and the lane's clock.
    time: (Nanos, Duration),
    filename: &'a [u8],
}

/// Counts a record in every branch of its source and adds it to the batches of those whose filter it passes. Says
/// whether a batch is full now.
#[inline]
fn share<R: Ring>(
    hands: &mut Hands<'_, R>,
    source: &mut Source,
    (index, branches): (usize, &mut Vec<Branch>),
    (reader, pass): (u32, u32),
    line: &Line<'_>,
) -> bool {
    let Line { record, decoded, time: (time, mono), .. } = *line;
    let mut full = false;
    let mut numbers = [0u8; 20];
    // Only a journal's records have one.
    let seqnum = if record.hint.time.is_some() { decimal(record.place, &mut numbers) } else { &[] };
    let (mut metadata, mut has_metadata) = (Fields::default(), false);
    for (number, branch) in branches.iter_mut().enumerate().filter(|(_, branch)| branch.source == index) {
        if let Some(from) = &branch.from {
            if has_had(from, &record.end) {
                continue;
            }
            branch.from = None;
        }
        count(&mut branch.counts, record, decoded.level.passes(branch.min_level), decoded.parsed);
        branch.newest = branch.newest.max(time);
        if !decoded.level.passes(branch.min_level) {
            continue;
        }
        if hands.now.wall.0.saturating_sub(time.0) > branch.max_age {
            branch.counts.dropped[DropReason::MaxAge as usize] += 1;
            continue;
        }
        let stream = stream_of(hands.streams, hands.plan, source, decoded.level);
        if !has_metadata {
            put_metadata(&mut metadata, &source.plan.metadata, line, seqnum);
            has_metadata = true;
        }
        let mut folded = Fields::default();
        if hands.streams.folds(stream) {
            for field in metadata.as_slice() {
                folded.push(field.name, field.value);
            }
            for (name, value) in &source.plan.labels {
                folded.push(name, value.as_bytes());
            }
        }
        let hint = &record.hint;
        let contributor = Contributor { reader, pass, branch: number as u32 };
        let part = *branch.part.get_or_insert_with(|| hands.batches.contribute(branch.open, contributor));
        let item = Item {
            stream,
            part,
            labels: hands.streams.labels(stream),
            level: decoded.level,
            time,
            line: if branch.shape.output() == Output::Message { decoded.message } else { record.frame },
            metadata: if folded.as_slice().is_empty() { metadata.as_slice() } else { folded.as_slice() },
            source: &source.plan.name,
            app: if hint.identifier.is_empty() { source.plan.name.as_bytes() } else { hint.identifier },
            procid: hint.pid,
        };
        full |= hands.batches.append(branch.open, &item, mono);
    }
    full
}

#[inline]
fn count(counts: &mut Totals, record: &Record<'_>, passes: bool, parsed: bool) {
    counts.read += 1;
    counts.read_bytes += record.frame.len() as u64;
    counts.filtered += u64::from(!passes);
    counts.unparsed += u64::from(!parsed);
}

#[inline]
fn stream_of(streams: &mut Streams, plan: &Plan, source: &mut Source, level: Level) -> u32 {
    let slot = &mut source.streams[level as usize];
    *slot.get_or_insert_with(|| streams.number(plan, &source.plan, level))
}

/// Adds the structured metadata a source asks for, as far as this record has it.
#[inline]
fn put_metadata<'a>(fields: &mut Fields<'a>, wanted: &[MetadataField], line: &Line<'a>, seqnum: &'a [u8]) {
    let hint = &line.record.hint;
    for field in wanted {
        let value = match field {
            MetadataField::Pid => hint.pid,
            MetadataField::Unit => hint.unit,
            MetadataField::BootId => hint.boot_id,
            MetadataField::Hostname => hint.hostname,
            MetadataField::Identifier => hint.identifier,
            MetadataField::Filename => line.filename,
            MetadataField::Seqnum => seqnum,
            other => line.decoded.fields.find(other.as_str()).unwrap_or_default(),
        };
        if !value.is_empty() {
            fields.push(field.as_str(), value);
        }
    }
}

/// A number in decimal digits.
fn decimal(mut value: u64, digits: &mut [u8; 20]) -> &[u8] {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 || at == 0 {
            return &digits[at..];
        }
    }
}
