//! Journals from outside: files made by systemd's own writer, followed live, mutated without end, inspected.

mod delayed;
mod export;
mod forge;
mod forged;
mod header;
mod inspect;
mod live;
mod memory;
mod mutate;
mod rounds;
mod sample;
mod soak;

use std::{
    io::Write,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
};

use corelane_perf::load::Journal;

const REMOTE: &str = "/lib/systemd/systemd-journal-remote";

/// A running `systemd-journal-remote`.
struct Writer {
    child: Child,
    input: Option<ChildStdin>,
}

impl Writer {
    fn start(path: &Path, compact: bool, compress: bool) -> Self {
        Self::with_hash(path, compact, compress, true)
    }

    /// `keyed`: with the hash of today, else the old one.
    fn with_hash(path: &Path, compact: bool, compress: bool, keyed: bool) -> Self {
        let mut child = Command::new(REMOTE)
            .env("SYSTEMD_JOURNAL_COMPACT", if compact { "1" } else { "0" })
            .env("SYSTEMD_JOURNAL_KEYED_HASH", if keyed { "1" } else { "0" })
            .arg(format!("--compress={compress}"))
            .arg("-o")
            .arg(path)
            .arg("-")
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{REMOTE}: {error}; apt-get install systemd-journal-remote"));
        let input = child.stdin.take();
        Self { child, input }
    }

    fn write(&mut self, bytes: &[u8]) {
        self.input.as_mut().expect("the writer runs").write_all(bytes).expect("the writer reads");
    }

    fn end(mut self) {
        drop(self.input.take());
        assert!(self.child.wait().expect("a child").success());
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A journal file of `entries` entries, without the room its writer laid out behind them.
fn journal(seed: u64, compact: bool, compress: bool, entries: u64) -> Vec<u8> {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("system.journal");
    let mut writer = Writer::start(&path, compact, compress);
    let (load, mut bytes) = (Journal::new(seed), Vec::new());
    (0..entries).for_each(|seq| load.push_entry(seq, &mut bytes));
    let long = "long and compressible ".repeat(100);
    bytes.extend_from_slice(format!("__REALTIME_TIMESTAMP=1800000000000000\nMESSAGE={long}\n\n").as_bytes());
    writer.write(&bytes);
    writer.end();
    let mut file = std::fs::read(&path).expect("the file");
    let (tail, size) = *mutate::objects(&file).last().expect("an object");
    file.truncate((tail + size).next_multiple_of(8));
    file
}
