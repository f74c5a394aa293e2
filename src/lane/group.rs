//! Grouping flows into passes: by position, never by target.
//!
//! Flows that stand at the same place share one walk over their reader. A flow joins at its settled position once
//! nothing of it is in flight; a target without credit leaves with its flows and walks alone; two passes that meet
//! become one. Before a pass changes, every batch it has lines in is sealed, so that no line is counted for a flow it
//! was not read for.

use std::{collections::BTreeSet, time::Duration};

use super::{
    Awaiting, Lane,
    flow::{Flow, FlowState},
    identity::{Identity, Span},
    reader::{Branch, Cursor, Origin, Pass, PassState, Reader, Source, reached},
    target::{TargetSet, shape},
};
use crate::{
    model::{JournalPosition, Nanos, ObjectId, Position},
    orders::Port,
    plan::{Input, JournalInput, Plan, SourcePlan, StartAt, TargetPlan},
    ring::{Now, ReadNow, Ring, Token},
    source::journal::{JournalCursor, JournalStart, Own},
    stats::Totals,
};

impl<R: Ring, P: Port> Lane<R, P> {
    /// Groups anew where something changed.
    pub(super) fn regroup_all(&mut self) {
        let changed: Vec<u32> = self.readers.values().filter(|reader| reader.regroup).map(|reader| reader.id).collect();
        for id in changed {
            self.regroup(id);
        }
    }

    fn regroup(&mut self, id: u32) {
        self.seal_reader(id);
        let Some(reader) = self.readers.get_mut(&id) else { return };
        reader.regroup = false;
        for at in 0..reader.flows.len() {
            let wanted = {
                let flow = &reader.flows[at];
                let source = reader.sources.iter().find(|source| source.plan.id == flow.source);
                let target = self.targets.get(flow.bit).filter(|target| !target.removed);
                source.zip(target).is_some_and(|(source, target)| self.plan.routes(&source.plan, &target.plan))
            };
            let flow = &mut reader.flows[at];
            match (wanted, flow.state) {
                (false, FlowState::Reading { .. } | FlowState::Waiting) => flow.state = FlowState::Parked,
                (true, FlowState::Parked) => flow.state = FlowState::Waiting,
                _ => {}
            }
        }
        self.part_by_limit(id);
        self.join_passes(id);
        self.rebuild(id);
    }

    /// A source with a rate walks alone, or it would hold up the others of its journal: flows whose source was given a
    /// rate, or lost it, leave their pass.
    fn part_by_limit(&mut self, id: u32) {
        let Some(reader) = self.readers.get(&id) else { return };
        let misplaced = |flow: &Flow| match flow.state {
            FlowState::Reading { pass } => {
                let pass = reader.passes.iter().find(|candidate| candidate.id == pass)?;
                let limit = self.limit_of(flow.source);
                (pass.limit != limit).then_some((pass.id, pass.at, limit))
            }
            FlowState::Waiting | FlowState::Parked => None,
        };
        let mut parting: Vec<(u32, Position, Option<ObjectId>)> = reader.flows.iter().filter_map(misplaced).collect();
        parting.dedup();
        for (from, at, limit) in parting {
            let alone = self.add_pass(id, at, limit);
            let plan = &self.plan;
            let Some(reader) = self.readers.get_mut(&id) else { return };
            for flow in reader.flows.iter_mut() {
                if flow.state == (FlowState::Reading { pass: from }) && limit_of(plan, flow.source) == limit {
                    flow.state = FlowState::Reading { pass: alone };
                }
            }
        }
    }

    /// Lets flows that wait and are settled join a pass, or begin one at the place of the one that is furthest behind.
    fn join_passes(&mut self, id: u32) {
        let joining = |flow: &Flow| flow.state == FlowState::Waiting && flow.is_settled();
        // Who stands within a line walks alone: from the line's beginning, its other end would be nobody's.
        let torn = self.torn(id);
        let torn = |flow: &Flow| Some(flow.settled().offset()).filter(|offset| torn.contains(offset));
        while let Some(reader) = self.readers.get(&id)
            && let Some(one) = reader.flows.iter().find(|flow| joining(flow))
        {
            let (limit, place) = (self.limit_of(one.source), torn(one));
            let plan = &self.plan;
            let alike = |flow: &Flow| joining(flow) && limit_of(plan, flow.source) == limit && torn(flow) == place;
            let first = reader.flows.iter().filter(|flow| alike(flow)).map(Flow::settled);
            let Some(at) = first.reduce(|a, b| if reached(&a, &b) { b } else { a }) else { return };
            let stands = |pass: &&Pass| pass.at == at && pass.limit == limit && pass.stands();
            let pass = match reader.passes.iter().find(stands) {
                Some(pass) => pass.id,
                None => self.add_pass(id, at, limit),
            };
            let plan = &self.plan;
            let alike = |flow: &Flow| joining(flow) && limit_of(plan, flow.source) == limit && torn(flow) == place;
            let Some(reader) = self.readers.get_mut(&id) else { return };
            for flow in reader.flows.iter_mut().filter(|flow| alike(flow)) {
                flow.state = FlowState::Reading { pass };
            }
        }
    }

