//! Who is at the other end of a unix socket.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
};

/// Groups asked for at first; few users have more.
const GROUPS_FIRST: usize = 32;

/// The peer's process, user and group when it connected (SO_PEERCRED, unix(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials {
    pub uid: u32,
    pub gid: u32,
    /// In our own namespace; 0 when it has no number there. It may have ended and its number been taken again.
    pub pid: i32,
}

/// Asks the kernel, which the peer cannot deceive. Errors: not a connected unix socket.
///
/// Not by `rustix::net::sockopt::socket_peercred`: its process number cannot be 0, and the kernel's can.
pub fn credentials(socket: impl AsFd) -> io::Result<Credentials> {
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut bytes = size_of::<libc::ucred>() as libc::socklen_t;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the kernel writes at most `bytes` bytes, the size of a `ucred` (three integers, any value is one), to
    // `peer`, and the length to `bytes`; both outlive the call. The descriptor is borrowed, hence open.
    let answer =
        unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_PEERCRED, (&raw mut peer).cast(), &raw mut bytes) };
    if answer != 0 {
        return Err(io::Error::last_os_error());
    }
    // A socket that is not connected, or not of this family, has nobody: the kernel says -1.
    if bytes as usize != size_of::<libc::ucred>() || peer.uid == u32::MAX {
        return Err(io::ErrorKind::NotConnected.into());
    }
    Ok(Credentials { uid: peer.uid, gid: peer.gid, pid: peer.pid })
}

/// Groups of the peer beyond its first when it connected (SO_PEERGROUPS, Linux 4.13). Errors: not a connected unix
/// socket, or an older kernel.
pub fn groups(socket: impl AsFd) -> io::Result<Vec<u32>> {
    let fd = socket.as_fd().as_raw_fd();
    let mut groups: Vec<libc::gid_t> = vec![0; GROUPS_FIRST];
    loop {
        let room = groups.len() * size_of::<libc::gid_t>();
        let mut bytes = libc::socklen_t::try_from(room).map_err(io::Error::other)?;
        // SAFETY: the kernel writes at most `bytes` bytes, the size of the vector's elements (integers, any value is
        // one), to `groups`, and the length to `bytes`; both outlive the call. The descriptor is borrowed, hence open.
        let answer = unsafe {
            libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_PEERGROUPS, groups.as_mut_ptr().cast(), &raw mut bytes)
        };
        let count = bytes as usize / size_of::<libc::gid_t>();
        if answer == 0 {
            groups.truncate(count);
            return Ok(groups);
        }
        let error = io::Error::last_os_error();
        // Then `bytes` says how many it would have been.
        if error.raw_os_error() != Some(libc::ERANGE) || count <= groups.len() {
            return Err(error);
        }
        groups.resize(count, 0);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn the_peer_is_ourselves() {
        let (near, _far) = UnixStream::pair().unwrap();
        let peer = credentials(&near).unwrap();
        assert_eq!(peer.pid, std::process::id() as i32);
        assert_eq!(peer.uid, rustix::process::getuid().as_raw());
        assert_eq!(peer.gid, rustix::process::getgid().as_raw());
    }

    #[test]
    fn the_peer_has_our_groups() {
        let (near, _far) = UnixStream::pair().unwrap();
        let ours: Vec<u32> = rustix::process::getgroups().unwrap().iter().map(|group| group.as_raw()).collect();
        assert_eq!(groups(&near).unwrap(), ours);
    }

    #[test]
    fn a_socket_without_a_peer_has_no_credentials() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(credentials(&listener).is_err() && groups(&listener).is_err());
        assert!(credentials(std::fs::File::open("/proc/self/exe").unwrap()).is_err());
    }
}
