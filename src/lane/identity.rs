//! Gives every record the time it will have at every resend.
//!
//! Loki stores the same (labels, time, line) once. So a resent record must get the same time again, and two genuinely
//! equal neighbours must get different ones. Both follow from a fixed look-back in the same reader, which a restart
//! reads again, and from the time marks in the checkpoint; nothing else is remembered.
//!
//! - A record with a time of its own keeps it. Without one it takes the source's (the journal's) time, else that of the
//!   nearest earlier record within the look-back that has its own, else the read time, which is then kept as a mark.
//! - A record equal to an earlier one within the look-back is moved by a number of nanoseconds that depends on its
//!   place alone. Equal records are equally long, so `place / (length + 1)` differs between any two of them; taken
//!   modulo a number that covers the look-back it stays distinct there. Other times are never touched.

use std::{collections::HashMap, hash::BuildHasherDefault};

use xxhash_rust::xxh3::xxh3_64;

use super::checkpoint::Key;
use crate::{
    limits::{LOOK_BACK_BYTES, LOOK_BACK_ENTRIES, TIME_MARK_INTERVAL, TIME_MARKS_MAX},
    model::{Nanos, ObjectId, ReaderKey},
};

/// Nanoseconds a record with a time of its own may be moved by at the least range: below one microsecond, which is
/// finer than most formats write.
const OWN_TIME_RANGE: u64 = 999;

/// Where a record without a time got one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub time: Nanos,
    /// The read time was used: the mark must be in the checkpoint before the record leaves.
    pub marked: bool,
}

/// The look-back of one (pass, source).
#[derive(Clone, Debug)]
pub struct Identity {
    span: Span,
    /// The nearest earlier record with its own time.
    last_own: Option<(u64, Nanos)>,
    /// Two generations: together they cover at least one look-back.
    young: Seen,
    old: Seen,
    young_since: u64,
    /// The highest own or given time so far. A record with a higher one has no twin, so nobody asks.
    highest: Option<Nanos>,
}

/// Last places of the records of one generation, by the hash of (own time, line).
#[derive(Clone, Debug, Default)]
struct Seen {
    places: HashMap<u64, u64, BuildHasherDefault<AlreadyHashed>>,
    /// The youngest records, not in `places` yet: they go there when somebody asks, which is seldom.
    fresh: Vec<(u64, u64)>,
}

impl Seen {
    #[inline]
    fn insert(&mut self, hash: u64, place: u64) {
        self.fresh.push((hash, place));
    }

    fn find(&mut self, hash: u64) -> Option<u64> {
        self.places.extend(self.fresh.drain(..));
        self.places.get(&hash).copied()
    }

    fn len(&self) -> usize {
        self.places.len() + self.fresh.len()
    }

    fn clear(&mut self) {
        self.places.clear();
        self.fresh.clear();
    }
}

/// What "place" counts in a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// Bytes of a file.
    Bytes,
    /// Sequence numbers of a journal.
    Entries,
}

impl Span {
    fn look_back(self) -> u64 {
        match self {
            Self::Bytes => LOOK_BACK_BYTES,
            Self::Entries => LOOK_BACK_ENTRIES,
        }
    }
}

impl Identity {
    pub fn new(span: Span) -> Self {
        Self { span, last_own: None, young: Seen::default(), old: Seen::default(), young_since: 0, highest: None }
    }

    /// The time of the record at `place`, and whether it came from a mark. `own` is the line's own time, `given` the
    /// source's. Must be called for every record in order, look-back and filtered ones included.
    pub fn stamp(
        &mut self,
        place: u64,
        own: Option<Nanos>,
        given: Option<Nanos>,
        line: &[u8],
        mark: impl FnOnce() -> Nanos,
    ) -> Stamp {
        let reach = place.saturating_sub(self.span.look_back());
        let (base, marked) = match (own, given, self.last_own) {
            (Some(time), _, _) => {
                self.last_own = Some((place, time));
                (time, false)
            }
            (None, Some(time), _) => (time, false),
            (None, None, Some((at, time))) if at >= reach => (time, false),
            (None, None, _) => (mark(), true),
        };
        // Inherited and marked times are left out of the hash: the look-back alone must decide.
        let timed = own.or(given);
        let hash = hash(line, timed);
        let is_highest = timed.is_some() && timed > self.highest;
        let twin = if is_highest {
            self.highest = timed;
            false
        } else {
            self.seen(hash).is_some_and(|at| at >= reach)
        };
        self.remember(hash, place);
        let moved = if twin { self.move_by(place, line.len() as u64, timed.is_some()) } else { 0 };
        Stamp { time: base.plus(moved), marked }
    }

