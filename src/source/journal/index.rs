//! The entries a file's own index says are wanted.
//!
//! Every DATA object lists the entries that have it. Where each source asks for some value, the lists of the values
//! asked for name every entry that can be wanted, and no other one needs to be looked at. A list is believed as far as
//! the chain of all entries confirms it: an entry it names must stand there and have that DATA, and it must be as long
//! as its DATA object says. All lists are followed to their end first, so that nearly all that can be wrong with one
//! shows before anything is passed over. An item that leads elsewhere shows later; then the whole file is read again,
//! but for the entries that the lists led to, since what was left out may lie anywhere before. Either is told. Only
//! archived files, and from their first entry on, are read by their index: a writer commits an entry first and lists it
//! afterwards. Their last entries are read in any case, since a writer that fails to list one rotates. Not noticed is
//! what a wrong item left out before the process ends, or sources or passes change, in the midst of its file.

use super::{
    chain::{Item, Link, items_at},
    file::JournalFile,
    peek::Peeked,
    span::{Io, Part, Span, Stop},
};
use crate::{
    limits::{JOURNAL_ARRAY_READ_BYTES, JOURNAL_INDEX_ENTRIES_MAX, JOURNAL_INDEX_LISTS_MAX, JOURNAL_STEP_ENTRIES_MAX},
    model::JournalPosition,
    ring::Ring,
    wire::journal::{
        ALIGNMENT, ArrayHead, DataHead, Layout,
        object::{ARRAY_ITEMS_AT, ENTRY_ITEMS_AT},
    },
};

/// Entries at the end of a file that are read without asking the index.
const TAIL_ENTRIES: u64 = 64;
/// Reading around each wanted entry pays when fewer than one in so many is wanted.
const SPARSE: u64 = 32;
/// How many items behind those a list has taken it can be asked for.
const FAR_ITEMS: usize = 3;
/// What walking over one piece of the chain or of a list costs, in entries looked at.
const PIECE_COST: u32 = JOURNAL_STEP_ENTRIES_MAX / 64;

/// Which entries of a file may be wanted.
#[derive(Debug)]
pub(super) struct Index {
    lists: Vec<List>,
    /// Entries from this ordinal on are read whatever the index says.
    until: u64,
    /// Entries below this ordinal lie before the next one wanted.
    reached: u64,
    /// Offset of the last of these; 0 when there is none.
    before: u64,
    /// Where the cursor stood before this file, and the entries gone past since.
    from: JournalPosition,
    gone_past: Vec<u32>,
    /// Every list was followed to its end.
    surveyed: bool,
    /// Few entries are wanted.
    pub sparse: bool,
}

/// The entries that have one DATA object: the first by itself, then a chain of arrays.
#[derive(Debug)]
struct List {
    /// Offset of the DATA.
    data: u64,
    first: u64,
    /// The first of its arrays.
    arrays: u64,
    entries: u64,
    /// The entry it stands at: 0 before the first, the largest number behind the last.
    head: u64,
    /// The one after that. Items ascend: a wrong one that is too large shows before it is gone to.
    ahead: u64,
    /// Items read, with `ahead`.
    taken: u64,
    array: u64,
    /// Items of that array; 0 while its head was not read.
    capacity: u64,
    place: u64,
    next: u64,
    /// Lower bound of the entry after the last one that was confirmed.
    confirmed: u64,
    span: Span,
}

/// What is missing for the next step.
#[derive(Clone, Copy, Debug)]
pub(super) enum Lack {
    /// So many bytes from an offset on, for the list of this number.
    Bytes(usize, u64, usize),
    /// The item of this ordinal of the chain of all entries.
    Item(u64),
    /// A list contradicts the file.
    Broken,
}

