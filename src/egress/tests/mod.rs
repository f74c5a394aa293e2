//! Egress against peers made for the test and against a real rsyslogd: every batch is answered exactly once, and what
//! is answered is true.

mod certs;
mod console;
mod http_peer;
mod loki;
mod plan;
mod relp;
mod relp_peer;
mod rsyslog;
mod syslog;
mod syslog_peer;
mod tls;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use tokio::{sync::Notify, time::timeout};

use super::{
    Egress,
    quarantine::{self, Record},
    start,
};
use crate::{
    model::{Level, ObjectId},
    orders::{Batch, EgressOrder, LanePort, Outcome, Port, Verdict, Wire, handoff},
    plan::{
        Framing, LokiLimits, LokiPlan, Output, Plan, Protocol, Route, SyslogPlan, TargetKind, TargetPlan, TlsBundle,
        TooOld,
    },
    ring::Waker,
    stats::{Board, TargetReport, TargetState},
};

/// Nothing in these tests takes so long on a machine that works.
const DEADLINE: Duration = Duration::from_secs(60);

/// A lane's end of an egress thread.
struct Rig {
    lane: LanePort,
    egress: Egress,
    board: Arc<Board>,
    woken: Arc<Notify>,
    sent: u64,
    revision: u64,
    /// Batches without an answer.
    open: HashSet<u64>,
    /// What each target of the newest plan understands, as the lane would know it.
    wires: HashMap<ObjectId, Wire>,
    /// Where quarantines lie.
    state: tempfile::TempDir,
}

impl Rig {
    fn new() -> Self {
        let woken = Arc::new(Notify::new());
        let bell = Arc::clone(&woken);
        let (lane, port) = handoff(Waker::new(move || bell.notify_one()));
        let board = Arc::new(Board::default());
        let state = tempfile::tempdir().expect("a directory");
        let egress = start(vec![port], Arc::clone(&board), state.path().to_owned()).expect("an egress thread");
        let (open, wires) = (HashSet::new(), HashMap::new());
        Self { lane, egress, board, woken, sent: 0, revision: 0, open, wires, state }
    }

    fn with(targets: Vec<TargetPlan>) -> Self {
        let mut rig = Self::new();
        rig.plan(targets);
        rig
    }

    fn plan(&mut self, targets: Vec<TargetPlan>) {
        self.revision += 1;
        let mut plan = Plan::empty("test", "node");
        plan.revision = self.revision;
        plan.targets = targets.into_iter().map(Arc::new).collect();
        self.wires = plan.targets.iter().map(|target| (target.id, Wire::of(&target.kind))).collect();
        self.egress.order(EgressOrder::Plan(Arc::new(plan)));
    }

    /// Hands over a batch of one entry; gives its id, which counts from 0.
    fn send(&mut self, target: u64, body: impl Into<Bytes>) -> u64 {
        self.send_batch(target, body, 1, None)
    }

    fn send_batch(&mut self, target: u64, body: impl Into<Bytes>, entries: u32, tenant: Option<&str>) -> u64 {
        let wire = self.wires.get(&ObjectId(target)).copied().unwrap_or(Wire::Loki);
        let sealed = batch(self.sent, wire, body.into());
        self.submit(target, Batch { entries, tenant: tenant.map(str::to_owned), ..sealed })
    }

    fn submit(&mut self, target: u64, batch: Batch) -> u64 {
        let id = batch.id;
        self.sent += 1;
        self.lane.submit(ObjectId(target), Arc::new(batch)).expect("room in the hand-off ring");
        self.open.insert(id);
        id
    }

    /// The next verdict. Fails if its batch was answered before.
    async fn verdict(&mut self) -> Verdict {
        let verdict = timeout(DEADLINE, async {
            loop {
                if let Some(verdict) = self.lane.verdict() {
                    return verdict;
                }
                self.woken.notified().await;
            }
        });
        let Ok(verdict) = verdict.await else { panic!("no verdict; the board says {:#?}", self.board.targets()) };
        assert!(self.open.remove(&verdict.batch), "answered twice: {verdict:?}");
        verdict
    }

