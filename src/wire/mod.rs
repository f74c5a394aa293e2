//! Bytes ⇄ values: the wire formats, without IO and without a clock.
//!
//! Every encoder appends to a buffer of the caller and depends on its arguments alone, so that a line sent again is
//! the same bytes again. What a format demands of a text (UTF-8, escapes, lengths) is met here and nowhere above.

mod decimal;
pub mod journal;
pub mod loki;
pub mod protobuf;
pub mod relp;
pub mod syslog;
pub mod time;
pub mod utf8;
