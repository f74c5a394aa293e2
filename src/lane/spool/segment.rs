//! One segment of the spool as bytes: whose it is, an index of its blocks, their compressed content.
//!
//! ```text
//!   0 magic u32   4 version u16   6 path bytes u16   8 source u64   16 number u64   24 blocks u32   28 last u32
//!  32 device u64   40 inode u64   48 generation u64   56 head bytes u32 (+4)   64 head hash u64   72 modified i64
//!  80 path
//!   … blocks × { offset u64, raw bytes u32, stored bytes u32, lines u32, crc32 of the stored bytes, kind u8 (+7) }
//!   … crc32 of all before
//!   … the stored bytes of each block, one zstd frame each, in order
//! ```
//! Little endian. `offset` is where the block's bytes stood in the file. A block that was dropped stores nothing: it
//! says how many bytes and lines are not there.

use std::{
    ffi::OsStr,
    io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use memchr::memchr_iter;

use crate::{
    limits::{SPOOL_BLOCK_BYTES, SPOOL_SEGMENT_BYTES},
    model::{FileIdentity, Nanos, ObjectId},
};

const MAGIC: u32 = 0x5053_4c43; // "CLSP"
const VERSION: u16 = 1;
const HEAD_BYTES: usize = 80;
const ENTRY_BYTES: usize = 32;
/// The longest path that is kept; of a longer one the end.
const PATH_BYTES_MAX: usize = 4096;
/// Blocks of one segment at most: those that store nothing are bounded by it alone.
const BLOCKS_MAX: usize = 8192;
/// Bytes that hold head and index of any segment.
pub const INDEX_BYTES_MAX: usize = HEAD_BYTES + PATH_BYTES_MAX + BLOCKS_MAX * ENTRY_BYTES + 4;
/// Fast rather than small: this runs on a lane.
const LEVEL: i32 = 1;

/// Whose bytes a segment holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub source: ObjectId,
    /// Tells this file from all others of the source that were ever spooled.
    pub number: u64,
    /// What the file was while it had an inode.
    pub identity: FileIdentity,
    pub path: PathBuf,
    pub modified: Nanos,
}

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Bytes,
    /// There was no room: its lines were counted and dropped.
    Dropped,
    /// It could not be read: how many lines it had is not known.
    Unread,
    /// What was stored does not check (known only after looking).
    Damaged,
}

/// One block, as the index tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// In the file it came from.
    pub offset: u64,
    pub raw_bytes: u32,
    pub lines: u32,
    pub kind: Kind,
    /// In the segment.
    pub at: u64,
    pub stored_bytes: u32,
    crc: u32,
}

impl Block {
    /// Where the next one begins in the file.
    pub fn end(&self) -> u64 {
        self.offset + u64::from(self.raw_bytes)
    }

    /// The bytes that stood in the file, from what is stored; `None` if that does not check.
    pub fn open(&self, stored: &[u8]) -> Option<Vec<u8>> {
        if stored.len() != self.stored_bytes as usize || crc32fast::hash(stored) != self.crc {
            return None;
        }
        let raw = zstd::bulk::decompress(stored, self.raw_bytes as usize).ok()?;
        (raw.len() == self.raw_bytes as usize).then_some(raw)
    }
}

/// Head and index of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    pub owner: Owner,
    /// The file ends with it.
    pub last: bool,
    pub blocks: Vec<Block>,
}