    /// The next `count` verdicts are of these batches in this order, all acknowledged.
    async fn expect_acked(&mut self, batches: impl IntoIterator<Item = u64>) {
        for batch in batches {
            let verdict = self.verdict().await;
            assert_eq!((verdict.batch, verdict.outcome), (batch, Outcome::Acked));
        }
    }

    fn report(&self, target: u64) -> TargetReport {
        self.board.targets().get(&ObjectId(target)).cloned().unwrap_or_default()
    }

    /// Waits until the board says so of a target.
    async fn until(&self, target: u64, holds: impl Fn(&TargetReport) -> bool) -> TargetReport {
        let report = timeout(DEADLINE, async {
            loop {
                let report = self.report(target);
                if holds(&report) {
                    return report;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        match report.await {
            Ok(report) => report,
            Err(_) => panic!("the board never said so: {:#?}", self.report(target)),
        }
    }

    /// The lines in a target's quarantine.
    fn quarantined(&self, target: u64) -> Vec<Record> {
        let directory = self.state.path().join(quarantine::DIRECTORY).join(format!("target-{target}"));
        let mut records = Vec::new();
        for file in quarantine::files(&directory).expect("a directory") {
            let torn = quarantine::read(&file.path, |record, _| records.push(record)).expect("a file");
            assert_eq!(torn, 0);
        }
        records
    }

    async fn until_failing(&self, target: u64) -> String {
        let report = self.until(target, |report| report.state == TargetState::Failing).await;
        report.reason.unwrap_or_default()
    }
}

/// A batch of one entry.
fn batch(id: u64, wire: Wire, body: Bytes) -> Batch {
    Batch {
        id,
        raw_bytes: body.len(),
        body,
        wire,
        entries: 1,
        newest: None,
        tenant: None,
        parts: Vec::new(),
        streams: Vec::new(),
    }
}

fn target(id: u64, kind: TargetKind) -> TargetPlan {
    TargetPlan {
        id: ObjectId(id),
        name: format!("target-{id}"),
        enabled: true,
        kind,
        route: Route::All,
        min_level: Level::Trace,
        output: Output::Line,
        queue_bytes: crate::limits::QUEUE_BYTES,
        max_age: None,
    }
}

fn loki_plan(port: u16) -> LokiPlan {
    LokiPlan {
        https: false,
        host: "127.0.0.1".to_owned(),
        port,
        path: "/loki/api/v1/push".to_owned(),
        server_name: "127.0.0.1".to_owned(),
        tls: None,
        auth: None,
        tenant: None,
        headers: Vec::new(),
        timeout: Duration::from_secs(30),
        too_old: TooOld::default(),
        limits: LokiLimits::default(),
    }
}

fn loki(id: u64, port: u16) -> TargetPlan {
    target(id, TargetKind::Loki(loki_plan(port)))
}

fn syslog_plan(port: u16) -> SyslogPlan {
    SyslogPlan {
        host: "127.0.0.1".to_owned(),
        port,
        protocol: Protocol::Tcp,
        framing: Framing::OctetCounted,
        facility: 16,
        max_message_bytes: 8192,
        sd_id: "corelane@32473".to_owned(),
        server_name: "127.0.0.1".to_owned(),
        tls: None,
        permitted_peer: None,
    }
}

fn syslog(id: u64, port: u16) -> TargetPlan {
    target(id, TargetKind::Syslog(syslog_plan(port)))
}

fn syslog_tls(id: u64, port: u16, bundle: Option<TlsBundle>) -> TargetPlan {
    let mut plan = syslog_plan(port);
    plan.protocol = Protocol::Tls;
    plan.tls = bundle.map(Arc::new);
    target(id, TargetKind::Syslog(plan))
}

fn relp(id: u64, port: u16) -> TargetPlan {
    let plan = SyslogPlan { protocol: Protocol::Relp, ..syslog_plan(port) };
    target(id, TargetKind::Syslog(plan))
}

fn disabled(mut target: TargetPlan) -> TargetPlan {
    target.enabled = false;
    target
}
