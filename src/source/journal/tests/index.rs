//! Reading by a file's own index gives what reading everything does, whatever state the index is in.

use std::path::Path;

use super::{
    disk::{Disk, Kept, drain},
    input, objects,
    writer::{self, Seeded, Stream, Style},
};
use crate::{
    model::Nanos,
    plan::{JournalInput, StartAt},
    source::journal::{JournalCursor, JournalStart},
    wire::journal::{DataHead, Header, ObjectKind},
};

const ENTRIES: usize = 2500;

/// A journal file and the directory to read it from; with `archived` it may be read by its index.
fn written(seed: u64, compact: bool) -> (tempfile::TempDir, Vec<u8>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("system.journal");
    let style = Style { compact, ..Style::COMMON };
    writer::write(&path, style, &[Stream::new(seed).entries(ENTRIES)]);
    let file = std::fs::read(&path).unwrap();
    (directory, file)
}

struct Read {
    kept: Vec<Kept>,
    entries: u64,
    damaged: u64,
    troubles: Vec<String>,
}

fn read(directory: &Path, file: &[u8], archived: bool, selectors: &[JournalInput], mut disk: Disk) -> Read {
    let mut file = file.to_vec();
    file[16] = if archived { 2 } else { 0 };
    std::fs::write(directory.join("system.journal"), file).unwrap();
    let start = JournalStart::At(StartAt::Beginning, Nanos(0));
    let mut cursor = JournalCursor::new(&[directory.to_owned()], selectors.to_vec(), start);
    let kept = drain(&mut cursor, &mut disk);
    let counts = cursor.counts();
    Read { kept, entries: counts.read, damaged: counts.damaged, troubles: cursor.take_troubles() }
}

/// The first array of the list of entries that have a value.
fn first_array(file: &[u8], payload: &[u8]) -> usize {
    let layout = Header::parse(file).unwrap().layout();
    let is_it = |at: usize| file[at + layout.payload_at()..].starts_with(payload);
    let data = objects(file).into_iter().find(|(at, head)| head.kind == ObjectKind::Data && is_it(*at)).unwrap().0;
    DataHead::parse(&file[data..], layout).unwrap().entry_array as usize
}

/// What a damaged list had left out comes last, once.
fn in_order(mut kept: Vec<Kept>) -> Vec<Kept> {
    kept.sort_by_key(|kept| kept.position.ordinal);
    kept
}

#[test]
fn the_index_finds_what_reading_everything_finds() {
    let cases = [
        vec![input(Some("duroslight"), None, &[])],
        vec![input(None, Some("etcd.service"), &[]), input(Some("etcd"), None, &[("PRIORITY", &["3", "4"])])],
        vec![input(None, None, &[("PRIORITY", &["3"]), ("_HOSTNAME", &["node-1"])])],
        vec![input(None, None, &[("NO_SUCH_FIELD", &["x"])]), input(Some("etcd"), None, &[])],
        vec![input(None, None, &[("TEST_NUMBER", &["700", "2499"])])],
        vec![input(None, None, &[]), input(Some("etcd"), None, &[])],
    ];
    for compact in [true, false] {
        let (directory, file) = written(61, compact);
        for selectors in &cases {
            let all = read(directory.path(), &file, false, selectors, Disk::warm());
            assert!(!all.kept.is_empty());
            for disk in [Disk::warm(), Disk::cold()] {
                let indexed = read(directory.path(), &file, true, selectors, disk);
                assert!(indexed.kept == all.kept, "{} of {}", indexed.kept.len(), all.kept.len());
                assert_eq!((indexed.entries, indexed.troubles), (ENTRIES as u64, Vec::new()));
            }
        }
    }
}

