//! Reading and writing state while a lane starts and has nothing else to do: these wait, as nothing later may.

use std::{io, path::Path, time::Duration};

use crate::{
    limits::{CHECKPOINT_READ_TRIES, CHUNK_BYTES},
    ring::{Completion, Handle, Op, ReadNow, Ring, Token},
};

const TOKEN: Token = Token(u64::MAX - 1);

/// The first `most` bytes of a file, or a few more; nothing if it is not there. A disk that fails once is asked again:
/// taking a file for empty that is only unread for a moment would cost positions.
pub fn read_patiently<R: Ring>(ring: &mut R, path: &Path, most: usize) -> Vec<u8> {
    for _ in 0..CHECKPOINT_READ_TRIES {
        match read_start(ring, path, most) {
            Ok(content) => return content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            Err(error) => tracing::warn!("{}: {error}; trying again", path.display()),
        }
    }
    Vec::new()
}

/// The first `most` bytes of a file, or a few more.
fn read_start<R: Ring>(ring: &mut R, path: &Path, most: usize) -> io::Result<Vec<u8>> {
    let handle = ring.open(path)?;
    let mut whole = Vec::new();
    let mut buf = vec![0; CHUNK_BYTES];
    let result = loop {
        let offset = whole.len() as u64;
        let read = match ring.read_now(handle, offset, &mut buf) {
            Ok(ReadNow::Ready(bytes)) => Ok(bytes),
            Ok(ReadNow::WouldBlock) => {
                let (result, back) = read_waiting(ring, handle, offset, std::mem::take(&mut buf));
                buf = back;
                result
            }
            Err(error) => Err(error),
        };
        match read {
            Ok(0) => break Ok(()),
            Ok(bytes) => whole.extend_from_slice(&buf[..bytes]),
            Err(error) => break Err(error),
        }
        if whole.len() >= most {
            break Ok(());
        }
    };
    ring.close(handle);
    result.map(|()| whole)
}

fn read_waiting<R: Ring>(ring: &mut R, handle: Handle, offset: u64, buf: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
    let length = buf.len();
    carry_out(ring, Op::Read { token: TOKEN, handle, offset, buf })
        .unwrap_or_else(|error| (Err(error), vec![0; length]))
}

/// Replaces a file durably, and waits for it.
///
/// # Errors
/// It could not be written.
pub fn persist<R: Ring>(ring: &mut R, path: &Path, data: Vec<u8>) -> io::Result<()> {
    let op = Op::Persist { token: TOKEN, path: path.to_owned(), data };
    carry_out(ring, op).and_then(|(result, _)| result.map(|_| ()))
}

fn carry_out<R: Ring>(ring: &mut R, mut op: Op) -> io::Result<(io::Result<usize>, Vec<u8>)> {
    let mut happened = Vec::new();
    loop {
        match ring.submit(op) {
            Ok(()) => break,
            Err(back) => op = back,
        }
        ring.reap(Duration::from_millis(10), &mut happened)?;
    }
    loop {
        for completion in happened.drain(..) {
            if let Completion::Done { token: TOKEN, result, buf } = completion {
                return Ok((result, buf));
            }
        }
        ring.reap(Duration::from_millis(100), &mut happened)?;
    }
}
