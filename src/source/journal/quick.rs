//! The ordinary entry, in one go.
//!
//! Nearly every entry lies in the window, right behind the one before it, and is made of a known template and a message
//! written for it alone. Such a one takes no step that might have to wait, so everything is done at once, on bytes that
//! are at hand. Whatever is out of the ordinary is left untouched: the steps in `file`, `chain` and `entry` take it.

use std::ops::Range;

use super::{
    JournalCursor,
    field::Field,
    file::{GAP_BYTES, JournalFile},
    look::Look,
    order::Current,
    peek::Peeked,
    select::Selectors,
    template::Template,
};
use crate::{
    model::SourceMask,
    wire::journal::{
        ALIGNMENT, EntryHead, Layout, ObjectHead, ObjectKind,
        object::{ARRAY_ITEMS_AT, ENTRY_ITEMS_AT},
    },
};

const MESSAGE: &[u8; 8] = b"MESSAGE=";
const SOURCE_TIME: &[u8] = b"_SOURCE_REALTIME_TIMESTAMP=";

/// Items most entries have; of longer ones the rest is fetched when it is read.
const USUAL_ITEMS: usize = 24;
/// Bytes of the message of most entries, with the heads of its DATA.
const USUAL_FRESH_BYTES: usize = 448;

/// So many entries before it is due, the processor is asked to fetch one: about as long as that takes.
const AHEAD: u64 = 6;

/// Bytes of such an entry.
#[inline(always)]
fn usual_bytes(layout: Layout) -> usize {
    ENTRY_ITEMS_AT + USUAL_ITEMS * layout.entry_item_bytes()
}

/// What was written for one entry alone.
#[derive(Clone, Copy, Debug, Default)]
struct Fresh {
    /// Offset and bytes of the message.
    message: Option<(u64, usize)>,
    /// The same of the sender's time.
    source_time: Option<(u64, usize)>,
}

impl JournalCursor {
    /// Goes on as long as entries are ordinary and `budget` lasts, up to the next one some source wants: index of its
    /// file, and who.
    #[inline(always)]
    pub(super) fn quick(&mut self, budget: &mut u32) -> Option<(usize, SourceMask)> {
        let Current { index, seqnum, rival } = self.current?;
        if rival.is_some() || self.look != Look::Rest || self.gap_after.is_some() || self.selectors.tests_own() {
            return None;
        }
        let file = self.files.get_mut(index)?;
        let bound = seqnum.min(file.seqnum_end());
        while *budget > 0 {
            *budget -= 1;
            let mut sources = file.quick(&self.selectors, bound)?;
            let peeked = file.peeked()?;
            if self.repeats.is_repeat(file.id, &peeked.head) {
                self.counts.repeated += 1;
                file.advance();
                continue;
            }
            file.weighed = true;
            if sources != 0 && self.own.wrote(file) {
                self.counts.own += 1;
                sources &= self.selectors.named();
            }
            if file.account(&mut self.counts, sources) {
                self.passed = Some(index);
                self.began.get_or_insert_with(|| file.passed());
            }
            if sources != 0 {
                return Some((index, sources));
            }
            file.advance();
        }
        None
    }
}

impl JournalFile {
    /// Peeks at the next entry and assembles it, if it is an ordinary one with a seqnum below `bound`: who wants it.
    #[inline]
    fn quick(&mut self, selectors: &Selectors, bound: u64) -> Option<SourceMask> {
        // Twice the code: where the layout is known, sizes of items are constants.
        match self.layout {
            Layout::Compact => self.quick_in(Layout::Compact, selectors, bound),
            Layout::Regular => self.quick_in(Layout::Regular, selectors, bound),
        }
    }

    #[inline(always)]
    fn quick_in(&mut self, layout: Layout, selectors: &Selectors, bound: u64) -> Option<SourceMask> {
        let begun = self.peeked().is_some() || !self.draft.is_untouched();
        let last = self.last?.seqnum;
        let is_plain = self.walk.is_none() && self.next >= self.given.until;
        if self.next >= self.safe || begun || !is_plain {
            return None;
        }
        if self.index.is_some() {
            self.pass_unlisted_now(layout).ok()?;
        }
        let offset = self.listed(layout, 0)?;
        self.fetch_ahead(layout);
        offset.checked_sub(self.group).filter(|&ahead| ahead <= GAP_BYTES && offset.is_multiple_of(ALIGNMENT))?;
        let sources = self.take_at(layout, selectors, last..bound, offset);
        if sources.is_none() {
            self.window.retreat();
        }
        sources
    }

