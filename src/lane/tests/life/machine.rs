//! One machine with one lane on it, and everything that surrounds it in a life.

use std::{cell::RefCell, path::PathBuf, rc::Rc, sync::Arc, time::Duration};

use globset::{Glob, GlobSet};
use xxhash_rust::xxh3::xxh3_64;

use super::{
    dice::Dice,
    journal::{self, Journal},
    judge::{Invariant, TARGETS, demand},
    kinds::Trouble,
    peer::{Manners, Net, NetPort},
    rules::{Rules, SOURCES},
    writer::Chain,
};
use crate::{
    lane::{Lane, LaneConfig, LaneHandle, spool::Keep},
    limits,
    model::{Level, ObjectId},
    orders::LaneOrder,
    plan::{
        FileInput, Format, Framing, Input, JournalInput, LokiLimits, LokiPlan, MetadataField, Output, Plan, Protocol,
        Route, SourcePlan, StartAt, SyslogPlan, TargetKind, TargetPlan, TooOld,
        source::{PathGlob, Tenant},
    },
    ring::{
        Faults, Ring,
        sim::{Sim, SimWorld},
    },
    stats::Board,
};

const SPOOL: &str = "/var/lib/corelane/spool";
const STATE: &str = "/var/lib/corelane/checkpoint";
const FORMATS: [Format; SOURCES] = [Format::ZapJson, Format::Unstructured, Format::Logfmt];
pub const TARGET_NAMES: [&str; TARGETS] = ["a", "b", "c"];

pub fn directory(source: usize) -> String {
    format!("/var/log/s{source}")
}

pub struct Life {
    pub disk: SimWorld,
    pub net: Rc<RefCell<Net>>,
    pub board: Arc<Board>,
    pub lane: Option<Lane<Sim, NetPort>>,
    handle: Option<LaneHandle>,
    pub plan: Plan,
    pub rules: Rules,
    pub dice: Dice,
    pub chains: Vec<Chain>,
    pub faults: Faults,
    /// Files without a name that the lane has open.
    pub unlinked: Vec<usize>,
    /// Sources and targets whose ledgers cannot be told to the line from outside.
    pub inexact_sources: u8,
    pub inexact_targets: u8,
    pub next_twin: u32,
    pub has_long_lines: bool,
    /// Bytes every line has beyond what it says.
    pub least_pad: usize,
    /// A power loss takes what of the logs was not written back.
    pub tears_logs: bool,
    pub journal: Option<Journal>,
    /// Something outside happens then.
    pub wakes_at: Option<Duration>,
    /// Most `queueBytes` a target ever had.
    pub queue_bytes: usize,
    pub turns: u64,
}

impl Life {
    pub fn new(seed: u64, sources: usize, kinds: &[TargetSort], has_journal: bool) -> Self {
        let disk = SimWorld::new(seed);
        disk.make_directory(STATE);
        disk.make_directory(SPOOL);
        let mut plan = Plan::empty("c1", "n1");
        for number in 0..sources {
            disk.make_directory(directory(number));
            plan.sources.push(Arc::new(source_plan(number, has_journal && number == journal::SOURCE)));
        }
        let net = Rc::new(RefCell::new(Net::default()));
        net.borrow_mut().dice = Dice::new(seed ^ 0x5eed);
        for (at, sort) in kinds.iter().enumerate() {
            let target = target_plan(TARGET_NAMES[at], *sort);
            net.borrow_mut().judge.targets.insert(target.id, at);
            net.borrow_mut().judge.distinct |= u8::from(*sort == TargetSort::Loki) << at;
            plan.targets.push(Arc::new(target));
        }
        let mut life = Self {
            disk,
            net,
            board: Arc::default(),
            lane: None,
            handle: None,
            plan,
            rules: Rules::default(),
            dice: Dice::new(seed),
            chains: Vec::new(),
            faults: Faults::default(),
            unlinked: Vec::new(),
            inexact_sources: 0,
            inexact_targets: 0,
            next_twin: 0,
            has_long_lines: false,
            least_pad: 0,
            tears_logs: false,
            wakes_at: None,
            journal: None,
            queue_bytes: limits::QUEUE_BYTES_MIN,
            turns: 0,
        };
        if has_journal {
            life.make_journal();
        }
        life.start();
        life
    }

