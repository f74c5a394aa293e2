//! `corelane inspect journal FILE --export`: all entries and all their fields, in the journal export format.
//!
//! The reader that ships lines reads them; what it prints is what `journalctl -o export` prints of the same file or
//! directory, byte for byte. `systemd-journal-remote` and other tools take it.

use std::{
    io::{self, BufWriter, ErrorKind, Write},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use super::print;
use crate::{
    fault::Fault,
    model::{JournalPosition, Nanos, Position},
    plan::{JournalInput, StartAt},
    ring::{Completion, Poll, Ring, Token},
    source::{
        Next,
        journal::{JournalCursor, JournalStart, Payload},
    },
};

const TOKEN: Token = Token(1);
/// A file may hold more than its header counted when it was first looked at.
const LOOKS: u32 = 3;
/// Letters of a field's name, at most (`journal_field_valid` in systemd).
const NAME_BYTES_MAX: usize = 64;

/// Prints the entries of a journal file, or of all files in a directory; the code is 1 when some could not be read, or
/// are not what was written by their hash.
///
/// # Errors
/// Stdout cannot be written to.
pub fn export(path: &Path) -> Result<ExitCode, Fault> {
    let place = path.display().to_string();
    let metadata = std::fs::metadata(path).map_err(|error| Fault::io(place.clone(), &error))?;
    if !metadata.is_file() && !metadata.is_dir() {
        let fault = Fault::invalid(place, "neither a journal file nor a directory of journal files");
        return Err(fault.way_out("name a file that journald wrote, or a directory of such files"));
    }
    let mut export = Export::new(path).map_err(|error| Fault::io(place, &error))?;
    match export.run(&mut BufWriter::new(io::stdout().lock())) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
        other => other.map_err(|error| Fault::io("stdout", &error))?,
    }
    let troubles = export.cursor.take_troubles();
    troubles.iter().for_each(|trouble| print::note(trouble));
    if export.unreadable > 0 {
        print::note(&format!("{} fields are damaged and left out", export.unreadable));
    }
    if export.differing > 0 {
        print::note(&format!(
            "{} fields have a hash that is not theirs; they are printed as they lie in the file. Either they are \
             damaged, or the file's id in its header is; `corelane inspect journal FILE` says more",
            export.differing
        ));
    }
    let sound = troubles.is_empty() && export.unreadable == 0 && export.differing == 0;
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

struct Export {
    ring: Poll,
    cursor: JournalCursor,
    unreadable: u64,
    differing: u64,
    done: Vec<Completion>,
}

impl Export {
    fn new(path: &Path) -> io::Result<Self> {
        let everything = JournalInput::default();
        let start = JournalStart::At(StartAt::Beginning, Nanos(0));
        let cursor = JournalCursor::new(&[path.to_owned()], vec![everything], start);
        Ok(Self { ring: Poll::new()?, cursor, unreadable: 0, differing: 0, done: Vec::new() })
    }

    fn run(&mut self, out: &mut impl Write) -> io::Result<()> {
        let mut looks = 0;
        while looks < LOOKS {
            let position = match self.cursor.next(&mut self.ring, TOKEN) {
                Next::Record(record) => record.end,
                Next::Yield => continue,
                Next::Idle => {
                    looks += 1;
                    self.cursor.changed();
                    continue;
                }
                Next::Pending => {
                    self.wait()?;
                    continue;
                }
            };
            if let Position::Journal(position) = position {
                self.entry(&position, out)?;
            }
        }
        out.flush()
    }

    /// Brings back the read under way.
    fn wait(&mut self) -> io::Result<()> {
        self.ring.reap(Duration::from_millis(100), &mut self.done)?;
        for completion in self.done.drain(..) {
            if let Completion::Done { result, buf, .. } = completion {
                self.cursor.complete(result, buf);
            }
        }
        Ok(())
    }

    fn entry(&mut self, position: &JournalPosition, out: &mut impl Write) -> io::Result<()> {
        head(position, out)?;
        let mut number = 0;
        loop {
            match self.cursor.payload(&mut self.ring, TOKEN, number) {
                Payload::Whole(payload) => field(payload, out)?,
                Payload::Differs(payload) => {
                    field(payload, out)?;
                    self.differing += 1;
                }
                Payload::Unreadable => self.unreadable += 1,
                Payload::Pending => {
                    self.wait()?;
                    continue;
                }
                Payload::End => return out.write_all(b"\n"),
            }
            number += 1;
        }
    }
}

/// What the entry says of itself. The cursor is systemd's (`sd_journal_get_cursor`), all numbers hexadecimal.
fn head(position: &JournalPosition, out: &mut impl Write) -> io::Result<()> {
    let JournalPosition { seqnum, monotonic, realtime, xor_hash, .. } = *position;
    let (seqnum_id, boot_id) = (u128::from_be_bytes(position.seqnum_id), u128::from_be_bytes(position.boot_id));
    writeln!(
        out,
        "__CURSOR=s={seqnum_id:032x};i={seqnum:x};b={boot_id:032x};m={monotonic:x};t={realtime:x};x={xor_hash:x}"
    )?;
    writeln!(out, "__REALTIME_TIMESTAMP={realtime}\n__MONOTONIC_TIMESTAMP={monotonic}\n_BOOT_ID={boot_id:032x}")
}

/// `FIELD=value` where that is text of one line, else the name, the length and the bytes.
fn field(payload: &[u8], out: &mut impl Write) -> io::Result<()> {
    let Some(at) = memchr::memchr(b'=', payload) else { return Ok(()) };
    let (name, value) = (&payload[..at], &payload[at + 1..]);
    // The boot is in the head already; names that are none are not told.
    if name == b"_BOOT_ID" || !is_name(name) {
        return Ok(());
    }
    if is_line(payload) {
        out.write_all(payload)?;
    } else {
        out.write_all(name)?;
        out.write_all(b"\n")?;
        out.write_all(&(value.len() as u64).to_le_bytes())?;
        out.write_all(value)?;
    }
    out.write_all(b"\n")
}

/// `journal_field_valid` of systemd.
fn is_name(name: &[u8]) -> bool {
    let first = name.first().is_some_and(|byte| !byte.is_ascii_digit());
    let letters = name.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_');
    first && letters && name.len() <= NAME_BYTES_MAX
}

/// `utf8_is_printable_newline` of systemd: no control characters but tabs, nothing Unicode has reserved.
fn is_line(bytes: &[u8]) -> bool {
    let shown = |letter: char| {
        let reserved = ('\u{fdd0}'..='\u{fdef}').contains(&letter) || u32::from(letter) & 0xfffe == 0xfffe;
        letter == '\t' || !(letter.is_control() || reserved)
    };
    std::str::from_utf8(bytes).is_ok_and(|text| text.chars().all(shown))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exported(payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        field(payload, &mut out).unwrap();
        out
    }

    #[test]
    fn what_is_no_line_of_text_goes_by_its_length() {
        assert_eq!(exported(b"A=b\tc"), b"A=b\tc\n");
        assert_eq!(exported("A=\u{e4}".as_bytes()), "A=\u{e4}\n".as_bytes());
        for value in [&b"x\ny"[..], b"\xff", b"\0", b"\x7f", b"\xc2\x85", b"\xef\xbf\xbe", b"\xef\xb7\x90"] {
            let expected = [b"A\n", &(value.len() as u64).to_le_bytes()[..], value, b"\n"].concat();
            assert_eq!(exported(&[b"A=", value].concat()), expected, "{value:?}");
        }
    }

    #[test]
    fn names_that_are_none_are_not_told() {
        for payload in [&b"a=1"[..], b"1A=1", b"=1", b"A", b"_BOOT_ID=00", &[&[b'A'; 65][..], b"=1"].concat()] {
            assert_eq!(exported(payload), b"", "{payload:?}");
        }
        assert_eq!(exported(b"_A1="), b"_A1=\n");
    }
}