#[test]
fn a_damaged_index_costs_no_entry() {
    for compact in [true, false] {
        let (directory, file) = written(63, compact);
        let selectors = [input(Some("duroslight"), None, &[])];
        let all = read(directory.path(), &file, false, &selectors, Disk::warm()).kept;
        let places = index_places(&file);
        let mut random = Seeded(63);
        let mut told = 0;
        for case in 0..150 {
            let mut flipped = file.clone();
            let at = places[random.below(places.len() as u64) as usize];
            let bit = random.below(8);
            flipped[at] ^= 1 << bit;
            let disk = if case % 8 == 0 { Disk::cold() } else { Disk::warm() };
            let indexed = read(directory.path(), &flipped, true, &selectors, disk);
            let object = objects(&file).into_iter().rfind(|(object, _)| *object <= at).unwrap();
            let told_of = format!("byte {at} bit {bit} of {object:?}: {:?}", indexed.troubles);
            let kept = in_order(indexed.kept);
            assert!(kept == all, "{told_of}: {} of {}", kept.len(), all.len());
            assert_eq!(indexed.entries, ENTRIES as u64, "{told_of}");
            told += indexed.troubles.len();
        }
        assert!(told > 50, "the flips hit the index: {told}");
    }
}

/// Found by fuzzing: a list that leads astray shows it only at its end. Another one that broke before that took the
/// place to go back to with it, and what the first one hid stayed hidden.
#[test]
fn two_damaged_lists_hide_nothing_from_each_other() {
    let (directory, file) = written(64, true);
    let selectors = [input(Some("duroslight"), None, &[])];
    let all = read(directory.path(), &file, false, &selectors, Disk::warm()).kept;
    let half = |file: &[u8], at: usize| u64::from_le_bytes(file[at..at + 8].try_into().unwrap()) as usize;
    let layout = Header::parse(&file).unwrap().layout();
    let lists: Vec<usize> = (objects(&file).into_iter())
        .filter(|(at, head)| {
            head.kind == ObjectKind::Data
                && file[at + layout.payload_at()..].starts_with(b"SYSLOG_IDENTIFIER=duroslight")
        })
        .map(|(at, _)| DataHead::parse(&file[at..], layout).unwrap().entry_array as usize)
        .collect();
    for (astray, broken) in [(0, 1), (1, 0), (1, 2), (2, 0)] {
        let mut damaged = file.clone();
        damaged[lists[astray] + 24..lists[astray] + 32].copy_from_slice(&(u64::MAX - 7).to_le_bytes());
        let second = half(&file, lists[broken] + 16);
        damaged[second + 24..second + 28].copy_from_slice(&8u32.to_le_bytes());
        let kept = in_order(read(directory.path(), &damaged, true, &selectors, Disk::warm()).kept);
        assert!(kept == all, "{astray} astray, {broken} broken: {} of {}", kept.len(), all.len());
    }
}

/// Found by fuzzing: an array of the list gave way to a copy of a later one. The entries it names have the value, so it
/// was believed, and what the array had listed before them stayed hidden.
#[test]
fn an_array_that_leads_too_far_hides_nothing() {
    let (directory, file) = written(67, true);
    let selectors = [input(Some("etcd"), None, &[])];
    let all = read(directory.path(), &file, false, &selectors, Disk::warm()).kept;
    let items = first_array(&file, b"SYSLOG_IDENTIFIER=etcd") + 24;
    let mut damaged = file.clone();
    for (item, later) in all[40..44].iter().enumerate() {
        let offset = u32::try_from(later.position.offset).unwrap();
        damaged[items + 4 * item..][..4].copy_from_slice(&offset.to_le_bytes());
    }
    let read = read(directory.path(), &damaged, true, &selectors, Disk::warm());
    assert!(in_order(read.kept) == all);
    assert_eq!((read.entries, read.troubles.len()), (ENTRIES as u64, 1), "{:?}", read.troubles);
}

/// Targets that walk apart have cursors of their own: what shows only at the end of a list comes too late for some.
#[test]
fn an_array_that_is_left_out_shows_before_anything_is_passed_over() {
    for compact in [true, false] {
        let (directory, file) = written(68, compact);
        let selectors = [input(Some("etcd"), None, &[])];
        let all = read(directory.path(), &file, false, &selectors, Disk::warm()).kept;
        let next = |at: usize| u64::from_le_bytes(file[at + 16..at + 24].try_into().unwrap()) as usize;
        let first = first_array(&file, b"SYSLOG_IDENTIFIER=etcd");
        let mut damaged = file.clone();
        let third = next(next(first)) as u64;
        damaged[first + 16..first + 24].copy_from_slice(&third.to_le_bytes());
        for disk in [Disk::warm(), Disk::cold()] {
            let read = read(directory.path(), &damaged, true, &selectors, disk);
            assert!(read.kept == all, "in order: {} of {}", read.kept.len(), all.len());
            assert_eq!((read.entries, read.troubles.len()), (ENTRIES as u64, 1), "{:?}", read.troubles);
        }
    }
}

