//! What would vanish: files without a name that a flow still needs.
//!
//! Such a file is held by its descriptor, which the service manager is asked to hold as well. Beyond
//! `Keep::pinned_bytes` of them, and of all of them when the lane stops, the bytes go to the spool, the oldest reader's
//! first; what finds no room there is counted and dropped. What counts as pinned is the whole file, since that is what
//! it takes on the disk. A flow of a disabled target holds nothing: what it did not get is counted when nobody else
//! needs the file and its name is gone. All of it is a look each `VANISHING_LOOK` and one block of one file at a time
//! in between, so the lines of the others never wait for it.

use std::time::Duration;

use super::{
    Awaiting, Lane,
    flow::FlowState,
    identity::{Identity, Span},
    reader::{Cursor, FileOrigin, PassState, Reader, Tail},
    spool::{
        Hole, Spool, Spooled,
        job::{Job, Range, Step},
        key_of,
        segment::{Kind, Owner},
    },
    stored::{Inherited, Stored},
};
use crate::{
    limits::{DRAINING_READERS_MAX, LOOK_BACK_BYTES, ROTATED_QUIET, SPOOL_PACE, VANISHING_LOOK},
    model::{Position, ReaderKey},
    orders::Port,
    ring::{Handle, Ring, Token},
    source::FileCursor,
    stats::{DropReason, KeptReport},
};

/// What is done to keep one file.
#[derive(Debug, Default)]
pub struct Vanishing {
    /// Its size at the last look, once it has no name any more.
    pub gone: Option<u64>,
    /// The name under which the service manager was asked to keep it.
    pub stored: Option<String>,
    /// Spooled: what of it is missing.
    pub holes: Vec<Hole>,
}

/// What a lane is about with what would vanish.
#[derive(Debug, Default)]
pub struct Keeping {
    job: Option<Job>,
    job_token: Option<Token>,
    next_look: Duration,
    next_step: Duration,
    /// Came back from the service manager and stand for no reader yet.
    pub inherited: Vec<Inherited>,
    /// Names the service manager is still to let go of.
    unstore: Vec<String>,
    /// Bytes and number of files held open that have no name any more.
    pub pinned: (u64, u64),
    /// The lane stops: nothing is left to be kept.
    done: bool,
}

impl Keeping {
    /// Whether a token stands for its job, which may have ended.
    #[cfg(any(test, feature = "lives"))]
    pub fn has_token(&self) -> bool {
        self.job_token.is_some()
    }

    /// With what the service manager has kept.
    pub fn new(inherited: Vec<Inherited>) -> Self {
        Self { inherited, ..Self::default() }
    }
}

impl<R: Ring, P: Port> Lane<R, P> {
    /// Looks at what would vanish when it is time to, and does some of the work there is.
    pub(super) fn keep(&mut self) {
        if self.now.mono >= self.keeping.next_look {
            self.keeping.next_look = self.now.mono + VANISHING_LOOK;
            self.look_at_vanishing();
        }
        self.work();
    }

    /// When `keep` has something to do next.
    pub(super) fn keep_next(&self) -> Duration {
        match &self.keeping.job {
            Some(job) if !job.is_waiting() => self.keeping.next_step,
            _ => self.keeping.next_look,
        }
    }

    /// The lane is to stop: what would vanish with it is moved to the spool.
    pub(super) fn keep_all(&mut self) {
        self.keeping.next_look = Duration::ZERO;
        self.keeping.next_step = Duration::ZERO;
        self.keeping.done = false;
    }

    /// Everything that would vanish with this process is kept.
    pub(super) fn is_kept(&self) -> bool {
        self.keeping.done
    }

    /// Asks the service manager to let go of a file.
    pub(super) fn unstore(&mut self, name: String) {
        if self.ring.unstore(&name).is_err() {
            self.keeping.unstore.push(name);
        }
    }

