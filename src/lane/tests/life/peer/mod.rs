//! The other end of the hand-off: egress as it behaves, with simulated peers instead of sockets.
//!
//! A *link* is one target's task: it takes batches in order, speaks to its peer, waits, tries again, and gives
//! verdicts. What an answer means is decided by the production code in `target`; only the waiting and the bytes are
//! made up here. Time is the machine's own.

mod loki;
mod syslog;

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use super::{
    dice::Dice,
    judge::Judge,
    kinds::{Table, Trouble},
};
use crate::{
    limits::BATCHES_IN_FLIGHT_MAX,
    model::ObjectId,
    orders::{Batch, Outcome, Port, Verdict},
    plan::{Plan, TargetKind, TargetPlan},
};

/// How badly a peer behaves: per thousand tries, for each of its ways.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manners {
    pub faults: u64,
    /// It takes nothing at all.
    pub is_dead: bool,
    /// Its faults are those that others show seldom: it takes some, not this tenant, not so much.
    pub refuses: bool,
}

/// All that lies behind the port of a lane.
#[derive(Debug, Default)]
pub struct Net {
    pub judge: Judge,
    pub table: Table,
    pub dice: Dice,
    pub now: Duration,
    pub manners: [Manners; super::judge::TARGETS],
    links: BTreeMap<ObjectId, Link>,
    verdicts: VecDeque<Verdict>,
    /// Plans on their way to egress, which gets them apart from the lane.
    plans: VecDeque<(Duration, Arc<Plan>)>,
    /// The highest number of a batch handed over.
    newest_batch: u64,
    /// Most bytes that ever waited for one target.
    pub most_waiting: usize,
}

#[derive(Debug)]
struct Link {
    plan: Arc<TargetPlan>,
    /// Index of the target in the judge's books.
    target: usize,
    queue: VecDeque<Arc<Batch>>,
    peer: Peer,
}

#[derive(Debug)]
enum Peer {
    Loki(loki::Loki),
    Syslog(syslog::Syslog),
}

/// What a peer works with, lent by the net.
struct Room<'a> {
    judge: &'a mut Judge,
    table: &'a mut Table,
    dice: &'a mut Dice,
    now: Duration,
    manners: Manners,
    target: usize,
}

impl Room<'_> {
    /// Throws for one of a peer's ways; counts it when it takes effect.
    fn strikes(&mut self, trouble: Trouble) -> bool {
        let struck = self.would_strike();
        if struck {
            self.table.note(trouble);
        }
        struck
    }

    /// The same for what may come to nothing; counted by whoever lets it take effect.
    fn would_strike(&mut self) -> bool {
        self.manners.faults > 0 && self.dice.below(1000) < self.manners.faults
    }

    fn latency(&mut self) -> Duration {
        Duration::from_micros(200 + self.dice.below(8_000))
    }
}

impl Net {
    /// A plan for egress; it may come before or after the lane has it.
    pub fn give_plan(&mut self, plan: Arc<Plan>) {
        let wait = Duration::from_millis(self.dice.below(30));
        let after = self.plans.back().map_or(Duration::ZERO, |(at, _)| *at);
        self.plans.push_back(((self.now + wait).max(after), plan));
    }

    /// The process is gone, and every connection with it. What was on its way may have arrived.
    pub fn killed(&mut self) {
        let now = self.now;
        for mut link in std::mem::take(&mut self.links).into_values() {
            let mut room = room(&mut self.judge, &mut self.table, &mut self.dice, now, &self.manners, link.target);
            match &mut link.peer {
                Peer::Loki(loki) => drop(loki.cut(&mut room)),
                Peer::Syslog(syslog) => drop(syslog.cut(&mut room)),
            }
        }
        self.verdicts.clear();
        self.plans.clear();
        self.newest_batch = 0;
        self.judge.killed();
    }

    /// Everything that is due by `now`.
    pub fn step(&mut self, now: Duration) {
        (self.now, self.table.now, self.judge.now) = (now, now, now);
        while let Some((_, plan)) = self.plans.pop_front_if(|(at, _)| *at <= now) {
            self.reconcile(&plan);
        }
        for (id, link) in &mut self.links {
            self.judge.listen_to(Some(*id));
            let mut room = room(&mut self.judge, &mut self.table, &mut self.dice, now, &self.manners, link.target);
            let verdicts = &mut self.verdicts;
            let mut settle = |batch: u64, outcome| verdicts.push_back(Verdict { batch, target: *id, outcome });
            match &mut link.peer {
                Peer::Loki(loki) => loki.step(&mut link.queue, &mut room, &mut settle),
                Peer::Syslog(syslog) => syslog.step(&mut link.queue, &mut room, &mut settle),
            }
        }
        self.judge.listen_to(None);
    }

