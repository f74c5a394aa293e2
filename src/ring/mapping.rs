//! A stretch of a file in memory, to be copied from without a system call.
//!
//! Reading a file copies all of it, needed or not, and on some processors that is all that reading costs; from a
//! mapping only what is needed is copied. What makes mappings dangerous is kept in here:
//!
//! - *Other processes write to the bytes.* So no reference to them is ever made: they can only be copied out.
//! - *Touching a page may wait for the disk.* So only what is in memory is mapped (`Files::map`), and its pages are
//!   entered in the page table at once (MADV_POPULATE_READ, madvise(2), Linux 5.14); errors of the disk show there.
//!   Pages that the kernel lets go of between that and the copy are waited for.
//! - *Where the file was cut off meanwhile, or the disk fails, the kernel raises SIGBUS* (mmap(2)). The handler puts a
//!   page of zeros there, and the copy says that the bytes are gone; a plain read then tells why. systemd's journal
//!   reader does the same (src/basic/sigbus.c). A fault elsewhere goes to whoever handled the signal before.

use std::{
    ffi::{c_int, c_void},
    io,
    mem::MaybeUninit,
    os::fd::{AsRawFd, BorrowedFd},
    ptr,
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering, compiler_fence},
    },
};

use rustix::param::page_size;

use crate::{limits::MAPPINGS_MAX, os::memory};

/// Bytes of a file as of now, until dropped. Keeps the file's content from going away, but not from being cut off.
#[derive(Debug)]
pub struct Mapping(Kind);

#[derive(Debug)]
enum Kind {
    Mapped { address: usize, bytes: usize, region: &'static Region },
    Copied(Vec<u8>),
}

/// Where a mapping lies, for the signal handler.
#[derive(Debug)]
struct Region {
    taken: AtomicBool,
    from: AtomicUsize,
    to: AtomicUsize,
    /// Part of it is not what the file has.
    lost: AtomicBool,
}

static REGIONS: [Region; MAPPINGS_MAX] = [const { Region::new() }; MAPPINGS_MAX];
/// Who handled SIGBUS before; `Err` when the handler could not be installed.
static BEFORE: OnceLock<Result<libc::sigaction, i32>> = OnceLock::new();

impl Mapping {
    /// Maps as many of `bytes` bytes from `offset` on, a multiple of the page size, as the file has whole pages.
    ///
    /// # Errors
    /// The file has none, cannot be mapped, or `limits::MAPPINGS_MAX` mappings are in use.
    pub(super) fn new(file: BorrowedFd<'_>, offset: u64, bytes: usize) -> io::Result<Self> {
        listen()?;
        let size = u64::try_from(rustix::fs::fstat(file)?.st_size).unwrap_or(0);
        let bytes = usize::try_from(size.saturating_sub(offset)).unwrap_or(usize::MAX).min(bytes);
        let bytes = bytes / page_size() * page_size();
        if bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let region = Region::take().ok_or(io::ErrorKind::QuotaExceeded)?;
        let at = i64::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: a new mapping at a place of the kernel's choice, read only, of a descriptor that is borrowed, hence
        // open. Nobody makes references to its bytes.
        let address =
            unsafe { libc::mmap(ptr::null_mut(), bytes, libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd(), at) };
        if address == libc::MAP_FAILED {
            let error = io::Error::last_os_error();
            region.give_back();
            return Err(error);
        }
        let address = address.expose_provenance();
        region.cover(address, bytes);
        Ok(Self(Kind::Mapped { address, bytes, region }))
    }

    /// One of a file that is no kernel's: the bytes themselves.
    #[must_use]
    pub fn copied(bytes: Vec<u8>) -> Self {
        Self(Kind::Copied(bytes))
    }

