//! Files that are cut, flipped, foreign or hostile: never a panic, a hang or a silent nothing.

use std::path::Path;

use super::{
    disk::{Disk, Kept, drain},
    from_beginning, objects, read_all,
    writer::{self, Seeded, Stream, Style},
};
use crate::wire::journal::{Header, ObjectKind};

/// The bytes of a journal without the room its writer laid out.
fn small_journal(seed: u64, style: Style, entries: usize) -> (tempfile::TempDir, Vec<u8>, Vec<Kept>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("system.journal");
    writer::write(&path, style, &[Stream::new(seed).entries(entries)]);
    let mut file = std::fs::read(&path).unwrap();
    let (tail, head) = *objects(&file).last().unwrap();
    file.truncate((tail + head.size as usize).next_multiple_of(8));
    std::fs::write(&path, &file).unwrap();
    let kept = read_all(directory.path());
    assert_eq!(kept.len(), entries);
    (directory, file, kept)
}

/// What is read of `file`, the entries counted as damaged, and how many complaints there were.
fn read(directory: &Path, file: &[u8], disk: &mut Disk) -> (Vec<Kept>, u64, usize) {
    std::fs::write(directory.join("system.journal"), file).unwrap();
    let mut cursor = from_beginning(directory);
    let kept = drain(&mut cursor, disk);
    let damaged = cursor.counts().damaged;
    let troubles = cursor.take_troubles();
    cursor.release(disk);
    (kept, damaged, troubles.len())
}

#[test]
fn a_truncated_file_gives_everything_before_the_cut() {
    let (directory, file, all) = small_journal(41, Style::COMMON, 400);
    let objects = objects(&file);
    let mut random = Seeded(41);
    for _ in 0..60 {
        let cut = 300 + random.below(file.len() as u64 - 300) as usize;
        let (kept, damaged, troubles) = read(directory.path(), &file[..cut], &mut Disk::warm());
        let ends =
            |at: &usize| objects.iter().find(|(offset, _)| offset == at).map(|(at, head)| at + head.size as usize);
        let before = all.iter().filter(|kept| ends(&(kept.position.offset as usize)).unwrap() <= cut).count();
        // The array that lists the last entry before the cut may lie behind it.
        assert!(kept.len() == before || kept.len() + 1 == before, "{} of {before} before {cut}", kept.len());
        assert!(kept == all[..kept.len()]);
        assert!(troubles == 1 && damaged == (400 - kept.len()) as u64, "{damaged} counted, {} read", kept.len());
    }
}

#[test]
fn a_flipped_bit_costs_at_most_its_entry() {
    for style in [Style::COMMON, Style { compact: false, ..Style::COMMON }] {
        let (directory, file, all) = small_journal(42, style, 300);
        let objects = objects(&file);
        let header_size = Header::parse(&file).unwrap().header_size as usize;
        let mut random = Seeded(42);
        let (mut flipped, mut lost) = (file.clone(), 0);
        for case in 0..200 {
            // Half of the flips hit the header and the heads of objects, which matter most.
            let at = match case % 4 {
                0 => random.below(header_size as u64) as usize,
                1 => objects[random.below(objects.len() as u64) as usize].0 + random.below(64) as usize,
                _ => random.below(file.len() as u64) as usize,
            };
            let Some(byte) = flipped.get_mut(at) else { continue };
            *byte ^= 1 << random.below(8);
            let mut disk = if case % 8 == 0 { Disk::cold() } else { Disk::warm() };
            let (kept, damaged, troubles) = read(directory.path(), &flipped, &mut disk);
            assert_eq!(disk.open_files(), 0);
            let hit = objects.iter().rev().find(|(offset, _)| *offset <= at).map(|(_, head)| head.kind);
            if !matches!(hit, None | Some(ObjectKind::EntryArray)) {
                assert!(kept.len() + 1 >= all.len(), "bit {at}: {} read, {damaged} damaged", kept.len());
                assert_eq!(kept.len() as u64 + damaged, all.len() as u64, "bit {at}");
            }
            assert!(kept.len() >= all.len() || damaged > 0 || troubles > 0 || hit.is_none(), "bit {at}: silent");
            lost += all.len().saturating_sub(kept.len());
            flipped[at] = file[at];
        }
        println!("{lost} entries lost in all");
    }
}

