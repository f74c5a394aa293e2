//! Obeying a plan: targets, sources and flows as the new plan has them, between two records, waiting for nobody.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use xxhash_rust::xxh3::xxh3_64;

use super::{
    Lane,
    checkpoint::{Content, Key},
    flow::{Flow, FlowState},
    group::selectors,
    identity::{Identity, Marks, Span},
    reader::{Cursor, JournalOrigin, Limit, Origin, Reader, Source, reached},
    stream::Streams,
};
use crate::{
    decode::Decoder,
    limits::JOURNAL_SOURCES_MAX,
    model::{JournalPosition, Level, Nanos, ObjectId, Position, ReaderKey},
    orders::Port,
    plan::{Input, Plan, SourcePlan, StartAt},
    ring::{Ring, WatchKind},
    stats::Totals,
};

impl<R: Ring, P: Port> Lane<R, P> {
    /// From the next record on, this plan is in force.
    pub(super) fn apply(&mut self, plan: Arc<Plan>) {
        self.seal_all();
        self.targets.apply(&plan);
        let before = std::mem::replace(&mut self.plan, plan);
        self.close_targets(&before);
        self.update_files();
        self.update_journals();
        self.batches.close_all();
        self.streams = Streams::new(&self.plan);
        let readers: Vec<u32> = self.readers.keys().copied().collect();
        for id in readers {
            self.update_flows(id);
        }
        self.forget_gone();
        self.rota.retain(|source| self.plan.source(source).is_some());
        self.discovery.soon();
    }

    /// Whether lines of this source have somewhere to go.
    pub(super) fn is_wanted(&self, source: &SourcePlan) -> bool {
        self.plan.targets.iter().any(|target| self.plan.routes(source, target))
    }

    /// Whether this lane carries the source.
    pub(super) fn is_mine(&self, source: &SourcePlan) -> bool {
        let of = match &source.input {
            Input::File(_) => source.id.0,
            Input::Journal(journal) => directory_key(&journal.directories),
        };
        of % u64::from(self.config.lanes.max(1)) == u64::from(self.config.lane)
    }

    /// Ends the flows of targets that are no longer in the plan.
    fn close_targets(&mut self, before: &Plan) {
        let forget = self.absent_is_deleted();
        let mut closed: BTreeMap<ObjectId, (Totals, u64)> = BTreeMap::new();
        for reader in self.readers.values_mut() {
            // By identity, not by bit: that of a target with nothing in flight is somebody else's by now.
            for flow in reader.flows.extract_if(.., |flow| self.plan.target(flow.target).is_none()) {
                let (totals, outstanding) = closed.entry(flow.target).or_default();
                totals.add(flow.totals());
                *outstanding += flow.in_flight();
                let key = Key { reader: reader.key, source: flow.source, target: flow.target };
                if forget {
                    self.checkpoint.forget(&key);
                } else {
                    let (position, totals, newest) = (flow.settled(), *flow.totals(), flow.newest());
                    self.checkpoint.put(key, Content::Flow { position, totals, newest });
                }
                reader.regroup = true;
            }
        }
        for (target, (totals, outstanding)) in closed.into_iter().filter(|_| forget) {
            let name = before.target(target).map_or("?", |target| target.name.as_str());
            tracing::info!(
                target = name,
                delivered = totals.delivered,
                dropped_target_deleted = outstanding,
                "target deleted, its ledger is closed"
            );
        }
    }

    /// Gives file readers their source as it is now; closes those whose source is gone.
    fn update_files(&mut self) {
        let mut gone = Vec::new();
        for reader in self.readers.values_mut().filter(|reader| reader.file().is_some()) {
            for source in &mut reader.sources {
                match self.plan.source(source.plan.id).filter(|new| matches!(new.input, Input::File(_))) {
                    Some(new) if source.plan.format == new.format => {
                        source.plan = Arc::clone(new);
                        source.streams = [None; Level::COUNT];
                    }
                    Some(new) => *source = Source::new(new, None),
                    None => gone.push(reader.id),
                }
            }
        }
        for id in gone {
            self.drop_reader(id, self.absent_is_deleted());
        }
    }

    /// An object that is not in the plan was deleted, unless something is complained of: then it may only be broken,
    /// and its positions are kept until it is mended.
    fn absent_is_deleted(&self) -> bool {
        self.plan.complaints.is_empty()
    }

