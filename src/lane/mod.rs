//! The lane: one thread on one core that carries lines from readers to sealed batches, as a plain loop.
//!
//! `turn` is the whole story: reap what the kernel has done, settle what targets have answered, obey orders, look for
//! new files, carry records while there is credit, seal, write the checkpoint, hand over. Nothing in it waits but
//! `reap`, and nothing is shared: batches leave and verdicts arrive by pointer. Each step has a file of its own; they
//! are all steps of the one `Lane`, whose state is listed here.
//!
//! The order of the last steps is a promise: time marks are in the checkpoint before a batch that relies on them
//! leaves.

mod at_start;
pub mod batch_set;
mod carry;
pub mod checkpoint;
mod discover;
mod finish;
pub mod flow;
mod group;
pub mod identity;
mod kept;
/// Lives in a simulated world, as the program in `tests/lives` runs them.
#[cfg(feature = "lives")]
#[path = "tests/life/mod.rs"]
pub mod life;
mod open;
mod plan;
pub mod pool;
pub mod reader;
mod report;
mod rota;
mod schedule;
mod settle;
pub mod spool;
pub mod stored;
mod stream;
mod tail;
pub mod target;
#[cfg(test)]
mod tests;
mod truncate;
mod vanish;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    io,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use crossbeam::queue::ArrayQueue;

use self::{
    batch_set::BatchSet,
    checkpoint::Checkpoint,
    discover::Discovery,
    open::Opening,
    pool::Pool,
    reader::Reader,
    rota::{Bucket, Rota},
    schedule::Candidate,
    spool::{Keep, Spool, Spooled},
    stream::Streams,
    target::Targets,
    vanish::Keeping,
};
use crate::{
    limits::{LANE_ORDERS_MAX, TROUBLE_LOG_INTERVAL, TROUBLES_LOGGED_MAX, TURN_SLEEP_MAX},
    orders::{LaneOrder, Port},
    os::process::boot_id,
    plan::Plan,
    ring::{Completion, Now, Ring, Token, Waker, Watch},
    source::journal::Own,
    stats::Board,
};

/// What a lane is told once, at its start.
#[derive(Clone, Debug)]
pub struct LaneConfig {
    pub lane: u16,
    /// How many lanes there are: each source belongs to one.
    pub lanes: u16,
    /// Where the checkpoint lives; exists.
    pub checkpoint: PathBuf,
    pub keep: Keep,
    pub backend_reason: String,
    pub core: Option<usize>,
    /// Share of a core that catching up may take, in percent; 100 = all of it.
    pub catch_up_percent: u8,
}

/// Gives orders to a lane from another thread.
#[derive(Clone, Debug)]
pub struct LaneHandle {
    orders: Arc<ArrayQueue<LaneOrder>>,
    waker: Waker,
}

impl LaneHandle {
    /// Gives an order; an older one that was not obeyed yet is pushed out when the queue is full, as a newer plan makes
    /// it void anyway.
    pub fn order(&self, order: LaneOrder) {
        self.orders.force_push(order);
        self.waker.wake();
    }
}

/// Who waits for a completion.
#[derive(Clone, Copy, Debug)]
enum Awaiting {
    Opening,
    /// The job that moves a file to the spool, or counts its lines.
    Job,
    /// `pooled`: the buffer it reads into is a chunk of the pool.
    Pass {
        reader: u32,
        pass: u32,
        pooled: bool,
    },
}

/// Who looks through a watch.
#[derive(Clone, Debug)]
enum Watching {
    /// Names in a directory that a glob visits.
    Names,
    /// The growth of an idle file, or a journal directory.
    Reader(u32),
}

/// How a lane's life goes on after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    Again,
    Halted,
}

