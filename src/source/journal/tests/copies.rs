//! Entries that stand in two files, entries of this process, files that cannot match, and journals of several ids.

use super::{
    JournalCursor, JournalStart,
    disk::{Disk, Kept, drain},
    everything, from_beginning, input, objects, read_all,
    writer::{self, Seeded, Stream, Style},
};
use crate::{
    limits::JOURNAL_LOOKUP_ENTRIES_MIN,
    model::Nanos,
    plan::{JournalInput, StartAt},
    source::journal::Own,
    wire::journal::{Header, ObjectKind},
};

const MACHINE: &str = "0123456789abcdef0123456789abcdef";

fn numbers(kept: &[Kept]) -> Vec<(u64, Vec<u8>)> {
    kept.iter().map(|kept| (kept.position.monotonic, kept.message.clone())).collect()
}

fn named(identifier: &str) -> JournalInput {
    input(Some(identifier), None, &[])
}

/// What the flush from `/run` to `/var` does: the same entries in another file, under another seqnum id.
#[test]
fn a_flush_brings_no_entry_twice() {
    let directory = tempfile::tempdir().unwrap();
    let (run, var) = (directory.path().join("run"), directory.path().join("var"));
    let mut stream = Stream::new(91);
    let (first, more) = (stream.entries(400), stream.entries(100));
    for below in [&run, &var] {
        std::fs::create_dir_all(below.join(MACHINE)).unwrap();
    }
    writer::write(&run.join(MACHINE).join("system.journal"), Style::COMMON, std::slice::from_ref(&first));
    let start = JournalStart::At(StartAt::Beginning, Nanos(0));
    let mut cursor = JournalCursor::new(&[var.clone(), run.clone()], everything(), start);
    let mut disk = Disk::warm();
    let mut kept = drain(&mut cursor, &mut disk);
    assert_eq!(kept.len(), 400);
    let path = var.join(MACHINE).join("system.journal");
    writer::write(&path, Style { compact: false, ..Style::COMMON }, &[first, more]);
    let all = read_all(&var);
    cursor.changed();
    kept.extend(drain(&mut cursor, &mut disk));
    std::fs::remove_dir_all(run.join(MACHINE)).unwrap();
    for _ in 0..3 {
        cursor.changed();
        kept.extend(drain(&mut cursor, &mut disk));
    }
    assert_eq!(numbers(&kept), numbers(&all));
    assert_eq!((cursor.counts().repeated, cursor.counts().read), (400, 500));
}

/// A restart between reading `/run` and the flush: nothing is missing, and what comes again lies within the slack.
#[test]
fn resuming_in_a_flushed_journal_goes_by_the_clock_of_the_boot() {
    let directory = tempfile::tempdir().unwrap();
    let mut stream = Stream::new(92);
    let entries = stream.entries(300);
    let path = directory.path().join("system.journal");
    writer::write(&path, Style::COMMON, std::slice::from_ref(&entries));
    let before = read_all(directory.path());
    std::fs::remove_file(&path).unwrap();
    writer::write(&path, Style::COMMON, &[entries, stream.entries(50)]);
    let all = read_all(directory.path());
    let mut position = before[299].position;
    // The wall clock was set an hour back in between; the boot's was not.
    position.realtime += 3_600_000_000;
    let start = JournalStart::Resume(position);
    let mut cursor = JournalCursor::new(&[directory.path().to_owned()], everything(), start);
    let kept = drain(&mut cursor, &mut Disk::warm());
    assert!(kept.len() >= 50 && numbers(&kept) == numbers(&all[all.len() - kept.len()..]), "{}", kept.len());
}

/// Two journals of one boot, one of which had its wall clock wrong: the boot's clock orders them.
#[test]
fn journals_of_one_boot_are_merged_by_its_clock() {
    let directory = tempfile::tempdir().unwrap();
    let other = directory.path().join(format!("{MACHINE}.other"));
    let main = directory.path().join(MACHINE);
    for (below, seed) in [(&main, 93), (&other, 94)] {
        std::fs::create_dir(below).unwrap();
        writer::write(&below.join("system.journal"), Style::COMMON, &[Stream::new(seed).entries(300)]);
    }
    let path = other.join("system.journal");
    let mut file = std::fs::read(&path).unwrap();
    let entries = objects(&file).into_iter().filter(|(_, head)| head.kind == ObjectKind::Entry);
    let times = entries.map(|(at, _)| at + 24).chain([184, 192]).collect::<Vec<_>>();
    for at in times {
        let time = u64::from_le_bytes(file[at..at + 8].try_into().unwrap()) + 7_200_000_000;
        file[at..at + 8].copy_from_slice(&time.to_le_bytes());
    }
    std::fs::write(&path, &file).unwrap();
    let kept = read_all(directory.path());
    assert_eq!(kept.len(), 600);
    assert!(kept.windows(2).all(|pair| pair[0].position.monotonic <= pair[1].position.monotonic));
}

