//! How often one may: token buckets by key, within a fixed table.
//!
//! A bucket is kept as the one time at which it will be full again (the virtual scheduling of ITU-T I.371), so that it
//! costs two words and no ticking. Time is an argument.

use std::{collections::HashMap, hash::Hash, time::Duration};

/// So many at once after a rest, and so many a second in the long run.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    interval: Duration,
    /// How far ahead of now a full debt may reach.
    depth: Duration,
}

impl Rate {
    pub const fn new(per_second: u32, burst: u32) -> Self {
        let interval = Duration::from_nanos(1_000_000_000 / per_second as u64);
        Self { interval, depth: interval.saturating_mul(burst) }
    }
}

/// Buckets by key. `now` is the time since any fixed point; it never runs backwards.
#[derive(Debug)]
pub struct Buckets<K> {
    rate: Rate,
    most: usize,
    /// When each will be full again.
    full_at: HashMap<K, Duration>,
}

impl<K: Clone + Eq + Hash> Buckets<K> {
    pub fn new(rate: Rate, most: usize) -> Self {
        Self { rate, most, full_at: HashMap::new() }
    }

    /// Takes one for `key`, or says after which pause there is one again.
    pub fn take(&mut self, key: &K, now: Duration) -> Result<(), Duration> {
        let debt = self.full_at.get(key).map_or(Duration::ZERO, |full_at| full_at.saturating_sub(now));
        let after = debt + self.rate.interval;
        if after > self.rate.depth {
            return Err(after - self.rate.depth);
        }
        if !self.full_at.contains_key(key) {
            self.make_room(now);
        }
        self.full_at.insert(key.clone(), now + after);
        Ok(())
    }

    /// A full bucket says nothing; when all are in use, the one nearest to full is forgotten.
    fn make_room(&mut self, now: Duration) {
        if self.full_at.len() < self.most {
            return;
        }
        self.full_at.retain(|_, full_at| *full_at > now);
        if self.full_at.len() >= self.most
            && let Some(first) = self.full_at.iter().min_by_key(|(_, full_at)| **full_at).map(|(key, _)| key.clone())
        {
            self.full_at.remove(&first);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let mut buckets = Buckets::new(Rate::new(10, 5), 8);
        let at = Duration::from_millis;
        let taken = |buckets: &mut Buckets<u8>, key, now| (0..100).filter(|_| buckets.take(&key, now).is_ok()).count();
        assert_eq!(taken(&mut buckets, 1, at(0)), 5);
        assert_eq!(buckets.take(&1, at(0)), Err(at(100)));
        assert_eq!(taken(&mut buckets, 2, at(0)), 5, "others are not affected");
        assert_eq!(taken(&mut buckets, 1, at(100)), 1);
        assert_eq!(taken(&mut buckets, 1, at(10_000)), 5, "no more than a burst is saved up");
    }

    #[test]
    fn the_table_is_bounded_and_forgets_the_quiet_ones() {
        let mut buckets = Buckets::new(Rate::new(1, 2), 3);
        let now = Duration::ZERO;
        assert!(buckets.take(&0, now).is_ok() && buckets.take(&0, now).is_ok());
        for key in 1..100 {
            assert!(buckets.take(&key, now).is_ok());
            assert!(buckets.full_at.len() <= 3);
        }
        assert!(buckets.take(&0, now).is_err(), "the busiest is remembered");
    }
}
