//! Objects of a journal file: the common head, and DATA, ENTRY and ENTRY_ARRAY as readers need them.
//!
//! Each `parse` takes the bytes from the start of the object as far as they were read, and gives `None` when they are
//! too few or the object is not what it should be. Chains only ever lead forward: whoever follows one must refuse a
//! `next` that does not lie behind the object it stands in.

use super::{Compression, Layout, id_at, u64_at};

/// Bytes of the head every object has.
pub const OBJECT_HEAD_BYTES: usize = 16;
/// Where the items of an ENTRY begin, from the start of the object.
pub const ENTRY_ITEMS_AT: usize = 64;
/// Where the items of an ENTRY_ARRAY begin, from the start of the object.
pub const ARRAY_ITEMS_AT: usize = 24;
/// Where the payload of a regular DATA object begins: as much of it as `DataHead` needs.
pub const DATA_HEAD_BYTES: usize = 64;
/// Where the name in a FIELD object begins.
pub const FIELD_HEAD_BYTES: usize = 40;
/// One bucket of a hash table: offsets of the first and last object in it.
pub const HASH_ITEM_BYTES: u64 = 16;
/// No ENTRY is larger: journald takes 1,024 fields of an entry, sixteen bytes each in the regular layout, and adds less
/// than 100 of its own.
pub const ENTRY_BYTES_MAX: u64 = 64 * 1024;

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectKind {
    Unused,
    Data,
    Field,
    Entry,
    DataHashTable,
    FieldHashTable,
    EntryArray,
    Tag,
    /// Younger than this reader; to be skipped by its size.
    Unknown(u8),
}

/// The head every object has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectHead {
    pub kind: ObjectKind,
    /// 1 xz, 2 lz4, 4 zstd.
    pub flags: u8,
    /// Bytes with this head, without padding.
    pub size: u64,
}

impl ObjectHead {
    #[inline]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        Self::of(bytes.first_chunk()?)
    }

    #[inline]
    fn of(bytes: &[u8; OBJECT_HEAD_BYTES]) -> Option<Self> {
        let kind = match bytes[0] {
            0 => ObjectKind::Unused,
            1 => ObjectKind::Data,
            2 => ObjectKind::Field,
            3 => ObjectKind::Entry,
            4 => ObjectKind::DataHashTable,
            5 => ObjectKind::FieldHashTable,
            6 => ObjectKind::EntryArray,
            7 => ObjectKind::Tag,
            other => ObjectKind::Unknown(other),
        };
        let size = u64_at(bytes, 8)?;
        (size >= OBJECT_HEAD_BYTES as u64).then_some(Self { kind, flags: bytes[1], size })
    }
}

/// A DATA object: one `FIELD=value`, shared by all entries that have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataHead {
    /// Of the uncompressed payload.
    pub hash: u64,
    pub next_hash_offset: u64,
    /// The value of this field that was new before this one; 0 for the first.
    pub next_field_offset: u64,
    /// The first entry that has it.
    pub entry: u64,
    /// The chain of arrays that list the further ones; 0 when there is none.
    pub entry_array: u64,
    pub n_entries: u64,
    pub compression: Compression,
    /// Bytes of the payload as stored.
    pub payload_bytes: u64,
}

impl DataHead {
    /// `bytes` must reach to `DATA_HEAD_BYTES`.
    #[inline]
    pub fn parse(bytes: &[u8], layout: Layout) -> Option<Self> {
        let head = ObjectHead::parse(bytes)?;
        if head.kind != ObjectKind::Data {
            return None;
        }
        Some(Self {
            hash: u64_at(bytes, 16)?,
            next_hash_offset: u64_at(bytes, 24)?,
            next_field_offset: u64_at(bytes, 32)?,
            entry: u64_at(bytes, 40)?,
            entry_array: u64_at(bytes, 48)?,
            n_entries: u64_at(bytes, 56)?,
            compression: Compression::from_flags(head.flags)?,
            payload_bytes: head.size.checked_sub(layout.payload_at() as u64)?,
        })
    }
}

/// A FIELD object: the name of a field, and its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldHead {
    pub hash: u64,
    pub next_hash_offset: u64,
    /// The newest of its values, a DATA object.
    pub head_data_offset: u64,
    /// Bytes of the name.
    pub payload_bytes: u64,
}

