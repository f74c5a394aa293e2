//! When to try again: pauses that double, with full jitter, so that a returning target is not met by everybody at once.
//!
//! The random part is a SplitMix64 of our own seed: a test with a seed sees the same pauses each time, and a fleet
//! whose members are seeded apart spreads out.

use std::time::Duration;

use crate::limits::{BACKOFF_MAX, BACKOFF_MIN};

/// The pauses of one target. There is no last try.
#[derive(Clone, Debug)]
pub struct Backoff {
    state: u64,
    /// What the next pause may reach.
    ceiling: Duration,
}

impl Backoff {
    pub fn new(seed: u64) -> Self {
        Self { state: seed, ceiling: BACKOFF_MIN }
    }

    /// The next pause: anything from `limits::BACKOFF_MIN` up to a ceiling that starts there and doubles with every
    /// failure until `limits::BACKOFF_MAX`.
    pub fn pause(&mut self) -> Duration {
        self.ceiling = (self.ceiling * 2).min(BACKOFF_MAX);
        let spread = u64::try_from((self.ceiling - BACKOFF_MIN).as_micros()).unwrap_or(u64::MAX);
        BACKOFF_MIN + Duration::from_micros(self.random() % (spread + 1))
    }

    /// A pause of about `length`: up to a quarter longer.
    pub fn around(&mut self, length: Duration) -> Duration {
        let spread = u64::try_from(length.as_micros() / 4).unwrap_or(u64::MAX);
        length + Duration::from_micros(self.random() % (spread + 1))
    }

    /// After a success the next pause is short again.
    pub fn reset(&mut self) {
        self.ceiling = BACKOFF_MIN;
    }

    /// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014).
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_pause_lies_within_its_doubling_bounds(seed: u64) {
            let mut backoff = Backoff::new(seed);
            let mut ceiling = BACKOFF_MIN;
            for _ in 0..64 {
                ceiling = (ceiling * 2).min(BACKOFF_MAX);
                let pause = backoff.pause();
                prop_assert!(BACKOFF_MIN <= pause && pause <= ceiling, "{pause:?} above {ceiling:?}");
            }
            backoff.reset();
            prop_assert!(backoff.pause() <= BACKOFF_MIN * 2);
        }
    }

    #[test]
    fn one_seed_gives_one_sequence_and_two_seeds_two() {
        let pauses = |seed| {
            let mut backoff = Backoff::new(seed);
            (0..8).map(|_| backoff.pause()).collect::<Vec<_>>()
        };
        assert_eq!(pauses(1), pauses(1));
        assert_ne!(pauses(1), pauses(2));
    }

    #[test]
    fn the_ceiling_is_reached_by_some_pause() {
        let mut backoff = Backoff::new(3);
        let longest = (0..200).map(|_| backoff.pause()).max();
        assert!(longest > Some(BACKOFF_MAX * 9 / 10), "{longest:?}");
    }
}
