//! Whose turn it is: the passes that have something to read, by source, and what each source may still take.
//!
//! Sources share a lane by deficit round robin over bytes (Shreedhar and Varghese, 1996): each has a queue of its own
//! and is given the same number of bytes a round, so that one that floods does not make a quiet one wait. What a queue
//! was not given because nothing of it could be carried is not saved up. Within a queue who goes next is decided by
//! event time (`schedule.rs`).

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use crate::{limits::ROUND_BYTES, model::ObjectId};

const NANOS: u128 = 1_000_000_000;

/// The passes of one source that are ready or whose read is under way, as (reader, pass).
#[derive(Debug, Default)]
pub struct Queue {
    pub busy: BTreeSet<(u32, u32)>,
    /// Bytes it may still carry in this round; below zero if its last record reached beyond.
    deficit: i64,
    /// What its rate leaves to each target (by bit), for a source with `rateBytes`.
    buckets: BTreeMap<u8, Bucket>,
    /// Since when files of the source are being opened.
    pub opening_since: Option<Duration>,
    /// The reader that was furthest behind at the last look, if it was late, and whether another one was late as well.
    pub oldest: Option<(u32, bool)>,
}

impl Queue {
    /// Begins a round: what was overdrawn counts, what was left over does not.
    pub fn replenish(&mut self) {
        self.deficit = self.deficit.min(0) + ROUND_BYTES as i64;
    }

    /// Bytes left in this round.
    pub fn left(&self) -> usize {
        self.deficit.max(0) as usize
    }

    pub fn spend(&mut self, bytes: u64) {
        self.deficit -= bytes as i64;
    }

    /// Bytes a rate (bytes a second) leaves to target `bit` now.
    ///
    /// # Errors
    /// Nothing is left; how long to wait.
    pub fn allowance(&mut self, bit: u8, rate: u64, now: Duration) -> Result<usize, Duration> {
        let full = Bucket { level: i64::try_from(rate).unwrap_or(i64::MAX), at: now, closed: false };
        let bucket = self.buckets.entry(bit).or_insert(full);
        bucket.open(rate, rate, now)?;
        Ok(usize::try_from(bucket.level).unwrap_or_default())
    }

    /// Takes what was carried out of the buckets of `bits`.
    pub fn debit(&mut self, bits: impl Iterator<Item = u8>, bytes: u64) {
        for bit in bits {
            if let Some(bucket) = self.buckets.get_mut(&bit) {
                bucket.level -= bytes as i64;
            }
        }
    }

    /// A source without a rate needs no buckets.
    pub fn unlimit(&mut self) {
        self.buckets.clear();
    }

    /// Whether its rate leaves nothing to target `bit`.
    pub fn is_limited(&self, bit: u8) -> bool {
        self.buckets.get(&bit).is_some_and(|bucket| bucket.closed || bucket.level <= 0)
    }
}

/// Something that is refilled at a rate and may be overdrawn once: bytes or microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bucket {
    pub level: i64,
    at: Duration,
    /// It was empty and has not been refilled enough since: what is taken is to be worth a turn.
    closed: bool,
}

/// A bucket that was empty opens again with what its rate gives in a second, divided by this.
const OPENS_AT: u64 = 20;

impl Bucket {
    /// Refills it; whether something may be taken now.
    ///
    /// # Errors
    /// Nothing may be taken; how long to wait.
    pub fn open(&mut self, rate: u64, most: u64, now: Duration) -> Result<(), Duration> {
        self.refill(rate, most, now);
        let enough = i64::try_from((rate / OPENS_AT).clamp(1, most.max(1))).unwrap_or(i64::MAX);
        self.closed = self.level <= 0 || (self.closed && self.level < enough);
        if self.closed {
            let nanos = u128::from(enough.abs_diff(self.level)) * NANOS / u128::from(rate.max(1)) + 1;
            return Err(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)));
        }
        Ok(())
    }

    /// Adds what `rate` (a second) gives since the last time, up to `most`.
    fn refill(&mut self, rate: u64, most: u64, now: Duration) {
        let gained = u128::from(rate) * now.saturating_sub(self.at).as_nanos() / NANOS;
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        self.level = self.level.saturating_add(i64::try_from(gained).unwrap_or(i64::MAX)).min(most);
        // What was too little to count is counted the next time.
        let counted = u64::try_from(gained * NANOS / u128::from(rate.max(1))).unwrap_or(u64::MAX);
        self.at = if self.level == most { now } else { self.at + Duration::from_nanos(counted) };
    }
}

