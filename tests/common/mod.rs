//! What the suites share: the binary as a child, real peers, wires that are cut, and waiting for conditions.

pub mod binary;
pub mod etcd;
pub mod proxy;
pub mod wait;
