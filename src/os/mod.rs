//! Safe fences around what only the operating system knows: sockets, processors, peers, this process and who started
//! it.
//!
//! Each function is one question or one request to the kernel, with its answer as a plain value. Nothing here keeps
//! state. `unsafe` is allowed here and in `ring`, nowhere else.

pub mod cpu;
pub mod memory;
pub mod peer;
pub mod process;
pub mod store;
pub mod tcp;
