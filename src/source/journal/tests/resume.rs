//! Where reading begins: after any entry, by time, at the end; and what is missing when files are gone.

use std::{path::Path, time::Duration};

use super::{
    JournalCursor, JournalStart,
    disk::{Disk, Kept, drain, take},
    everything, from_beginning, objects, read_all,
    writer::{self, Stream, Style},
};
use crate::{
    limits::LOOK_BACK_ENTRIES,
    model::{JournalPosition, Nanos},
    plan::StartAt,
    wire::journal::{Header, ObjectKind},
};

fn resumed(directory: &Path, position: JournalPosition) -> JournalCursor {
    JournalCursor::new(&[directory.to_owned()], everything(), JournalStart::Resume(position))
}

fn assert_rest(all: &[Kept], from: usize, got: &[Kept]) {
    let back = got.iter().take_while(|kept| kept.look_back).count();
    let numbers = |kept: &[Kept]| kept.iter().map(|kept| kept.position).collect::<Vec<_>>();
    assert!(numbers(&got[back..]) == numbers(&all[from..]), "{} instead of {}", got.len() - back, all.len() - from);
    assert!(numbers(&got[..back]) == numbers(&all[from - back..from]), "look-back is what came before");
}

#[test]
fn resuming_after_any_entry_gives_exactly_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    writer::rotated(directory.path(), Style::COMMON, 21, 2, 500);
    let all = read_all(directory.path());
    for at in (0..all.len()).step_by(37).chain([all.len() - 1]) {
        let mut disk = if at % 2 == 0 { Disk::warm() } else { Disk::cold() };
        let mut cursor = resumed(directory.path(), all[at].position);
        let got = drain(&mut cursor, &mut disk);
        assert_rest(&all, at + 1, &got);
        let ordinal = all[at].position.ordinal + 1;
        let back = got.iter().filter(|kept| kept.look_back).count() as u64;
        assert_eq!(back, ordinal.min(LOOK_BACK_ENTRIES));
        assert_eq!(cursor.position(), all[all.len() - 1].position);
        assert_eq!((cursor.take_troubles(), cursor.counts().unattributed), (Vec::new(), 0));
    }
    let default = drain(&mut resumed(directory.path(), JournalPosition::default()), &mut Disk::warm());
    assert_rest(&all, 0, &default);
}

#[test]
fn resuming_survives_a_rewritten_file_by_seqnum_and_by_time() {
    let directory = tempfile::tempdir().unwrap();
    writer::write(&directory.path().join("system.journal"), Style::COMMON, &[Stream::new(22).entries(300)]);
    let all = read_all(directory.path());
    let mut moved = all[100].position;
    moved.offset += 8;
    assert_rest(&all, 101, &drain(&mut resumed(directory.path(), moved), &mut Disk::cold()));
    let mut elsewhere = moved;
    elsewhere.file_id = [9; 16];
    assert_rest(&all, 101, &drain(&mut resumed(directory.path(), elsewhere), &mut Disk::warm()));
    elsewhere.seqnum_id = [9; 16];
    let mut cursor = resumed(directory.path(), elsewhere);
    let got = drain(&mut cursor, &mut Disk::warm());
    let near = elsewhere.realtime - 5_000_000;
    assert_eq!(got.len(), all.iter().filter(|kept| kept.position.realtime >= near).count());
    assert_eq!(cursor.take_troubles().len(), 1, "an unknown loss is told");
}

#[test]
fn a_vacuumed_file_is_a_counted_gap() {
    let directory = tempfile::tempdir().unwrap();
    writer::rotated(directory.path(), Style::COMMON, 23, 2, 300);
    let all = read_all(directory.path());
    let files = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path());
    let oldest = files.filter(|path| path.to_string_lossy().contains('@')).min().unwrap();
    std::fs::remove_file(oldest).unwrap();
    let first_left = all.iter().position(|kept| kept.position.file_id != all[0].position.file_id).unwrap();
    let mut cursor = resumed(directory.path(), all[100].position);
    assert_rest(&all, first_left, &drain(&mut cursor, &mut Disk::warm()));
    assert_eq!(cursor.counts().unattributed, (first_left - 101) as u64);
    assert_eq!(cursor.take_troubles().len(), 1);
}

