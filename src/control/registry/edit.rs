//! What clients ask for, made into the writes of one change.

use serde_json::Value;

use super::known::Known;
use crate::{
    config::{Document, Kind, Object, Reading, Refusal, compile::advice},
    control::store::{Expected, Snapshot, Write},
    fault::{Fault, Kind as FaultKind},
    model::{Nanos, ObjectId},
};

/// What a client demands of the object it changes: RFC 9110 §13.1.1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IfMatch {
    /// No header.
    Whatever,
    /// `*`, or a list of revisions.
    Any,
    OneOf(Vec<u64>),
}

/// A write to be judged, with what reading its document refused already.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub write: Write,
    pub refusals: Vec<Refusal>,
}

/// One of the things a client can ask for.
#[derive(Clone, Debug)]
pub enum Edit {
    /// Makes a new object; one of that name is a conflict.
    Create {
        kind: Kind,
        body: Value,
    },
    /// Replaces an object that exists.
    Replace {
        kind: Kind,
        name: String,
        body: Value,
        if_match: IfMatch,
    },
    /// Makes the object, or replaces the one there is.
    Put {
        kind: Kind,
        body: Value,
    },
    /// Changes some fields of an object: a JSON merge patch.
    Patch {
        kind: Kind,
        name: String,
        patch: Value,
        if_match: IfMatch,
    },
    Delete {
        kind: Kind,
        name: String,
        if_match: IfMatch,
    },
}

impl Edit {
    /// The object it is about.
    pub(super) fn about(&self) -> (Kind, String) {
        match self {
            Self::Create { kind, body } | Self::Put { kind, body } => (*kind, name_in(*kind, body)),
            Self::Replace { kind, name, .. } | Self::Patch { kind, name, .. } | Self::Delete { kind, name, .. } => {
                (*kind, name.clone())
            }
        }
    }

    /// For the history and the log: `creates source "a"`.
    pub(super) fn describe(&self) -> String {
        let verb = match self {
            Self::Create { .. } => "creates",
            Self::Replace { .. } => "replaces",
            Self::Put { .. } => "puts",
            Self::Patch { .. } => "changes",
            Self::Delete { .. } => "deletes",
        };
        let (kind, name) = self.about();
        format!("{verb} {} {name:?}", kind.singular())
    }

    /// The write that does it; `None` when everything is so already.
    ///
    /// # Errors
    /// What the client got wrong, but for what is wrong with the document: that is judged by compiling.
    pub(super) fn draft(&self, known: &Known) -> Result<Option<Draft>, Fault> {
        match self {
            Self::Create { kind, body } => {
                let reading = Document::read(*kind, body);
                if known.find(*kind, reading.document.name()).is_ok() {
                    let text = format!("{} with the provided name already exists.", kind.title());
                    return Err(Fault::new(FaultKind::Conflict, "", text));
                }
                new_object(reading).map(Some)
            }
            Self::Put { kind, body } => {
                let reading = Document::read(*kind, body);
                let name = reading.document.name().to_owned();
                if known.find(*kind, &name).is_err() {
                    return new_object(reading).map(Some);
                }
                let object = known.find_to_change(*kind, &name, &IfMatch::Whatever)?;
                Ok(update(known, &object, reading))
            }
            Self::Replace { kind, name, body, if_match } => {
                let object = known.find_to_change(*kind, name, if_match)?;
                Ok(update(known, &object, Document::read_named(*kind, body, name)))
            }
            Self::Patch { kind, name, patch, if_match } => {
                let object = known.find_to_change(*kind, name, if_match)?;
                known.check_open(*kind, name)?;
                Ok(update(known, &object, object.document.merge(patch)))
            }
            Self::Delete { kind, name, if_match } => {
                let object = known.find_to_change(*kind, name, if_match)?;
                let expected = Expected::At(object.revision);
                let write = Write { kind: *kind, name: name.clone(), expected, value: None };
                Ok(Some(Draft { write, refusals: Vec::new() }))
            }
        }
    }
}