    /// Positions of flows that stand within a line of a file that was rotated away: its end was taken for the line's,
    /// and then more was written.
    fn torn(&mut self, id: u32) -> BTreeSet<u64> {
        let Some(reader) = self.readers.get(&id) else { return BTreeSet::new() };
        let Some(file) = reader.file().filter(|file| file.draining) else { return BTreeSet::new() };
        let settled: BTreeSet<u64> = reader.flows.iter().map(|flow| flow.settled().offset()).collect();
        let (handle, several) = (file.handle, settled.len() > 1);
        let mut last = [0];
        let mut is_torn = |offset: &u64| {
            let before = offset.checked_sub(1).map(|before| self.ring.read_now(handle, before, &mut last));
            before.is_some_and(|read| !matches!(read, Ok(ReadNow::Ready(1))) || last != *b"\n")
        };
        settled.into_iter().filter(|offset| several && is_torn(offset)).collect()
    }

    fn limit_of(&self, source: ObjectId) -> Option<ObjectId> {
        limit_of(&self.plan, source)
    }

    /// Gives `leaving` a pass of their own at the same position.
    pub(super) fn split(&mut self, id: u32, pass_id: u32, leaving: TargetSet) {
        self.seal_reader(id);
        let Some(reader) = self.readers.get(&id) else { return };
        let Some(pass) = reader.passes.iter().find(|pass| pass.id == pass_id) else { return };
        let (at, limit, time, next, exact) = (pass.at, pass.limit, pass.time, pass.next, pass.exact);
        let beside = match &pass.cursor {
            Cursor::Journal(journal) => {
                journal.beside(selectors(reader)).map(|beside| (beside, pass.identities.clone()))
            }
            Cursor::File(_) => None,
        };
        let alone = self.add_pass(id, at, limit);
        let Some(reader) = self.readers.get_mut(&id) else { return };
        if let Some(new) = reader.pass_mut(alone) {
            (new.time, new.next, new.exact) = (time, next, exact);
            if let Some((cursor, identities)) = beside {
                (new.cursor, new.identities) = (Cursor::Journal(Box::new(cursor)), identities);
            }
        }
        for flow in reader.flows.iter_mut() {
            if flow.state == (FlowState::Reading { pass: pass_id }) && leaving.contains(flow.bit) {
                flow.state = FlowState::Reading { pass: alone };
            }
        }
        self.rebuild(id);
    }

    /// Lets another pass that stands at the same place join this one, if all their targets have credit.
    pub(super) fn merge(&mut self, id: u32, pass_id: u32) {
        if self.readers.get(&id).is_none_or(|reader| reader.passes.len() < 2) || self.is_uneven(id, pass_id) {
            return;
        }
        let Some(reader) = self.readers.get(&id) else { return };
        let Some(pass) = reader.passes.iter().find(|pass| pass.id == pass_id) else { return };
        let meets = |other: &&Pass| {
            other.id != pass_id
                && other.at == pass.at
                && other.stands()
                && pass.stands()
                && other.limit == pass.limit
                && self.targets.starved(other.targets.union(pass.targets)).is_empty()
        };
        let Some(other) = reader.passes.iter().find(meets).map(|other| other.id) else { return };
        self.seal_reader(id);
        let Some(reader) = self.readers.get_mut(&id) else { return };
        for flow in reader.flows.iter_mut().filter(|flow| flow.state == FlowState::Reading { pass: other }) {
            flow.state = FlowState::Reading { pass: pass_id };
        }
        self.rebuild(id);
    }

    fn seal_reader(&mut self, id: u32) {
        for open in self.batches.contributed_by(id) {
            self.seal(open);
        }
    }

    /// A new pass that will emit from `at` on; ready, without flows yet.
    fn add_pass(&mut self, id: u32, at: Position, limit: Option<ObjectId>) -> u32 {
        let Some(reader) = self.readers.get(&id) else { return 0 };
        let (pass, pooled) = (reader.next_pass, reader.file().is_some());
        let token = self.token(Awaiting::Pass { reader: id, pass, pooled });
        let now = self.now;
        if let Some(reader) = self.readers.get_mut(&id) {
            reader.next_pass += 1;
            let mut new = new_pass(reader, pass, token, at, now, &self.own);
            new.limit = limit;
            reader.passes.push(new);
            self.ready.push_back((id, pass));
        }
        pass
    }