impl Index {
    /// Of a file with `entries` entries, by DATA objects and their offsets; `None` when asking it does not pay.
    /// `from`: where the cursor stands, which has read none of them.
    pub fn new(data: &[(u64, DataHead)], entries: u64, from: JournalPosition) -> Option<Self> {
        let listed = data.iter().fold(0u64, |sum, (_, data)| sum.saturating_add(data.n_entries));
        let until = entries.saturating_sub(TAIL_ENTRIES);
        // A count of none that has entries would not be looked behind.
        if data.iter().any(|(_, data)| (data.n_entries == 0) != (data.entry == 0))
            || data.len() > JOURNAL_INDEX_LISTS_MAX
            || listed > (entries - entries / 4).min(JOURNAL_INDEX_ENTRIES_MAX)
        {
            return None;
        }
        let lists = data.iter().enumerate().map(|(number, (at, data))| List::new(number, *at, data));
        let lists = lists.collect();
        let sparse = listed < entries / SPARSE;
        Some(Self { lists, until, reached: 0, before: 0, from, gone_past: Vec::new(), surveyed: false, sparse })
    }

    /// Follows every list to its end, before anything is passed over because of it: one that is shorter or longer than
    /// it says, or leads back, shows now.
    #[cold]
    fn survey(&mut self, layout: Layout) -> Result<(), Lack> {
        for (number, list) in self.lists.iter_mut().enumerate() {
            while list.head != u64::MAX {
                list.step(number, layout)?;
            }
        }
        self.lists.iter_mut().for_each(List::begin);
        self.surveyed = true;
        Ok(())
    }

    /// The entry at `offset` is done with.
    #[inline]
    pub fn go_past(&mut self, offset: u64) {
        self.gone_past.extend(number(offset));
    }

    pub fn span(&mut self, list: usize) -> Option<&mut Span> {
        self.lists.get_mut(list).map(|list| &mut list.span)
    }

    /// An entry some places after the next one, by the first list and as far as that was read; if there are several,
    /// others come before.
    #[inline]
    pub fn far_ahead(&self, layout: Layout) -> Option<u64> {
        let list = self.lists.first()?;
        let bytes = layout.array_item_bytes();
        layout.offset(list.span.slice(list.place_at(layout).saturating_add((FAR_ITEMS * bytes) as u64), bytes)?)
    }

    /// The entry at `offset` cannot be read: no list is to blame.
    pub fn excuse(&mut self, offset: u64) {
        self.lists.iter_mut().filter(|list| list.head == offset).for_each(|list| list.confirmed = offset + 1);
        self.go_past(offset);
    }

    /// Whether the entry at `offset`, with these items, has the DATA of every list that names it.
    #[inline]
    pub fn confirm(&mut self, layout: Layout, items: &[u8], offset: u64) -> Result<(), Lack> {
        for list in self.lists.iter_mut().filter(|list| list.head == offset) {
            let mut items = items.chunks_exact(layout.entry_item_bytes());
            if !items.any(|item| layout.offset(item) == Some(list.data)) {
                return Err(Lack::Broken);
            }
            list.confirmed = offset + ENTRY_ITEMS_AT as u64;
        }
        Ok(())
    }

    /// Goes from the entry `next` to the one at `candidate` in the chain of all entries.
    #[inline(always)]
    fn reach(&mut self, layout: Layout, chain: &[Link], array: &Span, next: u64, candidate: u64) -> Result<(), Lack> {
        self.reached = self.reached.max(next);
        while self.reached < self.until {
            let items = items_at(chain, array, layout, self.reached).0.chunks_exact(layout.array_item_bytes());
            let left = usize::try_from(self.until - self.reached).unwrap_or(usize::MAX);
            let (mut passed, mut before, mut found) = (0, self.before, None);
            for item in items.take(left).map(|item| layout.offset(item).unwrap_or(0)) {
                if item >= candidate {
                    found = Some(item);
                    break;
                }
                (passed, before) = (passed + 1, item);
            }
            (self.reached, self.before) = (self.reached + passed, before);
            match found {
                Some(item) if item == candidate => return Ok(()),
                Some(_) => return Err(Lack::Broken),
                None if passed == 0 => return Err(Lack::Item(self.reached)),
                None => {}
            }
        }
        Ok(())
    }

    /// The first entry at or behind `from` that a list names; the largest number when none does.
    #[inline(always)]
    fn candidate(&mut self, layout: Layout, from: u64) -> Result<u64, Lack> {
        let mut first = u64::MAX;
        for (number, list) in self.lists.iter_mut().enumerate() {
            while list.head < from.max(1) {
                // It named an entry that did not come.
                if list.head > 0 && list.head >= list.confirmed {
                    return Err(Lack::Broken);
                }
                list.step(number, layout)?;
            }
            first = first.min(list.head);
        }
        Ok(first)
    }
}

