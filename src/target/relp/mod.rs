//! What RELP's answers mean: which messages of which batch the peer has, what goes again, what is refused for good.
//!
//! Every message is answered by number, so a batch settles when each of its messages was, and a lost session sends
//! again only what was not. Two parts, both without IO and without a clock: the `Window` of batches outlives sessions,
//! a `Session` knows the numbers of one connection. Bytes and time are arguments.
//!
//! An answer other than 200 is a refusal. It says nothing about why or for how long (librelp itself refuses only a
//! whole session), so it is neither taken for final at once nor retried for ever at the cost of all that follows: the
//! session sends nothing more, waits for the answers under way and ends, which shows the reason and begins the pauses;
//! only a message that was refused `limits::RELP_REFUSALS_MAX` times in sessions that took others counts as refused.

mod session;
#[cfg(test)]
mod tests;
mod window;

pub use session::Session;
pub use window::{Piece, Settled, Window};
