//! The command line through the built binary, each test on a node of its own.

mod apply;
mod basic;
#[path = "../common/mod.rs"]
#[allow(dead_code, reason = "each suite takes what it needs")]
mod common;
mod help;
mod node;
mod view;
mod wait;
