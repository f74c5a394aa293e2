//! Entries that stand in two files.
//!
//! The flush from `/run` to `/var` copies entries under new seqnums, and journald repeats an append that failed halfway
//! in the next file. A copy has the same boot, times and hash of its fields. Neighbours *within* a file may be equal in
//! all of these and still be two: a service that printed the same line twice at once. So copies are told by count: the
//! second of two equal entries of a file is new when only one was read of any other file.
//!
//! Nearly every entry is younger than all before it and cannot be a copy: it is only noted, in order. The first one
//! that might be makes an index of what was noted.

use std::collections::{HashMap, VecDeque};

use crate::{limits::JOURNAL_REMEMBERED_MAX, wire::journal::EntryHead};

/// How often equal entries were met.
#[derive(Clone, Copy, Debug, Default)]
struct Met {
    /// The file met last, and how often in it.
    file: u32,
    times: u32,
    /// In the file where they were met most often: so many were handed on.
    most: u32,
}

/// What was handed on, within bounds.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    noted: VecDeque<(u64, u32)>,
    index: Option<HashMap<u64, Met>>,
    boot_id: [u8; 16],
    /// The youngest entry of this boot, and its file.
    monotonic: u64,
    file: u32,
}

impl Repeats {
    /// Whether this entry of `file` was handed on before, of another file; to be asked once for each entry.
    #[inline]
    pub fn is_repeat(&mut self, file: u32, head: &EntryHead) -> bool {
        let newest = self.noted.is_empty() || (head.boot_id == self.boot_id && head.monotonic > self.monotonic);
        let neighbour = head.boot_id == self.boot_id && head.monotonic == self.monotonic && file == self.file;
        let key = key(head);
        if !newest && !neighbour && self.met(file, key) {
            return true;
        }
        self.note(file, key);
        if newest || head.boot_id != self.boot_id {
            (self.boot_id, self.monotonic) = (head.boot_id, head.monotonic);
        }
        self.file = file;
        false
    }

    /// The index is made anew when it is needed.
    pub fn rest(&mut self) {
        self.index = None;
    }

    /// Counts an entry that may be a copy; true if it is one.
    fn met(&mut self, file: u32, key: u64) -> bool {
        let noted = &self.noted;
        let index = self.index.get_or_insert_with(|| {
            let mut index: HashMap<u64, Met> = HashMap::with_capacity(noted.len());
            noted.iter().for_each(|&(key, file)| index.entry(key).or_default().meet(file));
            index
        });
        let Some(met) = index.get_mut(&key) else { return false };
        let mut once_more = *met;
        once_more.meet(file);
        if once_more.most > met.most {
            return false;
        }
        *met = once_more;
        true
    }

    #[inline]
    fn note(&mut self, file: u32, key: u64) {
        if self.noted.len() == JOURNAL_REMEMBERED_MAX
            && let Some((oldest, _)) = self.noted.pop_front()
            && let Some(index) = &mut self.index
        {
            index.remove(&oldest);
        }
        self.noted.push_back((key, file));
        if let Some(index) = &mut self.index {
            index.entry(key).or_default().meet(file);
        }
    }
}

impl Met {
    fn meet(&mut self, file: u32) {
        self.times = if self.file == file { self.times + 1 } else { 1 };
        self.file = file;
        self.most = self.most.max(self.times);
    }
}

/// Boot, times and fields of an entry in one number. Files are compared by it, not people's passwords: a few
/// multiplications that keep all bits are enough.
#[inline]
fn key(head: &EntryHead) -> u64 {
    const ODD: [u64; 3] = [0x9e37_79b9_7f4a_7c15, 0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb];
    let boot = u64::from_le_bytes(*head.boot_id.first_chunk().unwrap_or(&[0; 8]));
    let fold = |a: u64, b: u64| {
        let product = u128::from(a) * u128::from(b);
        product as u64 ^ (product >> 64) as u64
    };
    fold(head.monotonic ^ ODD[0], head.realtime ^ boot ^ ODD[1]) ^ fold(head.xor_hash ^ ODD[2], ODD[0] ^ head.monotonic)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(monotonic: u64, fields: u64) -> EntryHead {
        EntryHead { size: 64, seqnum: 1, realtime: monotonic, monotonic, boot_id: [1; 16], xor_hash: fields }
    }

    fn taken(repeats: &mut Repeats, file: u32, entries: &[(u64, u64)]) -> Vec<bool> {
        entries.iter().map(|&(time, fields)| !repeats.is_repeat(file, &entry(time, fields))).collect()
    }

    #[test]
    fn copies_in_another_file_are_known_and_equal_neighbours_are_not_copies() {
        let mut repeats = Repeats::default();
        let first = [(10, 1), (11, 2), (11, 2), (12, 3)];
        assert_eq!(taken(&mut repeats, 1, &first), [true; 4]);
        assert_eq!(taken(&mut repeats, 2, &first), [false; 4]);
        assert_eq!(taken(&mut repeats, 2, &[(13, 4), (13, 4), (14, 5)]), [true; 3]);
        assert_eq!(taken(&mut repeats, 3, &[(11, 2), (11, 2), (11, 2), (13, 9)]), [false, false, true, true]);
        repeats.rest();
        assert_eq!(taken(&mut repeats, 4, &[(12, 3), (13, 4), (13, 4), (15, 1)]), [false, false, false, true]);
    }

    #[test]
    fn an_entry_repeated_after_rotation_is_known() {
        let mut repeats = Repeats::default();
        assert_eq!(taken(&mut repeats, 1, &[(1, 1), (2, 2)]), [true; 2]);
        assert_eq!(taken(&mut repeats, 2, &[(2, 2), (2, 3), (3, 1)]), [false, true, true]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut repeats = Repeats::default();
        for n in 0..3 * JOURNAL_REMEMBERED_MAX as u64 {
            assert!(!repeats.is_repeat(1, &entry(n + 1, n)));
        }
        assert_eq!(repeats.noted.len(), JOURNAL_REMEMBERED_MAX);
        let newest = 3 * JOURNAL_REMEMBERED_MAX as u64;
        assert!(repeats.is_repeat(2, &entry(newest, newest - 1)));
        assert!(!repeats.is_repeat(2, &entry(1, 0)), "too long ago");
    }
}
