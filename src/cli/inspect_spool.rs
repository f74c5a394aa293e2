//! `corelane inspect spool`: which files have bytes in the spool, which of them, and what is wrong, in words.
//!
//! Every block is read and checked, as it will be when its lines are sent. A running node may add and remove segments
//! meanwhile; one that goes away while it is looked at is left out.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::Path,
    process::ExitCode,
};

use serde_json::{Value, json};

use super::{grammar::Access, print, screen::Screen, table::Table};
use crate::{
    fault::Fault,
    lane::spool::segment::{Block, ENDING, INDEX_BYTES_MAX, Index, Kind, Owner},
};

/// Tells what is in the spool at `directory`; the code is 1 when anything is wrong with it.
///
/// # Errors
/// The directory cannot be read.
pub fn spool(directory: &Path, access: &Access) -> Result<ExitCode, Fault> {
    let place = directory.display().to_string();
    let mut inspection = Inspection::default();
    for entry in fs::read_dir(directory).map_err(|error| Fault::io(place.clone(), &error))? {
        let path = entry.map_err(|error| Fault::io(place.clone(), &error))?.path();
        if path.extension().is_none_or(|ending| ending != ENDING) {
            continue;
        }
        match inspection.segment(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                inspection.problems.push(format!("{}: {error}", path.display()));
            }
            _ => {}
        }
    }
    let told = inspection.told(&place);
    print::value(access, &told, human)?;
    Ok(if inspection.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What was found.
#[derive(Debug, Default)]
struct Inspection {
    /// By source and number.
    files: BTreeMap<(u64, u64), Spooled>,
    segments: u64,
    bytes: u64,
    problems: Vec<String>,
}

/// One file, as its segments tell of it.
#[derive(Debug)]
struct Spooled {
    owner: Owner,
    whole: bool,
    bytes: u64,
    blocks: Vec<Block>,
}

impl Inspection {
    fn segment(&mut self, path: &Path) -> io::Result<()> {
        let place = path.display();
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        let mut head = vec![0; usize::try_from(size).unwrap_or(usize::MAX).min(INDEX_BYTES_MAX)];
        file.read_exact_at(&mut head, 0)?;
        self.segments += 1;
        self.bytes += size;
        let Index { owner, last, mut blocks } = match Index::parse(&head, size) {
            Ok(index) => index,
            Err(why) => {
                self.problems.push(format!("{place}: {why}: nothing of it can be used"));
                return Ok(());
            }
        };
        for block in blocks.iter_mut().filter(|block| block.kind == Kind::Bytes) {
            let mut stored = vec![0; block.stored_bytes as usize];
            file.read_exact_at(&mut stored, block.at)?;
            if block.open(&stored).is_none() {
                block.kind = Kind::Damaged;
            }
        }
        for block in blocks.iter().filter(|block| block.kind == Kind::Damaged) {
            let (from, to, lines) = (block.offset, block.end(), block.lines);
            self.problems.push(format!("{place}: bytes {from} to {to} do not check: {lines} lines are lost"));
        }
        let key = (owner.source.0, owner.number);
        let known = self.files.entry(key).or_insert(Spooled { owner, whole: false, bytes: 0, blocks: Vec::new() });
        known.whole |= last;
        known.bytes += size;
        known.blocks.extend(blocks);
        Ok(())
    }

    fn told(&mut self, place: &str) -> Value {
        let mut files = Vec::new();
        for file in self.files.values_mut() {
            file.blocks.sort_by_key(|block| block.offset);
            for pair in file.blocks.windows(2).filter(|pair| pair[0].end() < pair[1].offset) {
                let path = file.owner.path.display();
                let (from, to) = (pair[0].end(), pair[1].offset);
                self.problems.push(format!("{path}: bytes {from} to {to} are in no segment"));
            }
            files.push(file.told());
        }
        json!({
            "directory": place,
            "segments": self.segments,
            "bytes": self.bytes,
            "files": files,
            "problems": self.problems,
        })
    }
}

impl Spooled {
    fn told(&self) -> Value {
        let sum = |kind: Kind| -> u64 {
            self.blocks.iter().filter(|block| block.kind == kind).map(|block| u64::from(block.lines)).sum()
        };
        let identity = &self.owner.identity;
        json!({
            "path": self.owner.path.display().to_string(),
            "source": format!("{:016x}", self.owner.source.0),
            "device": identity.device,
            "inode": identity.inode,
            "generation": identity.generation,
            "from": self.blocks.first().map_or(0, |block| block.offset),
            "to": self.blocks.last().map_or(0, Block::end),
            "bytes": self.bytes,
            "lines": sum(Kind::Bytes),
            "linesDropped": sum(Kind::Dropped),
            "whole": self.whole,
        })
    }
}

fn human(told: &Value, screen: &Screen) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut out = format!("{}: {} segments, {} bytes\n", text(&told["directory"]), told["segments"], told["bytes"]);
    let mut table = Table::new(&["FILE", "INODE", "FROM", "TO", "LINES", "DROPPED", "ON DISK"]);
    for file in list(&told["files"]) {
        let path = text(&file["path"]) + if file["whole"] == Value::Bool(true) { "" } else { " (not all of it)" };
        let cells = ["inode", "from", "to", "lines", "linesDropped", "bytes"].map(|name| text(&file[name]));
        table.row(std::iter::once(path).chain(cells).collect());
    }
    if !table.is_empty() {
        out = format!("{}\n{}", print::plain(&out), table.render(screen));
    }
    let problems = list(&told["problems"]);
    if problems.is_empty() {
        out.push_str("\nnothing is wrong with it\n");
        return out;
    }
    let mut wrong = format!("\n{} thing(s) are wrong with it:\n", problems.len());
    problems.iter().for_each(|problem| wrong.push_str(&format!("  {}\n", text(problem))));
    out + &print::plain(&wrong)
}
