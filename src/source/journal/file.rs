//! One journal file being read: its chain of entry arrays, and the entry that is next.
//!
//! Entries are taken from the global chain of ENTRY_ARRAYs and never beyond `seen`, the number of entries the writer
//! had committed when the header was last read. A damaged entry or array item costs that entry; where the chain is
//! broken, the rest is found by walking the arena (`walk`).

use std::path::PathBuf;

use super::{
    cache::Cache,
    entry::Draft,
    lookup::Lookup,
    seek::Seek,
    span::{Io, Owner, Part, Span, Stop},
    template::Templates,
    walk::Walk,
};
use crate::{
    limits::{JOURNAL_ARRAY_READ_BYTES, JOURNAL_CHAIN_MAX, JOURNAL_WINDOW_BYTES},
    model::JournalPosition,
    ring::{Handle, Ring},
    wire::journal::{
        ALIGNMENT, ArrayHead, EntryHead, Header, Layout,
        header::HEADER_BYTES,
        object::{ARRAY_ITEMS_AT, ENTRY_ITEMS_AT},
    },
};

/// Bytes read past the last object the header knows, since the writer may just be adding one.
const PAST_TAIL_BYTES: u64 = 16 * 1024;
/// Room for an ENTRY at the end of a window.
const ENTRY_ROOM_BYTES: u64 = 4096;
/// Entries so far apart have large arrays between them, which are left out.
const GAP_BYTES: u64 = 32 * 1024;
/// Bytes before an ENTRY behind such a gap in which the DATA written for it is looked for; any other is read by itself.
const NEAR_BYTES: u64 = 8 * 1024;

/// How far a file is on its way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Stage {
    /// Its header was not read yet, or its writer has only begun.
    Fresh,
    /// Its header is read; where to begin is not known.
    Known,
    /// The place to begin is being looked for.
    Seeking(Seek),
    Ready,
    /// Read to its end, or refused: kept only so that it is not taken for a new one.
    Done,
}

/// The entry that is next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peeked {
    pub offset: u64,
    pub head: EntryHead,
}

/// What must be known of the entry before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Last {
    pub seqnum: u64,
    pub realtime: u64,
}

impl Last {
    pub fn of(head: &EntryHead) -> Self {
        Self { seqnum: head.seqnum, realtime: head.realtime }
    }
}

/// One array of the chain.
#[derive(Clone, Copy, Debug)]
struct Link {
    offset: u64,
    /// Ordinal of its first item.
    first: u64,
    capacity: u64,
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

#[derive(Debug)]
pub(super) struct JournalFile {
    pub id: u32,
    pub path: PathBuf,
    /// Device and inode.
    pub inode: (u64, u64),
    pub handle: Option<Handle>,
    pub stage: Stage,
    pub header: Header,
    pub layout: Layout,
    /// In the last listing of its directory.
    pub listed: bool,
    /// Looks since it last grew.
    pub quiet: u32,
    /// Entries committed when the directory was last listed, and when its header was last read.
    pub safe: u64,
    pub seen: u64,
    /// Ordinal of the next entry.
    pub next: u64,
    /// Entries below this ordinal are looked back at.
    pub look_back_until: u64,
    /// Where the DATA that belongs to the next entry alone may begin: the end of the entry before it.
    pub group: u64,
    pub peeked: Option<Peeked>,
    /// The entry before it.
    pub last: Option<Last>,
    /// The peeked entry was asked about: it is no copy of another file's.
    pub weighed: bool,
    /// The chain is broken: entries are found by walking.
    pub walk: Option<Walk>,
    /// Whether any entry can match was asked when it held so many DATA objects.
    pub asked: Option<u64>,
    pub lookup: Option<Lookup>,
    chain: Vec<Link>,
    pub head: Span,
    array: Span,
    pub window: Span,
    pub object: Span,
    pub cache: Cache,
    pub templates: Templates,
    pub draft: Draft,
    /// Entries lost to damage.
    pub damaged: u64,
    /// Damage was told of once.
    pub told: bool,
}

impl JournalFile {
    pub fn new(id: u32, path: PathBuf, inode: (u64, u64), handle: Handle) -> Self {
        Self {
            id,
            path,
            inode,
            handle: Some(handle),
            stage: Stage::Fresh,
            header: Header::default(),
            layout: Layout::Regular,
            listed: true,
            quiet: 0,
            safe: 0,
            seen: 0,
            next: 0,
            look_back_until: 0,
            group: 0,
            peeked: None,
            last: None,
            weighed: false,
            walk: None,
            asked: None,
            lookup: None,
            chain: Vec::new(),
            head: Span::new(Part::Head),
            array: Span::new(Part::Array),
            window: Span::new(Part::Window),
            object: Span::new(Part::Object),
            cache: Cache::default(),
            templates: Templates::default(),
            draft: Draft::default(),
            damaged: 0,
            told: false,
        }
    }

