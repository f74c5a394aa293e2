//! A disk that fails for a while costs no entry; a bad sector costs those on it, and both are told.

use std::{fs::File, os::unix::fs::FileExt, time::Duration};

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
            assert!(cursor.is_failing(), "{broken:?}: not at the end");
            assert!(troubles[0].contains("system.journal: cannot be read at"), "{troubles:?}");
            disk.broken = 0..0;
            kept.extend(looks(&mut cursor, &mut disk, Duration::from_secs(1)));
            assert!(kept == all && !cursor.is_failing(), "{broken:?}: {} of {ENTRIES}", kept.len());
            assert_eq!((lost(&cursor), cursor.take_troubles()), ((0, 0, 0), Vec::new()), "{broken:?}");
        }
    }
}

#[test]
fn what_cannot_be_opened_for_a_while_is_not_left_behind() {
    for mut disk in [Disk::warm(), Disk::cold()] {
        let directory = tempfile::tempdir().unwrap();
        let live = directory.path().join("system.journal");
        writer::write(&live, Style::COMMON, &[Stream::new(71).entries(ENTRIES)]);
        let mut cursor = from_beginning(directory.path());
        let mut kept = drain(&mut cursor, &mut disk);
        assert_eq!(kept.len(), ENTRIES);
        // A second file comes while no more can be opened, and another one after that.
        disk.is_full = true;
        writer::write(&directory.path().join("user-1.journal"), Style::COMMON, &[Stream::new(72).entries(5)]);
        kept.extend(looks(&mut cursor, &mut disk, JOURNAL_PATIENCE / 2));
        assert_eq!(kept.len(), ENTRIES, "it waits");
        assert!(cursor.take_troubles().join("\n").contains("cannot be"));
        disk.is_full = false;
        kept.extend(looks(&mut cursor, &mut disk, Duration::from_secs(1)));
        assert_eq!((kept.len(), lost(&cursor)), (ENTRIES + 5, (0, 0, 0)));
    }
}

#[test]
fn what_cannot_be_opened_for_long_holds_up_nothing() {
    let (directory, all) = journal();
    let live = File::options().write(true).open(directory.path().join("system.journal")).unwrap();
    let commit = |entries: usize| live.write_all_at(&(entries as u64).to_le_bytes(), 152).unwrap();
    commit(ENTRIES - 7);
    let mut disk = Disk::warm();
    let mut cursor = from_beginning(directory.path());
    let mut kept = drain(&mut cursor, &mut disk);
    assert_eq!(kept.len(), ENTRIES - 7);
    disk.is_full = true;
    // The live file is open, and goes on growing.
    commit(ENTRIES);
    assert!(looks(&mut cursor, &mut disk, JOURNAL_PATIENCE / 2).is_empty());
    kept.extend(looks(&mut cursor, &mut disk, JOURNAL_PATIENCE));
    assert!(kept == all, "{} of {ENTRIES}", kept.len());
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
    // Among what is read of an entry first, and behind it.
    for (mut disk, at) in [16, 72].into_iter().flat_map(|at| [(Disk::warm(), at), (Disk::cold(), at)]) {
        let mut cursor = from_beginning(directory.path());
        disk.broken = entry + at..entry + at + 8;
        let mut kept = drain(&mut cursor, &mut disk);
        kept.extend(looks(&mut cursor, &mut disk, 3 * JOURNAL_PATIENCE));
        let without: Vec<Kept> = all.iter().filter(|kept| kept.position.offset != entry).cloned().collect();
        assert!(kept == without, "{} of {ENTRIES}", kept.len());
        let troubles = cursor.take_troubles().join("\n");
        assert_eq!(lost(&cursor), (1, 0, 0), "{troubles}");
        assert!(troubles.contains("for 60 s") && troubles.contains("passed over"), "{troubles}");
    }
}
