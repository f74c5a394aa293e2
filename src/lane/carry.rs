//! Carrying: read → frame → decode → filter → label → batch, a pass at a time, while there is credit.
//!
//! `Lane::carry` decides who may; `records` is the hot loop. It touches nothing but the pass's own state and the open
//! batches: no allocation, system call or lock for a line. A full batch ends the loop, since sealing needs every
//! reader.

use std::time::Duration;

use super::{
    Lane,
    batch_set::{BatchSet, Contributor, OpenIndex},
    identity::{Identity, Marks},
    pool::Pool,
    reader::{Branch, Cursor, Origin, Pass, PassState, Reader, Source, reached},
    stream::Streams,
    target::TargetSet,
};
use crate::{
    batch::Item,
    limits::{FRAME_BYTES_MAX, READ_RETRY, ROUND_BYTES, SPLIT_AFTER, TAIL_POLL, TURN_BYTES},
    model::{Decoded, Fields, Level, Nanos, ObjectId, Position, Record},
    orders::{Part, Port},
    plan::{MetadataField, Output, Plan},
    ring::{Now, Ring, Token},
    source::Next,
    stats::Totals,
};

/// Why the hot loop ended.
enum Carried {
    /// An open batch must be sealed, or several; go on afterwards.
    Full,
    /// The turn's share is used up.
    Budget,
    /// A read is under way.
    Pending,
    /// Nothing more now.
    Idle,
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
    budget: &'a mut usize,
}

impl<R: Ring, P: Port> Lane<R, P> {
    /// Gives each ready pass its share of the turn, until the turn's own share is used up. Who had to wait comes first
    /// next time: what credit there is must not go to the same few each turn.
    pub(super) fn carry(&mut self) {
        if self.draining {
            return;
        }
        let end = self.carried_bytes + ROUND_BYTES;
        let mut waiting = Vec::new();
        for _ in 0..self.ready.len() {
            if self.carried_bytes >= end {
                break;
            }
            let Some((reader, pass)) = self.ready.pop_front() else { break };
            let may = self.may_carry(reader, pass);
            if may {
                self.carry_pass(reader, pass);
            } else {
                self.split_starved(reader, pass);
            }
            let Some(still) = self.readers.get_mut(&reader).and_then(|reader| reader.pass_mut(pass)) else { continue };
            if still.state != PassState::Ready {
                continue;
            }
            if !may || self.pool.is_exhausted() {
                still.put_down(&mut self.pool);
            }
            if may {
                self.ready.push_back((reader, pass));
            } else {
                waiting.push((reader, pass));
            }
        }
        waiting.into_iter().rev().for_each(|pass| self.ready.push_front(pass));
    }

    /// Every target of the pass has credit, what must go first has gone, and there is a chunk to read with.
    pub(super) fn may_carry(&self, reader: u32, pass: u32) -> bool {
        let Some(reader) = self.readers.get(&reader) else { return false };
        let Some(pass) = reader.passes.iter().find(|candidate| candidate.id == pass) else { return false };
        let after = reader.file().and_then(|file| file.after);
        let is_earlier_behind = after.is_some_and(|after| match self.readers.get(&after) {
            Some(earlier) => earlier.is_behind(pass.targets),
            None => self.is_opening(after),
        });
        !self.starves(pass.targets) && !is_earlier_behind && (pass.has_chunk() || !self.pool.is_exhausted())
    }

    fn starves(&self, targets: TargetSet) -> bool {
        !self.targets.starved(targets).is_empty()
    }

    /// Lets the flows of targets without credit leave a pass they share with others.
    fn split_starved(&mut self, reader: u32, pass: u32) {
        let now = self.now.mono;
        let Some(found) = self.readers.get_mut(&reader).and_then(|reader| reader.pass_mut(pass)) else { return };
        let starved = self.targets.starved(found.targets);
        let long = |bit: &u8| {
            let since = self.targets.get(*bit).and_then(|target| target.starved_since);
            since.is_some_and(|since| now >= since + SPLIT_AFTER)
        };
        let leaving = starved.iter().filter(long).fold(TargetSet::default(), TargetSet::with);
        if !leaving.is_empty() && !found.targets.without(leaving).is_empty() {
            self.split(reader, pass, leaving);
        }
    }

