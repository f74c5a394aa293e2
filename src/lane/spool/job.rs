//! Moving what is needed of one file to the spool, or only counting its lines: a block at a time, never waiting.
//!
//! Blocks are cut at line ends, and where flows stand, so that what may be lost later is lost by whole lines and
//! counted exactly. What finds no room is counted and left out.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use memchr::memrchr;

use super::{
    File, Hole, Spool, Spooled,
    segment::{Block, Kind, Owner, Writer, lines},
};
use crate::{
    limits::{READ_RETRY, SPOOL_BLOCK_BYTES, SPOOL_TRIES_MAX},
    ring::{Handle, Op, ReadNow, Ring, Token},
};

/// What is done with the lines.
#[derive(Debug)]
enum Task {
    Count,
    Spool { owner: Owner, into: Handle, writer: Writer },
}

/// One file being gone through.
#[derive(Debug)]
pub struct Job {
    /// The lane's number of the reader it is about.
    pub reader: u32,
    task: Task,
    from: Handle,
    token: Token,
    /// What is missing of the file, if it is read from the spool.
    holes: Vec<Hole>,
    /// Where flows stand, in order.
    cuts: Vec<u64>,
    /// Offset of `raw[0]`.
    at: u64,
    end: u64,
    raw: Vec<u8>,
    filled: usize,
    waiting: bool,
    failures: u32,
    paused_until: Duration,
    /// Bytes the segment at hand may have; `None` before it is begun.
    room: Option<u64>,
    has_no_room: bool,
    /// The segment being persisted, and its bytes when that failed.
    segment: Option<Segment>,
    retry: Option<Vec<u8>>,
    /// Lines so far, and at each cut.
    lines: u64,
    counted: Vec<(u64, u64)>,
    /// Lines there was no room for.
    pub dropped: u64,
}

#[derive(Debug)]
struct Segment {
    path: PathBuf,
    bytes: u64,
    blocks: Vec<Block>,
    last: bool,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is more to do at once.
    Again,
    /// A read or write is under way.
    Waiting,
    /// Nothing before this time.
    Later(Duration),
    Done,
}

/// Which file, where it is needed, and where flows stand in it.
#[derive(Debug)]
pub struct Range {
    pub reader: u32,
    pub from: Handle,
    pub start: u64,
    pub end: u64,
    pub cuts: Vec<u64>,
    pub holes: Vec<Hole>,
}

impl Job {
    /// Counts lines; `token` is for its reads.
    pub fn count(range: Range, token: Token) -> Self {
        Self::new(range, token, Task::Count)
    }

    /// Moves the range to the spool, as the bytes of `owner`; `token` is for its reads and writes.
    ///
    /// # Errors
    /// No memory for the compressor.
    pub fn spool(range: Range, token: Token, owner: Owner, spool: &mut Spool) -> io::Result<Self> {
        let writer = Writer::new()?;
        let into = spool.begin(owner.clone());
        Ok(Self::new(range, token, Task::Spool { owner, into, writer }))
    }

    fn new(range: Range, token: Token, task: Task) -> Self {
        let Range { reader, from, start, end, mut cuts, holes } = range;
        cuts.sort_unstable();
        cuts.dedup();
        Self {
            reader,
            task,
            from,
            token,
            holes,
            cuts,
            at: start,
            end,
            raw: vec![0; SPOOL_BLOCK_BYTES],
            filled: 0,
            waiting: false,
            failures: 0,
            paused_until: Duration::ZERO,
            room: None,
            has_no_room: false,
            segment: None,
            retry: None,
            lines: 0,
            counted: Vec::new(),
            dropped: 0,
        }
    }

    /// Where the bytes go; `None` if they are only counted.
    pub fn goes_to(&self) -> Option<Handle> {
        match &self.task {
            Task::Count => None,
            Task::Spool { into, .. } => Some(*into),
        }
    }

    /// Up to where the file is gone through when the job is done.
    pub fn end(&self) -> u64 {
        self.end
    }

    pub fn is_waiting(&self) -> bool {
        self.waiting
    }

    /// The file has grown meanwhile.
    pub fn extend(&mut self, end: u64) {
        self.end = self.end.max(end);
    }

