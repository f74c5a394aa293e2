//! A ring over plain files, as small as the journal reader needs it, and a loop that steps a cursor with it.

use std::{
    collections::{HashMap, VecDeque},
    fs::File,
    io,
    ops::Range,
    os::unix::fs::{FileExt, MetadataExt},
    path::Path,
    time::Duration,
};

use crate::{
    model::{JournalPosition, Nanos, Position, Record},
    ring::{Completion, Entry, Handle, Mapping, Meta, Now, Op, ReadNow, Ring, Token, Waker, Watch, WatchKind},
    source::{Next, journal::JournalCursor},
};

/// Steps after which a cursor counts as hanging.
const STEPS_MAX: usize = 5_000_000;

pub struct Disk {
    files: HashMap<u32, File>,
    next: u32,
    /// Nothing is in memory: every read is an operation.
    cold: bool,
    /// Every n-th read gives less than asked for.
    short_every: u32,
    reads: u32,
    /// Stretches that were mapped.
    pub mapped: u32,
    done: VecDeque<Completion>,
    /// Bytes of every file that no read gets.
    pub broken: Range<u64>,
    /// Too many files are open: none can be opened, no directory be listed.
    pub is_full: bool,
    pub clock: Duration,
    /// Runs before every read, listing and opening: somebody else at work.
    pub meanwhile: Option<Box<dyn FnMut()>>,
}

impl Disk {
    pub fn warm() -> Self {
        Self {
            files: HashMap::new(),
            next: 0,
            cold: false,
            short_every: 0,
            reads: 0,
            mapped: 0,
            done: VecDeque::new(),
            broken: 0..0,
            is_full: false,
            clock: Duration::ZERO,
            meanwhile: None,
        }
    }

    pub fn cold() -> Self {
        Self { cold: true, short_every: 3, ..Self::warm() }
    }

    pub fn open_files(&self) -> usize {
        self.files.len()
    }

    pub fn reads(&self) -> u32 {
        self.reads
    }

    fn room(&self) -> io::Result<()> {
        if self.is_full { Err(io::Error::from_raw_os_error(24)) } else { Ok(()) }
    }

    fn file(&self, handle: Handle) -> io::Result<&File> {
        self.files.get(&handle.0).ok_or_else(|| io::Error::from_raw_os_error(9))
    }

    fn meanwhile(&mut self) {
        if let Some(meanwhile) = &mut self.meanwhile {
            meanwhile();
        }
    }

    fn read(&mut self, handle: Handle, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.meanwhile();
        self.reads += 1;
        let short = self.short_every != 0 && self.reads.is_multiple_of(self.short_every);
        let bytes = if short { buf.len().min(40) } else { buf.len() };
        // As the kernel does: what comes before the bad place is read, and the next read fails.
        let bytes = match self.broken.start.checked_sub(offset) {
            None | Some(0) if offset < self.broken.end => return Err(io::Error::from_raw_os_error(5)),
            Some(before) if before > 0 && !self.broken.is_empty() => bytes.min(before as usize),
            _ => bytes,
        };
        self.file(handle)?.read_at(&mut buf[..bytes], offset)
    }
}

fn meta(meta: &std::fs::Metadata) -> Meta {
    Meta {
        device: meta.dev(),
        inode: meta.ino(),
        size: meta.len(),
        links: meta.nlink(),
        regular: meta.is_file(),
        directory: meta.is_dir(),
        ..Meta::default()
    }
}

impl Ring for Disk {
    fn cpu(&self) -> std::time::Duration {
        std::time::Duration::ZERO
    }

