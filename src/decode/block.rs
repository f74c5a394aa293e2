//! Sixty-four bytes at a time: at which places of a block certain bytes stand, as one bit a byte.
//!
//! A line is looked at once, block by block; what reads it then steps from set bit to set bit instead of from byte to
//! byte. The comparisons are vector instructions where every machine of the target has them (SSE2 on x86-64, NEON on
//! ARM64), by way of the `wide` crate, which keeps them safe to call.

use wide::u8x16;

/// Bytes of a block: the bits of a mask.
pub(super) const BLOCK: usize = 64;

/// Bit *i* stands for byte *i* of a block.
pub(super) type Mask = u64;

/// A block of a text; behind the end of the text nothing stands.
pub(super) struct Block {
    lanes: [u8x16; 4],
    /// Places at its beginning that lie before the place asked for.
    early: u32,
}

impl Block {
    /// The block that begins at `at`, which lies within `text`.
    #[inline(always)]
    pub fn at(text: &[u8], at: usize) -> Self {
        if let Some(bytes) = text.get(at..).and_then(|rest| rest.first_chunk::<BLOCK>()) {
            Self::of(bytes, 0)
        } else if let Some(bytes) = text.last_chunk::<BLOCK>() {
            Self::of(bytes, (at + BLOCK - text.len()).min(BLOCK) as u32)
        } else {
            Self::short(text, at)
        }
    }

    /// Of a text shorter than a block.
    #[cold]
    fn short(text: &[u8], at: usize) -> Self {
        let rest = text.get(at..).unwrap_or_default();
        let mut bytes = [0; BLOCK];
        bytes[..rest.len()].copy_from_slice(rest);
        Self::of(&bytes, 0)
    }

    #[inline(always)]
    fn of(bytes: &[u8; BLOCK], early: u32) -> Self {
        let (lanes, _) = bytes.as_chunks::<16>();
        let lane = |number: usize| u8x16::new(lanes[number]);
        Self { lanes: [lane(0), lane(1), lane(2), lane(3)], early }
    }

    /// Where `byte` stands.
    #[inline(always)]
    pub fn is(&self, byte: u8) -> Mask {
        let byte = u8x16::splat(byte);
        self.mask(|lane| lane.simd_eq(byte))
    }

    /// Where `one` or `other` stands.
    #[inline(always)]
    pub fn is_either(&self, one: u8, other: u8) -> Mask {
        let (one, other) = (u8x16::splat(one), u8x16::splat(other));
        self.mask(|lane| lane.simd_eq(one) | lane.simd_eq(other))
    }

    #[inline(always)]
    fn mask(&self, equal: impl Fn(u8x16) -> u8x16) -> Mask {
        let bits = |number: usize| Mask::from(equal(self.lanes[number]).to_bitmask() as u16) << (number * 16);
        (bits(0) | bits(1) | bits(2) | bits(3)).checked_shr(self.early).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn as_byte_by_byte(text in "[ab\"\\\\]{0,150}", at in 0usize..150) {
            let text = text.as_bytes();
            let block = Block::at(text, at);
            for (byte, mask) in [(b'"', block.is(b'"')), (b'\\', block.is(b'\\')), (b'a', block.is(b'a'))] {
                for i in 0..BLOCK {
                    prop_assert_eq!(mask >> i & 1 == 1, text.get(at + i) == Some(&byte));
                }
            }
            prop_assert_eq!(block.is_either(b'a', b'b'), block.is(b'a') | block.is(b'b'));
        }
    }
}
