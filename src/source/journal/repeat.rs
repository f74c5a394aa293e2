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

/// Neighbours of one file among what was noted.
#[derive(Clone, Copy, Debug)]
struct Run {
    file: u32,
    /// The number of its first entry, by `Repeats::total`.
    from: u64,
}

/// What was handed on, within bounds.
#[derive(Clone, Debug, Default)]
pub(super) struct Repeats {
    /// Keys of the last `JOURNAL_REMEMBERED_MAX` entries; the *n*-th noted stands at *n* modulo that.
    keys: Vec<u64>,
    /// Entries noted, ever.
    total: u64,
    runs: VecDeque<Run>,
    index: Option<HashMap<u64, Met>>,
    boot_id: [u8; 16],
    /// The youngest entry of this boot.
    monotonic: u64,
}

impl Repeats {
    /// Whether this entry of `file` was handed on before, of another file; to be asked once for each entry.
    #[inline]
    pub fn is_repeat(&mut self, file: u32, head: &EntryHead) -> bool {
        let same_boot = head.boot_id == self.boot_id;
        if self.total == 0 || (same_boot && head.monotonic > self.monotonic) {
            (self.boot_id, self.monotonic) = (head.boot_id, head.monotonic);
            self.note(file, key(head));
            return false;
        }
        let neighbour =
            same_boot && head.monotonic == self.monotonic && self.runs.back().map(|run| run.file) == Some(file);
        let key = key(head);
        if !neighbour && self.met(file, key) {
            return true;
        }
        self.note(file, key);
        if !same_boot {
            (self.boot_id, self.monotonic) = (head.boot_id, head.monotonic);
        }
        false
    }

    /// The index is made anew when it is needed.
    pub fn rest(&mut self) {
        self.index = None;
    }

    /// Counts an entry that may be a copy; true if it is one.
    fn met(&mut self, file: u32, key: u64) -> bool {
        if self.index.is_none() {
            self.index = Some(self.make_index());
        }
        let Some(met) = self.index.as_mut().and_then(|index| index.get_mut(&key)) else { return false };
        let mut once_more = *met;
        once_more.meet(file);
        if once_more.most > met.most {
            return false;
        }
        *met = once_more;
        true
    }

    fn make_index(&self) -> HashMap<u64, Met> {
        let mut index: HashMap<u64, Met> = HashMap::with_capacity(self.keys.len());
        let oldest = self.total - self.keys.len() as u64;
        let mut ends = self.runs.iter().skip(1).map(|run| run.from).chain([self.total]);
        for run in &self.runs {
            let end = ends.next().unwrap_or(self.total);
            for number in run.from.max(oldest)..end {
                if let Some(&key) = self.keys.get(number as usize % JOURNAL_REMEMBERED_MAX) {
                    index.entry(key).or_default().meet(run.file);
                }
            }
        }
        index
    }

    #[inline]
    fn note(&mut self, file: u32, key: u64) {
        let place = self.total as usize % JOURNAL_REMEMBERED_MAX;
        let forgotten = match self.keys.get_mut(place) {
            Some(oldest) => Some(std::mem::replace(oldest, key)),
            None => {
                self.keys.push(key);
                None
            }
        };
        if self.runs.back().is_none_or(|run| run.file != file) {
            let oldest = (self.total + 1) - self.keys.len() as u64;
            while self.runs.get(1).is_some_and(|second| second.from <= oldest) {
                self.runs.pop_front();
            }
            self.runs.push_back(Run { file, from: self.total });
        }
        self.total += 1;
        if let Some(index) = &mut self.index {
            forgotten.and_then(|oldest| index.remove(&oldest));
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

/// Boot, times and fields of an entry in one number. Files are compared by it, not people's passwords: the hash of the
/// fields spreads well by itself, and a multiplication by an odd number keeps all bits of the time.
#[inline]
fn key(head: &EntryHead) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let boot = u64::from_le_bytes(*head.boot_id.first_chunk().unwrap_or(&[0; 8]));
    (head.monotonic ^ boot).wrapping_mul(ODD) ^ head.realtime.rotate_left(32) ^ head.xor_hash
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
        assert_eq!(repeats.keys.len(), JOURNAL_REMEMBERED_MAX);
        let newest = 3 * JOURNAL_REMEMBERED_MAX as u64;
        assert!(repeats.is_repeat(2, &entry(newest, newest - 1)));
        assert!(!repeats.is_repeat(2, &entry(1, 0)), "too long ago");
    }

    #[test]
    fn files_that_take_turns_are_told_apart_and_bounded() {
        let mut repeats = Repeats::default();
        for n in 0..2 * JOURNAL_REMEMBERED_MAX as u64 {
            assert!(!repeats.is_repeat(n as u32 % 2, &entry(n + 1, n)));
        }
        assert!(repeats.runs.len() <= JOURNAL_REMEMBERED_MAX + 1);
        for n in 2 * JOURNAL_REMEMBERED_MAX as u64 - 1000..2 * JOURNAL_REMEMBERED_MAX as u64 {
            assert!(repeats.is_repeat((n as u32 % 2) ^ 1, &entry(n + 1, n)), "the copy in the other file");
        }
    }
}
