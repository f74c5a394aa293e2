//! Following a writer that is at work, through rotation, renaming and unlinking.

use std::time::{Duration, Instant};

use super::{
    JournalCursor, JournalStart,
    disk::{Disk, Kept, drain, take},
    everything, from_beginning, lost,
    oracle::{assert_same, journalctl},
    writer::{self, Stream, Style, Writer},
};
use crate::{limits::JOURNAL_GONE_FILES_MAX, model::Nanos, plan::StartAt, source::journal::gone::Gone};

/// Steps until `most` records are there; the writer needs its time, so this looks again and again.
fn follow(cursor: &mut JournalCursor, disk: &mut Disk, kept: &mut Vec<Kept>, most: usize) {
    let started = Instant::now();
    while kept.len() < most {
        assert!(started.elapsed() < Duration::from_secs(60), "{} of {most} seen", kept.len());
        cursor.changed();
        kept.extend(drain(cursor, disk));
        std::thread::yield_now();
    }
}

#[test]
fn a_live_writer_is_followed_without_gap_or_duplicate() {
    for (style, mut disk) in [(Style::COMMON, Disk::warm()), (Style { compact: false, ..Style::COMMON }, Disk::cold())]
    {
        let directory = tempfile::tempdir().unwrap();
        let mut stream = Stream::new(31);
        let mut writer = Writer::start(&directory.path().join("system.journal"), style);
        let (mut cursor, mut kept) = (from_beginning(directory.path()), Vec::new());
        assert!(drain(&mut cursor, &mut disk).is_empty());
        for round in 1..=40 {
            writer.write(&stream.entries(49));
            // Every tenth time the writer rotates while we read.
            writer.write(&if round % 10 == 0 { stream.rotation() } else { stream.entries(1) });
            follow(&mut cursor, &mut disk, &mut kept, (round - 1) * 50 + round % 7);
        }
        follow(&mut cursor, &mut disk, &mut kept, 2000);
        writer.end();
        cursor.changed();
        kept.extend(drain(&mut cursor, &mut disk));
        assert_same(&journalctl(directory.path()), &kept);
        assert_eq!(lost(&cursor), (0, 0, 0));
        assert_eq!(cursor.take_troubles(), Vec::<String>::new());
        cursor.changed();
        drain(&mut cursor, &mut disk);
        cursor.changed();
        drain(&mut cursor, &mut disk);
        assert_eq!(disk.open_files(), 1, "rotated files are closed when they are drained");
    }
}

#[test]
fn vacuumed_files_that_are_open_are_drained() {
    let directory = tempfile::tempdir().unwrap();
    writer::rotated(directory.path(), Style::COMMON, 32, 2, 300);
    let told = journalctl(directory.path());
    let (mut disk, mut cursor) = (Disk::cold(), from_beginning(directory.path()));
    let mut kept = take(&mut cursor, &mut disk, 100);
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    cursor.changed();
    kept.extend(drain(&mut cursor, &mut disk));
    assert_same(&told, &kept);
    assert_eq!(cursor.counts().unattributed, 0);
    for _ in 0..3 {
        cursor.changed();
        drain(&mut cursor, &mut disk);
    }
    assert_eq!(disk.open_files(), 0);
}

#[test]
fn directories_may_come_later() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("journal");
    let (mut disk, mut cursor) = (Disk::warm(), from_beginning(&directory));
    assert!(drain(&mut cursor, &mut disk).is_empty());
    std::fs::create_dir(&directory).unwrap();
    std::fs::write(directory.join("system.journal"), b"").unwrap();
    cursor.changed();
    assert!(drain(&mut cursor, &mut disk).is_empty());
    assert_eq!(cursor.take_troubles(), Vec::<String>::new(), "its writer has only begun");
    std::fs::remove_file(directory.join("system.journal")).unwrap();
    writer::write(&directory.join("system.journal"), Style::COMMON, &[Stream::new(33).entries(20)]);
    cursor.changed();
    assert_eq!(drain(&mut cursor, &mut disk).len(), 20);
}

