//! The quarantine of one target: lines it refuses for good, kept in files until somebody looks.
//!
//! ```text
//! <state>/quarantine/<target>/00000001.jsonl   one JSON object a line, 0600; the last file grows
//!                             00000001.replay  to be sent again; deleted when all of it has its fate
//!                             lock             held while files are written or renamed
//! ```
//! A line says when it was refused (`at`), of which `tenant`, why (`reason`, in the target's words), and what the entry
//! is: `labels`, `time` (nanoseconds, as a string), `line`, `metadata`. A line that a crash tore is passed over. There
//! are at most `limits::QUARANTINE_BYTES_MAX` for one target; when they are full, lines are dropped, which the ledger
//! counts as `quarantine-full`. What is written is synced before the line counts as quarantined.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};

use super::report::wall;
use crate::{
    limits::{QUARANTINE_BYTES_MAX, QUARANTINE_FILE_BYTES, QUARANTINE_LINE_BYTES_MAX},
    model::Nanos,
    orders::Fate,
    stats::DropReason,
    target::loki::Lost,
    wire::time::rfc3339_micros,
};

/// Where the quarantines of all targets lie in the state directory.
pub const DIRECTORY: &str = "quarantine";
const GROWING: &str = "jsonl";
const REPLAY: &str = "replay";

/// One line in quarantine.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Record {
    /// When it was refused.
    pub at: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tenant: Option<String>,
    pub reason: String,
    pub labels: String,
    /// Nanoseconds since 1970.
    #[serde(with = "nanos")]
    pub time: i64,
    pub line: String,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub metadata: Vec<(String, String)>,
}

/// 64-bit integers are strings in JSON: half of its readers know only doubles.
mod nanos {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(time: &i64, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(time)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<i64, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// The files of one target.
#[derive(Debug)]
pub struct Quarantine {
    directory: PathBuf,
    /// One writer at a time in this process; other processes are kept out by the lock file.
    writing: Mutex<()>,
}

impl Quarantine {
    /// Of the target of that name. Nothing is made before there is something to keep.
    pub fn new(state_dir: &Path, target: &str) -> Self {
        Self { directory: state_dir.join(DIRECTORY).join(target), writing: Mutex::new(()) }
    }

    /// Keeps as many of the lines as there is room for, from the first on: their number, and what becomes of the rest.
    /// Blocks on the disk.
    pub fn keep(&self, tenant: Option<&str>, lines: &[Lost]) -> (usize, Fate) {
        let _one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        match self.try_keep(tenant, lines) {
            Ok(kept) => (kept, Fate::Dropped(DropReason::QuarantineFull)),
            Err(error) => {
                let place = self.directory.display();
                tracing::error!("{place}: {error}; {} refused lines are kept nowhere", lines.len());
                (0, Fate::Refused)
            }
        }
    }

    fn try_keep(&self, tenant: Option<&str>, lines: &[Lost]) -> io::Result<usize> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        let _lock = lock(&self.directory)?;
        let mut room = QUARANTINE_BYTES_MAX.saturating_sub(files(&self.directory)?.iter().map(|file| file.bytes).sum());
        let at = text(wall());
        let mut kept = 0;
        let mut block = Vec::new();
        for lost in lines {
            let before = block.len();
            let record = Record {
                at: at.clone(),
                tenant: tenant.map(str::to_owned),
                reason: lost.reason.clone(),
                labels: lost.labels.clone(),
                time: lost.time.0,
                line: lost.line.clone(),
                metadata: lost.metadata.clone(),
            };
            serde_json::to_writer(&mut block, &record)?;
            block.push(b'\n');
            let bytes = (block.len() - before) as u64;
            if bytes > room {
                block.truncate(before);
                break;
            }
            room -= bytes;
            kept += 1;
        }
        if kept > 0 {
            self.append(&block)?;
        }
        Ok(kept)
    }

    fn append(&self, block: &[u8]) -> io::Result<()> {
        let all = files(&self.directory)?;
        let last = all.iter().map(|file| file.number).max().unwrap_or_default();
        let growing = all.iter().find(|file| file.number == last && !file.replay && file.bytes < QUARANTINE_FILE_BYTES);
        let number = growing.map_or(last + 1, |file| file.number);
        let path = self.directory.join(format!("{number:08}.{GROWING}"));
        let mut file = OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(&path)?;
        let end = file.seek(SeekFrom::End(0))?;
        if end > 0 && !ends_with_newline(&mut file)? {
            file.write_all(b"\n")?;
        }
        if let Err(error) = file.write_all(block) {
            // Half a block would count lines that are to be counted otherwise.
            file.set_len(end)?;
            return Err(error);
        }
        file.sync_data()
    }

    /// The next file that is to be sent again. Blocks on the disk.
    pub(super) fn replay(&self) -> Option<(PathBuf, Vec<Record>)> {
        let all = files(&self.directory).ok()?;
        let next = all.into_iter().filter(|file| file.replay).min_by_key(|file| file.number)?;
        let mut records = Vec::new();
        let read = read(&next.path, |record, _| records.push(record));
        read.inspect_err(|error| tracing::error!("{}: {error}; it is not sent again", next.path.display())).ok()?;
        Some((next.path, records))
    }
}

/// One file of a quarantine.
#[derive(Clone, Debug)]
pub struct FileOf {
    pub path: PathBuf,
    pub number: u64,
    pub bytes: u64,
    /// Waits to be sent again.
    pub replay: bool,
}

/// The files of one target, in the order they were begun; none where there is no directory.
pub fn files(directory: &Path) -> io::Result<Vec<FileOf>> {
    let mut found = Vec::new();
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
        let replay = match path.extension().and_then(|ending| ending.to_str()) {
            Some(GROWING) => false,
            Some(REPLAY) => true,
            _ => continue,
        };
        if let Some(number) = number {
            found.push(FileOf { number, bytes: entry.metadata()?.len(), replay, path });
        }
    }
    found.sort_by_key(|file| file.number);
    Ok(found)
}

