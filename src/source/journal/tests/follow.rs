//! Following a writer that is at work, through rotation, renaming and unlinking.

use std::time::{Duration, Instant};

use super::{
    disk::{Disk, Kept, drain, take},
    from_beginning, lost,
    oracle::{assert_same, journalctl},
    writer::{self, Stream, Style, Writer},
};

/// Steps until `most` records are there; the writer needs its time, so this looks again and again.
fn follow(cursor: &mut super::JournalCursor, disk: &mut Disk, kept: &mut Vec<Kept>, most: usize) {
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
