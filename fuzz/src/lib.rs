//! What the journal reader is made of, compiled from its own sources: the rest of the product would take most of the
//! time of a build, and none of it is fuzzed.

// Half of it is for callers that are not here.
#![allow(dead_code, unused_imports)]

#[path = "../../src/fault.rs"]
pub mod fault;
#[path = "../../src/limits/mod.rs"]
pub mod limits;
#[path = "../../src/model/mod.rs"]
pub mod model;
#[path = "../../src/os/mod.rs"]
pub mod os;
#[path = "../../src/plan/mod.rs"]
pub mod plan;
#[path = "../../src/ring/mod.rs"]
pub mod ring;
#[path = "../../src/source/mod.rs"]
pub mod source;
#[path = "../../src/wire/mod.rs"]
pub mod wire;
