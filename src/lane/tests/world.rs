//! The world around a lane under test: a simulated disk, peers that answer when told, and the wire decoded by prost.

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use globset::{Glob, GlobSet};
use prost::Message;

use crate::{
    lane::{Lane, LaneConfig, LaneHandle, spool::Keep},
    limits,
    model::{Level, ObjectId},
    orders::{Batch, LaneOrder, Outcome, Port, Verdict},
    plan::{
        FileInput, Format, Input, LokiLimits, LokiPlan, MetadataField, Output, Plan, Route, SourcePlan, StartAt,
        TargetKind, TargetPlan, Tenant, TooOld, source::PathGlob,
    },
    ring::sim::{Sim, SimWorld},
    stats::{Board, LaneReport, Totals},
};

#[derive(Clone, PartialEq, Message)]
struct PushRequest {
    #[prost(message, repeated, tag = "1")]
    streams: Vec<Stream>,
}

#[derive(Clone, PartialEq, Message)]
struct Stream {
    #[prost(string, tag = "1")]
    labels: String,
    #[prost(message, repeated, tag = "2")]
    entries: Vec<Entry>,
}

#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(message, optional, tag = "1")]
    timestamp: Option<Timestamp>,
    #[prost(string, tag = "2")]
    line: String,
}

#[derive(Clone, PartialEq, Message)]
struct Timestamp {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// What one peer has stored, in the order it came: (labels, nanoseconds, line).
pub type Stored = Vec<(String, i64, String)>;

/// How a peer answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    Acks,
    /// Takes nothing.
    Down,
    /// Stores what it gets and never says so.
    Mute,
    /// The target task is gone.
    Returns,
}

#[derive(Debug, Default)]
pub struct Peers {
    pub moods: BTreeMap<ObjectId, Mood>,
    pub stored: BTreeMap<ObjectId, Stored>,
    waiting: VecDeque<(ObjectId, Arc<Batch>)>,
    verdicts: VecDeque<Verdict>,
    /// Most bytes that ever waited for one target.
    pub most_waiting: usize,
    /// Most batches that ever waited for one target.
    pub most_batches: usize,
}

impl Peers {
    /// Lets every peer answer what it has, in order per target.
    pub fn answer(&mut self) {
        let mut left = VecDeque::new();
        while let Some((target, batch)) = self.waiting.pop_front() {
            let mood = self.moods.get(&target).copied().unwrap_or(Mood::Acks);
            let outcome = match mood {
                Mood::Down => {
                    left.push_back((target, batch));
                    continue;
                }
                Mood::Acks | Mood::Mute => {
                    self.stored.entry(target).or_default().extend(decode(&batch.body));
                    Outcome::Acked
                }
                Mood::Returns => Outcome::Returned,
            };
            if mood != Mood::Mute {
                self.verdicts.push_back(Verdict { batch: batch.id, target, outcome });
            }
        }
        self.waiting = left;
    }
}

#[derive(Clone, Debug, Default)]
pub struct TestPort(pub Rc<RefCell<Peers>>);

impl Port for TestPort {
    fn submit(&mut self, target: ObjectId, batch: Arc<Batch>) -> Result<(), Arc<Batch>> {
        let mut peers = self.0.borrow_mut();
        peers.waiting.push_back((target, batch));
        let waiting = peers.waiting.iter().filter(|(to, _)| *to == target).map(|(_, batch)| batch.raw_bytes).sum();
        peers.most_waiting = peers.most_waiting.max(waiting);
        let batches = peers.waiting.iter().filter(|(to, _)| *to == target).count();
        peers.most_batches = peers.most_batches.max(batches);
        Ok(())
    }

    fn verdict(&mut self) -> Option<Verdict> {
        self.0.borrow_mut().verdicts.pop_front()
    }
}