    /// Lines remembered; the look-back reads them again when they were forgotten.
    pub fn remembered(&self) -> usize {
        self.young.len() + self.old.len()
    }

    fn seen(&mut self, hash: u64) -> Option<u64> {
        self.young.find(hash).or_else(|| self.old.find(hash))
    }

    #[inline]
    fn remember(&mut self, hash: u64, place: u64) {
        if place.saturating_sub(self.young_since) > self.span.look_back() {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
            self.young_since = place;
        }
        self.young.insert(hash, place);
    }

    fn move_by(&self, place: u64, length: u64, timed: bool) -> u64 {
        let step = match self.span {
            Span::Bytes => length + 1,
            Span::Entries => 1,
        };
        let cover = self.span.look_back() / step + 1;
        let range = if timed { OWN_TIME_RANGE.max(cover) } else { 999_999 };
        1 + (place / step) % range
    }
}

/// Of a line and its time. The seed of the hash would do for the time, but costs as much again as hashing the line.
#[inline]
fn hash(line: &[u8], time: Option<Nanos>) -> u64 {
    // Any odd number spreads neighbouring times; this one is the golden ratio.
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    let time = time.map_or(0, |time| time.0 as u64).wrapping_mul(SPREAD);
    xxh3_64(line) ^ time ^ time >> 32
}

/// The hashes are hashes already.
#[derive(Clone, Copy, Debug, Default)]
struct AlreadyHashed(u64);

impl std::hash::Hasher for AlreadyHashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

/// Where the marks of one reader are kept: two sources may read one file, each at times of its own.
pub fn marks_key(reader: ReaderKey, source: ObjectId) -> Key {
    Key { reader, source, target: ObjectId(0) }
}

/// Read times of one reader: "from this place on, records without a time were read at that time".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    list: Vec<(u64, Nanos)>,
    /// The last place that was asked for, ever: up to there the marks are what was sent.
    marked: u64,
}

impl Marks {
    pub fn new(mut list: Vec<(u64, Nanos)>, marked: u64) -> Self {
        list.sort_by_key(|(place, _)| *place);
        list.truncate(TIME_MARKS_MAX);
        Self { list, marked }
    }

    pub fn as_slice(&self) -> &[(u64, Nanos)] {
        &self.list
    }

    pub fn marked(&self) -> u64 {
        self.marked
    }

    fn is_full(&self) -> bool {
        self.list.len() == TIME_MARKS_MAX
    }

    /// So many that they should be thinned out, before they are too many.
    pub fn are_crowded(&self) -> bool {
        self.list.len() > TIME_MARKS_MAX * 2 / 3
    }

    /// The mark in force at `place`. Makes one if there is none, or the newest is old and nothing was marked at or
    /// after `place` before: what was sent under a mark is sent again under it. True: the marks changed.
    pub fn at(&mut self, place: u64, now: Nanos) -> (Nanos, bool) {
        let after = self.list.partition_point(|(from, _)| *from <= place);
        let is_new = place > self.marked;
        self.marked = self.marked.max(place);
        match after.checked_sub(1).map(|index| self.list[index]) {
            Some((_, time)) => {
                let age = now.0.saturating_sub(time.0);
                // The more are pinned by a target that does not settle, the farther apart.
                let interval = (TIME_MARK_INTERVAL.as_nanos() as i64) << (self.list.len() * 6 / TIME_MARKS_MAX);
                if is_new && !self.is_full() && age >= interval {
                    self.list.push((place, now));
                    return (now, true);
                }
                (time, is_new)
            }
            None if !self.is_full() => {
                self.list.insert(0, (place, now));
                (now, true)
            }
            None => (self.list[0].1, is_new),
        }
    }