#[derive(Debug)]
pub struct Lane<R, P> {
    config: LaneConfig,
    ring: Spooled<R>,
    port: P,
    board: Arc<Board>,
    orders: Arc<ArrayQueue<LaneOrder>>,
    now: Now,
    plan: Arc<Plan>,
    targets: Targets,
    readers: BTreeMap<u32, Box<Reader>>,
    next_reader: u32,
    /// (reader, pass) that have become ready since the last turn.
    ready: VecDeque<(u32, u32)>,
    rota: Rota,
    /// Kept for its memory.
    candidates: Vec<Candidate>,
    /// CPU time that catching up may take, in microseconds.
    catch_up: Bucket,
    batches: BatchSet,
    streams: Streams,
    pool: Pool,
    checkpoint: Checkpoint,
    keeping: Keeping,
    discovery: Discovery,
    opening: BTreeMap<Token, Opening>,
    /// Files whose head is to be read as soon as fewer are being opened.
    unopened: VecDeque<Opening>,
    awaiting: HashMap<Token, Awaiting>,
    watching: HashMap<Watch, Watching>,
    next_token: u64,
    happened: Vec<Completion>,
    troubles: VecDeque<String>,
    /// Troubles logged since, and not logged since they were too many.
    logged: (Duration, u32),
    unlogged: u64,
    /// Whose journal entries are ours.
    own: Own,
    draining: bool,
    next_report: Duration,
    next_tail: Duration,
    /// Bytes carried since the lane began, for reports and tests.
    carried_bytes: u64,
}

impl<R: Ring, P: Port> Lane<R, P> {
    /// A lane that has read its checkpoint and waits for its first plan.
    pub fn new(config: LaneConfig, mut ring: R, port: P, board: Arc<Board>) -> Self {
        let checkpoint = Checkpoint::load(&mut ring, &config.checkpoint, config.lane, config.lanes);
        let (spool, troubles) = Spool::load(&mut ring, &config.keep, config.lane, config.lanes);
        let keeping = Keeping::new(stored::take_back(&mut ring));
        let now = ring.now();
        let mut lane = Self {
            config,
            ring: Spooled::new(ring, spool),
            port,
            board,
            orders: Arc::new(ArrayQueue::new(LANE_ORDERS_MAX)),
            now,
            plan: Arc::new(Plan::empty("", "")),
            targets: Targets::default(),
            readers: BTreeMap::new(),
            next_reader: 0,
            ready: VecDeque::new(),
            rota: Rota::default(),
            candidates: Vec::new(),
            catch_up: Bucket::default(),
            batches: BatchSet::default(),
            streams: Streams::default(),
            pool: Pool::default(),
            checkpoint,
            keeping,
            discovery: Discovery::default(),
            opening: BTreeMap::new(),
            unopened: VecDeque::new(),
            awaiting: HashMap::new(),
            watching: HashMap::new(),
            next_token: 0,
            happened: Vec::new(),
            troubles: VecDeque::new(),
            logged: (Duration::ZERO, 0),
            unlogged: 0,
            own: own(&now),
            draining: false,
            next_report: Duration::ZERO,
            next_tail: Duration::ZERO,
            carried_bytes: 0,
        };
        troubles.into_iter().for_each(|trouble| lane.trouble(trouble));
        lane
    }

    pub fn handle(&self) -> LaneHandle {
        LaneHandle { orders: Arc::clone(&self.orders), waker: self.ring.waker() }
    }

    /// Turns until halted.
    pub fn run(mut self) -> io::Result<()> {
        while self.turn()? == Turn::Again {}
        Ok(())
    }

    /// One turn. Fails only when the ring itself does.
    pub fn turn(&mut self) -> io::Result<Turn> {
        let wait = self.sleep();
        self.ring.reap(wait, &mut self.happened)?;
        self.now = self.ring.now();
        self.settle_completions();
        self.open_more();
        self.settle_verdicts();
        if self.obey() == Turn::Halted {
            self.halt();
            return Ok(Turn::Halted);
        }
        self.discover();
        self.tail();
        self.keep();
        self.regroup_all();
        self.targets.watch_credit(self.now.mono);
        self.carry();
        self.seal_due();
        self.remember();
        self.checkpoint.write(&mut self.ring);
        if self.checkpoint.lets_go(self.now.mono) {
            self.batches.hand_over(&mut self.port, &mut self.targets);
        }
        self.report();
        Ok(Turn::Again)
    }