impl FieldHead {
    /// `bytes` must reach to `FIELD_HEAD_BYTES`.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let head = ObjectHead::parse(bytes)?;
        if head.kind != ObjectKind::Field {
            return None;
        }
        Some(Self {
            hash: u64_at(bytes, 16)?,
            next_hash_offset: u64_at(bytes, 24)?,
            head_data_offset: u64_at(bytes, 32)?,
            payload_bytes: head.size.checked_sub(FIELD_HEAD_BYTES as u64)?,
        })
    }
}

/// An ENTRY without its items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EntryHead {
    /// Bytes of the whole object.
    pub size: u64,
    pub seqnum: u64,
    /// Microseconds since the epoch.
    pub realtime: u64,
    /// Microseconds since boot.
    pub monotonic: u64,
    pub boot_id: [u8; 16],
    /// XOR of the hashes of all payloads.
    pub xor_hash: u64,
}

impl EntryHead {
    /// `bytes` must reach to `ENTRY_ITEMS_AT`.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        // One check of the length for all that follows.
        let bytes: &[u8; ENTRY_ITEMS_AT] = bytes.first_chunk()?;
        let head = ObjectHead::of(bytes.first_chunk()?)?;
        let fits = head.size >= ENTRY_ITEMS_AT as u64 && head.size <= ENTRY_BYTES_MAX;
        if head.kind != ObjectKind::Entry || !fits {
            return None;
        }
        Some(Self {
            size: head.size,
            seqnum: u64_at(bytes, 16)?,
            realtime: u64_at(bytes, 24)?,
            monotonic: u64_at(bytes, 32)?,
            boot_id: id_at(bytes, 40)?,
            xor_hash: u64_at(bytes, 56)?,
        })
    }

    /// Number of DATA offsets in the entry.
    #[inline]
    pub fn items(&self, layout: Layout) -> usize {
        (self.size as usize - ENTRY_ITEMS_AT) / layout.entry_item_bytes()
    }
}

/// An ENTRY_ARRAY without its items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArrayHead {
    /// The next array of the chain; 0 at its end.
    pub next: u64,
    /// Items it has room for; unused ones are zero.
    pub capacity: u64,
}

impl ArrayHead {
    /// `bytes` must reach to `ARRAY_ITEMS_AT`.
    pub fn parse(bytes: &[u8], layout: Layout) -> Option<Self> {
        let head = ObjectHead::parse(bytes)?;
        if head.kind != ObjectKind::EntryArray {
            return None;
        }
        let items = head.size.checked_sub(ARRAY_ITEMS_AT as u64)?;
        Some(Self { next: u64_at(bytes, 16)?, capacity: items / layout.array_item_bytes() as u64 })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn object(kind: u8, flags: u8, size: u64) -> Vec<u8> {
        let mut bytes = vec![0u8; 128];
        (bytes[0], bytes[1]) = (kind, flags);
        bytes[8..16].copy_from_slice(&size.to_le_bytes());
        bytes
    }

    #[test]
    fn an_entry_counts_its_items_in_both_layouts() {
        let entry = EntryHead::parse(&object(3, 0, 64 + 48)).unwrap();
        assert_eq!((entry.items(Layout::Regular), entry.items(Layout::Compact)), (3, 12));
    }

    #[test]
    fn wrong_kinds_and_sizes_are_refused() {
        assert_eq!(EntryHead::parse(&object(1, 0, 80)), None);
        assert_eq!(EntryHead::parse(&object(3, 0, 63)), None);
        assert_eq!(EntryHead::parse(&object(3, 0, u64::MAX)), None);
        assert_eq!(DataHead::parse(&object(1, 0, 71), Layout::Compact), None);
        assert_eq!(DataHead::parse(&object(1, 3, 80), Layout::Compact), None, "two compressions at once");
        assert_eq!(ArrayHead::parse(&object(6, 0, 23), Layout::Regular), None);
        assert_eq!(ArrayHead::parse(&object(6, 0, 24 + 17), Layout::Regular).unwrap().capacity, 2);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            for layout in [Layout::Regular, Layout::Compact] {
                let _ = (DataHead::parse(&bytes, layout), ArrayHead::parse(&bytes, layout), FieldHead::parse(&bytes));
                let _ = EntryHead::parse(&bytes).map(|entry| entry.items(layout));
            }
        }
    }
}
