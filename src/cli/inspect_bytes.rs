//! What a journal file is inspected with: its bytes forward and anywhere, and what is found, in words and bounded.

use std::{fs::File, io, os::unix::fs::FileExt};

/// Bytes read at once going forward.
const READ_BYTES: usize = 1024 * 1024;
/// Bytes read at once anywhere, and how many such pieces are kept: 16 MiB.
const BLOCK_BYTES: u64 = 4096;
const BLOCKS_MAX: u64 = 4096;
/// Findings of one kind told one by one.
const TOLD_MAX: usize = 5;

/// Bytes `buf` was filled with; fewer than it has room for at the end of the file.
fn fill(file: &File, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buf.len() {
        match file.read_at(&mut buf[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(bytes) => filled += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// A file read forward in large pieces.
#[derive(Debug)]
pub(super) struct Bytes {
    file: File,
    start: u64,
    buf: Vec<u8>,
}

impl Bytes {
    pub fn new(file: File) -> Self {
        Self { file, start: 0, buf: Vec::new() }
    }

    /// `most` bytes from `offset` on, fewer at the end of the file.
    pub fn at(&mut self, offset: u64, most: usize) -> io::Result<&[u8]> {
        if i64::try_from(offset).is_err() {
            return Ok(&[]);
        }
        let here = offset.checked_sub(self.start).and_then(|from| usize::try_from(from).ok());
        if here.is_none_or(|from| from + most > self.buf.len()) {
            self.buf.resize(most.max(READ_BYTES), 0);
            let filled = fill(&self.file, offset, &mut self.buf)?;
            self.buf.truncate(filled);
            self.start = offset;
        }
        let from = (offset - self.start) as usize;
        Ok(&self.buf[from.min(self.buf.len())..(from + most).min(self.buf.len())])
    }
}

/// A file read here and there, in small pieces of which some are kept.
#[derive(Debug)]
pub(super) struct Blocks {
    file: File,
    size: u64,
    /// Which piece is in each place.
    numbers: Vec<u64>,
    buf: Vec<u8>,
}

impl Blocks {
    pub fn new(file: File, size: u64) -> Self {
        let numbers = vec![u64::MAX; BLOCKS_MAX as usize];
        Self { file, size, numbers, buf: vec![0; (BLOCKS_MAX * BLOCK_BYTES) as usize] }
    }

    /// The number at `at`, a multiple of eight; 0 behind the end of the file.
    pub fn word(&mut self, at: u64) -> io::Result<u64> {
        if at >= self.size || !at.is_multiple_of(8) {
            return Ok(0);
        }
        let number = at / BLOCK_BYTES;
        let place = (number % BLOCKS_MAX) as usize;
        let block = &mut self.buf[place * BLOCK_BYTES as usize..][..BLOCK_BYTES as usize];
        if self.numbers[place] != number {
            let filled = fill(&self.file, number * BLOCK_BYTES, block)?;
            block[filled..].fill(0);
            self.numbers[place] = number;
        }
        let word = block[(at % BLOCK_BYTES) as usize..].first_chunk();
        Ok(word.map_or(0, |word| u64::from_le_bytes(*word)))
    }
}

/// What is wrong: of each kind the first ones, and how many there are.
#[derive(Debug, Default)]
pub(super) struct Findings {
    kinds: Vec<Kind>,
}

#[derive(Debug)]
struct Kind {
    name: &'static str,
    told: Vec<String>,
    total: u64,
}

impl Findings {
    fn kind(&mut self, name: &'static str) -> &mut Kind {
        let known = self.kinds.iter().position(|kind| kind.name == name);
        let place = known.unwrap_or_else(|| {
            self.kinds.push(Kind { name, told: Vec::new(), total: 0 });
            self.kinds.len() - 1
        });
        &mut self.kinds[place]
    }

    /// `kind` says in a few words, many of them, what they have in common.
    pub fn add(&mut self, kind: &'static str, what: impl FnOnce() -> String) {
        let kind = self.kind(kind);
        kind.total += 1;
        if kind.told.len() < TOLD_MAX {
            kind.told.push(what());
        }
    }

    /// Takes what `other` has found.
    pub fn take(&mut self, other: &mut Self) {
        for found in other.kinds.drain(..) {
            let kind = self.kind(found.name);
            kind.total += found.total;
            let room = TOLD_MAX.saturating_sub(kind.told.len());
            kind.told.extend(found.told.into_iter().take(room));
        }
    }

    pub fn forget(&mut self, name: &'static str) {
        self.kinds.retain(|kind| kind.name != name);
    }

    pub fn total(&self) -> u64 {
        self.kinds.iter().map(|kind| kind.total).sum()
    }

    pub fn told(&self) -> Vec<String> {
        let mut told = Vec::new();
        for kind in &self.kinds {
            told.extend_from_slice(&kind.told);
            let more = kind.total - kind.told.len() as u64;
            if more > 0 {
                told.push(format!("and {more} more {}", kind.name));
            }
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handful_of_each_kind_is_told_and_all_are_counted() {
        let (mut findings, mut later) = (Findings::default(), Findings::default());
        (0..3).for_each(|n| findings.add("stones", || format!("stone {n}")));
        (0..9).for_each(|n| later.add("stones", || format!("later {n}")));
        later.add("leaves", || "a leaf".to_owned());
        findings.take(&mut later);
        assert_eq!(findings.total(), 13);
        let told = ["stone 0", "stone 1", "stone 2", "later 0", "later 1", "and 7 more stones", "a leaf"];
        assert_eq!(findings.told(), told);
        findings.forget("stones");
        assert_eq!((findings.total(), later.total()), (1, 0));
    }
}