#[test]
fn many_flips_at_once_end() {
    let (directory, file, _) = small_journal(43, Style::COMMON, 200);
    let mut random = Seeded(43);
    for case in 0..100 {
        let mut flipped = file.clone();
        for _ in 0..1 + random.below(200) {
            let at = 300 + random.below(file.len() as u64 - 300) as usize;
            flipped[at] = random.next() as u8;
        }
        let mut disk = if case % 4 == 0 { Disk::cold() } else { Disk::warm() };
        let (kept, ..) = read(directory.path(), &flipped, &mut disk);
        assert!(kept.len() <= 400, "bounded by what the file lists");
    }
}

#[test]
fn foreign_files_are_refused_by_name_and_the_others_read() {
    let (directory, file, all) = small_journal(44, Style::COMMON, 50);
    let mut unknown = file.clone();
    unknown[12] |= 64;
    unknown[24] ^= 1;
    std::fs::write(directory.path().join("other@1-2-3.journal"), &unknown).unwrap();
    std::fs::write(directory.path().join("empty@1-2-3.journal"), b"").unwrap();
    std::fs::write(directory.path().join("noise.journal~"), [b'x'; 5000]).unwrap();
    std::fs::write(directory.path().join("copy@1-2-3.journal"), &file).unwrap();
    std::fs::create_dir(directory.path().join("directory.journal")).unwrap();
    std::os::unix::fs::symlink("nowhere", directory.path().join("dangling.journal")).unwrap();
    let (mut disk, mut cursor) = (Disk::cold(), from_beginning(directory.path()));
    let kept = drain(&mut cursor, &mut disk);
    assert_eq!(kept, all);
    let troubles = cursor.take_troubles().join("\n");
    for part in
        ["other@1-2-3.journal", "bit 6 (0x40)", "empty@", "too short", "noise.journal~", "LPKSHHRH", "a copy of"]
    {
        assert!(troubles.contains(part), "{part} in {troubles}");
    }
    cursor.changed();
    assert!(drain(&mut cursor, &mut disk).is_empty());
    assert_eq!(cursor.take_troubles(), Vec::<String>::new(), "told once");
}

/// A damaged file that claims a terabyte, and is as long without holding it, once kept a lane busy for hours, at eight
/// bytes a step.
#[test]
fn a_walk_through_a_huge_hole_ends() {
    let (directory, file, _) = small_journal(45, Style::COMMON, 1000);
    let (_other, mut successor, _) = small_journal(46, Style::COMMON, 1000);
    let header = Header::parse(&successor).unwrap();
    let mut damaged = file;
    let end = 1u64 << 40;
    let numbers = [(96, end), (136, end), (152, 1 << 40), (176, 1 << 50)];
    numbers.iter().for_each(|(at, number)| damaged[*at..at + 8].copy_from_slice(&number.to_le_bytes()));
    // What follows it in the same sequence.
    successor[72..88].copy_from_slice(&damaged[72..88]);
    let objects = objects(&successor);
    for (at, _) in objects.iter().filter(|(_, head)| head.kind == ObjectKind::Entry) {
        let seqnum = u64::from_le_bytes(successor[at + 16..at + 24].try_into().unwrap()) + 5000;
        successor[at + 16..at + 24].copy_from_slice(&seqnum.to_le_bytes());
    }
    for (at, seqnum) in [(160, header.tail_entry_seqnum + 5000), (168, header.head_entry_seqnum + 5000)] {
        successor[at..at + 8].copy_from_slice(&seqnum.to_le_bytes());
    }
    std::fs::write(directory.path().join("system.journal"), &successor).unwrap();
    let path = directory.path().join("system@1-1-1.journal");
    for cold in [false, true] {
        std::fs::write(&path, &damaged).unwrap();
        std::fs::File::options().write(true).open(&path).unwrap().set_len(end).unwrap();
        let mut disk = if cold { Disk::cold() } else { Disk::warm() };
        let mut cursor = from_beginning(directory.path());
        let kept = drain(&mut cursor, &mut disk);
        let of_successor = kept.iter().filter(|kept| kept.position.seqnum > 5000).count();
        assert_eq!((kept.len(), of_successor), (2000, 1000));
        assert!(cursor.counts().damaged > 1 << 30, "what it promised is lost: {}", cursor.counts().damaged);
        let troubles = cursor.take_troubles().join("\n");
        assert!(troubles.contains("nothing looks like an object in the 256 MiB"), "{troubles}");
        println!("{} reads", disk.reads());
        assert!(disk.reads() < 4000, "{} reads", disk.reads());
    }
}
