//! The chain of entry arrays: which entry an ordinal is.
//!
//! Every array lists entries and names the next one, twice as long. What was followed once is kept; an array is read as
//! far as it is needed, and one step never needs two of them, since only one is in memory.

use super::{
    file::JournalFile,
    span::{Io, Owner, Span, Stop},
};
use crate::{
    limits::{JOURNAL_ARRAY_READ_BYTES, JOURNAL_CHAIN_MAX},
    ring::Ring,
    wire::journal::{ALIGNMENT, ArrayHead, Layout, object::ARRAY_ITEMS_AT},
};

/// One array of the chain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub offset: u64,
    /// Ordinal of its first item.
    pub first: u64,
    pub capacity: u64,
    /// The array after it; 0 while there was none.
    next: u64,
}

/// What an ordinal leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item {
    At(u64),
    /// The chain ends or is damaged before that ordinal.
    Broken,
}

impl JournalFile {
    /// Follows the chain to the array that holds `ordinal` and reads the item.
    #[inline]
    pub fn item<R: Ring>(&mut self, io: &mut Io<'_, R>, ordinal: u64) -> Result<Item, Stop> {
        let owner = self.owner()?;
        loop {
            let holds = |link: &&Link| ordinal.checked_sub(link.first).is_some_and(|index| index < link.capacity);
            let found = self.chain.last().filter(holds).or_else(|| self.chain.iter().rev().find(holds));
            if let Some(link) = found {
                let bytes = self.layout.array_item_bytes();
                let index = ordinal - link.first;
                let at = link.offset.saturating_add(ARRAY_ITEMS_AT as u64 + index.saturating_mul(bytes as u64));
                if self.array.slice(at, bytes).is_none() {
                    let rest = (link.capacity - index).saturating_mul(bytes as u64);
                    let want = rest.min(JOURNAL_ARRAY_READ_BYTES as u64) as usize;
                    match self.array.fill(io, owner, at, bytes, want) {
                        Err(Stop::End | Stop::Io(_)) => return Ok(Item::Broken),
                        other => other?,
                    }
                }
                let item = self.array.slice(at, bytes).and_then(|item| self.layout.offset(item));
                return Ok(item.map_or(Item::Broken, Item::At));
            }
            if !self.extend(io, owner)? {
                return Ok(Item::Broken);
            }
        }
    }

    /// Adds one array to the chain; false when there is no further one.
    fn extend<R: Ring>(&mut self, io: &mut Io<'_, R>, owner: Owner) -> Result<bool, Stop> {
        let (next, first) = match self.chain.last() {
            None => (self.header.entry_array_offset, 0),
            Some(&Link { offset, first, capacity, next }) => {
                // Kept at once: a step taken again must not need two arrays in memory.
                let next = match next {
                    0 => self.array_head(io, owner, offset)?.map_or(0, |head| head.next),
                    next => next,
                };
                if next <= offset {
                    return Ok(false);
                }
                self.chain.iter_mut().rev().take(1).for_each(|link| link.next = next);
                (next, first.saturating_add(capacity))
            }
        };
        let outside = next < self.header.header_size || !next.is_multiple_of(ALIGNMENT);
        if outside || self.chain.len() >= JOURNAL_CHAIN_MAX {
            return Ok(false);
        }
        let Some(head) = self.array_head(io, owner, next)? else { return Ok(false) };
        if head.capacity > 0 {
            self.chain.push(Link { offset: next, first, capacity: head.capacity, next: 0 });
        }
        Ok(head.capacity > 0)
    }

    fn array_head<R: Ring>(
        &mut self,
        io: &mut Io<'_, R>,
        owner: Owner,
        offset: u64,
    ) -> Result<Option<ArrayHead>, Stop> {
        match self.array.fill(io, owner, offset, ARRAY_ITEMS_AT, JOURNAL_ARRAY_READ_BYTES) {
            Ok(()) => Ok(ArrayHead::parse(self.array.rest(offset), self.layout)),
            Err(Stop::End | Stop::Io(_)) => Ok(None),
            Err(stop) => Err(stop),
        }
    }

    /// The items from the next one on, as far as its array is in memory.
    pub fn items_ahead(&self) -> impl Iterator<Item = u64> {
        let (items, bytes) = items_at(&self.chain, &self.array, self.layout, self.next);
        let left = usize::try_from(self.seen.saturating_sub(self.next)).unwrap_or(usize::MAX);
        items.chunks_exact(bytes).take(left).map_while(|item| self.layout.offset(item))
    }
}

/// The items from `ordinal` on, as far as its array is in memory, and the bytes of one.
#[inline]
pub(super) fn items_at<'a>(chain: &[Link], array: &'a Span, layout: Layout, ordinal: u64) -> (&'a [u8], usize) {
    let bytes = layout.array_item_bytes();
    let Some(link) = chain.iter().rev().find(|link| link.first <= ordinal) else { return (&[], bytes) };
    let index = ordinal - link.first;
    let at = link.offset.saturating_add(ARRAY_ITEMS_AT as u64).saturating_add(index.saturating_mul(bytes as u64));
    let left = link.capacity.saturating_sub(index).saturating_mul(bytes as u64);
    let items = array.rest(at);
    (&items[..items.len().min(usize::try_from(left).unwrap_or(usize::MAX))], bytes)
}