    /// Makes the journal readers be those that the plan's sources ask for.
    fn update_journals(&mut self) {
        let mut wanted: BTreeMap<Vec<PathBuf>, Vec<Arc<SourcePlan>>> = BTreeMap::new();
        for source in &self.plan.sources {
            if let Input::Journal(journal) = &source.input
                && self.is_mine(source)
                && self.is_wanted(source)
            {
                wanted.entry(journal.directories.clone()).or_default().push(Arc::clone(source));
            }
        }
        let known: Vec<(u32, Vec<PathBuf>)> = (self.readers.values())
            .filter_map(|reader| match &reader.origin {
                Origin::Journal(journal) => Some((reader.id, journal.directories.clone())),
                Origin::File(_) => None,
            })
            .collect();
        for (id, directories) in known {
            match wanted.remove(&directories) {
                Some(sources) => self.update_journal(id, &sources),
                None => self.drop_reader(id, false),
            }
        }
        for (directories, sources) in wanted {
            self.open_journal(directories, &sources);
        }
    }

    fn update_journal(&mut self, id: u32, plans: &[Arc<SourcePlan>]) {
        let Some(reader) = self.readers.get_mut(&id) else { return };
        let wall = self.now.wall;
        let before = selectors(reader);
        let old = std::mem::take(&mut reader.sources);
        let order: Vec<Option<usize>> =
            plans.iter().map(|plan| old.iter().position(|source| source.plan.id == plan.id)).collect();
        let not_before = |at: &Option<usize>, plan: &SourcePlan| match at {
            Some(at) => old[*at].not_before,
            None => journal_limit(plan, wall),
        };
        reader.sources = plans.iter().zip(&order).map(|(plan, at)| Source::new(plan, not_before(at, plan))).collect();
        reader.sources.truncate(JOURNAL_SOURCES_MAX);
        let now = selectors(reader);
        let asks_more = now.iter().any(|input| !before.contains(input));
        for pass in &mut reader.passes {
            let mut identities: Vec<Option<Identity>> = pass.identities.drain(..).map(Some).collect();
            let kept = |at: &Option<usize>| at.and_then(|at| identities.get_mut(at)?.take());
            let made = order.iter().map(kept).map(|kept| kept.unwrap_or_else(|| Identity::new(Span::Entries)));
            pass.identities = made.collect();
            // What stands between a pass's last record and its cursor was not wanted, but may be now.
            pass.exact &= !asks_more;
            if let Cursor::Journal(cursor) = &mut pass.cursor
                && now != before
            {
                cursor.set_selectors(now.clone());
            }
        }
    }

    fn open_journal(&mut self, directories: Vec<PathBuf>, plans: &[Arc<SourcePlan>]) {
        if plans.len() > JOURNAL_SOURCES_MAX {
            self.trouble(format!("more than {JOURNAL_SOURCES_MAX} sources read one journal; the rest is left out"));
        }
        let plans = &plans[..plans.len().min(JOURNAL_SOURCES_MAX)];
        let key = ReaderKey::Journal { directory: directory_key(&directories) };
        self.next_reader += 1;
        let id = self.next_reader;
        let sources = plans.iter().map(|plan| Source::new(plan, self.limit_in(key, plan))).collect();
        let origin = JournalOrigin { directories, watches: Vec::new(), next_look: self.now.mono };
        let start = Position::Journal(JournalPosition::default());
        let reader = Reader::new(id, key, Origin::Journal(origin), sources, start, Marks::default());
        self.readers.insert(id, Box::new(reader));
        self.watch_journal(id);
    }

    /// What `startAt` leaves out of the journal `key`: as it was when the source first read it, until its first line.
    fn limit_in(&self, key: ReaderKey, source: &SourcePlan) -> Option<Limit> {
        let mut known = self.checkpoint.slots().filter(|slot| slot.key.source == source.id).peekable();
        if known.peek().is_none() {
            return journal_limit(source, self.now.wall);
        }
        let times = known.filter(|slot| slot.key.reader == key).map(|slot| match &slot.content {
            Content::Flow { totals, newest, .. } if totals.read == 0 => *newest,
            _ => Nanos::default(),
        });
        let time = times.min().filter(|time| *time != Nanos::default())?;
        Some(Limit { time, end: u64::MAX })
    }

    /// Watches the directories of a journal, those it found below them included, for the next change.
    pub(super) fn watch_journal(&mut self, id: u32) {
        let Some(reader) = self.readers.get_mut(&id) else { return };
        let Reader { origin: Origin::Journal(journal), passes, .. } = &mut **reader else { return };
        for watch in journal.watches.drain(..) {
            self.watching.remove(&watch);
            self.ring.unwatch(watch);
        }
        let found = passes.first().map(|pass| match &pass.cursor {
            Cursor::Journal(cursor) => cursor.watch_paths().map(Path::to_owned).collect(),
            Cursor::File(_) => Vec::new(),
        });
        for directory in found.filter(|found| !found.is_empty()).unwrap_or_else(|| journal.directories.clone()) {
            // A directory that is not there yet is found by the next look.
            if let Ok(watch) = self.ring.watch(&directory, WatchKind::ContentOnce) {
                journal.watches.push(watch);
                self.watching.insert(watch, super::Watching::Reader(id));
            }
        }
    }

