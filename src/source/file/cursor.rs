//! Walks one file line by line from a byte offset.
//!
//! A line that is not finished yet holds no buffer: the position stays at its start and it is read again. The chunk is
//! lent by the lane's pool for as long as there is something to read. To tell equal neighbours apart the same way after
//! every restart, a cursor begins up to `LOOK_BACK_BYTES` early and marks what lies before its position as look-back.

use std::io;

use memchr::memchr;

use crate::{
    limits::{CHUNK_BYTES, FRAME_BYTES_MAX, LOOK_BACK_BYTES},
    model::{Hint, Position, Record},
    ring::{Handle, Op, ReadNow, Ring, Token},
    source::Next,
};

/// A cursor over one open file. Does not own the handle.
#[derive(Debug)]
pub struct FileCursor {
    handle: Handle,
    /// Records that start before this offset are look-back.
    emit_from: u64,
    /// File offset of `chunk[0]`.
    chunk_offset: u64,
    chunk: Option<Vec<u8>>,
    /// Bytes of the chunk that hold file content.
    filled: usize,
    /// Next byte to frame.
    parsed: usize,
    /// The first line is cut at its beginning: leave it away (it lies in the look-back).
    skip_to_line_start: bool,
    pending: bool,
    /// The file will not grow: what is left without a newline is a record.
    last: bool,
    failure: Option<io::Error>,
}

impl FileCursor {
    /// A cursor that emits every record from `offset` on, which is where a record starts.
    pub fn new(handle: Handle, offset: u64) -> Self {
        // One byte more than the look-back: if it is a newline, a line starts right at the window's edge.
        let begin = offset.saturating_sub(LOOK_BACK_BYTES + 1);
        Self {
            handle,
            emit_from: offset,
            chunk_offset: begin,
            chunk: None,
            filled: 0,
            parsed: 0,
            skip_to_line_start: begin > 0,
            pending: false,
            last: false,
            failure: None,
        }
    }

    /// Looks back no further than `floor`, where a line starts: nothing before it can be read.
    #[must_use]
    pub fn above(mut self, floor: u64) -> Self {
        if self.chunk_offset < floor {
            self.chunk_offset = floor.min(self.emit_from);
            self.skip_to_line_start = false;
        }
        self
    }

    /// Offset of the next record to be emitted.
    pub fn offset(&self) -> u64 {
        self.emit_from.max(self.chunk_offset + self.parsed as u64)
    }

    /// From now on the end of the file ends a record, too.
    pub fn set_last(&mut self) {
        self.last = true;
    }

    /// Whether a read is under way; its completion goes to `complete`.
    pub fn is_waiting(&self) -> bool {
        self.pending
    }

    /// Whether it has a chunk of the pool; one in a read under way does not count.
    pub fn has_chunk(&self) -> bool {
        self.chunk.is_some()
    }