fn decode(body: &[u8]) -> Stored {
    let raw = snap::raw::Decoder::new().decompress_vec(body).expect("a snappy block");
    assert!(raw.len() < 4 << 20, "Loki refuses requests of 4 MiB");
    let push = PushRequest::decode(raw.as_slice()).expect("a push request");
    let mut stored = Stored::new();
    for stream in push.streams {
        for entry in stream.entries {
            let time = entry.timestamp.unwrap_or_default();
            stored.push((stream.labels.clone(), time.seconds * 1_000_000_000 + i64::from(time.nanos), entry.line));
        }
    }
    stored
}

/// A machine with one lane on it, and the peers it talks to.
pub struct World {
    pub disk: SimWorld,
    pub peers: Rc<RefCell<Peers>>,
    pub board: Arc<Board>,
    pub lane: Option<Lane<Sim, TestPort>>,
    pub handle: Option<LaneHandle>,
    pub plan: Plan,
    /// What is kept of files that would vanish.
    pub keep: Keep,
    pub catch_up_percent: u8,
}

pub const LOG: &str = "/var/log/app/app.log";
pub const STATE: &str = "/var/lib/corelane/checkpoint";
pub const SPOOL: &str = "/var/lib/corelane/spool";

impl World {
    /// One enabled file source `app` on `/var/log/app/*.log`, targets `a` and `b` enabled as told.
    pub fn new(seed: u64, targets: &[&str]) -> Self {
        let disk = SimWorld::new(seed);
        disk.make_directory("/var/log/app");
        disk.make_directory(STATE);
        disk.make_directory(SPOOL);
        let mut plan = Plan::empty("c1", "n1");
        plan.sources.push(Arc::new(source()));
        plan.targets.extend(targets.iter().map(|name| Arc::new(target(name))));
        let mut world = Self {
            disk,
            peers: Rc::default(),
            board: Arc::default(),
            lane: None,
            handle: None,
            plan,
            keep: Keep::new(PathBuf::from(SPOOL)),
            catch_up_percent: 100,
        };
        world.start();
        world
    }

    /// Begins a process with the plan as it is.
    pub fn start(&mut self) {
        let config = LaneConfig {
            lane: 0,
            lanes: 1,
            checkpoint: PathBuf::from(STATE),
            keep: self.keep.clone(),
            backend_reason: String::new(),
            core: None,
            catch_up_percent: self.catch_up_percent,
        };
        let lane = Lane::new(config, self.disk.ring(), TestPort(Rc::clone(&self.peers)), Arc::clone(&self.board));
        self.handle = Some(lane.handle());
        self.lane = Some(lane);
        self.give_plan();
    }

    pub fn give_plan(&mut self) {
        self.plan.revision += 1;
        if let Some(handle) = &self.handle {
            handle.order(LaneOrder::Plan(Arc::new(self.plan.clone())));
        }
    }

    pub fn change_target(&mut self, name: &str, change: impl FnOnce(&mut TargetPlan)) {
        let at = self.plan.targets.iter().position(|target| target.name == name).expect("a target of that name");
        let mut target = TargetPlan::clone(&self.plan.targets[at]);
        change(&mut target);
        self.plan.targets[at] = Arc::new(target);
        self.give_plan();
    }

    pub fn change_source(&mut self, change: impl FnOnce(&mut SourcePlan)) {
        let mut source = SourcePlan::clone(&self.plan.sources[0]);
        change(&mut source);
        self.plan.sources[0] = Arc::new(source);
        self.give_plan();
    }

    /// SIGKILL: nothing more is written, what peers were given and did not answer is gone with the connection.
    pub fn kill(&mut self) {
        self.disk.kill();
        self.lane = None;
        self.handle = None;
        let mut peers = self.peers.borrow_mut();
        peers.waiting.clear();
        peers.verdicts.clear();
    }

    pub fn turn(&mut self) {
        if let Some(lane) = &mut self.lane {
            lane.turn().expect("the ring works");
        }
        self.peers.borrow_mut().answer();
    }

    pub fn turns(&mut self, turns: usize) {
        for _ in 0..turns {
            self.turn();
        }
    }

