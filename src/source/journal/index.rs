//! The entries a file's own index says are wanted.
//!
//! Every DATA object lists the entries that have it. Where each source asks for some value, the lists of the values
//! asked for name every entry that can be wanted, and no other one needs to be looked at. A list is believed as far as
//! the chain of all entries confirms it: an entry it names must stand there, and it must be as long as its DATA object
//! says. Else all entries are read from the last confirmed one on, and that is told. Only archived files are read by
//! their index: a writer commits an entry first and lists it afterwards. Their last entries are read in any case, since
//! a writer that fails to list one rotates.

use super::{
    chain::{Item, items_at},
    file::JournalFile,
    span::{Io, Part, Span, Stop},
};
use crate::{
    limits::{JOURNAL_DATA_READ_BYTES, JOURNAL_INDEX_LISTS_MAX, JOURNAL_STEP_ENTRIES_MAX},
    ring::Ring,
    wire::journal::{
        ArrayHead, DataHead, Layout,
        object::{ARRAY_ITEMS_AT, ENTRY_ITEMS_AT},
    },
};

/// Entries at the end of a file that are read without asking the index.
const TAIL_ENTRIES: u64 = 64;
/// Reading around each wanted entry pays when fewer than one in so many is wanted.
const SPARSE: u64 = 32;
/// What walking over one piece of the chain costs, in entries looked at.
const PIECE_COST: u32 = JOURNAL_STEP_ENTRIES_MAX / 64;

/// Which entries of a file may be wanted.
#[derive(Debug)]
pub(super) struct Index {
    lists: Vec<List>,
    /// The index says nothing of entries from this ordinal on.
    until: u64,
    /// Entries below this ordinal lie before the next one wanted.
    reached: u64,
    /// Offset of the last of these; 0 when there is none.
    before: u64,
    /// Few entries are wanted.
    pub sparse: bool,
}

/// The entries that have one DATA object: the first by itself, then a chain of arrays.
#[derive(Debug)]
struct List {
    first: u64,
    entries: u64,
    /// The entry it stands at: 0 before the first, the largest number behind the last.
    head: u64,
    taken: u64,
    array: u64,
    /// Items of that array; 0 while its head was not read.
    capacity: u64,
    place: u64,
    next: u64,
    span: Span,
}

/// What is missing for the next step.
#[derive(Clone, Copy, Debug)]
pub(super) enum Lack {
    /// So many bytes from an offset on, for the list of this number.
    Bytes(usize, u64, usize),
    /// The item of this ordinal of the chain of all entries.
    Item(u64),
    /// The index contradicts the file.
    Broken,
}

impl Index {
    /// Of a file with `entries` entries; `None` when asking it does not pay.
    pub fn new(data: &[DataHead], entries: u64) -> Option<Self> {
        let listed = data.iter().fold(0u64, |sum, data| sum.saturating_add(data.n_entries));
        let until = entries.saturating_sub(TAIL_ENTRIES);
        if data.len() > JOURNAL_INDEX_LISTS_MAX || listed > entries - entries / 4 {
            return None;
        }
        let lists = data.iter().enumerate().map(|(number, data)| List::new(number, data)).collect();
        let sparse = listed < entries / SPARSE;
        Some(Self { lists, until, reached: 0, before: 0, sparse })
    }

    pub fn span(&mut self, list: usize) -> Option<&mut Span> {
        self.lists.get_mut(list).map(|list| &mut list.span)
    }

    /// The first entry at or behind `from` that a list names; the largest number when none does.
    #[inline]
    fn candidate(&mut self, layout: Layout, from: u64) -> Result<u64, Lack> {
        let mut first = u64::MAX;
        for (number, list) in self.lists.iter_mut().enumerate() {
            while list.head < from.max(1) {
                list.step(number, layout)?;
            }
            first = first.min(list.head);
        }
        Ok(first)
    }
}

impl List {
    fn new(number: usize, data: &DataHead) -> Self {
        Self {
            first: data.entry,
            entries: data.n_entries,
            head: 0,
            taken: 0,
            array: data.entry_array,
            capacity: 0,
            place: 0,
            next: 0,
            span: Span::new(Part::List(number)),
        }
    }

