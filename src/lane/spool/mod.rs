//! The spool: bytes of files that have no name any more and may not be held open, until every flow has passed them.
//!
//! ```text
//!   spool/<source>-<number>-<offset>.segment     one run of one file's bytes, compressed (`segment` has the picture)
//! ```
//! A deleted file that a flow still needs is held by its descriptor. What that would take beyond a bound goes here:
//! the raw bytes, under the file's identity and at their own offsets, in segments that are written whole, fsynced and
//! renamed into place by the ring's persist thread, so a lane never waits for a disk and a segment is there or is not.
//! Only when the last one is there does the descriptor go. Nothing of a segment is trusted: its index has a checksum
//! and so has every block; what lies beyond a torn tail or does not check is counted as lost, never handed out.
//!
//! Reading takes the same path as any file. `ring::Spooled` lends spooled files handles of their own kind and gives
//! their bytes at the offsets at which they stood; cursor, decoder and identity above are the same, so what is sent
//! again is identical. (Restoring files to disk would take their whole room at once; a cursor of its own kind would be
//! a second framing to keep equal to the first.) Missing bytes are holes: `lane::vanish` takes the flows over them and
//! counts. Since an inode that was given up is soon another file's, a spooled file is known to the checkpoint by its
//! number from then on. A segment is removed when no enabled flow needs it and a checkpoint that knows so is synced.

pub mod job;
pub mod ring;
pub mod segment;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
};

pub use ring::Spooled;
use segment::{Block, ENDING, INDEX_BYTES_MAX, Index, Kind, Owner};

use super::at_start::read_patiently;
use crate::{
    limits::{CHECKPOINT_READ_TRIES, PINNED_BYTES_MAX, SPOOL_BYTES_MAX, SPOOL_FREE_PERCENT},
    model::{FileIdentity, ObjectId, ReaderKey},
    ring::{Handle, Meta, Ring, Space},
};

/// Handles from here on are of spooled files; the ring's own are far below.
const SPOOLED: u32 = 1 << 31;
/// No device has this number.
const NO_DEVICE: u64 = u64::MAX;
/// More segments than this are not looked for.
const SEGMENTS_MAX: usize = 65_536;

/// Names a block: its file and where it stood in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockId {
    file: u32,
    offset: u64,
}

/// A block that has bytes.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    pub id: BlockId,
    pub block: Block,
}

/// Bytes of a file that are not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    pub start: u64,
    pub end: u64,
    /// Lines that stood there; 0 when nobody knows.
    pub lines: u64,
    pub kind: Kind,
}

/// A file of which the spool has bytes.
#[derive(Debug)]
pub struct File {
    pub owner: Owner,
    /// Everything of it is here that there was.
    pub whole: bool,
    segments: Vec<Segment>,
    /// How far it reached, if that is known to be further than the segments.
    reached: u64,
    failures: BTreeMap<u64, u32>,
    changed: bool,
}

#[derive(Debug)]
struct Segment {
    path: PathBuf,
    bytes: u64,
    handle: Option<Handle>,
    blocks: Vec<Block>,
}

impl Segment {
    fn start(&self) -> u64 {
        self.blocks.first().map_or(0, |block| block.offset)
    }

    fn end(&self) -> u64 {
        self.blocks.last().map_or(0, Block::end)
    }
}

impl File {
    pub fn start(&self) -> u64 {
        self.segments.first().map_or(0, Segment::start)
    }

    pub fn end(&self) -> u64 {
        self.segments.last().map_or(0, Segment::end).max(self.reached)
    }

    fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// What is missing of it, in order. What lies before its first byte is so, too: nobody should need it.
    pub fn holes(&self) -> Vec<Hole> {
        let mut holes: Vec<Hole> = Vec::new();
        let mut at = 0;
        let mut add = |start: u64, end: u64, lines: u64, kind: Kind| match holes.last_mut() {
            Some(last) if last.end == start && last.kind == kind && kind == Kind::Unread => last.end = end,
            _ if start < end => holes.push(Hole { start, end, lines, kind }),
            _ => {}
        };
        for block in self.segments.iter().flat_map(|segment| &segment.blocks) {
            add(at, block.offset, 0, Kind::Unread);
            if block.kind != Kind::Bytes {
                add(block.offset, block.end(), u64::from(block.lines), block.kind);
            }
            at = block.end();
        }
        add(at, self.end(), 0, Kind::Unread);
        holes
    }

