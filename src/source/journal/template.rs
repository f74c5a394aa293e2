//! What entries of one kind have in common, worked out once.
//!
//! Entries a service logs at one priority refer to the same DATA objects, but for those written for each entry alone.
//! Items are sorted by offset, so the common ones stand first, byte for byte the same. Their bytes name a template: the
//! values they have, the tests they pass. With it an entry costs one comparison instead of a look-up for each item.

use super::field::Field;
use crate::{limits::JOURNAL_TEMPLATES_MAX, model::SourceMask};

const WAYS: usize = 2;
const PLACES: usize = JOURNAL_TEMPLATES_MAX / WAYS;

/// The common items of some entries, and what they come to.
#[derive(Debug, Default)]
pub(super) struct Template {
    items: Vec<u8>,
    /// Parts of `values`, for the fields that are there.
    texts: [(u32, u32); Field::TEXTS],
    values: Vec<u8>,
    /// Which fields are there: bit *i* is the *i*-th text.
    pub known: u8,
    pub priority: Option<u8>,
    pub source_time: Option<u64>,
    pub rounds: Vec<SourceMask>,
    /// Who wants such an entry when nothing else in it is tested.
    pub sources: SourceMask,
}

impl Template {
    /// The value of a field; of one that is not there, nothing.
    #[inline]
    pub fn text(&self, field: Field) -> &[u8] {
        let (from, to) = self.texts[field as usize];
        self.values.get(from as usize..to as usize).unwrap_or_default()
    }

    pub fn set_text(&mut self, field: Field, value: &[u8]) {
        let from = self.values.len() as u32;
        self.values.extend_from_slice(value);
        self.texts[field as usize] = (from, self.values.len() as u32);
        self.known |= field.bit();
    }
}

/// A bounded map from items to their template. Empty until something was seen twice.
#[derive(Debug, Default)]
pub(super) struct Templates {
    places: Vec<Template>,
    /// The hash last seen without a template, by place: what is seen once only is not worth one.
    seen: Vec<u64>,
}

impl Templates {
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// The template of entries that begin with `items`.
    #[inline]
    pub fn find(&mut self, items: &[u8]) -> Option<usize> {
        if self.places.is_empty() || items.is_empty() {
            return None;
        }
        let first = place(hash(items)) * WAYS;
        if self.places[first].items == items {
            return Some(first);
        }
        if self.places[first + 1].items == items {
            // The one used last stands first; the other one makes room.
            self.places.swap(first, first + 1);
            return Some(first);
        }
        None
    }

    #[inline]
    pub fn get(&self, index: usize) -> Option<&Template> {
        self.places.get(index)
    }

    #[inline]
    pub fn at(&self, index: usize) -> &Template {
        &self.places[index]
    }

    /// Room for a template of `items`, when it is worth one.
    pub fn admit(&mut self, items: &[u8]) -> Option<&mut Template> {
        if items.is_empty() {
            return None;
        }
        if self.seen.is_empty() {
            self.seen = vec![0; PLACES];
        }
        let hash = hash(items);
        let place = place(hash);
        if std::mem::replace(&mut self.seen[place], hash) != hash {
            return None;
        }
        if self.places.is_empty() {
            self.places.resize_with(PLACES * WAYS, Template::default);
        }
        let template = &mut self.places[place * WAYS + 1];
        template.items.clear();
        template.items.extend_from_slice(items);
        template.values.clear();
        (template.texts, template.known) = Default::default();
        Some(template)
    }
}

/// Where to look; whoever finds compares all bytes. Items are added up, two lanes at once, and only the sums are
/// multiplied: they stand in order, so no two kinds of entries differ in the order of theirs alone.
#[inline]
fn hash(items: &[u8]) -> u64 {
    const ODD: [u64; 2] = [0x9e37_79b9_7f4a_7c15, 0xbf58_476d_1ce4_e5b9];
    let (pairs, rest) = items.as_chunks::<16>();
    let mut sums = [items.len() as u64, 0];
    for pair in pairs {
        let (words, _) = pair.as_chunks::<8>();
        for (sum, word) in sums.iter_mut().zip(words) {
            *sum = sum.wrapping_add(u64::from_le_bytes(*word));
        }
    }
    let (words, _) = rest.as_chunks::<4>();
    for (lane, word) in words.iter().enumerate() {
        sums[lane & 1] = sums[lane & 1].wrapping_add(u64::from(u32::from_le_bytes(*word)) << 8);
    }
    let product = u128::from(sums[0] ^ ODD[0]) * u128::from(sums[1].wrapping_add(ODD[1]));
    let hash = product as u64 ^ (product >> 64) as u64;
    hash ^ hash >> 32
}

#[inline]
fn place(hash: u64) -> usize {
    hash as usize & (PLACES - 1)
}

const _: () = assert!(PLACES.is_power_of_two() && WAYS == 2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_sighting_makes_a_template() {
        let mut templates = Templates::default();
        assert!(templates.find(b"12345678").is_none() && templates.admit(b"12345678").is_none());
        let template = templates.admit(b"12345678").unwrap();
        template.set_text(Field::Unit, b"unit");
        template.set_text(Field::Pid, b"7");
        let index = templates.find(b"12345678").unwrap();
        let found = templates.at(index);
        assert_eq!((found.text(Field::Unit), found.text(Field::Pid)), (&b"unit"[..], &b"7"[..]));
        assert_eq!((found.text(Field::Message), found.known), (&[][..], Field::Unit.bit() | Field::Pid.bit()));
        assert!(templates.find(b"1234567").is_none() && templates.find(b"").is_none());
    }

    #[test]
    fn room_is_bounded_and_what_is_found_is_what_was_put_in() {
        let mut templates = Templates::default();
        for n in 0..100_000u64 {
            let items = (n % 3000).to_le_bytes();
            match templates.find(&items) {
                Some(index) => assert_eq!(templates.at(index).text(Field::Pid), &items[..]),
                None => {
                    if let Some(template) = templates.admit(&items) {
                        template.set_text(Field::Pid, &items);
                    }
                }
            }
        }
        assert!(templates.places.len() <= JOURNAL_TEMPLATES_MAX);
    }
}
