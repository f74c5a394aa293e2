//! Bytes ⇄ values without IO and without a clock: every format that is read or written.

pub mod journal;
