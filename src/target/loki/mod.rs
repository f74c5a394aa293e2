//! What Loki means by its answers, and what to send it next: all of delivery to Loki but the moving of bytes.
//!
//! A [`Session`] takes batches and says what to do: push these bytes, wait so long, this batch is settled with so much
//! lost of it. Whoever drives it (egress with a socket, a test with a simulated Loki) tells it what came back. It reads
//! no clock and does no IO.
//!
//! Loki takes much of a request and refuses the rest, in words; and it hides refusals: of a request only the outcome of
//! the *last* stream decides the answer, so [refused, accepted] is a 204 with lines gone. Hence the rule that shapes
//! everything here: **a stream that may be refused travels alone**, and only what was in a request answered 204 counts
//! as delivered. A stream is at risk while it is new since the connection was made, when an entry is far behind its
//! newest, or when it is near its rate (`stream`).
//!
//! Good batches of streams that are not at risk go out as they were sealed, never decoded. Everything else is the slow
//! way: the batch is decoded (`plain`), what cannot be sent is taken out (`screen`), the rest goes in cuts
//! (`delivery`), and an answer that blames somebody leads to the lines, by Loki's own words ([`answer`]) or by
//! bisection. What is stored in Loki meanwhile is sent again at times: it stores an identical entry once.
//!
//! Sources: `pkg/loghttp/push`, `pkg/distributor`, `pkg/ingester/stream.go` and `pkg/validation/validate.go` of Loki 3,
//! and a running 3.7.

pub mod answer;
mod blame;
mod delivery;
mod head;
mod plain;
mod screen;
pub mod session;
mod stream;
#[cfg(test)]
mod tests;

pub use answer::{Answer, Meaning};
pub use delivery::{Lost, Settled};
pub use head::Head;
pub use session::{Moment, Push, Rules, Session, Step, Told};
