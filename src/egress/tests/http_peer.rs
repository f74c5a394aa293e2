//! A receiver of pushes that does what a script says: answers, forgets to answer, closes.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    sync::Notify,
};
use tokio_rustls::TlsAcceptor;

/// What the peer does with one push.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    /// Status, a further header line or nothing, body.
    Status(u16, &'static str, &'static str),
    /// Answers 204 and closes the connection without having announced it.
    AckAndClose,
    /// Keeps the push and closes the connection instead of answering.
    StoreAndClose,
    /// Keeps the push and never answers, until the other side gives up.
    Hang,
}

#[derive(Debug, Default)]
struct Seen {
    script: VecDeque<Reply>,
    /// Head (as text) and body of each push, as received.
    pushes: Vec<(String, Vec<u8>)>,
    connections: usize,
    closed: usize,
}

#[derive(Clone, Debug)]
pub(super) struct HttpPeer {
    pub(super) port: u16,
    seen: Arc<Mutex<Seen>>,
    changed: Arc<Notify>,
}

impl HttpPeer {
    /// Answers by `script`, then 204 for ever.
    pub(super) async fn start(script: impl IntoIterator<Item = Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        Self::serve(listener, script, None)
    }

    pub(super) async fn start_tls(config: Arc<ServerConfig>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        Self::serve(listener, [], Some(config))
    }

    pub(super) fn serve(
        listener: TcpListener,
        script: impl IntoIterator<Item = Reply>,
        tls: Option<Arc<ServerConfig>>,
    ) -> Self {
        let port = listener.local_addr().expect("an address").port();
        let seen = Arc::new(Mutex::new(Seen { script: script.into_iter().collect(), ..Seen::default() }));
        let peer = Self { port, seen, changed: Arc::new(Notify::new()) };
        let accepting = peer.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                accepting.seen().connections += 1;
                let (peer, tls) = (accepting.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => peer.converse(stream).await,
                        Some(config) => {
                            if let Ok(stream) = TlsAcceptor::from(config).accept(stream).await {
                                peer.converse(stream).await;
                            }
                        }
                    }
                    peer.seen().closed += 1;
                    peer.changed.notify_waiters();
                });
            }
        });
        peer
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().expect("no panic in a peer")
    }

    /// Serves one connection until either side closes it.
    async fn converse(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        while let Some(push) = read_push(&mut stream).await {
            let reply = {
                let mut seen = self.seen();
                seen.pushes.push(push);
                seen.script.pop_front().unwrap_or(Reply::Status(204, "", ""))
            };
            self.changed.notify_waiters();
            let (status, header, body) = match reply {
                Reply::Status(status, header, body) => (status, header, body),
                Reply::AckAndClose => (204, "", ""),
                Reply::StoreAndClose => return,
                Reply::Hang => {
                    let _ = stream.read_to_end(&mut Vec::new()).await;
                    return;
                }
            };
            let length = if status == 204 { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
            let header = if header.is_empty() { String::new() } else { format!("{header}\r\n") };
            let answer = format!("HTTP/1.1 {status} X\r\n{header}{length}\r\n{body}");
            if stream.write_all(answer.as_bytes()).await.is_err() || stream.flush().await.is_err() {
                return;
            }
            if matches!(reply, Reply::AckAndClose) {
                return;
            }
        }
    }

    pub(super) fn bodies(&self) -> Vec<String> {
        self.seen().pushes.iter().map(|(_, body)| String::from_utf8_lossy(body).into_owned()).collect()
    }

    /// Head of the `index`-th push, in lower case.
    pub(super) fn head(&self, index: usize) -> String {
        self.seen().pushes.get(index).map(|(head, _)| head.to_lowercase()).unwrap_or_default()
    }

    pub(super) fn connections(&self) -> usize {
        self.seen().connections
    }

    pub(super) async fn until_pushed(&self, count: usize) {
        self.until(|seen| seen.pushes.len() >= count).await;
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
        assert!(tokio::time::timeout(super::DEADLINE, wait).await.is_ok(), "the peer never saw it: {:?}", self.seen());
    }
}

/// One request of RFC 9112 with a Content-Length; `None` when the connection ends.
async fn read_push(stream: &mut (impl AsyncRead + Unpin)) -> Option<(String, Vec<u8>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).expect("a head is text");
    let length = head
        .lines()
        .find_map(|line| line.to_lowercase().strip_prefix("content-length: ").map(str::to_owned))
        .expect("a Content-Length");
    let mut body = vec![0; length.parse().expect("a number")];
    stream.read_exact(&mut body).await.ok()?;
    Some((head, body))
}
