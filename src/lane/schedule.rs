//! Who is carried next: sources by turns, the passes of one source by event time.
//!
//! Loki refuses an entry that is more than an hour behind the newest of its stream, sometimes behind a 204. All files
//! of a source feed the same streams, so those that are read for one Loki target advance together: the one whose next
//! record is oldest goes first, and none runs more than `EVENT_TIME_SLACK` ahead of another. Otherwise what fifty
//! files kept through an outage would be refused but for the first.
//!
//! A target must not suffer from what another has to wait for. So the targets a pass has to wait for, and only these,
//! leave it: for credit after a while, since that returns as a rule; for order or a rate at once.

use std::time::Duration;

use super::{
    Lane,
    reader::{Pass, PassState, Reader},
    target::TargetSet,
};
use crate::{
    limits::{CATCH_UP_LAG, EVENT_TIME_SLACK, HOLD_MAX, OUTLETS_MAX, PASS_BYTES, SPLIT_AFTER, TURN_BYTES},
    model::{Nanos, ObjectId},
    orders::Port,
    plan::TargetKind,
    ring::Ring,
};

/// A busy pass of the source whose turn it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    /// Event time of its next record as far as it is known, the future as now; least if nothing was read yet.
    key: Nanos,
    reader: u32,
    pass: u32,
    targets: TargetSet,
    /// Of these, the ones that have not had all of the file that stood at its path before.
    follows: TargetSet,
    ready: bool,
    /// Its read has been under way for too long: nobody waits for it any more.
    stuck: bool,
    /// When it had its last turn, in turns taken.
    served: u64,
}

/// For each target the two readers whose next records are oldest.
struct Oldest {
    first: [(Nanos, u32); OUTLETS_MAX],
    second: [Nanos; OUTLETS_MAX],
}

const LATEST: Nanos = Nanos(i64::MAX);

impl Oldest {
    /// `candidates` in the order of their keys; `ordered` are the targets that ask for event time.
    fn new(candidates: &[Candidate], ordered: TargetSet) -> Self {
        let mut oldest = Self { first: [(LATEST, 0); OUTLETS_MAX], second: [LATEST; OUTLETS_MAX] };
        for candidate in candidates.iter().filter(|candidate| !candidate.stuck) {
            // Who has to wait for a predecessor holds up nobody: that would be a circle.
            let targets = candidate.targets.without(candidate.follows);
            for bit in targets.intersection(ordered).iter().map(usize::from) {
                if oldest.first[bit].0 == LATEST {
                    oldest.first[bit] = (candidate.key, candidate.reader);
                } else if oldest.first[bit].1 != candidate.reader && oldest.second[bit] == LATEST {
                    oldest.second[bit] = candidate.key;
                }
            }
        }
        oldest
    }

    /// Event time that `reader` may reach for target `bit`. The future counts as now, or one wrong clock would hold up
    /// everything that is right.
    fn bound(&self, bit: u8, reader: u32, wall: Nanos) -> Nanos {
        let bit = usize::from(bit);
        let other = if self.first[bit].1 == reader { self.second[bit] } else { self.first[bit].0 };
        let bound = other.plus(EVENT_TIME_SLACK.as_nanos() as u64);
        if bound >= wall { LATEST } else { bound }
    }

    /// How far a candidate may go for all its targets, and those for which it is ahead already.
    fn horizon(&self, candidate: &Candidate, ordered: TargetSet, wall: Nanos) -> (Nanos, TargetSet) {
        let (mut horizon, mut ahead) = (LATEST, TargetSet::default());
        for bit in candidate.targets.intersection(ordered).iter() {
            let bound = self.bound(bit, candidate.reader, wall);
            horizon = horizon.min(bound);
            if candidate.key > bound {
                ahead = ahead.with(bit);
            }
        }
        (horizon, ahead)
    }
}

