//! The API's doors: TLS on a TCP port, and plain HTTP on a unix socket, each connection within bounds.
//!
//! Nobody who connects may hold more than a share: connections are counted in all and by address, handshake and headers
//! have deadlines, and a connection without a request is closed after a while, whatever version of HTTP it speaks.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener},
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::Router;
use hyper::{Request, body::Incoming, service::Service};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::UnixListener,
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::Instant,
};
use tokio_rustls::TlsAcceptor;

use super::{identity::Identity, socket::Socket};
use crate::{limits, os::peer::Credentials};

/// A pause after accept fails, so that a lack of descriptors does not become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Who is at the other end; an extension of every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    Address(SocketAddr),
    /// A process of this machine, at the unix socket.
    Local(Credentials),
}

/// How long and how many; tests take smaller ones.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub connections: usize,
    pub per_address: usize,
    pub handshake: Duration,
    pub header: Duration,
    pub idle: Duration,
    pub close: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: limits::API_CONNECTIONS_MAX,
            per_address: limits::API_CONNECTIONS_PER_ADDRESS_MAX,
            handshake: limits::API_HANDSHAKE_TIMEOUT,
            header: limits::API_HEADER_TIMEOUT,
            idle: limits::API_IDLE_TIMEOUT,
            close: limits::API_CLOSE_TIMEOUT,
        }
    }
}

/// What requests come in by.
pub struct Doors {
    pub listener: TcpListener,
    pub identity: Arc<Identity>,
    pub socket: Option<Socket>,
    pub bounds: Bounds,
}

/// Serves until `stop` turns true, then waits a little for requests under way.
///
/// # Errors
/// A socket cannot be given to the runtime.
pub async fn serve(doors: Doors, router: Router, stop: watch::Receiver<bool>) -> std::io::Result<()> {
    let Doors { listener, identity, socket, bounds } = doors;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let rooms = [Room::new(bounds.connections), Room::new(limits::API_SOCKET_CONNECTIONS_MAX)];
    let host = Host { router, bounds, stop };
    let local = async {
        if let Some(socket) = &socket {
            accept_local(&socket.listener()?, socket, &host, &rooms[1]).await;
        }
        std::io::Result::Ok(())
    };
    let remote = accept_remote(listener, &identity, &host, &rooms[0]);
    let ((), local) = tokio::join!(remote, local);
    drop(socket);
    // What is not done by then is cut off with the runtime.
    let emptied = async {
        for room in &rooms {
            room.emptied().await;
        }
    };
    let _ = tokio::time::timeout(limits::API_DRAIN_DEADLINE, emptied).await;
    local
}

/// What all connections share.
#[derive(Clone)]
struct Host {
    router: Router,
    bounds: Bounds,
    stop: watch::Receiver<bool>,
}

/// Room for so many connections. With none left they wait in the kernel's backlog.
struct Room {
    seats: Arc<Semaphore>,
    most: usize,
}

impl Room {
    fn new(most: usize) -> Self {
        Self { seats: Arc::new(Semaphore::new(most)), most }
    }

    /// A seat, or `None` once it is time to stop.
    async fn seat(&self, stop: &mut watch::Receiver<bool>) -> Option<OwnedSemaphorePermit> {
        tokio::select! {
            seat = Arc::clone(&self.seats).acquire_owned() => seat.ok(),
            _ = stop.wait_for(|stop| *stop) => None,
        }
    }

    async fn emptied(&self) {
        // The semaphore is never closed, so this is had as soon as all seats are back.
        let _ = self.seats.acquire_many(u32::try_from(self.most).unwrap_or(u32::MAX)).await;
    }
}

async fn accept_remote(listener: tokio::net::TcpListener, identity: &Arc<Identity>, host: &Host, room: &Room) {
    let crowd = Arc::new(Crowd::default());
    let mut stop = host.stop.clone();
    while let Some(seat) = room.seat(&mut stop).await {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        match accepted {
            Ok((stream, address)) => {
                // Closed without a word: to answer, a handshake would have to be paid for.
                let Some(place) = crowd.enter(address.ip(), host.bounds.per_address) else { continue };
                let acceptor = TlsAcceptor::from(Arc::clone(&identity.current().config));
                let host = host.clone();
                tokio::spawn(async move {
                    // A failed handshake is the peer's affair, and too cheap to cause to be logged.
                    let handshake = tokio::time::timeout(host.bounds.handshake, acceptor.accept(stream));
                    if let Ok(Ok(stream)) = handshake.await {
                        converse(stream, Peer::Address(address), host).await;
                    }
                    drop((place, seat));
                });
            }
            Err(error) => rest_after(&error).await,
        }
    }
}