    pub fn start(&mut self) {
        let config = LaneConfig {
            lane: 0,
            lanes: 1,
            checkpoint: PathBuf::from(STATE),
            keep: Keep::new(PathBuf::from(SPOOL)),
            backend_reason: String::new(),
            core: None,
            catch_up_percent: 100,
        };
        let lane = Lane::new(config, self.disk.ring(), NetPort(Rc::clone(&self.net)), Arc::clone(&self.board));
        self.net.borrow().table.tell(|| {
            let mut known: Vec<String> = lane.checkpoint.slots().map(|slot| format!("{slot:?}\n")).collect();
            known.sort();
            format!("the checkpoint knows\n{}", known.concat())
        });
        self.handle = Some(lane.handle());
        self.lane = Some(lane);
        self.give_plan();
    }

    pub fn give_plan(&mut self) {
        self.plan.revision += 1;
        if let Some(handle) = &self.handle {
            let plan = Arc::new(self.plan.clone());
            self.net.borrow_mut().give_plan(Arc::clone(&plan));
            handle.order(LaneOrder::Plan(plan));
        }
    }

    pub fn order(&self, order: LaneOrder) {
        if let Some(handle) = &self.handle {
            handle.order(order);
        }
    }

    pub fn note(&self, trouble: Trouble) {
        self.net.borrow_mut().table.note(trouble);
    }

    pub fn set_manners(&self, target: usize, manners: Manners) {
        self.net.borrow_mut().manners[target] = manners;
    }

    /// SIGKILL: what was written stays, what was on its way may have arrived.
    pub fn kill(&mut self) {
        if self.lane.is_some() {
            self.note(Trouble::Killed);
        }
        self.disk.kill();
        self.gone();
    }

    /// What every end of a process takes with it.
    pub fn gone(&mut self) {
        // A ledger that was closed while the checkpoint could not be written may be known once, twice or not at all.
        let is_behind = self.lane.as_ref().is_some_and(|lane| lane.checkpoint.trouble().is_some());
        self.inexact_sources |= if is_behind { u8::MAX } else { 0 };
        self.lane = None;
        self.handle = None;
        let net = &mut *self.net.borrow_mut();
        net.now = self.disk.now().mono;
        net.killed();
        for file in self.unlinked.drain(..) {
            net.judge.file_gone(file, u8::MAX);
            self.inexact_sources = u8::MAX;
        }
    }

    pub fn turn(&mut self) {
        self.turns += 1;
        self.net.borrow_mut().step(self.disk.now().mono);
        let Some(lane) = &mut self.lane else { return self.pass(Duration::from_millis(50)) };
        let due = self.net.borrow().next_due().into_iter().chain(self.wakes_at).min();
        self.disk.alarm(due);
        lane.turn().expect("the ring works");
        let net = &mut *self.net.borrow_mut();
        net.step(self.disk.now().mono);
        net.judge.turned(lane);
        check_memory(lane, self.queue_bytes);
        if lane.plan.revision == self.plan.revision {
            self.rules.obeyed();
        }
    }

    pub fn turns(&mut self, turns: usize) {
        (0..turns).for_each(|_| self.turn());
    }

    /// Time goes by while nothing runs.
    fn pass(&mut self, span: Duration) {
        let _ = self.disk.ring().reap(span, &mut Vec::new());
    }

    /// Turns until `done`, at most for so long in simulated time.
    pub fn until(&mut self, most: Duration, mut done: impl FnMut(&Self) -> bool) {
        let (end, turns) = (self.disk.now().mono + most, self.turns + 200_000);
        while !done(self) {
            demand(self.disk.now().mono < end && self.turns < turns, Invariant::Liveness, || {
                format!("it does not come to rest: {:#?}", self.board.lanes())
            });
            self.turn();
        }
    }

    /// Whether everything that will arrive has arrived.
    pub fn is_quiet(&self) -> bool {
        self.lane.as_ref().is_some_and(|lane| lane.is_idle() && lane.plan.revision == self.plan.revision)
    }

    pub fn change_target(&mut self, at: usize, change: impl FnOnce(&mut TargetPlan)) {
        let Some(found) = self.plan.targets.iter().position(|target| target.name == TARGET_NAMES[at]) else { return };
        let mut target = TargetPlan::clone(&self.plan.targets[found]);
        change(&mut target);
        self.plan.targets[found] = Arc::new(target);
        self.give_plan();
    }

