//! Many objects at once: what files say is made so in one step, with every complaint told by object; and the
//! configuration of now or then as documents.
//!
//! `Wanted` says how things shall be, not what to do: what is so already is left alone, and with `prune` what is not
//! wanted goes. Secrets are shown by placeholder only (`config::document::secret`).

use std::sync::{Mutex, PoisonError};

use serde_json::{Map, Value};

use super::{
    Registry,
    edit::{Draft, IfMatch, back_to, new_object, update},
    known::Known,
};
use crate::{
    config::{Document, Kind, Object},
    control::store::{Change, Expected, Write},
    fault::{Fault, Kind as FaultKind},
    plan::Complaint,
};

/// How objects shall be.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Flat documents.
    pub put: Vec<(Kind, Value)>,
    pub delete: Vec<(Kind, String)>,
    /// Delete all objects of the store that are not put.
    pub prune: bool,
}

/// What became, or would become, of the objects.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// In force with it; the one before, when everything was so already or nothing was to be done.
    pub revision: u64,
    pub steps: Vec<Step>,
}

/// One object of an outcome, with its documents before and after, secrets masked.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    pub kind: Kind,
    pub name: String,
    pub before: Option<Map<String, Value>>,
    pub after: Option<Map<String, Value>>,
    pub changed: bool,
}

impl Step {
    /// `created`, `changed`, `unchanged` or `deleted`.
    pub fn action(&self) -> &'static str {
        match (&self.before, &self.after) {
            (None, _) => "created",
            (_, None) => "deleted",
            _ if self.changed => "changed",
            _ => "unchanged",
        }
    }
}

/// Why nothing was done.
#[derive(Clone, Debug)]
pub enum Objection {
    /// All that is wrong, each with its object.
    Complaints(Vec<Complaint>),
    Fault(Fault),
}

impl From<Fault> for Objection {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Registry {
    /// Makes everything as it is wanted, as one revision.
    ///
    /// # Errors
    /// Nothing was done; everything that is wrong is told.
    pub async fn make(&self, wanted: &Wanted, who: &str) -> Result<Outcome, Objection> {
        let expected = self.try_make(wanted)?;
        let steps = Mutex::new(Vec::new());
        let draft = |known: &Known| {
            let (drafts, found) = wanted.drafts(known).map_err(|complaints| joined(&complaints))?;
            *steps.lock().unwrap_or_else(PoisonError::into_inner) = found;
            Ok(drafts)
        };
        let applied = self.change(who, &summary(&expected.steps), draft).await?;
        let steps = steps.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(Outcome { revision: applied.revision, steps })
    }

    /// What `make` would do, judged as it would judge.
    ///
    /// # Errors
    /// As `make`.
    pub fn try_make(&self, wanted: &Wanted) -> Result<Outcome, Objection> {
        let known = self.known();
        let (drafts, steps) = wanted.drafts(&known).map_err(Objection::Complaints)?;
        let mut complaints = known.in_use(&drafts);
        complaints.extend(known.complaints(&drafts, &self.site));
        if !complaints.is_empty() {
            return Err(Objection::Complaints(complaints));
        }
        self.check(&known, drafts)?;
        Ok(Outcome { revision: known.plan.revision, steps })
    }

    /// What `rollback` would do.
    ///
    /// # Errors
    /// As `rollback`.
    pub async fn try_rollback(&self, revision: u64) -> Result<Outcome, Fault> {
        let then = self.store().read_at(revision).await?;
        let known = self.known();
        let drafts = back_to(&then, &known);
        let steps = drafts.iter().map(|draft| step(&draft.write, &known)).collect();
        self.check(&known, drafts)?;
        Ok(Outcome { revision: known.plan.revision, steps })
    }

    /// The documents of the store, as of a revision or of now, secrets masked; with the revision they are of.
    ///
    /// # Errors
    /// As `Store::read_at`.
    pub async fn documents(&self, revision: Option<u64>) -> Result<(u64, Vec<(Kind, Map<String, Value>)>), Fault> {
        let (revision, mut objects) = match revision {
            Some(revision) => (revision, self.store().read_at(revision).await?.objects),
            None => {
                let now = self.store().snapshot();
                (now.revision, now.objects.clone())
            }
        };
        objects.sort_by(|a, b| (a.kind(), a.name()).cmp(&(b.kind(), b.name())));
        Ok((revision, objects.iter().map(|object| (object.kind(), object.document.masked())).collect()))
    }

