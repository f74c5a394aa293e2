//! Stores held to what they promise: one suite on both, and the etcd store against Debian's real etcd while its members
//! are killed, stopped, cut off and compacted.
//!
//! Each test has directories, ports and children of its own and waits for conditions, never for a time to pass.

mod cli;
mod etcd;
mod garbage;
mod node;
mod outage;
mod peer;
mod process;
mod secure;
mod storm;
mod suite;