    fn block_mut(&mut self, offset: u64) -> Option<&mut Block> {
        self.segments.iter_mut().flat_map(|segment| &mut segment.blocks).find(|block| block.offset == offset)
    }
}

/// The key under which the checkpoint knows a file once it is spooled.
pub fn key_of(owner: &Owner) -> ReaderKey {
    let identity = FileIdentity { device: NO_DEVICE, inode: owner.number, generation: 0, ..owner.identity };
    ReaderKey::File(identity)
}

/// Whether a key is that of a spooled file.
pub fn is_spooled_key(key: &ReaderKey) -> bool {
    matches!(key, ReaderKey::File(identity) if identity.device == NO_DEVICE)
}

/// Where and how much all lanes together keep of what would vanish.
#[derive(Clone, Debug)]
pub struct Keep {
    /// The directory of the spool; exists.
    pub spool: PathBuf,
    /// Bytes on disk of the spool.
    pub spool_bytes: u64,
    /// Bytes of deleted files held open.
    pub pinned_bytes: u64,
}

impl Keep {
    /// The bounds there are by default.
    pub fn new(spool: PathBuf) -> Self {
        Self { spool, spool_bytes: SPOOL_BYTES_MAX, pinned_bytes: PINNED_BYTES_MAX }
    }
}

/// All spooled files of one lane.
#[derive(Debug)]
pub struct Spool {
    directory: PathBuf,
    /// Bytes of it this lane may fill.
    budget: u64,
    files: BTreeMap<u32, File>,
    next: u32,
    last_number: u64,
    /// Segments nobody needs, each to be removed when this generation of the checkpoint is synced.
    leaving: Vec<(u64, PathBuf, u64)>,
}

impl Spool {
    /// Reads what is there of this lane's sources. Never fails: what cannot be used is removed, and told in words.
    pub fn load<R: Ring>(ring: &mut R, keep: &Keep, lane: u16, lanes: u16) -> (Self, Vec<String>) {
        let (directory, lanes) = (&keep.spool, u64::from(lanes.max(1)));
        let mut spool = Self {
            directory: directory.clone(),
            budget: keep.spool_bytes / lanes,
            files: BTreeMap::new(),
            next: 0,
            last_number: 0,
            leaving: Vec::new(),
        };
        let mut troubles = Vec::new();
        let entries = patiently(|| ring.list(directory, SEGMENTS_MAX)).unwrap_or_else(|error| {
            troubles.push(format!("{}: {error}; what is in it is not sent", directory.display()));
            Vec::new()
        });
        for entry in entries {
            let path = directory.join(&entry.name);
            let source = segment::source_of(&entry.name);
            if source.is_none() && lane == 0 && is_left_over(&path) {
                // A segment that was being written when the process died: its bytes are still where they were.
                let _ = ring.remove(&path);
            }
            if source.is_none_or(|source| source.0 % lanes != u64::from(lane)) {
                continue;
            }
            let bytes = read_patiently(ring, &path, INDEX_BYTES_MAX);
            let size = patiently(|| ring.stat_path(&path)).map_or(0, |meta| meta.size);
            match Index::parse(&bytes, size) {
                Ok(index) => spool.take(index, path, size),
                // What cannot be read now may be read at the next start.
                Err(_) if bytes.is_empty() && size > 0 => {
                    troubles.push(format!("{}: it cannot be read", path.display()));
                }
                Err(why) => {
                    troubles.push(format!("{}: {why}; it is removed", path.display()));
                    let _ = ring.remove(&path);
                }
            }
        }
        (spool, troubles)
    }

    fn take(&mut self, index: Index, path: PathBuf, bytes: u64) {
        let Index { owner, last, blocks } = index;
        self.last_number = self.last_number.max(owner.number);
        let is_it = |file: &File| (file.owner.source, file.owner.number) == (owner.source, owner.number);
        let known = self.files().find(|(_, file)| is_it(file)).map(|(handle, _)| handle);
        let handle = known.unwrap_or_else(|| self.begin(owner));
        self.add(handle, path, bytes, blocks, last);
    }

    pub fn is_spooled(handle: Handle) -> bool {
        handle.0 & SPOOLED != 0
    }

