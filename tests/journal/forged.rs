//! What the tests forge is what systemd writes: `journalctl` finds it sound and reads all of it.

use std::{path::Path, process::Command};

use super::{forge::Style, mutate::Seeded, sample};

#[test]
fn forged_files_are_sound_to_journalctl() {
    for number in 0..8 {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("system.journal");
        let entries = 40 + number as usize;
        let file = sample::journal(Style::numbered(number), entries as u64, &mut Seeded(number));
        std::fs::write(&path, file).expect("written");
        let journalctl = |more: &[&str]| {
            let output = Command::new("journalctl").arg("-q").arg("--file").arg(&path).args(more).output();
            output.unwrap_or_else(|error| panic!("journalctl: {error}; apt-get install systemd"))
        };
        let verified = journalctl(&["--verify"]);
        assert!(verified.status.success(), "style {number}: {}", String::from_utf8_lossy(&verified.stderr));
        let told = journalctl(&["-o", "export"]).stdout;
        let cursors = told.windows(10).filter(|bytes| bytes == b"__CURSOR=s").count();
        assert_eq!(cursors, entries, "style {number}");
        let matched = journalctl(&["-o", "export", "SYSLOG_IDENTIFIER=etcd"]).stdout;
        let matched = matched.windows(10).filter(|bytes| bytes == b"__CURSOR=s").count();
        let having = told.windows(23).filter(|bytes| bytes == b"SYSLOG_IDENTIFIER=etcd\n").count();
        assert_eq!(matched, having, "style {number}: the lists of its values");
    }
}

/// Fuzzing compiles sources by their paths, and nothing of the gate builds it.
#[test]
fn what_fuzzing_compiles_is_where_it_looks_for_it() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let mut seen = 0;
    for file in ["src/lib.rs", "fuzz_targets/journal.rs", "fuzz_targets/hidden.rs"].map(|file| fuzz.join(file)) {
        let text = std::fs::read_to_string(&file).expect("a source");
        for path in text.lines().filter_map(|line| line.strip_prefix("#[path = \"")?.strip_suffix("\"]")) {
            let directory = file.parent().expect("a directory");
            assert!(directory.join(path).is_file(), "{}: {path}", file.display());
            seen += 1;
        }
    }
    assert!(seen > 12, "{seen} paths");
}