    fn look_at_vanishing(&mut self) {
        for name in std::mem::take(&mut self.keeping.unstore) {
            self.unstore(name);
        }
        // What was deleted since the last look of the discovery must not be left behind when the lane stops.
        let draining = |reader: &Reader| reader.file().is_some_and(|file| file.draining || self.draining);
        let all: Vec<u32> = self.readers.values().filter(|reader| draining(reader)).map(|reader| reader.id).collect();
        let (mut pinned, mut count) = (0, 0);
        for id in &all {
            if let Some(bytes) = self.look_at_deleted(*id) {
                pinned += bytes;
                count += 1;
            }
        }
        self.keeping.pinned = (pinned, count);
        let Spooled { ring, spool, .. } = &mut self.ring;
        let checkpoint = &self.checkpoint;
        spool.sweep(ring, |mark| checkpoint.is_synced(mark));
        if self.keeping.job.is_none() {
            self.choose(&all);
        }
    }

    /// Looks at a file that stands at no path of its source. Its bytes if it is held for somebody and by nothing else.
    fn look_at_deleted(&mut self, id: u32) -> Option<u64> {
        let reader = self.readers.get_mut(&id)?;
        let handle = reader.file()?.handle;
        if Spool::is_spooled(handle) {
            let holes = self.ring.spool.changed_holes(handle);
            if let (Some(holes), Some(file)) = (holes, reader.file_mut()) {
                file.vanishing.holes = holes;
            }
            // A disabled target keeps nothing by itself; while others do, it keeps its place.
            let low = reader.flows.iter().map(|flow| flow.settled().offset()).min();
            let low = low.unwrap_or_default().saturating_sub(LOOK_BACK_BYTES + 1);
            let Spooled { ring, spool, .. } = &mut self.ring;
            spool.release(ring, handle, low, self.checkpoint.generation());
            self.pass_holes(id);
            return None;
        }
        let meta = self.ring.stat(handle).ok().filter(|meta| meta.links == 0)?;
        let needed = reader.is_needed(meta.size);
        let key = reader.key;
        let source = reader.sources.first()?.plan.id;
        let file = reader.file_mut()?;
        if file.vanishing.gone.replace(meta.size) != Some(meta.size) {
            reader.marks_dirty = true;
        }
        if !needed {
            return None;
        }
        let file = reader.file_mut()?;
        if let (ReaderKey::File(identity), None) = (key, &file.vanishing.stored) {
            let name = Stored { source, identity, path: file.path.clone() }.name();
            // What fails is asked again at the next look.
            if let Ok(true) = self.ring.store(handle, &name) {
                file.vanishing.stored = Some(name);
            }
        }
        Some(meta.size)
    }

    /// Begins with the file that should be dealt with next.
    fn choose(&mut self, all: &[u32]) {
        let held = |reader: &&Reader| reader.is_held() && reader.is_needed(reader.vanished_bytes());
        let quiet = |reader: &&Reader| self.draining || reader.is_quiet(self.now.mono);
        let readers = || all.iter().filter_map(|id| self.readers.get(id)).map(|reader| &**reader);
        let most = self.config.keep.pinned_bytes / u64::from(self.config.lanes.max(1));
        let (bytes, files) = self.keeping.pinned;
        let is_much = self.draining || bytes > most || files > DRAINING_READERS_MAX as u64 / 2;
        let next = readers().filter(held).find(quiet).filter(|_| is_much);
        if let Some(id) = next.map(|reader| reader.id) {
            self.keeping.done = false;
            return self.begin_spooling(id);
        }
        self.keeping.done = self.draining;
        let crowded = all.len() > DRAINING_READERS_MAX / 2;
        let left = |reader: &&Reader| {
            let is_gone = crowded || reader.vanished_bytes() > 0 || reader.is_spooled();
            is_gone && reader.has_parked_rest() && !reader.is_needed(reader.size())
        };
        let next = readers().filter(left).find(quiet).map(|reader| reader.id);
        if let Some(id) = next.filter(|_| !self.draining) {
            self.begin_counting(id);
        }
    }

