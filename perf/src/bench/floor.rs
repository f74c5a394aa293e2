//! What the bare work costs: read the file, find the lines, drop debug ones, compress the rest. One thread, no parsing,
//! no labels, no protocol, no network, nothing remembered. No shipper of these lines can cost less.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
};

use memchr::memchr_iter;
use snap::raw::{Encoder, max_compress_len};

use super::Corpus;

/// Bytes of one read.
const READ_BYTES: usize = 256 * 1024;
/// Bytes that are compressed at once.
const BLOCK_BYTES: usize = 1024 * 1024;
/// How a debug line begins.
const DEBUG: &[u8] = b"{\"level\":\"debug\"";

/// CPU seconds of this thread for the whole file.
#[derive(Clone, Copy, Debug)]
pub struct Floor {
    /// Reading it, from the page cache.
    pub read: f64,
    /// Reading, splitting and dropping.
    pub split: f64,
    /// All of it, compression included.
    pub all: f64,
    /// Bytes that were compressed, and what became of them.
    pub raw_bytes: u64,
    pub compressed_bytes: u64,
}

/// Does the work three times: each time more of it.
///
/// # Errors
/// The file cannot be read, or the kernel keeps no `schedstat`.
pub fn measure(corpus: &Corpus) -> io::Result<Floor> {
    let file = File::open(&corpus.path)?;
    let start = cpu_seconds()?;
    each_read(&file, |chunk| chunk.len())?;
    let read = cpu_seconds()?;
    let mut kept = Vec::with_capacity(BLOCK_BYTES + READ_BYTES);
    let mut raw_bytes = 0;
    each_read(&file, |chunk| keep_lines(chunk, &mut kept, &mut |kept| raw_bytes += kept.len() as u64))?;
    let split = cpu_seconds()?;
    kept.clear();
    let (mut encoder, mut compressed_bytes) = (Encoder::new(), 0);
    let mut block = vec![0; max_compress_len(BLOCK_BYTES + READ_BYTES)];
    each_read(&file, |chunk| {
        keep_lines(chunk, &mut kept, &mut |kept| {
            // The block is large enough for whatever is kept, so that nothing can fail.
            compressed_bytes += encoder.compress(kept, &mut block).unwrap_or_default() as u64;
        })
    })?;
    let all = cpu_seconds()?;
    Ok(Floor { read: read - start, split: split - read, all: all - split, raw_bytes, compressed_bytes })
}

/// Reads `file` from beginning to end; `take` says how many bytes of a chunk it took, the others come again.
fn each_read(file: &File, mut take: impl FnMut(&[u8]) -> usize) -> io::Result<()> {
    let mut chunk = vec![0; READ_BYTES];
    let mut offset = 0;
    loop {
        let length = file.read_at(&mut chunk, offset)?;
        let taken = take(&chunk[..length]);
        if taken == 0 {
            return Ok(());
        }
        offset += taken as u64;
    }
}

/// Copies the lines that are not debug; `full` gets them whenever they fill a block. Gives the bytes of whole lines.
fn keep_lines(chunk: &[u8], kept: &mut Vec<u8>, full: &mut impl FnMut(&[u8])) -> usize {
    let mut start = 0;
    for end in memchr_iter(b'\n', chunk) {
        let line = &chunk[start..=end];
        if !line.starts_with(DEBUG) {
            kept.extend_from_slice(line);
        }
        start = end + 1;
    }
    if kept.len() >= BLOCK_BYTES || chunk.len() < READ_BYTES {
        full(kept);
        kept.clear();
    }
    start
}

/// What this thread has used so far.
fn cpu_seconds() -> io::Result<f64> {
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanos = text.split(' ').next().and_then(|first| first.parse::<u64>().ok());
    nanos.map(|nanos| nanos as f64 / 1e9).ok_or_else(|| io::Error::other("/proc/thread-self/schedstat is not known"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_passing_line_is_compressed_once() {
        let directory = tempfile::tempdir().unwrap();
        let corpus = Corpus::write(&directory.path().join("load.log"), 20_000, 1).unwrap();
        let text = fs::read(&corpus.path).unwrap();
        let passing: usize =
            text.split_inclusive(|byte| *byte == b'\n').filter(|line| !line.starts_with(DEBUG)).map(<[u8]>::len).sum();
        let floor = measure(&corpus).unwrap();
        assert_eq!(floor.raw_bytes, passing as u64);
        assert!(floor.compressed_bytes > 0 && floor.compressed_bytes < floor.raw_bytes);
    }
}