    pub fn change_source(&mut self, at: usize, change: impl FnOnce(&mut SourcePlan)) {
        let mut source = SourcePlan::clone(&self.plan.sources[at]);
        change(&mut source);
        self.plan.sources[at] = Arc::new(source);
        self.give_plan();
    }

    pub fn target(&self, at: usize) -> Option<&Arc<TargetPlan>> {
        self.plan.targets.iter().find(|target| target.name == TARGET_NAMES[at])
    }
}

/// Nothing grows beyond its named limit.
fn check_memory(lane: &Lane<Sim, NetPort>, queue_bytes: usize) {
    let passes = lane.passes();
    let hold = |holds: bool, what: &str| demand(holds, Invariant::Memory, || what.to_owned());
    hold(lane.pool.lent() <= limits::CHUNKS_MAX, "chunks");
    hold(lane.opening.len() <= limits::OPENING_MAX, "openings");
    hold(lane.awaiting.len() <= passes + lane.opening.len() + limits::RING_READS_MAX, "awaited reads");
    hold(lane.watching.len() <= lane.readers.len() + 64, "watches");
    hold(lane.troubles.len() <= limits::TROUBLES_MAX, "troubles");
    // One batch more of each shape may have been open when the credit ran out.
    let beyond = 2 * SOURCES * (limits::BATCH_BYTES + limits::RESEND_BEYOND_QUEUE_BYTES);
    for (_, target) in lane.targets.iter() {
        hold(target.in_flight_bytes <= queue_bytes + beyond, "bytes in flight");
        hold(target.with_port <= limits::BATCHES_IN_FLIGHT_MAX, "batches in flight");
        // Credit ends at half of it; what lies in open batches then is sealed yet.
        hold(target.in_flight <= limits::BATCHES_IN_FLIGHT_MAX / 2 + 16, "batches sealed");
    }
}

fn id(name: &str) -> ObjectId {
    ObjectId(xxh3_64(name.as_bytes()))
}

fn source_plan(number: usize, is_journal: bool) -> SourcePlan {
    let (name, base) = (format!("s{number}"), directory(number));
    let pattern = format!("{base}/*.log");
    let glob = PathGlob {
        base: PathBuf::from(base),
        depth: 1,
        matcher: Glob::new(&pattern).expect("a glob").compile_matcher(),
        pattern,
    };
    SourcePlan {
        id: id(&name),
        name,
        enabled: true,
        input: if is_journal {
            let directories = vec![PathBuf::from(journal::DIRECTORY)];
            Input::Journal(JournalInput { directories, ..JournalInput::default() })
        } else {
            Input::File(FileInput { paths: vec![glob], exclude: GlobSet::empty() })
        },
        format: FORMATS[number],
        min_level: Level::Trace,
        start_at: StartAt::Beginning,
        labels: Vec::new(),
        metadata: MetadataField::DEFAULT.to_vec(),
        tenant: if number == 2 { Tenant::Is("tenant-2".to_owned()) } else { Tenant::Target },
        rate_bytes: None,
    }
}

/// What stands behind a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetSort {
    Loki,
    Syslog,
}

pub fn target_plan(name: &str, sort: TargetSort) -> TargetPlan {
    let host = "127.0.0.1".to_owned();
    let kind = match sort {
        TargetSort::Loki => TargetKind::Loki(LokiPlan {
            https: false,
            host,
            port: 3100,
            path: "/loki/api/v1/push".to_owned(),
            server_name: String::new(),
            tls: None,
            auth: None,
            tenant: None,
            headers: Vec::new(),
            timeout: Duration::from_secs(1),
            limits: LokiLimits::default(),
            too_old: TooOld::default(),
        }),
        TargetSort::Syslog => TargetKind::Syslog(SyslogPlan {
            host,
            port: 514,
            protocol: Protocol::Tcp,
            framing: Framing::OctetCounted,
            facility: 20,
            max_message_bytes: 256 * 1024,
            sd_id: "corelane@32473".to_owned(),
            server_name: String::new(),
            tls: None,
            permitted_peer: None,
        }),
    };
    TargetPlan {
        id: id(name),
        name: name.to_owned(),
        enabled: true,
        kind,
        route: Route::All,
        min_level: Level::Trace,
        output: Output::Line,
        queue_bytes: limits::QUEUE_BYTES_MIN,
        max_age: None,
    }
}
