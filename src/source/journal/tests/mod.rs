//! The reader against systemd's own writer (`systemd-journal-remote`) and reader (`journalctl`).

mod backlog;
mod broken;
mod copies;
mod damage;
mod disk;
mod failing;
mod follow;
mod gap;
mod index;
mod interleave;
mod mapped;
mod oracle;
mod resume;
mod writer;

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use lzma_rust2::{CheckType, XzOptions, XzWriter};

use self::{
    disk::{Disk, drain},
    oracle::{assert_same, journalctl},
    writer::{IDENTIFIERS, Stream, Style},
};
use super::{JournalCursor, JournalStart};
use crate::{
    limits::JOURNAL_FIELD_BYTES_MAX,
    model::Nanos,
    plan::{JournalInput, StartAt},
    wire::journal::{Compression, DataHead, Decompressor, Header, ObjectHead, ObjectKind},
};

pub fn everything() -> Vec<JournalInput> {
    vec![JournalInput::default()]
}

/// A source that asks for something.
pub fn input(identifier: Option<&str>, unit: Option<&str>, matches: &[(&str, &[&str])]) -> JournalInput {
    let words = |values: &[&str]| values.iter().map(|&value| value.to_owned()).collect();
    JournalInput {
        identifier: identifier.map(str::to_owned),
        unit: unit.map(str::to_owned),
        matches: matches.iter().map(|&(name, values)| (name.to_owned(), words(values))).collect(),
        ..JournalInput::default()
    }
}

pub fn from_beginning(directory: &Path) -> JournalCursor {
    let start = JournalStart::At(StartAt::Beginning, Nanos(0));
    JournalCursor::new(&[directory.to_owned()], everything(), start)
}

/// Entries damaged, spoiled, gone.
pub fn lost(cursor: &JournalCursor) -> (u64, u64, u64) {
    let counts = cursor.counts();
    (counts.damaged, counts.spoiled, counts.unattributed)
}

/// Reads a directory, with everything in memory, so that it is mapped, and with nothing in memory, so that it is read;
/// both must agree.
pub fn read_all(directory: &Path) -> Vec<disk::Kept> {
    let mut cursor = from_beginning(directory);
    let kept = drain(&mut cursor, &mut Disk::warm());
    assert_eq!(cursor.take_troubles(), Vec::<String>::new());
    assert_eq!(lost(&cursor), (0, 0, 0));
    let cold = drain(&mut from_beginning(directory), &mut Disk::cold());
    assert!(cold == kept, "{} cold, {} warm", cold.len(), kept.len());
    kept
}

/// All objects of a file from its first to its last, by walking the arena: (offset, bytes of the object).
pub fn objects(file: &[u8]) -> Vec<(usize, ObjectHead)> {
    let header = Header::parse(file).unwrap();
    let (mut at, mut objects) = (header.header_size as usize, Vec::new());
    while at as u64 <= header.tail_object_offset {
        let head = ObjectHead::parse(&file[at..]).unwrap();
        objects.push((at, head));
        at += (head.size as usize).next_multiple_of(8);
    }
    objects
}

/// Stores every payload of an uncompressed journal that is long enough the way older writers do. Objects shrink in
/// place: their offsets stay.
fn transcode(file: &mut [u8], compression: Compression) {
    let header = Header::parse(file).unwrap();
    let payload_at = header.layout().payload_at();
    let (flag, incompatible) = if compression == Compression::Lz4 { (2, 2) } else { (1, 1) };
    file[12] |= incompatible;
    let mut stored = 0;
    for (at, head) in objects(file) {
        let size = head.size as usize;
        if head.kind != ObjectKind::Data || size < payload_at + 512 {
            continue;
        }
        let payload = &file[at + payload_at..at + size];
        let packed = match compression {
            Compression::Xz => xz(payload),
            _ => [(payload.len() as u64).to_le_bytes().to_vec(), lz4_flex::block::compress(payload)].concat(),
        };
        if packed.len() <= payload.len() {
            file[at + payload_at..][..packed.len()].copy_from_slice(&packed);
            file[at + 1] = flag;
            file[at + 8..at + 16].copy_from_slice(&((payload_at + packed.len()) as u64).to_le_bytes());
            stored += 1;
        }
    }
    assert!(stored > 10, "{stored} payloads were long enough");
}

