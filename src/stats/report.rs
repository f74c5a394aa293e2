//! What lanes and egress publish for status, health and metrics.

use std::{collections::BTreeMap, sync::Arc};

use arc_swap::ArcSwap;

use super::Totals;
use crate::model::{Nanos, ObjectId};

/// One lane as of its last report.
#[derive(Clone, Debug, Default)]
pub struct LaneReport {
    pub lane: u16,
    /// `uring`, `poll` or `sim`.
    pub backend: &'static str,
    /// Why this backend and not the other, when the probe decided.
    pub backend_reason: String,
    /// The core the lane is pinned to; `None` = unpinned.
    pub core: Option<usize>,
    /// Revision of the plan in force.
    pub revision: u64,
    /// Wall time of this report.
    pub at: Nanos,
    /// CPU time of the lane's thread, in microseconds.
    pub cpu_micros: u64,
    pub readers: Vec<ReaderReport>,
    pub flows: Vec<FlowReport>,
    /// Trouble in words, newest last, bounded.
    pub troubles: Vec<String>,
    /// Order to drain carried out: nothing is in flight any more.
    pub drained: bool,
    /// Times a flow's totals did not balance. Never anything but 0.
    pub imbalances: u64,
    /// What is kept of files that have no name any more.
    pub kept: KeptReport,
    /// By source name: lines lost unseen in files that are gone, as an upper bound.
    pub lost: Vec<(String, u64)>,
}

/// What one lane keeps of deleted files that are still needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeptReport {
    /// Held open.
    pub pinned_files: u64,
    pub pinned_bytes: u64,
    /// In the spool; bytes as they lie there.
    pub spooled_files: u64,
    pub spooled_bytes: u64,
}

/// How a file that a reader still needs is kept from vanishing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kept {
    /// It has a name.
    #[default]
    Named,
    /// Deleted, and held open.
    Pinned,
    /// Deleted; its bytes are in the spool.
    Spooled,
}

/// One file or journal directory.
#[derive(Clone, Debug)]
pub struct ReaderReport {
    pub source: String,
    /// Path of the file or directory.
    pub path: String,
    /// Bytes between the reading position and the end, as far as known.
    pub behind_bytes: u64,
    /// Rotated away or deleted, still being drained.
    pub draining: bool,
    pub kept: Kept,
    /// Upper bound of lines lost before they could be seen (vacuumed, truncated), not attributable to a flow.
    pub unattributed: u64,
    /// What became of the entries of a journal; `None` for a file.
    pub journal: Option<JournalReport>,
}

/// Every entry of a journal between two places, and what became of it. Counts are those of all walks over it.
#[derive(Clone, Debug, Default)]
pub struct JournalReport {
    /// Where this process began to read, and where it is: seqnum and time.
    pub from: (u64, Nanos),
    pub to: (u64, Nanos),
    /// Entries read, wanted or not.
    pub read: u64,
    /// Lost to damage.
    pub damaged: u64,
    /// Came without a field that could not be read.
    pub spoiled: u64,
    /// Came with the beginning of their message only.
    pub cut: u64,
    /// This process's own, kept from sources that do not name it.
    pub own: u64,
    /// Stand in two files and were read once.
    pub repeated: u64,
    /// Files that could not be opened, or were refused.
    pub unreadable: u64,
}

/// All flows of one (source, target) of a lane, summed.
#[derive(Clone, Debug)]
pub struct FlowReport {
    pub source: ObjectId,
    pub source_name: String,
    pub target: ObjectId,
    pub target_name: String,
    pub totals: Totals,
    /// Lines read and not yet settled.
    pub in_flight: u64,
    /// Seconds between the time of the newest line settled and the newest line read; 0 when all is settled.
    pub lag_seconds: f64,
    /// Wall time of the last settlement; `None` before the first.
    pub last_delivered: Option<Nanos>,
    /// In words, when the flow waits: "no credit since 12 s".
    pub waiting: Option<String>,
}

