//! What TCP knows about the other side: bytes it has not acknowledged, and how long to bear silence.
//!
//! Plain syslog has no acknowledgement of its own; TCP's is the nearest thing there is.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
    time::Duration,
};

use rustix::net::sockopt::set_tcp_user_timeout;

/// Bytes written to the socket that the peer's TCP has not acknowledged, sent or not (SIOCOUTQ, tcp(7)).
///
/// After `shutdown` of the writing side the FIN counts as one byte until it is acknowledged. 0 while connecting. A
/// reset connection keeps the figure it had. Errors: not a TCP socket, or a listening one.
pub fn unacked(socket: BorrowedFd<'_>) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: TIOCOUTQ (the same request as SIOCOUTQ) writes one int to the pointer, which is valid for the call; the
    // descriptor is borrowed, hence open.
    let answer = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if answer != 0 {
        return Err(io::Error::last_os_error());
    }
    usize::try_from(bytes).map_err(|_| io::Error::other("a negative SIOCOUTQ"))
}

/// How long written bytes may stay unacknowledged before the connection fails (TCP_USER_TIMEOUT, RFC 5482, tcp(7)).
///
/// In whole milliseconds, at least one; zero would mean the system's default of about 15 minutes.
pub fn set_user_timeout(socket: BorrowedFd<'_>, timeout: Duration) -> io::Result<()> {
    let milliseconds = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX).max(1);
    Ok(set_tcp_user_timeout(socket, milliseconds)?)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::{TcpListener, TcpStream},
        os::fd::AsFd,
    };

    use super::*;

    #[test]
    fn what_the_peer_cannot_take_stays_unacknowledged() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        assert_eq!(unacked(near.as_fd()).unwrap(), 0);
        near.set_nonblocking(true).unwrap();
        let mut written = 0;
        while let Ok(bytes) = near.write(&[7; 65536]) {
            written += bytes;
        }
        let waiting = unacked(near.as_fd()).unwrap();
        assert!(waiting > 0 && waiting <= written, "{waiting} of {written}");
        near.set_nonblocking(false).unwrap();
        near.shutdown(std::net::Shutdown::Write).unwrap();
        let mut sink = Vec::new();
        far.read_to_end(&mut sink).unwrap();
        assert_eq!(sink.len(), written);
    }

    #[test]
    fn only_tcp_sockets_know() {
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        assert!(unacked(file.as_fd()).is_err());
        assert!(set_user_timeout(file.as_fd(), Duration::from_secs(1)).is_err());
    }

    #[test]
    fn the_user_timeout_is_kept_in_milliseconds() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        set_user_timeout(near.as_fd(), Duration::from_micros(1)).unwrap();
        assert_eq!(rustix::net::sockopt::tcp_user_timeout(&near).unwrap(), 1);
        set_user_timeout(near.as_fd(), Duration::from_secs(30)).unwrap();
        assert_eq!(rustix::net::sockopt::tcp_user_timeout(&near).unwrap(), 30_000);
    }
}