async fn accept_local(listener: &UnixListener, socket: &Socket, host: &Host, room: &Room) {
    let mut stop = host.stop.clone();
    while let Some(seat) = room.seat(&mut stop).await {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        match accepted.and_then(|(stream, _)| Ok((socket.admits(&stream)?, stream))) {
            Ok((Some(peer), stream)) => {
                let host = host.clone();
                tokio::spawn(async move {
                    converse(stream, Peer::Local(peer), host).await;
                    drop(seat);
                });
            }
            Ok((None, _)) => {}
            Err(error) => rest_after(&error).await,
        }
    }
}

async fn rest_after(error: &std::io::Error) {
    tracing::debug!("the API could not accept: {error}");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

/// How many connections each address has.
#[derive(Default)]
struct Crowd {
    present: Mutex<HashMap<IpAddr, usize>>,
}

impl Crowd {
    fn enter(self: &Arc<Self>, address: IpAddr, most: usize) -> Option<Place> {
        let address = network(address);
        let mut present = self.present();
        let count = present.entry(address).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Place { crowd: Arc::clone(self), address })
    }

    fn present(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection of an address, until dropped.
struct Place {
    crowd: Arc<Crowd>,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut present = self.crowd.present();
        if let Some(count) = present.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                present.remove(&self.address);
            }
        }
    }
}

/// What counts as one client: an IPv4 address, or the /64 that one IPv6 host can choose from freely.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

/// Answers requests on one connection until it ends, is idle for too long, or the API stops.
async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, peer: Peer, host: Host) {
    let Host { router, bounds, mut stop } = host;
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.header)
        .max_headers(limits::API_HEADERS_MAX)
        .max_buf_size(limits::API_HEADERS_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits::API_STREAMS_MAX)
        .max_header_list_size(u32::try_from(limits::API_HEADERS_BYTES_MAX).unwrap_or(u32::MAX));
    let activity = Arc::new(Activity::default());
    let service = Attended { router: TowerToHyperService::new(router), peer, activity: Arc::clone(&activity) };
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut closing = false;
    let mut deadline = Instant::now() + bounds.idle;
    loop {
        tokio::select! {
            // A broken connection is the peer's affair.
            _ = connection.as_mut() => return,
            _ = stop.wait_for(|stop| *stop), if !closing => {}
            () = tokio::time::sleep_until(deadline) => {
                // Handlers have a deadline of their own, so nobody is busy forever.
                if activity.any() {
                    deadline = Instant::now() + if closing { bounds.close } else { bounds.idle };
                    continue;
                }
                if closing {
                    return;
                }
            }
        }
        connection.as_mut().graceful_shutdown();
        closing = true;
        deadline = Instant::now() + bounds.close;
    }
}

/// Whether a connection is used.
#[derive(Default)]
struct Activity {
    under_way: AtomicUsize,
    begun: AtomicUsize,
    /// `begun` as of the last question.
    known: AtomicUsize,
}

impl Activity {
    /// Whether a request is under way or was begun since this was last asked.
    fn any(&self) -> bool {
        let begun = self.begun.load(Ordering::Relaxed);
        self.under_way.load(Ordering::Relaxed) > 0 || self.known.swap(begun, Ordering::Relaxed) != begun
    }
}

/// A request under way, until dropped: also when its connection breaks.
struct UnderWay(Arc<Activity>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The router, told who asks.
#[derive(Clone)]
struct Attended {
    router: TowerToHyperService<Router>,
    peer: Peer,
    activity: Arc<Activity>,
}

impl Service<Request<Incoming>> for Attended {
    type Response = axum::response::Response;
    type Error = std::convert::Infallible;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.peer);
        self.activity.begun.fetch_add(1, Ordering::Relaxed);
        self.activity.under_way.fetch_add(1, Ordering::Relaxed);
        let under_way = UnderWay(Arc::clone(&self.activity));
        let answer = self.router.call(request);
        Box::pin(async move {
            let answer = answer.await;
            drop(under_way);
            answer
        })
    }
}

#[cfg(test)]
mod tests;
