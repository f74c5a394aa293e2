//! Connections: names resolved anew, all addresses tried, TLS on top where it is wanted, every failure in words.
//!
//! The socket counts the bytes it takes. With TLS those are ciphertext, which is what the kernel's send queue counts
//! too: only so can a batch be followed to the peer's TCP.

use std::{
    error::Error,
    io,
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, lookup_host},
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    fault::Fault,
    limits::{ADDRESS_TIMEOUT_MIN, ADDRESSES_MAX, CONNECT_TIMEOUT},
    plan::TlsBundle,
    target::tls,
};

/// Where to connect, and whom to trust there. Made once per plan.
#[derive(Debug)]
pub(super) struct Endpoint {
    host: String,
    port: u16,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

/// What TLS is to be, before it is compiled.
#[derive(Debug)]
pub(super) struct Trust<'a> {
    pub(super) bundle: Option<Arc<TlsBundle>>,
    pub(super) permitted_peer: Option<[u8; 32]>,
    pub(super) server_name: &'a str,
    /// Protocol offered by ALPN; empty offers none.
    pub(super) alpn: &'static [u8],
}

impl Endpoint {
    /// # Errors
    /// A bundle or server name that TLS cannot use.
    pub(super) async fn new(host: &str, port: u16, trust: Option<Trust<'_>>) -> Result<Self, Fault> {
        let tls = match trust {
            None => None,
            Some(trust) => {
                let name = tls::server_name(trust.server_name)?;
                let (bundle, permitted_peer) = (trust.bundle, trust.permitted_peer);
                // Reads the system's certificates from files when there is no bundle.
                let compiled = tokio::task::spawn_blocking(move || {
                    tls::client_config(bundle.as_deref(), permitted_peer, system_roots)
                });
                let mut config = compiled.await.map_err(|died| Fault::invalid("tls", died.to_string()))??;
                if !trust.alpn.is_empty() {
                    config.alpn_protocols = vec![trust.alpn.to_vec()];
                }
                Some((Arc::new(config), name))
            }
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { host, port, tls })
    }

    /// Connects within `limits::CONNECT_TIMEOUT`, TLS handshake not included, which may take as long again.
    ///
    /// # Errors
    /// Why not, in words.
    pub(super) async fn connect(&self) -> Result<Wire, String> {
        let place = format!("{}:{}", self.host, self.port);
        let stream = self.reach().await.map_err(|reason| format!("cannot connect to {place}: {reason}"))?;
        let _ = stream.set_nodelay(true);
        let socket = Socket { stream, taken: 0 };
        let Some((config, name)) = &self.tls else { return Ok(Wire::Plain(socket)) };
        let handshake = TlsConnector::from(Arc::clone(config)).connect(name.clone(), socket);
        match timeout(CONNECT_TIMEOUT, handshake).await {
            Ok(Ok(stream)) => Ok(Wire::Tls(Box::new(stream))),
            Ok(Err(error)) => Err(format!("{place}: {}", words(&error))),
            Err(_) => Err(format!("{place}: TLS: no handshake within {CONNECT_TIMEOUT:?}")),
        }
    }

    async fn reach(&self) -> Result<TcpStream, String> {
        let deadline = Instant::now() + CONNECT_TIMEOUT;
        let addresses: Vec<SocketAddr> = match timeout_at(deadline, lookup_host((self.host.as_str(), self.port))).await
        {
            Ok(Ok(addresses)) => addresses.take(ADDRESSES_MAX).collect(),
            Ok(Err(error)) => return Err(format!("the name does not resolve: {}", plain(&error))),
            Err(_) => return Err(format!("the name did not resolve within {CONNECT_TIMEOUT:?}")),
        };
        let mut reasons: Vec<String> = Vec::new();
        for (index, address) in addresses.iter().enumerate() {
            let left = deadline.saturating_duration_since(Instant::now());
            let share = left / u32::try_from(addresses.len() - index).unwrap_or(1);
            let reason = match timeout(share.max(ADDRESS_TIMEOUT_MIN), TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => plain(&error),
                Err(_) => "no answer".to_owned(),
            };
            reasons.push(if addresses.len() > 1 { format!("{}: {reason}", address.ip()) } else { reason });
        }
        if reasons.is_empty() {
            return Err("the name has no address".to_owned());
        }
        Err(reasons.join(", "))
    }
}

/// The certificates this system trusts; those that do not parse are left away, as other programs do.
fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    roots
}

/// An I/O error in words.
pub(super) fn plain(error: &io::Error) -> String {
    tls::explain_io(error).unwrap_or_else(|| Fault::io("", error).cause().to_owned())
}

/// The cause at the bottom of an error, in words: the I/O or TLS error below whatever a library wrapped around it.
pub(super) fn words(error: &(dyn Error + 'static)) -> String {
    let mut lowest = error;
    loop {
        if let Some(io) = lowest.downcast_ref::<io::Error>() {
            return plain(io);
        }
        match lowest.source() {
            Some(source) => lowest = source,
            None => return if std::ptr::eq(lowest, error) { error.to_string() } else { format!("{error}: {lowest}") },
        }
    }
}

/// A TCP socket that counts the bytes it took.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    taken: u64,
}

impl Socket {
    /// Bytes taken for sending since the connection was made.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let count = ready!(Pin::new(&mut this.stream).poll_write(cx, buf))?;
        this.taken += count as u64;
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let count = ready!(Pin::new(&mut this.stream).poll_write_vectored(cx, bufs))?;
        this.taken += count as u64;
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// A connection, in the clear or not.
#[derive(Debug)]
pub(super) enum Wire {
    Plain(Socket),
    Tls(Box<TlsStream<Socket>>),
}

impl Wire {
    pub(super) fn socket(&self) -> &Socket {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }
}

/// Runs one expression on whichever stream is inside.
macro_rules! inside {
    ($wire:expr, $stream:ident => $call:expr) => {
        match $wire.get_mut() {
            Wire::Plain(socket) => {
                let $stream = Pin::new(socket);
                $call
            }
            Wire::Tls(tls) => {
                let $stream = Pin::new(tls.as_mut());
                $call
            }
        }
    };
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        inside!(self, stream => stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        inside!(self, stream => stream.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        inside!(self, stream => stream.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        inside!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        inside!(self, stream => stream.poll_shutdown(cx))
    }
}
