//! The io_uring backend: one wait point for cold reads, watches, wake-ups and timeouts.
//!
//! io_uring earns its place here by cold reads that do not stall the lane, not by throughput: bytes in the page cache
//! are read by preadv2(RWF_NOWAIT) like on the other backend. The two inotify instances and the bell's eventfd are read
//! by READ operations that are always under way. A buffer the kernel may write to is owned by its slot until its
//! completion was reaped; a ring that goes away cancels, waits, and leaks what the kernel does not let go of in time.

use std::{
    io,
    marker::PhantomData,
    mem,
    os::fd::{AsFd, AsRawFd, OwnedFd, RawFd},
    path::Path,
    time::{Duration, Instant},
};

use io_uring::{IoUring, cqueue, opcode, squeue, types};
use rustix::io::Errno;

use super::{
    Completion, Entry, Handle, Mapping, Meta, Now, Op, ReadNow, Ring, Space, Token, Waker, Watch, WatchKind, files,
    kernel::Kernel, watch::Stream,
};
use crate::limits;

/// Reads of both inotify instances and of the bell.
const STANDING: usize = 3;
/// Room for all that can be under way; the completion queue has twice as much and so never overflows.
const ENTRIES: u32 = (limits::RING_READS_MAX + STANDING).next_power_of_two() as u32;
/// Names completions nobody waits for: those of cancellations.
const NOBODY: u64 = u64::MAX;
/// The current position of a descriptor that has no offsets (io_uring_enter(2), IORING_OP_READ).
const NO_OFFSET: u64 = u64::MAX;

/// Disk, clock and wake-ups by io_uring. Must stay on the thread that made it.
pub struct Uring {
    ring: IoUring,
    kernel: Kernel,
    /// What the kernel may write to, by `user_data`.
    slots: Vec<Slot>,
    free: Vec<usize>,
    /// Ended without the kernel: reads of handles that are not open.
    ended: Vec<Completion>,
    /// IORING_SETUP_SINGLE_ISSUER: other threads' submissions are refused.
    one_thread: PhantomData<*const ()>,
}

enum Slot {
    Free,
    Read { token: Token, handle: Handle, offset: u64, buf: Vec<u8> },
    Events { stream: Stream, buf: Vec<u8> },
    Bell { buf: Vec<u8> },
}

impl Uring {
    /// Makes the ring for the calling thread, with the newest set-up this kernel takes.
    ///
    /// Errors: io_uring is absent or denied, the kernel is older than 5.11 (timeouts need IORING_FEAT_EXT_ARG), or
    /// descriptors, locked memory or threads are exhausted.
    pub fn new() -> io::Result<Self> {
        let mut newest = Err(io::ErrorKind::Unsupported.into());
        for set_up in SET_UPS {
            newest = set_up();
            match &newest {
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
                _ => break,
            }
        }
        Self::with(newest?)
    }

