//! The words of the data plane as types: level, time, position, record.
//!
//! Everything here is a plain value. Nothing here does IO, and nothing here knows a wire format.

pub mod level;
pub mod position;
pub mod record;

pub use level::Level;
pub use position::{FileIdentity, JournalPosition, Position, ReaderKey};
pub use record::{Decoded, Field, FieldName, Fields, FoundFields, Hint, Record, SourceMask};

/// Nanoseconds since 1970-01-01T00:00:00Z. Covers 1678–2262, as Loki's own timestamps do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nanos(pub i64);

impl Nanos {
    /// From seconds and nanoseconds; `None` when it does not fit.
    pub fn new(seconds: i64, nanos: u32) -> Option<Self> {
        seconds.checked_mul(1_000_000_000)?.checked_add(i64::from(nanos)).map(Self)
    }

    /// From microseconds since the epoch, the unit of the journal.
    pub fn from_micros(micros: u64) -> Option<Self> {
        i64::try_from(micros).ok()?.checked_mul(1_000).map(Self)
    }

    /// Whole seconds, rounded down, and the rest in nanoseconds.
    pub fn parts(self) -> (i64, u32) {
        (self.0.div_euclid(1_000_000_000), self.0.rem_euclid(1_000_000_000) as u32)
    }

    /// Later by `nanos`, saturating.
    #[must_use]
    pub fn plus(self, nanos: u64) -> Self {
        Self(self.0.saturating_add_unsigned(nanos))
    }
}

/// The identity of one object over its life: a deleted source made again under its old name is another one, with
/// positions of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId(pub u64);

/// How syslog messages are told apart in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Framing {
    /// RFC 6587 §3.4.1, RFC 5425 §4.3: `LENGTH SP MESSAGE`.
    OctetCounted,
    /// RFC 6587 §3.4.2; newlines inside a message are escaped.
    Newline,
}
