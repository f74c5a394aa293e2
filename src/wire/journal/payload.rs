//! Compressed payloads of DATA objects: how much they hold is known before anything is allocated.
//!
//! A payload is the whole `FIELD=value`. Up to a limit it is decompressed in one go; of a longer one only so many
//! leading *blocks* (zstd, RFC 8878 §3.1.1) or *sequences* (the LZ4 block format) are decompressed as fit the limit.
//! Both are cut out as a shorter, valid input of the same decoder, so a bomb costs no more memory than an honest
//! message. The decoder of xz is read from until the limit is reached.

use std::fmt;

use zstd::zstd_safe;

use super::u64_at;

/// Largest decompressed size of one zstd block (RFC 8878 §3.1.1.2.4), in bytes.
const ZSTD_BLOCK_BYTES_MAX: usize = 128 * 1024;
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Window descriptor of a cut frame: 1 MiB.
const ZSTD_CUT_WINDOW: u8 = 10 << 3;

/// How a payload is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    None,
    Xz,
    /// A little-endian `u64` with the decompressed size, then one LZ4 block.
    Lz4,
    /// One zstd frame.
    Zstd,
}

impl Compression {
    /// From the flags of an object head; `None` for a combination the format does not have.
    #[inline]
    pub fn from_flags(flags: u8) -> Option<Self> {
        match flags {
            0 => Some(Self::None),
            1 => Some(Self::Xz),
            2 => Some(Self::Lz4),
            4 => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// Why a payload cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadFault {
    /// Not what its compression calls valid, or shorter or longer than it says.
    Damaged,
}

impl fmt::Display for PayloadFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged => f.write_str("damaged compressed data"),
        }
    }
}

/// Undoes compression; keeps its working memory between payloads.
#[derive(Default)]
pub struct Decompressor {
    zstd: zstd_safe::DCtx<'static>,
    /// A cut input.
    cut: Vec<u8>,
}

impl fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Decompressor")
    }
}

