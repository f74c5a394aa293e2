//! The chunks of a lane: a fixed number, lent to whoever reads.

use crate::limits::{CHUNK_BYTES, CHUNKS_MAX};

/// Chunks that are not lent, and how many exist.
#[derive(Debug, Default)]
pub struct Pool {
    spare: Vec<Vec<u8>>,
    made: usize,
}

impl Pool {
    /// A chunk of `CHUNK_BYTES`; `None` when all are lent.
    pub fn lend(&mut self) -> Option<Vec<u8>> {
        if let Some(chunk) = self.spare.pop() {
            return Some(chunk);
        }
        if self.made == CHUNKS_MAX {
            return None;
        }
        self.made += 1;
        Some(vec![0; CHUNK_BYTES])
    }

    /// Takes a chunk back.
    pub fn give_back(&mut self, mut chunk: Vec<u8>) {
        debug_assert!(self.spare.len() < self.made);
        chunk.resize(CHUNK_BYTES, 0);
        self.spare.push(chunk);
    }

    /// All chunks are lent: who holds one without need gives it back.
    pub fn is_exhausted(&self) -> bool {
        self.spare.is_empty() && self.made == CHUNKS_MAX
    }

    /// Chunks lent and not given back.
    pub fn lent(&self) -> usize {
        self.made - self.spare.len()
    }
}
