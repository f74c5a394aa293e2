//! What is found although the lists that lead to it are broken, and what is never passed over in silence.

use std::path::Path;

use super::{
    disk::{Disk, Kept, drain},
    from_beginning, objects, read_all,
    writer::{self, Stream, Style},
};
use crate::wire::journal::{Header, ObjectKind};

/// A journal and what is in it.
fn journal(directory: &Path, style: Style, entries: usize) -> (Vec<u8>, Vec<Kept>) {
    let path = directory.join("system.journal");
    writer::write(&path, style, &[Stream::new(61).entries(entries)]);
    (std::fs::read(&path).unwrap(), read_all(directory))
}

/// What is read of `file`, the entries that count as damaged, and the complaints.
fn read(directory: &Path, file: &[u8], mut disk: Disk) -> (Vec<Kept>, u64, Vec<String>) {
    std::fs::write(directory.join("system.journal"), file).unwrap();
    let mut cursor = from_beginning(directory);
    let mut kept = drain(&mut cursor, &mut disk);
    for _ in 0..3 {
        cursor.changed();
        kept.extend(drain(&mut cursor, &mut disk));
    }
    let counts = cursor.counts();
    (kept, counts.damaged, cursor.take_troubles())
}

/// Places may differ, seqnums and messages not.
fn assert_same_entries(kept: &[Kept], all: &[Kept], what: &str) {
    let seqnums = |kept: &[Kept]| kept.iter().map(|kept| kept.position.seqnum).collect::<Vec<_>>();
    let (got, expected) = (seqnums(kept), seqnums(all));
    let differs = got.iter().zip(&expected).position(|(got, expected)| got != expected);
    assert!(got == expected, "{what}: {} of {}, first difference at {differs:?}", got.len(), expected.len());
    let message = |(kept, all): &(&Kept, &Kept)| kept.message != all.message;
    let differs = kept.iter().zip(all).find(message).map(|(kept, _)| kept.position.seqnum);
    assert!(differs.is_none(), "{what}: the message of {differs:?} differs");
}

#[test]
fn behind_a_broken_chain_every_entry_is_found() {
    for style in [Style::COMMON, Style { compact: false, ..Style::COMMON }] {
        let directory = tempfile::tempdir().unwrap();
        let (file, all) = journal(directory.path(), style, 600);
        let header = Header::parse(&file).unwrap();
        // The arrays of the global chain, found by following it.
        let (mut at, mut arrays) = (header.entry_array_offset as usize, Vec::new());
        while at != 0 {
            arrays.push(at);
            at = u64::from_le_bytes(file[at + 16..at + 24].try_into().unwrap()) as usize;
        }
        assert!(arrays.len() > 4, "{}", arrays.len());
        for (index, array) in arrays.iter().enumerate() {
            for damage in [0usize, 8, 16] {
                let mut broken = file.clone();
                broken[array + damage..array + damage + 8].fill(if damage == 8 { 0 } else { 0x55 });
                let disk = if index % 2 == 0 { Disk::warm() } else { Disk::cold() };
                let (kept, damaged, troubles) = read(directory.path(), &broken, disk);
                assert_same_entries(&kept, &all, &format!("array {index}, byte {damage}"));
                assert_eq!(damaged, 0, "array {index}, byte {damage}");
                let last = index + 1 == arrays.len() && damage == 16;
                assert_eq!(troubles.len(), usize::from(!last), "array {index}, byte {damage}: {troubles:?}");
            }
        }
    }
}

#[test]
fn a_damaged_item_costs_its_entry_only() {
    let directory = tempfile::tempdir().unwrap();
    let (file, all) = journal(directory.path(), Style::COMMON, 600);
    let header = Header::parse(&file).unwrap();
    let array = header.entry_array_offset as usize;
    let item = |file: &[u8], n: usize| u32::from_le_bytes(file[array + 24 + 4 * n..][..4].try_into().unwrap());
    for (n, to) in [(1, item(&file, 0)), (1, 0), (1, header.tail_object_offset as u32), (2, item(&file, 0) + 8)] {
        let mut broken = file.clone();
        broken[array + 24 + 4 * n..][..4].copy_from_slice(&to.to_le_bytes());
        let (kept, damaged, troubles) = read(directory.path(), &broken, Disk::warm());
        assert!(kept.len() + 1 >= all.len(), "item {n} = {to}: {} of {}", kept.len(), all.len());
        assert_eq!(damaged, 1, "item {n} = {to}");
        assert_eq!(troubles.len(), 1);
    }
}

#[test]
fn a_count_that_is_too_small_hides_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (file, all) = journal(directory.path(), Style::COMMON, 300);
    for (count, state) in [(0u64, 0), (0, 2), (44, 0), (44, 2), (299, 2)] {
        let mut broken = file.clone();
        broken[152..160].copy_from_slice(&count.to_le_bytes());
        broken[16] = state;
        let (kept, damaged, troubles) = read(directory.path(), &broken, Disk::cold());
        assert_same_entries(&kept, &all, &format!("{count} counted"));
        assert_eq!(damaged, 0);
        assert!(troubles.len() == 1 && troubles[0].contains("its header counts"), "{troubles:?}");
    }
    // Too large a count loses nothing either.
    let mut broken = file;
    broken[152..160].copy_from_slice(&(1u64 << 40).to_le_bytes());
    let (kept, _, troubles) = read(directory.path(), &broken, Disk::warm());
    assert_same_entries(&kept, &all, "a count too large");
    assert_eq!(troubles.len(), 1);
}