impl<R: Ring, P: Port> Lane<R, P> {
    /// Gives each source its share of the turn, until the turn's own share is used up. Who had to wait comes first next
    /// time: what credit there is must not go to the same few each turn.
    pub(super) fn carry(&mut self) {
        self.rota.begin_turn();
        if self.draining {
            return;
        }
        self.enqueue();
        let end = self.carried_bytes + TURN_BYTES;
        loop {
            let before = self.carried_bytes;
            self.carry_round(end);
            if !self.rota.more || self.carried_bytes == before || self.carried_bytes >= end {
                break;
            }
            self.rota.more = false;
        }
    }

    /// One round: each source its share.
    fn carry_round(&mut self, end: u64) {
        for _ in 0..self.rota.len() {
            if self.carried_bytes >= end {
                self.rota.more = true;
                break;
            }
            let Some(source) = self.rota.take() else { break };
            let before = self.carried_bytes;
            self.carry_source(source);
            self.rota.give_back(source, self.carried_bytes > before);
        }
        self.rota.end_round();
    }

    /// Whether something could be carried right now.
    pub(super) fn has_work(&self) -> bool {
        !self.draining && (self.rota.more || !self.ready.is_empty())
    }

    /// Puts passes that became ready into the queue of their source.
    fn enqueue(&mut self) {
        while let Some((id, pass)) = self.ready.pop_front() {
            let Some(reader) = self.readers.get(&id) else { continue };
            let Some(found) = reader.passes.iter().find(|candidate| candidate.id == pass) else { continue };
            if let Some(source) = queue_of(reader, found) {
                self.rota.join(source, id, pass);
            }
        }
    }

    fn carry_source(&mut self, source: ObjectId) {
        let mut candidates = std::mem::take(&mut self.candidates);
        self.find_candidates(source, &mut candidates);
        let ordered = self.targets_by(|kind| matches!(kind, TargetKind::Loki(_)));
        let waits_for_opening = self.waits_for_opening(source);
        let oldest = Oldest::new(&candidates, ordered);
        // Within the slack whoever has waited longest comes first, or a file that floods would go before a quiet one.
        candidates.sort_by_key(|candidate| candidate.served);
        if let Some(queue) = self.rota.queue(source) {
            queue.replenish();
        }
        for candidate in candidates.iter().filter(|candidate| candidate.ready) {
            let left = self.rota.queue(source).map_or(0, |queue| queue.left());
            if left == 0 {
                self.rota.more = true;
                break;
            }
            let (horizon, mut ahead) = oldest.horizon(candidate, ordered, self.now.wall);
            if waits_for_opening {
                ahead = candidate.targets.intersection(ordered);
            }
            self.carry_candidate(source, candidate, left, horizon, ahead);
        }
        candidates.clear();
        self.candidates = candidates;
    }

    fn carry_candidate(
        &mut self,
        source: ObjectId,
        candidate: &Candidate,
        left: usize,
        horizon: Nanos,
        ahead: TargetSet,
    ) {
        let Candidate { reader, pass, targets, follows, .. } = *candidate;
        let (allowance, limited) = self.allowance(source, targets);
        let waits = ahead.union(follows).union(limited);
        let may = waits.is_empty() && self.may_carry(reader, pass) && self.may_catch_up(candidate);
        if may {
            let budget = left.min(PASS_BYTES).min(allowance);
            let (before, began) = (self.carried_bytes, self.is_catching_up(candidate).then(|| self.ring.cpu()));
            self.carry_pass(reader, pass, budget, horizon);
            let carried = self.carried_bytes - before;
            if let Some(began) = began {
                self.catch_up.level -= (self.ring.cpu().saturating_sub(began)).as_micros() as i64;
            }
            if let Some(queue) = self.rota.queue(source) {
                queue.spend(carried);
                queue.debit(targets.iter(), carried);
            }
        } else {
            self.leave_waiting(reader, pass, waits);
        }
        let served = self.rota.serve(may);
        let may_again = may && self.may_carry(reader, pass);
        let Some(still) = self.readers.get_mut(&reader).and_then(|reader| reader.pass_mut(pass)) else { return };
        still.served = served.unwrap_or(still.served);
        if still.state == PassState::Ready {
            self.rota.more |= may_again;
            if !may || self.pool.is_exhausted() {
                still.put_down(&mut self.pool);
            }
        }
    }