    /// Forgets marks that no record from `settled` on (or in its look-back) can ask for. True: the marks changed.
    pub fn settle(&mut self, settled: u64) -> bool {
        let needed = settled.saturating_sub(LOOK_BACK_BYTES);
        let first = self.list.partition_point(|(from, _)| *from <= needed).saturating_sub(1);
        self.list.drain(..first);
        first > 0
    }

    /// Makes room for another mark by forgetting one that covers nothing of `sent`, the ranges that may be sent again
    /// to somebody: for one who never got a line, any time will do. Of those, the one nearest to its neighbour goes.
    /// True: the marks changed.
    pub fn thin(&mut self, sent: &[(u64, u64)]) -> bool {
        let ends = self.list.iter().skip(1).map(|(from, _)| *from);
        let spans: Vec<(u64, u64)> = self.list.iter().map(|(from, _)| *from).zip(ends).collect();
        let is_free = |at: &usize| !sent.iter().any(|(from, to)| spans[*at].0 < *to && *from < spans[*at].1);
        let gap = |at: &usize| self.list[*at].1.0.saturating_sub(self.list[*at - 1].1.0);
        let thinnest = (1..spans.len()).filter(is_free).min_by_key(gap);
        thinnest.map(|at| self.list.remove(at)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Nanos = Nanos(1_700_000_000_000_000_000);

    /// Stamps `lines` from the first on, or from a look-back before `resume` on, as a cursor would after a restart.
    fn stamps(lines: &[(Option<i64>, &str)], resume: usize) -> Vec<Nanos> {
        let mut identity = Identity::new(Span::Bytes);
        let mut marks = Marks::new(vec![(0, NOW)], 0);
        let starts: Vec<u64> = lines
            .iter()
            .scan(0u64, |at, (_, line)| {
                let start = *at;
                *at += line.len() as u64 + 1;
                Some(start)
            })
            .collect();
        let from = starts.get(resume).copied().unwrap_or_default().saturating_sub(LOOK_BACK_BYTES);
        let mut out = Vec::new();
        for (index, (own, line)) in lines.iter().enumerate() {
            if starts[index] < from {
                continue;
            }
            let stamp =
                identity.stamp(starts[index], own.map(Nanos), None, line.as_bytes(), || marks.at(starts[index], NOW).0);
            if index >= resume {
                out.push(stamp.time);
            }
        }
        out
    }

    #[test]
    fn equal_neighbours_stay_apart() {
        let lines: Vec<_> = (0..5_000).map(|_| (Some(1_000_000), "the same line again")).collect();
        let times = stamps(&lines, 0);
        for window in times.windows(3_000) {
            let mut distinct = window.to_vec();
            distinct.sort();
            distinct.dedup();
            assert_eq!(distinct.len(), window.len());
        }
        assert_eq!(times[0], Nanos(1_000_000), "the first one is not touched");
    }

    #[test]
    fn short_untimed_neighbours_stay_apart() {
        let lines: Vec<_> = (0..20_000).map(|_| (None, "ok")).collect();
        let mut times = stamps(&lines, 0);
        times.sort();
        times.dedup();
        assert_eq!(times.len(), lines.len());
    }

    #[test]
    fn a_line_without_time_takes_its_predecessors() {
        let times = stamps(&[(Some(5), "a"), (None, "  at b"), (Some(9), "c"), (None, "  at d")], 0);
        assert_eq!(times, [Nanos(5), Nanos(5), Nanos(9), Nanos(9)]);
    }

    /// The rule as the module doc has it, record by record.
    fn moved_plainly(lines: &[(Option<i64>, &str)]) -> Vec<bool> {
        let (mut place, mut before) = (0, Vec::<(u64, &(Option<i64>, &str))>::new());
        let mut moved = Vec::new();
        for line in lines {
            let twin = before.iter().any(|(at, other)| at + LOOK_BACK_BYTES >= place && *other == line);
            moved.push(twin);
            before.push((place, line));
            place += line.1.len() as u64 + 1;
        }
        moved
    }

    #[test]
    fn marks_are_found_again() {
        let mut marks = Marks::default();
        assert_eq!(marks.at(100, NOW), (NOW, true));
        let later = NOW.plus(2_000_000_000);
        assert_eq!(marks.at(100, later), (NOW, false), "the same record asks again");
        assert_eq!(marks.at(200, later), (later, true));
        assert_eq!(marks.at(150, later.plus(5_000_000_000)), (NOW, false), "a replay behind the newest mark");
        let mut again = Marks::new(marks.as_slice().to_vec(), marks.marked());
        assert_eq!(again.at(199, later), (NOW, false));
        assert!(again.settle(200 + LOOK_BACK_BYTES));
        assert_eq!(again.as_slice(), [(200, later)]);
    }

    #[test]
    fn what_was_marked_before_a_restart_keeps_its_mark() {
        let mut marks = Marks::default();
        assert_eq!(marks.at(100, NOW), (NOW, true));
        assert_eq!(marks.at(500, NOW), (NOW, true), "how far it was used must be remembered");
        let mut again = Marks::new(marks.as_slice().to_vec(), marks.marked());
        let later = NOW.plus(5_000_000_000);
        for place in [100, 300, 500] {
            assert_eq!(again.at(place, later), (NOW, false), "sent before at this time");
        }
        assert_eq!(again.at(501, later), (later, true));
    }

    #[test]
    fn only_marks_that_nobody_needs_are_thinned_out() {
        let mut marks = Marks::default();
        for step in 0..TIME_MARKS_MAX as u64 {
            marks.at(step * 10, NOW.plus(step * 300_000_000_000));
        }
        assert!(marks.is_full());
        marks.thin(&[(0, 95)]);
        assert_eq!(marks.as_slice().len(), TIME_MARKS_MAX - 1);
        assert!((0..10).all(|step| marks.as_slice().iter().any(|(from, _)| *from == step * 10)));
        assert_eq!(marks.as_slice().last().map(|(from, _)| *from), Some((TIME_MARKS_MAX as u64 - 1) * 10));
        let all = marks.clone();
        marks.thin(&[(0, u64::MAX)]);
        assert_eq!(marks, all);
    }

    #[test]
    fn marks_are_bounded() {
        let mut marks = Marks::default();
        for step in 0..1_000u64 {
            marks.at(step * 10, NOW.plus(step * 3_000_000_000));
        }
        assert_eq!(marks.as_slice().len(), TIME_MARKS_MAX);
    }

    proptest! {
        /// Times that rise, stand still and fall back: whoever has an equal one behind it is moved, and nobody else.
        #[test]
        fn only_twins_are_moved(
            picks in proptest::collection::vec((-3i64..8, 0usize..3, prop_oneof![Just(9usize), 1usize..9_000]), 1..300),
        ) {
            let mut time = 1_000_000;
            let lines: Vec<(Option<i64>, String)> = picks.iter().map(|(step, letter, length)| {
                time += 1_000 * (step / 2);
                (Some(time), ["a", "b", "c"][*letter].repeat(*length))
            }).collect();
            let lines: Vec<(Option<i64>, &str)> = lines.iter().map(|(own, text)| (*own, text.as_str())).collect();
            let moved: Vec<bool> =
                stamps(&lines, 0).iter().zip(&lines).map(|(time, (own, _))| Some(time.0) != *own).collect();
            prop_assert_eq!(moved, moved_plainly(&lines));
        }

        /// Whatever the lines and wherever the restart: the same times again.
        #[test]
        fn a_restart_gives_the_same_times(
            picks in proptest::collection::vec((0usize..6, proptest::option::of(0i64..4), 1usize..3_000), 1..400),
            resume in 0usize..400,
        ) {
            let texts: Vec<String> = picks.iter().map(|(kind, _, len)| match kind {
                0..=2 => "equal".to_owned(),
                3 => "a".to_owned(),
                _ => "x".repeat(*len),
            }).collect();
            let lines: Vec<(Option<i64>, &str)> =
                picks.iter().zip(&texts).map(|((_, own, _), text)| (own.map(|t| t * 1_000), text.as_str())).collect();
            let resume = resume.min(lines.len() - 1);
            prop_assert_eq!(&stamps(&lines, 0)[resume..], &stamps(&lines, resume)[..]);
        }
    }
}
