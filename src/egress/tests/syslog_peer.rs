//! A syslog receiver that keeps what it read, session by session, and dies on command.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::Notify,
};
use tokio_rustls::TlsAcceptor;

use crate::limits::SYSLOG_SETTLE;

/// What the peer does with one session.
#[derive(Clone, Copy, Debug)]
pub(super) enum Manner {
    /// Reads to the end.
    Read,
    /// Reads so many bytes, then closes.
    ReadThenClose(usize),
    /// Reads nothing. Some time after so many bytes came to lie in its buffer it dies: they are gone, the sender gets a
    /// reset.
    DieUnread(usize),
    /// Reads 64 KiB at a time with a pause: about 1 MB/s, in 64 KiB of buffer.
    Slowly,
}

#[derive(Debug, Default)]
struct Seen {
    /// What was read in each session, by the order of their beginning.
    sessions: Vec<Vec<u8>>,
    closed: usize,
}

#[derive(Clone, Debug)]
pub(super) struct SyslogPeer {
    pub(super) port: u16,
    seen: Arc<Mutex<Seen>>,
    changed: Arc<Notify>,
}

impl SyslogPeer {
    /// The n-th session is treated in the n-th manner, those after the last are read.
    pub(super) fn start(manners: impl IntoIterator<Item = Manner>) -> Self {
        Self::serve(manners, None)
    }

    pub(super) fn start_tls(config: Arc<ServerConfig>, manners: impl IntoIterator<Item = Manner>) -> Self {
        Self::serve(manners, Some(config))
    }

    fn serve(manners: impl IntoIterator<Item = Manner>, tls: Option<Arc<ServerConfig>>) -> Self {
        let mut manners: Vec<Manner> = manners.into_iter().collect();
        manners.reverse();
        let socket = TcpSocket::new_v4().expect("a socket");
        if matches!(manners.last(), Some(Manner::Slowly)) {
            // Inherited by the sessions; the kernel doubles it for its own use.
            socket.set_recv_buffer_size(32 * 1024).expect("a small buffer");
        }
        socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
        let listener: TcpListener = socket.listen(16).expect("a listener");
        let port = listener.local_addr().expect("an address").port();
        let peer = Self { port, seen: Arc::default(), changed: Arc::default() };
        let accepting = peer.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let session = {
                    let mut seen = accepting.seen();
                    seen.sessions.push(Vec::new());
                    seen.sessions.len() - 1
                };
                let manner = manners.pop().unwrap_or(Manner::Read);
                let (peer, tls) = (accepting.clone(), tls.clone());
                tokio::spawn(async move {
                    peer.receive(stream, session, manner, tls).await;
                    peer.seen().closed += 1;
                    peer.changed.notify_waiters();
                });
            }
        });
        peer
    }

    async fn receive(&self, stream: TcpStream, session: usize, manner: Manner, tls: Option<Arc<ServerConfig>>) {
        if let Manner::DieUnread(bytes) = manner {
            return die_unread(stream, bytes).await;
        }
        match tls {
            None => self.read(stream, session, manner).await,
            Some(config) => {
                if let Ok(mut stream) = TlsAcceptor::from(config).accept(stream).await {
                    self.read(&mut stream, session, manner).await;
                    let _ = stream.shutdown().await;
                }
            }
        }
    }

    async fn read(&self, mut stream: impl AsyncRead + Unpin, session: usize, manner: Manner) {
        let mut buffer = vec![0; 64 * 1024];
        let mut read = 0;
        loop {
            let room = match manner {
                Manner::ReadThenClose(bytes) if bytes == read => return,
                Manner::ReadThenClose(bytes) => (bytes - read).min(buffer.len()),
                _ => buffer.len(),
            };
            let Ok(count @ 1..) = stream.read(&mut buffer[..room]).await else { return };
            read += count;
            self.seen().sessions[session].extend_from_slice(&buffer[..count]);
            self.changed.notify_waiters();
            if matches!(manner, Manner::Slowly) {
                // Not a wait for anything: the slowness itself.
                tokio::time::sleep(Duration::from_micros(count as u64)).await;
            }
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("no panic in a peer")
    }

    pub(super) fn sessions(&self) -> Vec<Vec<u8>> {
        self.seen().sessions.clone()
    }

    /// Waits until session `index` has read at least `bytes`.
    pub(super) async fn until_read(&self, index: usize, bytes: usize) {
        self.until(|seen| seen.sessions.get(index).is_some_and(|read| read.len() >= bytes)).await;
    }

    pub(super) async fn until_closed(&self, count: usize) {
        self.until(|seen| seen.closed >= count).await;
    }

    async fn until(&self, holds: impl Fn(&Seen) -> bool) {
        let wait = async {
            loop {
                let changed = self.changed.notified();
                if holds(&self.seen()) {
                    return;
                }
                changed.await;
            }
        };
        let lengths = || self.seen().sessions.iter().map(Vec::len).collect::<Vec<_>>();
        assert!(tokio::time::timeout(super::DEADLINE, wait).await.is_ok(), "the peer never saw it: {:?}", lengths());
    }
}

/// Waits until `bytes` lie in the receive buffer, acknowledged by TCP and read by nobody, then closes: a reset.
async fn die_unread(stream: TcpStream, bytes: usize) {
    let mut buffer = vec![0; bytes];
    while stream.peek(&mut buffer).await.is_ok_and(|waiting| waiting < bytes) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // Long enough for the sender to see them acknowledged, too short for them to settle.
    tokio::time::sleep(SYSLOG_SETTLE / 4).await;
}