impl Index {
    /// Reads the beginning of a segment file of `size` bytes. Blocks that lie beyond its end are damaged.
    ///
    /// # Errors
    /// What is wrong with it, in words: nothing of it can be used.
    pub fn parse(bytes: &[u8], size: u64) -> Result<Self, &'static str> {
        let mut from = From { bytes, at: 0 };
        let cut = "shorter than its index";
        if from.u32().ok_or(cut)? != MAGIC {
            return Err("no segment of a spool");
        }
        if from.u16().ok_or(cut)? != VERSION {
            return Err("of another version");
        }
        let path_bytes = usize::from(from.u16().ok_or(cut)?);
        let (source, number) = (from.u64().ok_or(cut)?, from.u64().ok_or(cut)?);
        let (count, last) = (from.u32().ok_or(cut)? as usize, from.u32().ok_or(cut)? != 0);
        let end = HEAD_BYTES + path_bytes + count.min(BLOCKS_MAX) * ENTRY_BYTES;
        let sum = bytes.get(end..end + 4).ok_or(cut)?;
        if count > BLOCKS_MAX || crc32fast::hash(&bytes[..end]).to_le_bytes() != sum {
            return Err("its index does not check");
        }
        let identity = from.identity().ok_or(cut)?;
        let modified = Nanos(from.u64().ok_or(cut)? as i64);
        let path = PathBuf::from(OsStr::from_bytes(from.take(path_bytes).ok_or(cut)?));
        let mut at = end as u64 + 4;
        let mut blocks = Vec::with_capacity(count);
        for _ in 0..count {
            let mut block = from.block(at).ok_or("its index makes no sense")?;
            at += u64::from(block.stored_bytes);
            if at > size {
                block.kind = Kind::Damaged;
            }
            blocks.push(block);
        }
        if blocks.is_empty() || blocks.windows(2).any(|pair| pair[0].end() != pair[1].offset) {
            return Err("its index makes no sense");
        }
        let owner = Owner { source: ObjectId(source), number, identity, path, modified };
        Ok(Self { owner, last, blocks })
    }
}

/// A segment being written, in memory.
pub struct Writer {
    compressor: zstd::bulk::Compressor<'static>,
    blocks: Vec<Block>,
    stored: Vec<u8>,
}

impl Writer {
    /// # Errors
    /// No memory for the compressor.
    pub fn new() -> io::Result<Self> {
        let compressor = zstd::bulk::Compressor::new(LEVEL)?;
        Ok(Self { compressor, blocks: Vec::new(), stored: Vec::new() })
    }