    /// The busy passes of a source, oldest next record first.
    fn find_candidates(&mut self, source: ObjectId, candidates: &mut Vec<Candidate>) {
        let Some(mut busy) = self.rota.queue(source).map(|queue| std::mem::take(&mut queue.busy)) else { return };
        let now = self.now;
        busy.retain(|(id, pass_id)| {
            let Some(reader) = self.readers.get(id) else { return false };
            let Some(pass) = reader.passes.iter().find(|pass| pass.id == *pass_id) else { return false };
            if queue_of(reader, pass) != Some(source) {
                self.ready.push_back((*id, *pass_id));
                return false;
            }
            let busy = matches!(pass.state, PassState::Ready | PassState::Pending);
            if busy {
                candidates.push(Candidate {
                    key: pass.next.or(pass.time).unwrap_or(Nanos(i64::MIN)).min(now.wall),
                    reader: *id,
                    pass: *pass_id,
                    targets: pass.targets,
                    follows: self.predecessor_lacks(reader, pass.targets),
                    ready: pass.state == PassState::Ready,
                    stuck: pass.state == PassState::Pending && now.mono > pass.reads_since + HOLD_MAX,
                    served: pass.served,
                });
            }
            busy
        });
        candidates.sort_by_key(|candidate| (candidate.key, candidate.reader, candidate.pass));
        let late = now.wall.0.saturating_sub(EVENT_TIME_SLACK.as_nanos() as i64);
        let second = candidates.iter().find(|candidate| candidate.reader != candidates[0].reader);
        let Some(queue) = self.rota.queue(source) else { return };
        queue.busy = busy;
        queue.oldest = (candidates.first().filter(|first| first.key.0 < late).map(|first| first.reader))
            .map(|first| (first, second.is_some_and(|second| second.key.0 < late)));
    }

    /// Files of the source are being opened: what they hold may be older than anything else.
    fn waits_for_opening(&mut self, source: ObjectId) -> bool {
        let opening = self.openings().any(|opening| opening.is_awaited() && opening.source() == source);
        let now = self.now.mono;
        let Some(queue) = self.rota.queue(source) else { return false };
        queue.opening_since = opening.then(|| queue.opening_since.unwrap_or(now));
        queue.opening_since.is_some_and(|since| now <= since + HOLD_MAX)
    }

    fn targets_by(&self, is: impl Fn(&TargetKind) -> bool) -> TargetSet {
        let found = self.targets.iter().filter(|(_, target)| is(&target.plan.kind));
        found.fold(TargetSet::default(), |set, (bit, _)| set.with(bit))
    }

    /// Every target of the pass has credit and there is a chunk to read with.
    pub(super) fn may_carry(&self, reader: u32, pass: u32) -> bool {
        let Some(reader) = self.readers.get(&reader) else { return false };
        let Some(pass) = reader.passes.iter().find(|candidate| candidate.id == pass) else { return false };
        self.targets.starved(pass.targets).is_empty() && (pass.has_chunk() || !self.pool.is_exhausted())
    }

    /// Of `targets`, those that have not had all of the file that stood at this path before.
    fn predecessor_lacks(&self, reader: &Reader, targets: TargetSet) -> TargetSet {
        let after = reader.file().and_then(|file| file.after);
        after.map_or_else(TargetSet::default, |after| match self.readers.get(&after) {
            Some(earlier) => earlier.behind(targets),
            None if self.is_opening(after) => targets,
            None => TargetSet::default(),
        })
    }

