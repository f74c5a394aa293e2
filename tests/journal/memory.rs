//! A ring over bytes in memory, as small as a journal reader needs it, and a loop that steps a cursor with it.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

use corelane::{
    model::{Nanos, Position},
    ring::{Completion, Entry, Handle, Mapping, Meta, Now, Op, ReadNow, Ring, Token, Waker, Watch, WatchKind},
    source::{Next, journal::JournalCursor},
};

/// Steps after which a cursor counts as hanging.
const STEPS_MAX: usize = 2_000_000;

/// One directory, `/j`.
#[derive(Default)]
pub struct Memory {
    files: Vec<(PathBuf, Rc<Vec<u8>>)>,
    open: HashMap<u32, Rc<Vec<u8>>>,
    opened: u32,
    /// Every read is an operation, and brings at most so many bytes.
    pub cold: Option<usize>,
    done: Vec<Completion>,
}

impl Memory {
    pub fn of(name: &str, bytes: Vec<u8>) -> Self {
        Self { files: vec![(Path::new("/j").join(name), Rc::new(bytes))], ..Self::default() }
    }

    fn find(&self, path: &Path) -> io::Result<(u64, Rc<Vec<u8>>)> {
        let found = (1u64..).zip(&self.files).find(|(_, (known, _))| known == path);
        found.map(|(inode, (_, file))| (inode, Rc::clone(file))).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn read(&self, handle: Handle, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let file = self.open.get(&handle.0).ok_or_else(|| io::Error::from_raw_os_error(9))?;
        if i64::try_from(offset).is_err() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let rest = usize::try_from(offset).ok().and_then(|from| file.get(from..)).unwrap_or_default();
        let bytes = rest.len().min(buf.len());
        buf[..bytes].copy_from_slice(&rest[..bytes]);
        Ok(bytes)
    }
}

impl Ring for Memory {
    fn cpu(&self) -> std::time::Duration {
        std::time::Duration::ZERO
    }

    fn backend(&self) -> &'static str {
        "memory"
    }

    fn now(&self) -> Now {
        Now { mono: Duration::ZERO, wall: Nanos(0) }
    }

    fn waker(&self) -> Waker {
        Waker::new(|| {})
    }

    fn open(&mut self, path: &Path) -> io::Result<Handle> {
        let (_, file) = self.find(path)?;
        self.opened += 1;
        self.open.insert(self.opened, file);
        Ok(Handle(self.opened))
    }

    fn create(&mut self, _: &Path) -> io::Result<Handle> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn close(&mut self, handle: Handle) {
        self.open.remove(&handle.0);
    }

    fn stat(&mut self, handle: Handle) -> io::Result<Meta> {
        let file = self.open.get(&handle.0).ok_or_else(|| io::Error::from_raw_os_error(9))?;
        Ok(Meta { device: 1, inode: 1, size: file.len() as u64, regular: true, ..Meta::default() })
    }

    fn stat_path(&mut self, path: &Path) -> io::Result<Meta> {
        let (inode, file) = self.find(path)?;
        Ok(Meta { device: 1, inode, size: file.len() as u64, regular: true, ..Meta::default() })
    }

    fn list(&mut self, directory: &Path, _: usize) -> io::Result<Vec<Entry>> {
        let below = self.files.iter().filter(|(path, _)| path.parent() == Some(directory));
        let names = below.filter_map(|(path, _)| path.file_name());
        Ok(names.map(|name| Entry { name: name.to_owned(), directory: false }).collect())
    }

    fn remove(&mut self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn read_now(&mut self, handle: Handle, offset: u64, buf: &mut [u8]) -> io::Result<ReadNow> {
        if self.cold.is_some() {
            return Ok(ReadNow::WouldBlock);
        }
        self.read(handle, offset, buf).map(ReadNow::Ready)
    }

    fn map(&mut self, handle: Handle, offset: u64, bytes: usize) -> io::Result<Mapping> {
        if self.cold.is_some() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut content = vec![0; bytes];
        let there = self.read(handle, offset, &mut content)? / 4096 * 4096;
        content.truncate(there);
        Ok(Mapping::copied(content))
    }

    fn write(&mut self, _: Handle, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn watch(&mut self, _: &Path, _: WatchKind) -> io::Result<Watch> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn unwatch(&mut self, _: Watch) {}

    fn submit(&mut self, op: Op) -> Result<(), Op> {
        let Op::Read { token, handle, offset, mut buf } = op else { return Err(op) };
        let most = self.cold.unwrap_or(usize::MAX).min(buf.len());
        let result = self.read(handle, offset, &mut buf[..most]);
        self.done.push(Completion::Done { token, result, buf });
        Ok(())
    }

    fn reap(&mut self, _: Duration, out: &mut Vec<Completion>) -> io::Result<()> {
        out.append(&mut self.done);
        Ok(())
    }
}

/// What a record brought: where its entry lies, and the sources that want it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Brought {
    pub offset: u64,
    pub sources: u128,
}

/// Steps `cursor` until it is idle; what each record brought.
pub fn drain(cursor: &mut JournalCursor, memory: &mut Memory) -> Vec<Brought> {
    let (mut records, mut done) = (Vec::new(), Vec::new());
    for _ in 0..STEPS_MAX {
        match cursor.next(memory, Token(1)) {
            Next::Record(record) => {
                let Position::Journal(position) = record.end else { panic!("a place in a journal") };
                records.push(Brought { offset: position.offset, sources: record.sources });
            }
            Next::Yield => {}
            Next::Idle => return records,
            Next::Pending => {
                memory.reap(Duration::ZERO, &mut done).expect("memory");
                for completion in done.drain(..) {
                    if let Completion::Done { result, buf, .. } = completion {
                        cursor.complete(result, buf);
                    }
                }
            }
        }
    }
    panic!("the cursor does not come to an end: {} records", records.len());
}
