//! The applications of a life: they write, rotate, truncate and delete as applications do, and keep the judge's books.

use super::{
    judge::{File, Marks, TARGETS},
    kinds::Trouble,
    line::{self, Line, Name},
    machine::Life,
};
use crate::{model::Level, plan::Format};

/// One log of one source: a live name and its rotations `.1`, `.2` …
#[derive(Debug)]
pub struct Chain {
    pub source: usize,
    pub path: String,
    pub rotations: u64,
    /// Lines composed and not written yet: writers write when they like, not by lines.
    partial: Vec<u8>,
}

impl Chain {
    pub fn new(source: usize, path: String) -> Self {
        Self { source, path, rotations: 0, partial: Vec::new() }
    }

    pub fn forget_partial(&mut self) {
        self.partial.clear();
    }
}

pub const EVERY_TARGET: u8 = (1 << TARGETS) - 1;

impl Life {
    /// The file at a path, as the judge knows it; made if there is none.
    fn file_at(&mut self, path: &str) -> Option<usize> {
        let meta = match self.disk.meta(path) {
            Some(meta) => meta,
            None => {
                self.disk.append(path, b"").ok()?;
                self.disk.meta(path)?
            }
        };
        let judge = &mut self.net.borrow_mut().judge;
        let next = judge.files.len();
        let file = *judge.known.entry((meta.inode, meta.generation)).or_insert(next);
        if file == next {
            judge.files.push(File::default());
        }
        Some(file)
    }

    /// Composes lines and writes all of them or, at times, a part.
    pub fn write(&mut self, chain: usize, lines: u64) {
        let path = self.chains[chain].path.clone();
        let Some(file) = self.file_at(&path) else { return };
        let content = self.disk.meta(&path).map_or(0, |meta| meta.size);
        let mut at = content + self.chains[chain].partial.len() as u64;
        let mut count = 0;
        while count < lines {
            let twins = if self.dice.one_in(40) { 2 + self.dice.below(4) } else { 0 };
            let pad = self.pad();
            let level = if self.dice.one_in(4) { Level::Debug } else { Level::Info };
            for _ in 0..twins.max(1) {
                at = self.compose(chain, file, at, (level, pad), (twins > 0).then_some(self.next_twin));
            }
            self.next_twin += u32::from(twins > 0);
            count += twins.max(1);
        }
        let whole = self.chains[chain].partial.len();
        let cut = if self.dice.one_in(3) { whole / 2 } else { whole };
        let bytes: Vec<u8> = self.chains[chain].partial.drain(..cut).collect();
        let _ = self.disk.append(&path, &bytes);
    }

    fn pad(&mut self) -> usize {
        match self.dice.below(40) {
            0 if self.has_long_lines => 2_000 + self.dice.below(30_000) as usize,
            _ => self.least_pad + self.dice.below(60) as usize,
        }
    }

    fn compose(&mut self, chain: usize, file: usize, at: u64, of: (Level, usize), twin: Option<u32>) -> u64 {
        let (level, pad) = of;
        let source = self.chains[chain].source;
        let format = self.plan.sources[source].format;
        let level = if format == Format::Unstructured { Level::Unknown } else { level };
        let net = &mut *self.net.borrow_mut();
        let id = net.judge.lines.len() as u32;
        let text = line::text(format, twin.map_or(Name::Line(id), Name::Twin), level, self.disk.now().wall, pad);
        let end = at + text.len() as u64;
        let mut marks = Marks::default();
        for target in 0..TARGETS {
            self.rules.mark(source, target, level, &mut marks);
        }
        // Emptied and grown again before anybody looked: what stands where something was read already is missed.
        let known = &mut net.judge.files[file];
        if at < known.risky_below || std::mem::take(&mut known.is_fused) {
            marks.gone = EVERY_TARGET;
        }
        net.judge.written(Line { source, file, level, start: at, end, twin, hash: line::hash(&text) }, marks);
        self.chains[chain].partial.extend_from_slice(text.as_bytes());
        end
    }

    /// Writes what is left of the lines composed.
    pub fn flush(&mut self, chain: usize) {
        let bytes = std::mem::take(&mut self.chains[chain].partial);
        if !bytes.is_empty() {
            let _ = self.disk.append(&self.chains[chain].path, &bytes);
        }
    }

    /// Renames the live file to `.1`, the older ones up. At times its writer has not noticed yet and writes on.
    pub fn rotate(&mut self, chain: usize) {
        let (path, rotations) = (self.chains[chain].path.clone(), self.chains[chain].rotations);
        if self.disk.meta(&path).is_none_or(|meta| meta.size == 0) {
            return;
        }
        let late = self.dice.one_in(4);
        if !late {
            self.flush(chain);
        }
        for number in (1..=rotations).rev() {
            let _ = self.disk.rename(format!("{path}.{number}"), format!("{path}.{}", number + 1));
        }
        if self.disk.rename(&path, format!("{path}.1")).is_err() {
            return;
        }
        self.chains[chain].rotations += 1;
        self.note(Trouble::Rotated);
        if late {
            let bytes = std::mem::take(&mut self.chains[chain].partial);
            let _ = self.disk.append(format!("{path}.1"), &bytes);
            self.note(Trouble::LateWrite);
        }
        self.gone_for_parked();
    }