    fn backend(&self) -> &'static str {
        "test"
    }

    fn now(&self) -> Now {
        Now { mono: self.clock, wall: Nanos(0) }
    }

    fn waker(&self) -> Waker {
        Waker::new(|| {})
    }

    fn open(&mut self, path: &Path) -> io::Result<Handle> {
        self.meanwhile();
        self.room()?;
        self.next += 1;
        self.files.insert(self.next, File::open(path)?);
        Ok(Handle(self.next))
    }

    fn create(&mut self, _: &Path) -> io::Result<Handle> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn close(&mut self, handle: Handle) {
        assert!(self.files.remove(&handle.0).is_some(), "closed twice");
    }

    fn stat(&mut self, handle: Handle) -> io::Result<Meta> {
        Ok(meta(&self.file(handle)?.metadata()?))
    }

    fn stat_path(&mut self, path: &Path) -> io::Result<Meta> {
        Ok(meta(&std::fs::metadata(path)?))
    }

    fn list(&mut self, directory: &Path, max: usize) -> io::Result<Vec<Entry>> {
        self.meanwhile();
        self.room()?;
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            entries.push(Entry { name: entry.file_name(), directory: entry.file_type()?.is_dir() });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        entries.truncate(max);
        Ok(entries)
    }

    fn remove(&mut self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn read_now(&mut self, handle: Handle, offset: u64, buf: &mut [u8]) -> io::Result<ReadNow> {
        if self.cold {
            return Ok(ReadNow::WouldBlock);
        }
        self.read(handle, offset, buf).map(ReadNow::Ready)
    }

    /// What lies before a bad place.
    fn map(&mut self, handle: Handle, offset: u64, bytes: usize) -> io::Result<Mapping> {
        if self.cold {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut content = vec![0; bytes];
        let short = std::mem::take(&mut self.short_every);
        let there = self.read(handle, offset, &mut content);
        self.short_every = short;
        content.truncate(there? / 4096 * 4096);
        self.mapped += 1;
        Ok(Mapping::copied(content))
    }

    fn write(&mut self, _: Handle, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn watch(&mut self, _: &Path, _: WatchKind) -> io::Result<Watch> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn unwatch(&mut self, _: Watch) {}

    /// Full every now and then, and done at the next `reap`.
    fn submit(&mut self, op: Op) -> Result<(), Op> {
        self.reads += 1;
        match op {
            Op::Read { token, handle, offset, mut buf } if !self.reads.is_multiple_of(5) => {
                assert!(self.done.is_empty(), "one read at a time");
                let result = self.read(handle, offset, &mut buf);
                self.done.push_back(Completion::Done { token, result, buf });
                Ok(())
            }
            op => Err(op),
        }
    }

    fn reap(&mut self, _: Duration, out: &mut Vec<Completion>) -> io::Result<()> {
        out.extend(self.done.drain(..));
        Ok(())
    }
}

/// A record, kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub message: Vec<u8>,
    pub position: JournalPosition,
    pub sources: u128,
    pub look_back: bool,
    pub time: Option<Nanos>,
    pub priority: Option<u8>,
    pub identifier: Vec<u8>,
    pub unit: Vec<u8>,
    pub pid: Vec<u8>,
    pub boot_id: Vec<u8>,
    pub hostname: Vec<u8>,
}

impl Kept {
    pub fn of(record: &Record<'_>) -> Self {
        let Position::Journal(position) = record.end else { panic!("a journal record ends in a journal position") };
        assert_eq!(record.place, position.seqnum);
        Self {
            message: record.frame.to_vec(),
            position,
            sources: record.sources,
            look_back: record.look_back,
            time: record.hint.time,
            priority: record.hint.priority,
            identifier: record.hint.identifier.to_vec(),
            unit: record.hint.unit.to_vec(),
            pid: record.hint.pid.to_vec(),
            boot_id: record.hint.boot_id.to_vec(),
            hostname: record.hint.hostname.to_vec(),
        }
    }
}

/// Steps `cursor` until it is idle or `most` records were taken.
pub fn take<R: Ring>(cursor: &mut JournalCursor, disk: &mut R, most: usize) -> Vec<Kept> {
    let (mut kept, mut done) = (Vec::new(), Vec::new());
    for _ in 0..STEPS_MAX {
        if kept.len() == most {
            return kept;
        }
        match cursor.next(disk, Token(7)) {
            Next::Record(record) => {
                let record = Kept::of(&record);
                assert!(record.look_back || cursor.position() == record.position);
                kept.push(record);
            }
            Next::Pending => {
                disk.reap(Duration::from_secs(1), &mut done).unwrap();
                for completion in done.drain(..) {
                    let Completion::Done { token, result, buf } = completion else { continue };
                    assert_eq!(token, Token(7));
                    cursor.complete(result, buf);
                }
            }
            Next::Yield => {}
            Next::Idle => return kept,
        }
    }
    panic!("the cursor does not come to an end: {} records", kept.len());
}

pub fn drain<R: Ring>(cursor: &mut JournalCursor, disk: &mut R) -> Vec<Kept> {
    take(cursor, disk, usize::MAX)
}