    fn begin_spooling(&mut self, id: u32) {
        let token = self.job_token();
        let number = self.ring.spool.number(u64::try_from(self.now.wall.0).unwrap_or_default());
        let Some(reader) = self.readers.get(&id) else { return };
        let (ReaderKey::File(identity), Some(file)) = (reader.key, reader.file()) else { return };
        let Some(source) = reader.sources.first().map(|source| source.plan.id) else { return };
        let modified = self.ring.stat(file.handle).map(|meta| meta.modified).unwrap_or_default();
        let needed = reader.flows.iter().map(|flow| flow.settled().offset()).min().unwrap_or_default();
        let start = needed.saturating_sub(LOOK_BACK_BYTES + 1);
        let range = reader.range(file, start, reader.vanished_bytes());
        let owner = Owner { source, number, identity, path: file.path.clone(), modified };
        match Job::spool(range, token, owner, &mut self.ring.spool) {
            Ok(job) => self.keeping.job = Some(job),
            Err(error) => self.trouble(format!("the spool: {error}")),
        }
    }

    fn begin_counting(&mut self, id: u32) {
        let token = self.job_token();
        let Some(reader) = self.readers.get(&id) else { return };
        let Some(file) = reader.file() else { return };
        let parked = reader.flows.iter().filter(|flow| flow.state == FlowState::Parked);
        let start = parked.map(|flow| flow.head().offset()).min().unwrap_or_default();
        self.keeping.job = Some(Job::count(reader.range(file, start, reader.size()), token));
    }

    fn job_token(&mut self) -> Token {
        let token = self.token(Awaiting::Job);
        if let Some(old) = self.keeping.job_token.replace(token) {
            self.awaiting.remove(&old);
        }
        token
    }

    /// Takes the end of a read or write of the job.
    pub(super) fn job_completed(&mut self, result: std::io::Result<usize>, buf: Vec<u8>) {
        if let Some(job) = &mut self.keeping.job {
            job.complete(&mut self.ring, result, buf, self.now.mono);
        }
    }

    /// One block of the job there is.
    fn work(&mut self) {
        let Some(job) = &mut self.keeping.job else { return };
        if job.is_waiting() || self.now.mono < self.keeping.next_step {
            return;
        }
        if !self.readers.contains_key(&job.reader) {
            return self.give_up_job();
        }
        let pace = if self.draining { Duration::ZERO } else { SPOOL_PACE };
        match job.step(&mut self.ring, self.now.mono) {
            Step::Again => self.keeping.next_step = self.now.mono + pace,
            Step::Waiting => {}
            Step::Later(time) => self.keeping.next_step = time,
            Step::Done => {
                self.keeping.next_step = self.now.mono + pace;
                self.job_done();
            }
        }
    }

    /// Whom it was about is gone.
    fn give_up_job(&mut self) {
        let into = self.keeping.job.take().and_then(|job| job.goes_to());
        if let Some(into) = into {
            let Spooled { ring, spool, .. } = &mut self.ring;
            spool.remove(ring, into, self.checkpoint.generation());
        }
        self.keeping.next_look = Duration::ZERO;
    }

    fn job_done(&mut self) {
        let Some(job) = &mut self.keeping.job else { return };
        let Some(reader) = self.readers.get(&job.reader) else { return };
        let (id, end) = (job.reader, job.end());
        match job.goes_to() {
            Some(into) => {
                let size = reader.file().and_then(|file| self.ring.stat(file.handle).ok()).map(|meta| meta.size);
                if size.is_some_and(|size| size > end) && !self.draining {
                    return job.extend(size.unwrap_or_default());
                }
                // Its own buffer is under way: the pass can read from another place only afterwards.
                if reader.passes.iter().any(|pass| pass.state == PassState::Pending) {
                    return;
                }
                let dropped = job.dropped;
                self.move_to_spool(id, into, size.unwrap_or(end));
                if dropped > 0 {
                    let path = self.readers.get(&id).map(|reader| reader.path()).unwrap_or_default();
                    self.trouble(format!(
                        "{path}: deleted while a target lags; no room to keep it: {dropped} lines are dropped"
                    ));
                }
            }
            None => self.lose_parked(id),
        }
        self.keeping.job = None;
        self.keeping.next_look = Duration::ZERO;
    }

