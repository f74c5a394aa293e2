//! Payloads compressed by xz, as journald wrote them before it knew better (`XZ` of the .xz file format, 1.2.1).
//!
//! The decoder behind this is given the LZMA2 data alone. The two headers before it are read here, because they say how
//! large a dictionary the decoder is to have: what a hostile header claims is cut to what the limit can ever need.
//! Checksums at the end are not looked at; journald writes none.

use std::io::{self, Read};

use lzma_rust2::Lzma2Reader;

use super::{PayloadFault, u32_at};

const MAGIC: [u8; 6] = [0xfd, b'7', b'z', b'X', b'Z', 0];
const STREAM_HEADER_BYTES: usize = 12;
const FILTER_LZMA2: u64 = 0x21;
/// A smaller dictionary the format does not have.
const DICTIONARY_BYTES_MIN: u64 = 4096;
/// What the output grows by at first.
const STEP_BYTES: usize = 16 * 1024;

/// Puts the payload, or the first `limit` bytes of it, into `out`; true when it was cut.
pub(super) fn decode(stored: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<bool, PayloadFault> {
    let (dictionary, data) = headers(stored).ok_or(PayloadFault::Damaged)?;
    // No match can reach back further than what was put out.
    let dictionary = dictionary.min(limit as u64).max(DICTIONARY_BYTES_MIN) as u32;
    let mut reader = Lzma2Reader::new(data, dictionary, None);
    let mut filled = 0;
    let cut = loop {
        if filled == limit {
            break !matches!(reader.read(&mut [0]), Ok(0));
        }
        if filled == out.len() {
            let more = filled.max(STEP_BYTES).min(limit - filled);
            out.reserve_exact(more);
            out.resize(filled + more, 0);
        }
        match reader.read(&mut out[filled..]) {
            Ok(0) => break false,
            Ok(bytes) => filled += bytes,
            // Of a payload beyond the limit not all that is stored may be here.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && filled > 0 => break true,
            Err(_) => return Err(PayloadFault::Damaged),
        }
    };
    out.truncate(filled);
    Ok(cut)
}

/// Bytes of the dictionary, and the LZMA2 data; `None` for anything but one LZMA2 filter.
fn headers(stored: &[u8]) -> Option<(u64, &[u8])> {
    if !stored.starts_with(&MAGIC) {
        return None;
    }
    let block = stored.get(STREAM_HEADER_BYTES..)?;
    let header_bytes = (usize::from(*block.first()?) + 1) * 4;
    let (header, data) = block.split_at_checked(header_bytes)?;
    let (fields, sum) = header.split_at_checked(header_bytes.checked_sub(4)?)?;
    if u32_at(sum, 0)? != crc32fast::hash(fields) {
        return None;
    }
    let flags = *fields.get(1)?;
    if flags & 0x3f != 0 {
        return None;
    }
    let mut at = 2;
    // Sizes of both forms, when they are given: the decoder ends by itself.
    for _ in 0..(flags >> 6).count_ones() {
        number(fields, &mut at)?;
    }
    let (filter, properties) = (number(fields, &mut at)?, number(fields, &mut at)?);
    let &dictionary = fields.get(at)?;
    if (filter, properties) != (FILTER_LZMA2, 1) || dictionary > 40 {
        return None;
    }
    let bytes = match dictionary {
        40 => u64::from(u32::MAX),
        bits => (2 | u64::from(bits & 1)) << (bits / 2 + 11),
    };
    Some((bytes, data))
}

/// Seven bits a byte, the lowest first.
fn number(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut number = 0;
    for shift in (0..63).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use lzma_rust2::{CheckType, XzOptions, XzWriter};
    use proptest::prelude::*;

    use super::*;

    const LIMIT: usize = 256 * 1024;

    pub fn compressed(plain: &[u8]) -> Vec<u8> {
        let mut options = XzOptions::with_preset(1);
        options.set_check_sum_type(CheckType::None);
        let mut writer = XzWriter::new(Vec::new(), options).unwrap();
        writer.write_all(plain).unwrap();
        writer.finish().unwrap()
    }

    fn text(bytes: usize) -> Vec<u8> {
        (0..).flat_map(|n: u64| format!("MESSAGE={n} {:x}\n", n * n).into_bytes()).take(bytes).collect()
    }

    #[test]
    fn within_the_limit_whole_and_beyond_it_the_beginning() {
        for (bytes, cut) in [(1, false), (5000, false), (LIMIT, false), (LIMIT + 1, true), (4 * LIMIT, true)] {
            let (plain, mut out) = (text(bytes), Vec::new());
            assert_eq!(decode(&compressed(&plain), LIMIT, &mut out), Ok(cut), "{bytes}");
            assert!(out == plain[..bytes.min(LIMIT)] && out.capacity() <= LIMIT, "{bytes}");
        }
    }

    /// A header that claims 4 GiB of dictionary costs what its data needs.
    #[test]
    fn a_bomb_costs_no_more_than_the_limit() {
        let mut stored = compressed(&vec![b'x'; 64 * LIMIT]);
        let header_bytes = (usize::from(stored[12]) + 1) * 4;
        let at = stored[12..].windows(2).position(|pair| pair == [0x21, 1]).unwrap() + 14;
        stored[at] = 40;
        let sum = crc32fast::hash(&stored[12..12 + header_bytes - 4]);
        stored[12 + header_bytes - 4..12 + header_bytes].copy_from_slice(&sum.to_le_bytes());
        let mut out = Vec::new();
        assert_eq!(decode(&stored, LIMIT, &mut out), Ok(true));
        assert!(out == vec![b'x'; LIMIT] && out.capacity() == LIMIT);
    }

    proptest! {
        #[test]
        fn damage_never_panics_nor_grows(
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
            keep in any::<prop::sample::Index>(),
        ) {
            let mut stored = compressed(&text(6000));
            let at = at.index(stored.len());
            stored[at] = byte;
            stored.truncate(keep.index(stored.len()) + 1);
            let mut out = Vec::new();
            let _ = decode(&stored, LIMIT, &mut out);
            prop_assert!(out.capacity() <= LIMIT);
        }
    }
}
