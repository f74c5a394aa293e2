//! Stores held to what they promise: one suite on both, and the etcd store against Debian's real etcd while its members
//! are killed, stopped, cut off and compacted.
//!
//! Each test has directories, ports and children of its own and waits for conditions, never for a time to pass.

mod cli;
mod etcd;
mod garbage;
mod node;
mod outage;
mod partition;
mod peer;
mod process;
#[path = "../common/proxy.rs"]
#[allow(dead_code, reason = "the tests of delivery need more of it")]
mod proxy;
mod secure;
mod storm;
mod suite;