    /// Bytes the rate of a source leaves to all of `targets`, and those it leaves nothing to.
    fn allowance(&mut self, source: ObjectId, targets: TargetSet) -> (usize, TargetSet) {
        let (now, mut limited, mut allowance) = (self.now.mono, TargetSet::default(), usize::MAX);
        let rate = self.plan.source(source).and_then(|source| source.rate_bytes);
        let Some(queue) = self.rota.queue(source) else { return (allowance, limited) };
        let Some(rate) = rate else {
            queue.unlimit();
            return (allowance, limited);
        };
        let mut next = None;
        for bit in targets.iter() {
            match queue.allowance(bit, rate, now) {
                Ok(bytes) => allowance = allowance.min(bytes),
                Err(wait) => {
                    limited = limited.with(bit);
                    next = Some(next.map_or(wait, |next: Duration| next.min(wait)));
                }
            }
        }
        if let Some(wait) = next {
            self.rota.wake_at(now + wait);
        }
        (allowance, limited)
    }

    /// Its lines are old: what remains of an outage or of the time before the start.
    fn is_catching_up(&self, candidate: &Candidate) -> bool {
        let lag = self.now.wall.0.saturating_sub(candidate.key.0);
        self.config.catch_up_percent < 100 && lag > CATCH_UP_LAG.as_nanos() as i64
    }

    /// Catching up may take only its share of the core: storage needs the rest.
    fn may_catch_up(&mut self, candidate: &Candidate) -> bool {
        if !self.is_catching_up(candidate) {
            return true;
        }
        // In microseconds of CPU time a second; saved up for a tenth of one.
        let rate = u64::from(self.config.catch_up_percent) * 10_000;
        match self.catch_up.open(rate, rate / 10, self.now.mono) {
            Ok(()) => true,
            Err(wait) => {
                self.rota.wake_at(self.now.mono + wait);
                false
            }
        }
    }

    /// Lets the flows of targets that have to wait leave a pass they share with others.
    fn leave_waiting(&mut self, reader: u32, pass: u32, waits: TargetSet) {
        let now = self.now.mono;
        let Some(found) = self.readers.get_mut(&reader).and_then(|reader| reader.pass_mut(pass)) else { return };
        let targets = found.targets;
        let long = |bit: &u8| {
            let since = self.targets.get(*bit).and_then(|target| target.starved_since);
            since.is_some_and(|since| now >= since + SPLIT_AFTER)
        };
        let starved = self.targets.starved(targets);
        let leaving = starved.iter().filter(long).fold(waits, TargetSet::with);
        if !leaving.is_empty() && !targets.without(leaving).is_empty() {
            self.split(reader, pass, leaving);
        } else if !targets.without(starved).is_empty() {
            // The others of the pass are held up until then, and not for longer.
            let since = starved.iter().filter_map(|bit| self.targets.get(bit)?.starved_since).min();
            if let Some(part) = since.map(|since| since + SPLIT_AFTER).filter(|part| *part > now) {
                self.rota.wake_at(part);
            }
        }
    }

    /// Whether another reader of the same source is so far behind that a pass of `reader` would have to wait for it.
    pub(super) fn is_uneven(&mut self, reader: u32, pass: u32) -> bool {
        let Some(found) = self.readers.get(&reader) else { return false };
        let Some(pass) = found.passes.iter().find(|candidate| candidate.id == pass) else { return false };
        let oldest = queue_of(found, pass).and_then(|source| self.rota.queue(source)).and_then(|queue| queue.oldest);
        oldest.is_some_and(|(first, has_second)| first != reader || has_second)
    }
}

/// The source whose share a pass is carried on. A journal is shared by its sources, but for those with a rate.
fn queue_of(reader: &Reader, pass: &Pass) -> Option<ObjectId> {
    pass.limit.or_else(|| reader.sources.first().map(|source| source.plan.id))
}
