//! Which numbered lines arrived, which came twice, and whether what came twice was the same.
//!
//! A run of millions of lines cannot be kept, so of each line only a 64-bit print is: 16 bits each of labels, time,
//! line and metadata. A print of zero means "not seen", so the prints are the bitmap. Eight bytes a line; four hashes
//! rather than one, because when a resent line differs the first question is in what.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    ops::Range,
};

use memchr::memmem;

/// Lines of one segment of prints (512 KiB).
const SEGMENT: usize = 65_536;
/// Highest number that is tracked: 512 MiB of prints. Higher ones are counted as `beyond`.
const SEQ_MAX: u64 = 64 * 1024 * 1024;
/// Differing resends of which the text is kept.
const DIFFERING_KEPT_MAX: usize = 16;
/// Gaps told by `missing` at most.
const GAPS_MAX: usize = 100;

/// What stands before the number in a line, such as `"seq":` or `seq=`.
#[derive(Clone, Debug)]
pub struct Marker(String);

impl Marker {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The number behind the last marker of the line; none without one.
    pub fn number(&self, line: &[u8]) -> Option<u64> {
        let at = memmem::rfind(line, self.0.as_bytes())? + self.0.len();
        let digits = line[at..].iter().take(19).take_while(|b| b.is_ascii_digit());
        digits.fold(None, |number, digit| Some(number.unwrap_or(0) * 10 + u64::from(digit - b'0')))
    }
}

/// A part of an entry's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Labels,
    Time,
    Line,
    Metadata,
}

/// Four 16-bit hashes of an entry; never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Print(u64);

impl Print {
    /// `labels` and `metadata` in any hashable form that is the same for the same content.
    pub fn of(labels: impl Hash, time: i64, line: &[u8], metadata: impl Hash) -> Self {
        let print = short(labels) | short(time) << 16 | short(line) << 32 | short(metadata) << 48;
        Self(print.max(1))
    }

    /// The parts in which two prints differ.
    pub fn differs(self, other: Self) -> Vec<Part> {
        let apart = self.0 ^ other.0;
        [Part::Labels, Part::Time, Part::Line, Part::Metadata]
            .into_iter()
            .zip([0, 16, 32, 48])
            .filter_map(|(part, shift)| (apart >> shift & 0xffff != 0).then_some(part))
            .collect()
    }
}

fn short(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish() & 0xffff
}

/// A line that came again and was not the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Differing {
    pub seq: u64,
    pub parts: Vec<Part>,
    /// The line as it came the second time.
    pub line: String,
}

/// What a number turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sighting {
    First,
    /// Seen before, the same in every part.
    Again,
    /// Seen before, but not the same.
    Different,
    /// Too high to be tracked.
    Beyond,
}

/// Sums over all sightings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Distinct numbers.
    pub seen: u64,
    /// Resends identical to the first sighting.
    pub duplicates: u64,
    /// Resends that differ from the first sighting.
    pub differing: u64,
    /// First sightings below an earlier number.
    pub reordered: u64,
    /// Numbers too high to be tracked.
    pub beyond: u64,
    /// Highest number seen.
    pub highest: Option<u64>,
}

/// Everything known about the numbers of one run.
#[derive(Default)]
pub struct Sequence {
    segments: Vec<Option<Box<[u64]>>>,
    tally: Tally,
    differing: Vec<Differing>,
}

impl Sequence {
    pub fn note(&mut self, seq: u64, print: Print, line: &[u8]) -> Sighting {
        if seq >= SEQ_MAX {
            self.tally.beyond += 1;
            return Sighting::Beyond;
        }
        let place = self.place(seq);
        let before = Print(*place);
        if before.0 == 0 {
            *place = print.0;
            self.tally.seen += 1;
            self.tally.reordered += u64::from(self.tally.highest.is_some_and(|highest| seq < highest));
            self.tally.highest = self.tally.highest.max(Some(seq));
            Sighting::First
        } else if before == print {
            self.tally.duplicates += 1;
            Sighting::Again
        } else {
            self.tally.differing += 1;
            if self.differing.len() < DIFFERING_KEPT_MAX {
                let line = String::from_utf8_lossy(line).into_owned();
                self.differing.push(Differing { seq, parts: before.differs(print), line });
            }
            Sighting::Different
        }
    }

    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// The first differing resends.
    pub fn differing(&self) -> &[Differing] {
        &self.differing
    }

