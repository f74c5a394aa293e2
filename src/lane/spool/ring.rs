//! A ring on which spooled files can be read like any others.
//!
//! A spooled file has a handle of its own kind. Everything that reads, frames and tells times apart above knows nothing
//! of it: bytes come at the offsets at which they stood in the file, whether from memory at once or after an
//! `Op::Read`. Where bytes are missing the file seems to end; the lane knows where that is and goes on behind it.

use std::{
    collections::{HashMap, VecDeque},
    io,
    path::Path,
    time::Duration,
};

use super::{BlockId, Found, Spool};
use crate::{
    limits::{SPOOL_TRIES_MAX, SPOOL_WINDOWS_MAX},
    ring::{Completion, Entry, Handle, Mapping, Meta, Now, Op, ReadNow, Ring, Space, Token, Waker, Watch, WatchKind},
};

/// A ring and the spool beside it.
#[derive(Debug)]
pub struct Spooled<R> {
    pub ring: R,
    pub spool: Spool,
    /// Blocks uncompressed lately, the newest last.
    windows: VecDeque<(BlockId, Vec<u8>)>,
    /// Reads of blocks under way, by the token of who asked.
    reads: HashMap<Token, Reading>,
    /// Reads that ended without the disk.
    ended: Vec<Completion>,
    scratch: Vec<u8>,
}

#[derive(Debug)]
struct Reading {
    offset: u64,
    buf: Vec<u8>,
    found: Found,
    segment: Handle,
    /// What came of the block so far.
    stored: Vec<u8>,
}

impl<R: Ring> Spooled<R> {
    pub fn new(ring: R, spool: Spool) -> Self {
        let (windows, reads) = (VecDeque::new(), HashMap::new());
        Self { ring, spool, windows, reads, ended: Vec::new(), scratch: Vec::new() }
    }

    /// Copies what the windows hold of a block.
    fn copy(&self, found: &Found, offset: u64, buf: &mut [u8]) -> Option<usize> {
        let (_, window) = self.windows.iter().find(|(id, _)| *id == found.id)?;
        let from = usize::try_from(offset - found.block.offset).ok()?;
        let rest = window.get(from..)?;
        let bytes = rest.len().min(buf.len());
        buf[..bytes].copy_from_slice(&rest[..bytes]);
        Some(bytes)
    }

    /// Takes the stored bytes of a block; false if they do not check.
    fn open_window(&mut self, found: &Found, stored: &[u8]) -> bool {
        match found.block.open(stored) {
            Some(raw) => {
                if self.windows.len() == SPOOL_WINDOWS_MAX {
                    self.windows.pop_front();
                }
                self.windows.push_back((found.id, raw));
                true
            }
            None => {
                self.spool.damaged(found.id);
                false
            }
        }
    }

    fn read_spooled(&mut self, handle: Handle, offset: u64, buf: &mut [u8]) -> io::Result<ReadNow> {
        let Some(found) = self.spool.find(handle, offset) else { return Ok(ReadNow::Ready(0)) };
        if let Some(bytes) = self.copy(&found, offset, buf) {
            return Ok(ReadNow::Ready(bytes));
        }
        let segment = match self.spool.segment(&mut self.ring, found.id) {
            Ok(segment) => segment,
            Err(error) => return self.failed(found.id, error).map(ReadNow::Ready),
        };
        let mut stored = std::mem::take(&mut self.scratch);
        stored.resize(found.block.stored_bytes as usize, 0);
        let mut filled = 0;
        let answer = loop {
            if filled == stored.len() {
                break Ok(Some(true));
            }
            match self.ring.read_now(segment, found.block.at + filled as u64, &mut stored[filled..]) {
                Ok(ReadNow::Ready(0)) => break Ok(Some(false)),
                Ok(ReadNow::Ready(bytes)) => filled += bytes,
                Ok(ReadNow::WouldBlock) => break Ok(None),
                Err(error) => break Err(error),
            }
        };
        let answer = match answer {
            Ok(None) => Ok(ReadNow::WouldBlock),
            Ok(Some(_)) if self.open_window(&found, &stored[..filled]) => {
                Ok(ReadNow::Ready(self.copy(&found, offset, buf).unwrap_or(0)))
            }
            Ok(Some(_)) => Ok(ReadNow::Ready(0)),
            Err(error) => self.failed(found.id, error).map(ReadNow::Ready),
        };
        self.scratch = stored;
        answer
    }

    /// A block that cannot be read: an error a few times, then it counts as lost and the file seems to end.
    fn failed(&mut self, id: BlockId, error: io::Error) -> io::Result<usize> {
        if self.spool.failed(id) < SPOOL_TRIES_MAX {
            return Err(error);
        }
        self.spool.damaged(id);
        Ok(0)
    }

    fn submit_spooled(&mut self, token: Token, handle: Handle, offset: u64, buf: Vec<u8>) -> Result<(), Op> {
        let Some(found) = self.spool.find(handle, offset) else {
            self.ended.push(Completion::Done { token, result: Ok(0), buf });
            return Ok(());
        };
        let segment = match self.spool.segment(&mut self.ring, found.id) {
            Ok(segment) => segment,
            Err(error) => {
                let result = self.failed(found.id, error);
                self.ended.push(Completion::Done { token, result, buf });
                return Ok(());
            }
        };
        let stored = vec![0; found.block.stored_bytes as usize];
        match self.ring.submit(Op::Read { token, handle: segment, offset: found.block.at, buf: stored }) {
            Ok(()) => {
                self.reads.insert(token, Reading { offset, buf, found, segment, stored: Vec::new() });
                Ok(())
            }
            Err(_) => Err(Op::Read { token, handle, offset, buf }),
        }
    }