    /// Compresses `raw`, which stood at `offset`, and adds it if that takes no more than `room` bytes in all.
    ///
    /// # Errors
    /// It takes more, or could not be compressed; nothing was added.
    pub fn put(&mut self, offset: u64, raw: &[u8], room: u64) -> io::Result<()> {
        debug_assert!(raw.len() <= SPOOL_BLOCK_BYTES);
        let stored = self.compressor.compress(raw)?;
        if self.bytes() + (stored.len() + ENTRY_BYTES) as u64 > room {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let (stored_bytes, crc) = (stored.len() as u32, crc32fast::hash(&stored));
        self.stored.extend_from_slice(&stored);
        let (raw_bytes, lines) = (raw.len() as u32, lines(raw));
        self.blocks.push(Block { offset, raw_bytes, lines, kind: Kind::Bytes, at: 0, stored_bytes, crc });
        Ok(())
    }

    /// Says that `raw_bytes` with so many `lines` stood at `offset` and are not here.
    pub fn put_missing(&mut self, offset: u64, raw_bytes: u32, lines: u32, kind: Kind) {
        self.blocks.push(Block { offset, raw_bytes, lines, kind, at: 0, stored_bytes: 0, crc: 0 });
    }

    /// How large the segment would be now, without its owner.
    pub fn bytes(&self) -> u64 {
        (HEAD_BYTES + self.blocks.len() * ENTRY_BYTES + self.stored.len() + 4) as u64
    }

    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Where its first block stood; far beyond everything without one.
    pub fn start(&self) -> u64 {
        self.blocks.first().map_or(u64::MAX, |block| block.offset)
    }

    /// Time to begin another one.
    pub fn is_full(&self) -> bool {
        self.blocks.len() >= BLOCKS_MAX || self.stored.len() >= SPOOL_SEGMENT_BYTES
    }

    /// Ends the segment, with which the file ends if it is the `last`: its bytes, and its blocks as `Index::parse`
    /// would find them. The writer is empty again.
    pub fn finish(&mut self, owner: &Owner, last: bool) -> (Vec<u8>, Vec<Block>) {
        let mut path = owner.path.as_os_str().as_bytes();
        path = &path[path.len().saturating_sub(PATH_BYTES_MAX)..];
        let mut out = Vec::with_capacity(self.bytes() as usize + path.len());
        out.extend_from_slice(&MAGIC.to_le_bytes());
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&(path.len() as u16).to_le_bytes());
        let FileIdentity { device, inode, generation, head_bytes, head_hash } = owner.identity;
        let count = self.blocks.len() as u64 | u64::from(last) << 32;
        let words = [owner.source.0, owner.number, count, device, inode, generation, u64::from(head_bytes), head_hash];
        for word in words.into_iter().chain([owner.modified.0 as u64]) {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(path);
        let mut at = (out.len() + self.blocks.len() * ENTRY_BYTES + 4) as u64;
        for block in &mut self.blocks {
            block.at = at;
            at += u64::from(block.stored_bytes);
            out.extend_from_slice(&block.offset.to_le_bytes());
            for word in [block.raw_bytes, block.stored_bytes, block.lines, block.crc] {
                out.extend_from_slice(&word.to_le_bytes());
            }
            let kind = match block.kind {
                Kind::Bytes | Kind::Damaged => 0,
                Kind::Dropped => 1,
                Kind::Unread => 2u64,
            };
            out.extend_from_slice(&kind.to_le_bytes());
        }
        out.extend_from_slice(&crc32fast::hash(&out).to_le_bytes());
        out.append(&mut self.stored);
        (out, std::mem::take(&mut self.blocks))
    }
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("blocks", &self.blocks.len()).field("bytes", &self.bytes()).finish()
    }
}

/// Lines of some bytes; what is left without an end is one.
pub fn lines(raw: &[u8]) -> u32 {
    let ends = memchr_iter(b'\n', raw).count() as u32;
    ends + u32::from(raw.last().is_some_and(|last| *last != b'\n'))
}

/// The file name of a segment.
pub fn name(owner: &Owner, start: u64) -> String {
    format!("{:016x}-{:016x}-{start:016x}.{ENDING}", owner.source.0, owner.number)
}

/// Ending of every segment's name.
pub const ENDING: &str = "segment";

/// The source a segment belongs to, by its name; `None` for other files.
pub fn source_of(name: &OsStr) -> Option<ObjectId> {
    let name = name.to_str()?;
    (Path::new(name).extension()? == ENDING).then_some(())?;
    u64::from_str_radix(name.get(..16)?, 16).ok().map(ObjectId)
}

