//! `corelane inspect journal`: in words, and by its exit code.

use std::{
    path::Path,
    process::{Command, Output},
};

use super::{
    journal,
    mutate::{Seeded, mutate, objects},
};

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
