//! The batches of a lane: open, sealed and waiting, in flight.
//!
//! One open batch for each (shape, set of targets): flows that want the same bytes share it, whatever reader they read.
//! A sealed batch waits in the outbox only until the hand-off ring takes it, in the same turn as a rule.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use super::target::{TargetSet, Targets};
use crate::{
    batch::{Item, Open, Shape},
    limits::{BATCH_LINGER, BATCH_PARTS_MAX, OPEN_BYTES_MAX, OPEN_KEPT_MAX},
    model::Nanos,
    orders::{Batch, Part, Port, Wire},
};

/// Index of an open batch; stable until the next plan.
pub type OpenIndex = u32;

/// A branch that put lines into an open batch: (reader, pass, index of the branch).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contributor {
    pub reader: u32,
    pub pass: u32,
    pub branch: u32,
}

#[derive(Debug)]
struct OpenBatch {
    shape: Shape,
    targets: TargetSet,
    content: Open,
    /// When its first line came; `None` = empty.
    since: Option<Duration>,
    contributors: Vec<Contributor>,
}

impl OpenBatch {
    /// It must be sealed before the next record.
    fn is_full(&self) -> bool {
        self.content.is_full() || self.contributors.len() >= BATCH_PARTS_MAX
    }
}

#[derive(Debug)]
struct InFlight {
    batch: Arc<Batch>,
    outstanding: TargetSet,
}

#[derive(Debug, Default)]
pub struct BatchSet {
    open: Vec<OpenBatch>,
    outbox: VecDeque<(u8, Arc<Batch>)>,
    in_flight: HashMap<u64, InFlight>,
    next_id: u64,
    /// Lines whose invalid UTF-8 was replaced.
    pub replaced: u64,
}

/// A batch that was just sealed: what is left is to say what it settles.
#[derive(Debug)]
pub struct Sealing {
    pub id: u64,
    pub targets: TargetSet,
    pub contributors: Vec<Contributor>,
    sealed: crate::batch::Sealed,
    wire: Wire,
    tenant: Option<String>,
}

impl BatchSet {
    /// The open batch for these targets and this shape.
    pub fn open(&mut self, shape: &Shape, targets: TargetSet, cluster: &str, node: &str) -> OpenIndex {
        let known = self.open.iter().position(|open| open.targets == targets && open.shape == *shape);
        let at = known.unwrap_or_else(|| {
            self.open.push(OpenBatch {
                shape: shape.clone(),
                targets,
                content: Open::new(shape, cluster, node),
                since: None,
                contributors: Vec::new(),
            });
            self.open.len() - 1
        });
        at as OpenIndex
    }

    /// Forgets all open batches, which must be empty: their shapes or targets may be gone.
    pub fn close_all(&mut self) {
        debug_assert!(self.open.iter().all(|open| open.content.is_empty()));
        self.open.clear();
    }

    /// Adds one line; true when the batch is full and must be sealed before the next record.
    #[inline]
    pub fn append(&mut self, index: OpenIndex, item: &Item<'_>, now: Duration) -> bool {
        let open = &mut self.open[index as usize];
        open.since.get_or_insert(now);
        let appended = open.content.append(item);
        self.replaced += u64::from(appended.replaced_utf8);
        open.is_full()
    }

    /// Names a branch whose lines are (or will be) in the open batch; gives the number of its part.
    pub fn contribute(&mut self, index: OpenIndex, contributor: Contributor) -> u32 {
        let contributors = &mut self.open[index as usize].contributors;
        contributors.push(contributor);
        contributors.len() as u32 - 1
    }

    /// Open batches that hold lines and are older than the linger; with `all`, every one that holds lines.
    pub fn due(&self, now: Duration, all: bool) -> Vec<OpenIndex> {
        let is_due = |open: &OpenBatch| open.since.is_some_and(|since| all || now >= since + BATCH_LINGER);
        (0..self.open.len()).filter(|at| is_due(&self.open[*at])).map(|at| at as OpenIndex).collect()
    }

    /// Open batches that must be sealed before the next record. One record may fill several.
    pub fn full(&self) -> Vec<OpenIndex> {
        let is_full = |open: &OpenBatch| open.since.is_some() && open.is_full();
        (0..self.open.len()).filter(|at| is_full(&self.open[*at])).map(|at| at as OpenIndex).collect()
    }

    /// Open batches this reader's branches have lines in.
    pub fn contributed_by(&self, reader: u32) -> Vec<OpenIndex> {
        let is_in = |open: &OpenBatch| open.contributors.iter().any(|contributor| contributor.reader == reader);
        (0..self.open.len()).filter(|at| is_in(&self.open[*at])).map(|at| at as OpenIndex).collect()
    }

    /// When the next open batch is due.
    pub fn next_due(&self) -> Option<Duration> {
        self.open.iter().filter_map(|open| open.since).min().map(|since| since + BATCH_LINGER)
    }