    fn carry_pass(&mut self, id: u32, pass_id: u32) {
        let mut budget = TURN_BYTES;
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
        self.carried_bytes += (TURN_BYTES - budget) as u64;
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
            Carried::Pending if pass.is_waiting() => pass.state = PassState::Pending,
            // The ring has no room for another read.
            Carried::Pending => pass.state = PassState::Failed { until: now + TAIL_POLL },
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

    /// Seals what has waited for the linger.
    pub(super) fn seal_due(&mut self) {
        for open in self.batches.due(self.now.mono, false) {
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
            *part = Part { reader: *reader, source: branch.id, end: pass.at, counts };
        }
        self.batches.post(sealing, parts, &mut self.targets);
    }
}

/// The hot loop: records of one pass until something ends it.
fn records<R: Ring>(hands: &mut Hands<'_, R>, reader: &mut Reader, pass_at: usize) -> Carried {
    let Reader { id, sources, passes, marks, marks_dirty, origin, .. } = reader;
    let Pass { id: pass_id, token, cursor, at, identities, branches, .. } = &mut passes[pass_at];
    let filename = match origin {
        Origin::File(file) => file.path.as_os_str().as_encoded_bytes(),
        Origin::Journal(_) => &[],
    };
    loop {
        if *hands.budget == 0 {
            return Carried::Budget;
        }
        let record = match step(cursor, hands.ring, *token, hands.pool) {
            Ok(Next::Record(record)) => record,
            Ok(Next::Pending) => return Carried::Pending,
            Ok(Next::Yield) => return Carried::Budget,
            Ok(Next::Idle) => {
                if let Cursor::Journal(journal) = cursor {
                    *at = Position::Journal(journal.position());
                }
                return Carried::Idle;
            }
            Err(error) => return Carried::Failed(error),
        };
        *hands.budget = hands.budget.saturating_sub(record.frame.len() + 1);
        let mut full = false;
        let mut mask = record.sources;
        while mask != 0 {
            let index = mask.trailing_zeros() as usize;
            mask &= mask - 1;
            let (Some(source), Some(identity)) = (sources.get_mut(index), identities.get_mut(index)) else { continue };
            // A journal message may be longer than a line may be: it goes in pieces, as a long line of a file does.
            for piece in pieces(&record) {
                let timed = Timed { marks, marks_dirty, wall: hands.now.wall, mono: hands.now.mono };
                let Some((decoded, time)) = meaning(source, identity, &piece, timed) else { continue };
                let line = Line { record: &piece, decoded: &decoded, time, filename };
                full |= share(hands, source, (index, branches), (*id, *pass_id), at, &line);
            }
        }
        if !record.look_back {
            *at = record.end;
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
}

/// Decodes a record and gives it its time; `None` if it is not to be emitted.
fn meaning<'a>(
    source: &mut Source,
    identity: &mut Identity,
    record: &Record<'a>,
    timed: Timed<'_>,
) -> Option<(Decoded<'a>, (Nanos, Duration))> {
    let Timed { marks, marks_dirty, wall, mono } = timed;
    let decoded = source.decoder.decode(record.frame, &record.hint);
    let stamp = identity.stamp(record.place, decoded.time, record.hint.time, record.frame, || {
        if record.look_back {
            return Nanos::default();
        }
        let (time, changed) = marks.at(record.place, wall);
        *marks_dirty |= changed;
        time
    });
    if record.look_back {
        return None;
    }
    if let Some(limit) = source.not_before {
        if limit.leaves_out(record, stamp) {
            return None;
        }
        source.not_before = None;
    }
    Some((decoded, (stamp.time, mono)))
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
    at: &Position,
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
            if !reached(at, from) {
                continue;
            }
            branch.from = None;
        }
        count(&mut branch.counts, record, decoded.level.passes(branch.min_level), decoded.parsed);
        branch.newest = branch.newest.max(time);
        if !decoded.level.passes(branch.min_level) {
            continue;
        }
        let stream = stream_of(hands.streams, hands.plan, source, decoded.level);
        if !has_metadata {
            put_metadata(&mut metadata, &source.plan.metadata, line, seqnum);
            has_metadata = true;
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
            metadata: metadata.as_slice(),
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