    /// Makes the flows of a reader be those that the plan asks for; known ones keep their position.
    pub(super) fn update_flows(&mut self, id: u32) {
        let Some(reader) = self.readers.get_mut(&id) else { return };
        reader.regroup = true;
        let mut missing = Vec::new();
        let targets: Vec<_> = (self.targets.iter())
            .filter(|(_, target)| !target.removed && target.tenant.is_none())
            .map(|(_, target)| Arc::clone(&target.plan))
            .collect();
        let journal = reader.file().is_none();
        for (source, limit) in reader.sources.iter().map(|source| (&source.plan, source.not_before)) {
            let tenant = source.tenant.of(reader.origin.path());
            for target in &targets {
                let Some(bit) = self.targets.outlet(target.id, tenant) else { continue };
                let same = |flow: &&mut Flow| flow.source == source.id && flow.target == target.id;
                if let Some(flow) = reader.flows.iter_mut().find(same) {
                    flow.bit = bit;
                    continue;
                }
                let key = Key { reader: reader.key, source: source.id, target: target.id };
                match self.checkpoint.content(&key) {
                    Some(Content::Flow { position, totals, newest }) => {
                        let mut flow = Flow::new(source.id, target.id, bit, *position, *totals, *newest);
                        flow.dirty = false;
                        flow.state = FlowState::Parked;
                        reader.flows.push(flow);
                    }
                    // A target that was enabled before has a place in every file, even while it is disabled.
                    _ if self.plan.routes(source, target) || self.checkpoint.has_flow(source.id, target.id) => {
                        missing.push((source.id, target.id, bit, limit));
                    }
                    _ => {}
                }
            }
        }
        for (source, target, bit, limit) in missing {
            // A new target starts now; a reader that was never seen starts where its source says.
            let at = furthest(reader, source).unwrap_or(reader.start);
            // Before its first line, the newest time a flow of a journal knows is that from which on lines are meant.
            let newest = limit.filter(|_| journal).map_or(Nanos::default(), |limit| limit.time);
            reader.flows.push(Flow::new(source, target, bit, at, Totals::default(), newest));
        }
    }

    /// Forgets the records of sources and targets that are not in the plan any more.
    fn forget_gone(&mut self) {
        if !self.absent_is_deleted() {
            return;
        }
        self.forget_kept();
        let gone: Vec<Key> = (self.checkpoint.slots())
            .map(|slot| slot.key)
            .filter(|key| key.source != ObjectId(0))
            .filter(|key| {
                let target_gone = key.target != ObjectId(0) && self.plan.target(key.target).is_none();
                self.plan.source(key.source).is_none() || target_gone
            })
            .collect();
        for key in gone {
            self.checkpoint.forget(&key);
        }
    }
}

/// The furthest any target's flow of this source was read, or any flow of the reader.
fn furthest(reader: &Reader, source: ObjectId) -> Option<Position> {
    let own = reader.flows.iter().filter(|flow| flow.source == source).map(|flow| match flow.state {
        FlowState::Reading { pass } => {
            let pass = reader.passes.iter().find(|candidate| candidate.id == pass);
            pass.map_or(flow.settled(), |pass| pass.at)
        }
        FlowState::Waiting | FlowState::Parked => flow.settled(),
    });
    own.reduce(|a, b| if reached(&b, &a) { b } else { a })
}

/// Lines older than this are not meant by the source's `startAt`.
pub(super) fn not_before(source: &SourcePlan, wall: Nanos) -> Option<Nanos> {
    match source.start_at {
        StartAt::Beginning => None,
        StartAt::End => Some(wall),
        StartAt::Since(span) => Some(Nanos(wall.0.saturating_sub(i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)))),
    }
}

/// What `startAt` leaves out of a journal a source has never read.
fn journal_limit(source: &SourcePlan, wall: Nanos) -> Option<Limit> {
    not_before(source, wall).map(|time| Limit { time, end: u64::MAX })
}

/// What tells one journal from another.
fn directory_key(directories: &[PathBuf]) -> u64 {
    let mut joined = Vec::new();
    for directory in directories {
        joined.extend_from_slice(directory.as_os_str().as_encoded_bytes());
        joined.push(0);
    }
    xxh3_64(&joined)
}

impl Source {
    pub fn new(plan: &Arc<SourcePlan>, not_before: Option<Limit>) -> Self {
        Self { plan: Arc::clone(plan), decoder: Decoder::new(plan.format), streams: [None; Level::COUNT], not_before }
    }
}
