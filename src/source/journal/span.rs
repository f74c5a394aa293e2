//! Bytes of a file in memory, and how they get there without waiting.
//!
//! Every step of the cursor can be taken again: it asks for the bytes it needs and, when they are not there, leaves
//! with `Stop::Pending` while one read is under way; taken again afterwards it finds them. A span only ever holds bytes
//! of one contiguous range, and a fill with the same start continues where the last one ended.

use std::{io, mem};

use super::{patience::Patience, trouble::Troubles};
use crate::{
    model::JournalPosition,
    ring::{Handle, Mapping, Op, ReadNow, Ring, Token},
};

/// Why a step cannot go on.
#[derive(Debug)]
pub(super) enum Stop {
    /// A read is under way.
    Pending,
    /// The ring is full, or the work one step may do is done.
    Yield,
    /// The file ends before the bytes asked for.
    End,
    /// The disk fails here and was asked long enough.
    Io(io::Error),
    /// The disk fails here and is asked again at the next look.
    Failing,
}

/// Which span of a file a read is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Head,
    Array,
    Window,
    Object,
    /// Of a list of the file's index.
    List(usize),
}

/// The one read under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flight {
    pub file: u32,
    pub part: Part,
    /// The buffer is the rest of a short read, not the span's own.
    tail: bool,
}

/// What a step may use of the world.
pub(super) struct Io<'a, R> {
    pub ring: &'a mut R,
    pub token: Token,
    pub flight: &'a mut Option<Flight>,
    pub troubles: &'a mut Troubles,
    pub patience: &'a mut Patience,
    /// Entries the step may still look at.
    pub budget: u32,
    /// A file is read again: the cursor stands here.
    pub rewound: Option<JournalPosition>,
}

impl<R: Ring> Io<'_, R> {
    /// What a read that failed at this place means.
    #[cold]
    fn failed(&mut self, owner: Owner, offset: u64, error: io::Error) -> Stop {
        let now = self.ring.now().mono;
        if self.patience.endures(owner.file, offset, &error, now) { Stop::Failing } else { Stop::Io(error) }
    }
}

impl<R> Io<'_, R> {
    /// Counts one entry looked at.
    pub fn spend(&mut self) -> Result<(), Stop> {
        self.budget = self.budget.checked_sub(1).ok_or(Stop::Yield)?;
        Ok(())
    }
}

/// Whose bytes are asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner {
    pub file: u32,
    pub handle: Handle,
}

/// One contiguous range of a file.
#[derive(Debug)]
pub(super) struct Span {
    part: Part,
    buf: Vec<u8>,
    start: u64,
    len: usize,
    /// The file ends after these bytes.
    end: bool,
    failed: Option<io::Error>,
}

impl Span {
    pub fn new(part: Part) -> Self {
        Self { part, buf: Vec::new(), start: 0, len: 0, end: false, failed: None }
    }

    /// Forgets the bytes, keeps the memory.
    pub fn clear(&mut self) {
        (self.start, self.len, self.end, self.failed) = (0, 0, false, None);
    }

    /// Forgets the bytes and gives the memory back.
    pub fn free(&mut self) {
        *self = Self::new(self.part);
    }

    pub fn is_warm(&self) -> bool {
        self.buf.capacity() > 0
    }

    /// The last read failed, which nobody was told yet.
    pub fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// Holds `bytes` bytes from `offset` on, copied from the place `from` of a mapping; nothing when that has them not.
    #[inline]
    pub fn copy(&mut self, mapping: &Mapping, from: usize, offset: u64, bytes: usize) -> bool {
        if self.buf.len() < bytes {
            self.grow(bytes);
        }
        let copied = mapping.copy(from, &mut self.buf[..bytes]);
        self.clear();
        (self.start, self.len) = (offset, if copied { bytes } else { 0 });
        copied
    }

    #[cold]
    fn grow(&mut self, bytes: usize) {
        self.buf.reserve_exact(bytes - self.buf.len());
        self.buf.resize(bytes, 0);
    }

    /// `bytes` bytes from `offset` on, if all are here.
    #[inline]
    pub fn slice(&self, offset: u64, bytes: usize) -> Option<&[u8]> {
        let from = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        let to = from.checked_add(bytes)?;
        if to > self.len { None } else { self.buf.get(from..to) }
    }

    /// All that is here from `offset` on.
    #[inline]
    pub fn rest(&self, offset: u64) -> &[u8] {
        let from = offset.checked_sub(self.start).and_then(|from| usize::try_from(from).ok());
        from.and_then(|from| self.buf.get(from..self.len)).unwrap_or_default()
    }

    /// Brings `need` bytes from `offset` on into memory, reading up to `want` while at it.
    pub fn fill<R: Ring>(
        &mut self,
        io: &mut Io<'_, R>,
        owner: Owner,
        offset: u64,
        need: usize,
        want: usize,
    ) -> Result<(), Stop> {
        if let Some(error) = self.failed.take() {
            let at = self.start.saturating_add(self.len as u64);
            self.clear();
            return Err(io.failed(owner, at, error));
        }
        if self.slice(offset, need).is_some() {
            return Ok(());
        }
        if self.start != offset || (self.len == 0 && !self.end) {
            self.clear();
            self.start = offset;
        }
        let want = want.max(need);
        if offset.checked_add(want as u64).is_none_or(|end| i64::try_from(end).is_err()) {
            // No file is so long: a damaged offset, not a disk that fails.
            return Err(Stop::End);
        }
        if self.buf.len() < want {
            self.grow(want);
        }
        while self.len < need {
            if self.end {
                return Err(Stop::End);
            }
            let at = offset.checked_add(self.len as u64).ok_or(Stop::End)?;
            match io.ring.read_now(owner.handle, at, &mut self.buf[self.len..want]) {
                Ok(ReadNow::Ready(0)) => self.end = true,
                Ok(ReadNow::Ready(bytes)) => self.len += bytes,
                Ok(ReadNow::WouldBlock) => return Err(self.submit(io, owner, at, want)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(io.failed(owner, at, error)),
            }
        }
        io.patience.heals(owner.file, offset..offset.saturating_add(self.len as u64));
        Ok(())
    }

    fn submit<R: Ring>(&mut self, io: &mut Io<'_, R>, owner: Owner, at: u64, want: usize) -> Stop {
        let tail = self.len > 0;
        let buf = if tail {
            vec![0; want - self.len]
        } else {
            self.buf.truncate(want);
            mem::take(&mut self.buf)
        };
        match io.ring.submit(Op::Read { token: io.token, handle: owner.handle, offset: at, buf }) {
            Ok(()) => {
                *io.flight = Some(Flight { file: owner.file, part: self.part, tail });
                Stop::Pending
            }
            Err(Op::Read { buf, .. }) if !tail => {
                self.buf = buf;
                Stop::Yield
            }
            Err(_) => Stop::Yield,
        }
    }

    /// Takes what the read under way brought.
    pub fn complete(&mut self, flight: Flight, result: io::Result<usize>, buf: Vec<u8>) {
        let bytes = match result {
            Ok(bytes) => bytes.min(buf.len()),
            Err(error) => {
                let again = matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock);
                self.failed = (!again).then_some(error);
                0
            }
        };
        self.end = bytes == 0 && self.failed.is_none();
        if flight.tail {
            let room = self.buf.len().saturating_sub(self.len).min(bytes);
            self.buf[self.len..self.len + room].copy_from_slice(&buf[..room]);
            self.len += room;
        } else {
            self.buf = buf;
            self.len = bytes;
        }
    }
}
