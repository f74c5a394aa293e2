//! The API through the built binary, as clients meet it: curl over HTTP/1 and HTTP/2, keys and tokens made by openssl.
//!
//! Neither shares code with what it judges. Each test has a node of its own on ports the kernel chose.

mod bound;
mod bundle;
mod cluster;
#[path = "../common/mod.rs"]
#[allow(dead_code, reason = "each suite takes what it needs")]
mod common;
mod identity;
mod input;
mod local;
mod node;
mod openssl;
mod token;
