//! `corelane inspect journal`: in words, and by its exit code.

use std::{
    os::unix::fs::FileExt,
    path::Path,
    process::{Command, Output},
};

use corelane_perf::load::Journal;

use super::{
    Writer,
    forge::Style,
    journal,
    mutate::{Seeded, mutate, objects},
    sample,
};

/// Bits flipped in each place.
const FLIPS: usize = 4;

fn inspect(file: &[u8], more: &[&str]) -> Output {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("system.journal");
    std::fs::write(&path, file).expect("written");
    of(&path, more)
}

/// Ended after a while: what hangs fails, it does not hang the tests.
fn of(path: &Path, more: &[&str]) -> Output {
    let mut command = Command::new("timeout");
    command.args(["60", env!("CARGO_BIN_EXE_corelane"), "inspect", "journal"]).arg(path).args(more);
    command.output().expect("the binary runs")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_sound_file_is_told_and_nothing_is_wrong() {
    for (compact, compress) in [(true, true), (false, false)] {
        let output = inspect(&journal(71, compact, compress, 200), &[]);
        let told = text(&output);
        assert_eq!(output.status.code(), Some(0), "{told}");
        assert!(told.contains("nothing is wrong with it") && told.contains("entries    201\n"), "{told}");
        assert_eq!(told.contains("compact"), compact, "{told}");
        assert_eq!(told.contains("zstd"), compress, "{told}");
    }
    // Payloads of every compression, tables of few buckets.
    for number in 0..8 {
        let output = inspect(&sample::journal(Style::numbered(number), 300, &mut Seeded(number)), &[]);
        assert_eq!(output.status.code(), Some(0), "{:?}: {}", Style::numbered(number), text(&output));
    }
    let output = inspect(&journal(71, true, true, 10), &["-o", "json"]);
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&value["entries"], &value["problemsTotal"]), (&11.into(), &0.into()));
}

#[test]
fn what_is_wrong_is_named() {
    let sound = journal(72, true, true, 200);
    let damaged = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut file = sound.clone();
        change(&mut file);
        let output = inspect(&file, &[]);
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        text(&output)
    };
    assert!(damaged(&|file| file.truncate(20_000)).contains("it was cut"));
    assert!(damaged(&|file| file[152] ^= 64).contains("entries: the header says"));
    assert!(damaged(&|file| file[12] |= 128).contains("bit 7 (0x80)"));
    assert!(damaged(&|file| file.truncate(100)).contains("too short for a journal header"));
    let text_at = sound.windows(8).position(|bytes| bytes == b"MESSAGE=").expect("a message") + 10;
    assert!(damaged(&|file| file[text_at] ^= 1).contains("the value of MESSAGE is not the one that was written"));
}

/// Opening a FIFO once waited for its writer.
#[test]
fn what_is_no_regular_file_is_refused_at_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let fifo = directory.path().join("fifo.journal");
    assert!(Command::new("mkfifo").arg(&fifo).status().expect("mkfifo").success());
    for (path, words) in [(fifo.as_path(), "no regular file"), (directory.path(), "a directory")] {
        let output = of(path, &[]);
        assert!(output.status.code() == Some(1) && text(&output).contains(words), "{}", text(&output));
    }
    let output = of(&fifo, &["--export"]);
    assert!(
        output.status.code() == Some(1) && text(&output).contains("neither a journal file nor"),
        "{}",
        text(&output)
    );
}

#[test]
fn no_damage_makes_it_fall() {
    let sound = journal(73, false, true, 60);
    let (objects, mut random) = (objects(&sound), Seeded(73));
    for round in 0..40 {
        let mut file = sound.clone();
        let what = mutate(&mut file, &objects, &mut random);
        let output = inspect(&file, &[]);
        assert!(matches!(output.status.code(), Some(0 | 1)), "round {round}, {what}: {}", text(&output));
    }
}

/// Where bits are flipped: kind of object (0: the header), first byte and bytes.
const PLACES: [(&str, u8, usize, usize); 29] = [
    ("header: flags", 0, 8, 8),
    ("header: state", 0, 16, 8),
    ("header: file id", 0, 24, 16),
    ("header: header and arena size", 0, 88, 16),
    ("header: hash tables", 0, 104, 32),
    ("header: last object", 0, 136, 8),
    ("header: objects, entries", 0, 144, 16),
    ("header: last seqnum", 0, 160, 8),
    ("header: first seqnum", 0, 168, 8),
    ("header: list of entries", 0, 176, 8),
    ("header: times", 0, 184, 24),
    ("header: fields, values, tags, arrays", 0, 208, 32),
    ("DATA: head", 1, 0, 16),
    ("DATA: hash", 1, 16, 8),
    ("DATA: next_hash", 1, 24, 8),
    ("DATA: next_field", 1, 32, 8),
    ("DATA: entry", 1, 40, 8),
    ("DATA: entry_array", 1, 48, 8),
    ("DATA: n_entries", 1, 56, 8),
    ("DATA: payload", 1, 72, 4000),
    ("FIELD: hash", 2, 16, 8),
    ("FIELD: next_hash, head_data", 2, 24, 16),
    ("FIELD: name", 2, 40, 64),
    ("ENTRY: seqnum, realtime", 3, 16, 16),
    ("ENTRY: monotonic", 3, 32, 8),
    ("ENTRY: items", 3, 64, 4000),
    ("table: items", 4, 16, 4_000_000),
    ("ENTRY_ARRAY: next", 6, 16, 8),
    ("ENTRY_ARRAY: items", 6, 24, 64),
];