    /// Steps once. `lend` gives a chunk of `CHUNK_BYTES`, or `None` when the pool is empty (then `Pending`: step again
    /// next turn); `Idle` gives the chunk back through `take_chunk`.
    pub fn next<R: Ring>(
        &mut self,
        ring: &mut R,
        token: Token,
        lend: &mut dyn FnMut() -> Option<Vec<u8>>,
    ) -> io::Result<Next<'_>> {
        if let Some(error) = self.failure.take() {
            return Err(error);
        }
        if self.pending {
            return Ok(Next::Pending);
        }
        let (start, end, skip) = loop {
            match self.frame() {
                Some(found) => break found,
                None => match self.fill(ring, token, lend)? {
                    Filled::More => {}
                    Filled::Pending => return Ok(Next::Pending),
                    Filled::End => match self.rest() {
                        Some(found) => break found,
                        None => return Ok(Next::Idle),
                    },
                },
            }
        };
        self.parsed = end + skip;
        let place = self.chunk_offset + start as u64;
        let chunk = self.chunk.as_deref().unwrap_or_default();
        Ok(Next::Record(Record {
            frame: &chunk[start..end],
            end: Position::file(self.chunk_offset + self.parsed as u64),
            place,
            sources: 1,
            look_back: place < self.emit_from,
            hint: Hint::default(),
        }))
    }

    /// Takes the last record back: the next step gives it again. `place` is where it begins.
    pub fn step_back(&mut self, place: u64) {
        debug_assert!(place >= self.chunk_offset && place <= self.chunk_offset + self.parsed as u64);
        self.parsed = self.parsed.min(place.saturating_sub(self.chunk_offset) as usize);
    }

    /// Brings back the buffer of the read under way.
    pub fn complete(&mut self, result: io::Result<usize>, buf: Vec<u8>) {
        self.pending = false;
        self.chunk = Some(buf);
        self.parsed = 0;
        match result {
            Ok(bytes) => self.filled = bytes,
            Err(error) => {
                self.filled = 0;
                self.failure = Some(error);
            }
        }
    }

    /// Gives the chunk back when nothing of it is needed: an unfinished line is read again.
    pub fn take_chunk(&mut self) -> Option<Vec<u8>> {
        let chunk = self.chunk.take()?;
        self.chunk_offset += self.parsed as u64;
        self.parsed = 0;
        self.filled = 0;
        Some(chunk)
    }

    /// The next whole line of the chunk as (start, end, bytes of its end mark); also a piece of one that is too long.
    fn frame(&mut self) -> Option<(usize, usize, usize)> {
        let chunk = self.chunk.as_deref()?;
        loop {
            let window = &chunk[self.parsed..self.filled];
            let newline = memchr(b'\n', window);
            if self.skip_to_line_start {
                // Never past the position: a cut line that reaches it is no look-back at all.
                let limit = (self.emit_from - self.chunk_offset) as usize - self.parsed;
                let skipped = newline.map_or(window.len(), |at| at + 1).min(limit);
                self.parsed += skipped;
                self.skip_to_line_start = newline.is_none_or(|at| at >= limit) && skipped < limit;
                if window.is_empty() || self.skip_to_line_start {
                    return None;
                }
                continue;
            }
            let start = self.parsed;
            return match newline {
                Some(length) if length <= FRAME_BYTES_MAX => Some((start, start + length, 1)),
                _ if window.len() > FRAME_BYTES_MAX => Some((start, start + FRAME_BYTES_MAX, 0)),
                _ => None,
            };
        }
    }

    /// What is left before the end of a file that will not grow.
    fn rest(&self) -> Option<(usize, usize, usize)> {
        (self.last && !self.skip_to_line_start && self.parsed < self.filled).then_some((self.parsed, self.filled, 0))
    }

    fn fill<R: Ring>(
        &mut self,
        ring: &mut R,
        token: Token,
        lend: &mut dyn FnMut() -> Option<Vec<u8>>,
    ) -> io::Result<Filled> {
        if self.chunk.is_none() {
            let Some(chunk) = lend() else { return Ok(Filled::Pending) };
            debug_assert_eq!(chunk.len(), CHUNK_BYTES);
            self.chunk = Some(chunk);
        }
        let Some(chunk) = self.chunk.as_mut() else { return Ok(Filled::Pending) };
        chunk.copy_within(self.parsed..self.filled, 0);
        self.chunk_offset += self.parsed as u64;
        self.filled -= self.parsed;
        self.parsed = 0;
        let offset = self.chunk_offset + self.filled as u64;
        match ring.read_now(self.handle, offset, &mut chunk[self.filled..])? {
            ReadNow::Ready(0) => Ok(Filled::End),
            ReadNow::Ready(bytes) => {
                self.filled += bytes;
                Ok(Filled::More)
            }
            ReadNow::WouldBlock => {
                let Some(buf) = self.chunk.take() else { return Ok(Filled::Pending) };
                self.filled = 0;
                match ring.submit(Op::Read { token, handle: self.handle, offset: self.chunk_offset, buf }) {
                    Ok(()) => self.pending = true,
                    Err(Op::Read { buf, .. }) => self.chunk = Some(buf),
                    Err(Op::Persist { .. }) => {}
                }
                Ok(Filled::Pending)
            }
        }
    }
}

enum Filled {
    More,
    Pending,
    End,
}