    fn handle(slot: u32) -> Handle {
        Handle(slot | SPOOLED)
    }

    fn slot(handle: Handle) -> u32 {
        handle.0 & !SPOOLED
    }

    /// Every file, by its handle, those deleted first coming first.
    pub fn files(&self) -> impl Iterator<Item = (Handle, &File)> {
        self.files.iter().map(|(slot, file)| (Self::handle(*slot), file))
    }

    pub fn file(&self, handle: Handle) -> Option<&File> {
        self.files.get(&Self::slot(handle)).filter(|_| Self::is_spooled(handle))
    }

    /// Bytes on disk, those that are about to go included.
    pub fn bytes(&self) -> u64 {
        self.files.values().map(File::bytes).sum::<u64>() + self.leaving.iter().map(|(_, _, bytes)| bytes).sum::<u64>()
    }

    /// A number no file of this lane ever had; `now` is the wall time.
    pub fn number(&mut self, now: u64) -> u64 {
        self.last_number = now.max(self.last_number + 1);
        self.last_number
    }

    /// Bytes that may still be written: within the budget, and leaving enough of the file system free.
    pub fn room<R: Ring>(&self, ring: &mut R) -> u64 {
        let left = self.budget.saturating_sub(self.bytes());
        let spare = |space: Space| space.free.saturating_sub(space.total / 100 * SPOOL_FREE_PERCENT);
        // A disk that cannot be asked will hardly take anything; that is found when it is written to.
        ring.space(&self.directory).map_or(left, |space| left.min(spare(space)))
    }

    /// Where a segment of `owner` that begins at `start` lies.
    pub fn path(&self, owner: &Owner, start: u64) -> PathBuf {
        self.directory.join(segment::name(owner, start))
    }

    /// A file without bytes yet.
    pub fn begin(&mut self, owner: Owner) -> Handle {
        let slot = self.next;
        self.next += 1;
        let file =
            File { owner, whole: false, segments: Vec::new(), reached: 0, failures: BTreeMap::new(), changed: true };
        self.files.insert(slot, file);
        Self::handle(slot)
    }

    /// Adds a segment that lies at `path`. What it says of bytes that an earlier one has counts no more.
    pub fn add(&mut self, handle: Handle, path: PathBuf, bytes: u64, blocks: Vec<Block>, last: bool) {
        let Some(file) = self.files.get_mut(&Self::slot(handle)) else { return };
        file.segments.push(Segment { path, bytes, handle: None, blocks });
        file.segments.sort_by_key(Segment::start);
        file.whole |= last;
        file.changed = true;
        let mut at = 0;
        for segment in &mut file.segments {
            segment.blocks.retain(|block| block.offset >= at);
            at = segment.blocks.last().map_or(at, Block::end);
        }
    }

    /// The file is known to have reached so far: what the spool does not have of that is missing.
    pub fn reached(&mut self, handle: Handle, size: u64) {
        if let Some(file) = self.files.get_mut(&Self::slot(handle)) {
            file.changed = true;
            file.reached = file.reached.max(size);
        }
    }

    /// What is missing of a file, if that has changed since it was last asked.
    pub fn changed_holes(&mut self, handle: Handle) -> Option<Vec<Hole>> {
        let file = self.files.get_mut(&Self::slot(handle))?;
        std::mem::take(&mut file.changed).then(|| file.holes())
    }

    /// The block that holds the byte at `offset`, if it has it.
    pub fn find(&self, handle: Handle, offset: u64) -> Option<Found> {
        let slot = Self::slot(handle);
        let segments = &self.files.get(&slot)?.segments;
        let segment = &segments[segments.partition_point(|segment| segment.start() <= offset).checked_sub(1)?];
        let block = segment.blocks.partition_point(|block| block.offset <= offset).checked_sub(1)?;
        let block = segment.blocks[block];
        let is_there = offset < block.end() && block.kind == Kind::Bytes;
        is_there.then_some(Found { id: BlockId { file: slot, offset: block.offset }, block })
    }

