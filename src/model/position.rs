//! Where a flow stands in its reader, and which reader that is.
//!
//! Both are written into the checkpoint, so both are fixed-size plain values whose meaning may never change silently:
//! `wire::slot` gives them their bytes.

/// What makes a file this file: device, inode, inode generation and a hash of its head.
///
/// Inode alone is reused, fingerprint alone is shared by files that begin alike; both lost logs elsewhere.
/// `head_bytes` says how much of the head was there to hash; a file that has grown since still matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileIdentity {
    pub device: u64,
    pub inode: u64,
    /// From FS_IOC_GETVERSION; 0 where the file system has none.
    pub generation: u64,
    /// Bytes of the head that `head_hash` covers, at most `limits::FINGERPRINT_BYTES`.
    pub head_bytes: u32,
    /// xxh3-64 of those bytes.
    pub head_hash: u64,
}

impl FileIdentity {
    /// Whether both stand for the same inode; the head must be compared besides.
    pub fn same_inode(&self, other: &Self) -> bool {
        self.device == other.device && self.inode == other.inode && self.generation == other.generation
    }
}

/// Which reader a flow belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReaderKey {
    File(FileIdentity),
    /// A journal directory, by the xxh3-64 of its path.
    Journal {
        directory: u64,
    },
}

/// The last journal entry that was consumed, with all that finds it again when its file moved, was rotated or vacuumed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct JournalPosition {
    pub file_id: [u8; 16],
    /// Offset of the ENTRY object in that file; 0 = before the first entry.
    pub offset: u64,
    /// Index of the entry in the file's global entry array.
    pub ordinal: u64,
    pub seqnum_id: [u8; 16],
    pub seqnum: u64,
    pub boot_id: [u8; 16],
    /// Microseconds since boot.
    pub monotonic: u64,
    /// Microseconds since the epoch.
    pub realtime: u64,
    pub xor_hash: u64,
}

/// Everything before it is done, everything from it on is still to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Position {
    /// Byte offset of the next record's first byte.
    File { offset: u64 },
    /// The last entry consumed.
    Journal(JournalPosition),
}

impl Position {
    pub fn file(offset: u64) -> Self {
        Self::File { offset }
    }

    /// The byte offset of a file position; 0 for the journal.
    pub fn offset(&self) -> u64 {
        match self {
            Self::File { offset } => *offset,
            Self::Journal(_) => 0,
        }
    }
}
