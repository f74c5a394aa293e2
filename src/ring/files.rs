//! Open files and plain calls on paths, shared by the real backends.
//!
//! A `Handle` is a slot number. A slot is taken again only when it was closed and no read on it is under way, so a
//! completion can never be mistaken for that of another file.

use std::{
    collections::BinaryHeap,
    ffi::OsString,
    fs, io,
    io::IoSliceMut,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    path::Path,
};

use rustix::{
    fs::{FileType, Mode, OFlags, Stat, fcntl_setfl, fstat, stat, statvfs, unlink},
    io::{Errno, ReadWriteFlags, pread, preadv2, pwrite},
};

use super::{Entry, Handle, Mapping, Meta, ReadNow, Space, mapping};
use crate::model::Nanos;

/// What the kernel reads ahead, and lets go of, is mostly not much smaller.
const PIECE_BYTES: usize = 512 * 1024;

/// The table of open files.
#[derive(Debug, Default)]
pub(super) struct Files {
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    /// The kernel cannot populate mappings.
    unpopulated: bool,
}

#[derive(Debug)]
struct Slot {
    file: OwnedFd,
    generation: u64,
    /// Reads the kernel has under way on it.
    reads: u32,
    /// `close` was called while reads were under way.
    closing: bool,
    /// False once the file system refused RWF_NOWAIT.
    nowait: bool,
}

impl Files {
    /// Opens for reading. Only regular files: a FIFO or device could block, or do something on open.
    pub fn open(&mut self, path: &Path) -> io::Result<Handle> {
        // Looked at before as well: opening a FIFO would be seen by its writer.
        regular(&stat(path)?)?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = rustix::fs::open(path, flags, Mode::empty())?;
        regular(&fstat(&file)?)?;
        // O_NONBLOCK was for the FIFO that might have come in between. io_uring takes it at its word and answers EAGAIN
        // on file systems that cannot read without waiting.
        fcntl_setfl(&file, OFlags::empty())?;
        Ok(self.keep(file))
    }