    /// Rotates a file whose last line never gets its line feed: its writer is gone.
    pub fn rotate_unfinished(&mut self, chain: usize) {
        self.write(chain, 3);
        self.flush(chain);
        let path = self.chains[chain].path.clone();
        if let Some(meta) = self.disk.meta(&path) {
            let _ = self.disk.truncate(&path, meta.size.saturating_sub(1));
        }
        self.rotate(chain);
    }

    /// Copies the live file away and empties it under its writer. What is read of it before the reader has noticed is
    /// anybody's guess: the design counts it as an upper bound.
    pub fn copy_truncate(&mut self, chain: usize) {
        let path = self.chains[chain].path.clone();
        self.flush(chain);
        let Some(content) = self.disk.content(&path).filter(|content| !content.is_empty()) else { return };
        if self.disk.meta(format!("{path}.1")).is_some() {
            return;
        }
        let _ = self.disk.append(format!("{path}.1"), &content);
        self.chains[chain].rotations = self.chains[chain].rotations.max(1);
        self.empty(&path);
        self.note(Trouble::CopyTruncated);
    }

    /// Empties the live file (`> log`): what was not read is lost.
    pub fn truncate(&mut self, chain: usize) {
        let path = self.chains[chain].path.clone();
        self.flush(chain);
        if self.disk.meta(&path).is_none_or(|meta| meta.size == 0) {
            return;
        }
        self.empty(&path);
        self.note(Trouble::Truncated);
    }

    fn empty(&mut self, path: &str) {
        let Some(file) = self.file_at(path) else { return };
        let size = self.disk.meta(path).map_or(0, |meta| meta.size);
        let _ = self.disk.truncate(path, 0);
        self.disturb(file, size);
    }

    /// What this file held up to `size` is not promised any more.
    pub fn disturb(&mut self, file: usize, size: u64) {
        let judge = &mut self.net.borrow_mut().judge;
        let known = &mut judge.files[file];
        known.disturbed = true;
        known.risky_below = known.risky_below.max(size);
        judge.file_gone(file, EVERY_TARGET);
        self.inexact_sources = u8::MAX;
    }

    /// Deletes the live file or the oldest rotation. A lane that has it open reads it to its end.
    pub fn delete(&mut self, chain: usize, live: bool) {
        self.flush(chain);
        let (path, rotations) = (self.chains[chain].path.clone(), self.chains[chain].rotations);
        let name = if live { path } else { format!("{path}.{rotations}") };
        if self.disk.meta(&name).is_none() {
            return;
        }
        let Some(file) = self.file_at(&name) else { return };
        let _ = self.disk.remove(&name);
        self.note(if live { Trouble::Deleted } else { Trouble::RotationDeleted });
        if !live {
            self.chains[chain].rotations -= 1;
        }
        self.unlinked(file);
    }

    /// The directory of a source goes with all that is in it, and comes back empty.
    pub fn lose_directory(&mut self, source: usize) {
        let chains: Vec<usize> = (0..self.chains.len()).filter(|chain| self.chains[*chain].source == source).collect();
        let mut files = Vec::new();
        for chain in &chains {
            self.flush(*chain);
            let (path, rotations) = (self.chains[*chain].path.clone(), self.chains[*chain].rotations);
            for number in 0..=rotations {
                let name = if number == 0 { path.clone() } else { format!("{path}.{number}") };
                if self.disk.meta(&name).is_some() {
                    files.extend(self.file_at(&name));
                }
            }
            self.chains[*chain].rotations = 0;
        }
        let directory = super::machine::directory(source);
        self.disk.remove_tree(&directory);
        files.into_iter().for_each(|file| self.unlinked(file));
        self.note(Trouble::DirectoryLost);
        let turns = self.dice.below(20);
        self.turns(turns as usize);
        self.disk.make_directory(&directory);
    }

    /// A file has no name any more: whoever does not have it open has lost it.
    fn unlinked(&mut self, file: usize) {
        self.net.borrow_mut().judge.files[file].unlinked = true;
        let is_open = self.lane.as_ref().is_some_and(|lane| {
            let net = self.net.borrow();
            lane.readers.values().any(|reader| match &reader.key {
                crate::model::ReaderKey::File(identity) => {
                    net.judge.known.get(&(identity.inode, identity.generation)) == Some(&file)
                }
                crate::model::ReaderKey::Journal { .. } => false,
            })
        });
        if is_open {
            self.unlinked.push(file);
            self.gone_for_parked();
        } else {
            self.net.borrow_mut().judge.file_gone(file, EVERY_TARGET);
            self.inexact_sources = u8::MAX;
        }
    }
}