/// How a target is doing, as egress sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TargetState {
    /// Nothing was sent yet.
    #[default]
    Idle,
    /// The last try succeeded.
    Up,
    /// The last try failed; it is tried again.
    Failing,
}

/// One target as of its last change.
#[derive(Clone, Debug, Default)]
pub struct TargetReport {
    pub name: String,
    pub state: TargetState,
    /// Of the last failure, in words, without secrets.
    pub reason: Option<String>,
    pub since: Nanos,
    pub last_acked: Option<Nanos>,
    /// Batches acknowledged.
    pub acked: u64,
    /// Tries that failed.
    pub failed_tries: u64,
    /// Batches sent again after a failure, which may arrive twice.
    pub resent: u64,
    /// Compressed bytes sent.
    pub sent_bytes: u64,
    /// Lines of its quarantine that were sent again.
    pub replayed: u64,
    /// Tenants whose last try failed, and why; "" where there is only one.
    pub failing: BTreeMap<String, String>,
}

impl TargetReport {
    /// The target's tasks begin.
    pub fn begin(&mut self, name: &str, now: Nanos) {
        name.clone_into(&mut self.name);
        (self.state, self.reason, self.since) = (TargetState::Idle, None, now);
        self.failing.clear();
    }

    /// A try for a tenant succeeded; with `well`, all of it.
    pub fn up(&mut self, tenant: &str, well: bool, now: Nanos) {
        self.failing.remove(tenant);
        if well {
            self.reason = None;
        }
        self.turn(now);
    }

    /// A try for a tenant failed.
    pub fn failing(&mut self, tenant: &str, reason: &str, now: Nanos) {
        self.failing.insert(tenant.to_owned(), reason.to_owned());
        self.turn(now);
    }

    /// The target fails as long as one tenant's tries do.
    fn turn(&mut self, now: Nanos) {
        let state = match self.failing.first_key_value() {
            Some((tenant, reason)) => {
                let whose = if tenant.is_empty() { String::new() } else { format!("tenant {tenant}: ") };
                self.reason = Some(format!("{whose}{reason}"));
                TargetState::Failing
            }
            None => TargetState::Up,
        };
        if self.state != state {
            (self.state, self.since) = (state, now);
        }
    }
}

/// Where the planes hang out their reports.
#[derive(Debug, Default)]
pub struct Board {
    lanes: ArcSwap<Vec<Arc<LaneReport>>>,
    targets: ArcSwap<BTreeMap<ObjectId, TargetReport>>,
}

impl Board {
    /// Replaces the report of one lane.
    pub fn publish_lane(&self, report: LaneReport) {
        let report = Arc::new(report);
        self.lanes.rcu(|lanes| {
            let mut lanes: Vec<_> = lanes.iter().filter(|old| old.lane != report.lane).cloned().collect();
            lanes.push(Arc::clone(&report));
            lanes.sort_by_key(|lane| lane.lane);
            lanes
        });
    }

    /// Changes the report of one target.
    pub fn update_target(&self, id: ObjectId, change: impl Fn(&mut TargetReport)) {
        self.targets.rcu(|targets| {
            let mut targets = BTreeMap::clone(targets);
            change(targets.entry(id).or_default());
            targets
        });
    }

    /// Forgets targets that are no longer in the plan.
    pub fn retain_targets(&self, keep: impl Fn(ObjectId) -> bool) {
        self.targets.rcu(|targets| {
            targets
                .iter()
                .filter(|(id, _)| keep(**id))
                .map(|(id, report)| (*id, report.clone()))
                .collect::<BTreeMap<_, _>>()
        });
    }

    pub fn lanes(&self) -> Arc<Vec<Arc<LaneReport>>> {
        self.lanes.load_full()
    }

    pub fn targets(&self) -> Arc<BTreeMap<ObjectId, TargetReport>> {
        self.targets.load_full()
    }
}
