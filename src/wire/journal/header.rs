//! The header of a journal file, and why a file is refused.
//!
//! A header says how long it is (`header_size`), so fields younger than the file are absent, not zero. Unknown
//! *incompatible* flags mean the rest cannot be read: the file is refused and the flag named. Unknown *compatible*
//! flags are harmless by definition.

use std::fmt;

use super::{Layout, id_at, u32_at, u64_at};

/// Bytes of the oldest header.
pub const HEADER_BYTES_MIN: usize = 208;
/// Bytes of the newest header known; as many are worth reading.
pub const HEADER_BYTES: usize = 272;
/// A header that claims more is damaged.
const HEADER_SIZE_MAX: u64 = 4096;

const SIGNATURE: &[u8; 8] = b"LPKSHHRH";

pub const INCOMPATIBLE_XZ: u32 = 1;
pub const INCOMPATIBLE_LZ4: u32 = 2;
pub const INCOMPATIBLE_KEYED_HASH: u32 = 4;
pub const INCOMPATIBLE_ZSTD: u32 = 8;
pub const INCOMPATIBLE_COMPACT: u32 = 16;
const INCOMPATIBLE_KNOWN: u32 =
    INCOMPATIBLE_XZ | INCOMPATIBLE_LZ4 | INCOMPATIBLE_KEYED_HASH | INCOMPATIBLE_ZSTD | INCOMPATIBLE_COMPACT;

/// Whether somebody writes to the file, as the writer says; a crashed writer leaves `Online`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    #[default]
    Offline,
    Online,
    Archived,
    /// A value the format does not have.
    Unknown(u8),
}

/// The header as read. Offsets and counts are what the file claims; readers check them against what is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    pub compatible: u32,
    pub incompatible: u32,
    pub state: State,
    pub file_id: [u8; 16],
    pub machine_id: [u8; 16],
    pub tail_entry_boot_id: [u8; 16],
    /// Files that share it share one sequence of seqnums.
    pub seqnum_id: [u8; 16],
    pub header_size: u64,
    /// Bytes after the header that are laid out (files grow in steps of 8 MiB: this says nothing about content).
    pub arena_size: u64,
    /// Of the items, not of the object; 0 while there is no table.
    pub data_hash_table_offset: u64,
    pub data_hash_table_size: u64,
    pub field_hash_table_offset: u64,
    pub field_hash_table_size: u64,
    pub tail_object_offset: u64,
    pub n_objects: u64,
    /// The writer's commit point: entries below this ordinal are whole.
    pub n_entries: u64,
    pub tail_entry_seqnum: u64,
    pub head_entry_seqnum: u64,
    /// First array of the chain that lists every entry; 0 while there is none.
    pub entry_array_offset: u64,
    /// Microseconds since the epoch.
    pub head_entry_realtime: u64,
    pub tail_entry_realtime: u64,
    /// Microseconds since boot.
    pub tail_entry_monotonic: u64,
    /// DATA objects; absent before systemd 187.
    pub n_data: Option<u64>,
    /// FIELD objects; absent before systemd 187.
    pub n_fields: Option<u64>,
    /// Tail of the entry array chain; absent before systemd 252.
    pub tail_entry_array_offset: Option<u32>,
    /// Absent before systemd 254.
    pub tail_entry_offset: Option<u64>,
}

/// Why a file is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderFault {
    /// Shorter than any header: empty, or its writer has only begun.
    Short,
    /// Not a journal file (all zeros: its writer has only begun).
    Signature,
    /// Incompatible flags this reader does not know.
    Flags(u32),
    /// The header's own sizes contradict each other.
    Sizes,
}

impl fmt::Display for HeaderFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => f.write_str("too short for a journal header"),
            Self::Signature => f.write_str("not a journal file: it does not begin with LPKSHHRH"),
            Self::Flags(bits) => {
                f.write_str("written with incompatible flags this reader does not know:")?;
                let unknown = (0..u32::BITS).filter(|bit| bits & (1 << bit) != 0);
                unknown.into_iter().try_for_each(|bit| write!(f, " bit {bit} (0x{:x})", 1u32 << bit))
            }
            Self::Sizes => f.write_str("the sizes in its header contradict each other"),
        }
    }
}

impl Header {
    /// Reads a header from the first bytes of a file (`HEADER_BYTES` of them if the file has so many).
    pub fn parse(bytes: &[u8]) -> Result<Self, HeaderFault> {
        if bytes.len() < HEADER_BYTES_MIN {
            return Err(HeaderFault::Short);
        }
        if !bytes.starts_with(SIGNATURE) {
            return Err(HeaderFault::Signature);
        }
        let header = Self::fields(bytes).ok_or(HeaderFault::Short)?;
        let unknown = header.incompatible & !INCOMPATIBLE_KNOWN;
        if unknown != 0 {
            return Err(HeaderFault::Flags(unknown));
        }
        let sane = header.header_size >= HEADER_BYTES_MIN as u64
            && header.header_size <= HEADER_SIZE_MAX
            && header.header_size.checked_add(header.arena_size).is_some();
        if sane { Ok(header) } else { Err(HeaderFault::Sizes) }
    }