    /// Where reads of this file go; `Stop::End` when it is not open.
    pub fn owner(&self) -> Result<Owner, Stop> {
        Ok(Owner { file: self.id, handle: self.handle.ok_or(Stop::End)? })
    }

    pub fn span(&mut self, part: Part) -> &mut Span {
        match part {
            Part::Head => &mut self.head,
            Part::Array => &mut self.array,
            Part::Window => &mut self.window,
            Part::Object => &mut self.object,
        }
    }

    /// The bytes of the header, as many as there are, read anew after `forget`.
    pub fn header_bytes<R: Ring>(&mut self, io: &mut Io<'_, R>) -> Result<&[u8], Stop> {
        let owner = self.owner()?;
        match self.head.fill(io, owner, 0, HEADER_BYTES, HEADER_BYTES) {
            Ok(()) | Err(Stop::End) => Ok(self.head.rest(0)),
            Err(stop) => Err(stop),
        }
    }

    /// Forgets every byte read: what lay behind the last committed entry was in flight and may be something else now.
    pub fn forget(&mut self) {
        self.peeked = None;
        self.draft.restart();
        for part in [Part::Head, Part::Array, Part::Window, Part::Object] {
            self.span(part).clear();
        }
    }

    /// Gives back memory that only reading on would need.
    pub fn cool(&mut self) {
        self.peeked = None;
        self.draft.restart();
        for part in [Part::Array, Part::Window, Part::Object] {
            self.span(part).free();
        }
    }

    /// Reads no more of this file.
    pub fn finish<R: Ring>(&mut self, ring: &mut R) {
        if let Some(handle) = self.handle.take() {
            ring.close(handle);
        }
        self.cool();
        self.head.free();
        self.cache.clear();
        self.templates.clear();
        self.chain = Vec::new();
        self.stage = Stage::Done;
    }

    /// Whether it was given the name of a file no journald writes to: `X@….journal` or `X.journal~`.
    pub fn has_archive_name(&self) -> bool {
        let name = self.path.file_name().unwrap_or_default().as_encoded_bytes();
        name.contains(&b'@') || name.ends_with(b"~")
    }

    /// The next entry is in `peeked` and in the window; false when there is none that was committed.
    pub fn peek<R: Ring>(&mut self, io: &mut Io<'_, R>) -> Result<bool, Stop> {
        while self.peeked.is_none() {
            if self.next >= self.seen {
                return Ok(false);
            }
            let offset = match self.walk {
                Some(_) => self.walked(io)?,
                None => match self.item(io, self.next)? {
                    Item::At(offset) if !self.is_astray(io, offset)? => Some(offset),
                    Item::At(_) => {
                        self.lose(io, 1, "an item of an entry array is damaged; its entry is passed over");
                        self.next += 1;
                        io.spend()?;
                        continue;
                    }
                    Item::Broken => {
                        self.walk_on(io, "the chain of entry arrays is broken; what follows is found by walking");
                        continue;
                    }
                },
            };
            let Some(offset) = offset else {
                self.end_walk(io);
                return Ok(false);
            };
            match self.entry(io, offset)? {
                Some(head) => self.peeked = Some(Peeked { offset, head }),
                None => {
                    self.lose(io, 1, "an entry is damaged or beyond the end of the file; it is passed over");
                    self.next += 1;
                    io.spend()?;
                }
            }
        }
        Ok(true)
    }

    /// What the header counts and the walk did not find is lost, if anything was damaged; else the header is wrong.
    fn end_walk<R>(&mut self, io: &mut Io<'_, R>) {
        let whole = !self.walk_was_damaged() && self.last.is_some_and(|last| self.is_tail(&last));
        let lost = self.header.n_entries.saturating_sub(self.next).min(self.room());
        if !whole && lost > 0 {
            self.lose(io, lost, "entries that its header counts are not there");
        }
        self.next = self.next.max(self.header.n_entries);
        self.seen = self.next;
    }

    /// More entries the file cannot hold, whatever its header claims.
    fn room(&self) -> u64 {
        self.header.arena_size / ENTRY_ITEMS_AT as u64
    }

    /// By the header this entry is the last one.
    pub fn is_tail(&self, entry: &Last) -> bool {
        entry.realtime == self.header.tail_entry_realtime
    }

    /// The last entry by the count in the header is not the last one by its other words: that is told, and what the
    /// count left out is looked for by walking. True when there is something to walk for.
    pub fn doubt<R>(&mut self, io: &mut Io<'_, R>) -> bool {
        let Header { n_entries, tail_entry_realtime, tail_entry_seqnum, .. } = self.header;
        let differs = match &self.last {
            Some(last) => !self.is_tail(last),
            None => n_entries == 0 && tail_entry_realtime != 0,
        };
        if !differs || self.walk.is_some() || self.next != n_entries {
            return false;
        }
        let last = self.last.map_or(0, |last| last.seqnum);
        let what = format!(
            "its header counts {n_entries} entries, the last with seqnum {last}, but names another last entry (seqnum \
             {tail_entry_seqnum}); what may follow is looked for by walking"
        );
        self.walk_on(io, &what);
        self.seen = self.next.saturating_add(self.room());
        self.safe = self.seen;
        true
    }

