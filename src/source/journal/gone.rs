//! How far files were read that went away.
//!
//! A directory may go and come back: a disk is unmounted, a name is moved for a while. What was read of its files
//! before is not read again, and what was written meanwhile is. Files that were vacuumed never return; so many are
//! remembered, and the oldest are forgotten first. A second reader that goes on beside a first one begins in the same
//! way.

use std::collections::VecDeque;

use super::{
    JournalCursor, JournalStart,
    file::{JournalFile, Stage},
};
use crate::{limits::JOURNAL_GONE_FILES_MAX, model::JournalPosition, plan::JournalInput};

/// How far a file was read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Reached {
    /// The entry read last; its offset is 0 when none was looked at.
    pub position: JournalPosition,
    /// Ordinal of the entry to go on with.
    pub next: u64,
}

/// The files that went away, the one that did so first at the front.
#[derive(Clone, Debug, Default)]
pub(super) struct Gone {
    files: VecDeque<Reached>,
}

impl Gone {
    /// Keeps how far `file` was read.
    pub fn note(&mut self, file: &JournalFile) {
        // Looking back ends at the position resumed from, and goes by that again.
        if file.next == 0 || file.next < file.look_back_until || file.header.file_id == [0; 16] {
            return;
        }
        self.add(file.reached());
    }

    fn add(&mut self, reached: Reached) {
        if self.files.len() >= JOURNAL_GONE_FILES_MAX {
            self.files.pop_front();
        }
        self.files.push_back(reached);
    }

    /// How far the file was read that is back now.
    pub fn take(&mut self, file_id: &[u8; 16]) -> Option<Reached> {
        let at = self.files.iter().position(|reached| reached.position.file_id == *file_id)?;
        self.files.remove(at)
    }
}

impl JournalCursor {
    /// Another reader that goes on where this one is, in every file: by its position alone it would go back in those
    /// that only the clock relates to it. `None` while this one goes back itself, or looks back.
    pub fn beside(&self, selectors: Vec<JournalInput>) -> Option<Self> {
        let at = self.position();
        let looks_back = |file: &JournalFile| file.next < file.look_back_until;
        let is_new = |file: &JournalFile| !matches!(file.stage, Stage::Ready | Stage::Done);
        if at == JournalPosition::default() || self.is_rewound() || self.files.iter().any(looks_back) {
            return None;
        }
        let mut other = Self::new(&self.directories, selectors, JournalStart::Resume(at));
        (other.gone, other.repeats, other.own) = (self.gone.clone(), self.repeats.clone(), self.own.clone());
        for (index, file) in self.files.iter().enumerate() {
            let handed = file.peeked().filter(|_| self.handed == Some(index));
            match handed {
                _ if is_new(file) || file.header.file_id == [0; 16] => {}
                Some(handed) => {
                    other.gone.add(Reached { position: file.position(handed), next: file.next + 1 });
                }
                None if file.next == 0 => {
                    let position = JournalPosition { file_id: file.header.file_id, ..JournalPosition::default() };
                    other.gone.add(Reached { position, next: 0 });
                }
                None => other.gone.add(file.reached()),
            }
        }
        Some(other)
    }
}
