//! What goes into a store and what comes out: changes, snapshots, and the entries of the history.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{
    config::{Document, Kind, Object},
    control::seal::Standing,
    fault::{Fault, Kind as FaultKind},
    limits,
    model::ObjectId,
    plan::Complaint,
};

/// All objects at one revision.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub revision: u64,
    /// Secrets are open.
    pub objects: Vec<Object>,
    /// What could not be read, wholly or in part.
    pub complaints: Vec<Complaint>,
    /// Objects that have a secret this node cannot open. They carry a refusal that says so, and cannot be merged with.
    pub sealed: BTreeSet<(Kind, String)>,
    /// Objects whose secrets are sealed with a key that does not seal any more: writing them, even unchanged, seals
    /// them anew.
    pub outdated: BTreeSet<(Kind, String)>,
}

impl Snapshot {
    /// Adds an object as it came out of a store.
    pub(super) fn take(&mut self, opened: Option<(Object, Standing)>) {
        let Some((object, standing)) = opened else { return };
        let key = || (object.kind(), object.name().to_owned());
        match standing {
            Standing::Open => {}
            Standing::Outdated => {
                self.outdated.insert(key());
            }
            Standing::Closed => {
                self.sealed.insert(key());
            }
        }
        self.objects.push(object);
    }

    /// Whether there is nothing another plan could come of.
    pub fn is_same(&self, other: &Self) -> bool {
        let same = |(a, b): (&Object, &Object)| {
            a.id == b.id && a.revision == b.revision && a.document == b.document && a.refusals == b.refusals
        };
        self.revision == other.revision
            && self.complaints == other.complaints
            && self.sealed == other.sealed
            && self.outdated == other.outdated
            && self.objects.len() == other.objects.len()
            && self.objects.iter().zip(&other.objects).all(same)
    }

    pub fn find(&self, kind: Kind, name: &str) -> Option<&Object> {
        self.objects.iter().find(|object| object.kind() == kind && object.name() == name)
    }
}

/// One transaction: who, what in words, and the writes. No two writes are about the same object.
#[derive(Clone, Debug)]
pub struct Change {
    pub who: String,
    /// For the history and the log: `creates source "a"`.
    pub what: String,
    pub writes: Vec<Write>,
}

/// One object of a change.
#[derive(Clone, Debug)]
pub struct Write {
    pub kind: Kind,
    pub name: String,
    pub expected: Expected,
    /// What it is to be; `None` deletes it.
    pub value: Option<(ObjectId, Document)>,
}

/// What a write expects to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    Absent,
    /// The object, last changed at this revision (its `ETag`).
    At(u64),
}

/// One revision of the history.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Entry {
    pub revision: u64,
    /// RFC 3339 in UTC.
    pub at: String,
    pub who: String,
    pub what: String,
    pub touched: Vec<Touched>,
}

/// One object that a revision touched.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Touched {
    /// `source`, `target` or `tls-bundle`.
    pub kind: String,
    pub name: String,
    pub action: Action,
}

/// What became of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    Created,
    Changed,
    Deleted,
}

impl Touched {
    /// Whether both are about one object, whatever became of it.
    pub fn is_same_object(&self, other: &Self) -> bool {
        self.kind == other.kind && self.name == other.name
    }
}

impl Change {
    /// What the history says it touched.
    pub fn touched(&self) -> Vec<Touched> {
        self.writes.iter().map(Write::touched).collect()
    }

    /// Refuses what no store takes as one transaction, with the count.
    ///
    /// # Errors
    /// `Exhausted`.
    pub fn check_size(&self) -> Result<(), Fault> {
        let refuse =
            |text: String| Err(Fault::new(FaultKind::Exhausted, "", text).way_out("make it in several changes"));
        if self.writes.len() > limits::CHANGE_OBJECTS_MAX {
            let (count, most) = (self.writes.len(), limits::CHANGE_OBJECTS_MAX);
            return refuse(format!("{count} objects would change at once, at most {most} can"));
        }
        let size = |write: &Write| {
            let document = write.value.as_ref().and_then(|(_, document)| serde_json::to_vec(document.fields()).ok());
            document.map_or(0, |bytes| bytes.len())
        };
        let bytes: usize = self.writes.iter().map(size).sum();
        if bytes > limits::CHANGE_BYTES_MAX {
            let (count, most) = (self.writes.len(), limits::CHANGE_BYTES_MAX);
            return refuse(format!("{count} objects of {bytes} bytes would change at once, at most {most} bytes can"));
        }
        Ok(())
    }
}

impl Write {
    pub fn touched(&self) -> Touched {
        let action = match (&self.value, self.expected) {
            (None, _) => Action::Deleted,
            (Some(_), Expected::Absent) => Action::Created,
            (Some(_), Expected::At(_)) => Action::Changed,
        };
        Touched { kind: self.kind.singular().to_owned(), name: self.name.clone(), action }
    }

    /// Whether what is there is what the write expects.
    pub fn fits(&self, found: Option<&Object>) -> bool {
        match (self.expected, found) {
            (Expected::Absent, found) => found.is_none(),
            (Expected::At(revision), Some(found)) => found.revision == revision,
            (Expected::At(_), None) => false,
        }
    }
}

impl Action {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Changed => "changed",
            Self::Deleted => "deleted",
        }
    }
}

/// The fault of a change that came too late; the caller reads anew and judges again.
pub fn came_too_late() -> Fault {
    Fault::new(FaultKind::Stale, "", "Etag mismatch.")
}
