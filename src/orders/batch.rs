//! A sealed batch and what may become of it.

use bytes::Bytes;

use crate::{
    model::{ObjectId, Position},
    stats::Totals,
};

/// Bytes ready for the wire, built once for every flow that wants the same bytes.
#[derive(Debug)]
pub struct Batch {
    /// Unique within its lane's life.
    pub id: u64,
    /// Compressed (Loki) or framed (syslog) bytes.
    pub body: Bytes,
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
    /// The target is gone or disabled; the batch was not delivered and must be read again when it returns.
    Returned,
}

/// Lines the target refused for good, as an upper bound where it does not say which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub entries: u32,
    /// In the target's words, shortened.
    pub reason: String,
}
