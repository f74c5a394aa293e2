//! The systemd journal file format: bytes into values, without IO.
//!
//! Follows systemd's `JOURNAL_FILE_FORMAT` document and `journal-def.h` (up to version 254). Everything is little
//! endian; objects begin at offsets divisible by eight. Both layouts are read: *regular* (64-bit item offsets) and
//! *compact* (32-bit ones, `HEADER_INCOMPATIBLE_COMPACT`). Nothing here trusts a size: a value is only made of bytes
//! that are there.

pub mod hash;
pub mod header;
pub mod object;
pub mod payload;
mod xz;

pub use hash::{jenkins, keyed};
pub use header::{Header, HeaderFault, State};
pub use object::{ArrayHead, DataHead, EntryHead, FieldHead, ObjectHead, ObjectKind};
pub use payload::{Compression, Decompressor, PayloadFault};

/// Objects begin at multiples of this.
pub const ALIGNMENT: u64 = 8;

/// How offsets inside objects are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// 64-bit offsets; an item of an ENTRY also carries the hash of its DATA.
    Regular,
    /// 32-bit offsets, since systemd 252.
    Compact,
}

impl Layout {
    /// Bytes of one item of an ENTRY.
    #[inline]
    pub fn entry_item_bytes(self) -> usize {
        match self {
            Self::Regular => 16,
            Self::Compact => 4,
        }
    }

    /// Bytes of one item of an ENTRY_ARRAY.
    #[inline]
    pub fn array_item_bytes(self) -> usize {
        match self {
            Self::Regular => 8,
            Self::Compact => 4,
        }
    }

    /// Where the payload of a DATA object begins, from the start of the object.
    #[inline]
    pub fn payload_at(self) -> usize {
        match self {
            Self::Regular => 64,
            Self::Compact => 72,
        }
    }

    /// The offset at the head of `item`; `None` when the bytes are not there.
    #[inline]
    pub fn offset(self, item: &[u8]) -> Option<u64> {
        match self {
            Self::Regular => u64_at(item, 0),
            Self::Compact => u32_at(item, 0).map(u64::from),
        }
    }
}

/// The little-endian number at `at`; `None` when the bytes are not there.
#[inline]
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|chunk| u64::from_le_bytes(*chunk))
}

#[inline]
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|chunk| u32::from_le_bytes(*chunk))
}

#[inline]
pub(crate) fn id_at(bytes: &[u8], at: usize) -> Option<[u8; 16]> {
    bytes.get(at..)?.first_chunk().copied()
}
