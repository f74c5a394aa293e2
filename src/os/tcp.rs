//! What TCP knows of a connection beyond read and write: how much the peer has not acknowledged, and when to give up.
//!
//! Plain syslog has no answers. The one proof that bytes reached the other machine is the kernel's own send queue.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
    time::Duration,
};

/// Bytes given to the socket that the peer's TCP has not acknowledged yet, sent or not (SIOCOUTQ, tcp(7)).
///
/// # Errors
/// What ioctl(2) says; a socket that is not TCP gives EINVAL or ENOTTY.
pub fn unacked(fd: BorrowedFd<'_>) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is borrowed and so open, and TIOCOUTQ (SIOCOUTQ's number) writes one int to `bytes`, which
    // outlives the call.
    let answer = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCOUTQ, &mut bytes) };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    usize::try_from(bytes).map_err(|_| io::Error::other("the kernel counts a negative send queue"))
}

/// Ends the connection with ETIMEDOUT when sent bytes stay unacknowledged, or the peer's window stays shut, for
/// `timeout` (TCP_USER_TIMEOUT, tcp(7); whole milliseconds).
///
/// # Errors
/// What setsockopt(2) says.
pub fn set_user_timeout(fd: BorrowedFd<'_>, timeout: Duration) -> io::Result<()> {
    let millis = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
    Ok(rustix::net::sockopt::set_tcp_user_timeout(fd, millis)?)
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
    fn counts_what_the_peer_has_no_room_for_and_nothing_once_it_read() -> io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let mut sender = TcpStream::connect(listener.local_addr()?)?;
        let (mut receiver, _) = listener.accept()?;
        sender.set_nonblocking(true)?;
        let mut written = 0;
        loop {
            match sender.write(&[7; 65_536]) {
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        let waiting = unacked(sender.as_fd())?;
        assert!(waiting > 0 && waiting < written, "{waiting} of {written}");

        sender.shutdown(std::net::Shutdown::Write)?;
        let mut all = Vec::new();
        receiver.read_to_end(&mut all)?;
        assert_eq!(all.len(), written);
        // The FIN counts as one until it is acknowledged; closing our end makes the kernel wait for nothing else.
        assert!(unacked(sender.as_fd())? <= 1);
        Ok(())
    }

    #[test]
    fn the_user_timeout_is_set() -> io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let socket = TcpStream::connect(listener.local_addr()?)?;
        set_user_timeout(socket.as_fd(), Duration::from_millis(1500))?;
        assert_eq!(rustix::net::sockopt::tcp_user_timeout(socket.as_fd())?, 1500);
        Ok(())
    }
}
