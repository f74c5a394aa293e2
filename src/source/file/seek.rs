//! Finds where in a file `startAt` lies, in a few reads.
//!
//! Times in a log grow, so the place is bisected: read a little, skip to a line start, ask the decoder for the first
//! time in sight. What the bisection leaves (less than one read) is skipped line by line later. A format without times
//! has nothing to bisect by: there the last `UNTIMED_BACKLOG_BYTES` count.

use memchr::{memchr, memrchr};

use crate::{
    limits::{SEEK_BYTES, UNTIMED_BACKLOG_BYTES},
    model::Nanos,
};

/// One search; `want` and `take` alternate until `want` says `Found`.
#[derive(Debug)]
pub struct Seek {
    goal: Goal,
    /// Everything before it is too old.
    low: u64,
    /// At and after it nothing is too old.
    high: u64,
}

#[derive(Debug)]
enum Goal {
    /// The start of the first line that is not older.
    Time(Nanos),
    /// The start of the line that holds this offset.
    LineStart(u64),
}

/// What a search needs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Up to `SEEK_BYTES` at this offset.
    Bytes { offset: u64 },
    /// A record starts here.
    Found { offset: u64 },
}

impl Seek {
    /// Where the last, unfinished line of a file of `size` bytes begins.
    pub fn end(size: u64) -> Self {
        Self { goal: Goal::LineStart(size), low: size.saturating_sub(SEEK_BYTES as u64), high: size }
    }

    /// The first line that is not older than `time`.
    pub fn since(time: Nanos, size: u64) -> Self {
        Self { goal: Goal::Time(time), low: 0, high: size }
    }

    /// The backlog of a file in a format without times.
    pub fn backlog(size: u64) -> Self {
        let begin = size.saturating_sub(UNTIMED_BACKLOG_BYTES);
        Self { goal: Goal::LineStart(begin), low: begin.saturating_sub(SEEK_BYTES as u64), high: begin }
    }

    pub fn want(&self) -> Want {
        match self.goal {
            Goal::Time(_) if self.high - self.low <= SEEK_BYTES as u64 => Want::Found { offset: self.low },
            Goal::Time(_) => Want::Bytes { offset: self.low + (self.high - self.low) / 2 },
            Goal::LineStart(0) => Want::Found { offset: 0 },
            Goal::LineStart(_) if self.low == self.high => Want::Found { offset: self.low },
            Goal::LineStart(_) => Want::Bytes { offset: self.low },
        }
    }

    /// Takes what was read at the offset last wanted. `time_of` is the decoder: the own time of a line.
    pub fn take(&mut self, offset: u64, bytes: &[u8], mut time_of: impl FnMut(&[u8]) -> Option<Nanos>) {
        match self.goal {
            Goal::LineStart(goal) => {
                let upto = usize::try_from(goal - offset).unwrap_or(usize::MAX).min(bytes.len());
                // Without a newline in sight the line is longer than we look: begin within it.
                let start = memrchr(b'\n', &bytes[..upto]).map_or(upto as u64, |at| at as u64 + 1);
                let start = if offset == 0 && memrchr(b'\n', &bytes[..upto]).is_none() { 0 } else { start };
                self.low = offset + start;
                self.high = self.low;
            }
            Goal::Time(goal) => {
                let first = memchr(b'\n', bytes).map(|at| at + 1);
                let mut at = first.unwrap_or(bytes.len());
                let first_start = offset + at as u64;
                while let Some(length) = memchr(b'\n', &bytes[at..]) {
                    match time_of(&bytes[at..at + length]) {
                        Some(time) if time < goal => {
                            self.low = first_start;
                            self.high = self.high.max(first_start);
                            return;
                        }
                        Some(_) => {
                            self.high = offset;
                            return;
                        }
                        None => at += length + 1,
                    }
                }
                // No time in sight: what lies here cannot decide; look earlier, so that nothing is missed.
                self.high = offset;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(mut seek: Seek, file: &[u8]) -> (u64, usize) {
        let time_of = |line: &[u8]| {
            let digits = line.strip_prefix(b"t=")?;
            std::str::from_utf8(digits).ok()?.split(' ').next()?.parse().ok().map(Nanos)
        };
        for reads in 0.. {
            match seek.want() {
                Want::Found { offset } => return (offset, reads),
                Want::Bytes { offset } => {
                    let begin = (offset as usize).min(file.len());
                    let end = (begin + SEEK_BYTES).min(file.len());
                    seek.take(offset, &file[begin..end], time_of);
                }
            }
            assert!(reads < 100, "the search does not end");
        }
        unreachable!()
    }

    fn log(lines: usize) -> (Vec<u8>, Vec<usize>) {
        let mut file = Vec::new();
        let mut starts = Vec::new();
        for line in 0..lines {
            starts.push(file.len());
            file.extend_from_slice(format!("t={line} {}\n", "x".repeat(line % 97)).as_bytes());
        }
        (file, starts)
    }

    #[test]
    fn since_begins_at_a_line_not_far_before() {
        let (file, starts) = log(50_000);
        for goal in [0usize, 1, 777, 25_000, 49_999, 60_000] {
            let (found, reads) = run(Seek::since(Nanos(goal as i64), file.len() as u64), &file);
            let at = starts.binary_search(&(found as usize)).expect("a line starts there");
            assert!(at <= goal, "{goal}: began at line {at}");
            let wanted = starts.get(goal).copied().unwrap_or(file.len());
            assert!(wanted - found as usize <= SEEK_BYTES + 200, "{goal}: {found} is far before {wanted}");
            assert!(reads < 20);
        }
    }

    #[test]
    fn end_begins_at_the_unfinished_line() {
        let (mut file, _) = log(10_000);
        let whole = file.len() as u64;
        assert_eq!(run(Seek::end(whole), &file).0, whole);
        file.extend_from_slice(b"t=1 half a li");
        assert_eq!(run(Seek::end(file.len() as u64), &file).0, whole);
        assert_eq!(run(Seek::end(4), b"half").0, 0);
        assert_eq!(run(Seek::end(0), b"").0, 0);
    }

    #[test]
    fn a_small_file_without_times_is_taken_whole() {
        assert_eq!(run(Seek::backlog(5), b"a\nb\nc").0, 0);
    }
}
