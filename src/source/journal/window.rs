//! The bytes of a file around the entry that is next.
//!
//! Where much is to be read ahead, the file is mapped a stretch at a time and only what an entry needs is copied: the
//! entry, and what was written for it just before. Everywhere else, and where mapping fails, the bytes come by reads as
//! those of any other span; so what is wrong with a disk or a file is always told by a read.

use std::io;

use super::span::{Flight, Io, Owner, Part, Span, Stop};
use crate::{
    limits::{JOURNAL_STRETCH_BYTES, JOURNAL_STRETCH_SLACK_BYTES, JOURNAL_STRETCH_WORTH_BYTES},
    ring::{Mapping, Ring},
};

/// Bytes copied at least where there are so many, so that what follows at once is at hand as well.
const COPY_BYTES: usize = 4096;

#[derive(Debug)]
pub(super) struct Window {
    /// What was read or copied.
    span: Span,
    stretch: Option<Stretch>,
    /// The start of the stretch that could not be mapped last: it is read.
    refused: Option<u64>,
}

/// A mapped part of the file.
#[derive(Debug)]
struct Stretch {
    start: u64,
    mapping: Mapping,
}

impl Default for Window {
    fn default() -> Self {
        Self { span: Span::new(Part::Window), stretch: None, refused: None }
    }
}

impl Window {
    /// Forgets the bytes, keeps the memory. Nothing is mapped any more.
    pub fn clear(&mut self) {
        self.stretch = None;
        self.span.clear();
    }

    /// Forgets the bytes and gives the memory back.
    pub fn free(&mut self) {
        *self = Self::default();
    }

    pub fn is_warm(&self) -> bool {
        self.span.is_warm() || self.stretch.is_some()
    }

    /// The memory alone, for another file.
    pub fn take_memory(&mut self) -> Self {
        let mut window = Self::default();
        std::mem::swap(&mut window.span, &mut self.span);
        window.span.clear();
        self.free();
        window
    }

    #[inline]
    pub fn slice(&self, offset: u64, bytes: usize) -> Option<&[u8]> {
        self.span.slice(offset, bytes)
    }

    #[inline]
    pub fn rest(&self, offset: u64) -> &[u8] {
        self.span.rest(offset)
    }

    /// Brings `need` bytes from `offset` on into memory; of `want` bytes more is to be read in any case. Nothing from
    /// `end` on is mapped.
    pub fn fill<R: Ring>(
        &mut self,
        io: &mut Io<'_, R>,
        owner: Owner,
        (offset, need): (u64, usize),
        want: usize,
        end: u64,
    ) -> Result<(), Stop> {
        if self.span.slice(offset, need).is_some() {
            return Ok(());
        }
        if !self.span.has_failed() && self.map(io.ring, owner, offset, want, end) && self.has(offset, need) {
            return Ok(());
        }
        self.stretch = None;
        self.span.fill(io, owner, offset, need, want)
    }

    /// Whether `need` bytes from `offset` on are at hand: read, or in the mapped stretch.
    pub fn has(&mut self, offset: u64, need: usize) -> bool {
        if self.span.slice(offset, need).is_some() {
            return true;
        }
        let is_mapped = self.stretch.as_ref().is_some_and(|stretch| stretch.start == start_of(offset));
        let copied = is_mapped && (self.copy(offset, need.max(COPY_BYTES)) || self.copy(offset, need));
        if is_mapped && !copied {
            // Not what the file has any more, or its last page, or longer than any entry is: from here on it is read.
            (self.stretch, self.refused) = (None, Some(start_of(offset)));
        }
        copied
    }

    /// Has the stretch in which `offset` lies mapped, if that pays.
    fn map<R: Ring>(&mut self, ring: &mut R, owner: Owner, offset: u64, want: usize, end: u64) -> bool {
        let start = start_of(offset);
        if self.stretch.as_ref().is_some_and(|stretch| stretch.start == start) {
            return true;
        }
        let bytes = end.saturating_sub(start).min((JOURNAL_STRETCH_BYTES + JOURNAL_STRETCH_SLACK_BYTES) as u64);
        if want < JOURNAL_STRETCH_WORTH_BYTES || self.refused == Some(start) || start + bytes <= offset {
            return false;
        }
        // The one before goes first: two at once are never mapped.
        self.stretch = None;
        self.stretch = ring.map(owner.handle, start, bytes as usize).ok().map(|mapping| Stretch { start, mapping });
        if self.stretch.is_none() {
            self.refused = Some(start);
        }
        self.stretch.is_some()
    }

    /// `bytes` bytes from `offset` on, if the mapped stretch has them.
    #[inline]
    fn copy(&mut self, offset: u64, bytes: usize) -> bool {
        let Some(Stretch { start, mapping }) = &self.stretch else { return false };
        match offset.checked_sub(*start) {
            Some(from) => self.span.copy(mapping, from as usize, offset, bytes),
            None => false,
        }
    }

    /// Has `bytes` bytes from `offset` on at hand without waiting, where the file is mapped; where it is not, what is
    /// at hand has to do. False when the stretch does not have them.
    #[inline(always)]
    pub fn reach(&mut self, offset: u64, bytes: usize) -> bool {
        self.stretch.is_none() || self.span.slice(offset, bytes).is_some() || self.copy(offset, bytes)
    }

    #[inline(always)]
    pub fn is_mapped(&self) -> bool {
        self.stretch.is_some()
    }

    /// Drops what `reach` brought, which was not enough.
    #[inline]
    pub fn retreat(&mut self) {
        if self.stretch.is_some() {
            self.span.clear();
        }
    }

    /// Has the processor fetch what will be asked for soon.
    #[inline(always)]
    pub fn will_read(&self, offset: u64, bytes: usize) {
        match &self.stretch {
            Some(Stretch { start, mapping }) => {
                if let Some(from) = offset.checked_sub(*start) {
                    mapping.will_copy(from as usize, bytes);
                }
            }
            None => {
                if let Some(bytes) = self.span.slice(offset, bytes) {
                    crate::os::memory::will_read(bytes);
                }
            }
        }
    }

    /// Takes what the read under way brought.
    pub fn complete(&mut self, flight: Flight, result: io::Result<usize>, buf: Vec<u8>) {
        self.span.complete(flight, result, buf);
    }
}

fn start_of(offset: u64) -> u64 {
    offset - offset % JOURNAL_STRETCH_BYTES as u64
}
