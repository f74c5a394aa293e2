//! Two live files that share one counter, as `system.journal` and `user-1000.journal` do.
//!
//! Both hold all their entries from the start; a publisher commits them in the order of their seqnums, one file's
//! header after the other's, whenever the reader touches the disk. Whatever it does, no smaller seqnum may follow a
//! larger one.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use super::{
    JournalCursor, JournalStart,
    disk::{Disk, Kept, drain},
    everything, from_beginning, objects,
    writer::{self, Seeded, Stream, Style},
};
use crate::wire::journal::ObjectKind;

const ENTRIES: usize = 400;

/// Commits entries as a writer does: by the count in the header.
struct Publisher {
    files: [File; 2],
    paths: [(PathBuf, PathBuf); 2],
    /// The file of each seqnum, from 1 on.
    owners: Vec<usize>,
    committed: [u64; 2],
    next: usize,
}

impl Publisher {
    /// Makes both files below `directory`; they appear under their names with their first entry.
    fn new(directory: &Path, random: &mut Seeded) -> Self {
        let hidden = directory.join("hidden");
        std::fs::create_dir(&hidden).unwrap();
        // With the old hash: that of today is keyed by the id of the file, which the second one has to have of its own.
        let style = Style { keyed: false, ..Style::COMMON };
        writer::write(&hidden.join("a.journal"), style, &[Stream::new(51).entries(ENTRIES)]);
        let template = std::fs::read(hidden.join("a.journal")).unwrap();
        // Runs of one file's entries, some of them long.
        let mut owners: Vec<usize> = (0..ENTRIES).flat_map(|_| [0, 1]).collect();
        for _ in 0..200 {
            let (from, to) = (random.below(2 * ENTRIES as u64) as usize, random.below(2 * ENTRIES as u64) as usize);
            owners.swap(from, to);
        }
        let make = |which: usize, name: &str| {
            let mut file = template.clone();
            let seqnums: Vec<u64> =
                (1u64..).zip(&owners).filter(|(_, owner)| **owner == which).map(|(n, _)| n).collect();
            let entries = objects(&file).into_iter().filter(|(_, head)| head.kind == ObjectKind::Entry);
            for ((at, _), seqnum) in entries.zip(&seqnums).collect::<Vec<_>>() {
                file[at + 16..at + 24].copy_from_slice(&seqnum.to_le_bytes());
                // Else the entries of one file would be copies of the other's.
                file[at + 56] ^= which as u8;
            }
            file[24] ^= which as u8;
            file[16] = 1;
            for (at, value) in [(152, 0), (160, seqnums[ENTRIES - 1]), (168, seqnums[0])] {
                file[at..at + 8].copy_from_slice(&value.to_le_bytes());
            }
            let path = hidden.join(name);
            std::fs::write(&path, &file).unwrap();
            let open = File::options().write(true).open(&path).unwrap();
            (open, (path, directory.join(name)))
        };
        let (system, user) = (make(0, "system.journal"), make(1, "user-1000.journal"));
        Self { files: [system.0, user.0], paths: [system.1, user.1], owners, committed: [0; 2], next: 0 }
    }

    fn publish(&mut self, entries: u64) {
        for _ in 0..entries {
            let Some(&owner) = self.owners.get(self.next) else { return };
            self.next += 1;
            self.committed[owner] += 1;
            self.files[owner].write_all_at(&self.committed[owner].to_le_bytes(), 152).unwrap();
            if self.committed[owner] == 1 {
                std::fs::rename(&self.paths[owner].0, &self.paths[owner].1).unwrap();
            }
        }
    }
}

fn seqnums(kept: &[Kept]) -> Vec<u64> {
    kept.iter().filter(|kept| !kept.look_back).map(|kept| kept.position.seqnum).collect()
}

#[test]
fn entries_of_two_live_files_come_in_the_order_they_were_written() {
    let all: Vec<u64> = (1..=2 * ENTRIES as u64).collect();
    for seed in 0..12 {
        println!("seed {seed}");
        let directory = tempfile::tempdir().unwrap();
        let mut random = Seeded(seed);
        let mut publisher = Publisher::new(directory.path(), &mut random);
        let mut disk = if seed % 3 == 0 { Disk::cold() } else { Disk::warm() };
        disk.meanwhile = Some(Box::new(move || {
            if random.below(4) == 0 {
                publisher.publish(random.below(6));
            }
        }));
        let (mut cursor, mut kept) = (from_beginning(directory.path()), Vec::new());
        for _ in 0..100_000 {
            if kept.len() == all.len() {
                break;
            }
            cursor.changed();
            kept.extend(drain(&mut cursor, &mut disk));
        }
        assert_eq!(seqnums(&kept), all);
        assert_eq!(cursor.take_troubles(), Vec::<String>::new());
        for at in (0..kept.len()).step_by(61) {
            let start = JournalStart::Resume(kept[at].position);
            let mut cursor = JournalCursor::new(&[directory.path().to_owned()], everything(), start);
            assert_eq!(seqnums(&drain(&mut cursor, &mut Disk::warm())), all[at + 1..], "resumed after {}", at + 1);
        }
    }
}

/// A seqnum that is too large, but no larger than others of its file, was once read behind entries of the other file;
/// what lay between was lost at a kill.
#[test]
fn a_damaged_seqnum_among_those_of_two_files_costs_no_entry_at_a_kill() {
    let place = |kept: &Kept| (kept.position.file_id, kept.position.offset);
    let all_of = |directory: &Path| {
        let mut cursor = from_beginning(directory);
        let kept = drain(&mut cursor, &mut Disk::warm());
        (kept, cursor.take_troubles().len())
    };
    for state in [1, 2] {
        let directory = tempfile::tempdir().unwrap();
        Publisher::new(directory.path(), &mut Seeded(77)).publish(2 * ENTRIES as u64);
        let path = directory.path().join("user-1000.journal");
        let mut sound = std::fs::read(&path).unwrap();
        sound[16] = state;
        let entries = objects(&sound).into_iter().filter(|(_, head)| head.kind == ObjectKind::Entry);
        let at = entries.clone().nth(100).unwrap().0 + 16;
        std::fs::write(&path, &sound).unwrap();
        let (all, troubles) = all_of(directory.path());
        assert_eq!((all.len(), troubles), (2 * ENTRIES, 0));
        for bit in [5, 8, 9, 40] {
            let mut file = sound.clone();
            file[at + bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, &file).unwrap();
            let (kept, troubles) = all_of(directory.path());
            assert_eq!((kept.len(), troubles), (all.len(), 1), "bit {bit}");
            for at in (150..kept.len()).step_by(29) {
                let start = JournalStart::Resume(kept[at].position);
                let mut cursor = JournalCursor::new(&[directory.path().to_owned()], everything(), start);
                let got = drain(&mut cursor, &mut Disk::warm());
                let got: std::collections::HashSet<_> = got.iter().map(place).collect();
                let lost = kept[at + 1..].iter().filter(|kept| !got.contains(&place(kept))).count();
                assert_eq!(lost, 0, "bit {bit}, state {state}, resumed after {at}");
            }
        }
    }
}
