//! From open buffer to sealed body: one raw snappy block for Loki, the bytes themselves for the others.
//!
//! The compressor's scratch space and table are kept per thread, which is to say per lane: a lane seals one batch at a
//! time, and 256 open batches with a scratch each would be half a gigabyte. A request is compressed in pieces, so that
//! a large stream is read where it was encoded: a snappy block is the request's length and then any elements, and none
//! that the compressor makes for one piece refers to another.

use std::cell::RefCell;

use bytes::Bytes;
use snap::raw::{Encoder, max_compress_len};

use crate::wire::{loki, protobuf::Head};

/// Streams from this size on, in bytes, are a piece of their own. The compressor looks back no further, so larger
/// pieces would gain nothing; smaller ones would lose what streams have in common.
const PIECE_BYTES: usize = 64 * 1024;

struct Press {
    /// Streams that are too small to be a piece.
    request: Vec<u8>,
    block: Vec<u8>,
    /// Bytes of the block that are done.
    done: usize,
    encoder: Encoder,
}

thread_local! {
    static PRESS: RefCell<Press> = RefCell::new(Press {
        request: Vec::new(),
        block: Vec::new(),
        done: 0,
        encoder: Encoder::new(),
    });
}

/// Compresses a push request of `raw_bytes` bytes, given as its streams already encoded.
pub(super) fn compress(streams: &[Vec<u8>], raw_bytes: usize) -> Bytes {
    PRESS.with_borrow_mut(|press| {
        press.begin(raw_bytes);
        for stream in streams {
            if stream.len() < PIECE_BYTES {
                loki::put_stream(&mut press.request, stream);
            } else {
                loki::put_stream_head(&mut press.request, stream.len());
                press.put_request();
                press.put(stream);
            }
        }
        press.put_request();
        Bytes::copy_from_slice(&press.block[..press.done])
    })
}

impl Press {
    /// Begins a block, with the length of what it will hold.
    fn begin(&mut self, raw_bytes: usize) {
        let mut head = Head::default();
        head.varint(raw_bytes as u64);
        let head = head.as_slice();
        self.done = head.len();
        self.grow(head.len());
        self.block[..head.len()].copy_from_slice(head);
    }

    fn put_request(&mut self) {
        let mut request = std::mem::take(&mut self.request);
        self.put(&request);
        request.clear();
        self.request = request;
    }

    /// Adds a piece. The compressor begins with the piece's length, which has no place here: it is written over the end
    /// of what is done, which is put back afterwards. The block's own length before it has at least as many bytes.
    fn put(&mut self, piece: &[u8]) {
        let mut length = Head::default();
        length.varint(piece.len() as u64);
        let length = length.as_slice().len();
        let start = self.done - length;
        self.grow(start + max_compress_len(piece.len()));
        let mut before = [0; 10];
        before[..length].copy_from_slice(&self.block[start..self.done]);
        match self.encoder.compress(piece, &mut self.block[start..]) {
            Ok(bytes) => {
                self.block[start..self.done].copy_from_slice(&before[..length]);
                self.done = start + bytes;
            }
            // Only a request of over 4 GiB or too small a block can fail; batches are far smaller.
            Err(error) => unreachable!("snappy refused {} bytes: {error}", piece.len()),
        }
    }

    fn grow(&mut self, bytes: usize) {
        if self.block.len() < bytes {
            self.block.resize(bytes, 0);
        }
    }
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