    /// Goes to the next entry.
    #[inline]
    fn step(&mut self, number: usize, layout: Layout) -> Result<(), Lack> {
        if self.taken == self.entries {
            self.head = u64::MAX;
            return Ok(());
        }
        let item = if self.taken == 0 { self.first } else { self.item(number, layout)? };
        if item == 0 || item < self.head {
            return Err(Lack::Broken);
        }
        (self.head, self.taken) = (item, self.taken + 1);
        Ok(())
    }

    /// The next item of its arrays.
    #[inline]
    fn item(&mut self, number: usize, layout: Layout) -> Result<u64, Lack> {
        while self.place == self.capacity {
            if self.capacity > 0 {
                if self.next <= self.array {
                    return Err(Lack::Broken);
                }
                (self.array, self.capacity, self.place) = (self.next, 0, 0);
            }
            let head = self.span.slice(self.array, ARRAY_ITEMS_AT);
            let head = head.ok_or(Lack::Bytes(number, self.array, ARRAY_ITEMS_AT))?;
            let head = ArrayHead::parse(head, layout).filter(|head| head.capacity > 0).ok_or(Lack::Broken)?;
            (self.capacity, self.next) = (head.capacity, head.next);
        }
        let bytes = layout.array_item_bytes();
        let at = self.array.saturating_add(ARRAY_ITEMS_AT as u64).saturating_add(self.place * bytes as u64);
        let item = self.span.slice(at, bytes).and_then(|item| layout.offset(item));
        let item = item.ok_or(Lack::Bytes(number, at, bytes))?;
        self.place += 1;
        Ok(item)
    }
}

impl JournalFile {
    /// Passes over what the index does not list, reading what that takes.
    pub fn pass_unlisted<R: Ring>(&mut self, io: &mut Io<'_, R>) -> Result<(), Stop> {
        let owner = self.owner()?;
        while let Err(lack) = self.pass_unlisted_now() {
            let whole = match lack {
                Lack::Bytes(list, at, bytes) => {
                    let span = self.index.as_mut().and_then(|index| index.span(list));
                    match span.map(|span| span.fill(io, owner, at, bytes, JOURNAL_DATA_READ_BYTES)) {
                        Some(Ok(())) => true,
                        None | Some(Err(Stop::End | Stop::Io(_))) => false,
                        Some(Err(stop)) => return Err(stop),
                    }
                }
                Lack::Item(ordinal) => {
                    io.budget = io.budget.checked_sub(PIECE_COST).ok_or(Stop::Yield)?;
                    matches!(self.item(io, ordinal)?, Item::At(_))
                }
                Lack::Broken => false,
            };
            if !whole {
                self.index = None;
                self.complain(io, "the index of its fields is damaged; all entries are read instead");
            }
        }
        Ok(())
    }

    /// The same with the bytes at hand.
    #[inline]
    pub fn pass_unlisted_now(&mut self) -> Result<(), Lack> {
        let Some(index) = &mut self.index else { return Ok(()) };
        let candidate = index.candidate(self.layout, self.group)?;
        index.reached = index.reached.max(self.next);
        while index.reached < index.until {
            let (items, bytes) = items_at(&self.chain, &self.array, self.layout, index.reached);
            let left = usize::try_from(index.until - index.reached).unwrap_or(usize::MAX);
            let mut items = items.chunks_exact(bytes).take(left).map(|item| self.layout.offset(item).unwrap_or(0));
            let mut item = items.next().ok_or(Lack::Item(index.reached))?;
            while item < candidate {
                (index.reached, index.before) = (index.reached + 1, item);
                let Some(next) = items.next() else { break };
                item = next;
            }
            if item == candidate {
                break;
            }
            if item > candidate {
                return Err(Lack::Broken);
            }
        }
        let passed = index.reached - self.next;
        if passed > 0 {
            // No DATA lies within the entry passed over last.
            let group = index.before.saturating_add(ENTRY_ITEMS_AT as u64);
            self.group = self.group.max(group.min(candidate));
            self.passed_over += passed;
            self.next = index.reached;
        }
        if index.reached >= index.until {
            self.index = None;
        }
        Ok(())
    }
}
