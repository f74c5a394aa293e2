//! The ordinary entry, in one go.
//!
//! Nearly every entry lies in the window, right behind the one before it, and is made of a known template and a message
//! written for it alone. Such a one takes no step that might have to wait, so everything is done at once, on bytes that
//! are at hand. Whatever is out of the ordinary is left untouched: the steps in `file`, `chain` and `entry` take it.

use super::{
    JournalCursor,
    field::Field,
    file::{GAP_BYTES, JournalFile, Peeked},
    look::Look,
    select::Selectors,
    template::Template,
};
use crate::{
    limits::JOURNAL_FIELD_BYTES_MAX,
    model::SourceMask,
    wire::journal::{
        ALIGNMENT, EntryHead, ObjectHead, ObjectKind,
        object::{ARRAY_ITEMS_AT, ENTRY_ITEMS_AT},
    },
};

const MESSAGE: &[u8] = b"MESSAGE=";
const SOURCE_TIME: &[u8] = b"_SOURCE_REALTIME_TIMESTAMP=";

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
    #[inline]
    pub(super) fn quick(&mut self, budget: &mut u32) -> Option<(usize, SourceMask)> {
        let current = self.current.filter(|current| current.rival.is_none())?;
        if self.look != Look::Rest || self.gap_after.is_some() || self.selectors.tests_own() {
            return None;
        }
        while *budget > 0 {
            *budget -= 1;
            let file = self.files.get_mut(current.index)?;
            let mut sources = file.quick(&self.selectors)?;
            let seqnum = file.peeked().map_or(u64::MAX, |peeked| peeked.head.seqnum);
            if seqnum >= current.seqnum {
                return None;
            }
            if self.is_repeat(current.index) {
                self.files[current.index].advance();
                continue;
            }
            sources = self.spared(current.index, sources);
            self.account(current.index, sources);
            if sources != 0 {
                return Some((current.index, sources));
            }
            self.files[current.index].advance();
        }
        None
    }
}

impl JournalFile {
    /// Peeks at the next entry and assembles it, if it is an ordinary one: who wants it.
    #[inline]
    fn quick(&mut self, selectors: &Selectors) -> Option<SourceMask> {
        if self.next >= self.safe || self.peeked().is_some() || self.walk.is_some() || !self.draft.is_untouched() {
            return None;
        }
        let offset = self.listed()?;
        let ahead = offset.checked_sub(self.group)?;
        if ahead > GAP_BYTES || self.last.is_none() || !offset.is_multiple_of(ALIGNMENT) {
            return None;
        }
        let entry = self.window.rest(offset);
        let head = EntryHead::parse(entry)?;
        let items = entry.get(ENTRY_ITEMS_AT..head.size as usize)?;
        let (common, fresh) = self.fresh(selectors, offset, items)?;
        let index = self.templates.find(items.get(..common)?)?;
        let template = self.templates.at(index);
        if !fresh.fits(template) {
            return None;
        }
        self.draft.settle(index, template, &head, fresh.message);
        if let Some((at, bytes)) = fresh.source_time {
            self.draft.set_source_time(self.window.slice(at, bytes).unwrap_or_default());
        }
        let sources = template.sources;
        self.set_peeked(Peeked { offset, ordinal: self.next, head });
        Some(sources)
    }

    /// The next item of the array at hand.
    #[inline]
    fn listed(&self) -> Option<u64> {
        let link = self.chain.last()?;
        let index = self.next.checked_sub(link.first).filter(|&index| index < link.capacity)?;
        let bytes = self.layout.array_item_bytes();
        let at = link.offset.checked_add(ARRAY_ITEMS_AT as u64 + index.checked_mul(bytes as u64)?)?;
        self.layout.offset(self.array.slice(at, bytes)?)
    }

    /// How many bytes of the items are not fresh, and what the fresh ones are.
    #[inline]
    fn fresh(&self, selectors: &Selectors, entry: u64, items: &[u8]) -> Option<(usize, Fresh)> {
        let bytes = self.layout.entry_item_bytes();
        let payload_at = self.layout.payload_at();
        let (mut common, mut fresh) = (items.len() - items.len() % bytes, Fresh::default());
        while common > 0 {
            let item = self.layout.offset(&items[common - bytes..])?;
            if item < self.group {
                break;
            }
            if item >= entry || !item.is_multiple_of(ALIGNMENT) {
                return None;
            }
            let data = self.window.rest(item);
            let head = ObjectHead::parse(data).filter(|head| head.kind == ObjectKind::Data && head.flags == 0)?;
            let payload = data.get(payload_at..usize::try_from(head.size).ok()?)?;
            let value = |name: &[u8]| (item + (payload_at + name.len()) as u64, payload.len() - name.len());
            // Backwards, so that of two the first one stays.
            if payload.starts_with(MESSAGE) {
                if payload.len() > JOURNAL_FIELD_BYTES_MAX {
                    return None;
                }
                fresh.message = Some(value(MESSAGE));
            } else if payload.starts_with(SOURCE_TIME) {
                fresh.source_time = Some(value(SOURCE_TIME));
            } else {
                let name = &payload[..memchr::memchr(b'=', payload).filter(|&at| at > 0)?];
                if Field::named(name) != Field::Other || selectors.tests(name) {
                    return None;
                }
            }
            common -= bytes;
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