    /// From now on a file is read from the spool, and its descriptor goes.
    fn move_to_spool(&mut self, id: u32, into: Handle, size: u64) {
        self.ring.spool.reached(into, size);
        let Some(owner) = self.ring.spool.file(into).map(|file| file.owner.clone()) else { return };
        let Some(reader) = self.readers.get_mut(&id) else { return };
        let (old, new) = (reader.key, key_of(&owner));
        reader.key = new;
        reader.marks_dirty = true;
        let holes = self.ring.spool.changed_holes(into).unwrap_or_default();
        let Some(file) = reader.file_mut() else { return };
        let vanished = Vanishing { gone: Some(size), stored: None, holes };
        let stored = std::mem::replace(&mut file.vanishing, vanished).stored;
        let before = std::mem::replace(&mut file.handle, into);
        file.size = size;
        file.head_short = false;
        file.draining = true;
        for at in 0..reader.passes.len() {
            reader.passes[at].put_down(&mut self.pool);
            reader.read_anew(at);
        }
        self.checkpoint.unite(owner.source, old, new);
        self.ring.close(before);
        if let Some(name) = stored {
            self.unstore(name);
        }
        self.pass_holes(id);
    }

    /// Counts what flows of disabled targets did not get of a file that nobody needs any more.
    fn lose_parked(&mut self, id: u32) {
        let Some(job) = &self.keeping.job else { return };
        let Some(reader) = self.readers.get_mut(&id) else { return };
        let (end, path) = (job.end(), reader.path());
        let mut told = Vec::new();
        let is_left = |flow: &&mut super::flow::Flow| {
            flow.state == FlowState::Parked && flow.is_settled() && flow.settled().offset() < end
        };
        for flow in reader.flows.iter_mut().filter(is_left) {
            let lines = job.lines_from(flow.settled().offset());
            flow.lose(Position::file(end), lines, DropReason::Disabled);
            told.push((flow.target, lines));
        }
        for (target, lines) in told {
            let name = self.plan.target(target).map_or("?", |target| target.name.as_str()).to_owned();
            self.trouble(format!("{path}: deleted with {lines} lines that disabled target {name} never got"));
        }
    }

    /// Takes passes that stand before something that is missing over it, and counts it.
    fn pass_holes(&mut self, id: u32) {
        let hole_of = |reader: &Reader, at: usize| {
            let pass = &reader.passes[at];
            let holes = &reader.file()?.vanishing.holes;
            let offset = pass.at.offset();
            let next = holes.iter().find(|hole| offset < hole.end).copied()?;
            let stands = matches!(pass.state, PassState::Idle { .. } | PassState::Ready);
            (stands && next.start <= offset).then_some(next)
        };
        let Some(count) = self.readers.get(&id).map(|reader| reader.passes.len()) else { return };
        for at in 0..count {
            while let Some(hole) = self.readers.get(&id).and_then(|reader| hole_of(reader, at)) {
                self.pass_hole(id, at, hole);
            }
            let Some(reader) = self.readers.get_mut(&id) else { return };
            let holes = reader.file().map_or(&[][..], |file| &file.vanishing.holes);
            let ends = holes.iter().any(|hole| reader.passes[at].at.offset() < hole.start);
            let pass = &mut reader.passes[at];
            if let (Cursor::File(cursor), PassState::Idle { .. }, true) = (&mut pass.cursor, pass.state, ends) {
                // What is left before the hole has no end, and will have none.
                cursor.set_last();
                pass.wake(self.now.mono);
                self.ready.push_back((id, pass.id));
            }
        }
    }