    /// Takes the entry at `offset`, if its seqnum lies between these.
    #[inline(always)]
    fn take_at(
        &mut self,
        layout: Layout,
        selectors: &Selectors,
        seqnums: Range<u64>,
        offset: u64,
    ) -> Option<SourceMask> {
        let (from, head) = self.reach(layout, offset)?;
        if head.seqnum >= seqnums.end || head.seqnum <= seqnums.start {
            return None;
        }
        let (group, entry) = self.window.rest(from).split_at_checked((offset - from) as usize)?;
        let items = entry.get(ENTRY_ITEMS_AT..head.size as usize)?;
        let (common, fresh) = self.fresh(layout, selectors, (from, group), items)?;
        let index = self.templates.find(common)?;
        let template = self.templates.at(index);
        if !fresh.fits(template) {
            return None;
        }
        if let Some(index) = &mut self.index {
            index.confirm(layout, items, offset).ok()?;
        }
        let sources = template.sources;
        self.draft.settle(index, template, &head, fresh.message);
        if let Some((at, bytes)) = fresh.source_time {
            self.draft.set_source_time(self.window.slice(at, bytes).unwrap_or_default());
        }
        self.set_peeked(Peeked { offset, ordinal: self.next, head });
        Some(sources)
    }

    /// Has the entry at `offset` at hand, and what was written for it alone, which lies behind the offset given back.
    #[inline(always)]
    fn reach(&mut self, layout: Layout, offset: u64) -> Option<(u64, EntryHead)> {
        if !self.window.is_mapped() {
            return Some((self.group, EntryHead::parse(self.window.rest(offset))?));
        }
        let from = self.group.max(offset.saturating_sub(USUAL_FRESH_BYTES as u64));
        if !self.window.reach(from, (offset - from) as usize + usual_bytes(layout)) {
            return None;
        }
        let head = EntryHead::parse(self.window.rest(offset))?;
        let items = self.items(offset, 0, head.items(layout));
        let first = items.rchunks_exact(layout.entry_item_bytes()).map_while(|item| layout.offset(item));
        let first = first.take_while(|&item| item >= self.group).last().unwrap_or(offset);
        if first >= from && !items.is_empty() {
            return Some((from, head));
        }
        // More than usual. Items in wrong order are found out by whoever looks at them.
        let first = first.min(from);
        self.window.reach(first, (offset - first) as usize + head.size as usize).then_some((first, head))
    }

    /// Has the processor fetch an entry some places ahead, with what was written for it just before.
    #[inline(always)]
    fn fetch_ahead(&self, layout: Layout) {
        let ahead = match &self.index {
            Some(index) => index.far_ahead(layout),
            None => self.listed(layout, AHEAD),
        };
        let from = ahead.unwrap_or(0).saturating_sub(USUAL_FRESH_BYTES as u64);
        self.window.will_read(from, USUAL_FRESH_BYTES + usual_bytes(layout));
    }

    /// The item `ahead` of the next one, in the array at hand.
    #[inline(always)]
    fn listed(&self, layout: Layout, ahead: u64) -> Option<u64> {
        let link = self.chain.last()?;
        let index = (self.next + ahead).checked_sub(link.first).filter(|&index| index < link.capacity)?;
        let bytes = layout.array_item_bytes();
        let at = link.offset.checked_add(ARRAY_ITEMS_AT as u64 + index.checked_mul(bytes as u64)?)?;
        layout.offset(self.array.slice(at, bytes)?)
    }

    /// Splits the items of an entry into those that are not fresh and what the fresh ones are, which lie in `group`,
    /// the bytes before the entry from the offset `from` on.
    #[inline(always)]
    fn fresh<'a>(
        &self,
        layout: Layout,
        selectors: &Selectors,
        (from, group): (u64, &[u8]),
        items: &'a [u8],
    ) -> Option<(&'a [u8], Fresh)> {
        let bytes = layout.entry_item_bytes();
        let payload_at = layout.payload_at();
        let (mut common, mut fresh) = (items, Fresh::default());
        while let Some((before, item)) = common.len().checked_sub(bytes).and_then(|at| common.split_at_checked(at)) {
            let item = layout.offset(item)?;
            if item < self.group {
                break;
            }
            let data = group.get(usize::try_from(item.checked_sub(from)?).ok()?..)?;
            let head = ObjectHead::parse(data)?;
            if head.kind != ObjectKind::Data || head.flags != 0 || !item.is_multiple_of(ALIGNMENT) {
                return None;
            }
            let payload = data.get(payload_at..usize::try_from(head.size).ok()?)?;
            let value = |name: &[u8]| (item + (payload_at + name.len()) as u64, payload.len() - name.len());
            // Backwards, so that of two the first one stays.
            if payload.first_chunk() == Some(MESSAGE) {
                fresh.message = Some(value(MESSAGE));
            } else if payload.starts_with(SOURCE_TIME) {
                fresh.source_time = Some(value(SOURCE_TIME));
            } else {
                let name = &payload[..memchr::memchr(b'=', payload).filter(|&at| at > 0)?];
                if Field::named(name) != Field::Other || selectors.tests(name) {
                    return None;
                }
            }
            common = before;
        }
        Some((common, fresh))
    }
}

impl Fresh {
    /// The template does not have what counts before these.
    #[inline]
    fn fits(&self, template: &Template) -> bool {
        let message = self.message.is_none() || template.known & Field::Message.bit() == 0;
        message && (self.source_time.is_none() || template.source_time.is_none())
    }
}