    fn with(ring: IoUring) -> io::Result<Self> {
        if !ring.params().is_feature_ext_arg() || !ring.params().is_feature_nodrop() {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "this kernel's io_uring is older than 5.11"));
        }
        // Absent before 5.15, where the kernel's own bound holds.
        let _ = ring.submitter().register_iowq_max_workers(&mut [limits::RING_WORKERS_MAX; 2]);
        let mut uring = Self {
            ring,
            kernel: Kernel::new()?,
            slots: Vec::new(),
            free: Vec::new(),
            ended: Vec::new(),
            one_thread: PhantomData,
        };
        for stream in Stream::ALL {
            uring.start(Slot::Events { stream, buf: vec![0; limits::RING_EVENTS_BYTES] })?;
        }
        uring.start(Slot::Bell { buf: vec![0; size_of::<u64>()] })?;
        Ok(uring)
    }

    /// Keeps the kernel threads that carry out cold reads on these cores (needs 5.14). Cores beyond the size of a
    /// `cpu_set_t` (1,024) are left away.
    pub fn confine_workers(&mut self, cores: &[usize]) -> io::Result<()> {
        // SAFETY: a `cpu_set_t` is an array of integers, for which all zeroes is a value: the empty set.
        let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
        for core in cores.iter().filter(|core| **core < libc::CPU_SETSIZE as usize) {
            // SAFETY: the index was just checked to lie within the set.
            unsafe { libc::CPU_SET(*core, &mut set) };
        }
        self.ring.submitter().register_iowq_aff(&set)
    }

    /// Gives this ring what the service manager has kept for it, by name.
    #[must_use]
    pub fn inherit(mut self, kept: Vec<(String, OwnedFd)>) -> Self {
        self.kernel.inherit(kept);
        self
    }

    /// Puts a read under way. Room was checked by the caller, so an error means a defect or a torn ring.
    fn start(&mut self, slot: Slot) -> io::Result<()> {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::Free);
            self.slots.len() - 1
        });
        self.slots[index] = slot;
        self.arm(index)
    }

    fn arm(&mut self, index: usize) -> io::Result<()> {
        let (fd, offset, buf): (RawFd, u64, &mut Vec<u8>) = match &mut self.slots[index] {
            Slot::Free => return Ok(()),
            Slot::Read { handle, offset, buf, .. } => (self.kernel.files.descriptor(*handle)?, *offset, buf),
            Slot::Events { stream, buf } => (self.kernel.watches.fd(*stream).as_raw_fd(), NO_OFFSET, buf),
            Slot::Bell { buf } => (self.kernel.bell.as_fd().as_raw_fd(), NO_OFFSET, buf),
        };
        let bytes = u32::try_from(buf.len()).unwrap_or(u32::MAX);
        let read = opcode::Read::new(types::Fd(fd), buf.as_mut_ptr(), bytes).offset(offset).build();
        self.push(&read.user_data(index as u64))
    }

    fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        // SAFETY: the entry's buffer is owned by a slot that neither shrinks, grows nor frees it until its completion
        // was reaped (`finish`), or that leaks it (`drop`); its descriptor is open at least until then (`Files` counts
        // reads, the others live as long as the ring). Cancellations have no buffer.
        let pushed = unsafe { self.ring.submission().push(entry) };
        pushed.map_err(|full| io::Error::other(full.to_string()))
    }

    /// Hands the kernel what waits, and lets it post what is done; without a system call when there is neither.
    fn flush(&mut self) -> io::Result<()> {
        let queue = self.ring.submission();
        if queue.is_empty() && !queue.taskrun() && !queue.cq_overflow() {
            return Ok(());
        }
        drop(queue);
        tolerate(self.ring.submit())
    }

    fn sleep(&mut self, wait: Duration) -> io::Result<()> {
        let timeout = types::Timespec::from(wait);
        let args = types::SubmitArgs::new().timespec(&timeout);
        tolerate(self.ring.submitter().submit_with_args(1, &args))
    }

    /// Takes all completions; goes on after an error and returns the first one.
    fn take_completions(&mut self, out: &mut Vec<Completion>) -> io::Result<()> {
        let mut outcome = Ok(());
        while let Some(entry) = self.next_completion() {
            if let Err(error) = self.finish(&entry, out)
                && outcome.is_ok()
            {
                outcome = Err(error);
            }
        }
        outcome
    }

    fn next_completion(&mut self) -> Option<cqueue::Entry> {
        self.ring.completion().next()
    }

    fn finish(&mut self, entry: &cqueue::Entry, out: &mut Vec<Completion>) -> io::Result<()> {
        if entry.user_data() == NOBODY {
            return Ok(());
        }
        let index = entry.user_data() as usize;
        let result = match usize::try_from(entry.result()) {
            Ok(bytes) => Ok(bytes),
            Err(_) => Err(io::Error::from_raw_os_error(-entry.result())),
        };
        match mem::replace(&mut self.slots[index], Slot::Free) {
            Slot::Free => Ok(()),
            Slot::Read { token, handle, offset, mut buf } => {
                self.free.push(index);
                let result = match result {
                    // Some file systems refuse reads that io_uring starts; they take a plain one.
                    Err(error) if transient(&error) => self.kernel.files.read(handle, offset, &mut buf),
                    result => result,
                };
                self.kernel.files.read_ended(handle);
                out.push(Completion::Done { token, result, buf });
                Ok(())
            }
            Slot::Events { stream, buf } => {
                let bytes = result.or_else(forgive);
                if let Ok(bytes) = bytes {
                    self.kernel.watches.take(stream, &buf[..bytes], out);
                }
                self.slots[index] = Slot::Events { stream, buf };
                self.arm(index)?;
                bytes.map(|_| ())
            }
            Slot::Bell { buf } => {
                self.slots[index] = Slot::Bell { buf };
                self.arm(index)?;
                result.or_else(forgive).map(|_| ())
            }
        }
    }

    fn under_way(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

/// The set-ups in order of preference; EINVAL leads to the next one. Task work only when the lane asks for it (6.1), no
/// interruption for it (5.19), any. The flag that says whether task work waits spares a system call per turn.
const SET_UPS: [fn() -> io::Result<IoUring>; 3] = [
    || {
        let mut newest = IoUring::builder();
        newest.setup_single_issuer().setup_defer_taskrun().setup_coop_taskrun().setup_taskrun_flag();
        newest.build(ENTRIES)
    },
    || IoUring::builder().setup_coop_taskrun().setup_taskrun_flag().build(ENTRIES),
    || IoUring::new(ENTRIES),
];

/// A timeout arrives as ETIME; a signal, a moment without kernel memory or a full completion queue only mean that this
/// reap brings less.
fn tolerate(entered: io::Result<usize>) -> io::Result<()> {
    match entered {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ETIME | libc::EBUSY)) || transient(&error) => Ok(()),
        entered => entered.map(|_| ()),
    }
}

