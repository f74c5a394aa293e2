//! Files that were vacuumed before anybody saw them: what is missing among the seqnums is counted, once, and told; and
//! nothing is told of what only looks like it.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use super::{
    JournalCursor, JournalStart,
    disk::{Disk, Kept, drain, take},
    everything, from_beginning, input, objects,
    writer::{self, Seeded, Stream, Style},
};
use crate::{limits::JOURNAL_LOOKUP_ENTRIES_MIN, model::Nanos, plan::StartAt, wire::journal::ObjectKind};

const ONLINE: u8 = 1;
const ARCHIVED: u8 = 2;

/// A directory into which files of one seqnum id are put.
struct Journal {
    directory: tempfile::TempDir,
    files: u8,
}

impl Journal {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), files: 0 }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A file whose entries have these seqnums.
    fn put(&mut self, name: &str, state: u8, seqnums: impl IntoIterator<Item = u64>) -> PathBuf {
        let seqnums: Vec<u64> = seqnums.into_iter().collect();
        let hidden = tempfile::tempdir().unwrap();
        let made = hidden.path().join("made.journal");
        // With the old hash: that of today is keyed by the id of the file.
        let style = Style { keyed: false, ..Style::COMMON };
        writer::write(&made, style, &[Stream::new(81).entries(seqnums.len())]);
        let mut file = std::fs::read(&made).unwrap();
        let entries = objects(&file).into_iter().filter(|(_, head)| head.kind == ObjectKind::Entry);
        let entries: Vec<usize> = entries.map(|(at, _)| at).collect();
        for (&at, seqnum) in entries.iter().zip(&seqnums) {
            // The clock goes with the seqnums, and no entry is the copy of another.
            for (field, value) in [(16, *seqnum), (24, 1_700_000_000_000_000 + seqnum), (32, *seqnum)] {
                file[at + field..at + field + 8].copy_from_slice(&value.to_le_bytes());
            }
        }
        self.files += 1;
        (file[16], file[24]) = (state, self.files);
        file[72..88].copy_from_slice(&[7; 16]);
        let (head, tail) = (seqnums[0], seqnums[seqnums.len() - 1]);
        let time = |seqnum: u64| 1_700_000_000_000_000 + seqnum;
        for (at, value) in [(160, tail), (168, head), (184, time(head)), (192, time(tail)), (200, tail)] {
            file[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        let path = self.path(name);
        std::fs::write(&path, &file).unwrap();
        path
    }

    /// What journald does at rotation to the file it writes.
    fn archive(&self, live: &str, archived: &str) {
        let file = File::options().write(true).open(self.path(live)).unwrap();
        file.write_all_at(&[ARCHIVED], 16).unwrap();
        std::fs::rename(self.path(live), self.path(archived)).unwrap();
    }

    fn remove(&self, name: &str) {
        std::fs::remove_file(self.path(name)).unwrap();
    }

    fn reader(&self) -> JournalCursor {
        from_beginning(self.directory.path())
    }

    fn at(&self, start: JournalStart) -> JournalCursor {
        JournalCursor::new(&[self.directory.path().to_owned()], everything(), start)
    }
}

fn seqnums(kept: &[Kept]) -> Vec<u64> {
    kept.iter().filter(|kept| !kept.look_back).map(|kept| kept.position.seqnum).collect()
}

fn more(cursor: &mut JournalCursor, disk: &mut Disk) -> Vec<Kept> {
    let mut kept = Vec::new();
    for _ in 0..3 {
        cursor.changed();
        kept.extend(drain(cursor, disk));
    }
    kept
}

/// So many are missing, and that was told once.
fn assert_gap(cursor: &mut JournalCursor, entries: u64) {
    let troubles = cursor.take_troubles();
    assert_eq!((cursor.counts().unattributed, troubles.len()), (entries, usize::from(entries > 0)), "{troubles:?}");
    assert!(entries == 0 || troubles[0].contains(&format!("at most {entries} entries")), "{troubles:?}");
}

#[test]
fn a_file_made_and_vacuumed_while_the_node_was_stopped_is_a_gap() {
    for mut disk in [Disk::warm(), Disk::cold()] {
        let mut journal = Journal::new();
        journal.put("system.journal", ONLINE, 1..=200);
        let mut cursor = journal.reader();
        assert_eq!(drain(&mut cursor, &mut disk).len(), 200);
        journal.archive("system.journal", "system@1.journal");
        journal.put("system.journal", ONLINE, 301..=350);
        assert_eq!(seqnums(&more(&mut cursor, &mut disk)), (301..=350).collect::<Vec<_>>());
        assert_gap(&mut cursor, 100);
        // And again, after the first was taken away.
        journal.remove("system@1.journal");
        more(&mut cursor, &mut disk);
        journal.archive("system.journal", "system@2.journal");
        journal.put("system.journal", ONLINE, 361..=400);
        assert_eq!(seqnums(&more(&mut cursor, &mut disk)).len(), 40);
        assert_eq!((cursor.counts().unattributed, cursor.take_troubles().len()), (110, 1));
    }
}

#[test]
fn a_file_made_and_vacuumed_while_reading_was_held_up_is_a_gap() {
    let mut journal = Journal::new();
    journal.put("system.journal", ONLINE, 1..=200);
    let (mut cursor, mut disk) = (journal.reader(), Disk::warm());
    let mut kept = take(&mut cursor, &mut disk, 50);
    journal.archive("system.journal", "system@1.journal");
    journal.put("system.journal", ONLINE, 301..=350);
    cursor.changed();
    kept.extend(more(&mut cursor, &mut disk));
    assert_eq!(seqnums(&kept), (1..=200).chain(301..=350).collect::<Vec<_>>());
    assert_gap(&mut cursor, 100);
}

#[test]
fn a_file_vacuumed_before_a_restart_is_a_gap_although_that_of_the_position_is_there() {
    for tail in [Vec::new(), vec![250, 320]] {
        let mut journal = Journal::new();
        journal.put("system@1.journal", ARCHIVED, 1..=200);
        journal.put("user-1000.journal", ONLINE, [201].into_iter().chain(tail.clone()));
        let mut cursor = journal.reader();
        let position = take(&mut cursor, &mut Disk::warm(), 201)[200].position;
        assert_eq!(position.seqnum, 201);
        journal.remove("system@1.journal");
        journal.put("system.journal", ONLINE, (302..=350).filter(|seqnum| !tail.contains(seqnum)));
        let mut cursor = journal.at(JournalStart::Resume(position));
        let kept = drain(&mut cursor, &mut Disk::cold());
        let in_user = tail.iter().filter(|seqnum| **seqnum < 302).count();
        assert_eq!(seqnums(&kept).len(), 49 + in_user, "{tail:?}");
        assert_gap(&mut cursor, 100 - in_user as u64);
    }
}

#[test]
fn files_that_cannot_match_do_not_hide_a_gap() {
    let many = JOURNAL_LOOKUP_ENTRIES_MIN;
    let mut journal = Journal::new();
    journal.put("system@1.journal", ARCHIVED, 1..=many);
    let nobody = vec![input(Some("nobody"), None, &[])];
    let directories = [journal.directory.path().to_owned()];
    let mut cursor = JournalCursor::new(&directories, nobody, JournalStart::At(StartAt::Beginning, Nanos(0)));
    let mut disk = Disk::warm();
    assert!(drain(&mut cursor, &mut disk).is_empty());
    journal.put("system@2.journal", ARCHIVED, many + 1..=2 * many);
    more(&mut cursor, &mut disk);
    assert_gap(&mut cursor, 0);
    journal.put("system@3.journal", ARCHIVED, 2 * many + 51..=3 * many + 50);
    more(&mut cursor, &mut disk);
    assert_gap(&mut cursor, 50);
    assert_eq!(cursor.counts().read, 0, "none was looked at");
}

/// What is wanted is found by the index of an archived file; entries of another file lie between.
#[test]
fn entries_passed_over_by_an_index_are_no_gap() {
    let many = 4 * JOURNAL_LOOKUP_ENTRIES_MIN;
    let mut journal = Journal::new();
    let mut random = Seeded(5);
    let owners: Vec<u64> = (0..2 * many).map(|_| random.below(5)).collect();
    let of = |user: bool| (1..=2 * many).filter(|n| (owners[*n as usize - 1] == 0) == user).collect::<Vec<_>>();
    journal.put("system.journal", ONLINE, 0..1);
    let etcd = vec![input(Some("etcd"), None, &[])];
    let directories = [journal.directory.path().to_owned()];
    let mut cursor = JournalCursor::new(&directories, etcd, JournalStart::At(StartAt::Beginning, Nanos(0)));
    let mut disk = Disk::cold();
    more(&mut cursor, &mut disk);
    journal.put("system@1.journal", ARCHIVED, of(false));
    journal.put("user-1000@1.journal", ARCHIVED, of(true));
    journal.put("user-1001@1.journal", ARCHIVED, 2 * many + 1..=2 * many + 1000);
    let kept = more(&mut cursor, &mut disk);
    assert!(kept.len() > 100 && kept.len() < many as usize, "{}", kept.len());
    assert_gap(&mut cursor, 0);
}

#[test]
fn rotation_and_journals_of_users_are_no_gap() {
    for mut disk in [Disk::warm(), Disk::cold()] {
        let mut journal = Journal::new();
        let mut random = Seeded(11);
        let mut cursor = journal.reader();
        let (mut seqnum, mut all) = (0, Vec::new());
        for round in 0..12 {
            let mut of: [Vec<u64>; 3] = Default::default();
            for _ in 0..150 {
                seqnum += 1;
                of[random.below(3) as usize].push(seqnum);
            }
            all.extend(seqnum - 149..=seqnum);
            let names = ["system", "user-1", "user-2"];
            for (name, seqnums) in names.into_iter().zip(&of) {
                let live = format!("{name}.journal");
                if round > 0 {
                    journal.archive(&live, &format!("{name}@{round}.journal"));
                }
                journal.put(&live, ONLINE, seqnums.iter().copied());
            }
            if round % 3 != 0 {
                let kept = more(&mut cursor, &mut disk);
                assert_eq!(seqnums(&kept), all, "round {round}");
                all.clear();
                assert_gap(&mut cursor, 0);
            }
        }
        let kept = seqnums(&drain(&mut journal.reader(), &mut Disk::warm()));
        assert_eq!(kept, (1..=seqnum).collect::<Vec<_>>());
        for at in (0..seqnum as usize).step_by(97) {
            let position = take(&mut journal.reader(), &mut Disk::warm(), at + 1)[at].position;
            let mut cursor = journal.at(JournalStart::Resume(position));
            assert_eq!(seqnums(&drain(&mut cursor, &mut disk)).len(), kept.len() - at - 1);
            assert_gap(&mut cursor, 0);
        }
    }
}

/// A failed append uses a seqnum, wherever in a file.
/// journald of systemd 252 counts for all its files, and gives that of a user a seqnum id of its own.
#[test]
fn journals_of_two_ids_with_one_counter_are_no_gap() {
    let mut journal = Journal::new();
    let own_id = |path: PathBuf| {
        let file = File::options().write(true).open(path).unwrap();
        file.write_all_at(&[8; 16], 72).unwrap();
    };
    journal.put("system.journal", ONLINE, (1..=300).filter(|n| !(41..=45).contains(n)));
    own_id(journal.put("user-1000.journal", ONLINE, 41..=45));
    let (mut cursor, mut disk) = (journal.reader(), Disk::warm());
    assert_eq!(drain(&mut cursor, &mut disk).len(), 300);
    journal.archive("system.journal", "system@a.journal");
    journal.archive("user-1000.journal", "user-1000@a.journal");
    journal.put("system.journal", ONLINE, (301..=500).filter(|n| !(401..=403).contains(n)));
    own_id(journal.put("user-1000.journal", ONLINE, 401..=403));
    assert_eq!(more(&mut cursor, &mut disk).len(), 200);
    assert_gap(&mut cursor, 0);
    // What nobody used is missed all the same.
    journal.archive("system.journal", "system@b.journal");
    journal.archive("user-1000.journal", "user-1000@b.journal");
    own_id(journal.put("user-1000.journal", ONLINE, 20_001..=20_002));
    assert_eq!(more(&mut cursor, &mut disk).len(), 2);
    let missed = cursor.counts().unattributed;
    assert!((10_000..=19_500).contains(&missed), "{missed}");
}

/// A target that lagged and left the others' walk was sent the last five seconds of the other ids again.
#[test]
fn a_reader_beside_another_goes_on_where_that_one_is_in_files_of_every_id() {
    for stop in [1, 40, 130, 177] {
        let mut journal = Journal::new();
        journal.put("system.journal", ONLINE, (1..=300).filter(|n| n % 3 > 0));
        let path = journal.put("user-1000.journal", ONLINE, (1..=300).filter(|n| n % 3 == 0));
        File::options().write(true).open(path).unwrap().write_all_at(&[8; 16], 72).unwrap();
        let (mut cursor, mut disk) = (journal.reader(), Disk::warm());
        let first = take(&mut cursor, &mut disk, stop);
        let mut beside = cursor.beside(everything()).unwrap();
        let (rest, others) = (drain(&mut cursor, &mut disk), drain(&mut beside, &mut Disk::cold()));
        assert_eq!((first.len() + rest.len(), seqnums(&rest)), (300, seqnums(&others)), "after {stop}");
    }
}

/// journald unlinks what it vacuums, empties it, and the reader still holds it open.
#[test]
fn a_file_that_is_emptied_when_it_is_vacuumed_is_not_unreadable() {
    let mut journal = Journal::new();
    journal.put("system.journal", ONLINE, 1..=50);
    let path = journal.put("user-1000.journal", ONLINE, 51..=60);
    let (mut cursor, mut disk) = (journal.reader(), Disk::warm());
    assert_eq!(drain(&mut cursor, &mut disk).len(), 60);
    let file = File::options().write(true).open(path).unwrap();
    journal.remove("user-1000.journal");
    file.write_all_at(&vec![0; file.metadata().unwrap().len() as usize], 0).unwrap();
    assert!(more(&mut cursor, &mut disk).is_empty());
    assert_eq!((cursor.take_troubles(), cursor.unreadable().len()), (Vec::new(), 0));
}

#[test]
fn seqnums_that_were_never_used_within_a_file_are_no_gap() {
    let used = |from: u64, to: u64| (from..=to).filter(|seqnum| !seqnum.is_multiple_of(50));
    let mut journal = Journal::new();
    journal.put("system.journal", ONLINE, used(1, 199));
    let (mut cursor, mut disk) = (journal.reader(), Disk::warm());
    drain(&mut cursor, &mut disk);
    journal.archive("system.journal", "system@1.journal");
    journal.put("system@2.journal", ARCHIVED, used(201, 399).chain([400]));
    journal.put("system.journal", ONLINE, used(401, 450));
    assert_eq!(seqnums(&more(&mut cursor, &mut disk)).len(), 196 + 1 + 49);
    // At a rotation it looks like a file.
    assert_gap(&mut cursor, 1);
    journal.put("user-1.journal", ONLINE, 450..=451);
    assert_eq!(seqnums(&more(&mut cursor, &mut disk)).len(), 2);
    assert_eq!(cursor.counts().unattributed, 1, "told once");
    journal.remove("user-1.journal");
    for (at, gap) in [(10, 1), (205, 0), (390, 0)] {
        let position = take(&mut journal.reader(), &mut disk, at + 1)[at].position;
        let mut cursor = journal.at(JournalStart::Resume(position));
        drain(&mut cursor, &mut disk);
        assert_gap(&mut cursor, gap);
    }
}

#[test]
fn what_was_gone_before_reading_began_or_is_left_out_by_it_is_no_gap() {
    for start in [
        JournalStart::At(StartAt::Beginning, Nanos(0)),
        JournalStart::At(StartAt::End, Nanos(0)),
        JournalStart::At(StartAt::Since(std::time::Duration::from_micros(130)), Nanos(1_700_000_000_000_450_000)),
    ] {
        let mut journal = Journal::new();
        journal.put("user-1000.journal", ONLINE, (3..=20).chain([420]));
        journal.put("system@1.journal", ARCHIVED, 101..=200);
        journal.put("system@2.journal", ARCHIVED, 251..=400);
        journal.put("system.journal", ONLINE, (401..=450).filter(|seqnum| *seqnum != 420));
        let (mut cursor, mut disk) = (journal.at(start), Disk::warm());
        drain(&mut cursor, &mut disk);
        assert_gap(&mut cursor, 0);
        journal.archive("system.journal", "system@3.journal");
        journal.put("system.journal", ONLINE, 451..=460);
        assert_eq!(more(&mut cursor, &mut disk).len(), 10);
        assert_gap(&mut cursor, 0);
        journal.archive("system.journal", "system@4.journal");
        journal.put("system.journal", ONLINE, 471..=480);
        assert_eq!(more(&mut cursor, &mut disk).len(), 10);
        assert_gap(&mut cursor, 10);
    }
}

/// A file that came between two looks is found by the second, after a file that came after it.
#[test]
fn a_file_found_late_fills_its_gap() {
    let mut journal = Journal::new();
    journal.put("system.journal", ONLINE, 1..=200);
    let (mut cursor, mut disk) = (journal.reader(), Disk::warm());
    drain(&mut cursor, &mut disk);
    let late = journal.put("late", ARCHIVED, 201..=300);
    journal.put("user-1.journal", ONLINE, 301..=302);
    let (named, mut calls) = (journal.path("system@2.journal"), 0);
    disk.meanwhile = Some(Box::new(move || {
        calls += 1;
        if calls == 4 {
            std::fs::rename(&late, &named).unwrap();
        }
    }));
    let kept = more(&mut cursor, &mut disk);
    assert_eq!(seqnums(&kept), (301..=302).chain(201..=300).collect::<Vec<_>>(), "the race was met");
    assert_gap(&mut cursor, 0);
}

/// A flipped bit in a seqnum is damage, not a gap of 2^40 entries.
#[test]
fn a_damaged_seqnum_is_no_gap() {
    let flip = |path: &Path, at: u64, bit: u32| {
        let file = File::options().read(true).write(true).open(path).unwrap();
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, at).unwrap();
        file.write_all_at(&(u64::from_le_bytes(bytes) ^ (1 << bit)).to_le_bytes(), at).unwrap();
    };
    let offset = |path: &Path, entry: usize| {
        let file = std::fs::read(path).unwrap();
        let entries = objects(&file).into_iter().filter(|(_, head)| head.kind == ObjectKind::Entry);
        entries.map(|(at, _)| at as u64 + 16).nth(entry).unwrap()
    };
    for bit in [40, 20, 3] {
        // Of the first file or of the second: header, first entry, one between, the last one.
        for (which, place) in (0..2).flat_map(|which| (0..5).map(move |place| (which, place))) {
            let mut journal = Journal::new();
            journal.put("system@0.journal", ARCHIVED, 1..=10);
            let (mut cursor, mut disk) = (journal.reader(), Disk::warm());
            drain(&mut cursor, &mut disk);
            let paths = [
                journal.put("system@1.journal", ARCHIVED, 11..=200),
                journal.put("system@2.journal", ARCHIVED, 201..=300),
            ];
            let last = [189, 99][which];
            let at = match place {
                0 => 160,
                1 => 168,
                2 => offset(&paths[which], 0),
                3 => offset(&paths[which], 50),
                _ => offset(&paths[which], last),
            };
            flip(&paths[which], at, bit);
            journal.put("system@3.journal", ARCHIVED, 301..=310);
            more(&mut cursor, &mut disk);
            let gap = cursor.counts().unattributed;
            assert!(gap <= 1 << bit.min(3), "bit {bit} of {which}, {place}: {gap}");
            // What comes after it is judged as ever.
            journal.put("system.journal", ONLINE, 361..=370);
            more(&mut cursor, &mut disk);
            let after = cursor.counts().unattributed - gap;
            println!("bit {bit} of {which}, {place}: {gap}, {after}");
            assert!((42..=58).contains(&after), "bit {bit} of {which}, {place}: {gap}, {after}");
        }
    }
}