    fn pass_hole(&mut self, id: u32, at: usize, hole: Hole) {
        for open in self.batches.contributed_by(id) {
            self.seal(open);
        }
        let Some(reader) = self.readers.get_mut(&id) else { return };
        let (pass, from) = (reader.passes[at].id, reader.passes[at].at.offset());
        let (lines, reason) = match hole.kind {
            Kind::Dropped | Kind::Bytes => (hole.lines, DropReason::Budget),
            Kind::Damaged => (hole.lines, DropReason::Damaged),
            Kind::Unread => (0, DropReason::Damaged),
        };
        for flow in reader.flows.iter_mut().filter(|flow| flow.state == FlowState::Reading { pass }) {
            flow.lose(Position::file(hole.end), lines, reason);
        }
        if hole.kind == Kind::Unread {
            // A line has one byte at least.
            reader.unattributed = reader.unattributed.saturating_add(hole.end - from);
            reader.marks_dirty = true;
        }
        let was_idle = matches!(reader.passes[at].state, PassState::Idle { .. });
        reader.passes[at].at = Position::file(hole.end);
        reader.passes[at].put_down(&mut self.pool);
        reader.read_anew(at);
        if was_idle {
            reader.passes[at].wake(self.now.mono);
            self.ready.push_back((id, pass));
        }
        let (path, kind) = (reader.path(), hole.kind);
        if kind != Kind::Dropped {
            self.trouble(format!("{path}: bytes {from} to {} cannot be had from the spool: lost", hole.end));
        }
    }

    /// Whether the job is filling this spooled file.
    pub(super) fn is_being_spooled(&self, handle: Handle) -> bool {
        self.keeping.job.as_ref().is_some_and(|job| job.goes_to() == Some(handle))
    }

    pub(super) fn kept_report(&self) -> KeptReport {
        let (pinned_bytes, pinned_files) = self.keeping.pinned;
        let spool = &self.ring.spool;
        KeptReport {
            pinned_files,
            pinned_bytes,
            spooled_files: spool.files().count() as u64,
            spooled_bytes: spool.bytes(),
        }
    }
}

impl Reader {
    /// Bytes of a file that has no name any more.
    pub fn vanished_bytes(&self) -> u64 {
        self.file().and_then(|file| file.vanishing.gone).unwrap_or_default()
    }

    fn size(&self) -> u64 {
        self.file().map_or(0, |file| file.size)
    }

    pub fn is_spooled(&self) -> bool {
        self.file().is_some_and(|file| Spool::is_spooled(file.handle))
    }

    /// Without a name, and held by its descriptor.
    fn is_held(&self) -> bool {
        self.vanished_bytes() > 0 && !self.is_spooled()
    }

    fn is_quiet(&self, now: Duration) -> bool {
        self.file().is_some_and(|file| matches!(file.tail, Tail::Hot { grew } if now >= grew + ROTATED_QUIET))
    }

    /// Whether an enabled flow has not settled all of a file of `size` bytes.
    fn is_needed(&self, size: u64) -> bool {
        let needs = |flow: &super::flow::Flow| flow.settled().offset() < size || !flow.is_settled();
        self.flows.iter().any(|flow| flow.state != FlowState::Parked && needs(flow))
    }

    /// Whether the flow of a disabled target has not got all of it.
    pub fn has_parked_rest(&self) -> bool {
        let is_left = |flow: &super::flow::Flow| flow.settled().offset() < self.size() || !flow.is_settled();
        self.flows.iter().any(|flow| flow.state == FlowState::Parked && is_left(flow))
    }

    /// What a job goes through, cut where flows stand.
    fn range(&self, file: &FileOrigin, start: u64, end: u64) -> Range {
        let settled = self.flows.iter().flat_map(|flow| [flow.settled().offset(), flow.head().offset()]);
        let cuts = settled.chain(self.passes.iter().map(|pass| pass.at.offset())).collect();
        Range { reader: self.id, from: file.handle, start, end, cuts, holes: file.vanishing.holes.clone() }
    }

    /// Makes a pass read from where it stands, as if it had just begun: the look-back is read again.
    pub fn read_anew(&mut self, at: usize) {
        let Some(cursor) = self.file().map(|file| file.cursor(self.passes[at].at.offset())) else { return };
        let pass = &mut self.passes[at];
        pass.cursor = Cursor::File(cursor);
        pass.identities.iter_mut().for_each(|identity| *identity = Identity::new(Span::Bytes));
    }
}

impl FileOrigin {
    /// A cursor from `offset` on. Where bytes are missing before it, it looks back no further.
    pub fn cursor(&self, offset: u64) -> FileCursor {
        let holes = self.vanishing.holes.iter().map(|hole| hole.end);
        let floor = holes.filter(|end| *end <= offset).max().unwrap_or_default();
        FileCursor::new(self.handle, offset).above(floor)
    }
}
