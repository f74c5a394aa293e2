//! Files that are mapped: the same entries for less, and nothing but the file's own end when one is cut off meanwhile.

use std::fs::OpenOptions;

use super::{
    disk::{Disk, drain, take},
    everything, from_beginning, input, objects, read_all,
    writer::{self, Stream, Style},
};
use crate::{
    model::Nanos,
    plan::StartAt,
    ring::{Poll, Ring, Uring},
    source::journal::{JournalCursor, JournalStart},
};

#[test]
fn much_to_read_is_mapped_and_brings_the_same() {
    for style in [Style::COMMON, Style { compact: false, ..Style::COMMON }] {
        let directory = tempfile::tempdir().unwrap();
        writer::rotated(directory.path(), style, 71, 2, 1500);
        let start = JournalStart::At(StartAt::Beginning, Nanos(0));
        for selectors in [everything(), vec![input(Some("etcd"), None, &[])]] {
            let read = |disk: &mut Disk| {
                let mut cursor = JournalCursor::new(&[directory.path().to_owned()], selectors.clone(), start);
                let kept = drain(&mut cursor, disk);
                (kept, cursor.take_counts(), cursor.take_troubles())
            };
            let (mut mapped, mut cold) = (Disk::warm(), Disk::cold());
            assert!(read(&mut mapped) == read(&mut cold));
            assert!(mapped.mapped > 100 && cold.mapped == 0, "{} and {}", mapped.mapped, cold.mapped);
        }
    }
}

/// With the kernel's own mappings.
fn is_cut_off_while_it_is_read(mut ring: impl Ring) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("system.journal");
    writer::write(&path, Style::COMMON, &[Stream::new(72).entries(2000)]);
    let all = read_all(directory.path());
    let objects = objects(&std::fs::read(&path).unwrap());
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    for begun in [1, 900, 1500] {
        let mut cursor = from_beginning(directory.path());
        let mut kept = take(&mut cursor, &mut ring, begun);
        // In the midst of the page that is read.
        let cut = kept.last().unwrap().position.offset + 3000;
        let content = std::fs::read(&path).unwrap();
        file.set_len(cut).unwrap();
        kept.extend(drain(&mut cursor, &mut ring));
        let ends = |at: u64| objects.iter().find(|(offset, _)| *offset as u64 == at).map(|(_, head)| at + head.size);
        let before = all.iter().filter(|kept| ends(kept.position.offset).unwrap() <= cut).count();
        assert!(kept[..] == all[..kept.len()], "{} read", kept.len());
        // What an entry refers to lies before it, but for the array that lists it. Some may have been read before.
        assert!(kept.len() + 1 >= before, "{} of {before} before {cut}", kept.len());
        assert_eq!(cursor.counts().damaged, (all.len() - kept.len()) as u64);
        cursor.release(&mut ring);
        std::fs::write(&path, &content).unwrap();
    }
}

#[test]
fn a_file_that_is_cut_off_while_it_is_mapped_ends_there() {
    is_cut_off_while_it_is_read(Poll::new().unwrap());
    is_cut_off_while_it_is_read(Uring::new().unwrap());
}