/// A damaged entry was held against the list that named it: it was lost, the file read again, and it was lost again.
#[test]
fn a_damaged_entry_is_no_fault_of_the_list_that_names_it() {
    let (directory, file) = written(69, true);
    let selectors = [input(Some("etcd"), None, &[])];
    let mut all = read(directory.path(), &file, false, &selectors, Disk::warm()).kept;
    let mut damaged = file.clone();
    damaged[all.remove(70).position.offset as usize] = 99;
    let read = read(directory.path(), &damaged, true, &selectors, Disk::warm());
    assert!(read.kept == all, "{} of {}", read.kept.len(), all.len());
    assert_eq!((read.entries, read.damaged), (ENTRIES as u64 - 1, 1), "{:?}", read.troubles);
}

/// Found by fuzzing: neither the count nor the time of the last entry says that there is one.
#[test]
fn a_header_that_forgot_its_entries_is_not_believed() {
    let (directory, file) = written(66, true);
    let selectors = [input(Some("duroslight"), None, &[])];
    let all = read(directory.path(), &file, false, &selectors, Disk::warm()).kept;
    let mut damaged = file.clone();
    damaged[152..160].fill(0);
    damaged[192..200].fill(0);
    let read = read(directory.path(), &damaged, true, &selectors, Disk::warm());
    assert_eq!(read.kept.len(), all.len());
    assert!(read.troubles.join("\n").contains("counts 0 entries"), "{:?}", read.troubles);
}

/// Found by fuzzing: the number that stands for the end of a list, in place of its first entry.
#[test]
fn a_first_entry_that_is_no_place_hides_nothing() {
    for compact in [true, false] {
        let (directory, file) = written(65, compact);
        let selectors = [input(Some("duroslight"), None, &[])];
        let all = read(directory.path(), &file, false, &selectors, Disk::warm()).kept;
        let layout = Header::parse(&file).unwrap().layout();
        let is_it = |at: usize| file[at + layout.payload_at()..].starts_with(b"SYSLOG_IDENTIFIER=duroslight");
        let data = objects(&file).into_iter().filter(|(at, head)| head.kind == ObjectKind::Data && is_it(*at));
        for ((at, _), first) in data.flat_map(|data| [u64::MAX, u64::MAX - 7, 9, 1 << 40].map(|first| (data, first))) {
            let mut damaged = file.clone();
            damaged[at + 40..at + 48].copy_from_slice(&first.to_le_bytes());
            let read = read(directory.path(), &damaged, true, &selectors, Disk::warm());
            let kept = in_order(read.kept);
            assert!(kept == all, "{first:#x} at {at}: {} of {}: {:?}", kept.len(), all.len(), read.troubles);
        }
    }
}

/// The bytes that make the lists of the entries of three identifiers.
fn index_places(file: &[u8]) -> Vec<usize> {
    let header = Header::parse(file).unwrap();
    let layout = header.layout();
    let mut places = Vec::new();
    for (at, _) in objects(file).into_iter().filter(|(_, head)| head.kind == ObjectKind::Data) {
        let data = DataHead::parse(&file[at..], layout).unwrap();
        let payload = &file[at + layout.payload_at()..][..data.payload_bytes as usize];
        if !payload.starts_with(b"SYSLOG_IDENTIFIER=duroslight") {
            continue;
        }
        places.extend(at + 40..at + 64);
        let mut array = data.entry_array as usize;
        while array != 0 {
            let number = |at: usize| u64::from_le_bytes(file[at..at + 8].try_into().unwrap()) as usize;
            let used = file[array + 24..array + number(array + 8)].iter().rposition(|&byte| byte != 0).unwrap();
            places.extend(array..array + 25 + used);
            array = number(array + 16);
        }
    }
    places
}
