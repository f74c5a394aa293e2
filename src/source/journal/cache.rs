//! Values of DATA objects seen before, by their offset.
//!
//! An entry refers to some twenty DATA objects, nearly all of which earlier entries had too (host, unit, command line).
//! What each one means to this reader is worked out once and kept: which field it is, which selectors' tests it passes,
//! and its value if it goes along with records. Four slots share one place; the one used longest ago makes room, and a
//! slot used by the entry at hand never does.

use super::field::Field;
use crate::limits::{JOURNAL_CACHE_ENTRIES_MAX, JOURNAL_CACHED_VALUE_BYTES_MAX};

const WAYS: usize = 4;
const PLACES_FIRST: usize = 256;

/// What is known of one DATA object.
#[derive(Clone, Debug, Default)]
pub(super) struct Slot {
    pub field: Field,
    /// `value` holds it; else it is not needed, or too long to keep.
    pub kept: bool,
    /// Of `Selectors`: the tests it passes.
    pub passes: u32,
    /// The last entry that used it.
    stamp: u32,
    pub value: Vec<u8>,
}

/// A bounded map from offset to `Slot`.
#[derive(Debug, Default)]
pub(super) struct Cache {
    /// 0 where the slot is empty: no object lies at offset 0.
    offsets: Vec<[u64; WAYS]>,
    slots: Vec<Slot>,
    used: usize,
    /// Counts entries.
    stamp: u32,
}

impl Cache {
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// A new entry is at hand: the slots of the one before may move and make room. When half of the slots are in use,
    /// there will be four times as many.
    pub fn next_entry(&mut self) {
        self.stamp = self.stamp.wrapping_add(1);
        let slots = self.slots.len();
        if self.used * 2 >= slots && slots * 4 <= JOURNAL_CACHE_ENTRIES_MAX {
            self.grow((self.offsets.len() * 4).max(PLACES_FIRST));
        }
    }

    #[inline]
    pub fn find(&mut self, offset: u64) -> Option<usize> {
        let place = place(offset, self.offsets.len());
        let way = self.offsets.get(place)?.iter().position(|&known| known == offset)?;
        let index = place * WAYS + way;
        self.slots[index].stamp = self.stamp;
        Some(index)
    }

    #[inline]
    pub fn slot(&self, index: usize) -> &Slot {
        &self.slots[index]
    }

    /// Keeps what is known of the object at `offset`, and its `value` if that is given and short; `None` when the entry
    /// at hand uses all the slots it could have.
    pub fn insert(&mut self, offset: u64, field: Field, passes: u32, value: Option<&[u8]>) -> Option<usize> {
        if self.offsets.is_empty() {
            self.grow(PLACES_FIRST);
        }
        let place = place(offset, self.offsets.len());
        let stamp = self.stamp;
        let slots = &self.slots[place * WAYS..][..WAYS];
        let way = match self.offsets[place].iter().position(|&known| known == 0 || known == offset) {
            Some(way) => way,
            None => {
                let oldest = (0..WAYS).max_by_key(|&way| stamp.wrapping_sub(slots[way].stamp))?;
                if slots[oldest].stamp == stamp {
                    return None;
                }
                oldest
            }
        };
        self.used += usize::from(self.offsets[place][way] == 0);
        self.offsets[place][way] = offset;
        let index = place * WAYS + way;
        let slot = &mut self.slots[index];
        let value = value.filter(|value| value.len() <= JOURNAL_CACHED_VALUE_BYTES_MAX);
        (slot.field, slot.passes, slot.stamp, slot.kept) = (field, passes, stamp, value.is_some());
        slot.value.clear();
        slot.value.extend_from_slice(value.unwrap_or_default());
        Some(index)
    }

    /// Spreads what is known over `places`; what finds no room is forgotten.
    fn grow(&mut self, places: usize) {
        let old = std::mem::take(&mut self.slots);
        let offsets = std::mem::replace(&mut self.offsets, vec![[0; WAYS]; places]);
        self.slots = vec![Slot::default(); places * WAYS];
        self.used = 0;
        for (offset, slot) in offsets.into_iter().flatten().zip(old).filter(|(offset, _)| *offset != 0) {
            let place = place(offset, places);
            if let Some(way) = self.offsets[place].iter().position(|&known| known == 0) {
                self.offsets[place][way] = offset;
                self.slots[place * WAYS + way] = slot;
                self.used += 1;
            }
        }
    }
}

/// Offsets are multiples of eight and cluster; the multiplication spreads them (Fibonacci hashing).
#[inline]
fn place(offset: u64, places: usize) -> usize {
    ((offset >> 3).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize & places.wrapping_sub(1)
}

const _: () = assert!(PLACES_FIRST.is_power_of_two() && PLACES_FIRST * WAYS <= JOURNAL_CACHE_ENTRIES_MAX);

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn gives_back_what_was_put_in_and_stays_bounded() {
        let (mut cache, mut model) = (Cache::default(), HashMap::new());
        for i in 1..100_000u64 {
            cache.next_entry();
            let offset = i * 8;
            let value = i.to_le_bytes();
            if cache.insert(offset, Field::Unit, i as u32, Some(&value)).is_some() {
                model.insert(offset, i);
            }
            let back = (i / 2).max(1) * 8;
            if let Some(index) = cache.find(back) {
                let slot = cache.slot(index);
                assert_eq!(
                    (u64::from(slot.passes), slot.value.as_slice()),
                    (model[&back], &model[&back].to_le_bytes()[..])
                );
            }
        }
        assert!(cache.slots.len() <= JOURNAL_CACHE_ENTRIES_MAX);
    }

    #[test]
    fn slots_of_the_entry_at_hand_stay() {
        let mut cache = Cache::default();
        cache.next_entry();
        let kept: Vec<_> =
            (1..20_000u64).filter_map(|i| Some((i * 8, cache.insert(i * 8, Field::Unit, 0, Some(b"v"))?))).collect();
        assert!(kept.len() >= PLACES_FIRST);
        assert!(kept.iter().all(|&(offset, index)| cache.find(offset) == Some(index)));
    }

    #[test]
    fn long_values_are_known_but_not_kept() {
        let mut cache = Cache::default();
        let index = cache.insert(8, Field::Message, 3, Some(&[b'x'; 300])).unwrap();
        assert!(!cache.slot(index).kept);
        assert_eq!(cache.slot(index).passes, 3);
    }
}