/// The drafts of all edits, or everything that is wrong with them at once.
pub(super) fn drafts(edits: &[Edit], known: &Known) -> Result<Vec<Draft>, Fault> {
    let mut drafts: Vec<Draft> = Vec::new();
    let mut faults: Vec<Fault> = Vec::new();
    for edit in edits {
        match edit.draft(known) {
            Ok(Some(draft)) => {
                let same = |other: &Draft| other.write.kind == draft.write.kind && other.write.name == draft.write.name;
                if drafts.iter().any(same) {
                    let text = format!("{} '{}' is given twice", draft.write.kind.singular(), draft.write.name);
                    faults.push(Fault::invalid("", text));
                }
                drafts.push(draft);
            }
            Ok(None) => {}
            Err(fault) => faults.push(fault),
        }
    }
    match faults.as_slice() {
        [] => Ok(drafts),
        [only] => Err(only.clone()),
        [first, ..] => {
            let texts: Vec<String> = faults.iter().map(ToString::to_string).collect();
            Err(Fault::new(first.kind(), "", texts.join("; ")))
        }
    }
}

/// What makes the store's objects those of `then` again. An object of the same name keeps its identity, and with it its
/// positions.
pub(super) fn back_to(then: &Snapshot, known: &Known) -> Vec<Draft> {
    let mut drafts = Vec::new();
    for object in &then.objects {
        let now = known.snapshot.find(object.kind(), object.name());
        if now.is_some_and(|now| now.document == object.document && now.refusals.is_empty()) {
            continue;
        }
        let (id, expected) = match now {
            Some(now) => (now.id, Expected::At(now.revision)),
            None => (object.id, Expected::Absent),
        };
        let (kind, name) = (object.kind(), object.name().to_owned());
        let write = Write { kind, name, expected, value: Some((id, object.document.clone())) };
        drafts.push(Draft { write, refusals: object.refusals.clone() });
    }
    for now in known.snapshot.objects.iter().filter(|now| then.find(now.kind(), now.name()).is_none()) {
        let (kind, name) = (now.kind(), now.name().to_owned());
        let write = Write { kind, name, expected: Expected::At(now.revision), value: None };
        drafts.push(Draft { write, refusals: Vec::new() });
    }
    drafts
}

pub(super) fn new_object(mut reading: Reading) -> Result<Draft, Fault> {
    refuse_expired(&mut reading, None);
    let id = getrandom::u64()
        .map_err(|error| Fault::new(FaultKind::Unavailable, "", format!("no random numbers: {error}")))?;
    let (kind, name) = (reading.document.kind(), reading.document.name().to_owned());
    let write = Write { kind, name, expected: Expected::Absent, value: Some((ObjectId(id), reading.document)) };
    Ok(Draft { write, refusals: reading.refusals })
}

/// `None` when the object is so already, and its secrets are sealed with the key that seals now.
pub(super) fn update(known: &Known, object: &Object, mut reading: Reading) -> Option<Draft> {
    refuse_expired(&mut reading, Some(&object.document));
    let unchanged = object.document == reading.document
        && object.refusals.is_empty()
        && reading.refusals.is_empty()
        && !known.snapshot.outdated.contains(&(object.kind(), object.name().to_owned()));
    let write = Write {
        kind: object.kind(),
        name: object.name().to_owned(),
        expected: Expected::At(object.revision),
        value: Some((object.id, reading.document)),
    };
    (!unchanged).then_some(Draft { write, refusals: reading.refusals })
}

/// A certificate that has ended is not taken anew; one that ended in its place stays as it is.
fn refuse_expired(reading: &mut Reading, old: Option<&Document>) {
    let pem = |document: &Document| document.fields().get("certPem").and_then(Value::as_str).map(str::to_owned);
    let new = pem(&reading.document).filter(|new| old.and_then(pem).as_ref() != Some(new));
    let now = i64::try_from(jiff::Timestamp::now().as_nanosecond()).map_or(Nanos(0), Nanos);
    if let Some(text) = new.and_then(|pem| advice::expired(&pem, now)) {
        reading.refusals.push(Refusal::new("certPem", text));
    }
}

fn name_in(kind: Kind, body: &Value) -> String {
    Document::read(kind, body).document.name().to_owned()
}
