//! From the items of an entry to a record.
//!
//! The items are offsets of DATA objects. One at or behind the start of the entry's own group was written for this
//! entry: it is read where it lies in the window. Those before it are mostly the items of a known template. If not,
//! each is looked up in the cache; one not known yet is one small read. Of a field an entry has more than once the
//! first counts, as in libsystemd. What is found so far stays in the draft, so that a read that has to wait resumes at
//! the item that needed it.

use super::{
    field::Field,
    file::JournalFile,
    peek::Peeked,
    select::Selectors,
    span::{Io, Stop},
    template::Template,
    window::Window,
};
use crate::{
    limits::{
        JOURNAL_CACHED_VALUE_BYTES_MAX, JOURNAL_DATA_READ_BYTES, JOURNAL_FIELD_BYTES_MAX, METADATA_VALUE_BYTES_MAX,
    },
    model::SourceMask,
    ring::Ring,
    wire::journal::{
        ALIGNMENT, Compression, DataHead, Decompressor, EntryHead, ObjectHead, ObjectKind, PayloadFault,
        object::DATA_HEAD_BYTES, object::ENTRY_ITEMS_AT,
    },
};

/// Compressed bytes read of one field: what the limit holds uncompressed, and the framing of its blocks.
const STORED_BYTES_MAX: usize = JOURNAL_FIELD_BYTES_MAX + 64 * 1024;

/// Where a value lies until the record is done with.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Place {
    #[default]
    Nowhere,
    /// From this offset of the file, in the window.
    Window(u64, usize),
    /// In the cache.
    Slot(usize),
    /// From here in the draft's `message`.
    Message(usize),
    /// In the draft's `scratch`.
    Scratch(usize, usize),
}

/// What is known of the entry at hand.
#[derive(Debug, Default)]
pub(super) struct Draft {
    /// Items before this are done.
    item: usize,
    /// All of them are: who wants the entry.
    sources: Option<SourceMask>,
    /// Of `Templates`; it has those of the `known` fields that are not `own`.
    pub template: usize,
    pub known: u8,
    pub own: u8,
    /// Those of the entry's own.
    pub texts: [Place; Field::TEXTS],
    pub priority: Option<u8>,
    /// Microseconds since the epoch.
    pub source_time: Option<u64>,
    rounds: Vec<SourceMask>,
    pub message: Vec<u8>,
    pub(super) plain: Vec<u8>,
    pub scratch: Vec<u8>,
    pub(super) decompressor: Decompressor,
    boot_id: Option<[u8; 16]>,
    pub boot_id_hex: Vec<u8>,
    /// The message was cut at `JOURNAL_FIELD_BYTES_MAX`.
    pub cut: bool,
    /// A field could not be read; the entry goes on without it.
    pub spoiled: bool,
}

impl Draft {
    /// The entry at hand begins anew.
    #[inline]
    pub fn restart(&mut self) {
        (self.item, self.sources) = (0, None);
    }

    /// Nothing was done for the entry at hand.
    #[inline]
    pub fn is_untouched(&self) -> bool {
        self.item == 0 && self.sources.is_none()
    }

    /// The entry is what `template` says, with a message of its own: so many bytes at this offset in the window.
    #[inline(always)]
    pub fn settle(&mut self, index: usize, template: &Template, head: &EntryHead, message: Option<(u64, usize)>) {
        self.set_boot(&head.boot_id);
        (self.template, self.known, self.own) = (index, template.known, 0);
        (self.priority, self.source_time) = (template.priority, template.source_time);
        (self.cut, self.spoiled, self.sources) = (false, false, Some(template.sources));
        if let Some((offset, bytes)) = message {
            self.set_text(Field::Message, Place::Window(offset, bytes));
        }
    }

    /// The time at which the sender's kernel took it, in microseconds since the epoch.
    #[inline]
    pub fn set_source_time(&mut self, digits: &[u8]) {
        self.source_time = number(digits);
    }

    fn begin(&mut self, selectors: &Selectors) {
        (self.known, self.own) = (0, 0);
        (self.priority, self.source_time, self.cut, self.spoiled) = (None, None, false, false);
        self.scratch.clear();
        selectors.begin(&mut self.rounds);
    }

    #[inline]
    fn set_boot(&mut self, boot_id: &[u8; 16]) {
        if self.boot_id != Some(*boot_id) {
            self.boot_id = Some(*boot_id);
            self.boot_id_hex.clear();
            for byte in boot_id {
                self.boot_id_hex.extend([byte >> 4, byte & 15].map(|digit| b"0123456789abcdef"[usize::from(digit)]));
            }
        }
    }

