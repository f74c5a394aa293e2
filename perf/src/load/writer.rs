//! A log file that grows by numbered lines and is rotated by rename, as logrotate's `create` does it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use super::Load;

/// Bytes gathered before they are written.
const BUFFER_BYTES: usize = 64 * 1024;

/// When the file is rotated by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    Never,
    Lines(u64),
    Bytes(u64),
}

/// Writes numbered lines into one file.
pub struct Writer {
    path: PathBuf,
    load: Load,
    file: File,
    buffer: Vec<u8>,
    next: u64,
    rotation: Rotation,
    keep: usize,
    lines_in_file: u64,
    bytes_in_file: u64,
    bytes: u64,
    rotations: u64,
}

impl Writer {
    /// Appends to `path`, which is made if it does not exist; numbers begin at 0.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(path: impl Into<PathBuf>, load: Load) -> io::Result<Self> {
        let path = path.into();
        let file = append(&path)?;
        let bytes_in_file = file.metadata()?.len();
        Ok(Self {
            path,
            load,
            file,
            buffer: Vec::with_capacity(BUFFER_BYTES + 4096),
            next: 0,
            rotation: Rotation::Never,
            keep: 100,
            lines_in_file: 0,
            bytes_in_file,
            bytes: 0,
            rotations: 0,
        })
    }

    /// The number the first line gets.
    #[must_use]
    pub fn starting_at(mut self, seq: u64) -> Self {
        self.next = seq;
        self
    }

    /// Rotates by itself; of the rotated files the newest `keep` stay, `path.1` being the newest.
    #[must_use]
    pub fn rotating(mut self, rotation: Rotation, keep: usize) -> Self {
        self.rotation = rotation;
        self.keep = keep;
        self
    }

    /// Writes `lines` more lines; they are in the file when this returns.
    ///
    /// # Errors
    /// The file system's.
    pub fn write_lines(&mut self, lines: u64) -> io::Result<()> {
        for _ in 0..lines {
            self.push_line()?;
        }
        self.flush()
    }

    /// Writes bytes as they are: half a line, garbage, a line of another kind.
    ///
    /// # Errors
    /// The file system's.
    pub fn write_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.buffer.extend_from_slice(bytes);
        self.flush()
    }

    /// Renames the file to `path.1` (that to `path.2`, and so on) and begins a new one.
    ///
    /// # Errors
    /// The file system's.
    pub fn rotate(&mut self) -> io::Result<()> {
        self.flush()?;
        let oldest = (1..=self.keep).find(|n| !self.rotated(*n).exists()).unwrap_or(self.keep);
        for n in (1..oldest).rev() {
            fs::rename(self.rotated(n), self.rotated(n + 1))?;
        }
        if self.keep == 0 {
            fs::remove_file(&self.path)?;
        } else {
            fs::rename(&self.path, self.rotated(1))?;
        }
        self.file = append(&self.path)?;
        (self.lines_in_file, self.bytes_in_file) = (0, 0);
        self.rotations += 1;
        Ok(())
    }

    /// Cuts the file to nothing under its name, as `copytruncate` does after copying.
    ///
    /// # Errors
    /// The file system's.
    pub fn truncate(&mut self) -> io::Result<()> {
        self.flush()?;
        self.file.set_len(0)?;
        (self.lines_in_file, self.bytes_in_file) = (0, 0);
        Ok(())
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn load(&self) -> &Load {
        &self.load
    }

    /// The number the next line gets: all below it (from the first) are written.
    pub fn next_seq(&self) -> u64 {
        self.next
    }

    /// Bytes written so far, over all rotations.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn rotations(&self) -> u64 {
        self.rotations
    }

    /// As `bytes`, with what is still in the buffer.
    pub(super) fn bytes_pushed(&self) -> u64 {
        self.bytes + self.buffer.len() as u64
    }

    /// Adds one line, which may stay in the buffer.
    pub(super) fn push_line(&mut self) -> io::Result<()> {
        let due = match self.rotation {
            Rotation::Never => false,
            Rotation::Lines(lines) => self.lines_in_file >= lines.max(1),
            Rotation::Bytes(bytes) => self.bytes_in_file + self.buffer.len() as u64 >= bytes.max(1),
        };
        if due && self.lines_in_file > 0 {
            self.rotate()?;
        }
        self.load.push_line(self.next, &mut self.buffer);
        self.next += 1;
        self.lines_in_file += 1;
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.file.write_all(&self.buffer)?;
        self.bytes += self.buffer.len() as u64;
        self.bytes_in_file += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    fn rotated(&self, n: usize) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{n}"));
        PathBuf::from(name)
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Spec;

    fn writer(directory: &Path) -> Writer {
        Writer::open(directory.join("x.log"), Load::new(Spec::default())).unwrap()
    }

    fn lines(path: &Path) -> usize {
        fs::read_to_string(path).map_or(0, |text| text.lines().count())
    }

    #[test]
    fn rotation_keeps_every_line_and_the_newest_first() {
        let directory = tempfile::tempdir().unwrap();
        let mut writer = writer(directory.path()).rotating(Rotation::Lines(10), 5);
        writer.write_lines(25).unwrap();
        let count = |name: &str| lines(&directory.path().join(name));
        assert_eq!((count("x.log"), count("x.log.1"), count("x.log.2"), count("x.log.3")), (5, 10, 10, 0));
        assert!(fs::read_to_string(directory.path().join("x.log.2")).unwrap().contains("\"seq\":0}"));
        writer.rotate().unwrap();
        assert_eq!((count("x.log"), count("x.log.1"), count("x.log.2")), (0, 5, 10));
        assert_eq!((writer.next_seq(), writer.rotations()), (25, 3));
    }

    #[test]
    fn only_so_many_rotated_files_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let mut writer = writer(directory.path()).rotating(Rotation::Bytes(1), 2);
        writer.write_lines(6).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3);
        assert!(fs::read_to_string(directory.path().join("x.log.2")).unwrap().contains("\"seq\":3}"));
    }

    #[test]
    fn an_existing_file_is_continued_and_a_truncated_one_begins_anew() {
        let directory = tempfile::tempdir().unwrap();
        writer(directory.path()).write_lines(3).unwrap();
        let mut writer = writer(directory.path()).starting_at(3);
        writer.write_lines(2).unwrap();
        assert_eq!(lines(writer.path()), 5);
        writer.truncate().unwrap();
        writer.write_raw(b"half").unwrap();
        assert_eq!(fs::read(writer.path()).unwrap(), b"half");
    }
}