impl List {
    fn new(number: usize, at: u64, data: &DataHead) -> Self {
        Self {
            data: at,
            first: data.entry,
            arrays: data.entry_array,
            entries: data.n_entries,
            head: 0,
            ahead: 0,
            taken: 0,
            array: data.entry_array,
            capacity: 0,
            place: 0,
            next: 0,
            confirmed: 0,
            span: Span::new(Part::List(number)),
        }
    }

    /// Goes back before its first entry.
    fn begin(&mut self) {
        (self.head, self.ahead, self.taken) = (0, 0, 0);
        (self.array, self.capacity, self.place, self.next) = (self.arrays, 0, 0, 0);
    }

    /// Goes to the next entry.
    #[inline]
    fn step(&mut self, number: usize, layout: Layout) -> Result<(), Lack> {
        if self.ahead == u64::MAX {
            self.head = u64::MAX;
            return Ok(());
        }
        let first = self.taken == 0 && self.entries > 0;
        let item = if first { self.first } else { self.item(number, layout)? };
        let ended = self.taken == self.entries;
        // The largest number, which stands for the end, is no place either.
        if ended != (item == 0) || (!ended && (item <= self.ahead || !item.is_multiple_of(ALIGNMENT))) {
            return Err(Lack::Broken);
        }
        // Nothing moves before all is checked: a step that failed fails again.
        self.place += u64::from(!first && !ended);
        self.head = self.ahead;
        (self.ahead, self.taken) = if ended { (u64::MAX, self.taken) } else { (item, self.taken + 1) };
        Ok(())
    }

    /// The next item of its arrays; 0 behind the last.
    #[inline]
    fn item(&mut self, number: usize, layout: Layout) -> Result<u64, Lack> {
        while self.place == self.capacity {
            if self.capacity > 0 {
                self.leave(number, layout)?;
            }
            if self.array == 0 {
                return Ok(0);
            }
            let head = self.span.slice(self.array, ARRAY_ITEMS_AT);
            let head = head.ok_or(Lack::Bytes(number, self.array, ARRAY_ITEMS_AT))?;
            let head = ArrayHead::parse(head, layout).filter(|head| head.capacity > 0).ok_or(Lack::Broken)?;
            (self.capacity, self.next) = (head.capacity, head.next);
        }
        let at = self.place_at(layout);
        let bytes = layout.array_item_bytes();
        let item = self.span.slice(at, bytes).and_then(|item| layout.offset(item));
        item.ok_or(Lack::Bytes(number, at, bytes))
    }

    fn place_at(&self, layout: Layout) -> u64 {
        let items = self.place.saturating_mul(layout.array_item_bytes() as u64);
        self.array.saturating_add(ARRAY_ITEMS_AT as u64).saturating_add(items)
    }

    /// Goes on to the next array. An array that says it is shorter than it is would hide entries: behind it must stand
    /// an object, and no item looks like one, since items are multiples of eight.
    #[cold]
    fn leave(&mut self, number: usize, layout: Layout) -> Result<(), Lack> {
        if self.next != 0 {
            let end = self.place_at(layout).checked_next_multiple_of(ALIGNMENT).ok_or(Lack::Broken)?;
            let kind = self.span.slice(end, 1).ok_or(Lack::Bytes(number, end, 1))?;
            if self.next <= self.array || !(1..=7).contains(&kind[0]) {
                return Err(Lack::Broken);
            }
        }
        (self.array, self.capacity, self.place) = (self.next, 0, 0);
        Ok(())
    }
}

/// What to leave out of a file that is read again.
#[derive(Debug, Default)]
pub(super) struct Given {
    /// Of the entries gone past, as `number` has them, in order.
    offsets: Vec<u32>,
    /// Entries below this ordinal were counted.
    pub until: u64,
}

impl Given {
    /// Whether the entry at `offset` is one of them.
    #[inline]
    pub fn has(&self, offset: u64) -> bool {
        !self.offsets.is_empty() && number(offset).is_some_and(|number| self.offsets.binary_search(&number).is_ok())
    }

    /// No more of the file is read: nothing is gone back for any more, and nobody need wait for that.
    pub fn free(&mut self) {
        *self = Self::default();
    }
}