    /// The open segment of a block.
    pub fn segment<R: Ring>(&mut self, ring: &mut R, id: BlockId) -> io::Result<Handle> {
        let file = self.files.get_mut(&id.file).ok_or(io::ErrorKind::NotFound)?;
        let at = file.segments.partition_point(|segment| segment.start() <= id.offset);
        let at = at.checked_sub(1).ok_or(io::ErrorKind::NotFound)?;
        if let Some(handle) = file.segments[at].handle {
            return Ok(handle);
        }
        // Files are read forward, so one open segment will do, and one of a second walk that lags behind.
        let open: Vec<usize> = (0..file.segments.len()).filter(|at| file.segments[*at].handle.is_some()).collect();
        if open.len() > 1
            && let Some(handle) = file.segments[open[0]].handle.take()
        {
            ring.close(handle);
        }
        let handle = ring.open(&file.segments[at].path)?;
        file.segments[at].handle = Some(handle);
        Ok(handle)
    }

    /// Notes that a block could not be read; how often that was so.
    pub fn failed(&mut self, id: BlockId) -> u32 {
        let Some(file) = self.files.get_mut(&id.file) else { return u32::MAX };
        let failures = file.failures.entry(id.offset).or_default();
        *failures += 1;
        *failures
    }

    /// A block does not check, or cannot be read for good: it is a hole now.
    pub fn damaged(&mut self, id: BlockId) {
        let Some(file) = self.files.get_mut(&id.file) else { return };
        file.changed = true;
        if let Some(block) = file.block_mut(id.offset) {
            block.kind = Kind::Damaged;
        }
    }

    pub fn stat(&self, handle: Handle) -> io::Result<Meta> {
        let file = self.files.get(&Self::slot(handle)).ok_or(io::ErrorKind::NotFound)?;
        let Owner { number, modified, .. } = file.owner;
        let (device, inode, size) = (NO_DEVICE, number, file.end());
        Ok(Meta { device, inode, size, modified, regular: true, ..Meta::default() })
    }

    /// Closes the segments of a file, which can be read again.
    pub fn close<R: Ring>(&mut self, ring: &mut R, handle: Handle) {
        let Some(file) = self.files.get_mut(&Self::slot(handle)) else { return };
        file.segments.iter_mut().filter_map(|segment| segment.handle.take()).for_each(|open| ring.close(open));
    }

    /// Nobody needs what lies before `offset`, as generation `mark` of the checkpoint will know.
    pub fn release<R: Ring>(&mut self, ring: &mut R, handle: Handle, offset: u64, mark: u64) {
        let Some(file) = self.files.get_mut(&Self::slot(handle)) else { return };
        let passed = file.segments.partition_point(|segment| segment.end() <= offset);
        // Without its last segment a file could not be told from one that never was.
        let passed = passed.min(file.segments.len().saturating_sub(1));
        for segment in file.segments.drain(..passed) {
            segment.handle.into_iter().for_each(|open| ring.close(open));
            self.leaving.push((mark, segment.path, segment.bytes));
        }
    }

    /// Nobody needs the file, as generation `mark` of the checkpoint will know.
    pub fn remove<R: Ring>(&mut self, ring: &mut R, handle: Handle, mark: u64) {
        self.close(ring, handle);
        if let Some(file) = self.files.remove(&Self::slot(handle)) {
            self.leaving.extend(file.segments.into_iter().map(|segment| (mark, segment.path, segment.bytes)));
        }
    }

    /// Removes the segments that nobody needs for certain.
    pub fn sweep<R: Ring>(&mut self, ring: &mut R, is_synced: impl Fn(u64) -> bool) {
        self.leaving.retain(|(mark, path, _)| {
            let gone = |error: io::Error| error.kind() == io::ErrorKind::NotFound;
            !is_synced(*mark) || !(ring.remove(path).map_or_else(gone, |()| true))
        });
    }

    /// Sources that have something here.
    pub fn sources(&self) -> BTreeSet<ObjectId> {
        self.files.values().map(|file| file.owner.source).collect()
    }
}

/// A disk that fails once is asked again.
fn patiently<T>(mut ask: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let mut answer = ask();
    for _ in 1..CHECKPOINT_READ_TRIES {
        match answer {
            Err(error) if error.kind() != io::ErrorKind::NotFound => answer = ask(),
            answer => return answer,
        }
    }
    answer
}

/// What the persist thread leaves when it is killed.
fn is_left_over(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.ends_with(&format!(".{ENDING}.new"))
}