/// The targets that have a quarantine.
pub fn targets(state_dir: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(state_dir.join(DIRECTORY)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let names = entries.map(|entry| entry.map(|entry| entry.file_name().into_string().ok()));
    let mut names: Vec<String> = names.collect::<io::Result<Vec<_>>>()?.into_iter().flatten().collect();
    names.sort();
    Ok(names)
}

/// Reads a file of a quarantine line by line, each with its length; gives the number of lines that are torn.
pub fn read(path: &Path, mut take: impl FnMut(Record, usize)) -> io::Result<u64> {
    let mut reader = BufReader::new(File::open(path)?);
    let mut line = Vec::new();
    let mut torn = 0;
    loop {
        line.clear();
        let bytes = reader.by_ref().take(QUARANTINE_LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
        if bytes == 0 {
            return Ok(torn);
        }
        match serde_json::from_slice(&line) {
            Ok(record) => take(record, bytes),
            Err(_) => torn += 1,
        }
    }
}

/// Marks everything in a target's quarantine to be sent again; gives the files. Who runs the target sees them.
pub fn mark_for_replay(state_dir: &Path, target: &str) -> io::Result<Vec<PathBuf>> {
    let directory = state_dir.join(DIRECTORY).join(target);
    let _lock = lock(&directory)?;
    let mut marked = Vec::new();
    for file in files(&directory)?.into_iter().filter(|file| !file.replay) {
        let path = file.path.with_extension(REPLAY);
        fs::rename(&file.path, &path)?;
        marked.push(path);
    }
    Ok(marked)
}

/// Keeps every other writer out until it is dropped.
fn lock(directory: &Path) -> io::Result<File> {
    let path = directory.join("lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
    file.lock()?;
    Ok(file)
}

fn ends_with_newline(file: &mut File) -> io::Result<bool> {
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

fn text(time: Nanos) -> String {
    String::from_utf8_lossy(&rfc3339_micros(time)).into_owned()
}