    /// Everything by which the drafts could be refused that is not about one object.
    fn check(&self, known: &Known, drafts: Vec<Draft>) -> Result<(), Fault> {
        known.judge(&drafts, &self.site)?;
        let writes = drafts.into_iter().map(|draft| draft.write).collect();
        Change { who: String::new(), what: String::new(), writes }.check_size()
    }
}

impl Wanted {
    /// The writes that make it so, and what becomes of each object; or all that speaks against it.
    fn drafts(&self, known: &Known) -> Result<(Vec<Draft>, Vec<Step>), Vec<Complaint>> {
        let (mut drafts, mut steps, mut complaints) = (Vec::new(), Vec::new(), Vec::new());
        for (kind, body) in &self.put {
            let name = Document::read(*kind, body).document.name().to_owned();
            if steps.iter().any(|step: &Step| step.kind == *kind && step.name == name) {
                complaints.push(complaint(*kind, &name, "is given twice"));
                continue;
            }
            match put(*kind, &name, body, known) {
                Ok((Some(draft), _)) => {
                    steps.push(step(&draft.write, known));
                    drafts.push(draft);
                }
                Ok((None, object)) => steps.extend(object.as_ref().map(unchanged)),
                Err(fault) => complaints.push(complaint(*kind, &name, fault.cause())),
            }
        }
        for (kind, name) in self.gone(known) {
            match known.find_to_change(kind, &name, &IfMatch::Whatever) {
                Ok(object) => {
                    let write = Write { kind, name, expected: Expected::At(object.revision), value: None };
                    steps.push(step(&write, known));
                    drafts.push(Draft { write, refusals: Vec::new() });
                }
                Err(fault) => complaints.push(complaint(kind, &name, fault.cause())),
            }
        }
        if complaints.is_empty() { Ok((drafts, steps)) } else { Err(complaints) }
    }

    /// What is to be deleted: named, or not wanted.
    fn gone(&self, known: &Known) -> Vec<(Kind, String)> {
        let mut gone = self.delete.clone();
        if self.prune {
            let wanted = |object: &&Object| {
                self.put.iter().any(|(kind, body)| {
                    *kind == object.kind() && Document::read(*kind, body).document.name() == object.name()
                })
            };
            let surplus = known.snapshot.objects.iter().filter(|object| !wanted(object));
            gone.extend(surplus.map(|object| (object.kind(), object.name().to_owned())));
        }
        gone.sort();
        gone.dedup();
        gone
    }
}

/// The write that makes an object so, if it is not so already, and the object as it is.
fn put(kind: Kind, name: &str, body: &Value, known: &Known) -> Result<(Option<Draft>, Option<Object>), Fault> {
    match known.find_to_change(kind, name, &IfMatch::Whatever) {
        Ok(object) => {
            known.check_open(kind, name)?;
            let reading = Document::read_keeping(kind, body, Some(&object.document));
            Ok((update(known, &object, reading), Some(object)))
        }
        Err(fault) if fault.kind() == FaultKind::NotFound => {
            Ok((Some(new_object(Document::read_keeping(kind, body, None))?), None))
        }
        Err(fault) => Err(fault),
    }
}

fn step(write: &Write, known: &Known) -> Step {
    let before = known.snapshot.find(write.kind, &write.name).map(|object| &object.document);
    let after = write.value.as_ref().map(|(_, document)| match before {
        Some(before) => document.masked_beside(before),
        None => document.masked(),
    });
    Step { kind: write.kind, name: write.name.clone(), before: before.map(Document::masked), after, changed: true }
}

fn unchanged(object: &Object) -> Step {
    let document = Some(object.document.masked());
    let (kind, name) = (object.kind(), object.name().to_owned());
    Step { kind, name, before: document.clone(), after: document, changed: false }
}

/// For the history: `applies 5 objects: 2 created, 1 deleted, 2 unchanged`.
fn summary(steps: &[Step]) -> String {
    let counts: Vec<String> = ["created", "changed", "deleted", "unchanged"]
        .iter()
        .map(|action| (steps.iter().filter(|step| step.action() == *action).count(), action))
        .filter(|(count, _)| *count > 0)
        .map(|(count, action)| format!("{count} {action}"))
        .collect();
    format!("applies {} objects: {}", steps.len(), counts.join(", "))
}

fn complaint(kind: Kind, name: &str, text: &str) -> Complaint {
    Complaint { kind: kind.singular().to_owned(), name: name.to_owned(), text: text.to_owned() }
}

/// Complaints as one fault, for where there is room for no more.
pub fn joined(complaints: &[Complaint]) -> Fault {
    let texts: Vec<String> = complaints
        .iter()
        .map(|complaint| format!("{} '{}': {}", complaint.kind, complaint.name, complaint.text))
        .collect();
    Fault::invalid("", texts.join("; "))
}