/// The number of an entry, by its offset, since objects are aligned; `None` beyond 32 GiB.
#[inline]
fn number(offset: u64) -> Option<u32> {
    u32::try_from(offset / ALIGNMENT).ok()
}

impl JournalFile {
    /// Passes over what the index does not list, reading what that takes.
    pub fn pass_unlisted<R: Ring>(&mut self, io: &mut Io<'_, R>) -> Result<(), Stop> {
        let owner = self.owner()?;
        while let Err(lack) = self.pass_unlisted_now(self.layout) {
            let span = match lack {
                Lack::Bytes(list, ..) => self.index.as_mut().and_then(|index| index.span(list)),
                _ => None,
            };
            match (lack, span) {
                (Lack::Bytes(_, at, bytes), Some(span)) => {
                    io.budget = io.budget.checked_sub(PIECE_COST).ok_or(Stop::Yield)?;
                    match span.fill(io, owner, at, bytes, JOURNAL_ARRAY_READ_BYTES) {
                        Err(Stop::End | Stop::Io(_)) => self.distrust_index(io),
                        other => other?,
                    }
                }
                (Lack::Item(ordinal), _) => {
                    io.budget = io.budget.checked_sub(PIECE_COST).ok_or(Stop::Yield)?;
                    if self.item(io, ordinal)? == Item::Broken {
                        self.distrust_index(io);
                    }
                }
                (Lack::Broken | Lack::Bytes(..), _) => self.distrust_index(io),
            }
        }
        Ok(())
    }

    /// Whether the peeked entry is what the index led to; if not, all that was passed over will be read.
    pub fn is_as_listed<R>(&mut self, io: &mut Io<'_, R>) -> bool {
        let Some(Peeked { offset, head, .. }) = self.peeked() else { return true };
        let (offset, count) = (*offset, head.items(self.layout));
        let Some(mut index) = self.index.take() else { return true };
        let confirmed = index.confirm(self.layout, self.items(offset, 0, count), offset);
        self.index = Some(index);
        if confirmed.is_ok() {
            return true;
        }
        self.distrust_index(io);
        self.unpeek();
        false
    }

    /// Goes back to the first entry, to read all but those it has gone past: what a wrong list left out may lie
    /// anywhere before the place where it showed.
    pub fn distrust_index<R>(&mut self, io: &mut Io<'_, R>) {
        let Some(index) = self.index.take() else { return };
        self.complain(io, "the index of its fields is damaged; all entries are read instead");
        self.given = Given { offsets: index.gone_past, until: self.next };
        self.given.offsets.sort_unstable();
        (self.next, self.group, self.last) = (0, 0, None);
        io.rewound = Some(index.from);
    }

    /// The same with the bytes at hand.
    #[inline(always)]
    pub fn pass_unlisted_now(&mut self, layout: Layout) -> Result<(), Lack> {
        let Some(index) = &mut self.index else { return Ok(()) };
        if !index.surveyed {
            index.survey(layout)?;
        }
        let candidate = index.candidate(layout, self.group)?;
        index.reach(layout, &self.chain, &self.array, self.next, candidate)?;
        let passed = index.reached - self.next;
        if passed > 0 {
            // No DATA lies within the entry passed over last.
            let group = index.before.saturating_add(ENTRY_ITEMS_AT as u64);
            self.group = self.group.max(group.min(candidate));
            self.passed_over += passed;
            self.next = index.reached;
        }
        if self.next < index.until {
            return Ok(());
        }
        self.pass_last(candidate)
    }

    /// Nothing more is passed over, but what the lists name has to come: `candidate` next.
    #[cold]
    fn pass_last(&mut self, candidate: u64) -> Result<(), Lack> {
        if candidate == u64::MAX {
            self.index = None;
            return Ok(());
        }
        let (items, bytes) = items_at(&self.chain, &self.array, self.layout, self.next);
        let item = items.get(..bytes).and_then(|item| self.layout.offset(item));
        match item {
            _ if self.next >= self.seen => Err(Lack::Broken),
            None => Err(Lack::Item(self.next)),
            Some(item) if item > candidate => Err(Lack::Broken),
            Some(_) => Ok(()),
        }
    }
}
