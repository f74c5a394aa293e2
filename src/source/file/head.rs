//! The head of a file: what tells it from another file that got its inode.

use xxhash_rust::xxh3::xxh3_64;

use crate::{limits::FINGERPRINT_BYTES, model::FileIdentity, ring::Meta};

/// The first bytes of a file, at most `FINGERPRINT_BYTES`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    bytes: Vec<u8>,
}

impl Head {
    /// Keeps at most `FINGERPRINT_BYTES` of `bytes`, which begin at offset 0.
    pub fn new(bytes: &[u8]) -> Self {
        Self { bytes: bytes[..bytes.len().min(FINGERPRINT_BYTES)].to_vec() }
    }

    /// The identity of the file this is the head of.
    pub fn identity(&self, meta: &Meta) -> FileIdentity {
        FileIdentity {
            device: meta.device,
            inode: meta.inode,
            generation: meta.generation,
            head_bytes: self.bytes.len() as u32,
            head_hash: xxh3_64(&self.bytes),
        }
    }

    /// Whether the file `known` was when it was seen may have grown into the file with this head: same inode, and what
    /// was hashed then still stands at its beginning.
    pub fn continues(&self, known: &FileIdentity, meta: &Meta) -> bool {
        let same_inode =
            known.device == meta.device && known.inode == meta.inode && known.generation == meta.generation;
        let head = self.bytes.get(..known.head_bytes as usize);
        same_inode && head.is_some_and(|head| xxh3_64(head) == known.head_hash)
    }

    /// Whether more of the file could still be hashed.
    pub fn is_short(&self) -> bool {
        self.bytes.len() < FINGERPRINT_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta() -> Meta {
        Meta { device: 1, inode: 2, generation: 3, ..Meta::default() }
    }

    #[test]
    fn a_grown_file_is_still_itself() {
        let young = Head::new(b"first line\n").identity(&meta());
        assert!(Head::new(b"first line\nsecond line\n").continues(&young, &meta()));
    }

    #[test]
    fn a_reused_inode_with_another_head_is_another_file() {
        let old = Head::new(b"first line\n").identity(&meta());
        assert!(!Head::new(b"other line\nsecond line\n").continues(&old, &meta()));
        assert!(!Head::new(b"first").continues(&old, &meta()), "shorter than what was hashed");
        let elsewhere = Meta { generation: 4, ..meta() };
        assert!(!Head::new(b"first line\n").continues(&old, &elsewhere));
    }
}
