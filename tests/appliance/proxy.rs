//! A wire between a node and a receiver that can be cut in all the ways wires are.

use std::{
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

#[derive(Default)]
struct State {
    /// Both ends of each session.
    sessions: Mutex<Vec<(TcpStream, TcpStream)>>,
    /// Nothing is carried, and nobody is told.
    swallows: AtomicBool,
}

impl Proxy {
    pub fn start(receiver: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = listener.local_addr().expect("an address");
        let state = Arc::<State>::default();
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for near in listener.incoming() {
                let (Ok(near), Ok(far)) = (near, TcpStream::connect(receiver)) else { continue };
                let clone = |stream: &TcpStream| stream.try_clone().expect("a descriptor");
                shared.sessions.lock().expect("no panic").push((clone(&near), clone(&far)));
                let (forth, back) = ((clone(&near), clone(&far)), (far, near));
                for (from, to) in [forth, back] {
                    let state = Arc::clone(&shared);
                    thread::spawn(move || carry(from, to, &state));
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

    fn each(&self, cut: impl Fn(&TcpStream, &TcpStream)) {
        self.state.sessions.lock().expect("no panic").iter().for_each(|(near, far)| cut(near, far));
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, state: &State) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        while state.swallows.load(Ordering::Relaxed) {
            thread::sleep(LOOK);
        }
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
