//! Configuration: from what people write to the plan that lanes and egress obey.
//!
//! Three steps, three types. `document` reads JSON objects as written, refusing what is not known by name. `compile`
//! makes them a `plan::Plan`: validated, complete, every complaint told at once, a bad object never in the way of the
//! others. `node` holds the facts of this one machine; `objects` reads the objects of hosts without an API from a
//! directory. Nobody below this module sees serde.

pub mod compile;
pub mod document;
pub mod node;
pub mod objects;

pub use compile::{Site, compile};
pub use document::{Document, Kind, Object, Origin, Reading, Refusal};
pub use node::{Backend, EtcdConfig, NodeConfig, StoreKind};
pub use objects::ObjectDirectory;
