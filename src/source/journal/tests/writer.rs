//! Journals made by systemd's own writer from a seeded stream, and read by systemd's own reader.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
};

const REMOTE: &str = "/lib/systemd/systemd-journal-remote";

/// How a journal is written.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    pub compact: bool,
    pub keyed: bool,
    /// With zstd, from 512 bytes on; the writer knows no other.
    pub compress: bool,
}

impl Style {
    pub const COMMON: Self = Self { compact: true, keyed: true, compress: true };
}

/// splitmix64: the same stream for the same seed, everywhere.
pub struct Seeded(pub u64);

impl Seeded {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

pub const IDENTIFIERS: [&str; 7] =
    ["node-manager", "duroslight", "duroslight-0", "duroslight@1", "duroslight-manager", "etcd", "kernel"];

/// Entries in the journal export format, numbered by `TEST_NUMBER`.
pub struct Stream {
    random: Seeded,
    number: u64,
    realtime: u64,
}

impl Stream {
    pub fn new(seed: u64) -> Self {
        println!("seed {seed}");
        Self { random: Seeded(seed), number: 0, realtime: 1_700_000_000_000_000 }
    }

    /// The next `entries` entries.
    pub fn entries(&mut self, entries: usize) -> Vec<u8> {
        let mut out = Vec::new();
        for _ in 0..entries {
            self.entry(&mut out);
        }
        out
    }

    /// An entry with so many new field names that the writer rotates: the field hash table is full by 75 %.
    pub fn rotation(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        self.head(&mut out);
        for n in 0..260 {
            field(&mut out, &format!("F{}_{n}", self.number), b"x");
        }
        field(&mut out, "MESSAGE", b"rotate");
        out.push(b'\n');
        out
    }

    fn head(&mut self, out: &mut Vec<u8>) {
        self.number += 1;
        self.realtime += self.random.below(2000);
        field(out, "__REALTIME_TIMESTAMP", self.realtime.to_string().as_bytes());
        field(out, "__MONOTONIC_TIMESTAMP", (self.realtime - 1_699_999_000_000_000).to_string().as_bytes());
        field(out, "_BOOT_ID", b"0123456789abcdef0123456789abcdef");
        field(out, "TEST_NUMBER", self.number.to_string().as_bytes());
    }

    fn entry(&mut self, out: &mut Vec<u8>) {
        self.head(out);
        let identifier = IDENTIFIERS[self.random.below(7) as usize];
        field(out, "SYSLOG_IDENTIFIER", identifier.as_bytes());
        field(out, "PRIORITY", self.random.below(8).to_string().as_bytes());
        field(out, "_HOSTNAME", b"node-1");
        field(out, "_CMDLINE", format!("/usr/bin/{identifier} --config /etc/{identifier}.yaml").as_bytes());
        if self.random.below(3) > 0 {
            field(out, "_SYSTEMD_UNIT", format!("{identifier}.service").as_bytes());
            field(out, "_PID", (1000 + self.random.below(40)).to_string().as_bytes());
        } else {
            field(out, "SYSLOG_PID", (2000 + self.random.below(40)).to_string().as_bytes());
        }
        if self.random.below(4) > 0 {
            let before = if self.random.below(50) == 0 { 2 * 3_600_000_000 } else { self.random.below(5000) };
            field(out, "_SOURCE_REALTIME_TIMESTAMP", (self.realtime - before).to_string().as_bytes());
        }
        if let Some(message) = self.message() {
            field(out, "MESSAGE", &message);
        }
        if self.random.below(100) == 0 {
            field(out, "MESSAGE", b"a second one");
        }
        out.push(b'\n');
    }

    fn message(&mut self) -> Option<Vec<u8>> {
        let number = self.number;
        Some(match self.random.below(400) {
            0..20 => return None,
            20..25 => Vec::new(),
            25..60 => format!("panic: {number}\n\tat a.go:1\n\tat b.go:2\n").into_bytes(),
            60..80 => (0..self.random.below(300)).map(|_| self.random.next() as u8).collect(),
            80..150 => {
                format!("{{\"n\":{number},\"m\":\"{}\"}}", "abcdefgh".repeat(self.random.below(400) as usize)).into()
            }
            150..180 => "the same again".into(),
            180..190 => format!("the same and long: {}", "0123456789".repeat(120)).into_bytes(),
            190 if number.is_multiple_of(8) => {
                (0..40_000 + self.random.below(400_000)).flat_map(|n| (n * n).to_le_bytes()).collect()
            }
            _ => format!("{{\"level\":\"info\",\"msg\":\"request {number} done in {} ms\"}}", self.random.below(999))
                .into(),
        })
    }
}

/// One field of the export format: text, or length and bytes.
fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    if value.iter().any(|&byte| byte < b' ' || byte == 127 || byte >= 128) {
        out.push(b'\n');
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// A running writer.
pub struct Writer {
    child: Child,
    pub input: Option<ChildStdin>,
}

impl Writer {
    /// Writes to (or goes on with) `path`.
    pub fn start(path: &Path, style: Style) -> Self {
        let mut child = Command::new(REMOTE)
            .env("SYSTEMD_JOURNAL_COMPACT", if style.compact { "1" } else { "0" })
            .env("SYSTEMD_JOURNAL_KEYED_HASH", if style.keyed { "1" } else { "0" })
            .arg(format!("--compress={}", style.compress))
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

    pub fn write(&mut self, bytes: &[u8]) {
        let input = self.input.as_mut().expect("the writer runs");
        input.write_all(bytes).unwrap();
        input.flush().unwrap();
    }

    /// Ends the writer and waits until all is written.
    pub fn end(mut self) {
        drop(self.input.take());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes `parts` one after the other into `path`.
pub fn write(path: &Path, style: Style, parts: &[Vec<u8>]) {
    let mut writer = Writer::start(path, style);
    parts.iter().for_each(|part| writer.write(part));
    writer.end();
}

/// A directory with the files of one journal that was rotated `rotations` times.
pub fn rotated(directory: &Path, style: Style, seed: u64, rotations: usize, entries: usize) -> PathBuf {
    let mut stream = Stream::new(seed);
    let mut parts = vec![stream.entries(entries)];
    for _ in 0..rotations {
        parts.push(stream.rotation());
        parts.push(stream.entries(entries));
    }
    let path = directory.join("system.journal");
    write(&path, style, &parts);
    path
}
