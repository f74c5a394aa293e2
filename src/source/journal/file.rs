//! One journal file being read: its chain of entry arrays, and the entry that is next.
//!
//! Entries are taken from the global chain of ENTRY_ARRAYs and never beyond `seen`, the number of entries the writer
//! had committed when the header was last read. A damaged entry or array item costs that entry; where the chain is
//! broken, the rest is found by walking the arena (`walk`).

use std::{io, path::PathBuf};

use super::{
    cache::Cache,
    chain::{Item, Link},
    entry::Draft,
    gap::Run,
    index::{Given, Index},
    lookup::Lookup,
    peek::{Last, Peeked},
    seek::Seek,
    span::{Flight, Io, Owner, Part, Span, Stop},
    template::Templates,
    walk::Walk,
    window::Window,
};
use crate::{
    limits::JOURNAL_WINDOW_BYTES,
    ring::{Handle, Ring},
    wire::journal::{ALIGNMENT, EntryHead, Header, Layout, header::HEADER_BYTES, object::ENTRY_ITEMS_AT},
};

/// Bytes read past the last object the header knows, since the writer may just be adding one.
const PAST_TAIL_BYTES: u64 = 16 * 1024;
/// Room for an ENTRY at the end of a window.
const ENTRY_ROOM_BYTES: u64 = 4096;
/// Entries so far apart have large arrays between them, which are left out.
pub(super) const GAP_BYTES: u64 = 16 * 1024;
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
    /// The seqnum of its first entry, where reading begins there.
    pub first: Option<u64>,
    pub peeks: [Peeked; 2],
    /// Which of the two is the next entry, and whether it was read yet. The other one is the entry before.
    pub odd: bool,
    pub has_peeked: bool,
    /// The next entry was accounted for: it is about to be handed out or passed over.
    pub counted: bool,
    /// The entry before it.
    pub last: Option<Last>,
    /// The peeked entry was asked about: it is no copy of another file's.
    pub weighed: bool,
    /// The chain is broken: entries are found by walking.
    pub walk: Option<Walk>,
    /// Whether any entry can match was asked when it held so many DATA objects.
    pub asked: Option<u64>,
    pub lookup: Option<Lookup>,
    /// Which of the entries ahead may be wanted; all, when there is none.
    pub index: Option<Index>,
    /// Entries the index says nobody wants.
    pub passed_over: u64,
    /// What is left out when it is read again.
    pub given: Given,
    pub run: Run,
    pub chain: Vec<Link>,
    pub head: Span,
    pub array: Span,
    pub window: Window,
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
            first: None,
            peeks: Default::default(),
            odd: false,
            has_peeked: false,
            counted: false,
            last: None,
            weighed: false,
            walk: None,
            asked: None,
            lookup: None,
            index: None,
            passed_over: 0,
            given: Given::default(),
            run: Run::default(),
            chain: Vec::new(),
            head: Span::new(Part::Head),
            array: Span::new(Part::Array),
            window: Window::default(),
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

    /// Takes what an operation under way brought, unless it is not wanted any more.
    pub fn complete(&mut self, flight: Flight, result: io::Result<usize>, buf: Vec<u8>) {
        let span = match flight.part {
            Part::Head => &mut self.head,
            Part::Array => &mut self.array,
            Part::Object => &mut self.object,
            Part::Window => return self.window.complete(flight, result, buf),
            Part::List(list) => match self.index.as_mut().and_then(|index| index.span(list)) {
                Some(span) => span,
                None => return,
            },
        };
        span.complete(flight, result, buf);
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
        self.has_peeked = false;
        self.draft.restart();
        self.window.clear();
        for span in [&mut self.head, &mut self.array, &mut self.object] {
            span.clear();
        }
    }

    /// Gives back memory that only reading on would need.
    pub fn cool(&mut self) {
        self.has_peeked = false;
        self.draft.restart();
        self.window.free();
        for span in [&mut self.array, &mut self.object] {
            span.free();
        }
    }

    /// Gives back what was kept of an archived file that is read to its end: it is closed only at the next look, and
    /// many may come to their end before.
    fn forget_values(&mut self) {
        if self.is_drained() && self.array.is_warm() {
            self.array.free();
            self.cache.clear();
            self.templates.clear();
            self.given.free();
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
        (self.index, self.lookup) = (None, None);
        self.given.free();
        self.stage = Stage::Done;
    }

    /// Whether it was given the name of a file no journald writes to: `X@….journal` or `X.journal~`.
    pub fn has_archive_name(&self) -> bool {
        let name = self.path.file_name().unwrap_or_default().as_encoded_bytes();
        name.contains(&b'@') || name.ends_with(b"~")
    }

    /// The next entry is in `peeked` and in the window; false when there is none that was committed.
    #[inline]
    pub fn peek<R: Ring>(&mut self, io: &mut Io<'_, R>) -> Result<bool, Stop> {
        while !self.has_peeked {
            if self.index.is_some() {
                self.pass_unlisted(io)?;
            }
            if self.next >= self.seen {
                self.forget_values();
                return Ok(false);
            }
            let offset = match self.walk {
                Some(_) => self.walked(io)?,
                None => match self.item(io, self.next)? {
                    Item::At(offset) if self.is_within_last(offset) => {
                        self.complain(io, "an entry says it is longer than it can be");
                        self.group = offset;
                        Some(offset)
                    }
                    Item::At(offset) if !self.is_astray(offset) => Some(offset),
                    Item::At(_) => {
                        self.lose(io, 1, "an item of an entry array is damaged; its entry is passed over");
                        self.next += 1;
                        io.spend()?;
                        continue;
                    }
                    // The lists may have left something out before.
                    Item::Broken if self.index.is_some() => {
                        self.distrust_index(io);
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
                Some(head) => {
                    let head = self.mended(io, head);
                    self.set_peeked(Peeked { offset, ordinal: self.next, head });
                    if self.given.has(offset) {
                        self.advance();
                        io.spend()?;
                    }
                }
                None => {
                    if !self.given.has(offset) {
                        self.lose(io, 1, "an entry is damaged or beyond the end of the file; it is passed over");
                    }
                    self.index.iter_mut().for_each(|index| index.excuse(offset));
                    self.next += 1;
                    self.walked_past(None);
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
        let Header { n_entries, tail_entry_realtime, tail_entry_seqnum, entry_array_offset, .. } = self.header;
        let differs = match &self.last {
            Some(last) => !self.is_tail(last),
            // The first entry brings the first array.
            None => n_entries == 0 && (tail_entry_realtime != 0 || entry_array_offset != 0),
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
    #[inline]
    fn is_astray(&self, offset: u64) -> bool {
        let Some(ahead) = offset.checked_sub(self.group) else { return self.last.is_some() };
        if self.last.is_none() || ahead <= GAP_BYTES {
            return false;
        }
        // As far as it is in memory: one step never needs two arrays.
        self.items_ahead().nth(1).is_some_and(|after| after > self.group && after < offset)
    }

    /// An item that leads into the entry before it: that one's size is damaged, or this item.
    #[inline]
    fn is_within_last(&self, offset: u64) -> bool {
        offset < self.group && self.last.is_some_and(|last| offset > last.offset)
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

    /// Where the entries that lie close together, from the one at `offset` on, end.
    fn stretch(&self, start: u64, offset: u64) -> u64 {
        let tail = self.header.tail_object_offset.saturating_add(PAST_TAIL_BYTES);
        let end = tail.min(start.saturating_add(JOURNAL_WINDOW_BYTES as u64));
        if self.index.as_ref().is_some_and(|index| index.sparse) {
            return end.min(offset.saturating_add(ENTRY_ROOM_BYTES));
        }
        let mut last = offset;
        for item in self.items_ahead().skip(1) {
            if item > last.saturating_add(GAP_BYTES) {
                return end.min(last.saturating_add(ENTRY_ROOM_BYTES));
            }
            if item >= end {
                break;
            }
            last = last.max(item);
        }
        end
    }

    /// Brings the ENTRY at `offset` wholly into the window, and with it the DATA written just before it.
    #[inline]
    fn entry<R: Ring>(&mut self, io: &mut Io<'_, R>, offset: u64) -> Result<Option<EntryHead>, Stop> {
        // No check against the arena's end: the header may have been read while the file grew.
        if !offset.is_multiple_of(ALIGNMENT) || offset < self.header.header_size {
            return Ok(None);
        }
        let mut start = match offset.checked_sub(self.group) {
            Some(before) if before <= GAP_BYTES => self.group,
            // What lies between are arrays, written after the entry before; the fresh DATA stands last.
            Some(_) if self.group > 0 => (offset - NEAR_BYTES).max(self.group),
            _ => offset,
        };
        let mut need = ENTRY_ITEMS_AT;
        loop {
            let reach = ((offset - start) as usize).saturating_add(need);
            if self.window.slice(offset, need).is_none() && !self.window.has(start, reach) {
                let owner = self.owner()?;
                let want = self.stretch(start, offset).saturating_sub(start) as usize;
                match self.window.fill(io, owner, (start, reach), want, self.header.tail_object_offset) {
                    // The bad place may lie before it: then its DATA are read one by one.
                    Err(Stop::Io(_)) if start < offset => {
                        (self.group, start) = (offset, offset);
                        continue;
                    }
                    Err(Stop::Io(_)) => {
                        self.group = offset.saturating_add(ENTRY_ITEMS_AT as u64);
                        return Ok(None);
                    }
                    Err(Stop::End) => return Ok(None),
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