    /// How long there is nothing to do, as far as the lane itself knows. Events end the sleep earlier.
    fn sleep(&self) -> Duration {
        if self.has_work() {
            return Duration::ZERO;
        }
        let next = [
            Some(self.next_tail),
            self.batches.next_due(),
            Some(self.next_report),
            Some(self.keep_next()),
            self.discovery.next(self.draining),
            self.rota.next,
        ];
        let wake = next.into_iter().flatten().min().unwrap_or(Duration::MAX);
        wake.saturating_sub(self.now.mono).min(TURN_SLEEP_MAX)
    }

    fn obey(&mut self) -> Turn {
        // Of plans that came together only the last counts.
        let mut newest = None;
        while let Some(order) = self.orders.pop() {
            match order {
                LaneOrder::Plan(plan) => newest = Some(plan),
                LaneOrder::Drain => {
                    self.draining = true;
                    self.seal_all();
                    self.keep_all();
                }
                LaneOrder::Halt => return Turn::Halted,
            }
        }
        if let Some(plan) = newest {
            self.apply(plan);
        }
        Turn::Again
    }

    /// Writes the last checkpoint. What is in flight stays unsettled and is read again.
    fn halt(&mut self) {
        self.settle_verdicts();
        self.remember();
        self.checkpoint.write(&mut self.ring);
        self.next_report = Duration::ZERO;
        self.report();
    }

    /// Everything there is has been read and settled.
    pub fn is_idle(&self) -> bool {
        let rest = |reader: &Reader| {
            !reader.regroup && reader.passes.iter().all(|pass| matches!(pass.state, reader::PassState::Idle { .. }))
        };
        let settled =
            self.readers.values().all(|reader| rest(reader) && reader.flows.iter().all(|flow| flow.is_settled()));
        settled && self.batches.is_idle() && self.openings().next().is_none() && self.orders.is_empty()
    }

    /// Bytes carried since the lane began, look-back included.
    pub fn carried_bytes(&self) -> u64 {
        self.carried_bytes
    }

    /// Walks over readers that are under way.
    pub fn passes(&self) -> usize {
        self.readers.values().map(|reader| reader.passes.len()).sum()
    }

    fn token(&mut self, awaiting: Awaiting) -> Token {
        self.next_token += 1;
        let token = Token(self.next_token);
        self.awaiting.insert(token, awaiting);
        token
    }

    /// Logs so often and no more: what goes to the journal may be read back.
    fn log(&mut self, text: &str) {
        let lane = self.config.lane;
        if self.now.mono >= self.logged.0 + TROUBLE_LOG_INTERVAL {
            self.logged = (self.now.mono, 0);
            let unlogged = std::mem::take(&mut self.unlogged);
            if unlogged > 0 {
                tracing::warn!(lane, "{unlogged} more complaints, not logged one by one");
            }
        }
        if self.logged.1 < TROUBLES_LOGGED_MAX {
            self.logged.1 += 1;
            tracing::warn!(lane, "{text}");
        } else {
            self.unlogged += 1;
        }
    }

    fn trouble(&mut self, text: String) {
        if self.troubles.contains(&text) {
            return;
        }
        self.log(&text);
        if self.troubles.len() == crate::limits::TROUBLES_MAX {
            self.troubles.pop_front();
        }
        self.troubles.push_back(text);
    }
}

/// This process. Where the boot cannot be told, nothing counts as our own.
fn own(now: &Now) -> Own {
    let since = u64::try_from(now.wall.0 / 1000).unwrap_or_default();
    boot_id().map_or_else(|_| Own::default(), |boot_id| Own::new(std::process::id(), boot_id, since))
}
