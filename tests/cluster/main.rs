//! Stores held to what they promise: one suite on both, and the etcd store against Debian's real etcd while its members
//! are killed, stopped, cut off and compacted.
//!
//! Each test has directories, ports and children of its own and waits for conditions, never for a time to pass.

mod cli;
#[path = "../common/mod.rs"]
#[allow(dead_code, reason = "each suite takes what it needs")]
mod common;
mod garbage;
mod node;
mod outage;
mod partition;
mod peer;
mod process;
mod secure;
mod storm;
mod suite;
