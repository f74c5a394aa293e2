//! The receiving end's thread: a listener that can be taken down, brought back on its port, and made to kill sessions.
//!
//! Both sinks run on it. A receiver that only ever behaves well proves little, so the rude endings are part of it:
//! `reset` ends every session with a TCP RST, `down` also closes the port, `up` opens the same port again.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc as sync_mpsc,
    },
    task::{Context, Poll},
    thread,
    time::{Duration, Instant},
};

use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::mpsc,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

/// Connections waiting to be accepted.
const BACKLOG: u32 = 128;

/// What a receiver needs to speak TLS; all PEM.
#[derive(Clone)]
pub struct ServerTls {
    pub chain_pem: String,
    pub key_pem: String,
    /// With a CA here, clients must show a certificate it signed (mTLS).
    pub client_ca_pem: Option<String>,
    /// Protocols offered by ALPN, best first; empty offers none.
    pub alpn: Vec<Vec<u8>>,
}

impl ServerTls {
    /// Builds the acceptor (TLS 1.2 and 1.3).
    ///
    /// # Errors
    /// A PEM that does not parse, or a key that does not fit the certificate.
    pub fn acceptor(&self) -> io::Result<TlsAcceptor> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(invalid)?;
        let builder = match &self.client_ca_pem {
            None => builder.with_no_client_auth(),
            Some(ca) => {
                let mut roots = RootCertStore::empty();
                for der in certificates(ca)? {
                    roots.add(der).map_err(invalid)?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(verifier.map_err(invalid)?)
            }
        };
        let key = PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes()).map_err(invalid)?;
        let mut config = builder.with_single_cert(certificates(&self.chain_pem)?, key).map_err(invalid)?;
        config.alpn_protocols.clone_from(&self.alpn);
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

fn certificates(pem: &str) -> io::Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().map_err(invalid)
}

fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, error)
}

/// A listener and its sessions on a thread of their own; dropping it stops the thread.
pub struct Receiver {
    addr: SocketAddr,
    commands: mpsc::UnboundedSender<(Command, sync_mpsc::Sender<io::Result<()>>)>,
    thread: Option<thread::JoinHandle<()>>,
}

#[derive(Clone, Copy)]
enum Command {
    Reset,
    Down,
    Up,
    Stop,
}

impl Receiver {
    /// Binds `bind` and serves every connection with `serve`. `recv_buffer` sets SO_RCVBUF in bytes (the kernel
    /// doubles it) before listening, so that accepted sockets inherit it.
    ///
    /// # Errors
    /// The address cannot be bound, or no thread can be had.
    pub fn start<F, S>(name: &str, bind: SocketAddr, recv_buffer: Option<u32>, serve: S) -> io::Result<Self>
    where
        S: Fn(Session) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let (commands, inbox) = mpsc::unbounded_channel();
        let (tell, told) = sync_mpsc::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            runtime.block_on(async move {
                // A socket that is bound and never listens keeps the port for this receiver while it is down.
                let reserved = bound(bind, recv_buffer).and_then(|socket| Ok((socket.local_addr()?, socket)));
                let opened = reserved.and_then(|(addr, socket)| Ok((listen(addr, recv_buffer)?, addr, socket)));
                match opened {
                    Err(error) => drop(tell.send(Err(error))),
                    Ok((listener, addr, _reserved)) => {
                        drop(tell.send(Ok(addr)));
                        run(listener, addr, recv_buffer, inbox, serve).await;
                    }
                }
            });
        })?;
        let addr = told.recv().map_err(|_| io::Error::other("the receiver's thread ended at once"))??;
        Ok(Self { addr, commands, thread: Some(thread) })
    }

    /// Where it listens; stays the same over `down` and `up`.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Ends every session with a TCP reset; the listener stays.
    pub fn reset(&self) {
        drop(self.order(Command::Reset));
    }

    /// Closes the listener and resets every session: the peer has crashed.
    pub fn down(&self) {
        drop(self.order(Command::Down));
    }

    /// Listens again on the same port, which stayed reserved; nothing happens when it already does.
    ///
    /// # Errors
    /// The socket cannot be had.
    pub fn up(&self) -> io::Result<()> {
        self.order(Command::Up)
    }

    /// Ends the thread; every session ends with it.
    pub fn stop(&mut self) {
        drop(self.order(Command::Stop));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }

    fn order(&self, command: Command) -> io::Result<()> {
        let gone = || io::Error::other("the receiver has stopped");
        let (tell, told) = sync_mpsc::channel();
        self.commands.send((command, tell)).map_err(|_| gone())?;
        told.recv().map_err(|_| gone())?
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop();
    }
}

