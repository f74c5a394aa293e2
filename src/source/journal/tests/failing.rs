//! A disk that fails for a while costs no entry; a bad sector costs those on it, and both are told.

use std::time::Duration;

use super::{
    disk::{Disk, Kept, drain},
    from_beginning, lost, read_all,
    writer::{self, Stream, Style},
};
use crate::{limits::JOURNAL_PATIENCE, source::journal::JournalCursor};

const ENTRIES: usize = 300;

fn journal() -> (tempfile::TempDir, Vec<Kept>) {
    let directory = tempfile::tempdir().unwrap();
    writer::write(&directory.path().join("system.journal"), Style::COMMON, &[Stream::new(71).entries(ENTRIES)]);
    let all = read_all(directory.path());
    (directory, all)
}

/// Looks again and again, four times a second.
fn looks(cursor: &mut JournalCursor, disk: &mut Disk, time: Duration) -> Vec<Kept> {
    let (mut kept, end) = (Vec::new(), disk.clock + time);
    while disk.clock < end {
        disk.clock += Duration::from_millis(250);
        cursor.changed();
        kept.extend(drain(cursor, disk));
    }
    kept
}

#[test]
fn a_disk_that_fails_for_a_while_costs_nothing() {
    let (directory, all) = journal();
    let entry = all[ENTRIES / 2].position.offset;
    // The header, the middle of an entry, all behind some entry.
    for broken in [0..4096, entry + 16..entry + 24, entry..u64::MAX] {
        for mut disk in [Disk::warm(), Disk::cold()] {
            let mut cursor = from_beginning(directory.path());
            disk.broken = broken.clone();
            let mut kept = drain(&mut cursor, &mut disk);
            assert!(kept.len() < ENTRIES, "{broken:?}: {} read", kept.len());
            kept.extend(looks(&mut cursor, &mut disk, JOURNAL_PATIENCE / 2));
            let troubles = cursor.take_troubles();
            assert!(kept.len() < ENTRIES && troubles.len() == 1, "{broken:?}: {troubles:?}");
            assert!(troubles[0].contains("system.journal: cannot be read at"), "{troubles:?}");
            disk.broken = 0..0;
            kept.extend(looks(&mut cursor, &mut disk, Duration::from_secs(1)));
            assert!(kept == all, "{broken:?}: {} of {ENTRIES}", kept.len());
            assert_eq!((lost(&cursor), cursor.take_troubles()), ((0, 0, 0), Vec::new()), "{broken:?}");
        }
    }
}

#[test]
fn resuming_waits_for_the_disk_too() {
    let (directory, all) = journal();
    let position = all[ENTRIES / 2].position;
    let start = super::JournalStart::Resume(position);
    for mut disk in [Disk::warm(), Disk::cold()] {
        let mut cursor = JournalCursor::new(&[directory.path().to_owned()], super::everything(), start);
        disk.broken = position.offset..u64::MAX;
        assert!(drain(&mut cursor, &mut disk).is_empty());
        disk.broken = 0..0;
        let kept = looks(&mut cursor, &mut disk, Duration::from_secs(1));
        let new: Vec<Kept> = kept.into_iter().filter(|kept| !kept.look_back).collect();
        assert!(new == all[ENTRIES / 2 + 1..], "{} came", new.len());
    }
}

#[test]
fn a_bad_sector_costs_what_lies_on_it() {
    let (directory, all) = journal();
    let entry = all[ENTRIES / 2].position.offset;
    for mut disk in [Disk::warm(), Disk::cold()] {
        let mut cursor = from_beginning(directory.path());
        disk.broken = entry + 16..entry + 24;
        let mut kept = drain(&mut cursor, &mut disk);
        kept.extend(looks(&mut cursor, &mut disk, 3 * JOURNAL_PATIENCE));
        let without: Vec<Kept> = all.iter().filter(|kept| kept.position.offset != entry).cloned().collect();
        assert!(kept == without, "{} of {ENTRIES}", kept.len());
        let troubles = cursor.take_troubles().join("\n");
        assert_eq!(lost(&cursor), (1, 0, 0), "{troubles}");
        assert!(troubles.contains("for 60 s") && troubles.contains("passed over"), "{troubles}");
    }
}
