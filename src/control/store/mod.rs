//! Where objects written through the API are kept.
//!
//! One enum, since the set of stores is closed: `embedded` needs nothing installed and serves one node, `etcd` serves
//! all nodes of a cluster. What stands above sees the same of both, and never how they keep things:
//!
//! - [`Store::snapshot`] is the newest revision this node knows: all objects at one revision, no IO, no waiting.
//!   [`Store::watch`] tells of the next one, whoever made it.
//! - [`Store::apply`] makes a [`Change`]: puts and deletes as one transaction, each with what it expects to find
//!   ([`Expected`]). All or nothing; refused whole when something changed meanwhile (`Stale`: read the
//!   snapshot anew and try again) or when it is too large.
//! - [`Store::history`] lists the last revisions with who, what and when; [`Store::read_at`] gives all objects as they
//!   were at one of them.
//! - [`Store::put_collector`] and [`Store::collectors`] are how nodes know of each other: what each last said of
//!   itself, and whether it is alive.
//!
//! Clients of the API do not come here: [`super::registry::Registry`] judges a change before it is stored and makes
//! plans of snapshots.

pub mod change;
pub mod collector;
pub mod embedded;
pub mod etcd;
pub mod file;
pub mod image;

pub use change::{Action, Change, Entry, Expected, Snapshot, Touched, Write};
pub use embedded::Embedded;
pub use etcd::Etcd;

use std::{sync::Arc, time::Duration};

use serde_json::Value;
use tokio::sync::watch;

use super::seal::{Keyring, key_file};
#[cfg(doc)]
use crate::fault::Kind;
use crate::{
    config::{NodeConfig, StoreKind},
    fault::Fault,
    plan::Complaint,
};

/// The store of this node.
#[derive(Debug)]
pub enum Store {
    Embedded(Embedded),
    Etcd(Box<Etcd>),
}

/// What one node last said of itself, and whether it still does.
#[derive(Clone, Debug, PartialEq)]
pub struct Beat {
    pub node: String,
    /// Whether its lease runs. A node that ended well or was not heard of for `limits::ALIVE_SECONDS` has none.
    pub alive: bool,
    /// The collector object it wrote last, at most `limits::COLLECTOR_BYTES_MAX`.
    pub record: Value,
}

/// Whether what others change reaches this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Feed {
    /// The store answers, and its changes arrive.
    Up,
    /// It does not; the last good objects are in force. Since when, and why.
    Down { since: jiff::Timestamp, reason: String },
}

impl Store {
    /// Opens the store this node is configured for. A store over the network need not answer for that.
    ///
    /// # Errors
    /// The state directory cannot be read or written, or another process holds it. A torn file is no error: the one
    /// before it is taken, with a complaint.
    pub fn open(config: &NodeConfig) -> Result<Self, Fault> {
        if config.store == StoreKind::Etcd {
            return Etcd::open(config).map(|store| Self::Etcd(Box::new(store)));
        }
        let ring = || match &config.cluster_key {
            Some(path) => Ok(Keyring::open(path)),
            None => Keyring::open_or_make(&key_file(config)),
        };
        Embedded::open(&config.state_dir, ring).map(Self::Embedded)
    }