    /// Makes the branches of every pass from its flows; passes without flows end.
    fn rebuild(&mut self, id: u32) {
        let Some(reader) = self.readers.get_mut(&id) else { return };
        let Reader { flows, passes, sources, origin, .. } = &mut **reader;
        for pass in passes.iter_mut() {
            pass.branches.clear();
            pass.targets = TargetSet::default();
            for flow in flows.iter().filter(|flow| flow.state == FlowState::Reading { pass: pass.id }) {
                let Some(index) = sources.iter().position(|source| source.plan.id == flow.source) else { continue };
                let Some(target) = self.targets.get(flow.bit) else { continue };
                pass.targets = pass.targets.with(flow.bit);
                let tenant = sources[index].plan.tenant.of(origin.path());
                let new = branch(index, &sources[index].plan, tenant, &target.plan, flow, &pass.at);
                let same = |branch: &&mut Branch| {
                    branch.source == index
                        && branch.shape == new.shape
                        && branch.min_level == new.min_level
                        && branch.max_age == new.max_age
                        && branch.from == new.from
                };
                match pass.branches.iter_mut().find(same) {
                    Some(branch) => branch.targets = branch.targets.with(flow.bit),
                    None => pass.branches.push(new),
                }
            }
            for branch in &mut pass.branches {
                let Plan { cluster, node, .. } = &*self.plan;
                branch.open = self.batches.open(&branch.shape, branch.targets, cluster, node);
            }
        }
        self.end_passes(id);
    }

    fn end_passes(&mut self, id: u32) {
        let Some(reader) = self.readers.get_mut(&id) else { return };
        reader.tally();
        let (keep, end): (Vec<Pass>, Vec<Pass>) =
            std::mem::take(&mut reader.passes).into_iter().partition(|pass| !pass.branches.is_empty());
        reader.passes = keep;
        for pass in end {
            self.end_pass(pass);
        }
    }

    /// Gives back what a pass holds. A read under way is waited for by its token.
    pub(super) fn end_pass(&mut self, pass: Pass) {
        if pass.state != PassState::Pending {
            self.awaiting.remove(&pass.token);
        }
        match pass.cursor {
            Cursor::File(mut cursor) => {
                if let Some(chunk) = cursor.take_chunk() {
                    self.pool.give_back(chunk);
                }
            }
            Cursor::Journal(mut cursor) => cursor.release(&mut self.ring),
        }
    }
}

/// The source itself if it has a rate of its own.
fn limit_of(plan: &Plan, source: ObjectId) -> Option<ObjectId> {
    plan.source(source).filter(|plan| plan.rate_bytes.is_some()).map(|plan| plan.id)
}

fn branch(
    index: usize,
    source: &SourcePlan,
    tenant: Option<&str>,
    target: &TargetPlan,
    flow: &Flow,
    at: &Position,
) -> Branch {
    Branch {
        source: index,
        id: flow.source,
        targets: TargetSet::one(flow.bit),
        shape: shape(target, tenant),
        min_level: source.min_level.max(target.min_level),
        max_age: target.max_age.map_or(i64::MAX, |age| i64::try_from(age.as_nanos()).unwrap_or(i64::MAX)),
        open: 0,
        from: (!reached(at, &flow.settled())).then(|| flow.settled()),
        counts: Totals::default(),
        newest: Nanos::default(),
        part: None,
    }
}

fn new_pass(reader: &Reader, id: u32, token: Token, at: Position, now: Now, own: &Own) -> Pass {
    let (cursor, span) = match &reader.origin {
        Origin::File(file) => (Cursor::File(file.cursor(at.offset())), Span::Bytes),
        Origin::Journal(journal) => {
            let start = match at {
                Position::Journal(position) if position != JournalPosition::default() => JournalStart::Resume(position),
                _ => JournalStart::At(earliest_start(reader, now.wall), now.wall),
            };
            let mut cursor = JournalCursor::new(&journal.directories, selectors(reader), start);
            cursor.spare(own.clone());
            (Cursor::Journal(Box::new(cursor)), Span::Entries)
        }
    };
    Pass {
        id,
        token,
        cursor,
        at,
        exact: true,
        state: PassState::Ready,
        busy_since: now.mono,
        reads_since: now.mono,
        time: None,
        next: None,
        served: 0,
        limit: None,
        identities: reader.sources.iter().map(|_| Identity::new(span)).collect(),
        branches: Vec::new(),
        targets: TargetSet::default(),
    }
}

/// What the sources of a journal select, in their order.
pub(super) fn selectors(reader: &Reader) -> Vec<JournalInput> {
    let input = |source: &Source| match &source.plan.input {
        Input::Journal(journal) => Some(journal.clone()),
        Input::File(_) => None,
    };
    reader.sources.iter().filter_map(input).collect()
}

/// The start that misses nothing of any source; each source skips what is too old for it.
fn earliest_start(reader: &Reader, wall: Nanos) -> StartAt {
    // A source that has waited for its first line since an earlier start means all lines since then.
    let starts = reader.sources.iter().map(|source| match source.not_before {
        Some(limit) if limit.time < wall => StartAt::Since(Duration::from_nanos(wall.0.abs_diff(limit.time.0))),
        _ => source.plan.start_at,
    });
    let earlier = |a: StartAt, b: StartAt| match (a, b) {
        (StartAt::Beginning, _) | (_, StartAt::Beginning) => StartAt::Beginning,
        (StartAt::Since(a), StartAt::Since(b)) => StartAt::Since(a.max(b)),
        (StartAt::Since(a), StartAt::End) | (StartAt::End, StartAt::Since(a)) => StartAt::Since(a),
        (StartAt::End, StartAt::End) => StartAt::End,
    };
    starts.reduce(earlier).unwrap_or(StartAt::End)
}