    /// How long it is; never 0 unless it was made of nothing.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match &self.0 {
            Kind::Mapped { bytes, .. } => *bytes,
            Kind::Copied(bytes) => bytes.len(),
        }
    }

    /// Copies `to.len()` bytes from the place `from` on; false, and `to` holds anything, when they are not all there
    /// any more or lie outside.
    #[inline]
    #[must_use]
    pub fn copy(&self, from: usize, to: &mut [u8]) -> bool {
        let Some(end) = from.checked_add(to.len()).filter(|&end| end <= self.bytes()) else { return false };
        match &self.0 {
            Kind::Copied(bytes) => {
                to.copy_from_slice(&bytes[from..end]);
                true
            }
            Kind::Mapped { address, region, .. } => {
                let bytes = ptr::with_exposed_provenance::<u8>(address + from);
                // SAFETY: the source lies within the mapping, as was just checked, which is readable until `drop`; `to`
                // is ours alone and no part of a mapping. What another process writes meanwhile makes bytes of no
                // meaning at worst, and any byte is a `u8`. A page that is gone becomes one of zeros (`on_fault`).
                unsafe { ptr::copy_nonoverlapping(bytes, to.as_mut_ptr(), to.len()) };
                // The handler runs on this thread, in the midst of that copy: the flag is read after it.
                compiler_fence(Ordering::SeqCst);
                !region.lost.load(Ordering::Relaxed)
            }
        }
    }

    /// Has the processor fetch what will be copied soon, as far as it lies inside.
    #[inline(always)]
    pub fn will_copy(&self, from: usize, bytes: usize) {
        if let Kind::Mapped { address, bytes: all, .. } = &self.0
            && from.checked_add(bytes).is_some_and(|end| end <= *all)
        {
            memory::will_read_at(address + from, bytes);
        }
    }

    /// Brings `bytes` bytes from the place `from` on, a multiple of the page size, into memory, as far as they lie
    /// inside. Waits for the device where they are not.
    ///
    /// # Errors
    /// The disk fails (EFAULT), the file was cut off, or the kernel is older than 5.14 (EINVAL).
    pub(super) fn populate(&self, from: usize, bytes: usize) -> io::Result<()> {
        let Kind::Mapped { address, bytes: all, .. } = &self.0 else { return Ok(()) };
        let bytes = bytes.min(all.saturating_sub(from));
        let address = ptr::with_exposed_provenance_mut(address + from);
        loop {
            // SAFETY: reads pages of a mapping of ours into memory, which changes nothing a program could see.
            if unsafe { libc::madvise(address, bytes, libc::MADV_POPULATE_READ) } == 0 {
                return Ok(());
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }
}

/// How often this thread has waited for a page to come from a device (`ru_majflt` of getrusage(2)).
pub(super) fn major_faults() -> i64 {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the kernel fills in what it is given; what it leaves is zero, and all of it integers.
    unsafe {
        libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr());
        usage.assume_init().ru_majflt
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if let Kind::Mapped { address, bytes, region } = &self.0 {
            // First, since the address may be somebody else's as soon as it is free.
            region.give_back();
            // SAFETY: the mapping is ours, was made with this length, and nobody reads from it any more: copies borrow
            // it. Pages of zeros that the handler put into it go with it.
            unsafe { libc::munmap(ptr::with_exposed_provenance_mut(*address), *bytes) };
        }
    }
}

impl Region {
    const fn new() -> Self {
        Self {
            taken: AtomicBool::new(false),
            from: AtomicUsize::new(0),
            to: AtomicUsize::new(0),
            lost: AtomicBool::new(false),
        }
    }

    fn take() -> Option<&'static Self> {
        REGIONS.iter().find(|region| !region.taken.swap(true, Ordering::AcqRel))
    }

    fn cover(&self, address: usize, bytes: usize) {
        self.lost.store(false, Ordering::Relaxed);
        self.from.store(address, Ordering::Release);
        self.to.store(address + bytes, Ordering::Release);
    }

    fn give_back(&self) {
        self.to.store(0, Ordering::Release);
        self.from.store(0, Ordering::Release);
        self.taken.store(false, Ordering::Release);
    }

    /// Asked by the thread that reads from it, or by one whose address lies in another or in none: then this one may
    /// be on its way from one mapping to the next.
    fn has(&self, address: usize) -> bool {
        let from = self.from.load(Ordering::Acquire);
        from <= address && address < self.to.load(Ordering::Acquire) && from == self.from.load(Ordering::Acquire)
    }
}

/// Has SIGBUS handled from now on.
fn listen() -> io::Result<()> {
    let before = BEFORE.get_or_init(|| {
        // SAFETY: a `sigaction` is integers, a set of bits and pointers that may be null, for which all zeroes is a
        // value.
        let (mut ours, mut before): (libc::sigaction, libc::sigaction) = unsafe { std::mem::zeroed() };
        ours.sa_sigaction = on_fault as *const () as usize;
        ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        // SAFETY: both outlive the call, and the handler does only what a signal handler may.
        match unsafe { libc::sigaction(libc::SIGBUS, &raw const ours, &raw mut before) } {
            0 => Ok(before),
            _ => Err(io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL)),
        }
    });
    before.as_ref().map(|_| ()).map_err(|errno| io::Error::from_raw_os_error(*errno))
}

/// Puts a page of zeros where a page of a mapping is gone, so that the copy can go on. Only atomics and system calls:
/// it runs on a thread that was interrupted anywhere.
extern "C" fn on_fault(_signal: c_int, info: *mut libc::siginfo_t, _context: *mut c_void) {
    // SAFETY: the kernel passes a valid siginfo for a handler with SA_SIGINFO; for a fault it has an address.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
    // Codes up to 0 are of signals that somebody sent (sigaction(2)).
    let region = REGIONS.iter().find(|region| code > 0 && region.has(address));
    region.inspect(|region| region.lost.store(true, Ordering::Relaxed));
    if region.is_none() || !replace(address) {
        give_way(code);
    }
}

