//! One suite for all backends: what code above the seam may rely on, run under each of them.
//!
//! A test takes a `Stage`: a place for files and the rings that see them. Nothing here sleeps or measures time by its
//! own clock; a wait that should not end by its timeout gets one so long that the suite would fail by it.

mod keep;
mod persist;
mod read;
mod wake;
mod watch;

use std::{fs, io::Write, marker::PhantomData, path::PathBuf, time::Duration};

use tempfile::TempDir;

use super::{Completion, Op, Poll, ReadNow, Ring, Sim, SimWorld, Token, Uring};

/// Never reached by a ring that works.
const LONG: Duration = Duration::from_secs(30);

/// Where a test of the suite plays.
trait Stage {
    type Ring: Ring;
    /// Whether `reap` sleeps in real time, so that other threads go on meanwhile.
    const REAL_TIME: bool;

    fn new() -> Self;
    fn ring(&self) -> Self::Ring;
    fn path(&self, name: &str) -> PathBuf;
    fn append(&self, name: &str, data: &[u8]);
    fn truncate(&self, name: &str, bytes: u64);
    fn rename(&self, from: &str, to: &str);
    fn remove(&self, name: &str);
    fn make_directory(&self, name: &str);
    fn content(&self, name: &str) -> Option<Vec<u8>>;
}

/// A real backend in a temporary directory.
struct OnDisk<R> {
    directory: TempDir,
    ring: PhantomData<R>,
}

/// How a real ring is made.
trait Make: Ring + Sized {
    fn make() -> std::io::Result<Self>;
}

impl Make for Uring {
    fn make() -> std::io::Result<Self> {
        Self::new()
    }
}

impl Make for Poll {
    fn make() -> std::io::Result<Self> {
        Self::new()
    }
}

impl<R: Make> Stage for OnDisk<R> {
    type Ring = R;
    const REAL_TIME: bool = true;

    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), ring: PhantomData }
    }

    fn ring(&self) -> R {
        R::make().unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn append(&self, name: &str, data: &[u8]) {
        let mut file = fs::OpenOptions::new().append(true).create(true).open(self.path(name)).unwrap();
        file.write_all(data).unwrap();
    }

    fn truncate(&self, name: &str, bytes: u64) {
        fs::OpenOptions::new().write(true).open(self.path(name)).unwrap().set_len(bytes).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }

    fn make_directory(&self, name: &str) {
        fs::create_dir_all(self.path(name)).unwrap();
    }

    fn content(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.path(name)).ok()
    }
}

/// The simulated backend, without faults.
struct Simulated(SimWorld);

impl Stage for Simulated {
    type Ring = Sim;
    const REAL_TIME: bool = false;

    fn new() -> Self {
        let world = SimWorld::new(1);
        world.make_directory("/stage");
        Self(world)
    }

    fn ring(&self) -> Sim {
        self.0.ring()
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("/stage").join(name)
    }

    fn append(&self, name: &str, data: &[u8]) {
        self.0.append(self.path(name), data).unwrap();
    }

    fn truncate(&self, name: &str, bytes: u64) {
        self.0.truncate(self.path(name), bytes).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        self.0.rename(self.path(from), self.path(to)).unwrap();
    }

    fn remove(&self, name: &str) {
        self.0.remove(self.path(name)).unwrap();
    }

    fn make_directory(&self, name: &str) {
        self.0.make_directory(self.path(name));
    }

    fn content(&self, name: &str) -> Option<Vec<u8>> {
        self.0.content(self.path(name))
    }
}

/// Runs each function under every backend.
macro_rules! under_every_backend {
    ($($test:ident)*) => {
        mod uring {
            $(#[test] fn $test() { super::$test::<crate::ring::suite::OnDisk<crate::ring::Uring>>(); })*
        }
        mod poll {
            $(#[test] fn $test() { super::$test::<crate::ring::suite::OnDisk<crate::ring::Poll>>(); })*
        }
        mod sim {
            $(#[test] fn $test() { super::$test::<crate::ring::suite::Simulated>(); })*
        }
    };
}
use under_every_backend;

/// Reaps until `enough` of what came, or for so long that something is wrong.
fn reap_until(ring: &mut impl Ring, enough: impl Fn(&[Completion]) -> bool) -> Vec<Completion> {
    let mut out = Vec::new();
    let deadline = ring.now().mono + LONG;
    while !enough(&out) {
        assert!(ring.now().mono < deadline, "{}: only {out:?}", ring.backend());
        ring.reap(LONG, &mut out).unwrap();
    }
    out
}

/// Submits and waits for its end.
fn complete(ring: &mut impl Ring, op: Op) -> (std::io::Result<usize>, Vec<u8>) {
    let (Op::Read { token, .. } | Op::Persist { token, .. }) = op;
    ring.submit(op).expect("room");
    let is_end = |one: &Completion| matches!(one, Completion::Done { token: of, .. } if *of == token);
    let out = reap_until(ring, |out| out.iter().any(is_end));
    for one in out {
        if let Completion::Done { token: of, result, buf } = one {
            assert_eq!(of, token, "somebody else's completion");
            return (result, buf);
        }
    }
    unreachable!("it was there")
}

/// Bytes at `offset`, by a read that may wait.
fn read(ring: &mut impl Ring, handle: super::Handle, offset: u64, bytes: usize) -> Vec<u8> {
    let (result, mut buf) = complete(ring, Op::Read { token: Token(7), handle, offset, buf: vec![0xaa; bytes] });
    assert_eq!(buf.len(), bytes, "the buffer comes back at its full length");
    buf.truncate(result.unwrap());
    buf
}

/// Bytes at `offset`, by a read that must not wait, where it does not have to.
fn read_now(ring: &mut impl Ring, handle: super::Handle, offset: u64, bytes: usize) -> Option<Vec<u8>> {
    let mut buf = vec![0xaa; bytes];
    match ring.read_now(handle, offset, &mut buf).unwrap() {
        ReadNow::Ready(ready) => {
            buf.truncate(ready);
            Some(buf)
        }
        ReadNow::WouldBlock => None,
    }
}