/// The queues of a lane, in the order of their turns.
#[derive(Debug, Default)]
pub struct Rota {
    queues: BTreeMap<ObjectId, Queue>,
    order: VecDeque<ObjectId>,
    /// Had their turn and nothing could be carried.
    waited: Vec<ObjectId>,
    /// Turns taken by passes so far.
    served: u64,
    /// Something could be carried at once but the turn was over.
    pub more: bool,
    /// When something that is held back by a rate may go on.
    pub next: Option<Duration>,
}

impl Rota {
    /// A pass has something to read or waits for its read.
    pub fn join(&mut self, source: ObjectId, reader: u32, pass: u32) {
        let queue = self.queues.entry(source).or_insert_with(|| {
            self.order.push_back(source);
            Queue::default()
        });
        queue.busy.insert((reader, pass));
    }

    /// How many sources have something.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    pub fn begin_turn(&mut self) {
        (self.more, self.next) = (false, None);
    }

    /// Takes the source whose turn it is out of the order, for `give_back`.
    pub fn take(&mut self) -> Option<ObjectId> {
        self.order.pop_front()
    }

    /// Puts a source back: at the end if it was carried, else where it was. One that has nothing to read goes, unless
    /// its rate must be remembered.
    pub fn give_back(&mut self, source: ObjectId, was_carried: bool) {
        match self.queues.get_mut(&source) {
            Some(queue) if queue.busy.is_empty() && queue.buckets.is_empty() => {
                self.queues.remove(&source);
            }
            Some(_) if was_carried => self.order.push_back(source),
            Some(_) => self.waited.push(source),
            None => {}
        }
    }

    /// Those who had to wait come first next time.
    pub fn end_round(&mut self) {
        self.waited.drain(..).rev().for_each(|source| self.order.push_front(source));
    }

    /// Counts the turn of a pass, if it had one.
    pub fn serve(&mut self, had_turn: bool) -> Option<u64> {
        self.served += u64::from(had_turn);
        had_turn.then_some(self.served)
    }

    pub fn queue(&mut self, source: ObjectId) -> Option<&mut Queue> {
        self.queues.get_mut(&source)
    }

    /// Whether lines of `source` for target `bit` are held by its rate.
    pub fn is_limited(&self, source: ObjectId, bit: u8) -> bool {
        self.queues.get(&source).is_some_and(|queue| !queue.busy.is_empty() && queue.is_limited(bit))
    }

    /// Drops the queues of sources that are gone.
    pub fn retain(&mut self, keep: impl Fn(ObjectId) -> bool) {
        self.queues.retain(|source, _| keep(*source));
        self.order.retain(|source| keep(*source));
    }

    /// Something is to be carried no later than `at`.
    pub fn wake_at(&mut self, at: Duration) {
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_overdrawn_counts_and_what_was_left_does_not() {
        let mut queue = Queue::default();
        queue.replenish();
        queue.spend(ROUND_BYTES as u64 + 100);
        assert_eq!(queue.left(), 0);
        queue.replenish();
        assert_eq!(queue.left(), ROUND_BYTES - 100);
        queue.replenish();
        assert_eq!(queue.left(), ROUND_BYTES);
    }

    #[test]
    fn a_bucket_gives_its_rate_and_no_more() {
        let mut bucket = Bucket::default();
        let mut given = 0;
        // In steps too short to gain a whole byte each.
        for step in 1..=2_000_000u64 {
            bucket.refill(1_500, 1_500, Duration::from_micros(step));
            given += bucket.level;
            bucket.level = 0;
        }
        assert!((2_900..=3_000).contains(&given), "{given} bytes in two seconds at 1,500");
    }

    #[test]
    fn an_overdrawn_bucket_says_when_it_opens() {
        let mut bucket = Bucket { level: -950, ..Bucket::default() };
        let wait = bucket.open(1_000, 1_000, Duration::ZERO).expect_err("it is overdrawn");
        assert_eq!(wait.as_millis(), 1_000, "950 bytes that were too many and 50 to begin with");
        assert!(bucket.open(1_000, 1_000, wait / 2).is_err());
        assert!(bucket.open(1_000, 1_000, wait).is_ok());
        assert_eq!(bucket.level, 50);
    }

    #[test]
    fn who_waited_comes_first() {
        let mut rota = Rota::default();
        (1..=3).for_each(|source| rota.join(ObjectId(source), 0, source as u32));
        for carried in [false, true, false] {
            let source = rota.take().expect("three sources");
            rota.give_back(source, carried);
        }
        rota.end_round();
        assert_eq!(rota.order, [ObjectId(1), ObjectId(3), ObjectId(2)]);
    }
}