struct From<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> From<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_le_bytes)
    }

    fn identity(&mut self) -> Option<FileIdentity> {
        let (device, inode, generation) = (self.u64()?, self.u64()?, self.u64()?);
        let head_bytes = u32::try_from(self.u64()?).ok()?;
        Some(FileIdentity { device, inode, generation, head_bytes, head_hash: self.u64()? })
    }

    fn block(&mut self, at: u64) -> Option<Block> {
        let (offset, raw_bytes) = (self.u64()?, self.u32()?);
        let (stored_bytes, lines, crc) = (self.u32()?, self.u32()?, self.u32()?);
        let kind = match self.u64()? {
            0 => Kind::Bytes,
            1 => Kind::Dropped,
            2 => Kind::Unread,
            _ => return None,
        };
        let fits = raw_bytes > 0 && raw_bytes as usize <= SPOOL_BLOCK_BYTES && offset.checked_add(1 << 32).is_some();
        fits.then_some(Block { offset, raw_bytes, lines, kind, at, stored_bytes, crc })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn owner(path: &str) -> Owner {
        let identity = FileIdentity { device: 1, inode: 2, generation: 3, head_bytes: 4, head_hash: 5 };
        Owner { source: ObjectId(6), number: 7, identity, path: PathBuf::from(path), modified: Nanos(8) }
    }

    fn segment(path: &str) -> Vec<u8> {
        let mut writer = Writer::new().unwrap();
        writer.put(100, b"one\ntwo\n", u64::MAX).unwrap();
        writer.put_missing(108, 1000, 9, Kind::Dropped);
        writer.put(1108, &b"three\n".repeat(1000), u64::MAX).unwrap();
        writer.finish(&owner(path), true).0
    }

    #[test]
    fn golden_head() {
        let bytes = segment("/a");
        assert_eq!(&bytes[..8], b"CLSP\x01\0\x02\0");
        assert_eq!((bytes[8], bytes[16], bytes[24], bytes[28]), (6, 7, 3, 1));
        assert_eq!((bytes[32], bytes[40], bytes[48]), (1, 2, 3));
        assert_eq!((bytes[56], bytes[64], bytes[72]), (4, 5, 8));
        assert_eq!(&bytes[80..82], b"/a");
        // Offset, raw bytes; the stored bytes are the compressor's; lines.
        assert_eq!(&bytes[82..94], b"\x64\0\0\0\0\0\0\0\x08\0\0\0");
        assert_eq!(&bytes[98..102], b"\x02\0\0\0");
    }

    #[test]
    fn comes_back_as_it_was_put() {
        let bytes = segment("/var/log/app.log");
        let index = Index::parse(&bytes, bytes.len() as u64).unwrap();
        assert_eq!((&index.owner, index.last), (&owner("/var/log/app.log"), true));
        let raw = |block: &Block| {
            let at = block.at as usize;
            block.open(&bytes[at..at + block.stored_bytes as usize])
        };
        assert_eq!(raw(&index.blocks[0]).unwrap(), b"one\ntwo\n");
        assert_eq!(raw(&index.blocks[2]).unwrap(), b"three\n".repeat(1000));
        let dropped = index.blocks[1];
        assert_eq!((dropped.kind, dropped.lines, dropped.offset, dropped.end()), (Kind::Dropped, 9, 108, 1108));
        assert_eq!(source_of(name(&index.owner, 100).as_ref()), Some(ObjectId(6)));
    }

    #[test]
    fn a_torn_tail_is_known_before_it_is_read() {
        let bytes = segment("/a");
        let index = Index::parse(&bytes, bytes.len() as u64 - 1).unwrap();
        let kinds: Vec<Kind> = index.blocks.iter().map(|block| block.kind).collect();
        assert_eq!(kinds, [Kind::Bytes, Kind::Dropped, Kind::Damaged]);
    }

    #[test]
    fn what_takes_more_than_there_is_room_for_is_not_put() {
        let mut writer = Writer::new().unwrap();
        assert_eq!(writer.put(0, b"x", 10).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert!(writer.is_empty());
    }

    proptest! {
        /// Whatever bit is wrong: it is seen, and nothing wrong is ever handed out.
        #[test]
        fn one_flipped_bit_is_seen(bit in 0usize..8 * 300) {
            let mut bytes = segment("/a");
            let whole = Index::parse(&bytes, bytes.len() as u64).unwrap();
            let bit = bit % (bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            if let Ok(index) = Index::parse(&bytes, bytes.len() as u64) {
                prop_assert_eq!(&index, &whole);
                let sound = index.blocks.iter().filter(|block| block.kind == Kind::Bytes).all(|block| {
                    let at = block.at as usize;
                    block.open(&bytes[at..at + block.stored_bytes as usize]).is_some()
                });
                prop_assert!(!sound);
            }
        }

        #[test]
        fn rubbish_is_no_segment(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(Index::parse(&bytes, bytes.len() as u64).is_err());
        }
    }
}