    /// The largest open batch, if all together are larger than they may be.
    pub fn too_many(&self) -> Option<OpenIndex> {
        let sizes = || self.open.iter().map(|open| open.content.raw_bytes());
        let largest = || (0..).zip(sizes()).max_by_key(|(_, bytes)| *bytes).map(|(at, _)| at);
        if sizes().sum::<usize>() > OPEN_BYTES_MAX { largest() } else { None }
    }

    /// Compresses an open batch; `None` if it is empty.
    pub fn seal(&mut self, index: OpenIndex) -> Option<Sealing> {
        let is_one_of_many = self.open.len() > OPEN_KEPT_MAX;
        let open = &mut self.open[index as usize];
        open.since.take()?;
        let sealed = open.content.seal();
        if is_one_of_many {
            open.content.let_go();
        }
        self.next_id += 1;
        let (wire, tenant) = match &open.shape {
            Shape::Loki { tenant, .. } => (Wire::Loki, tenant.clone()),
            Shape::Syslog { framing, .. } => (Wire::Syslog(*framing), None),
            Shape::Console { .. } => (Wire::Console, None),
        };
        let contributors = std::mem::take(&mut open.contributors);
        Some(Sealing { id: self.next_id, targets: open.targets, contributors, sealed, wire, tenant })
    }

    /// Puts a sealed batch, with what it settles, into the outbox of each of its targets.
    pub fn post(&mut self, sealing: Sealing, parts: Vec<Part>, newest: Option<Nanos>, targets: &mut Targets) {
        let batch = Arc::new(Batch {
            id: sealing.id,
            body: sealing.sealed.body,
            wire: sealing.wire,
            raw_bytes: sealing.sealed.raw_bytes,
            entries: sealing.sealed.entries,
            newest,
            tenant: sealing.tenant,
            parts,
            streams: sealing.sealed.streams,
        });
        for bit in sealing.targets.iter() {
            targets.handed_over(bit, batch.raw_bytes);
            self.outbox.push_back((bit, Arc::clone(&batch)));
        }
        self.in_flight.insert(batch.id, InFlight { batch, outstanding: sealing.targets });
    }

    /// Hands over what the port takes. A target gets no more than its share of the verdict ring; the rest, which many
    /// tenants can make of it, waits here in order.
    pub fn hand_over<P: Port>(&mut self, port: &mut P, targets: &mut Targets) {
        let mut is_full = false;
        for (bit, batch) in std::mem::take(&mut self.outbox) {
            let Some(target) = targets.get_mut(bit) else { continue };
            if is_full || !target.has_slot() {
                self.outbox.push_back((bit, batch));
                continue;
            }
            match port.submit(target.plan.id, batch) {
                Ok(()) => target.with_port += 1,
                Err(batch) => {
                    is_full = true;
                    self.outbox.push_back((bit, batch));
                }
            }
        }
    }

    /// Who has not answered for a batch yet.
    pub fn outstanding(&self, id: u64) -> TargetSet {
        self.in_flight.get(&id).map_or_else(TargetSet::default, |in_flight| in_flight.outstanding)
    }

    /// Takes one target's verdict on a batch: the batch, so that its parts can be settled.
    pub fn settle(&mut self, id: u64, bit: u8) -> Option<Arc<Batch>> {
        let in_flight = self.in_flight.get_mut(&id)?;
        if !in_flight.outstanding.contains(bit) {
            return None;
        }
        in_flight.outstanding = in_flight.outstanding.without(TargetSet::one(bit));
        let batch = Arc::clone(&in_flight.batch);
        if in_flight.outstanding.is_empty() {
            self.in_flight.remove(&id);
        }
        Some(batch)
    }

    /// Nothing open, nothing waiting, nothing in flight.
    pub fn is_idle(&self) -> bool {
        self.in_flight.is_empty() && self.outbox.is_empty() && self.open.iter().all(|open| open.since.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::Level, plan::Output};

    fn item(line: &[u8]) -> Item<'_> {
        Item {
            stream: 1,
            part: 0,
            labels: "{a=\"b\"}",
            level: Level::Info,
            time: Nanos(1),
            line,
            metadata: &[],
            source: "s",
            app: b"",
            procid: b"",
        }
    }

    #[test]
    fn many_tenants_hold_no_more_than_all_open_batches_may() {
        let mut batches = BatchSet::default();
        let line = vec![b'x'; 200_000];
        let mut sealed = 0;
        for tenant in 0..100 {
            let shape = Shape::Loki { tenant: Some(format!("tenant-{tenant}")), output: Output::Line };
            let open = batches.open(&shape, TargetSet::one(0), "c1", "n1");
            for _ in 0..4 {
                assert!(!batches.append(open, &item(&line), Duration::ZERO));
            }
            while let Some(largest) = batches.too_many() {
                assert!(batches.seal(largest).is_some(), "what is too much is not empty");
                sealed += 1;
            }
        }
        let held: usize = batches.open.iter().map(|open| open.content.raw_bytes()).sum();
        assert!((OPEN_BYTES_MAX - 2 * 800_000..=OPEN_BYTES_MAX).contains(&held), "{held} bytes are open");
        assert_eq!(batches.due(Duration::ZERO, true).len() + sealed, 100, "every line is in one or the other");
    }
}
