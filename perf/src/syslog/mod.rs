//! A syslog receiver over TCP or TLS that judges what it gets, reads as slowly as told, and dies on command.
//!
//! Plain syslog has no acknowledgement, so what a sender may rely on is only what a receiver has read. This one makes
//! the difference visible: a read rate and a small receive buffer leave megabytes in the kernels of both sides, and
//! `reset` or `down` then destroys them. Messages are parsed strictly; what breaks the grammar is counted and kept.

mod framing;
mod parse;
mod store;
#[cfg(test)]
mod tests;

use std::{
    io,
    net::SocketAddr,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use self::store::Store;
pub use self::{
    framing::{Broken, Deframer, Framing},
    parse::{Element, Message, parse},
    store::{Counters, Malformed},
};
use crate::{
    net::{Receiver, ServerTls, Session, Watched},
    verify::{Differing, Marker},
};

/// Bytes taken from a session at once.
const READ_BYTES: usize = 64 * 1024;
/// The read rate of one who reads as fast as it comes.
const UNLIMITED: u64 = u64::MAX;

/// How a sink is set up.
#[derive(Clone)]
pub struct SyslogOptions {
    /// Port 0 picks a free one.
    pub bind: SocketAddr,
    pub tls: Option<ServerTls>,
    pub framing: Framing,
    /// Bytes per second each session is read at, at most.
    pub read_rate: Option<u64>,
    /// SO_RCVBUF in bytes.
    pub recv_buffer: Option<u32>,
    /// Messages kept for inspection, the first ones.
    pub keep: usize,
    /// Numbers in the messages are followed.
    pub verify: Option<Marker>,
}

impl Default for SyslogOptions {
    /// A free port on loopback, plain TCP, octet counting, as fast as it comes, every message kept.
    fn default() -> Self {
        Self {
            bind: SocketAddr::from(([127, 0, 0, 1], 0)),
            tls: None,
            framing: Framing::default(),
            read_rate: None,
            recv_buffer: None,
            keep: usize::MAX,
            verify: None,
        }
    }
}

impl SyslogOptions {
    /// For runs of millions of lines: numbers behind `marker` are verified, only the first ten messages kept.
    pub fn verifying(marker: impl Into<String>) -> Self {
        Self { keep: 10, verify: Some(Marker::new(marker)), ..Self::default() }
    }
}

/// A running receiver; dropping it stops it.
pub struct SyslogSink {
    receiver: Receiver,
    shared: Arc<Watched<Store>>,
    read_rate: Arc<AtomicU64>,
}

impl SyslogSink {
    /// # Errors
    /// The address cannot be bound, or the TLS material does not fit.
    pub fn start(options: SyslogOptions) -> io::Result<Self> {
        let acceptor = options.tls.as_ref().map(ServerTls::acceptor).transpose()?;
        let shared = Arc::new(Watched::new(Store::new(options.keep, options.verify)));
        let state = Arc::clone(&shared);
        let read_rate = Arc::new(AtomicU64::new(options.read_rate.unwrap_or(UNLIMITED)));
        let (framing, rate) = (options.framing, Arc::clone(&read_rate));
        let receiver = Receiver::start("syslog-sink", options.bind, options.recv_buffer, move |session| {
            let pace = Pace { framing, read_rate: Arc::clone(&rate) };
            serve(session, acceptor.clone(), pace, Arc::clone(&state))
        })?;
        Ok(Self { receiver, shared, read_rate })
    }

    /// Bytes per second each session is read at from now on, at most; `None` = as fast as it comes.
    pub fn set_read_rate(&self, rate: Option<u64>) {
        self.read_rate.store(rate.unwrap_or(UNLIMITED), Ordering::Relaxed);
    }

    pub fn addr(&self) -> SocketAddr {
        self.receiver.addr()
    }

    /// Ends the receiver; what it got can still be looked at.
    pub fn stop(&mut self) {
        self.receiver.stop();
    }

    /// Kills every session by TCP reset; bytes not yet read are gone. The port stays open.
    pub fn reset(&self) {
        self.receiver.reset();
    }

    /// Closes the port and kills every session; what was received stays.
    pub fn down(&self) {
        self.receiver.down();
    }

    /// Opens the same port again, which stayed reserved.
    ///
    /// # Errors
    /// The socket cannot be had.
    pub fn up(&self) -> io::Result<()> {
        self.receiver.up()
    }

    pub fn counters(&self) -> Counters {
        self.shared.read(|store| store.counters.clone())
    }

    /// The messages kept, in the order of arrival.
    pub fn messages(&self) -> Vec<Message> {
        self.shared.read(|store| store.kept.clone())
    }

    /// The first messages that broke the grammar, and why.
    pub fn malformed(&self) -> Vec<Malformed> {
        self.shared.read(|store| store.malformed.clone())
    }

    /// Gaps in the numbers seen, lowest first, at most a hundred.
    pub fn missing(&self, range: Range<u64>) -> Vec<Range<u64>> {
        self.shared.read(|store| store.sequence.missing(range))
    }

    /// As `missing`, of the numbers that `expected` names.
    pub fn missing_where(&self, range: Range<u64>, expected: impl Fn(u64) -> bool) -> Vec<Range<u64>> {
        self.shared.read(|store| store.sequence.missing_where(range, expected))
    }

    /// The first resends that were not the same as before; must be empty.
    pub fn differing(&self) -> Vec<Differing> {
        self.shared.read(|store| store.sequence.differing().to_vec())
    }

    /// Waits until `done` holds; false when it does not within `patience`.
    #[must_use]
    pub fn wait(&self, patience: Duration, mut done: impl FnMut(&Counters) -> bool) -> bool {
        self.shared.wait(patience, |store| done(&store.counters))
    }
}

struct Pace {
    framing: Framing,
    read_rate: Arc<AtomicU64>,
}

impl Pace {
    fn rate(&self) -> Option<u64> {
        Some(self.read_rate.load(Ordering::Relaxed)).filter(|rate| *rate != UNLIMITED)
    }

    /// A slow reader takes small bites, 20 a second, so that the buffers before it stay full.
    fn bite(&self) -> usize {
        let of_rate = |rate: u64| usize::try_from(rate / 20).unwrap_or(READ_BYTES).clamp(1, READ_BYTES);
        self.rate().map_or(READ_BYTES, of_rate)
    }
}

async fn serve(session: Session, acceptor: Option<TlsAcceptor>, pace: Pace, shared: Arc<Watched<Store>>) {
    shared.update(|store| store.counters.sessions += 1);
    match acceptor {
        None => receive(session, pace, &shared).await,
        Some(acceptor) => match acceptor.accept(session).await {
            Ok(mut stream) => {
                receive(&mut stream, pace, &shared).await;
                drop(stream.shutdown().await);
            }
            Err(_) => shared.update(|store| store.counters.handshakes_failed += 1),
        },
    }
}

async fn receive(mut stream: impl AsyncRead + Unpin, pace: Pace, shared: &Watched<Store>) {
    let mut deframer = Deframer::new(pace.framing);
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let bite = pace.bite();
        let bytes = match stream.read(&mut buffer[..bite]).await {
            Ok(0) | Err(_) => break,
            Ok(bytes) => bytes,
        };
        let framed = shared.update(|store| {
            store.counters.bytes += bytes as u64;
            let framed = deframer.feed(&buffer[..bytes], |message| store.take(message));
            if let Err(Broken(why)) = &framed {
                store.broken(why);
            }
            framed
        });
        if framed.is_err() {
            return;
        }
        if let Some(rate) = pace.rate() {
            tokio::time::sleep(Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64)).await;
        }
    }
    if deframer.unfinished() > 0 {
        shared.update(|store| store.counters.cut_short += 1);
    }
}
