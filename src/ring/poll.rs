//! The backend without io_uring: poll(2) to sleep, pread(2) to read.
//!
//! On EL8 and EL9 kernels and in hardened containers io_uring is absent or denied, so this is a production backend.
//! Three descriptors (two inotify instances, one eventfd) are all that is waited on, for which poll needs no epoll set,
//! takes a timeout in nanoseconds and works on every kernel.

use std::{io, mem, os::fd::OwnedFd, path::Path, time::Duration};

use rustix::{
    event::{PollFd, PollFlags, Timespec},
    io::Errno,
};

use super::{
    Completion, Entry, Handle, Mapping, Meta, Now, Op, ReadNow, Ring, Space, Token, Waker, Watch, WatchKind, files,
    kernel::Kernel, watch::Stream,
};
use crate::limits;

/// Disk, clock and wake-ups by plain system calls.
///
/// An `Op::Read` waits for its device on the lane's own thread, in the `reap` after it was submitted. That is the price
/// of this backend: a cold read holds up its lane for as long as the device takes.
#[derive(Debug)]
pub struct Poll {
    kernel: Kernel,
    reads: Vec<Read>,
    events: Vec<u8>,
}

#[derive(Debug)]
struct Read {
    token: Token,
    handle: Handle,
    offset: u64,
    buf: Vec<u8>,
    /// False when the handle was not open at submission.
    begun: bool,
}

impl Poll {
    /// Fails only when descriptors, inotify instances or threads are exhausted.
    pub fn new() -> io::Result<Self> {
        Ok(Self { kernel: Kernel::new()?, reads: Vec::new(), events: vec![0; limits::RING_EVENTS_BYTES] })
    }

    /// Gives this ring what the service manager has kept for it, by name.
    #[must_use]
    pub fn inherit(mut self, kept: Vec<(String, OwnedFd)>) -> Self {
        self.kernel.inherit(kept);
        self
    }

    /// What was readable: names, content, bell.
    fn wait(&self, wait: Duration) -> io::Result<[bool; 3]> {
        let watches = &self.kernel.watches;
        let mut fds = [
            PollFd::from_borrowed_fd(watches.fd(Stream::Names), PollFlags::IN),
            PollFd::from_borrowed_fd(watches.fd(Stream::Content), PollFlags::IN),
            PollFd::new(&*self.kernel.bell, PollFlags::IN),
        ];
        let timeout = Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(wait.subsec_nanos()),
        };
        match rustix::event::poll(&mut fds, Some(&timeout)) {
            Ok(_) => Ok(fds.map(|fd| fd.revents().intersects(PollFlags::IN))),
            Err(Errno::INTR) => Ok([false; 3]),
            Err(error) => Err(error.into()),
        }
    }

    fn take_events(&mut self, stream: Stream, out: &mut Vec<Completion>) -> io::Result<()> {
        match rustix::io::read(self.kernel.watches.fd(stream), &mut self.events) {
            Ok(bytes) => self.kernel.watches.take(stream, &self.events[..bytes], out),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn perform_reads(&mut self, out: &mut Vec<Completion>) {
        for Read { token, handle, offset, mut buf, begun } in mem::take(&mut self.reads) {
            let result = match begun {
                true => self.kernel.files.read(handle, offset, &mut buf),
                false => Err(Errno::BADF.into()),
            };
            if begun {
                self.kernel.files.read_ended(handle);
            }
            out.push(Completion::Done { token, result, buf });
        }
    }
}

impl Ring for Poll {
    fn backend(&self) -> &'static str {
        "poll"
    }

    fn now(&self) -> Now {
        self.kernel.now
    }

    fn cpu(&self) -> Duration {
        super::kernel::cpu()
    }

    fn waker(&self) -> Waker {
        self.kernel.bell.waker()
    }

    fn open(&mut self, path: &Path) -> io::Result<Handle> {
        self.kernel.files.open(path)
    }

    fn create(&mut self, path: &Path) -> io::Result<Handle> {
        self.kernel.files.create(path)
    }

    fn close(&mut self, handle: Handle) {
        self.kernel.files.close(handle);
    }

    fn stat(&mut self, handle: Handle) -> io::Result<Meta> {
        self.kernel.files.stat(handle)
    }

    fn stat_path(&mut self, path: &Path) -> io::Result<Meta> {
        files::stat_path(path)
    }

    fn list(&mut self, directory: &Path, max: usize) -> io::Result<Vec<Entry>> {
        files::list(directory, max)
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        files::remove(path)
    }

    fn space(&mut self, directory: &Path) -> io::Result<Space> {
        files::space(directory)
    }

    fn store(&mut self, handle: Handle, name: &str) -> io::Result<bool> {
        self.kernel.store(handle, name)
    }

    fn unstore(&mut self, name: &str) -> io::Result<()> {
        self.kernel.unstore(name)
    }

    fn inherited(&mut self) -> Vec<(String, Handle)> {
        self.kernel.inherited()
    }

    fn read_now(&mut self, handle: Handle, offset: u64, buf: &mut [u8]) -> io::Result<ReadNow> {
        self.kernel.files.read_now(handle, offset, buf)
    }

    fn map(&mut self, handle: Handle, offset: u64, bytes: usize) -> io::Result<Mapping> {
        self.kernel.files.map(handle, offset, bytes)
    }

    fn write(&mut self, handle: Handle, offset: u64, data: &[u8]) -> io::Result<()> {
        self.kernel.files.write(handle, offset, data)
    }

    fn watch(&mut self, path: &Path, kind: WatchKind) -> io::Result<Watch> {
        self.kernel.watches.watch(path, kind)
    }

    fn unwatch(&mut self, watch: Watch) {
        self.kernel.watches.unwatch(watch);
    }

    fn submit(&mut self, op: Op) -> Result<(), Op> {
        match op {
            Op::Read { .. } if self.reads.len() == limits::RING_READS_MAX => Err(op),
            Op::Read { token, handle, offset, buf } => {
                let begun = self.kernel.files.read_begins(handle).is_ok();
                self.reads.push(Read { token, handle, offset, buf, begun });
                Ok(())
            }
            Op::Persist { token, path, data } => self.kernel.persister.submit(token, path, data),
        }
    }

    fn reap(&mut self, wait: Duration, out: &mut Vec<Completion>) -> io::Result<()> {
        let before = out.len();
        self.perform_reads(out);
        self.kernel.persister.collect(out);
        let idle = out.len() == before && !wait.is_zero();
        let wait = if idle && self.kernel.bell.doze() { wait } else { Duration::ZERO };
        let ready = self.wait(wait);
        self.kernel.bell.rise();
        self.kernel.tick();
        let [names, content, bell] = ready?;
        if bell {
            // Readable, so it does not block; only its being readable matters.
            rustix::io::read(&*self.kernel.bell, &mut [0; 8])?;
        }
        if names {
            self.take_events(Stream::Names, out)?;
        }
        if content {
            self.take_events(Stream::Content, out)?;
        }
        self.kernel.persister.collect(out);
        Ok(())
    }
}