#[test]
fn starting_by_time_and_at_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("system.journal");
    let mut stream = Stream::new(24);
    writer::write(&path, Style::COMMON, &[stream.entries(1000), stream.rotation(), stream.entries(200)]);
    let all = read_all(directory.path());
    let now = all[all.len() - 1].position.realtime;
    for age in [0u64, 50_000, 300_000, 1_100_000, 100_000_000] {
        let wall = Nanos::from_micros(now).unwrap();
        let start = JournalStart::At(StartAt::Since(Duration::from_micros(age)), wall);
        let mut cursor = JournalCursor::new(&[directory.path().to_owned()], everything(), start);
        let from = all.iter().position(|kept| kept.position.realtime >= now - age).unwrap();
        assert_rest(&all, from, &drain(&mut cursor, &mut Disk::cold()));
    }
    let start = JournalStart::At(StartAt::End, Nanos(0));
    let (mut disk, mut cursor) =
        (Disk::warm(), JournalCursor::new(&[directory.path().to_owned()], everything(), start));
    assert!(drain(&mut cursor, &mut disk).is_empty());
    assert_eq!(cursor.position(), all[all.len() - 1].position, "a restart goes on from here");
    writer::write(&path, Style::COMMON, &[stream.entries(10)]);
    assert!(drain(&mut cursor, &mut disk).is_empty(), "nobody said that something changed");
    cursor.changed();
    assert_eq!(drain(&mut cursor, &mut disk).len(), 10);
}

#[test]
fn a_released_cursor_goes_on_where_it_was() {
    let directory = tempfile::tempdir().unwrap();
    writer::rotated(directory.path(), Style::COMMON, 25, 1, 100);
    let all = read_all(directory.path());
    let (mut disk, mut cursor) = (Disk::warm(), from_beginning(directory.path()));
    assert_rest(&all[..30], 0, &take(&mut cursor, &mut disk, 30));
    cursor.release(&mut disk);
    assert_eq!(disk.open_files(), 0);
    assert_rest(&all, 30, &drain(&mut cursor, &mut disk));
    cursor.release(&mut disk);
    assert_eq!(disk.open_files(), 0);
}

/// `/run` may be read before `/var` is there: where the position lies, and beside it, reading goes on after it.
#[test]
fn the_journal_of_the_position_may_come_after_another() {
    let parent = tempfile::tempdir().unwrap();
    let (run, var, away) = (parent.path().join("run"), parent.path().join("var"), parent.path().join("away"));
    for directory in [&run, &var] {
        std::fs::create_dir(directory).unwrap();
    }
    writer::rotated(&var, Style::COMMON, 26, 2, 200);
    let all = read_all(&var);
    writer::write(&run.join("system.journal"), Style::COMMON, &[Stream::new(27).entries(30)]);
    for at in [0, 100, 300, all.len() - 1] {
        std::fs::rename(&var, &away).unwrap();
        let start = JournalStart::Resume(all[at].position);
        let mut cursor = JournalCursor::new(&[run.clone(), var.clone()], everything(), start);
        let mut disk = Disk::warm();
        assert!(drain(&mut cursor, &mut disk).len() <= 30);
        std::fs::rename(&away, &var).unwrap();
        cursor.changed();
        assert_rest(&all, at + 1, &drain(&mut cursor, &mut disk));
    }
}

/// Reads `directory`, and again after every so many entries: everything that is in `all` comes, each once.
fn assert_resumes(directory: &Path, all: &[Kept], what: &str) {
    let mut cursor = from_beginning(directory);
    let kept = drain(&mut cursor, &mut Disk::warm());
    let places = |kept: &[Kept]| {
        let place = |kept: &Kept| (kept.position.file_id, kept.position.offset);
        kept.iter().filter(|kept| !kept.look_back).map(place).collect::<Vec<_>>()
    };
    assert!(places(&kept) == places(all), "{what}: {} of {}, or in another order", kept.len(), all.len());
    assert!(kept.is_sorted_by_key(|kept| kept.position.seqnum), "{what}");
    let last = kept[kept.len() - 1].position.seqnum;
    assert!(last <= all[all.len() - 1].position.seqnum, "{what}: up to {last}, which would leave out what is to come");
    let troubles = cursor.take_troubles();
    assert!(troubles.len() == 1 && troubles[0].contains("the seqnum of an entry"), "{what}: {troubles:?}");
    assert_eq!(cursor.counts().damaged, 0, "{what}");
    for at in (0..kept.len()).step_by(61).chain(148..153) {
        let mut disk = if at % 2 == 0 { Disk::warm() } else { Disk::cold() };
        let got = drain(&mut resumed(directory, kept[at].position), &mut disk);
        assert!(places(&got) == places(&all[at + 1..]), "{what}: {} resumed after {at}", got.len());
    }
}

