//! What can go wrong in the simulated world, how often, and how often it did.
//!
//! A fault is counted when it took effect, not when it was thrown for: a test can so assert that it met what it is
//! about.

use std::time::Duration;

use super::random::Random;

/// How often each fault strikes, per thousand occasions; all zero by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// A read brings fewer bytes than there are (never none).
    pub short_read: u16,
    /// `read_now` says that the bytes are not in memory.
    pub would_block: u16,
    /// A read fails with EIO.
    pub read_error: u16,
    /// A write or persist fails with ENOSPC; of a write, some bytes may have been written.
    pub write_full: u16,
    /// A persist fails with EIO, before or after its rename.
    pub persist_failure: u16,
    /// A completion or watch event comes later than the rest, by up to `delay_max`. Completions overtake each other so,
    /// watch events do not (inotify keeps their order).
    pub delay: u16,
    pub delay_max: Duration,
    /// A watch event is lost without a word.
    pub watch_lost: u16,
    /// A watch event is lost and `Overflow` said.
    pub watch_overflow: u16,
}

impl Faults {
    /// All of them at rates that leave room for progress.
    pub fn rough() -> Self {
        Self {
            short_read: 100,
            would_block: 200,
            read_error: 5,
            write_full: 5,
            persist_failure: 50,
            delay: 300,
            delay_max: Duration::from_millis(200),
            watch_lost: 20,
            watch_overflow: 10,
        }
    }
}

/// How often each fault took effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Injected {
    pub short_reads: u64,
    pub would_blocks: u64,
    pub read_errors: u64,
    pub writes_full: u64,
    pub persist_failures: u64,
    pub delays: u64,
    /// Completions delivered after one that was submitted later.
    pub overtaken: u64,
    pub watches_lost: u64,
    pub overflows: u64,
    /// Files whose content a power loss changed.
    pub torn_files: u64,
    /// Changes of names a power loss undid.
    pub undone_names: u64,
}

/// Throws for faults and counts them.
#[derive(Debug)]
pub(super) struct Chance {
    pub random: Random,
    pub faults: Faults,
    pub injected: Injected,
}

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self { random: Random::new(seed), faults: Faults::default(), injected: Injected::default() }
    }

    pub fn strikes(&mut self, per_thousand: u16) -> bool {
        per_thousand > 0 && self.random.below(1000) < u64::from(per_thousand)
    }

    pub fn delay(&mut self) -> Duration {
        if !self.strikes(self.faults.delay) {
            return Duration::ZERO;
        }
        let longest = u64::try_from(self.faults.delay_max.as_nanos()).unwrap_or(u64::MAX);
        let delay = Duration::from_nanos(self.random.below(longest.saturating_add(1)));
        self.injected.delays += u64::from(!delay.is_zero());
        delay
    }

    /// How many of `there` bytes a read brings; `there` is not 0.
    pub fn read_length(&mut self, there: usize) -> usize {
        if there < 2 || !self.strikes(self.faults.short_read) {
            return there;
        }
        self.injected.short_reads += 1;
        1 + self.random.below(there as u64 - 1) as usize
    }
}