/// A directory that went away and came back was once shipped again from its start.
#[test]
fn a_directory_that_comes_back_is_not_read_again() {
    for disk in [Disk::warm, Disk::cold] {
        let parent = tempfile::tempdir().unwrap();
        let (here, away) = (parent.path().join("journal"), parent.path().join("away"));
        std::fs::create_dir(&here).unwrap();
        let mut stream = Stream::new(34);
        let parts = [stream.entries(300), stream.rotation(), stream.entries(200)];
        writer::write(&here.join("system.journal"), Style::COMMON, &parts);
        let (mut disk, mut cursor) = (disk(), from_beginning(&here));
        let mut kept = drain(&mut cursor, &mut disk);
        assert_eq!(kept.len(), 501);
        // Unchanged; grown; rotated, so that what was the live file has another name.
        for parts in [vec![], vec![stream.entries(20)], vec![stream.entries(5), stream.rotation(), stream.entries(7)]] {
            std::fs::rename(&here, &away).unwrap();
            for _ in 0..4 {
                cursor.changed();
                assert!(drain(&mut cursor, &mut disk).is_empty());
            }
            assert_eq!(disk.open_files(), 0, "let go");
            if !parts.is_empty() {
                writer::write(&away.join("system.journal"), Style::COMMON, &parts);
            }
            std::fs::rename(&away, &here).unwrap();
            for _ in 0..4 {
                cursor.changed();
                kept.extend(drain(&mut cursor, &mut disk));
            }
            assert_same(&journalctl(&here), &kept);
        }
        assert_eq!(kept.len(), 501 + 20 + 13);
        let counts = cursor.counts();
        // As many copies as here would be left out of what is read again, but not all of a large journal.
        assert_eq!((lost(&cursor), counts.repeated, counts.read), ((0, 0, 0), 0, kept.len() as u64));
        assert_eq!(cursor.take_troubles(), Vec::<String>::new());
        let last = kept.iter().max_by_key(|kept| kept.position.seqnum).unwrap().position;
        assert_eq!(cursor.position(), last, "what comes back does not move it");
    }
}

/// The same of a file whose entries are found by walking, and of one of which the start left out all.
#[test]
fn a_damaged_or_passed_over_file_that_comes_back_is_not_read_again() {
    let parent = tempfile::tempdir().unwrap();
    let (here, away) = (parent.path().join("system.journal"), parent.path().join("away"));
    writer::write(&here, Style::COMMON, &[Stream::new(35).entries(300)]);
    let file = std::fs::read(&here).unwrap();
    let mut broken = file.clone();
    broken[176..184].fill(0);
    let start = JournalStart::At(StartAt::End, Nanos(0));
    let end = JournalCursor::new(&[parent.path().to_owned()], everything(), start);
    for (file, mut cursor, entries) in [(broken, from_beginning(parent.path()), 300), (file, end, 0)] {
        std::fs::write(&here, &file).unwrap();
        let mut disk = Disk::warm();
        assert_eq!(drain(&mut cursor, &mut disk).len(), entries);
        for (from, to) in [(&here, &away), (&away, &here)] {
            std::fs::rename(from, to).unwrap();
            for _ in 0..4 {
                cursor.changed();
                assert!(drain(&mut cursor, &mut disk).is_empty(), "{entries} entries were read");
            }
        }
        assert_eq!(cursor.counts().repeated, 0);
    }
}

/// Files that went away are remembered within bounds.
#[test]
fn only_so_many_files_that_went_away_are_remembered() {
    let directory = tempfile::tempdir().unwrap();
    writer::write(&directory.path().join("system.journal"), Style::COMMON, &[Stream::new(36).entries(1)]);
    let mut cursor = from_beginning(directory.path());
    drain(&mut cursor, &mut Disk::warm());
    let mut gone = Gone::default();
    for n in 0..JOURNAL_GONE_FILES_MAX as u32 + 2 {
        cursor.files[0].header.file_id[..4].copy_from_slice(&n.to_be_bytes());
        gone.note(&cursor.files[0]);
    }
    let mut id = cursor.files[0].header.file_id;
    let mut is_known = |n: u32| {
        id[..4].copy_from_slice(&n.to_be_bytes());
        gone.take(&id).is_some()
    };
    assert_eq!([0, 1, 2, 3, 2].map(&mut is_known), [false, false, true, true, false]);
}
