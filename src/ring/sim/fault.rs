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
    /// A write fails with EIO; some bytes may have been written.
    pub write_error: u16,
    /// A persist fails with EIO, before or after its rename.
    pub persist_failure: u16,
    /// `stat` or `stat_path` fails with EIO.
    pub stat_error: u16,
    /// `open` or `create` fails with EMFILE.
    pub open_error: u16,
    /// `list` fails with EIO.
    pub list_error: u16,
    /// A completion or watch event comes later than the rest, by up to `delay_max`. Completions overtake each other so,
    /// watch events do not (inotify keeps their order).
    pub delay: u16,
    pub delay_max: Duration,
    /// A watch event is lost without a word.
    pub watch_lost: u16,
    /// A watch event is lost and `Overflow` said.
    pub watch_overflow: u16,
    /// A watch cannot be had: too many (ENOSPC).
    pub watch_refused: u16,
}

impl Faults {
    /// All of them at rates that leave room for progress.
    pub fn rough() -> Self {
        Self {
            short_read: 100,
            would_block: 200,
            read_error: 5,
            write_full: 5,
            write_error: 2,
            persist_failure: 50,
            stat_error: 5,
            open_error: 5,
            list_error: 5,
            delay: 300,
            delay_max: Duration::from_millis(200),
            watch_lost: 20,
            watch_overflow: 10,
            watch_refused: 10,
        }
    }
}

/// The kinds of faults of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum FaultKind {
    ShortRead = 0,
    WouldBlock,
    ReadError,
    /// ENOSPC of a write or a persist.
    WriteFull,
    WriteError,
    PersistFailure,
    StatError,
    OpenError,
    ListError,
    Delay,
    /// A completion delivered after one that was submitted later.
    Overtaken,
    WatchLost,
    WatchOverflow,
    WatchRefused,
    /// A persist under way when its process was killed did not happen, or only half.
    PersistCut,
    /// A file whose content a power loss changed.
    TornFile,
    /// A change of a name that a power loss undid.
    UndoneName,
}

impl FaultKind {
    pub const COUNT: usize = 17;
    /// All of them, in order.
    pub const ALL: [Self; Self::COUNT] = [
        Self::ShortRead,
        Self::WouldBlock,
        Self::ReadError,
        Self::WriteFull,
        Self::WriteError,
        Self::PersistFailure,
        Self::StatError,
        Self::OpenError,
        Self::ListError,
        Self::Delay,
        Self::Overtaken,
        Self::WatchLost,
        Self::WatchOverflow,
        Self::WatchRefused,
        Self::PersistCut,
        Self::TornFile,
        Self::UndoneName,
    ];
}

/// How often each kind of fault took effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Injected([u64; FaultKind::COUNT]);

impl Injected {
    pub fn of(&self, kind: FaultKind) -> u64 {
        self.0[kind as usize]
    }

    pub(super) fn note(&mut self, kind: FaultKind, times: u64) {
        self.0[kind as usize] += times;
    }
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

    /// Throws for a fault of a kind; counts it when it strikes.
    pub fn strikes(&mut self, kind: FaultKind) -> bool {
        let per_thousand = self.rate(kind);
        let struck = per_thousand > 0 && self.random.below(1000) < u64::from(per_thousand);
        self.injected.note(kind, u64::from(struck));
        struck
    }

    fn rate(&self, kind: FaultKind) -> u16 {
        let faults = &self.faults;
        match kind {
            FaultKind::ShortRead => faults.short_read,
            FaultKind::WouldBlock => faults.would_block,
            FaultKind::ReadError => faults.read_error,
            FaultKind::WriteFull => faults.write_full,
            FaultKind::WriteError => faults.write_error,
            FaultKind::PersistFailure => faults.persist_failure,
            FaultKind::StatError => faults.stat_error,
            FaultKind::OpenError => faults.open_error,
            FaultKind::ListError => faults.list_error,
            FaultKind::Delay => faults.delay,
            FaultKind::WatchLost => faults.watch_lost,
            FaultKind::WatchOverflow => faults.watch_overflow,
            FaultKind::WatchRefused => faults.watch_refused,
            // They follow from others.
            FaultKind::Overtaken | FaultKind::PersistCut | FaultKind::TornFile | FaultKind::UndoneName => 0,
        }
    }

    pub fn delay(&mut self) -> Duration {
        if !self.strikes(FaultKind::Delay) {
            return Duration::ZERO;
        }
        // At least a nanosecond: a delay that was counted is one.
        let longest = u64::try_from(self.faults.delay_max.as_nanos()).unwrap_or(u64::MAX).max(1);
        Duration::from_nanos(1 + self.random.below(longest))
    }

    /// How many of `there` bytes a read brings; `there` is not 0.
    pub fn read_length(&mut self, there: usize) -> usize {
        if there < 2 || !self.strikes(FaultKind::ShortRead) {
            return there;
        }
        1 + self.random.below(there as u64 - 1) as usize
    }
}
