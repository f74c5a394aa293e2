//! What a journal reader has to complain of, in words, bounded.

use crate::limits::JOURNAL_TROUBLES_MAX;

/// Complaints waiting to be told. Each is told once; when too many wait, the rest is only counted.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    waiting: Vec<String>,
    untold: u64,
}

impl Troubles {
    pub fn tell(&mut self, text: String) {
        if self.waiting.len() < JOURNAL_TROUBLES_MAX {
            self.waiting.push(text);
        } else {
            self.untold += 1;
        }
    }

    /// All that wait, and how many did not find room.
    pub fn take(&mut self) -> Vec<String> {
        let mut taken = std::mem::take(&mut self.waiting);
        if self.untold > 0 {
            taken.push(format!("{} more complaints about journal files", self.untold));
            self.untold = 0;
        }
        taken
    }
}