    /// An item that leads back, or so far ahead that the item after it leads back, is damaged.
    fn is_astray<R: Ring>(&mut self, io: &mut Io<'_, R>, offset: u64) -> Result<bool, Stop> {
        let Some(ahead) = offset.checked_sub(self.group) else { return Ok(self.last.is_some()) };
        if self.last.is_none() || ahead <= JOURNAL_WINDOW_BYTES as u64 || self.next + 1 >= self.seen {
            return Ok(false);
        }
        Ok(matches!(self.item(io, self.next + 1)?, Item::At(after) if after > self.group && after < offset))
    }

    /// Goes past the peeked entry.
    pub fn advance(&mut self) {
        if let Some(Peeked { offset, head }) = &self.peeked {
            let (last, group) = (Last::of(head), (offset + head.size).next_multiple_of(ALIGNMENT));
            (self.last, self.group, self.weighed, self.peeked) = (Some(last), group, false, None);
            self.next += 1;
            self.draft.restart();
            self.walked_past(last.seqnum);
        }
    }

    /// The position of the peeked entry, or of the one at `ordinal`, as a checkpoint has it.
    pub fn position(&self, ordinal: u64, entry: &Peeked) -> JournalPosition {
        JournalPosition {
            file_id: self.header.file_id,
            offset: entry.offset,
            ordinal,
            seqnum_id: self.header.seqnum_id,
            seqnum: entry.head.seqnum,
            boot_id: entry.head.boot_id,
            monotonic: entry.head.monotonic,
            realtime: entry.head.realtime,
            xor_hash: entry.head.xor_hash,
        }
    }

    /// Counts entries lost to damage; tells of it once per file.
    pub fn lose<R>(&mut self, io: &mut Io<'_, R>, entries: u64, what: &str) {
        self.damaged = self.damaged.saturating_add(entries);
        self.complain(io, what);
    }

    /// Tells of damage once per file.
    pub fn complain<R>(&mut self, io: &mut Io<'_, R>, what: &str) {
        if !self.told {
            self.told = true;
            io.troubles.tell(format!("{}: near entry {}: {what}", self.path.display(), self.next));
        }
    }

    /// Follows the chain to the array that holds `ordinal` and reads the item.
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

    /// Where the entries that lie close together, from the one at `offset` on, end.
    fn stretch(&self, start: u64, offset: u64) -> u64 {
        let tail = self.header.tail_object_offset.saturating_add(PAST_TAIL_BYTES);
        let end = tail.min(start.saturating_add(JOURNAL_WINDOW_BYTES as u64));
        let Some(link) = self.chain.iter().rev().find(|link| link.first <= self.next) else { return end };
        let bytes = self.layout.array_item_bytes();
        let at = link.offset.saturating_add(ARRAY_ITEMS_AT as u64);
        let at = at.saturating_add((self.next - link.first).saturating_mul(bytes as u64));
        // An array that has just begun may be in memory as far as it is unused only.
        let left = (link.capacity - (self.next - link.first).min(link.capacity)).min(self.seen - self.next);
        let known = self.array.rest(at);
        let items = known.chunks_exact(bytes).take(usize::try_from(left).unwrap_or(usize::MAX));
        let mut last = offset;
        for item in items.skip(1).map_while(|item| self.layout.offset(item)) {
            if item > last + GAP_BYTES {
                return end.min(last + ENTRY_ROOM_BYTES);
            }
            if item >= end {
                break;
            }
            last = last.max(item);
        }
        end
    }

    /// Brings the ENTRY at `offset` wholly into the window, and with it the DATA written just before it.
    fn entry<R: Ring>(&mut self, io: &mut Io<'_, R>, offset: u64) -> Result<Option<EntryHead>, Stop> {
        // No check against the arena's end: the header may have been read while the file grew.
        if !offset.is_multiple_of(ALIGNMENT) || offset < self.header.header_size {
            return Ok(None);
        }
        let start = match offset.checked_sub(self.group) {
            Some(before) if before <= GAP_BYTES => self.group,
            // What lies between are arrays, written after the entry before; the fresh DATA stands last.
            Some(_) if self.group > 0 => (offset - NEAR_BYTES).max(self.group),
            _ => offset,
        };
        let mut need = ENTRY_ITEMS_AT;
        loop {
            if self.window.slice(offset, need).is_none() {
                let owner = self.owner()?;
                let reach = (offset - start) as usize + need;
                let want = self.stretch(start, offset).saturating_sub(start) as usize;
                match self.window.fill(io, owner, start, reach, want) {
                    Err(Stop::End | Stop::Io(_)) => return Ok(None),
                    other => other?,
                }
            }
            let Some(head) = EntryHead::parse(self.window.rest(offset)) else { return Ok(None) };
            if need as u64 >= head.size {
                return Ok(Some(head));
            }
            need = head.size as usize;
        }
    }
}