    /// When something happens next; at once if a verdict waits.
    pub fn next_due(&self) -> Option<Duration> {
        if !self.verdicts.is_empty() {
            return Some(self.now);
        }
        let of = |link: &Link| match &link.peer {
            Peer::Loki(loki) => loki.next_due(!link.queue.is_empty(), self.now),
            Peer::Syslog(syslog) => syslog.next_due(!link.queue.is_empty(), self.now),
        };
        self.links.values().filter_map(of).chain(self.plans.front().map(|(at, _)| *at)).min()
    }

    /// As the hub of egress does: ends what is gone or disabled, starts what is new.
    fn reconcile(&mut self, plan: &Plan) {
        let gone: Vec<ObjectId> =
            (self.links.keys().copied()).filter(|id| !plan.target(*id).is_some_and(|target| target.enabled)).collect();
        for id in gone {
            let Some(mut link) = self.links.remove(&id) else { continue };
            self.judge.listen_to(Some(id));
            let mut room = room(&mut self.judge, &mut self.table, &mut self.dice, self.now, &self.manners, link.target);
            let held = match &mut link.peer {
                Peer::Loki(loki) => loki.cut(&mut room),
                Peer::Syslog(syslog) => syslog.cut(&mut room),
            };
            for batch in held.into_iter().chain(link.queue) {
                self.give_back(id, batch.id);
            }
        }
        self.judge.listen_to(None);
        for target in plan.targets.iter().filter(|target| target.enabled) {
            let Some(index) = self.judge.targets.get(&target.id).copied() else { continue };
            let seed = self.dice.below(u64::MAX);
            let link = self.links.entry(target.id).or_insert_with(|| Link {
                plan: Arc::clone(target),
                target: index,
                queue: VecDeque::new(),
                peer: match &target.kind {
                    TargetKind::Syslog(_) => Peer::Syslog(syslog::Syslog::new(seed)),
                    _ => Peer::Loki(loki::Loki::new(seed)),
                },
            });
            link.plan = Arc::clone(target);
        }
    }

    fn give_back(&mut self, target: ObjectId, batch: u64) {
        self.table.note(Trouble::Returned);
        self.verdicts.push_back(Verdict { batch, target, outcome: Outcome::Returned });
    }
}

fn room<'a>(
    judge: &'a mut Judge,
    table: &'a mut Table,
    dice: &'a mut Dice,
    now: Duration,
    manners: &[Manners],
    target: usize,
) -> Room<'a> {
    Room { judge, table, dice, now, manners: manners[target], target }
}

/// The lane's end.
#[derive(Clone, Debug, Default)]
pub struct NetPort(pub Rc<RefCell<Net>>);

impl Port for NetPort {
    fn submit(&mut self, target: ObjectId, batch: Arc<Batch>) -> Result<(), Arc<Batch>> {
        let net = &mut *self.0.borrow_mut();
        let may_refuse = net.manners.iter().any(|manners| manners.faults > 0);
        if may_refuse && net.dice.below(100) == 0 {
            net.table.note(Trouble::HandOffFull);
            return Err(batch);
        }
        net.newest_batch = net.newest_batch.max(batch.id);
        let Some(link) = net.links.get_mut(&target) else {
            net.give_back(target, batch.id);
            return Ok(());
        };
        link.queue.push_back(batch);
        let waiting = link.queue.iter().map(|batch| batch.raw_bytes).sum();
        net.most_waiting = net.most_waiting.max(waiting);
        Ok(())
    }

    fn verdict(&mut self) -> Option<Verdict> {
        let net = &mut *self.0.borrow_mut();
        let verdict = net.verdicts.pop_front()?;
        // Only now does the lane know; what it has sealed until then may arrive before what came back.
        if verdict.outcome == Outcome::Returned
            && let Some(index) = net.judge.targets.get(&verdict.target)
        {
            net.judge.disordered[*index] = net.newest_batch + BATCHES_IN_FLIGHT_MAX as u64;
        }
        Some(verdict)
    }
}