#[test]
fn a_file_that_cannot_be_read_counts_and_what_it_had_may_be_missing() {
    let mut journal = Journal::new();
    journal.put("system@1.journal", ARCHIVED, 1..=100);
    let refused = journal.put("system@2.journal", ARCHIVED, 101..=200);
    File::options().write(true).open(&refused).unwrap().write_all_at(&[128], 12).unwrap();
    journal.put("system.journal", ONLINE, 201..=210);
    // A copy is no file that was not read.
    std::fs::copy(journal.path("system@1.journal"), journal.path("system@1b.journal")).unwrap();
    let (mut cursor, mut disk) = (journal.reader(), Disk::warm());
    assert_eq!(drain(&mut cursor, &mut disk).len(), 110);
    // What there was when reading began is judged by that count alone.
    assert_eq!((cursor.counts().unattributed, cursor.unreadable().len()), (0, 1));
    std::fs::write(journal.path("system@3.journal"), "not a journal").unwrap();
    std::os::unix::fs::symlink("loop.journal", journal.path("loop.journal")).unwrap();
    more(&mut cursor, &mut disk);
    assert_eq!(cursor.unreadable().len(), 3);
    // Under another name, after another look, and when the reader begins again, they are the same files.
    std::fs::rename(&refused, journal.path("system@0.journal")).unwrap();
    more(&mut cursor, &mut disk);
    cursor.release(&mut disk);
    more(&mut cursor, &mut disk);
    assert_eq!((cursor.counts().unattributed, cursor.unreadable().len()), (0, 3));
    let position = take(&mut journal.reader(), &mut disk, 60)[59].position;
    let mut cursor = journal.at(JournalStart::Resume(position));
    drain(&mut cursor, &mut disk);
    assert_eq!((cursor.counts().unattributed, cursor.unreadable().len()), (100, 3));
}
