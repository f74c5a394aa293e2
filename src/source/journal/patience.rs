//! A disk that fails is asked again, not taken for a damaged file.
//!
//! A read that fails stops the reader where it stands, and the next look tries it again: a path to a disk that went
//! away for a moment costs time, no entry. A place that fails for `limits::JOURNAL_PATIENCE` is a bad sector: what lies
//! there counts as damaged and reading goes on. The places after it get half as long each, so that a bad region does
//! not hold up the rest for ever; a place that heals gives the patience back.

use std::{io, ops::Range, time::Duration};

use crate::limits::{JOURNAL_PATIENCE, JOURNAL_PATIENCE_MIN};

/// Where reading failed last, and for how long it is tried.
#[derive(Debug)]
pub(super) struct Patience {
    /// File and offset.
    place: Option<(u32, u64)>,
    since: Duration,
    allowed: Duration,
    /// Since when some file cannot be opened, or some directory not be listed.
    names_since: Option<Duration>,
    /// Not told yet: the file, and what became of its place.
    news: Vec<(u32, String)>,
}

impl Default for Patience {
    fn default() -> Self {
        Self { place: None, since: Duration::ZERO, allowed: JOURNAL_PATIENCE, names_since: None, news: Vec::new() }
    }
}

impl Patience {
    /// Notes a failure; whether the place is to be tried again.
    pub fn endures(&mut self, file: u32, offset: u64, error: &io::Error, now: Duration) -> bool {
        if self.place != Some((file, offset)) {
            (self.place, self.since) = (Some((file, offset)), now);
            self.news.push((file, format!("cannot be read at {offset}: {error}; it is tried again")));
        }
        let waited = now.saturating_sub(self.since);
        if waited < self.allowed {
            return true;
        }
        self.place = None;
        self.allowed = (self.allowed / 2).max(JOURNAL_PATIENCE_MIN);
        let seconds = waited.as_secs();
        let what = format!("could not be read at {offset} for {seconds} s ({error}); what lies there is passed over");
        self.news.push((file, what));
        false
    }

    /// Notes that a file or directory cannot be had for a reason that may pass; whether to wait for it. What is read
    /// meanwhile would come before what lies there, and a restart would take that for read.
    pub fn endures_names(&mut self, now: Duration) -> bool {
        now.saturating_sub(*self.names_since.get_or_insert(now)) < JOURNAL_PATIENCE
    }

    /// All files and directories can be had.
    pub fn names_heal(&mut self) {
        self.names_since = None;
    }

    /// These bytes were read.
    #[inline]
    pub fn heals(&mut self, file: u32, bytes: Range<u64>) {
        if self.place.is_some_and(|(of, at)| of == file && bytes.contains(&at)) {
            let (news, names_since) = (std::mem::take(&mut self.news), self.names_since);
            *self = Self { news, names_since, ..Self::default() };
        }
    }

    pub fn take_news(&mut self) -> Vec<(u32, String)> {
        std::mem::take(&mut self.news)
    }
}

/// Whether asking again may help: the disk, or descriptors or memory that somebody else has at the moment.
pub(super) fn may_pass(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let passing = [Errno::IO, Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::STALE, Errno::TIMEDOUT];
    Errno::from_io_error(error).is_some_and(|errno| passing.contains(&errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_region_costs_less_and_less_time_and_healing_gives_it_back() {
        let (mut patience, mut now, error) = (Patience::default(), Duration::ZERO, io::Error::from_raw_os_error(5));
        let mut waits = Vec::new();
        for offset in 0..9 {
            let began = now;
            while patience.endures(1, offset, &error, now) {
                now += Duration::from_millis(250);
            }
            waits.push(now - began);
        }
        assert_eq!(waits[0], JOURNAL_PATIENCE);
        assert!(waits.windows(2).all(|pair| pair[1] <= pair[0]) && waits[8] == JOURNAL_PATIENCE_MIN, "{waits:?}");
        assert!(patience.endures(1, 9, &error, now));
        patience.heals(1, 0..9);
        assert!(patience.place.is_some(), "what lies before it does not tell");
        patience.heals(1, 9..10);
        assert!(patience.endures(1, 10, &error, now) && patience.allowed == JOURNAL_PATIENCE);
        assert!(patience.take_news().last().is_some_and(|(file, what)| *file == 1 && what.contains("at 10")));
    }
}