fn xz(payload: &[u8]) -> Vec<u8> {
    let mut options = XzOptions::with_preset(0);
    options.set_check_sum_type(CheckType::None);
    let mut writer = XzWriter::new(Vec::new(), options).unwrap();
    writer.write_all(payload).unwrap();
    writer.finish().unwrap()
}

/// Writes a journal and compares what is read with what the reference reader says.
fn compare(style: Style, packed: Compression, seed: u64, entries: usize) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("system.journal");
    writer::write(&path, style, &[Stream::new(seed).entries(entries)]);
    let mut file = std::fs::read(&path).unwrap();
    let header = Header::parse(&file).unwrap();
    assert_eq!(header.incompatible & 16 != 0, style.compact, "the writer did as told");
    assert_eq!(header.incompatible & 4 != 0, style.keyed, "the writer did as told");
    assert_eq!(header.n_entries, entries as u64);
    let zstd = objects(&file).iter().any(|(_, head)| Compression::from_flags(head.flags) == Some(Compression::Zstd));
    assert_eq!(zstd, style.compress, "the writer did as told");
    check_hashes(&file, &header);
    if matches!(packed, Compression::Lz4 | Compression::Xz) {
        transcode(&mut file, packed);
        std::fs::write(&path, &file).unwrap();
    }
    assert_same(&journalctl(&path), &read_all(directory.path()));
}

/// Every payload has the hash its DATA object carries.
fn check_hashes(file: &[u8], header: &Header) {
    let (mut decompressor, mut plain) = (Decompressor::default(), Vec::new());
    for (at, _) in objects(file).iter().filter(|(_, head)| head.kind == ObjectKind::Data).step_by(5) {
        let data = DataHead::parse(&file[*at..], header.layout()).unwrap();
        let stored = &file[at + header.layout().payload_at()..][..data.payload_bytes as usize];
        let cut = decompressor.decode(data.compression, stored, 1 << 20, &mut plain).unwrap();
        assert!(cut || header.hash(&plain) == data.hash);
    }
}

#[test]
fn compact_zstd() {
    compare(Style::COMMON, Compression::Zstd, 1, 6000);
}

#[test]
fn regular_zstd() {
    compare(Style { compact: false, ..Style::COMMON }, Compression::Zstd, 2, 4000);
}

#[test]
fn compact_uncompressed_with_the_old_hash() {
    compare(Style { compact: true, keyed: false, compress: false }, Compression::None, 3, 3000);
}

#[test]
fn regular_lz4_with_the_old_hash() {
    compare(Style { compact: false, keyed: false, compress: false }, Compression::Lz4, 4, 3000);
}

#[test]
fn compact_lz4() {
    compare(Style { compact: true, keyed: true, compress: false }, Compression::Lz4, 5, 1000);
}

#[test]
fn regular_xz() {
    compare(Style { compact: false, keyed: true, compress: false }, Compression::Xz, 6, 1000);
}

/// A message over the limit is its beginning, and counted; its neighbours are whole.
#[test]
fn a_long_message_is_cut_and_counted() {
    for compress in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("system.journal");
        let long: String = (0..400_000u64).map(|n| format!("{:x} ", n * n)).collect();
        let entry =
            |message: &str| format!("__REALTIME_TIMESTAMP=1700000000000000\nMESSAGE={message}\n\n").into_bytes();
        let parts = [entry("before"), entry(&long), entry("after")];
        writer::write(&path, Style { compress, ..Style::COMMON }, &parts);
        let kept = read_all(directory.path());
        assert_eq!((kept[0].message.as_slice(), kept[2].message.as_slice()), (&b"before"[..], &b"after"[..]));
        assert!(kept[1].message.len() > JOURNAL_FIELD_BYTES_MAX / 2 && kept[1].message.len() < JOURNAL_FIELD_BYTES_MAX);
        assert!(long.as_bytes().starts_with(&kept[1].message));
        let mut cursor = from_beginning(directory.path());
        drain(&mut cursor, &mut Disk::warm());
        assert_eq!(cursor.counts().cut, 1);
    }
}