#[test]
fn our_own_entries_go_only_to_sources_that_name_us() {
    let directory = tempfile::tempdir().unwrap();
    let entry = |pid: u32, identifier: &str, n: u32| {
        format!(
            "__REALTIME_TIMESTAMP={}\n_BOOT_ID={MACHINE}\n_PID={pid}\nSYSLOG_IDENTIFIER={identifier}\nMESSAGE={n}\n\n",
            1_700_000_000_000_000 + u64::from(n)
        )
        .into_bytes()
    };
    let parts = [entry(7, "corelane", 0), entry(41, "corelane", 1), entry(7, "corelane", 2), entry(42, "etcd", 3)];
    writer::write(&directory.path().join("system.journal"), Style::COMMON, &parts);
    let mut selectors = everything();
    selectors.push(named("corelane"));
    let start = JournalStart::At(StartAt::Beginning, Nanos(0));
    let mut cursor = JournalCursor::new(&[directory.path().to_owned()], selectors, start);
    let boot_id = [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef];
    cursor.spare(Own::new(7, boot_id, 1_700_000_000_000_001));
    let kept = drain(&mut cursor, &mut Disk::warm());
    let taken: Vec<(&[u8], u128)> = kept.iter().map(|kept| (kept.message.as_slice(), kept.sources)).collect();
    // The first was written before this process began, by another one of the same number.
    assert_eq!(taken, [(&b"0"[..], 3), (b"1", 3), (b"2", 2), (b"3", 1)]);
    assert_eq!(cursor.counts().own, 1);
}

/// Files none of whose values pass are not read, and no others; damage in the tables means reading.
#[test]
fn files_that_cannot_match_are_passed_over() {
    let directory = tempfile::tempdir().unwrap();
    let entries = JOURNAL_LOOKUP_ENTRIES_MIN as usize + 10;
    let path = writer::rotated(directory.path(), Style { compress: false, ..Style::COMMON }, 95, 1, entries);
    let read = |identifier: &str, mut disk: Disk| {
        let start = JournalStart::At(StartAt::Beginning, Nanos(0));
        let mut cursor = JournalCursor::new(&[directory.path().to_owned()], vec![named(identifier)], start);
        let kept = drain(&mut cursor, &mut disk);
        (kept, cursor.counts().read)
    };
    let (none, passed) = read("nobody", Disk::cold());
    assert_eq!((none.len(), passed), (0, 0), "no entry was looked at");
    let (some, passed) = read("duroslight", Disk::warm());
    assert!(some.len() > entries / 2 && passed > entries as u64, "{} of {passed}", some.len());
    // Bits of the tables and of the objects they lead to.
    let file = std::fs::read(&path).unwrap();
    let header = Header::parse(&file).unwrap();
    let fields: Vec<usize> = objects(&file)
        .into_iter()
        .filter(|(_, head)| matches!(head.kind, ObjectKind::Field))
        .map(|(at, _)| at)
        .collect();
    let mut random = Seeded(95);
    for case in 0..24 {
        let mut broken = file.clone();
        let at = match case % 3 {
            0 => header.field_hash_table_offset as usize + random.below(header.field_hash_table_size) as usize,
            _ => fields[random.below(fields.len() as u64) as usize] + 16 + random.below(24) as usize,
        };
        broken[at] ^= 1 << random.below(8);
        std::fs::write(&path, &broken).unwrap();
        let (kept, _) = read("duroslight", Disk::warm());
        assert!(numbers(&kept) == numbers(&some), "bit at {at}: {} of {}", kept.len(), some.len());
    }
}

/// A second look at a file that did not grow costs no second question.
#[test]
fn what_follows_in_a_file_that_was_passed_over_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("system.journal");
    let entries = JOURNAL_LOOKUP_ENTRIES_MIN as usize;
    let mut stream = Stream::new(96);
    writer::write(&path, Style::COMMON, &[stream.entries(entries)]);
    let start = JournalStart::At(StartAt::Beginning, Nanos(0));
    let mut cursor = JournalCursor::new(&[directory.path().to_owned()], vec![named("late")], start);
    let mut disk = Disk::warm();
    assert!(drain(&mut cursor, &mut disk).is_empty());
    let late = b"SYSLOG_IDENTIFIER=late\nMESSAGE=here\n\n".to_vec();
    writer::write(&path, Style::COMMON, &[stream.entries(5), late, stream.entries(5)]);
    cursor.changed();
    let kept = drain(&mut cursor, &mut disk);
    assert_eq!(kept.iter().map(|kept| kept.message.as_slice()).collect::<Vec<_>>(), [b"here"]);
    let mut all = from_beginning(directory.path());
    assert_eq!(drain(&mut all, &mut Disk::warm()).len(), entries + 11);
}
