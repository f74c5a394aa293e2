//! Targets as a lane sees them: a bit, a shape and a budget.
//!
//! Credit is what a target may still be given: a number of batches and of bytes in flight. A target without credit is
//! not read for; it never makes the lane wait. Each tenant of a Loki is a target of its own here, with an equal share
//! of the target's `queueBytes`: one that is refused or slow holds up no other.

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    batch::Shape,
    limits::{BATCH_BYTES, BATCHES_IN_FLIGHT_MAX, OUTLETS_MAX, TARGETS_MAX},
    model::ObjectId,
    plan::{Plan, TargetKind, TargetPlan},
};

/// Some of a lane's targets, by bit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TargetSet(u128);

impl TargetSet {
    pub fn one(bit: u8) -> Self {
        Self(1 << bit)
    }

    pub fn with(self, bit: u8) -> Self {
        Self(self.0 | 1 << bit)
    }

    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub fn contains(self, bit: u8) -> bool {
        self.0 & 1 << bit != 0
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The bits, lowest first.
    pub fn iter(self) -> impl Iterator<Item = u8> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let bit = (rest != 0).then(|| rest.trailing_zeros() as u8)?;
            rest &= rest - 1;
            Some(bit)
        })
    }
}

impl fmt::Display for TargetSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// One target and what it has in flight from this lane.
#[derive(Debug)]
pub struct Target {
    pub plan: Arc<TargetPlan>,
    /// Whose lines of it, where a tenant has a credit of its own.
    pub tenant: Option<String>,
    /// How many share its `queueBytes`.
    shares: usize,
    /// No longer in the plan: the bit is free once nothing is in flight.
    pub removed: bool,
    /// Batches sealed for it and not settled.
    pub in_flight: usize,
    /// Of these, how many were handed over.
    pub with_port: usize,
    pub in_flight_bytes: usize,
    /// Since when it has had no credit.
    pub starved_since: Option<Duration>,
    /// It gave batches back: nothing is read for it until then, or a broken target would be replayed to in a circle.
    pub rests_until: Option<Duration>,
}

impl Target {
    pub fn has_credit(&self) -> bool {
        self.rests_until.is_none()
            && self.in_flight < BATCHES_IN_FLIGHT_MAX / 2
            && (self.in_flight == 0 || self.in_flight_bytes + BATCH_BYTES <= self.plan.queue_bytes / self.shares.max(1))
    }

    /// Whether one more batch may be handed over: the verdict ring has room for so many.
    pub fn has_slot(&self) -> bool {
        self.with_port < BATCHES_IN_FLIGHT_MAX
    }
}

/// All targets of a lane, by bit.
#[derive(Debug, Default)]
pub struct Targets {
    slots: Vec<Option<Target>>,
}

impl Targets {
    /// Takes over the targets of a plan; known ones keep their bit and what they have in flight.
    pub fn apply(&mut self, plan: &Plan) {
        for slot in self.slots.iter_mut() {
            if let Some(target) = slot.as_mut()
                && plan.target(target.plan.id).is_none()
            {
                target.removed = true;
            }
            // Of tenants those that are still there are given a credit anew.
            if slot.as_ref().is_some_and(|target| target.in_flight == 0 && (target.removed || target.tenant.is_some()))
            {
                *slot = None;
            }
        }
        for new in &plan.targets {
            let mut known = false;
            // One that comes back while something of it is in flight has its place still.
            for target in self.slots.iter_mut().flatten().filter(|target| target.plan.id == new.id) {
                target.plan = Arc::clone(new);
                target.removed = false;
                known |= target.tenant.is_none();
            }
            if !known {
                self.insert(Arc::clone(new), None);
            }
        }
        self.share_out();
    }

    /// The bit of what goes to a target for a tenant (`None`: whichever the target says). Tenants get a credit of their
    /// own as long as there are some left.
    pub fn outlet(&mut self, id: ObjectId, tenant: Option<&str>) -> Option<u8> {
        let is_it = |slot: &Option<Target>, tenant: Option<&str>| {
            slot.as_ref().is_some_and(|target| target.plan.id == id && target.tenant.as_deref() == tenant)
        };
        let common = self.slots.iter().position(|slot| is_it(slot, None))?;
        let plan = Arc::clone(&self.slots[common].as_ref()?.plan);
        let TargetKind::Loki(loki) = &plan.kind else { return Some(common as u8) };
        let Some(tenant) = tenant.filter(|tenant| loki.tenant.as_deref() != Some(tenant)) else {
            return Some(common as u8);
        };
        if !self.slots.iter().any(|slot| is_it(slot, Some(tenant))) {
            let tenants = self.slots.iter().flatten().filter(|target| target.tenant.is_some()).count();
            if tenants >= OUTLETS_MAX - TARGETS_MAX {
                return Some(common as u8);
            }
            self.insert(plan, Some(tenant.to_owned()));
        }
        let found = self.slots.iter().position(|slot| is_it(slot, Some(tenant)));
        Some(found.unwrap_or(common) as u8)
    }