    /// Takes what the common items come to.
    #[inline]
    fn adopt(&mut self, index: usize, template: &Template) {
        (self.known, self.own) = (template.known, 0);
        (self.template, self.priority, self.source_time) = (index, template.priority, template.source_time);
        (self.cut, self.spoiled) = (false, false);
        self.scratch.clear();
        self.rounds.clear();
        self.rounds.extend_from_slice(&template.rounds);
    }

    #[inline]
    fn has(&self, field: Field) -> bool {
        match field {
            Field::Priority => self.priority.is_some(),
            Field::SourceTime => self.source_time.is_some(),
            Field::Other => true,
            text => self.known & text.bit() != 0,
        }
    }

    #[inline]
    fn set_text(&mut self, field: Field, place: Place) {
        (self.known, self.own) = (self.known | field.bit(), self.own | field.bit());
        self.texts[field as usize] = place;
    }

    #[inline]
    fn note(&mut self, field: Field, value: &[u8], place: Place) {
        match field {
            Field::Priority => self.priority = number(value).and_then(|n| u8::try_from(n).ok()).filter(|&n| n < 8),
            Field::SourceTime => self.source_time = number(value),
            Field::Other => {}
            text => self.set_text(text, place),
        }
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// What reading one DATA object came to.
enum Data {
    /// As much of it as is wanted lies in the window or the object span.
    Here {
        in_window: bool,
    },
    Damaged,
}

impl JournalFile {
    /// Works out which sources want the peeked entry and where its fields lie.
    #[inline]
    pub fn assemble<R: Ring>(&mut self, io: &mut Io<'_, R>, selectors: &mut Selectors) -> Result<SourceMask, Stop> {
        if let Some(sources) = self.draft.sources {
            return Ok(sources);
        }
        let Some(Peeked { offset, head, .. }) = self.peeked() else { return Ok(0) };
        let (offset, count, boot_id) = (*offset, head.items(self.layout), head.boot_id);
        let common = self.common_items(offset, count);
        if self.draft.item == 0 {
            self.draft.set_boot(&boot_id);
        }
        let bytes = self.layout.entry_item_bytes();
        if self.draft.item == 0
            && let Some(items) = self.window.slice(offset + ENTRY_ITEMS_AT as u64, common * bytes)
            && let Some(index) = self.templates.find(items)
        {
            self.draft.adopt(index, self.templates.at(index));
            self.draft.item = common;
        } else if self.draft.item == 0 {
            self.draft.begin(selectors);
            self.cache.next_entry();
        }
        let learns = self.draft.item < common;
        while self.draft.item < count {
            if learns && self.draft.item == common {
                self.learn(selectors, offset, common);
            }
            let item = self.items(offset, self.draft.item, 1);
            let item = if item.len() == bytes { self.layout.offset(item).unwrap_or_default() } else { 0 };
            self.take(io, selectors, item)?;
            self.draft.item += 1;
        }
        let sources = selectors.verdict(&self.draft.rounds);
        self.draft.sources = Some(sources);
        Ok(sources)
    }

    /// The bytes of some items of the entry at `offset`.
    #[inline]
    pub fn items(&self, offset: u64, first: usize, items: usize) -> &[u8] {
        let bytes = self.layout.entry_item_bytes();
        self.window.slice(offset + (ENTRY_ITEMS_AT + first * bytes) as u64, items * bytes).unwrap_or_default()
    }

    /// How many items come before those that were written for this entry.
    #[inline]
    fn common_items(&self, offset: u64, count: usize) -> usize {
        let (bytes, mut common) = (self.layout.entry_item_bytes(), count);
        let items = self.items(offset, 0, common);
        while common > 0 && self.layout.offset(&items[(common - 1) * bytes..]).is_none_or(|item| item >= self.group) {
            common -= 1;
        }
        common
    }

    /// Keeps what the common items came to as a template, when all of it is known by heart.
    fn learn(&mut self, selectors: &Selectors, offset: u64, common: usize) {
        let (layout, group) = (self.layout, self.group);
        let bytes = layout.entry_item_bytes();
        let at = offset + ENTRY_ITEMS_AT as u64;
        let Some(items) = self.window.slice(at, common * bytes) else { return };
        let older = |item: &[u8]| layout.offset(item).is_some_and(|item| item < group);
        let draft = &self.draft;
        let kept =
            |field: &Field| draft.own & field.bit() == 0 || matches!(draft.texts[*field as usize], Place::Slot(_));
        if draft.spoiled || !items.chunks_exact(bytes).all(older) || !Field::ALL_TEXTS.iter().all(kept) {
            return;
        }
        let Some(template) = self.templates.admit(items) else { return };
        (template.priority, template.source_time) = (self.draft.priority, self.draft.source_time);
        template.rounds.clone_from(&self.draft.rounds);
        template.sources = selectors.verdict(&self.draft.rounds);
        for field in Field::ALL_TEXTS.into_iter().filter(|field| self.draft.own & field.bit() != 0) {
            if let Place::Slot(slot) = self.draft.texts[field as usize] {
                template.set_text(field, &self.cache.slot(slot).value);
            }
        }
    }

    /// Takes one item.
    fn take<R: Ring>(&mut self, io: &mut Io<'_, R>, selectors: &mut Selectors, item: u64) -> Result<(), Stop> {
        if item < self.group
            && let Some(index) = self.cache.find(item)
        {
            let slot = self.cache.slot(index);
            selectors.join(&mut self.draft.rounds, slot.passes);
            if self.draft.has(slot.field) {
                return Ok(());
            }
            if slot.kept {
                self.draft.note(slot.field, &slot.value, Place::Slot(index));
                return Ok(());
            }
        }
        let entry = self.peeked().map_or(0, |peeked| peeked.offset);
        if item < self.header.header_size || item >= entry || !item.is_multiple_of(ALIGNMENT) {
            self.spoil(io, "an entry refers to a field outside of the file");
            return Ok(());
        }
        if item >= self.group && self.take_plain(selectors, item) {
            return Ok(());
        }
        match self.data(io, selectors, item)? {
            Data::Here { in_window } => self.judge(io, selectors, item, in_window),
            Data::Damaged => self.spoil(io, "a field is damaged or beyond the end of the file"),
        }
        Ok(())
    }

    /// Takes a DATA object written for this entry that lies in the window uncompressed, as nearly all do; false if this
    /// one does not.
    #[inline]
    fn take_plain(&mut self, selectors: &mut Selectors, offset: u64) -> bool {
        let bytes = self.window.rest(offset);
        let Some(size) = ObjectHead::parse(bytes).filter(|head| head.kind == ObjectKind::Data && head.flags == 0)
        else {
            return false;
        };
        let payload_at = self.layout.payload_at();
        let size = usize::try_from(size.size).unwrap_or(usize::MAX);
        let Some(payload) = bytes.get(payload_at..size).filter(|payload| payload.len() <= JOURNAL_FIELD_BYTES_MAX)
        else {
            return false;
        };
        let Some((name, value)) = split(payload) else { return false };
        let passes = selectors.judge(name, value, true);
        selectors.join(&mut self.draft.rounds, passes);
        let field = Field::named(name);
        if !self.draft.has(field) {
            let at = offset + (size - value.len()) as u64;
            self.draft.note(field, value, Place::Window(at, value.len()));
        }
        true
    }

    fn spoil<R>(&mut self, io: &mut Io<'_, R>, what: &str) {
        self.draft.spoiled = true;
        self.complain(io, &format!("{what}; its entry is delivered without it"));
    }

    /// Brings the DATA object at `offset` into memory, as much of it as is wanted.
    fn data<R: Ring>(&mut self, io: &mut Io<'_, R>, selectors: &Selectors, offset: u64) -> Result<Data, Stop> {
        let whole = |window: &Window| {
            let head = ObjectHead::parse(window.slice(offset, 16)?)?;
            window.slice(offset, usize::try_from(head.size).ok()?.max(DATA_HEAD_BYTES)).map(|_| ())
        };
        if whole(&self.window).is_some() {
            return Ok(Data::Here { in_window: true });
        }
        match self.far_data(io, selectors, offset) {
            Ok(true) => Ok(Data::Here { in_window: false }),
            Ok(false) | Err(Stop::End | Stop::Io(_)) => Ok(Data::Damaged),
            Err(stop) => Err(stop),
        }
    }

    /// The same by a read of its own; false when there is no DATA object.
    fn far_data<R: Ring>(&mut self, io: &mut Io<'_, R>, selectors: &Selectors, offset: u64) -> Result<bool, Stop> {
        let owner = self.owner()?;
        let payload_at = self.layout.payload_at();
        self.object.fill(io, owner, offset, DATA_HEAD_BYTES, JOURNAL_DATA_READ_BYTES)?;
        let bytes = self.object.rest(offset);
        let Some(head) = DataHead::parse(bytes, self.layout) else { return Ok(false) };
        let most = if head.compression == Compression::None { JOURNAL_FIELD_BYTES_MAX } else { STORED_BYTES_MAX };
        let need = payload_at + head.payload_bytes.min(most as u64) as usize;
        if head.compression == Compression::None
            && let Some((name, _)) = split(bytes.get(payload_at..).unwrap_or_default())
            && Field::named(name) == Field::Other
            && !selectors.tests(name)
        {
            // Its name is all there is to know about it, however long it is.
            return Ok(true);
        }
        self.object.fill(io, owner, offset, need, need)?;
        Ok(true)
    }

    /// Works out what the DATA object in memory means for the entry at hand.
    fn judge<R>(&mut self, io: &mut Io<'_, R>, selectors: &mut Selectors, offset: u64, in_window: bool) {
        let mut plain = std::mem::take(&mut self.draft.plain);
        let judged = self.judge_payload(selectors, offset, in_window, &mut plain);
        self.draft.plain = plain;
        match judged {
            Ok(true) => {}
            Ok(false) => {
                self.draft.spoiled = true;
                self.complain(io, "a field that several entries have is not what was written (its hash differs)");
            }
            Err(Some(fault)) => self.spoil(io, &format!("a field cannot be decompressed: {fault}")),
            Err(None) => self.spoil(io, "a field is damaged"),
        }
    }

    /// The same, with room for the decompressed payload. Keeps what an older object means; false when that is not what
    /// its hash says, which is worth asking since it speaks for many entries. `Err(None)` when it is none.
    fn judge_payload(
        &mut self,
        selectors: &mut Selectors,
        offset: u64,
        in_window: bool,
        plain: &mut Vec<u8>,
    ) -> Result<bool, Option<PayloadFault>> {
        let Self { window, object, cache, draft, layout, group, header, .. } = self;
        let payload_at = layout.payload_at();
        let bytes = if in_window { window.rest(offset) } else { object.rest(offset) };
        let head = DataHead::parse(bytes, *layout).ok_or(None)?;
        let stored = bytes.get(payload_at..).unwrap_or_default();
        let stored = &stored[..stored.len().min(usize::try_from(head.payload_bytes).unwrap_or(usize::MAX))];
        let compressed = head.compression != Compression::None;
        let (payload, whole) = if compressed {
            let cut =
                draft.decompressor.decode(head.compression, stored, JOURNAL_FIELD_BYTES_MAX, plain).map_err(Some)?;
            (plain.as_slice(), !cut)
        } else {
            let payload = &stored[..stored.len().min(JOURNAL_FIELD_BYTES_MAX)];
            (payload, payload.len() as u64 == head.payload_bytes)
        };
        let (name, value) = split(payload).ok_or(None)?;
        let field = Field::named(name);
        let passes = selectors.judge(name, value, whole);
        selectors.join(&mut draft.rounds, passes);
        let (mut slot, mut sound) = (None, true);
        if offset < *group {
            sound = !whole || payload.len() > JOURNAL_CACHED_VALUE_BYTES_MAX || header.hash(payload) == head.hash;
            let kept = (field != Field::Other && whole).then_some(value);
            slot = cache.insert(offset, field, passes, kept).filter(|&slot| cache.slot(slot).kept);
        }
        if draft.has(field) {
            return Ok(sound);
        }
        let value_at = payload.len() - value.len();
        let place = match slot {
            Some(slot) => Place::Slot(slot),
            None if in_window && !compressed => Place::Window(offset + (payload_at + value_at) as u64, value.len()),
            None if field == Field::Message => {
                draft.message.clear();
                if compressed {
                    std::mem::swap(plain, &mut draft.message);
                } else {
                    draft.message.extend_from_slice(payload);
                }
                draft.cut |= !whole;
                draft.set_text(Field::Message, Place::Message(value_at));
                return Ok(sound);
            }
            None => {
                let from = draft.scratch.len();
                draft.scratch.extend_from_slice(&value[..value.len().min(METADATA_VALUE_BYTES_MAX)]);
                Place::Scratch(from, draft.scratch.len())
            }
        };
        draft.cut |= field == Field::Message && !whole;
        draft.note(field, value, place);
        Ok(sound)
    }
}

/// `FIELD=value` at its first `=`; `None` without a name.
fn split(payload: &[u8]) -> Option<(&[u8], &[u8])> {
    match memchr::memchr(b'=', payload)? {
        0 => None,
        at => Some((&payload[..at], &payload[at + 1..])),
    }
}