    /// The newest revision this node knows of.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        match self {
            Self::Embedded(store) => store.snapshot(),
            Self::Etcd(store) => store.snapshot(),
        }
    }

    /// Changes whenever `snapshot` does, own changes included.
    pub fn watch(&self) -> watch::Receiver<Arc<Snapshot>> {
        match self {
            Self::Embedded(store) => store.watch(),
            Self::Etcd(store) => store.watch(),
        }
    }

    /// Makes all writes of a change, or none, as the next revision; gives the snapshot that has them.
    ///
    /// # Errors
    /// `Stale`: an object is not as expected, or another change came first. `Exhausted`: more than
    /// `limits::CHANGE_OBJECTS_MAX` objects or `limits::CHANGE_BYTES_MAX` bytes. `Unavailable`: the store does not
    /// answer; whether the change was made is then told if it can be known.
    pub async fn apply(&self, change: &Change) -> Result<Arc<Snapshot>, Fault> {
        change.check_size()?;
        match self {
            Self::Embedded(store) => store.apply(change),
            Self::Etcd(store) => store.apply(change).await,
        }
    }

    /// What the store has to do meanwhile: follow, stay alive. Poll it until `close`; it ends only where there is
    /// nothing to do.
    pub async fn run(&self) {
        match self {
            Self::Embedded(_) => {}
            Self::Etcd(store) => store.run().await,
        }
    }

    /// The last thing to do with it: tells the other nodes that this one is gone.
    pub async fn close(&self) {
        match self {
            Self::Embedded(_) => {}
            Self::Etcd(store) => store.close().await,
        }
    }

    /// Takes note of what was complained of in the plan of the newest snapshot: what was good is what the next start
    /// begins with, if the store does not answer then.
    pub fn keep_good(&self, complaints: &[Complaint]) {
        match self {
            Self::Embedded(_) => {}
            Self::Etcd(store) => store.keep_good(complaints),
        }
    }

    /// Looks at what may have changed outside of it: the file of the cluster key. Call it about once a second.
    pub fn refresh(&self) {
        match self {
            Self::Embedded(store) => store.refresh(),
            Self::Etcd(store) => store.refresh(),
        }
    }

    /// Notes that the objects directory of this node is another now, where revisions are this node's own; gives the
    /// revision from then on.
    pub fn note_directory(&self, digest: u64) -> u64 {
        match self {
            Self::Embedded(store) => store.note_directory(digest),
            Self::Etcd(store) => store.snapshot().revision,
        }
    }

    /// What the objects directory was when it was last noted; `None` where it is not, or never was.
    pub fn directory_noted(&self) -> Option<u64> {
        match self {
            Self::Embedded(store) => store.directory_noted(),
            Self::Etcd(_) => None,
        }
    }

    /// The last `limits::HISTORY_REVISIONS` revisions, newest first.
    ///
    /// # Errors
    /// `Unavailable` or `Io`: it cannot be read.
    pub async fn history(&self) -> Result<Vec<Entry>, Fault> {
        match self {
            Self::Embedded(store) => store.history(),
            Self::Etcd(store) => store.history().await,
        }
    }

    /// All objects as they were at a revision of the history. Their own revisions (`ETag`) are those of then.
    ///
    /// # Errors
    /// `NotFound`: the history does not reach it. `Unavailable` or `Io`: it cannot be read.
    pub async fn read_at(&self, revision: u64) -> Result<Snapshot, Fault> {
        match self {
            Self::Embedded(store) => store.read_at(revision),
            Self::Etcd(store) => store.read_at(revision).await,
        }
    }

    /// Whether what others change reaches this node.
    pub fn feed(&self) -> Feed {
        match self {
            Self::Embedded(_) => Feed::Up,
            Self::Etcd(store) => store.feed(),
        }
    }

    /// Tells the other nodes how this one is. Call it as often as there is news: how often it is written is decided
    /// here. If the revision is news and it is too early for it, it gives how long to wait. Without other nodes it does
    /// nothing.
    ///
    /// # Errors
    /// `Unavailable`: they will not know.
    pub async fn put_collector(&self, record: &Value) -> Result<Option<Duration>, Fault> {
        match self {
            Self::Embedded(_) => Ok(None),
            Self::Etcd(store) => store.put_collector(record).await,
        }
    }

    /// All nodes that ever told, by name, this one among them; empty where there are no others.
    ///
    /// # Errors
    /// `Unavailable`: nobody can be asked.
    pub async fn collectors(&self) -> Result<Vec<Beat>, Fault> {
        match self {
            Self::Embedded(_) => Ok(Vec::new()),
            Self::Etcd(store) => store.collectors().await,
        }
    }
}