    /// Turns until `done`, at most for so long in simulated time.
    pub fn until(&mut self, most: Duration, mut done: impl FnMut(&Self) -> bool) {
        let end = self.disk.now().mono + most;
        while !done(self) {
            assert!(self.disk.now().mono < end, "not done after {most:?} of simulated time: {:#?}", self.report());
            self.turn();
        }
    }

    pub fn mood(&self, name: &str, mood: Mood) {
        self.peers.borrow_mut().moods.insert(id(name), mood);
    }

    /// Sequence numbers a peer has stored, in the order they came.
    pub fn stored(&self, name: &str) -> Vec<u64> {
        let peers = self.peers.borrow();
        peers
            .stored
            .get(&id(name))
            .map_or_else(Vec::new, |stored| stored.iter().map(|(_, _, line)| number(line)).collect())
    }

    pub fn report(&self) -> Option<Arc<LaneReport>> {
        self.board.lanes().first().cloned()
    }

    /// The ledger of one target.
    pub fn totals(&self, name: &str) -> Totals {
        let report = self.report().expect("a lane has reported");
        report.flows.iter().find(|flow| flow.target_name == name).map_or_else(Totals::default, |flow| flow.totals)
    }

    /// Nothing read is unsettled, everything written was read.
    pub fn is_quiet(&self) -> bool {
        self.lane.as_ref().is_some_and(|lane| lane.is_idle())
    }

    /// Checks that every resent entry is identical to its first sending.
    pub fn check_identity(&self) {
        for (target, stored) in &self.peers.borrow().stored {
            let mut first: BTreeMap<u64, &(String, i64, String)> = BTreeMap::new();
            for entry in stored {
                let known = first.entry(number(&entry.2)).or_insert(entry);
                assert_eq!(*known, entry, "resent to {target:?} otherwise than at first");
            }
        }
    }
}

/// A zap line that carries its number.
pub fn line(number: u64, level: &str) -> String {
    let seconds = 1_767_225_600 + number / 1_000;
    format!("{{\"level\":\"{level}\",\"ts\":{seconds}.{:03},\"msg\":\"line\",\"seq\":{number}}}\n", number % 1_000)
}

/// The number a line carries; `u64::MAX` for lines without.
pub fn number(line: &str) -> u64 {
    let digits = line.rsplit_once("\"seq\":").map_or("", |(_, rest)| rest.trim_end_matches('}'));
    digits.parse().unwrap_or(u64::MAX)
}

pub fn id(name: &str) -> ObjectId {
    ObjectId(xxhash_rust::xxh3::xxh3_64(name.as_bytes()))
}

pub fn source() -> SourcePlan {
    let pattern = "/var/log/app/*.log";
    SourcePlan {
        id: id("app"),
        name: "app".to_owned(),
        enabled: true,
        input: Input::File(FileInput {
            paths: vec![PathGlob {
                pattern: pattern.to_owned(),
                base: PathBuf::from("/var/log/app"),
                depth: 1,
                matcher: Glob::new(pattern).expect("a glob").compile_matcher(),
            }],
            exclude: GlobSet::empty(),
        }),
        format: Format::ZapJson,
        min_level: Level::Trace,
        start_at: StartAt::Beginning,
        labels: Vec::new(),
        metadata: MetadataField::DEFAULT.to_vec(),
        tenant: Tenant::Target,
        rate_bytes: None,
    }
}

pub fn target(name: &str) -> TargetPlan {
    TargetPlan {
        id: id(name),
        name: name.to_owned(),
        enabled: true,
        kind: TargetKind::Loki(LokiPlan {
            https: false,
            host: "127.0.0.1".to_owned(),
            port: 3100,
            path: "/loki/api/v1/push".to_owned(),
            server_name: String::new(),
            tls: None,
            auth: None,
            tenant: None,
            headers: Vec::new(),
            timeout: Duration::from_secs(1),
            too_old: TooOld::default(),
            limits: LokiLimits::default(),
        }),
        route: Route::All,
        min_level: Level::Trace,
        output: Output::Line,
        queue_bytes: limits::QUEUE_BYTES_MIN,
        max_age: None,
    }
}