/// A message may hold what looks like objects: the walk steps over it as long as it knows where objects begin.
#[test]
fn an_entry_inside_a_message_is_no_entry() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("system.journal");
    let style = Style { compress: false, ..Style::COMMON };
    let mut stream = Stream::new(62);
    writer::write(&path, style, &[stream.entries(20)]);
    let file = std::fs::read(&path).unwrap();
    let (at, head) = *objects(&file).iter().rev().find(|(_, head)| head.kind == ObjectKind::Entry).unwrap();
    let mut fake = file[at..at + head.size as usize].to_vec();
    fake[16..24].copy_from_slice(&30u64.to_le_bytes());
    let mut forged = b"__REALTIME_TIMESTAMP=1800000000000000\nMESSAGE\n".to_vec();
    forged.extend_from_slice(&(fake.len() as u64 * 8 + 64).to_le_bytes());
    (0..8).for_each(|_| forged.extend_from_slice(&fake));
    forged.extend([b'x'; 64]);
    forged.extend_from_slice(b"\n\n");
    std::fs::remove_file(&path).unwrap();
    let mut stream = Stream::new(62);
    writer::write(&path, style, &[stream.entries(20), forged, stream.entries(20)]);
    let all = read_all(directory.path());
    let mut broken = std::fs::read(&path).unwrap();
    broken[176..184].fill(0);
    let (kept, damaged, _) = read(directory.path(), &broken, Disk::warm());
    assert_same_entries(&kept, &all, "forged");
    assert_eq!(damaged, 0);
}

/// An entry that claims more bytes than it has once took all entries in these with it.
#[test]
fn an_entry_that_claims_too_much_hides_no_other() {
    for style in [Style::COMMON, Style { compact: false, ..Style::COMMON }] {
        let directory = tempfile::tempdir().unwrap();
        let (file, all) = journal(directory.path(), style, 300);
        let entries = objects(&file).into_iter().filter(|(_, head)| head.kind == ObjectKind::Entry);
        let (at, head) = entries.clone().nth(100).unwrap();
        for size in [head.size + 16, head.size | 1 << 14, 65_535] {
            let mut broken = file.clone();
            broken[at + 8..at + 16].copy_from_slice(&size.to_le_bytes());
            for disk in [Disk::warm(), Disk::cold()] {
                let (kept, damaged, troubles) = read(directory.path(), &broken, disk);
                assert_eq!((kept.len(), damaged), (all.len(), 0), "{size} bytes");
                let others = |kept: &Kept| kept.position.offset != at as u64;
                assert!(kept.iter().filter(|kept| others(kept)).eq(all.iter().filter(|kept| others(kept))));
                assert_eq!(troubles.len(), 1, "{size} bytes: {troubles:?}");
            }
        }
    }
}

/// Found by fuzzing: the end of what may be read at once was added up beyond the largest number.
#[test]
fn an_item_beyond_all_numbers_costs_its_entry_only() {
    let directory = tempfile::tempdir().unwrap();
    let (file, all) = journal(directory.path(), Style { compact: false, ..Style::COMMON }, 300);
    let array = Header::parse(&file).unwrap().entry_array_offset as usize;
    for n in 0..4 {
        for to in [u64::MAX, u64::MAX - 7, i64::MAX as u64 - 7, u64::MAX - 64 * 1024 - 7] {
            let mut broken = file.clone();
            broken[array + 24 + 8 * n..][..8].copy_from_slice(&to.to_le_bytes());
            let (kept, damaged, troubles) = read(directory.path(), &broken, Disk::warm());
            assert_eq!((kept.len(), damaged, troubles.len()), (all.len() - 1, 1, 1), "item {n} = {to}");
        }
    }
}

/// The same in a walk, whose place went round to the beginning of the file again: it would not have ended.
#[test]
fn an_object_beyond_all_numbers_ends_a_walk() {
    let directory = tempfile::tempdir().unwrap();
    let (file, all) = journal(directory.path(), Style::COMMON, 100);
    let mut broken = file.clone();
    let header_size = Header::parse(&file).unwrap().header_size;
    // No list, an arena as large as numbers go, and one object that takes all of it.
    broken[176..184].fill(0);
    broken[96..104].copy_from_slice(&(u64::MAX - header_size).to_le_bytes());
    let data = objects(&file).into_iter().rfind(|(_, head)| head.kind == ObjectKind::Data).unwrap().0;
    broken[data + 8..data + 16].copy_from_slice(&(u64::MAX - data as u64).to_le_bytes());
    let (kept, damaged, _) = read(directory.path(), &broken, Disk::warm());
    assert_eq!((kept.len() as u64 + damaged, kept.len() + 1), (all.len() as u64, all.len()));
}
