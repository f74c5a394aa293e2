//! Totals of one flow: what happened to every line that was ever read for it.
//!
//! `read = filtered + delivered + refused + quarantined + dropped + in flight` holds at every turn. The settled totals
//! stand in the same checkpoint record as the position, so both roll back together.

/// Why a line was dropped by a stated policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum DropReason {
    /// The target was deleted with lines outstanding.
    TargetDeleted = 0,
    /// Older than the target's `maxAge`.
    MaxAge = 1,
    /// The budgets for what would vanish were used up.
    Budget = 2,
    /// The file was truncated or overwritten while they were on their way, and they came back.
    SourceGone = 3,
    /// The file was deleted while the target was disabled.
    Disabled = 4,
    /// The spool could not give them back.
    Damaged = 5,
    /// The target does not take lines of that time, and `tooOld` says to drop them.
    TooOld = 6,
    /// The target refused it, and its quarantine is full.
    QuarantineFull = 7,
}

impl DropReason {
    pub const COUNT: usize = 8;
    pub const ALL: [Self; Self::COUNT] = [
        Self::TargetDeleted,
        Self::MaxAge,
        Self::Budget,
        Self::SourceGone,
        Self::Disabled,
        Self::Damaged,
        Self::TooOld,
        Self::QuarantineFull,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::TargetDeleted => "target-deleted",
            Self::MaxAge => "max-age",
            Self::Budget => "budget",
            Self::SourceGone => "source-gone",
            Self::Disabled => "disabled",
            Self::Damaged => "damaged",
            Self::TooOld => "too-old",
            Self::QuarantineFull => "quarantine-full",
        }
    }
}

/// Settled lines of one flow, by what became of them; all counts are lines unless they say bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub read: u64,
    /// Bytes of the frames read.
    pub read_bytes: u64,
    /// Below the level asked for.
    pub filtered: u64,
    pub delivered: u64,
    /// The target took the request and refused these.
    pub refused: u64,
    pub quarantined: u64,
    pub dropped: [u64; DropReason::COUNT],
    /// Shipped as they were because they did not parse (part of `delivered`, counted apart).
    pub unparsed: u64,
}

impl Totals {
    /// Whether every line read has its place; `in_flight` are lines read and not yet settled.
    pub fn balances(&self, in_flight: u64) -> bool {
        self.read == self.settled() + in_flight
    }

    /// Lines whose fate is known.
    pub fn settled(&self) -> u64 {
        self.filtered + self.delivered + self.refused + self.quarantined + self.dropped.iter().sum::<u64>()
    }

    /// Lines read whose fate is not known.
    pub fn unsettled(&self) -> u64 {
        self.read.saturating_sub(self.settled())
    }

    /// Adds what `other` counted.
    pub fn add(&mut self, other: &Self) {
        self.read += other.read;
        self.read_bytes += other.read_bytes;
        self.filtered += other.filtered;
        self.delivered += other.delivered;
        self.refused += other.refused;
        self.quarantined += other.quarantined;
        for (mine, theirs) in self.dropped.iter_mut().zip(other.dropped) {
            *mine += theirs;
        }
        self.unparsed += other.unparsed;
    }
}