    /// Lines from one of the cuts (or the start) to the end.
    pub fn lines_from(&self, offset: u64) -> u64 {
        let before = self.counted.iter().rev().find(|(at, _)| *at <= offset).map_or(0, |(_, lines)| *lines);
        self.lines - before
    }

    /// One block further, at most.
    pub fn step<R: Ring>(&mut self, ring: &mut Spooled<R>, now: Duration) -> Step {
        if self.waiting {
            return Step::Waiting;
        }
        if now < self.paused_until {
            return Step::Later(self.paused_until);
        }
        if let Some(data) = self.retry.take() {
            return self.persist(ring, data, now);
        }
        if self.at < self.end {
            match self.fill(ring, now) {
                Some(step) => return step,
                None => self.emit(ring),
            }
        }
        let is_end = self.at >= self.end;
        match &mut self.task {
            Task::Count if is_end => Step::Done,
            Task::Spool { writer, .. } if is_end && writer.is_empty() => Step::Done,
            Task::Spool { owner, writer, .. } if is_end || writer.is_full() => {
                let start = self.at.min(writer.start());
                let path = ring.spool.path(owner, start);
                let (data, blocks) = writer.finish(owner, is_end);
                self.room = None;
                self.segment = Some(Segment { path, bytes: data.len() as u64, blocks, last: is_end });
                self.failures = 0;
                self.persist(ring, data, now)
            }
            Task::Count | Task::Spool { .. } => Step::Again,
        }
    }

    /// Takes the end of the read or write under way.
    pub fn complete<R: Ring>(&mut self, ring: &mut Spooled<R>, result: io::Result<usize>, buf: Vec<u8>, now: Duration) {
        self.waiting = false;
        match self.segment.take() {
            Some(segment) => self.persisted(ring, segment, result, buf, now),
            None => match result {
                Ok(bytes) => self.take(&buf[..bytes]),
                Err(_) => self.read_failed(now),
            },
        }
    }