    pub fn contains(&self, seq: u64) -> bool {
        let Ok(index) = usize::try_from(seq) else { return false };
        let segment = self.segments.get(index / SEGMENT).and_then(Option::as_deref);
        segment.is_some_and(|prints| prints[index % SEGMENT] != 0)
    }

    /// The gaps within `range`, lowest first, at most a hundred.
    pub fn missing(&self, range: Range<u64>) -> Vec<Range<u64>> {
        self.missing_where(range, |_| true)
    }

    /// As `missing`, of the numbers that `expected` names (those that a level filter lets pass, say).
    pub fn missing_where(&self, range: Range<u64>, expected: impl Fn(u64) -> bool) -> Vec<Range<u64>> {
        let mut gaps: Vec<Range<u64>> = Vec::new();
        for seq in range {
            if self.contains(seq) || !expected(seq) {
                continue;
            }
            let full = gaps.len() == GAPS_MAX;
            match gaps.last_mut() {
                Some(gap) if gap.end == seq => gap.end = seq + 1,
                _ if full => break,
                _ => gaps.push(seq..seq + 1),
            }
        }
        gaps
    }

    fn place(&mut self, seq: u64) -> &mut u64 {
        let index = usize::try_from(seq).unwrap_or(usize::MAX);
        let segment = index / SEGMENT;
        if self.segments.len() <= segment {
            self.segments.resize_with(segment + 1, || None);
        }
        let prints = self.segments[segment].get_or_insert_with(|| vec![0; SEGMENT].into_boxed_slice());
        &mut prints[index % SEGMENT]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(time: i64) -> Print {
        Print::of("{a=\"b\"}", time, b"line", [("k", "v")])
    }

    #[test]
    fn markers_find_the_last_number() {
        let marker = Marker::new("seq=");
        assert_eq!(marker.number(b"x seq=1 msg=\"seq=42\""), Some(42));
        assert_eq!(marker.number(b"seq= 7"), None);
        assert_eq!(marker.number(b"no number"), None);
        assert_eq!(Marker::new("\"seq\":").number(br#"{"a":1,"seq":100200}"#), Some(100_200));
    }

    #[test]
    fn gaps_duplicates_and_order_are_told() {
        let mut sequence = Sequence::default();
        for seq in [0, 1, 4, 3, 70_000] {
            assert_eq!(sequence.note(seq, print(1), b"x"), Sighting::First);
        }
        assert_eq!(sequence.note(1, print(1), b"x"), Sighting::Again);
        assert_eq!(sequence.missing(0..6), vec![2..3, 5..6]);
        assert_eq!(sequence.missing_where(0..6, |seq| seq != 5), vec![2..3]);
        assert_eq!(sequence.missing(70_000..70_002), vec![70_001..70_002]);
        let tally = sequence.tally();
        assert_eq!((tally.seen, tally.duplicates, tally.differing, tally.reordered), (5, 1, 0, 1));
        assert_eq!(tally.highest, Some(70_000));
    }

    #[test]
    fn a_resend_with_another_time_is_caught_and_named() {
        let mut sequence = Sequence::default();
        sequence.note(9, print(1), b"x");
        assert_eq!(sequence.note(9, print(2), b"x"), Sighting::Different);
        assert_eq!(sequence.differing()[0].parts, vec![Part::Time]);
    }

    #[test]
    fn a_number_beyond_the_bound_takes_no_memory() {
        let mut sequence = Sequence::default();
        assert_eq!(sequence.note(u64::MAX, print(1), b"x"), Sighting::Beyond);
        assert!(sequence.segments.is_empty());
    }
}