    /// Takes what came of a block: the end of the read it was asked for, or `None` while more is to come.
    fn go_on(&mut self, token: Token, result: io::Result<usize>, part: Vec<u8>) -> Option<Completion> {
        let mut reading = self.reads.remove(&token)?;
        let Reading { offset, found, segment, .. } = reading;
        let wanted = found.block.stored_bytes as usize;
        let result = match result {
            Ok(bytes) if bytes > 0 && reading.stored.len() + bytes < wanted => {
                reading.stored.extend_from_slice(&part[..bytes]);
                let done = reading.stored.len();
                let (at, buf) = (found.block.at + done as u64, vec![0; wanted - done]);
                if self.ring.submit(Op::Read { token, handle: segment, offset: at, buf }).is_ok() {
                    self.reads.insert(token, reading);
                    return None;
                }
                Err(io::ErrorKind::Interrupted.into())
            }
            Ok(bytes) => {
                reading.stored.extend_from_slice(&part[..bytes]);
                let sound = self.open_window(&found, &reading.stored);
                Ok(if sound { self.copy(&found, offset, &mut reading.buf).unwrap_or(0) } else { 0 })
            }
            Err(error) => self.failed(found.id, error),
        };
        Some(Completion::Done { token, result, buf: reading.buf })
    }
}

impl<R: Ring> Ring for Spooled<R> {
    fn backend(&self) -> &'static str {
        self.ring.backend()
    }

    fn now(&self) -> Now {
        self.ring.now()
    }

    fn cpu(&self) -> Duration {
        self.ring.cpu()
    }

    fn waker(&self) -> Waker {
        self.ring.waker()
    }

    fn open(&mut self, path: &Path) -> io::Result<Handle> {
        self.ring.open(path)
    }

    fn create(&mut self, path: &Path) -> io::Result<Handle> {
        self.ring.create(path)
    }

    fn close(&mut self, handle: Handle) {
        if Spool::is_spooled(handle) { self.spool.close(&mut self.ring, handle) } else { self.ring.close(handle) }
    }

    fn stat(&mut self, handle: Handle) -> io::Result<Meta> {
        if Spool::is_spooled(handle) { self.spool.stat(handle) } else { self.ring.stat(handle) }
    }

    fn stat_path(&mut self, path: &Path) -> io::Result<Meta> {
        self.ring.stat_path(path)
    }

    fn list(&mut self, directory: &Path, max: usize) -> io::Result<Vec<Entry>> {
        self.ring.list(directory, max)
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.ring.remove(path)
    }

    fn space(&mut self, directory: &Path) -> io::Result<Space> {
        self.ring.space(directory)
    }

    fn store(&mut self, handle: Handle, name: &str) -> io::Result<bool> {
        if Spool::is_spooled(handle) { Ok(false) } else { self.ring.store(handle, name) }
    }

    fn unstore(&mut self, name: &str) -> io::Result<()> {
        self.ring.unstore(name)
    }

    fn inherited(&mut self) -> Vec<(String, Handle)> {
        self.ring.inherited()
    }

    #[inline]
    fn read_now(&mut self, handle: Handle, offset: u64, buf: &mut [u8]) -> io::Result<ReadNow> {
        if Spool::is_spooled(handle) {
            return self.read_spooled(handle, offset, buf);
        }
        self.ring.read_now(handle, offset, buf)
    }

    fn map(&mut self, handle: Handle, offset: u64, bytes: usize) -> io::Result<Mapping> {
        if Spool::is_spooled(handle) {
            Err(io::ErrorKind::Unsupported.into())
        } else {
            self.ring.map(handle, offset, bytes)
        }
    }

    fn write(&mut self, handle: Handle, offset: u64, data: &[u8]) -> io::Result<()> {
        self.ring.write(handle, offset, data)
    }

    fn watch(&mut self, path: &Path, kind: WatchKind) -> io::Result<Watch> {
        self.ring.watch(path, kind)
    }

    fn unwatch(&mut self, watch: Watch) {
        self.ring.unwatch(watch);
    }

    fn submit(&mut self, op: Op) -> Result<(), Op> {
        match op {
            Op::Read { token, handle, offset, buf } if Spool::is_spooled(handle) => {
                self.submit_spooled(token, handle, offset, buf)
            }
            op => self.ring.submit(op),
        }
    }

    fn reap(&mut self, wait: Duration, out: &mut Vec<Completion>) -> io::Result<()> {
        let before = out.len();
        out.append(&mut self.ended);
        let wait = if out.len() > before { Duration::ZERO } else { wait };
        let ours = out.len();
        self.ring.reap(wait, out)?;
        if self.reads.is_empty() {
            return Ok(());
        }
        for completion in out.split_off(ours) {
            match completion {
                Completion::Done { token, result, buf } if self.reads.contains_key(&token) => {
                    out.extend(self.go_on(token, result, buf));
                }
                other => out.push(other),
            }
        }
        Ok(())
    }
}