    /// Reads until a block is whole or the file ends; `None` then.
    fn fill<R: Ring>(&mut self, ring: &mut Spooled<R>, now: Duration) -> Option<Step> {
        loop {
            let offset = self.at + self.filled as u64;
            let hole = self.holes.iter().find(|hole| hole.start <= offset && offset < hole.end).copied();
            if let Some(hole) = hole {
                if self.filled > 0 {
                    return None;
                }
                self.pass_cuts(hole.end);
                self.lines += hole.lines;
                self.at = hole.end;
                if self.at >= self.end {
                    return None;
                }
                continue;
            }
            let wanted = usize::try_from(self.end - self.at).unwrap_or(usize::MAX).min(SPOOL_BLOCK_BYTES);
            if self.filled >= wanted {
                return None;
            }
            match ring.read_now(self.from, offset, &mut self.raw[self.filled..wanted]) {
                Ok(ReadNow::Ready(0)) => {
                    // Either the spool found something damaged just now, or the file is shorter than it was.
                    self.holes = ring.spool.file(self.from).map(File::holes).unwrap_or_default();
                    if !self.holes.iter().any(|hole| hole.start <= offset && offset < hole.end) {
                        self.end = offset;
                        return None;
                    }
                }
                Ok(ReadNow::Ready(bytes)) => self.filled += bytes,
                Ok(ReadNow::WouldBlock) => {
                    let buf = vec![0; wanted - self.filled];
                    let op = Op::Read { token: self.token, handle: self.from, offset, buf };
                    self.waiting = ring.submit(op).is_ok();
                    return Some(if self.waiting { Step::Waiting } else { Step::Again });
                }
                Err(_) => {
                    self.read_failed(now);
                    return Some(Step::Again);
                }
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        // Nothing came: the next try asks without waiting, and finds out why.
        self.raw[self.filled..self.filled + bytes.len()].copy_from_slice(bytes);
        self.filled += bytes.len();
    }

    /// The source cannot be read: tried again a few times, then this block is left out unread.
    fn read_failed(&mut self, now: Duration) {
        self.failures += 1;
        self.paused_until = now + READ_RETRY;
        if self.failures < SPOOL_TRIES_MAX {
            return;
        }
        self.failures = 0;
        let wanted = (self.end - self.at).min(SPOOL_BLOCK_BYTES as u64) as u32;
        if let Task::Spool { writer, .. } = &mut self.task {
            writer.put_missing(self.at, wanted, 0, Kind::Unread);
        }
        self.pass_cuts(self.at + u64::from(wanted));
        self.at += u64::from(wanted);
        self.filled = 0;
    }

    /// Puts what was read away, as one block that ends with a line or where a flow stands.
    fn emit<R: Ring>(&mut self, ring: &mut Spooled<R>) {
        if self.filled == 0 {
            return;
        }
        let reach = self.at + self.filled as u64;
        let cut = self.cuts.iter().find(|cut| self.at < **cut && **cut < reach);
        let length = match cut {
            Some(cut) => (*cut - self.at) as usize,
            None if reach == self.end => self.filled,
            None => memrchr(b'\n', &self.raw[..self.filled]).map_or(self.filled, |at| at + 1),
        };
        let raw = &self.raw[..length];
        let found = lines(raw);
        if let Task::Spool { writer, .. } = &mut self.task {
            let room = *self.room.get_or_insert_with(|| ring.spool.room(&mut ring.ring));
            if self.has_no_room || writer.put(self.at, raw, room).is_err() {
                self.has_no_room = true;
                self.dropped += u64::from(found);
                writer.put_missing(self.at, length as u32, found, Kind::Dropped);
            }
        }
        self.pass_cuts(self.at + length as u64);
        self.lines += u64::from(found);
        self.at += length as u64;
        self.raw.copy_within(length..self.filled, 0);
        self.filled -= length;
    }

    /// Notes how many lines there were before the cuts up to `next`.
    fn pass_cuts(&mut self, next: u64) {
        let passed = self.cuts.iter().filter(|cut| self.at <= **cut && **cut < next);
        self.counted.extend(passed.map(|cut| (*cut, self.lines)));
    }

    fn persist<R: Ring>(&mut self, ring: &mut Spooled<R>, data: Vec<u8>, now: Duration) -> Step {
        let path = self.segment.as_ref().map_or_else(PathBuf::new, |segment| segment.path.clone());
        match ring.submit(Op::Persist { token: self.token, path, data }) {
            Ok(()) => {
                self.waiting = true;
                Step::Waiting
            }
            Err(Op::Persist { data, .. }) => {
                self.retry = Some(data);
                Step::Later(now + READ_RETRY)
            }
            Err(Op::Read { .. }) => Step::Again,
        }
    }

    fn persisted<R: Ring>(
        &mut self,
        ring: &mut Spooled<R>,
        mut segment: Segment,
        result: io::Result<usize>,
        data: Vec<u8>,
        now: Duration,
    ) {
        let Some(into) = self.goes_to() else { return };
        if let Err(error) = result {
            self.failures += 1;
            self.paused_until = now + READ_RETRY;
            if self.failures < SPOOL_TRIES_MAX {
                self.segment = Some(segment);
                self.retry = Some(data);
                return;
            }
            tracing::warn!("{}: {error}; what it held is dropped", segment.path.display());
            self.give_up(ring, &mut segment);
        }
        ring.spool.add(into, segment.path, segment.bytes, segment.blocks, segment.last);
    }

    /// It cannot be written: its lines count as dropped, and nothing more is tried for this file.
    fn give_up<R: Ring>(&mut self, ring: &mut Spooled<R>, segment: &mut Segment) {
        self.has_no_room = true;
        segment.bytes = 0;
        for block in segment.blocks.iter_mut().filter(|block| block.kind == Kind::Bytes) {
            block.kind = Kind::Dropped;
            self.dropped += u64::from(block.lines);
        }
        remove_quietly(ring, &segment.path);
    }
}

/// It may be there although its writing failed, and would come back at the next start.
fn remove_quietly<R: Ring>(ring: &mut Spooled<R>, path: &Path) {
    if let Err(error) = ring.remove(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::debug!("{}: {error}", path.display());
    }
}
