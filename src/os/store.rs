//! The service manager's descriptor store: open files that outlive this process (sd_notify(3), `FDSTORE=1`).
//!
//! A descriptor is sent to the manager with a name and comes back under it at the next start (sd_listen_fds(3)). The
//! manager never answers: whether it keeps what it is given (`FileDescriptorStoreMax=`), and over what, cannot be
//! asked.

use std::{
    ffi::OsStr,
    io::{self, IoSlice},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    path::Path,
};

use rustix::{
    io::{FdFlags, fcntl_setfd},
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg},
};

/// Longest name of a stored descriptor, in bytes (systemd's FDNAME_MAX).
pub const NAME_BYTES_MAX: usize = 255;
/// The first descriptor that is passed (SD_LISTEN_FDS_START).
const FIRST: RawFd = 3;

/// The way to the service manager.
#[derive(Debug)]
pub struct Store {
    socket: UnixDatagram,
}

impl Store {
    /// The store named by `$NOTIFY_SOCKET`; `None` when no service manager started this process.
    pub fn from_environment() -> Option<Self> {
        let address = std::env::var_os("NOTIFY_SOCKET")?;
        Self::at(&address).inspect_err(|error| tracing::debug!("no descriptor store: {error}")).ok()
    }

    /// The store behind a datagram socket; a leading `@` stands for an abstract one.
    ///
    /// # Errors
    /// Nobody listens there.
    pub fn at(address: &OsStr) -> io::Result<Self> {
        let address = match address.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            path => SocketAddr::from_pathname(Path::new(OsStr::from_bytes(path)))?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        // The caller is a lane: a manager that does not read must not hold it up.
        socket.set_nonblocking(true)?;
        Ok(Self { socket })
    }

    /// Sends a descriptor to be kept under `name`, which [`is_name`] accepts. One that is kept already stays once.
    ///
    /// # Errors
    /// The name is none, or the manager takes nothing now.
    pub fn push(&self, file: BorrowedFd<'_>, name: &str) -> io::Result<()> {
        check(name)?;
        // Files are never readable in epoll's sense; without FDPOLL=0 some managers complain of that.
        self.send(&format!("FDSTORE=1\nFDPOLL=0\nFDNAME={name}"), &[file])
    }

    /// Asks the manager to close what it keeps under `name`.
    ///
    /// # Errors
    /// As `push`.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        check(name)?;
        self.send(&format!("FDSTOREREMOVE=1\nFDNAME={name}"), &[])
    }

    fn send(&self, text: &str, files: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !files.is_empty() && !control.push(SendAncillaryMessage::ScmRights(files)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let text = [IoSlice::new(text.as_bytes())];
        sendmsg(self.socket.as_fd(), &text, &mut control, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)?;
        Ok(())
    }
}

/// Whether the manager accepts this name: printable ASCII without a colon, not too long (systemd's `fdname_is_valid`).
pub fn is_name(name: &str) -> bool {
    let is_plain = |byte: u8| (b' '..0x7f).contains(&byte) && byte != b':';
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.bytes().all(is_plain)
}

fn check(name: &str) -> io::Result<()> {
    if is_name(name) { Ok(()) } else { Err(io::Error::new(io::ErrorKind::InvalidInput, "no name for a descriptor")) }
}

/// Takes what the service manager passed to this process, with its names. To be called once, before anything else
/// opens or closes descriptors; afterwards they are as if they had never been passed.
pub fn take_passed() -> Vec<(String, OwnedFd)> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    let (Some(pid), Some(count)) = (number("LISTEN_PID"), number("LISTEN_FDS")) else { return Vec::new() };
    if pid != std::process::id() {
        return Vec::new();
    }
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let count = RawFd::try_from(count).unwrap_or(0);
    let mut names = names.split(':');
    let mut taken = Vec::new();
    for number in FIRST..FIRST.saturating_add(count) {
        let name = names.next().unwrap_or("unknown").to_owned();
        // SAFETY: the descriptor was opened by whoever started this process and is named to nobody else in it; that
        // it is open at all is asked first, since a wrong count must not make us own what is opened later.
        let file = unsafe {
            if libc::fcntl(number, libc::F_GETFD) < 0 {
                break;
            }
            OwnedFd::from_raw_fd(number)
        };
        if let Err(error) = fcntl_setfd(&file, FdFlags::CLOEXEC) {
            tracing::debug!("a passed descriptor will be seen by children: {error}");
        }
        taken.push((name, file));
    }
    taken
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        io::{IoSliceMut, Read},
    };

    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

    use super::*;

    #[test]
    fn a_descriptor_is_sent_with_its_name_and_asked_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let store = Store::at(path.as_os_str()).unwrap();
        let log = directory.path().join("log");
        std::fs::write(&log, b"content").unwrap();
        store.push(File::open(&log).unwrap().as_fd(), "file.1 2").unwrap();
        std::fs::remove_file(&log).unwrap();
        let mut text = [0; 100];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let got = recvmsg(&manager, &mut [IoSliceMut::new(&mut text)], &mut control, RecvFlags::empty()).unwrap();
        assert_eq!(&text[..got.bytes], b"FDSTORE=1\nFDPOLL=0\nFDNAME=file.1 2");
        let Some(RecvAncillaryMessage::ScmRights(mut files)) = control.drain().next() else { panic!("no descriptor") };
        let mut content = String::new();
        File::from(files.next().unwrap()).read_to_string(&mut content).unwrap();
        assert_eq!(content, "content", "though its name is gone");
        store.remove("file.1 2").unwrap();
        let bytes = manager.recv(&mut text).unwrap();
        assert_eq!(&text[..bytes], b"FDSTOREREMOVE=1\nFDNAME=file.1 2");
    }

    #[test]
    fn names_the_manager_would_refuse_are_not_sent() {
        assert!(is_name("corelane 1"));
        for name in ["", "a:b", "a\nb", "é", &"x".repeat(NAME_BYTES_MAX + 1)] {
            assert!(!is_name(name), "{name}");
        }
    }
}