    /// Offsets as in `struct Header` of `journal-def.h`; `None` when `bytes` ends before them.
    fn fields(bytes: &[u8]) -> Option<Self> {
        let header_size = u64_at(bytes, 88)?;
        let has = |end: u64| header_size >= end;
        Some(Self {
            compatible: u32_at(bytes, 8)?,
            incompatible: u32_at(bytes, 12)?,
            state: match *bytes.get(16)? {
                0 => State::Offline,
                1 => State::Online,
                2 => State::Archived,
                other => State::Unknown(other),
            },
            file_id: id_at(bytes, 24)?,
            machine_id: id_at(bytes, 40)?,
            tail_entry_boot_id: id_at(bytes, 56)?,
            seqnum_id: id_at(bytes, 72)?,
            header_size,
            arena_size: u64_at(bytes, 96)?,
            data_hash_table_offset: u64_at(bytes, 104)?,
            data_hash_table_size: u64_at(bytes, 112)?,
            field_hash_table_offset: u64_at(bytes, 120)?,
            field_hash_table_size: u64_at(bytes, 128)?,
            tail_object_offset: u64_at(bytes, 136)?,
            n_objects: u64_at(bytes, 144)?,
            n_entries: u64_at(bytes, 152)?,
            tail_entry_seqnum: u64_at(bytes, 160)?,
            head_entry_seqnum: u64_at(bytes, 168)?,
            entry_array_offset: u64_at(bytes, 176)?,
            head_entry_realtime: u64_at(bytes, 184)?,
            tail_entry_realtime: u64_at(bytes, 192)?,
            tail_entry_monotonic: u64_at(bytes, 200)?,
            n_data: u64_at(bytes, 208).filter(|_| has(216)),
            n_fields: u64_at(bytes, 216).filter(|_| has(224)),
            tail_entry_array_offset: u32_at(bytes, 256).filter(|_| has(260)),
            tail_entry_offset: u64_at(bytes, 264).filter(|_| has(272)),
        })
    }

    pub fn layout(&self) -> Layout {
        if self.incompatible & INCOMPATIBLE_COMPACT != 0 { Layout::Compact } else { Layout::Regular }
    }

    /// First byte after what the file claims to hold.
    pub fn end(&self) -> u64 {
        self.header_size.saturating_add(self.arena_size)
    }

    /// Hash of a payload (`FIELD=value`, uncompressed) as this file computes it.
    pub fn hash(&self, payload: &[u8]) -> u64 {
        if self.incompatible & INCOMPATIBLE_KEYED_HASH != 0 {
            super::keyed(&self.file_id, payload)
        } else {
            super::jenkins(payload)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn golden() -> Vec<u8> {
        let mut bytes = vec![0u8; HEADER_BYTES];
        bytes[..8].copy_from_slice(SIGNATURE);
        bytes[12] = 4 | 8 | 16;
        bytes[16] = 1;
        bytes[24..40].fill(7);
        bytes[88..96].copy_from_slice(&264u64.to_le_bytes());
        bytes[96..104].copy_from_slice(&4096u64.to_le_bytes());
        bytes[152..160].copy_from_slice(&3u64.to_le_bytes());
        bytes[264..272].copy_from_slice(&99u64.to_le_bytes());
        bytes
    }

    #[test]
    fn fields_beyond_the_header_size_are_absent() {
        let header = Header::parse(&golden()).unwrap();
        assert_eq!((header.state, header.file_id, header.n_entries), (State::Online, [7; 16], 3));
        assert_eq!(header.layout(), Layout::Compact);
        assert_eq!(header.end(), 264 + 4096);
        assert_eq!(header.tail_entry_array_offset, Some(0));
        assert_eq!(header.tail_entry_offset, None);
    }

    #[test]
    fn an_unknown_incompatible_flag_is_named() {
        let mut bytes = golden();
        bytes[12] |= 32;
        bytes[8] = 0xff;
        let fault = Header::parse(&bytes).unwrap_err();
        assert_eq!(fault, HeaderFault::Flags(32));
        assert!(fault.to_string().ends_with("bit 5 (0x20)"), "{fault}");
    }

    #[test]
    fn short_foreign_and_contradicting_headers_are_refused() {
        assert_eq!(Header::parse(&[]), Err(HeaderFault::Short));
        assert_eq!(Header::parse(&[0; 300]), Err(HeaderFault::Signature));
        let mut bytes = golden();
        bytes[88..96].copy_from_slice(&100u64.to_le_bytes());
        assert_eq!(Header::parse(&bytes), Err(HeaderFault::Sizes));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let head = bytes.len().min(8);
            bytes[..head].copy_from_slice(&SIGNATURE[..head]);
            let _ = Header::parse(&bytes);
        }
    }
}