    /// Opens for reading and writing with mode 0600, creating it if missing.
    pub fn create(&mut self, path: &Path) -> io::Result<Handle> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?;
        regular(&fstat(&file)?)?;
        fcntl_setfl(&file, OFlags::empty())?;
        Ok(self.keep(file))
    }

    /// Takes a descriptor that somebody else opened; only a regular file, readable without being asked to wait.
    pub fn adopt(&mut self, file: OwnedFd) -> io::Result<Handle> {
        regular(&fstat(&file)?)?;
        fcntl_setfl(&file, OFlags::empty())?;
        Ok(self.keep(file))
    }

    /// The descriptor of an open handle.
    pub fn borrow(&mut self, handle: Handle) -> io::Result<BorrowedFd<'_>> {
        Ok(self.slot(handle)?.file.as_fd())
    }

    fn keep(&mut self, file: OwnedFd) -> Handle {
        let generation = generation(file.as_fd());
        let slot = Some(Slot { file, generation, reads: 0, closing: false, nowait: true });
        match self.free.pop() {
            Some(index) => {
                self.slots[index as usize] = slot;
                Handle(index)
            }
            None => {
                self.slots.push(slot);
                // Descriptors are C ints, so slots fit u32.
                Handle((self.slots.len() - 1) as u32)
            }
        }
    }

    /// Closes now, or when the last read under way ends. Unknown handles are ignored.
    pub fn close(&mut self, handle: Handle) {
        if let Ok(slot) = self.slot(handle) {
            slot.closing = true;
            self.free_if_unused(handle);
        }
    }

    /// Counts a read as under way. The descriptor stays open until `read_ended`.
    pub fn read_begins(&mut self, handle: Handle) -> io::Result<()> {
        self.slot(handle)?.reads += 1;
        Ok(())
    }

    pub fn descriptor(&self, handle: Handle) -> io::Result<RawFd> {
        let slot = self.slots.get(handle.0 as usize).and_then(Option::as_ref).ok_or(Errno::BADF)?;
        Ok(slot.file.as_raw_fd())
    }

    pub fn read_ended(&mut self, handle: Handle) {
        let Some(slot) = self.slots.get_mut(handle.0 as usize).and_then(Option::as_mut) else { return };
        slot.reads = slot.reads.saturating_sub(1);
        self.free_if_unused(handle);
    }

    fn free_if_unused(&mut self, handle: Handle) {
        let slot = &mut self.slots[handle.0 as usize];
        if slot.as_ref().is_some_and(|slot| slot.closing && slot.reads == 0) {
            *slot = None;
            self.free.push(handle.0);
        }
    }

    pub fn stat(&mut self, handle: Handle) -> io::Result<Meta> {
        let slot = self.slot(handle)?;
        Ok(Meta { generation: slot.generation, ..meta(&fstat(&slot.file)?) })
    }

    /// Reads what is in memory; where the file system cannot say (EOPNOTSUPP, ENOSYS, EINVAL), a plain read.
    pub fn read_now(&mut self, handle: Handle, offset: u64, buf: &mut [u8]) -> io::Result<ReadNow> {
        let slot = self.slot(handle)?;
        while slot.nowait {
            match preadv2(&slot.file, &mut [IoSliceMut::new(buf)], offset, ReadWriteFlags::NOWAIT) {
                Ok(bytes) => return Ok(ReadNow::Ready(bytes)),
                Err(Errno::AGAIN) => return Ok(ReadNow::WouldBlock),
                Err(Errno::INTR) => {}
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => slot.nowait = false,
                Err(error) => return Err(error.into()),
            }
        }
        read_waiting(slot.file.as_fd(), offset, buf).map(ReadNow::Ready)
    }

    /// Maps a part of a file that is in memory: of each piece the first byte is asked for, then it is populated, and it
    /// ends where the device had to be waited for all the same.
    pub fn map(&mut self, handle: Handle, offset: u64, bytes: usize) -> io::Result<Mapping> {
        let slot = self.slots.get(handle.0 as usize).and_then(Option::as_ref).filter(|slot| !slot.closing);
        let slot = slot.ok_or(Errno::BADF)?;
        if self.unpopulated || !slot.nowait {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let mapping = Mapping::new(slot.file.as_fd(), offset, bytes)?;
        let waits = mapping::major_faults();
        for from in (0..mapping.bytes()).step_by(PIECE_BYTES) {
            preadv2(&slot.file, &mut [IoSliceMut::new(&mut [0])], offset + from as u64, ReadWriteFlags::NOWAIT)?;
            if let Err(error) = mapping.populate(from, PIECE_BYTES) {
                // EINVAL: the kernel is older than 5.14.
                self.unpopulated |= error.raw_os_error() == Some(libc::EINVAL);
                return Err(error);
            }
            if mapping::major_faults() != waits {
                return Err(io::ErrorKind::WouldBlock.into());
            }
        }
        Ok(mapping)
    }

    /// Reads and waits for the device. Also works on a closed handle that has a read under way.
    pub fn read(&mut self, handle: Handle, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let slot = self.slots.get(handle.0 as usize).and_then(Option::as_ref).ok_or(Errno::BADF)?;
        read_waiting(slot.file.as_fd(), offset, buf)
    }

    pub fn write(&mut self, handle: Handle, mut offset: u64, mut data: &[u8]) -> io::Result<()> {
        let slot = self.slot(handle)?;
        while !data.is_empty() {
            match pwrite(&slot.file, data, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => {
                    data = &data[bytes..];
                    offset += bytes as u64;
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn slot(&mut self, handle: Handle) -> io::Result<&mut Slot> {
        let slot = self.slots.get_mut(handle.0 as usize).and_then(Option::as_mut);
        slot.filter(|slot| !slot.closing).ok_or_else(|| Errno::BADF.into())
    }
}

pub(super) fn stat_path(path: &Path) -> io::Result<Meta> {
    Ok(meta(&stat(path)?))
}

/// The first `max` names in order. Memory stays bounded by `max`, whatever the directory holds.
pub(super) fn list(directory: &Path, max: usize) -> io::Result<Vec<Entry>> {
    let mut first: BinaryHeap<(OsString, Kind)> = BinaryHeap::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let kind = match entry.file_type() {
            Ok(kind) if kind.is_dir() => Kind::Directory,
            Ok(kind) if kind.is_symlink() => Kind::Link,
            _ => Kind::Other,
        };
        first.push((entry.file_name(), kind));
        if first.len() > max {
            first.pop();
        }
    }
    let resolve = |(name, kind): (OsString, Kind)| {
        let directory = match kind {
            Kind::Link => fs::metadata(directory.join(&name)).is_ok_and(|meta| meta.is_dir()),
            kind => kind == Kind::Directory,
        };
        Entry { name, directory }
    };
    Ok(first.into_sorted_vec().into_iter().map(resolve).collect())
}

pub(super) fn remove(path: &Path) -> io::Result<()> {
    Ok(unlink(path)?)
}

pub(super) fn space(directory: &Path) -> io::Result<Space> {
    let all = statvfs(directory)?;
    let bytes = |blocks: u64| blocks.saturating_mul(all.f_frsize);
    Ok(Space { total: bytes(all.f_blocks), free: bytes(all.f_bavail) })
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Directory,
    Link,
    Other,
}

fn read_waiting(file: BorrowedFd<'_>, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
    loop {
        match pread(file, &mut *buf, offset) {
            Err(Errno::INTR) => {}
            answer => return Ok(answer?),
        }
    }
}

fn regular(stat: &Stat) -> io::Result<()> {
    let what = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => return Ok(()),
        FileType::Directory => return Err(io::ErrorKind::IsADirectory.into()),
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        _ => "of an unknown kind",
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("not a regular file but {what}")))
}

#[allow(clippy::unnecessary_cast, reason = "the widths of these fields differ between architectures")]
fn meta(stat: &Stat) -> Meta {
    let kind = FileType::from_raw_mode(stat.st_mode);
    Meta {
        device: stat.st_dev as u64,
        inode: stat.st_ino as u64,
        generation: 0,
        size: u64::try_from(stat.st_size).unwrap_or(0),
        links: stat.st_nlink as u64,
        modified: Nanos::new(stat.st_mtime as i64, stat.st_mtime_nsec as u32).unwrap_or_default(),
        regular: kind == FileType::RegularFile,
        directory: kind == FileType::Directory,
    }
}

/// FS_IOC_GETVERSION (ioctl_iflags(2)); 0 where the file system has none.
fn generation(file: BorrowedFd<'_>) -> u64 {
    let mut version = [0u8; size_of::<libc::c_long>()];
    // SAFETY: the request is `_IOR('v', 1, long)`: the kernel writes at most the size of a long (in practice an int) to
    // the buffer, which has that size and outlives the call; the descriptor is borrowed, hence open.
    let answer = unsafe { libc::ioctl(file.as_raw_fd(), libc::FS_IOC_GETVERSION, version.as_mut_ptr()) };
    if answer != 0 {
        return 0;
    }
    let [a, b, c, d, ..] = version;
    u64::from(u32::from_ne_bytes([a, b, c, d]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_not_taken_again_while_a_read_is_under_way() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let mut files = Files::default();
        let first = files.create(&path).unwrap();
        files.read_begins(first).unwrap();
        files.close(first);
        assert!(files.stat(first).is_err(), "closed for its user");
        assert_eq!(files.read(first, 0, &mut [0; 4]).unwrap(), 0, "open for the read under way");
        let second = files.open(&path).unwrap();
        assert_ne!(first, second);
        files.read_ended(first);
        assert_eq!(files.open(&path).unwrap(), first, "free again");
    }

    #[test]
    fn what_is_not_a_regular_file_is_refused() {
        let mut files = Files::default();
        let device = files.open(Path::new("/dev/null")).unwrap_err();
        assert!(device.to_string().contains("a device"), "{device}");
        assert_eq!(files.open(Path::new("/")).unwrap_err().kind(), io::ErrorKind::IsADirectory);
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        assert!(files.open(&fifo).unwrap_err().to_string().contains("a FIFO"));
    }

    /// Where the file system keeps all it has in memory (tmpfs), nothing is cold.
    #[test]
    fn only_what_is_in_memory_is_mapped() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let content = vec![7; 3 * PIECE_BYTES];
        fs::write(&path, &content).unwrap();
        let file = fs::File::open(&path).unwrap();
        file.sync_all().unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        let mut files = Files::default();
        let handle = files.open(&path).unwrap();
        let is_cold = files.read_now(handle, 0, &mut [0; 8]).unwrap() == ReadNow::WouldBlock;
        assert_eq!(files.map(handle, 0, content.len()).is_err(), is_cold);
        assert_eq!(fs::read(&path).unwrap(), content);
        let mapping = files.map(handle, 0, content.len()).unwrap();
        let mut copied = vec![0; content.len()];
        assert!(mapping.copy(0, &mut copied) && copied == content);
    }

    #[test]
    fn only_a_regular_file_is_adopted() {
        let mut files = Files::default();
        let directory = tempfile::tempdir().unwrap();
        assert!(files.adopt(fs::File::open(directory.path()).unwrap().into()).is_err());
        let path = directory.path().join("log");
        fs::write(&path, b"content").unwrap();
        let handle = files.adopt(fs::File::open(&path).unwrap().into()).unwrap();
        fs::remove_file(&path).unwrap();
        let meta = files.stat(handle).unwrap();
        assert_eq!((meta.size, meta.links), (7, 0));
        assert_eq!(files.borrow(handle).unwrap().as_raw_fd(), files.descriptor(handle).unwrap());
    }
}
