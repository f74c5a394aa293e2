//! What would be refused anyway, known before it is sent: by time, by size, and by what a Loki told of its limits.
//!
//! The stock limits on lines, labels and metadata are met by the encoder; what is left are times, which change while a
//! line waits, and limits that this Loki sets lower than most. One told is remembered, so that a thousand long lines
//! cost one refusal and not a thousand.

use std::time::Duration;

use super::{
    answer::Static,
    session::Moment,
    stream::{after, before},
};
use crate::{
    model::Nanos,
    plan::{LokiLimits, TooOld},
    wire::loki::EntryAt,
};

/// Clocks of two machines differ, and Loki shows times in whole seconds.
const SLACK: Duration = Duration::from_secs(1);

/// Why an entry cannot be sent as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The target's own drop policy.
    MaxAge,
    /// Its time: `tooOld` says what becomes of it.
    Time,
    /// Its size.
    Size,
}

/// The limits in force.
#[derive(Clone, Debug)]
pub struct Screen {
    pub max_age: Option<Duration>,
    pub too_old: TooOld,
    oldest: Duration,
    ahead: Duration,
    line_bytes: usize,
    metadata_bytes: usize,
    metadata_pairs: usize,
}

impl Screen {
    pub fn new(max_age: Option<Duration>, too_old: TooOld, limits: &LokiLimits) -> Self {
        Self {
            max_age,
            too_old,
            oldest: limits.oldest,
            ahead: limits.ahead,
            line_bytes: usize::MAX,
            metadata_bytes: usize::MAX,
            metadata_pairs: usize::MAX,
        }
    }

    /// Whether entries of these times, none known to be too large, pass without being looked at one by one.
    pub fn passes(&self, oldest: Nanos, newest: Nanos, now: Nanos) -> bool {
        let age = self.max_age.map_or(self.oldest, |most| most.min(self.oldest));
        oldest >= before(now, age) && newest <= after(now, self.ahead) && !self.has_learned_sizes()
    }

    fn has_learned_sizes(&self) -> bool {
        self.line_bytes.min(self.metadata_bytes).min(self.metadata_pairs) != usize::MAX
    }

    /// What is wrong with an entry, if anything is.
    pub fn judge(&self, entry: &EntryAt, now: Nanos) -> Option<Broken> {
        if self.max_age.is_some_and(|most| entry.time < before(now, most)) {
            Some(Broken::MaxAge)
        } else if entry.time < before(now, self.oldest) || entry.time > after(now, self.ahead) {
            Some(Broken::Time)
        } else if entry.line.len() > self.line_bytes
            || entry.metadata_bytes > self.metadata_bytes
            || entry.pairs > self.metadata_pairs
        {
            Some(Broken::Size)
        } else {
            None
        }
    }

    /// Takes over a limit that Loki told of.
    pub fn learn(&mut self, told: &Static, now: Moment) {
        let since =
            |earlier: Nanos, later: Nanos| Duration::from_nanos(later.0.saturating_sub(earlier.0).max(0) as u64);
        match told {
            Static::TooOld { oldest: Some(oldest) } => {
                self.oldest = self.oldest.min(since(after(*oldest, SLACK), now.wall));
            }
            Static::TooNew { time: Some(time) } => {
                self.ahead = self.ahead.min(since(now.wall, before(*time, SLACK)));
            }
            Static::Line { limit: Some(limit) } => self.line_bytes = *limit,
            Static::MetadataBytes { limit: Some(limit) } => self.metadata_bytes = *limit,
            Static::MetadataPairs { limit: Some(limit) } => self.metadata_pairs = *limit,
            _ => {}
        }
    }
}