fn transient(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR))
}

/// A standing read that was only disturbed brought nothing.
fn forgive(error: io::Error) -> io::Result<usize> {
    if transient(&error) { Ok(0) } else { Err(error) }
}

impl Ring for Uring {
    fn backend(&self) -> &'static str {
        "uring"
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
        let (token, handle, offset, buf) = match op {
            Op::Persist { token, path, data } => return self.kernel.persister.submit(token, path, data),
            Op::Read { token, handle, offset, buf } => (token, handle, offset, buf),
        };
        let full = self.under_way() - STANDING == limits::RING_READS_MAX || self.ring.submission().is_full();
        if full || self.ended.len() == limits::RING_READS_MAX {
            return Err(Op::Read { token, handle, offset, buf });
        }
        if self.kernel.files.read_begins(handle).is_err() {
            self.ended.push(Completion::Done { token, result: Err(Errno::BADF.into()), buf });
            return Ok(());
        }
        // The handle is open and the queue has room, so this does not fail.
        if let Err(error) = self.start(Slot::Read { token, handle, offset, buf }) {
            debug_assert!(false, "{error}");
        }
        Ok(())
    }

    fn reap(&mut self, wait: Duration, out: &mut Vec<Completion>) -> io::Result<()> {
        let before = out.len();
        out.append(&mut self.ended);
        self.kernel.persister.collect(out);
        let idle = out.len() == before && !wait.is_zero() && self.ring.completion().is_empty();
        let entered = if idle && self.kernel.bell.doze() { self.sleep(wait) } else { self.flush() };
        self.kernel.bell.rise();
        self.kernel.tick();
        let taken = self.take_completions(out);
        self.kernel.persister.collect(out);
        entered.and(taken)
    }
}

