//! A sealed batch and what may become of it.

use bytes::Bytes;

use crate::{
    model::{ObjectId, Position},
    plan::{Framing, TargetKind},
    stats::Totals,
};

/// The format of a batch's bytes: bytes of one are noise to a peer that expects another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    Loki,
    Syslog(Framing),
    Console,
}

impl Wire {
    /// What a target of this kind understands.
    pub fn of(kind: &TargetKind) -> Self {
        match kind {
            TargetKind::Loki(_) => Self::Loki,
            TargetKind::Syslog(syslog) => Self::Syslog(syslog.framing),
            TargetKind::Console(_) => Self::Console,
        }
    }
}

/// Bytes ready for the wire, built once for every flow that wants the same bytes.
#[derive(Debug)]
pub struct Batch {
    /// Unique within its lane's life.
    pub id: u64,
    /// Compressed (Loki) or framed (syslog) bytes.
    pub body: Bytes,
    /// What `body` was made for: its target may have become another kind since.
    pub wire: Wire,
    /// Size before compression, in bytes: what credit is counted in.
    pub raw_bytes: usize,
    /// Lines inside.
    pub entries: u32,
    /// Loki's `X-Scope-OrgID`; `None` leaves it to the target.
    pub tenant: Option<String>,
    /// What settles when this batch does.
    pub parts: Vec<Part>,
}

/// What one batch settles of one (reader, source): all records up to `end`, with their counts.
#[derive(Clone, Debug)]
pub struct Part {
    /// The lane's own index of the reader.
    pub reader: u32,
    pub source: ObjectId,
    /// Position after the last record counted.
    pub end: Position,
    /// `read`, `read_bytes`, `filtered` and `unparsed` since the previous part. Lines inside the batch are
    /// `read - filtered`.
    pub counts: Totals,
}

/// What became of a batch at one target.
#[derive(Clone, Debug)]
pub struct Verdict {
    pub batch: u64,
    pub target: ObjectId,
    pub outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The target has it all.
    Acked,
    /// The target will never take (some of) it.
    Refused(Refusal),
    /// The target is gone, disabled or of another kind now; the batch was not delivered and must be read again when it
    /// returns.
    Returned,
}

/// Lines the target refused for good, as an upper bound where it does not say which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub entries: u32,
    /// In the target's words, shortened.
    pub reason: String,
}
