//! A wire to a receiver that can be cut in all the ways wires are, for everybody or for one of those who talk.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

/// How often a wire that swallows looks whether it still should.
const LOOK: Duration = Duration::from_millis(20);

/// Carries bytes both ways until told otherwise.
pub struct Proxy {
    addr: SocketAddr,
    state: Arc<State>,
}

struct State {
    /// Both ends of each session.
    sessions: Mutex<Vec<(TcpStream, TcpStream)>>,
    /// Nothing is carried, and nobody is told.
    swallows: AtomicBool,
    /// As that, for the sessions of these.
    cut_off: Mutex<BTreeSet<u32>>,
    /// Who began a session, by its port.
    who: Box<dyn Fn(u16) -> u32 + Send + Sync>,
}

impl Proxy {
    pub fn start(receiver: SocketAddr) -> Self {
        Self::knowing(receiver, |_| 0)
    }

    /// With something that tells by its port who begins a session.
    pub fn knowing(receiver: SocketAddr, who: impl Fn(u16) -> u32 + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = listener.local_addr().expect("an address");
        let state = Arc::new(State {
            sessions: Mutex::default(),
            swallows: AtomicBool::new(false),
            cut_off: Mutex::default(),
            who: Box::new(who),
        });
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for near in listener.incoming() {
                let (Ok(near), Ok(far)) = (near, TcpStream::connect(receiver)) else { continue };
                let who = near.peer_addr().map_or(0, |peer| (shared.who)(peer.port()));
                let clone = |stream: &TcpStream| stream.try_clone().expect("a descriptor");
                shared.sessions.lock().expect("no panic").push((clone(&near), clone(&far)));
                let (forth, back) = ((clone(&near), clone(&far)), (far, near));
                for (from, to) in [forth, back] {
                    let state = Arc::clone(&shared);
                    thread::spawn(move || carry(from, to, &state, who));
                }
            }
        });
        Self { addr, state }
    }

    pub fn port(&self) -> u16 {
        self.addr.port()
    }

    /// Sessions carried so far.
    pub fn sessions(&self) -> usize {
        self.state.sessions.lock().expect("no panic").len()
    }

    /// The node is told that the receiver will say nothing more; it may go on talking.
    pub fn half_close(&self) {
        // Sessions of before are gone already.
        self.each(|near, _| drop(near.shutdown(Shutdown::Write)));
    }

    /// Both ends get a reset, and what is under way is lost.
    pub fn reset(&self) {
        self.each(|near, far| {
            for stream in [near, far] {
                let _ = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
                let _ = stream.shutdown(Shutdown::Both);
            }
        });
    }

    /// From now on nothing is carried, as if a cable were pulled; with `false` it is plugged in again.
    pub fn swallow(&self, swallows: bool) {
        self.state.swallows.store(swallows, Ordering::Relaxed);
    }

    /// As `swallow`, for what one of those who talk here has begun and begins.
    pub fn cut_off(&self, who: u32, is_cut: bool) {
        let mut cut_off = self.state.cut_off.lock().expect("no panic");
        match is_cut {
            true => cut_off.insert(who),
            false => cut_off.remove(&who),
        };
    }

    fn each(&self, cut: impl Fn(&TcpStream, &TcpStream)) {
        self.state.sessions.lock().expect("no panic").iter().for_each(|(near, far)| cut(near, far));
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, state: &State, who: u32) {
    let mut buffer = vec![0; 64 * 1024];
    let is_cut =
        || state.swallows.load(Ordering::Relaxed) || state.cut_off.lock().is_ok_and(|cut_off| cut_off.contains(&who));
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        while is_cut() {
            thread::sleep(LOOK);
        }
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
