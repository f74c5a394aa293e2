//! The one seam to the kernel: everything a lane asks of disk and clock goes through `Ring`.
//!
//! Three backends: `uring` (io_uring), `poll` (poll and pread; the production backend where io_uring is denied) and
//! `sim` (a simulated disk and clock from one seed). `probe` says which of the real ones works here. Code above is
//! generic over `Ring` and cannot tell them apart. Operations that only touch the page cache or memory answer at once;
//! what may wait for a device is an `Op` with a `Completion`. Nothing here ever runs fsync on the lane's thread.
//!
//! The two real backends differ only in how they read and sleep. What they share stands in `kernel`: open files
//! (`files`), inotify (`watch`), the wake-up (`wake`) and the thread that fsyncs (`persist`). One suite runs under all
//! three.

mod files;
mod kernel;
mod mapping;
mod persist;
pub mod poll;
pub mod probe;
pub mod sim;
#[cfg(test)]
mod suite;
pub mod uring;
mod wake;
mod watch;

pub use mapping::Mapping;
pub use poll::Poll;
pub use probe::{Backend, probe};
pub use sim::{FaultKind, Faults, Injected, Sim, SimWorld};
pub use uring::Uring;

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use crate::model::Nanos;

/// An open file. Small, copyable, valid until `Ring::close`; never reused while a read on it is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Handle(pub u32);

/// Names an operation to whoever submitted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub u64);

/// A watch on a directory or file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Watch(pub u32);

/// Both clocks, read once per turn and passed down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Since the ring was made; never goes back.
    pub mono: Duration,
    pub wall: Nanos,
}

/// What `stat` knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    pub device: u64,
    pub inode: u64,
    /// FS_IOC_GETVERSION; 0 where there is none or only a path was given.
    pub generation: u64,
    pub size: u64,
    pub links: u64,
    pub modified: Nanos,
    pub regular: bool,
    pub directory: bool,
}

/// Room on a file system, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    pub total: u64,
    /// What this process may still take.
    pub free: u64,
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub name: OsString,
    pub directory: bool,
}

/// Answer of a read that must not wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadNow {
    /// So many bytes. Fewer than asked for is not the end of the file: only 0 is.
    Ready(usize),
    /// The bytes are not in memory: submit an `Op::Read`.
    WouldBlock,
}

/// What a watch looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchKind {
    /// Names coming, going and being renamed in a directory. Stays until `unwatch`.
    Names,
    /// The next change of a file's content (or, for a directory, of any file in it); then the watch is gone. Also seen
    /// when the file is gone for good or the kernel lost events, so that nobody waits for ever. A change made through
    /// a memory mapping is not seen (inotify(7)). Look once more after arming: what came before is not told.
    ContentOnce,
}

/// An operation that may wait for a device.
#[derive(Debug)]
pub enum Op {
    /// Reads up to `buf.len()` bytes at `offset`. The buffer comes back in the completion.
    Read { token: Token, handle: Handle, offset: u64, buf: Vec<u8> },
    /// Writes `data` at offset 0 of a new file beside `path`, fsyncs it, renames it to `path`, fsyncs the directory; on
    /// failure the new file is removed. Those of one ring are carried out in order, and all of them before the ring is
    /// gone. Never runs on the lane's thread. The buffer comes back in the completion.
    Persist { token: Token, path: PathBuf, data: Vec<u8> },
}

/// What happened.
#[derive(Debug)]
pub enum Completion {
    /// An `Op` ended. `result` is the number of bytes; `buf` is the operation's buffer at its full length as submitted.
    Done { token: Token, result: io::Result<usize>, buf: Vec<u8> },
    /// A watch saw something; `name` is the entry, if the kernel said which.
    Changed { watch: Watch, name: Option<OsString> },
    /// The kernel lost events: look at everything again.
    Overflow,
}

/// Wakes a sleeping ring from another thread. Cheap to clone. Waking a ring that is awake makes no system call, and
/// waking one that was woken already and has not yet looked costs one atomic load.
#[derive(Clone)]
pub struct Waker(Arc<dyn Fn() + Send + Sync>);

impl Waker {
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(wake))
    }

    pub fn wake(&self) {
        (self.0)();
    }
}

impl std::fmt::Debug for Waker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Waker")
    }
}

/// Disk, clock and wake-ups of one lane.
pub trait Ring {
    /// `uring`, `poll` or `sim`.
    fn backend(&self) -> &'static str;
    /// The clocks as of the last `reap` (or creation).
    fn now(&self) -> Now;
    /// CPU time the lane's thread has taken so far.
    fn cpu(&self) -> Duration;
    fn waker(&self) -> Waker;

    /// Opens for reading, never creating, never following into a FIFO that would block.
    fn open(&mut self, path: &Path) -> io::Result<Handle>;
    /// Opens for reading and writing with mode 0600, creating it if missing.
    fn create(&mut self, path: &Path) -> io::Result<Handle>;
    /// Closes; a read under way on it still completes.
    fn close(&mut self, handle: Handle);
    fn stat(&mut self, handle: Handle) -> io::Result<Meta>;
    fn stat_path(&mut self, path: &Path) -> io::Result<Meta>;
    /// Names in a directory, sorted; the first `max` of them, the rest is left away. A symbolic link counts as what it
    /// points to.
    fn list(&mut self, directory: &Path, max: usize) -> io::Result<Vec<Entry>>;
    fn remove(&mut self, path: &Path) -> io::Result<()>;
    /// Room on the file system of a directory (statvfs(3)).
    fn space(&mut self, _directory: &Path) -> io::Result<Space> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Asks the service manager to keep an open file beyond this process, under a name that `os::store::is_name`
    /// accepts. False: there is no manager to ask. True means asked, not kept: it never answers.
    fn store(&mut self, _handle: Handle, _name: &str) -> io::Result<bool> {
        Ok(false)
    }
    /// Asks the service manager to let go of what it keeps under this name.
    fn unstore(&mut self, _name: &str) -> io::Result<()> {
        Ok(())
    }
    /// What the service manager has kept for us, opened, by name. Each is given once.
    fn inherited(&mut self) -> Vec<(String, Handle)> {
        Vec::new()
    }

    /// Reads what is in memory (RWF_NOWAIT).
    fn read_now(&mut self, handle: Handle, offset: u64, buf: &mut [u8]) -> io::Result<ReadNow>;
    /// Maps as many of `bytes` bytes from `offset` on, a multiple of the page size, as the file has whole pages, if
    /// they are in memory. An error says that they are to be read: they are not in memory, or cannot be mapped. Looked
    /// at are pieces of half a MiB; what is missing in the midst of one is waited for, and that piece is the last.
    fn map(&mut self, _handle: Handle, _offset: u64, _bytes: usize) -> io::Result<Mapping> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// A plain write to the page cache: survives the death of the process, not of the machine.
    fn write(&mut self, handle: Handle, offset: u64, data: &[u8]) -> io::Result<()>;

    fn watch(&mut self, path: &Path, kind: WatchKind) -> io::Result<Watch>;
    fn unwatch(&mut self, watch: Watch);

    /// Takes the operation, or gives it back when the ring is full: try again next turn.
    fn submit(&mut self, op: Op) -> Result<(), Op>;
    /// Submits what waits, sleeps until something happens or `wait` is over (zero: does not sleep), reads the clocks,
    /// and appends what happened to `out`. May return early with nothing. A wake-up given since the last `reap`
    /// returned keeps it from sleeping.
    fn reap(&mut self, wait: Duration, out: &mut Vec<Completion>) -> io::Result<()>;
}
