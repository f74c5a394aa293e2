//! From open buffer to sealed body: one raw snappy block for Loki, the bytes themselves for the others.
//!
//! The compressor's scratch space and table are kept per thread, which is to say per lane: a lane seals one batch at a
//! time, and 256 open batches with a scratch each would be half a gigabyte.

use std::cell::RefCell;

use bytes::Bytes;
use snap::raw::{Encoder, max_compress_len};

struct Press {
    request: Vec<u8>,
    block: Vec<u8>,
    encoder: Encoder,
}

thread_local! {
    static PRESS: RefCell<Press> = RefCell::new(Press {
        request: Vec::new(),
        block: Vec::new(),
        encoder: Encoder::new(),
    });
}

/// Lets `fill` write a request into an empty buffer and compresses it. Returns the block and the request's size.
pub(super) fn compress(fill: impl FnOnce(&mut Vec<u8>)) -> (Bytes, usize) {
    PRESS.with_borrow_mut(|press| {
        press.request.clear();
        fill(&mut press.request);
        let bound = max_compress_len(press.request.len());
        if press.block.len() < bound {
            press.block.resize(bound, 0);
        }
        match press.encoder.compress(&press.request, &mut press.block) {
            Ok(length) => (Bytes::copy_from_slice(&press.block[..length]), press.request.len()),
            // Only a request of over 4 GiB or too small a block can fail; batches are far smaller.
            Err(error) => unreachable!("snappy refused {} bytes: {error}", press.request.len()),
        }
    })
}

/// Hands the bytes over without copying them and leaves an empty buffer of about the size just needed.
pub(super) fn hand_over(bytes: &mut Vec<u8>) -> Bytes {
    let next = Vec::with_capacity(bytes.len() + bytes.len() / 8);
    let mut body = std::mem::replace(bytes, next);
    // What a batch pins while it waits for its target should be what its budget counts.
    if body.capacity() > body.len() + body.len() / 4 {
        body.shrink_to_fit();
    }
    Bytes::from(body)
}
