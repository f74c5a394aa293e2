//! How far files were read that went away.
//!
//! A directory may go and come back: a disk is unmounted, a name is moved for a while. What was read of its files
//! before is not read again, and what was written meanwhile is. Files that were vacuumed never return; so many are
//! remembered, and the oldest are forgotten first.

use std::collections::VecDeque;

use super::file::JournalFile;
use crate::{limits::JOURNAL_GONE_FILES_MAX, model::JournalPosition};

/// How far a file was read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Reached {
    /// The entry read last; its offset is 0 when none was looked at.
    pub position: JournalPosition,
    /// Ordinal of the entry to go on with.
    pub next: u64,
}

/// The files that went away, the one that did so first at the front.
#[derive(Debug, Default)]
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
        if self.files.len() >= JOURNAL_GONE_FILES_MAX {
            self.files.pop_front();
        }
        self.files.push_back(file.reached());
    }

    /// How far the file was read that is back now.
    pub fn take(&mut self, file_id: &[u8; 16]) -> Option<Reached> {
        let at = self.files.iter().position(|reached| reached.position.file_id == *file_id)?;
        self.files.remove(at)
    }
}