fn listen(addr: SocketAddr, recv_buffer: Option<u32>) -> io::Result<TcpListener> {
    bound(addr, recv_buffer)?.listen(BACKLOG)
}

fn bound(addr: SocketAddr, recv_buffer: Option<u32>) -> io::Result<TcpSocket> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(bytes) = recv_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    // A port the kernel chooses must be nobody else's: one that allows others beside it could be put beside another.
    socket.set_reuseaddr(addr.port() != 0)?;
    socket.bind(addr)?;
    socket.set_reuseaddr(true)?;
    Ok(socket)
}

async fn run<F, S>(
    listener: TcpListener,
    addr: SocketAddr,
    recv_buffer: Option<u32>,
    mut inbox: mpsc::UnboundedReceiver<(Command, sync_mpsc::Sender<io::Result<()>>)>,
    serve: S,
) where
    S: Fn(Session) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let mut listener = Some(listener);
    let mut sessions = JoinSet::new();
    let mut rude = Arc::new(AtomicBool::new(false));
    loop {
        tokio::select! {
            biased;
            order = inbox.recv() => {
                let Some((command, done)) = order else { break };
                let mut outcome = Ok(());
                match command {
                    Command::Stop => {
                        sessions.shutdown().await;
                        drop(done.send(Ok(())));
                        break;
                    }
                    Command::Up if listener.is_none() => match listen(addr, recv_buffer) {
                        Ok(bound) => listener = Some(bound),
                        Err(error) => outcome = Err(error),
                    },
                    Command::Up => {}
                    Command::Reset | Command::Down => {
                        if matches!(command, Command::Down) {
                            listener = None;
                        }
                        rude.store(true, Ordering::Relaxed);
                        sessions.shutdown().await;
                        rude = Arc::new(AtomicBool::new(false));
                    }
                }
                drop(done.send(outcome));
            }
            stream = accept(listener.as_ref()) => {
                sessions.spawn(serve(Session { stream, rude: Arc::clone(&rude) }));
            }
            Some(_) = sessions.join_next(), if !sessions.is_empty() => {}
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> TcpStream {
    let Some(listener) = listener else { return std::future::pending().await };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            // Out of descriptors, or the client left already: the next one may do better.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// One accepted connection. When the receiver was told to be rude, closing it sends RST instead of FIN.
pub struct Session {
    stream: TcpStream,
    rude: Arc<AtomicBool>,
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.rude.load(Ordering::Relaxed) {
            drop(self.stream.set_zero_linger());
        }
    }
}

impl AsyncRead for Session {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Session {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A value many look at and one changes, with a way to wait for what one is looking for.
pub(crate) struct Watched<T> {
    value: Mutex<T>,
    changed: Condvar,
}

impl<T> Watched<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { value: Mutex::new(value), changed: Condvar::new() }
    }

    pub(crate) fn read<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&self.lock())
    }

    pub(crate) fn update<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let answer = change(&mut self.lock());
        self.changed.notify_all();
        answer
    }

    /// Waits until `done` says so; false after `patience`.
    pub(crate) fn wait(&self, patience: Duration, mut done: impl FnMut(&T) -> bool) -> bool {
        let deadline = Instant::now() + patience;
        let mut value = self.lock();
        loop {
            if done(&value) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            value = self.changed.wait_timeout(value, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, T> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