impl Drop for Uring {
    /// Cancels what is under way and waits for it, so that no buffer is freed while the kernel may write to it.
    fn drop(&mut self) {
        let deadline = Instant::now() + limits::RING_DRAIN;
        let mut entered = self.flush();
        for index in 0..self.slots.len() {
            if !matches!(self.slots[index], Slot::Free) && entered.is_ok() {
                let cancel = opcode::AsyncCancel::new(index as u64).build().user_data(NOBODY);
                entered = self.push(&cancel);
            }
        }
        while entered.is_ok() && self.under_way() > 0 && Instant::now() < deadline {
            entered = self.sleep(Duration::from_millis(100));
            while let Some(entry) = self.next_completion() {
                if entry.user_data() != NOBODY {
                    let index = entry.user_data() as usize;
                    self.slots[index] = Slot::Free;
                    self.free.push(index);
                }
            }
        }
        for slot in self.slots.drain(..) {
            match slot {
                Slot::Free => {}
                Slot::Read { buf, .. } | Slot::Events { buf, .. } | Slot::Bell { buf } => mem::forget(buf),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    /// The other set-ups are for other kernels; each must carry every kind of operation.
    #[test]
    fn every_set_up_works() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        std::fs::write(&path, b"content").unwrap();
        for (number, set_up) in SET_UPS.iter().enumerate() {
            let mut ring = Uring::with(set_up().unwrap()).unwrap();
            let handle = ring.open(&path).unwrap();
            let watch = ring.watch(&path, WatchKind::ContentOnce).unwrap();
            ring.submit(Op::Read { token: Token(1), handle, offset: 3, buf: vec![0; 9] }).unwrap();
            let mut out = Vec::new();
            ring.reap(Duration::from_secs(30), &mut out).unwrap();
            let read = out.pop();
            assert!(matches!(read, Some(Completion::Done { result: Ok(4), .. })), "{number}: {read:?}");
            std::fs::write(&path, b"content").unwrap();
            while out.is_empty() && ring.now().mono < Duration::from_secs(30) {
                ring.reap(Duration::from_secs(30), &mut out).unwrap();
            }
            assert!(matches!(out[..], [Completion::Changed { watch: of, .. }] if of == watch), "{number}: {out:?}");
            let waker = ring.waker();
            let other = std::thread::spawn(move || waker.wake());
            ring.reap(Duration::from_secs(30), &mut out).unwrap();
            other.join().unwrap();
            let asleep = ring.now().mono;
            ring.reap(Duration::from_millis(3), &mut out).unwrap();
            assert!(asleep < Duration::from_secs(30), "{number}: a wake-up was lost");
        }
    }

    /// Reads that really wait for the device, some still under way when the ring goes away.
    #[test]
    fn cold_reads_bring_the_same_bytes() {
        const CHUNK: usize = 65_536;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let content: Vec<u8> = (0..32 * CHUNK).map(|at| (at / 7) as u8).collect();
        std::fs::write(&path, &content).unwrap();
        let file = File::open(&path).unwrap();
        file.sync_all().unwrap();
        for drop_early in [false, true] {
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
            let mut ring = Uring::new().unwrap();
            let handle = ring.open(&path).unwrap();
            for chunk in (0..32).rev() {
                let offset = (chunk * CHUNK) as u64;
                ring.submit(Op::Read { token: Token(offset), handle, offset, buf: vec![0; CHUNK] }).unwrap();
            }
            let mut out = Vec::new();
            let wanted = if drop_early { 1 } else { 32 };
            while out.len() < wanted && ring.now().mono < Duration::from_secs(60) {
                ring.reap(Duration::from_secs(30), &mut out).unwrap();
            }
            assert!(out.len() >= wanted);
            for one in out {
                let Completion::Done { token, result, buf } = one else { panic!("{one:?}") };
                let bytes = result.unwrap();
                assert!(bytes > 0 && content[token.0 as usize..].starts_with(&buf[..bytes]));
            }
        }
    }

    #[test]
    fn workers_are_confined_to_given_cores() {
        let mut ring = Uring::new().unwrap();
        ring.confine_workers(&[0, 1 << 20]).unwrap();
    }
}
