//! The two hashes of journal files: SipHash-2-4 keyed by the file's id, and Jenkins' lookup3 in older files.
//!
//! Payloads are found through hash tables by these; the keyed one exists so that nobody who can log can make all
//! payloads collide. lookup3 follows Bob Jenkins' public-domain `lookup3.c` (`hashlittle2`), as systemd does.

use std::hash::Hasher;

/// SipHash-2-4 of `payload`, keyed by the file's id (`HEADER_INCOMPATIBLE_KEYED_HASH`).
pub fn keyed(file_id: &[u8; 16], payload: &[u8]) -> u64 {
    let mut hasher = siphasher::sip::SipHasher24::new_with_key(file_id);
    hasher.write(payload);
    hasher.finish()
}

/// lookup3 of `payload` with both halves kept, as files without the keyed-hash flag have it.
pub fn jenkins(payload: &[u8]) -> u64 {
    let seed = 0xdead_beef_u32.wrapping_add(payload.len() as u32);
    let (mut a, mut b, mut c) = (seed, seed, seed);
    let mut rest = payload;
    while rest.len() > 12 {
        let (block, tail) = rest.split_at(12);
        a = a.wrapping_add(word(&block[0..4]));
        b = b.wrapping_add(word(&block[4..8]));
        c = c.wrapping_add(word(&block[8..12]));
        (a, b, c) = mix(a, b, c);
        rest = tail;
    }
    if rest.is_empty() {
        return u64::from(c) << 32 | u64::from(b);
    }
    a = a.wrapping_add(word(&rest[..rest.len().min(4)]));
    b = b.wrapping_add(word(rest.get(4..rest.len().min(8)).unwrap_or_default()));
    c = c.wrapping_add(word(rest.get(8..).unwrap_or_default()));
    (_, b, c) = last_mix(a, b, c);
    u64::from(c) << 32 | u64::from(b)
}

/// Up to four bytes, little endian, missing ones being zero.
fn word(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |word, &byte| word << 8 | u32::from(byte))
}

fn mix(mut a: u32, mut b: u32, mut c: u32) -> (u32, u32, u32) {
    a = a.wrapping_sub(c) ^ c.rotate_left(4);
    c = c.wrapping_add(b);
    b = b.wrapping_sub(a) ^ a.rotate_left(6);
    a = a.wrapping_add(c);
    c = c.wrapping_sub(b) ^ b.rotate_left(8);
    b = b.wrapping_add(a);
    a = a.wrapping_sub(c) ^ c.rotate_left(16);
    c = c.wrapping_add(b);
    b = b.wrapping_sub(a) ^ a.rotate_left(19);
    a = a.wrapping_add(c);
    c = c.wrapping_sub(b) ^ b.rotate_left(4);
    b = b.wrapping_add(a);
    (a, b, c)
}

fn last_mix(mut a: u32, mut b: u32, mut c: u32) -> (u32, u32, u32) {
    c = (c ^ b).wrapping_sub(b.rotate_left(14));
    a = (a ^ c).wrapping_sub(c.rotate_left(11));
    b = (b ^ a).wrapping_sub(a.rotate_left(25));
    c = (c ^ b).wrapping_sub(b.rotate_left(16));
    a = (a ^ c).wrapping_sub(c.rotate_left(4));
    b = (b ^ a).wrapping_sub(a.rotate_left(14));
    c = (c ^ b).wrapping_sub(b.rotate_left(24));
    (a, b, c)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `driver5` of lookup3.c prints these for `hashlittle2` with both seeds 0; c is the primary half.
    #[test]
    fn lookup3_golden_values() {
        assert_eq!(jenkins(b"Four score and seven years ago") >> 32, 0x1777_0551);
        assert_eq!(jenkins(b"Four score and seven years ago") as u32, 0xce72_26e6);
        assert_eq!(jenkins(b""), 0xdead_beef_dead_beef);
    }

    /// The vectors of the SipHash paper: key 00…0f, message 00…0e.
    #[test]
    fn siphash_golden_value() {
        let key: [u8; 16] = std::array::from_fn(|i| i as u8);
        let message: Vec<u8> = (0..15).collect();
        assert_eq!(keyed(&key, &message), 0xa129_ca61_49be_45e5);
    }
}
