//! Sources: where records come from. One cursor type per kind of reader, all stepping the same way.
//!
//! A cursor walks one reader from a position and hands out records that borrow from its window. It never waits: when
//! bytes are not in memory it submits one `Op::Read` under the token it was given and says `Pending`; the lane brings
//! the completion back with `complete` and steps again.

pub mod file;
pub mod journal;

pub use file::FileCursor;

use crate::model::Record;

/// One step of a cursor.
#[derive(Debug)]
pub enum Next<'a> {
    Record(Record<'a>),
    /// A read is under way; step again after its completion.
    Pending,
    /// Nothing more now; step again when the reader has changed.
    Idle,
    /// Nothing to hand out yet, but the work one step may do is done (or the ring is full): step again next turn.
    Yield,
}