impl Decompressor {
    /// Puts the payload, or the first part of it that fits `limit` bytes, into `out`; true when it was cut.
    ///
    /// `out` never grows beyond `limit`. `stored` may itself be cut at its end when the payload is longer than `limit`.
    /// Fails on damaged input.
    pub fn decode(
        &mut self,
        compression: Compression,
        stored: &[u8],
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Result<bool, PayloadFault> {
        out.clear();
        match compression {
            Compression::None => {
                out.extend_from_slice(&stored[..stored.len().min(limit)]);
                Ok(stored.len() > limit)
            }
            Compression::Xz => super::xz::decode(stored, limit, out),
            Compression::Lz4 => lz4(stored, limit, out, &mut self.cut),
            Compression::Zstd => self.zstd(stored, limit, out),
        }
    }

    fn zstd(&mut self, stored: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<bool, PayloadFault> {
        let claimed = zstd_safe::get_frame_content_size(stored).map_err(|_| PayloadFault::Damaged)?;
        if let Some(size) = claimed.and_then(|size| usize::try_from(size).ok()).filter(|&size| size <= limit) {
            out.reserve_exact(size);
            let got = self.zstd.decompress(out, stored).map_err(|_| PayloadFault::Damaged)?;
            return if got == size { Ok(false) } else { Err(PayloadFault::Damaged) };
        }
        let whole = cut_zstd(stored, limit, &mut self.cut).ok_or(PayloadFault::Damaged)?;
        out.reserve_exact(limit);
        self.zstd.decompress(out, &self.cut).map_err(|_| PayloadFault::Damaged)?;
        Ok(!whole)
    }
}

/// Writes a frame of the leading blocks of `stored` that decompress to at most `limit` bytes; true when these are all.
fn cut_zstd(stored: &[u8], limit: usize, cut: &mut Vec<u8>) -> Option<bool> {
    let descriptor = *stored.get(4)?;
    if !stored.starts_with(&ZSTD_MAGIC) {
        return None;
    }
    let single = descriptor & 0x20 != 0;
    let dictionary_bytes = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let size_bytes = [usize::from(single), 2, 4, 8][usize::from(descriptor >> 6)];
    let mut at = 5 + usize::from(!single) + dictionary_bytes + size_bytes;
    cut.clear();
    cut.extend_from_slice(&ZSTD_MAGIC);
    cut.extend_from_slice(&[0, ZSTD_CUT_WINDOW]);
    let (mut last_at, mut whole) = (None, false);
    for _ in 0..limit / ZSTD_BLOCK_BYTES_MAX {
        let Some(&[a, b, c]) = stored.get(at..at + 3) else { break };
        let head = u32::from_le_bytes([a, b, c, 0]);
        // Type 1 repeats one byte `size` times; reserved types fail in the decoder.
        let size = if head >> 1 & 3 == 1 { 1 } else { (head >> 3) as usize };
        let Some(block) = stored.get(at..at + 3 + size) else { break };
        last_at = Some(cut.len());
        cut.extend_from_slice(block);
        at += block.len();
        if head & 1 == 1 {
            whole = true;
            break;
        }
    }
    *cut.get_mut(last_at?)? |= 1;
    Some(whole)
}

fn lz4(stored: &[u8], limit: usize, out: &mut Vec<u8>, cut: &mut Vec<u8>) -> Result<bool, PayloadFault> {
    let claimed = u64_at(stored, 0).ok_or(PayloadFault::Damaged)?;
    let block = &stored[8..];
    let (input, size, whole) = match usize::try_from(claimed) {
        Ok(size) if size <= limit => (block, size, true),
        _ => {
            let (bytes, size) = cut_lz4(block, limit).ok_or(PayloadFault::Damaged)?;
            cut.clear();
            cut.extend_from_slice(&block[..bytes]);
            (cut.as_slice(), size, false)
        }
    };
    out.reserve_exact(size);
    out.resize(size, 0);
    match lz4_flex::block::decompress_into(input, out) {
        Ok(got) if got == size => Ok(!whole),
        _ => Err(PayloadFault::Damaged),
    }
}

/// The longest prefix of an LZ4 block that ends after literals, as the last sequence of a block must, and decompresses
/// to at most `limit` bytes: its length and its decompressed size.
fn cut_lz4(block: &[u8], limit: usize) -> Option<(usize, usize)> {
    let (mut at, mut size, mut best) = (0usize, 0usize, None);
    while let Some(&token) = block.get(at) {
        at += 1;
        let literals = lz4_length(block, &mut at, token >> 4)?;
        at = at.checked_add(literals)?;
        size = size.checked_add(literals)?;
        if size > limit || at > block.len() {
            break;
        }
        best = Some((at, size));
        at = at.checked_add(2)?;
        let Some(matched) = lz4_length(block, &mut at, token & 15) else { break };
        size = size.checked_add(matched)?.checked_add(4)?;
    }
    best
}

/// A length whose first four bits are `nibble`; 15 is continued by bytes until one is not 255.
fn lz4_length(block: &[u8], at: &mut usize, nibble: u8) -> Option<usize> {
    let mut length = usize::from(nibble);
    if nibble == 15 {
        loop {
            let byte = *block.get(*at)?;
            *at += 1;
            length = length.checked_add(usize::from(byte))?;
            if byte != 255 {
                break;
            }
        }
    }
    Some(length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: usize = 1024 * 1024;

    /// Text that compresses, without being trivial.
    fn text(bytes: usize) -> Vec<u8> {
        (0..)
            .flat_map(|i: u64| format!("MESSAGE={} {:x}\n", i, i.wrapping_mul(0x9e37_79b9)).into_bytes())
            .take(bytes)
            .collect()
    }

    fn compressed(plain: &[u8]) -> Vec<u8> {
        zstd::bulk::compress(plain, 3).unwrap()
    }

    #[test]
    fn zstd_within_the_limit_is_whole() {
        let (plain, mut out) = (text(5000), Vec::new());
        let cut = Decompressor::default().decode(Compression::Zstd, &compressed(&plain), LIMIT, &mut out);
        assert_eq!((cut, out), (Ok(false), plain));
    }

    #[test]
    fn zstd_beyond_the_limit_is_its_beginning() {
        for plain in [text(3 * LIMIT), vec![0; 64 * LIMIT]] {
            let mut out = Vec::new();
            let cut = Decompressor::default().decode(Compression::Zstd, &compressed(&plain), LIMIT, &mut out);
            assert_eq!(cut, Ok(true));
            assert!(out.len() > LIMIT / 4 && out.capacity() <= LIMIT, "{} of {}", out.len(), out.capacity());
            assert!(plain.starts_with(&out));
        }
    }

    #[test]
    fn zstd_without_a_content_size_is_read() {
        let (plain, mut out) = (text(300_000), Vec::new());
        let streamed = zstd::stream::encode_all(plain.as_slice(), 3).unwrap();
        assert_eq!(Decompressor::default().decode(Compression::Zstd, &streamed, LIMIT, &mut out), Ok(false));
        assert_eq!(out, plain);
    }

    /// "abcd", a match of 3 MiB of it, and "tail", by hand.
    fn long_lz4() -> Vec<u8> {
        let mut block = vec![0x4f, b'a', b'b', b'c', b'd', 4, 0];
        block.extend(std::iter::repeat_n(255, 3 * LIMIT / 255));
        block.push(0);
        block.extend_from_slice(&[0x40, b't', b'a', b'i', b'l']);
        let mut stored = (3 * LIMIT as u64).to_le_bytes().to_vec();
        stored.extend(block);
        stored
    }

    #[test]
    fn lz4_within_and_beyond_the_limit() {
        let mut out = Vec::new();
        let mut decompressor = Decompressor::default();
        let mut stored = 9u64.to_le_bytes().to_vec();
        stored.extend_from_slice(&[0x10, b'x', 1, 0, 0x40, b'a', b'b', b'c', b'd']);
        assert_eq!(decompressor.decode(Compression::Lz4, &stored, LIMIT, &mut out), Ok(false));
        assert_eq!(out, b"xxxxxabcd");
        assert_eq!(decompressor.decode(Compression::Lz4, &long_lz4(), LIMIT, &mut out), Ok(true));
        assert_eq!(out, b"abcd");
    }

    proptest! {
        #[test]
        fn damage_never_panics_nor_grows(
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
            kind in 0usize..3,
            keep in any::<prop::sample::Index>(),
        ) {
            let (compression, mut stored) = match kind {
                0 => (Compression::Zstd, compressed(&text(4000))),
                1 => (Compression::Zstd, compressed(&text(LIMIT + 4000))),
                _ => (Compression::Lz4, long_lz4()),
            };
            let at = at.index(stored.len());
            stored[at] = byte;
            stored.truncate(keep.index(stored.len()) + 1);
            let mut out = Vec::new();
            let _ = Decompressor::default().decode(compression, &stored, LIMIT, &mut out);
            prop_assert!(out.capacity() <= LIMIT);
        }
    }
}
