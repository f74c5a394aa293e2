//! What `journalctl -o export` says of a journal, parsed here and compared with what the reader handed out.

use std::{path::Path, process::Command};

use super::disk::Kept;
use crate::model::Nanos;

/// One entry by the reference reader: its fields in the order given, with the address fields.
pub struct Told(Vec<(String, Vec<u8>)>);

/// Asks `journalctl` with `--file` or `-D`, whichever `path` calls for.
pub fn journalctl(path: &Path) -> Vec<Told> {
    let option = if path.is_dir() { "-D" } else { "--file" };
    let output = Command::new("journalctl")
        .args(["-q", "--no-pager", "-a", "-o", "export", option])
        .arg(path)
        .output()
        .unwrap_or_else(|error| panic!("journalctl: {error}; apt-get install systemd"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    parse(&output.stdout)
}

fn parse(mut rest: &[u8]) -> Vec<Told> {
    let (mut entries, mut fields) = (Vec::new(), Vec::new());
    while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
        let (line, after) = (&rest[..end], &rest[end + 1..]);
        rest = after;
        if line.is_empty() {
            entries.push(Told(std::mem::take(&mut fields)));
        } else if let Some(at) = line.iter().position(|&byte| byte == b'=') {
            fields.push((String::from_utf8(line[..at].to_vec()).unwrap(), line[at + 1..].to_vec()));
        } else {
            let bytes = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            fields.push((String::from_utf8(line.to_vec()).unwrap(), rest[8..8 + bytes].to_vec()));
            rest = &rest[8 + bytes + 1..];
        }
    }
    assert!(rest.is_empty() && fields.is_empty(), "a whole export");
    entries
}

impl Told {
    pub fn first(&self, name: &str) -> &[u8] {
        self.0.iter().find(|(known, _)| known == name).map_or(&[], |(_, value)| value.as_slice())
    }

    /// The part of the cursor after `key=`.
    fn cursor(&self, key: &str) -> &str {
        let cursor = std::str::from_utf8(self.first("__CURSOR")).unwrap();
        cursor.split(';').find_map(|part| part.strip_prefix(key)?.strip_prefix('=')).unwrap()
    }

    fn cursor_number(&self, key: &str) -> u64 {
        u64::from_str_radix(self.cursor(key), 16).unwrap()
    }

    /// Fails unless `kept` is this entry.
    pub fn assert_is(&self, kept: &Kept) {
        let position = kept.position;
        let seqnum_id: String = position.seqnum_id.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!((self.cursor("s"), self.cursor_number("i")), (seqnum_id.as_str(), position.seqnum));
        assert_eq!(self.cursor_number("m"), position.monotonic);
        assert_eq!(self.cursor_number("t"), position.realtime);
        assert_eq!(self.cursor_number("x"), position.xor_hash);
        assert_eq!(self.cursor("b").as_bytes(), kept.boot_id);
        let cut = self.first("MESSAGE").len().min(crate::limits::JOURNAL_FIELD_BYTES_MAX - "MESSAGE=".len());
        assert!(self.first("MESSAGE").starts_with(&kept.message), "seqnum {}", position.seqnum);
        let whole = self.first("MESSAGE").len() < cut + 1;
        assert!(!whole || self.first("MESSAGE") == kept.message, "seqnum {}", position.seqnum);
        assert!(!kept.message.is_empty() || self.first("MESSAGE").is_empty(), "seqnum {}", position.seqnum);
        assert_eq!(self.first("SYSLOG_IDENTIFIER"), kept.identifier);
        assert_eq!(self.first("_SYSTEMD_UNIT"), kept.unit);
        assert_eq!(self.first("_HOSTNAME"), kept.hostname);
        let pid = if self.first("_PID").is_empty() { self.first("SYSLOG_PID") } else { self.first("_PID") };
        assert_eq!(pid, kept.pid);
        assert_eq!(
            self.first("PRIORITY"),
            kept.priority.map(|priority| priority.to_string()).unwrap_or_default().as_bytes()
        );
        let source = std::str::from_utf8(self.first("_SOURCE_REALTIME_TIMESTAMP")).unwrap().parse::<u64>();
        let source = source.ok().filter(|source| source.abs_diff(position.realtime) <= 3_600_000_000);
        assert_eq!(kept.time, Nanos::from_micros(source.unwrap_or(position.realtime)));
    }
}

/// Fails unless `kept` is exactly what was told.
pub fn assert_same(told: &[Told], kept: &[Kept]) {
    for (told, kept) in told.iter().zip(kept) {
        told.assert_is(kept);
    }
    assert_eq!(told.len(), kept.len());
}