#[test]
fn rotated_files_are_one_sequence() {
    let directory = tempfile::tempdir().unwrap();
    writer::rotated(directory.path(), Style::COMMON, 7, 3, 1500);
    assert!(std::fs::read_dir(directory.path()).unwrap().count() >= 4, "the writer rotated");
    let kept = read_all(directory.path());
    assert_same(&journalctl(directory.path()), &kept);
    assert!(kept.windows(2).all(|pair| pair[0].position.seqnum + 1 == pair[1].position.seqnum));
}

#[test]
fn directories_of_machines_are_searched_and_merged_by_time() {
    let directory = tempfile::tempdir().unwrap();
    let machine = directory.path().join("0123456789abcdef0123456789abcdef");
    let namespace = directory.path().join("0123456789abcdef0123456789abcdef.store");
    let other = directory.path().join("not-a-machine");
    for (seed, below) in [(8, &machine), (9, &namespace), (10, &other)] {
        std::fs::create_dir(below).unwrap();
        writer::write(&below.join("system.journal"), Style::COMMON, &[Stream::new(seed).entries(400)]);
    }
    let kept = read_all(directory.path());
    assert_eq!(kept.len(), 800);
    assert!(kept.windows(2).all(|pair| pair[0].position.realtime <= pair[1].position.realtime));
    let mut cursor = from_beginning(directory.path());
    drain(&mut cursor, &mut Disk::warm());
    let watched: Vec<PathBuf> = cursor.watch_paths().map(Path::to_owned).collect();
    assert_eq!(watched, [directory.path(), &machine, &namespace]);
}

#[test]
fn selectors_take_what_the_reference_reader_says_they_should() {
    let directory = tempfile::tempdir().unwrap();
    let path = writer::rotated(directory.path(), Style::COMMON, 11, 1, 3000);
    let selectors = vec![
        input(Some("duroslight"), None, &[]),
        input(None, Some("etcd.service"), &[]),
        input(Some("etcd"), None, &[("PRIORITY", &["3", "4"]), ("_HOSTNAME", &["node-1"])]),
        input(None, None, &[("NO_SUCH_FIELD", &["x"])]),
    ];
    let start = JournalStart::At(StartAt::Beginning, Nanos(0));
    let mut cursor = JournalCursor::new(&[directory.path().to_owned()], selectors, start);
    let kept = drain(&mut cursor, &mut Disk::cold());
    let expected: Vec<(u128, Vec<u8>)> = journalctl(directory.path())
        .iter()
        .map(|told| {
            let (identifier, unit) = (told.first("SYSLOG_IDENTIFIER"), told.first("_SYSTEMD_UNIT"));
            let duroslight =
                [IDENTIFIERS[1], IDENTIFIERS[2], IDENTIFIERS[3]].iter().any(|id| id.as_bytes() == identifier);
            let etcd = identifier == b"etcd" && [&b"3"[..], b"4"].contains(&told.first("PRIORITY"));
            (u128::from(duroslight) | u128::from(unit == b"etcd.service") << 1 | u128::from(etcd) << 2, told)
        })
        .filter(|(mask, _)| *mask != 0)
        .map(|(mask, told)| (mask, told.first("TEST_NUMBER").to_vec()))
        .collect();
    let numbers: Vec<(u128, Vec<u8>)> =
        kept.iter().map(|kept| (kept.sources, kept.position.seqnum.to_string().into_bytes())).collect();
    assert_eq!(numbers, expected);
    let all = journalctl(&path).len() as u64;
    assert!(cursor.position().ordinal + 1 == all, "passed over what nobody wants");
    cursor.set_selectors(everything());
    assert!(drain(&mut cursor, &mut Disk::cold()).is_empty());
}
