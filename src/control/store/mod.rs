//! Where objects written through the API are kept.
//!
//! One enum, since the set of stores is closed: `embedded` needs nothing installed and serves one node. What stands
//! above sees revisions and objects only, never how they are kept.

pub mod embedded;

pub use embedded::Embedded;

use std::path::Path;

use crate::{config::Object, fault::Fault, plan::Complaint};

/// The store of this node.
#[derive(Debug)]
pub enum Store {
    Embedded(Embedded),
}

impl Store {
    /// Opens (or makes) the embedded store below the state directory.
    ///
    /// # Errors
    /// The directory cannot be read or written, or another process holds it. A torn file is no error: the one before
    /// it is taken, and a complaint says so.
    pub fn open_embedded(state_dir: &Path) -> Result<Self, Fault> {
        Embedded::open(state_dir).map(Self::Embedded)
    }

    /// The newest revision; 0 before the first change.
    pub fn revision(&self) -> u64 {
        match self {
            Self::Embedded(store) => store.revision(),
        }
    }

    pub fn objects(&self) -> &[Object] {
        match self {
            Self::Embedded(store) => store.objects(),
        }
    }

    /// Trouble met while opening.
    pub fn complaints(&self) -> &[Complaint] {
        match self {
            Self::Embedded(store) => store.complaints(),
        }
    }

    /// Makes `objects` the newest revision, at least `at_least`; durable when this returns. `cause` says in words who
    /// changed what, for the history.
    ///
    /// # Errors
    /// Nothing changed.
    pub fn commit(&mut self, at_least: u64, objects: Vec<Object>, cause: &str) -> Result<u64, Fault> {
        match self {
            Self::Embedded(store) => store.commit(at_least, objects, cause),
        }
    }
}
