//! Everything that can go wrong in a life, and how often it did.
//!
//! One table for the machine, the peers and the story, so that a long run can show that each kind took effect.

use std::{fmt, time::Duration};

use crate::ring::{FaultKind, Injected};

/// What peers, writers and people do to a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Trouble {
    // Loki, as it answers or does not.
    Unreachable = 0,
    CutBeforeStoring,
    AnswerLost,
    NoAnswer,
    Slow,
    TenantRate429,
    StreamRate429,
    StreamLimit429,
    SomeLines400,
    TooLarge413,
    Oversize500,
    Unauthorized401,
    Unavailable503,
    Blocked260,
    TenantRefused,
    // Syslog.
    SessionRefused,
    SessionCut,
    CutMidway,
    SlowReader,
    // The hand-off.
    HandOffFull,
    Returned,
    // The process.
    Killed,
    Restarted,
    PowerLost,
    DiskFull,
    // The files.
    Rotated,
    LateWrite,
    CopyTruncated,
    Truncated,
    Deleted,
    RotationDeleted,
    DirectoryLost,
    ReadsFailing,
    // The journal.
    JournalRotated,
    JournalVacuumed,
    // The plan.
    LevelChanged,
    LabelsChanged,
    TargetDisabled,
    TargetEnabled,
    TargetDeleted,
    TargetMadeAnew,
    SourceDisabled,
    QueueChanged,
}

impl Trouble {
    pub const COUNT: usize = Self::QueueChanged as usize + 1;
}

/// How often each kind took effect.
#[derive(Clone, Debug)]
pub struct Table {
    names: Vec<String>,
    counts: [u64; Trouble::COUNT],
    disk: [u64; FaultKind::COUNT],
    /// Says each trouble as it happens.
    pub tells: bool,
    pub now: Duration,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            names: vec![String::new(); Trouble::COUNT],
            counts: [0; Trouble::COUNT],
            disk: [0; FaultKind::COUNT],
            tells: false,
            now: Duration::ZERO,
        }
    }
}

impl Table {
    pub fn telling(tells: bool) -> Self {
        Self { tells, ..Self::default() }
    }

    pub fn note(&mut self, trouble: Trouble) {
        let at = trouble as usize;
        if self.names[at].is_empty() {
            self.names[at] = format!("{trouble:?}");
        }
        self.counts[at] += 1;
        self.tell(|| format!("{trouble:?}"));
    }

    pub fn tell(&self, what: impl FnOnce() -> String) {
        if self.tells {
            println!("{:?}: {}", self.now, what());
        }
    }

    /// Takes over what a machine has counted over its life.
    pub fn add_disk(&mut self, injected: &Injected) {
        self.disk.iter_mut().zip(FaultKind::ALL).for_each(|(sum, kind)| *sum += injected.of(kind));
    }

    #[cfg(feature = "lives")]
    pub fn add(&mut self, other: &Self) {
        for at in 0..Trouble::COUNT {
            self.counts[at] += other.counts[at];
            if self.names[at].is_empty() {
                self.names[at].clone_from(&other.names[at]);
            }
        }
        self.disk.iter_mut().zip(other.disk).for_each(|(sum, count)| *sum += count);
    }

    /// Kinds that took effect less often than that. One that never did has no name to be told by: its number is.
    #[cfg(feature = "lives")]
    pub fn rarer_than(&self, times: u64) -> Vec<String> {
        self.rows().filter(|(_, count)| *count < times).map(|(name, count)| format!("{name}: {count}")).collect()
    }

    fn rows(&self) -> impl Iterator<Item = (String, u64)> {
        let own = self.names.iter().enumerate().zip(self.counts).map(|((at, name), count)| {
            (if name.is_empty() { format!("trouble number {at}") } else { name.clone() }, count)
        });
        own.chain(FaultKind::ALL.into_iter().zip(self.disk).map(|(kind, count)| (format!("{kind:?}"), count)))
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rows().try_for_each(|(name, count)| writeln!(f, "  {name:<20} {count:>10}"))
    }
}