    /// Tells everybody how many share the queue of their target.
    fn share_out(&mut self) {
        for at in 0..self.slots.len() {
            let Some(id) = self.slots[at].as_ref().map(|target| target.plan.id) else { continue };
            let others = self.slots.iter().flatten().filter(|target| target.plan.id == id && target.tenant.is_some());
            let shares = 1 + others.count();
            if let Some(target) = &mut self.slots[at] {
                target.shares = shares;
            }
        }
    }

    fn insert(&mut self, plan: Arc<TargetPlan>, tenant: Option<String>) {
        let target = Target {
            plan,
            tenant,
            shares: 1,
            removed: false,
            in_flight: 0,
            with_port: 0,
            in_flight_bytes: 0,
            starved_since: None,
            rests_until: None,
        };
        match self.slots.iter().position(Option::is_none) {
            Some(free) => self.slots[free] = Some(target),
            // More than the plan may hold only while removed ones are still in flight; those wait for the next plan.
            None if self.slots.len() < OUTLETS_MAX => self.slots.push(Some(target)),
            None => {}
        }
        self.share_out();
    }

    /// Which of these is the target's; removed ones included.
    pub fn of(&self, set: TargetSet, id: ObjectId) -> Option<u8> {
        set.iter().find(|bit| self.get(*bit).is_some_and(|target| target.plan.id == id))
    }

    pub fn get(&self, bit: u8) -> Option<&Target> {
        self.slots.get(usize::from(bit)).and_then(Option::as_ref)
    }

    pub fn get_mut(&mut self, bit: u8) -> Option<&mut Target> {
        self.slots.get_mut(usize::from(bit)).and_then(Option::as_mut)
    }

    pub fn iter(&self) -> impl Iterator<Item = (u8, &Target)> {
        self.slots.iter().enumerate().filter_map(|(bit, slot)| slot.as_ref().map(|target| (bit as u8, target)))
    }

    /// Counts a batch sealed to be handed over.
    pub fn handed_over(&mut self, bit: u8, bytes: usize) {
        if let Some(target) = self.get_mut(bit) {
            target.in_flight += 1;
            target.in_flight_bytes += bytes;
        }
    }

    /// Counts a verdict; frees the bit of a removed target with its last one.
    pub fn settled(&mut self, bit: u8, bytes: usize) {
        let Some(target) = self.get_mut(bit) else { return };
        debug_assert!(target.in_flight > 0 && target.in_flight_bytes >= bytes);
        target.in_flight = target.in_flight.saturating_sub(1);
        target.with_port = target.with_port.saturating_sub(1);
        target.in_flight_bytes = target.in_flight_bytes.saturating_sub(bytes);
        if target.removed && target.in_flight == 0 {
            self.slots[usize::from(bit)] = None;
        }
    }

    /// Notes since when each target has had no credit.
    pub fn watch_credit(&mut self, now: Duration) {
        for target in self.slots.iter_mut().flatten() {
            target.rests_until = target.rests_until.filter(|until| now < *until);
            if target.has_credit() {
                target.starved_since = None;
            } else {
                target.starved_since.get_or_insert(now);
            }
        }
    }

    /// Of `set`, those without credit.
    pub fn starved(&self, set: TargetSet) -> TargetSet {
        let starved = |bit: &u8| self.get(*bit).is_none_or(|target| !target.has_credit());
        set.iter().filter(starved).fold(TargetSet::default(), TargetSet::with)
    }

    pub fn in_flight(&self) -> usize {
        self.slots.iter().flatten().map(|target| target.in_flight).sum()
    }
}

/// What decides the bytes a target gets from a source of this tenant.
pub fn shape(target: &TargetPlan, source_tenant: Option<&str>) -> Shape {
    match &target.kind {
        TargetKind::Loki(loki) => Shape::Loki {
            tenant: source_tenant.map(str::to_owned).or_else(|| loki.tenant.clone()),
            output: target.output,
        },
        TargetKind::Syslog(syslog) => Shape::Syslog {
            facility: syslog.facility,
            framing: syslog.framing,
            max_message_bytes: syslog.max_message_bytes,
            sd_id: syslog.sd_id.clone(),
            output: target.output,
        },
        TargetKind::Console(_) => Shape::Console { output: target.output },
    }
}