/// A file with a damaged seqnum was once read behind younger ones, and the rest of it was lost at a kill.
#[test]
fn a_flipped_bit_in_a_seqnum_costs_no_entry_at_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let live = writer::rotated(directory.path(), Style::COMMON, 28, 1, 300);
    let all = read_all(directory.path());
    let files = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path());
    let archived = files.filter(|path| path.to_string_lossy().contains('@')).min().unwrap();
    const HEAD: usize = 168;
    const TAIL: usize = 160;
    let entry = |file: &[u8], n: usize| {
        let mut entries = objects(file).into_iter().filter(|(_, head)| head.kind == ObjectKind::Entry);
        entries.nth(n).unwrap().0 + 16
    };
    for path in [&archived, &live] {
        let sound = std::fs::read(path).unwrap();
        let is_archived = path == &archived;
        // Of the header, the first entry, and some in the midst: bits that lead out of the file, and some that do not.
        let mut flips: Vec<(usize, usize)> = (150..158).map(|n| (entry(&sound, n), 40)).collect();
        flips.push((entry(&sound, 150), 17));
        if is_archived {
            let [first, midst] = [0, 150].map(|n| entry(&sound, n));
            flips.extend([(HEAD, 40), (HEAD, 8), (first, 40), (first, 6), (midst, 10), (midst, 6), (midst, 2)]);
        }
        for (at, bit) in flips {
            let mut file = sound.clone();
            file[at + bit / 8] ^= 1 << (bit % 8);
            std::fs::write(path, &file).unwrap();
            assert_resumes(directory.path(), &all, &format!("archived: {is_archived}, byte {at}, bit {bit}"));
        }
        std::fs::write(path, &sound).unwrap();
    }
    // The last entry is what a search looks at first.
    let sound = std::fs::read(&archived).unwrap();
    let last = entry(&sound, Header::parse(&sound).unwrap().n_entries as usize - 1);
    for (at, bit) in [(last, 8), (last, 40), (TAIL, 8), (TAIL, 40)] {
        let mut file = sound.clone();
        file[at + bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&archived, &file).unwrap();
        let mut moved = all[200].position;
        moved.file_id = [9; 16];
        let got = drain(&mut resumed(directory.path(), moved), &mut Disk::cold());
        let kept = |kept: &Kept| got.iter().any(|got| got.message == kept.message && got.time == kept.time);
        assert!(all[201..].iter().all(kept), "byte {at}, bit {bit}: {} of {}", got.len(), all.len() - 201);
    }
}

/// The same among entries so alike that they are read in one go.
#[test]
fn a_flipped_bit_in_a_seqnum_of_an_ordinary_entry_is_not_believed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("system.journal");
    let entry = |n: u64| {
        let time = 1_700_000_000_000_000 + n;
        format!("__REALTIME_TIMESTAMP={time}\nSYSLOG_IDENTIFIER=etcd\nPRIORITY=6\nMESSAGE=entry {n}\n\n").into_bytes()
    };
    writer::write(&path, Style::COMMON, &(0..200).map(entry).collect::<Vec<_>>());
    let all = read_all(directory.path());
    let sound = std::fs::read(&path).unwrap();
    for (state, bit) in [(0, 40), (0, 17), (2, 40), (2, 9), (2, 7), (2, 6)] {
        let mut file = sound.clone();
        file[16] = state;
        file[all[100].position.offset as usize + 16 + bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&path, &file).unwrap();
        assert_resumes(directory.path(), &all, &format!("state {state}, bit {bit}"));
    }
}
