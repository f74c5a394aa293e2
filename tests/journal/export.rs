//! `corelane inspect journal --export` against `journalctl -o export`, byte for byte: all fields of all entries.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use corelane_perf::load::Journal;

use super::{
    Writer,
    forge::Style,
    mutate::{Seeded, mutate, objects},
    sample,
};

fn corelane(path: &Path) -> (Vec<u8>, Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_corelane"));
    let output = command.args(["inspect", "journal", "--export"]).arg(path).output().expect("the binary runs");
    (output.stdout, output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn journalctl(path: &Path) -> Vec<u8> {
    let option = if path.is_dir() { "-D" } else { "--file" };
    let output = Command::new("journalctl").args(["-q", "-o", "export", option]).arg(path).output();
    let output = output.unwrap_or_else(|error| panic!("journalctl: {error}; apt-get install systemd"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    without_seqnums(output.stdout)
}

/// Since systemd 254 two lines of every entry say what its cursor says as well.
fn without_seqnums(export: Vec<u8>) -> Vec<u8> {
    let lines = export.split_inclusive(|byte| *byte == b'\n');
    let told = |line: &&[u8]| !line.starts_with(b"__SEQNUM=") && !line.starts_with(b"__SEQNUM_ID=");
    lines.filter(told).flatten().copied().collect()
}

fn entries(export: &[u8]) -> usize {
    export.windows(10).filter(|bytes| bytes == b"__CURSOR=s").count()
}

fn assert_same(path: &Path, expected: usize, what: &str) {
    let (own, code, told) = corelane(path);
    let reference = journalctl(path);
    assert_eq!((code, told.as_str()), (Some(0), ""), "{what}");
    assert_eq!(entries(&reference), expected, "{what}");
    let differs = own.iter().zip(&reference).position(|(own, other)| own != other);
    let around = |bytes: &[u8]| {
        let at = differs.unwrap_or(own.len().min(reference.len()));
        String::from_utf8_lossy(&bytes[at.saturating_sub(200).min(bytes.len())..(at + 100).min(bytes.len())])
            .into_owned()
    };
    assert!(own == reference, "{what}: at {differs:?}\n{}\nis not\n{}", around(&own), around(&reference));
}

/// What the load does not have: bytes, lines, controls, letters, repeated fields, equal ones, empty and long ones.
fn odd_entries(from: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let noise: Vec<u8> = (0..9000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let long = "compressible ".repeat(3000);
    let values: [&[u8]; 9] = [
        b"two\nlines",
        b"tab\tand \x1b[1mcontrol",
        "\u{e4}\u{20ac}\u{1f980}".as_bytes(),
        "\u{fdd0}\u{85}".as_bytes(),
        b"\xff\xfe\0",
        b"",
        &noise,
        long.as_bytes(),
        b"a=b=c",
    ];
    for (value, time) in values.into_iter().zip(1_800_000_000_000_000 + from..) {
        for (name, value) in [
            ("__REALTIME_TIMESTAMP", time.to_string().as_bytes()),
            ("_BOOT_ID", b"0123456789abcdef0123456789abcdef"),
            ("MESSAGE", value),
            ("MESSAGE", b"the second one"),
            ("MESSAGE", value),
            ("OTHER_1", value),
            ("_A", b"trusted"),
        ] {
            out.extend_from_slice(name.as_bytes());
            out.push(b'\n');
            out.extend_from_slice(&(value.len() as u64).to_le_bytes());
            out.extend_from_slice(value);
            out.push(b'\n');
        }
        out.push(b'\n');
    }
    out
}

#[test]
fn every_byte_of_every_field_is_what_systemd_says() {
    for (number, (compact, keyed, compress)) in
        [(true, true, true), (false, true, true), (true, false, false), (false, false, false), (false, false, true)]
            .into_iter()
            .enumerate()
    {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("system.journal");
        let mut writer = Writer::with_hash(&path, compact, compress, keyed);
        let (load, mut bytes) = (Journal::new(90 + number as u64), Vec::new());
        (0..1500).for_each(|seq| load.push_entry(seq, &mut bytes));
        bytes.extend(odd_entries(0));
        writer.write(&bytes);
        writer.end();
        assert_same(&path, 1509, &format!("compact {compact}, keyed {keyed}, compressed {compress}"));
    }
}

#[test]
fn a_rotated_set_is_one_sequence_to_both() {
    for compact in [true, false] {
        let directory = tempfile::tempdir().expect("a directory");
        let mut writer = Writer::start(&directory.path().join("system.journal"), compact, true);
        let (load, mut bytes) = (Journal::new(95), Vec::new());
        for round in 0..4 {
            (round * 500..(round + 1) * 500).for_each(|seq| load.push_entry(seq, &mut bytes));
            super::live::rotation(round, &mut bytes);
            bytes.extend(odd_entries(round * 10));
        }
        writer.write(&bytes);
        writer.end();
        let files = std::fs::read_dir(directory.path()).expect("the directory").count();
        assert!(files > 3, "the writer rotated: {files} files");
        assert_same(directory.path(), 4 * 510, &format!("compact {compact}"));
    }
}

/// Payloads of every compression, which systemd's writer of today cannot be made to write.
#[test]
fn forged_files_are_the_same_to_both() {
    for number in 0..8 {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("system.journal");
        let file = sample::journal(Style::numbered(number), 700, &mut Seeded(number));
        std::fs::write(&path, file).expect("written");
        assert_same(&path, 700, &format!("{:?}", Style::numbered(number)));
    }
}

/// Of a damaged file the rest is exported, and what is wrong is told.
#[test]
fn a_damaged_file_is_exported_as_far_as_it_goes() {
    let sound = sample::journal(Style::numbered(7), 60, &mut Seeded(97));
    let (objects, mut random) = (objects(&sound), Seeded(97));
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("system.journal");
    for _ in 0..30 {
        let mut file = sound.clone();
        let what = mutate(&mut file, &objects, &mut random);
        std::fs::write(&path, &file).expect("written");
        let (out, code, told) = corelane(&path);
        assert!(entries(&out) >= 60 || code == Some(1) && !told.is_empty(), "{what}: {} entries", entries(&out));
    }
}

/// One wrong byte of the file's id, the key of the hash, once left every field out, of entries that are shipped and
/// that journalctl prints.
#[test]
fn fields_whose_hash_differs_are_exported_and_told() {
    let mut file = sample::journal(Style { compact: true, keyed: true, archived: true }, 60, &mut Seeded(99));
    file[30] ^= 16;
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("system.journal");
    std::fs::write(&path, file).expect("written");
    let (own, code, told) = corelane(&path);
    assert!(own == journalctl(&path) && entries(&own) == 60, "{told}");
    assert!(code == Some(1) && told.contains("fields have a hash that is not theirs"), "{code:?} {told}");
    assert!(!told.contains("left out"), "{told}");
}

#[test]
fn a_reader_that_goes_away_ends_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("system.journal");
    std::fs::write(&path, sample::journal(Style::numbered(7), 5000, &mut Seeded(98))).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_corelane"));
    command.args(["inspect", "journal", "--export"]).arg(&path).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}