/// Puts a page of zeros where this address of a mapping lies; false when there was no memory for it.
fn replace(address: usize) -> bool {
    let page = ptr::with_exposed_provenance_mut(address / page_size() * page_size());
    let flags = libc::MAP_FIXED | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: the page lies within a mapping of ours, to whose bytes nobody has references; `munmap` takes this one
    // away with the rest. The thread's errno stays what it was.
    unsafe {
        let errno = *libc::__errno_location();
        let answer = libc::mmap(page, page_size(), libc::PROT_READ, flags, -1, 0);
        *libc::__errno_location() = errno;
        answer != libc::MAP_FAILED
    }
}

/// Lets whoever handled the signal before have it: a fault happens again as soon as we return, and a signal that was
/// sent is sent again.
fn give_way(code: c_int) {
    // SAFETY: as in `listen`; all zeroes is the default action, which ends the process.
    unsafe {
        let before = BEFORE.get().and_then(|before| before.as_ref().ok()).copied().unwrap_or(std::mem::zeroed());
        libc::sigaction(libc::SIGBUS, &raw const before, ptr::null_mut());
        if code <= 0 {
            libc::raise(libc::SIGBUS);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        os::{
            fd::AsFd,
            unix::{fs::FileExt, process::ExitStatusExt},
        },
        process::Command,
    };

    use super::*;

    fn file(pages: usize) -> (File, Vec<u8>) {
        let file = tempfile::tempfile().unwrap();
        let content: Vec<u8> = (0..pages * page_size()).map(|at| (at / 7) as u8).collect();
        file.write_all_at(&content, 0).unwrap();
        (file, content)
    }

    #[test]
    fn copies_what_the_file_has_and_sees_what_is_written() {
        let (file, content) = file(5);
        let page = page_size();
        let mapping = Mapping::new(file.as_fd(), page as u64, 10 * page).unwrap();
        assert_eq!(mapping.bytes(), 4 * page, "as much as there is");
        mapping.populate(0, 4 * page).unwrap();
        let mut all = vec![0; 4 * page];
        assert!(mapping.copy(0, &mut all) && all == content[page..]);
        assert!(!mapping.copy(1, &mut all) && !mapping.copy(usize::MAX, &mut all[..2]), "outside");
        file.write_all_at(b"changed", page as u64 + 3).unwrap();
        let mut part = [0; 7];
        assert!(mapping.copy(3, &mut part) && &part == b"changed");
        mapping.will_copy(0, 4 * page);
        mapping.will_copy(usize::MAX, 2);
        assert!(Mapping::new(file.as_fd(), 5 * page as u64, page).is_err(), "behind the end");
        assert!(Mapping::new(file.as_fd(), 1, page).is_err(), "no page begins there");
    }

    #[test]
    fn what_was_cut_off_is_told_and_nobody_else_suffers() {
        let page = page_size();
        let ((cut, _), (whole, content)) = (file(4), file(4));
        let [first, second] = [&cut, &whole].map(|file| Mapping::new(file.as_fd(), 0, 4 * page).unwrap());
        first.populate(0, 4 * page).unwrap();
        let mut all = vec![0; 4 * page];
        assert!(first.copy(0, &mut all));
        cut.set_len(page as u64 + 1).unwrap();
        assert!(first.copy(0, &mut all[..2 * page]), "what is left is left");
        assert!(!first.copy(page, &mut all[..2 * page]), "gone");
        assert!(!first.copy(0, &mut all[..1]), "and not trusted again");
        assert!(second.copy(0, &mut all) && all == content);
        drop(first);
        cut.set_len(4 * page as u64).unwrap();
        let again = Mapping::new(cut.as_fd(), 0, 4 * page).unwrap();
        assert!(again.copy(0, &mut all) && all[page + 1..].iter().all(|&byte| byte == 0));
    }

    /// Set where this test program is started again, to die.
    const DIES: &str = "CORELANE_TEST_FAULT_ELSEWHERE";

    #[test]
    fn a_fault_elsewhere_ends_the_process_as_ever() {
        let page = page_size();
        let (cut, _) = file(2);
        let _ours = Mapping::new(cut.as_fd(), 0, page).unwrap();
        if std::env::var_os(DIES).is_none() {
            let name = "ring::mapping::tests::a_fault_elsewhere_ends_the_process_as_ever";
            let mut again = Command::new(std::env::current_exe().unwrap());
            let ended = again.args([name, "--exact"]).env(DIES, "1").output().unwrap();
            assert_eq!(ended.status.signal(), Some(libc::SIGBUS), "{ended:?}");
            return;
        }
        // SAFETY: a mapping of its own, read past the end of its file: that is the fault.
        unsafe {
            let fd = cut.as_raw_fd();
            let theirs = libc::mmap(ptr::null_mut(), 2 * page, libc::PROT_READ, libc::MAP_SHARED, fd, 0);
            assert_ne!(theirs, libc::MAP_FAILED);
            cut.set_len(0).unwrap();
            let _ = theirs.cast::<u8>().add(page).read_volatile();
        }
    }
}