const MAY_DIFFER: [&str; 3] = ["header: flags", "header: header and arena size", "header: last seqnum"];

/// A bit anywhere in what a file is made of is found wherever `journalctl --verify` finds it. It once found none in the
/// lists of values, hash tables and names of fields.
///
/// Three kinds are not found alike. A last seqnum that is a few too large: appends that failed use some up. Compatible
/// flags: one that is not known is harmless by definition, and journalctl refuses what it cannot verify. Sizes: of a
/// file cut behind its last object nothing is lost, journalctl opens none that is shorter than its header says. And
/// journalctl does not look at the lists of fields at all.
#[test]
fn what_journalctl_finds_is_found() {
    for (seed, compact, keyed) in [(74, true, true), (75, false, false)] {
        println!("seed {seed}");
        let (load, mut random) = (Journal::new(seed), Seeded(seed));
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("system.journal");
        let mut writer = Writer::with_hash(&path, compact, true, keyed);
        let mut bytes = Vec::new();
        (0..300).for_each(|seq| load.push_entry(seq, &mut bytes));
        writer.write(&bytes);
        writer.end();
        let verified = || {
            let output = Command::new("journalctl").args(["--verify", "--file"]).arg(&path).output();
            output.expect("journalctl").status.success()
        };
        let output = of(&path, &[]);
        assert!(verified() && output.status.success(), "{}", text(&output));
        let file = std::fs::read(&path).expect("the file");
        let objects = objects(&file);
        let device = std::fs::File::options().write(true).open(&path).expect("the file");
        for (place, kind, from, bytes) in PLACES {
            let (mut found, mut by_journalctl) = (0, 0);
            for _ in 0..FLIPS {
                let mut begin = (0, 272);
                while kind != 0 && (file[begin.0] != kind || begin.1 <= from) {
                    begin = objects[random.below(objects.len())];
                }
                let at = begin.0 + from + random.below(bytes.min(begin.1 - from));
                let bit = random.below(8);
                device.write_all_at(&[file[at] ^ 1 << bit], at as u64).expect("written");
                let (output, theirs) = (of(&path, &[]), !verified());
                device.write_all_at(&file[at..=at], at as u64).expect("written");
                let code = output.status.code();
                assert!(matches!(code, Some(0 | 1)), "{place}: byte {at} bit {bit}: {}", text(&output));
                let may_differ = MAY_DIFFER.contains(&place);
                let what = format!("{place}: byte {at}, {} of the object at {}, bit {bit}", at - begin.0, begin.0);
                assert!(code == Some(1) || !theirs || may_differ, "{what}: journalctl finds it\n{}", text(&output));
                let ours_alone = place == "DATA: next_field" || place.starts_with("FIELD");
                assert!(code == Some(1) || !ours_alone, "{what}\n{}", text(&output));
                found += u32::from(code == Some(1));
                by_journalctl += u32::from(theirs);
            }
            println!("{place}: {found} of {FLIPS} found, by journalctl {by_journalctl}");
        }
        let output = of(&path, &[]);
        assert!(output.status.success(), "all is as it was: {}", text(&output));
    }
}

/// A file whose writer is still at it, or died, is not judged by what is half done.
#[test]
fn a_file_that_was_left_open_is_sound() {
    for compact in [true, false] {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("system.journal");
        let mut writer = Writer::start(&path, compact, true);
        let load = Journal::new(76);
        for round in 0..40 {
            let mut bytes = Vec::new();
            (round * 50..(round + 1) * 50).for_each(|seq| load.push_entry(seq, &mut bytes));
            writer.write(&bytes);
            // The writer is in the midst of it; at first it has only begun.
            let mut output = of(&path, &[]);
            while round == 0 && is_begun(&text(&output)) {
                output = of(&path, &[]);
            }
            assert!(output.status.success(), "round {round}: {}", text(&output));
        }
        drop(writer);
        let output = of(&path, &[]);
        assert!(output.status.success() && text(&output).contains("online"), "{}", text(&output));
    }
}

/// The file is not there yet, or has no header.
fn is_begun(told: &str) -> bool {
    told.contains("too short for a journal header") || told.contains("no such file")
}

/// One wrong byte may be wrong in thousands of places: a handful of each kind is told, and how many there are.
#[test]
fn a_handful_of_each_kind_is_told() {
    let mut file = journal(77, true, true, 300);
    file[30] ^= 1;
    let output = inspect(&file, &[]);
    let told = text(&output);
    let more = |line: &str| line.contains("more values that are not what was written");
    assert!(output.status.code() == Some(1) && told.lines().any(more), "{told}");
    assert!(told.lines().filter(|line| line.contains("(its hash differs)")).count() == 5, "{told}");
}
