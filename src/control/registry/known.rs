//! What this node knows at one moment: the store's objects, the directory's, and what holds between them.

use std::sync::Arc;

use serde_json::Value;

use super::edit::{Draft, IfMatch};
use crate::{
    config::{
        Kind, Object, ObjectDirectory, Origin, Site,
        compile::{self, certificate_facts},
        document::spelling,
    },
    control::store::{Snapshot, Write, change::came_too_late},
    fault::{Fault, Kind as FaultKind},
    model::Nanos,
    plan::{Complaint, Plan},
};

/// The objects and the plan made of them.
pub(super) struct Known {
    pub directory: Option<ObjectDirectory>,
    pub snapshot: Arc<Snapshot>,
    pub plan: Arc<Plan>,
}

impl Known {
    /// All objects; of two with one name both.
    pub fn objects(&self) -> Vec<Object> {
        self.with_directory(&self.snapshot.objects)
    }

    fn with_directory(&self, stored: &[Object]) -> Vec<Object> {
        let filed = self.directory.iter().flat_map(ObjectDirectory::objects);
        stored.iter().chain(filed).cloned().collect()
    }

    /// What is known before compiling: torn files and unreadable ones.
    pub fn standing_complaints(&self) -> Vec<Complaint> {
        let mut complaints = self.snapshot.complaints.clone();
        complaints.extend(self.directory.iter().flat_map(ObjectDirectory::complaints));
        complaints
    }

    pub fn find(&self, kind: Kind, name: &str) -> Result<Object, Fault> {
        let objects = self.objects();
        let mut known = objects.iter().filter(|object| object.kind() == kind);
        if let Some(object) = known.clone().find(|object| object.name() == name) {
            return Ok(object.clone());
        }
        let hint = match spelling::nearest(name, known.by_ref().map(Object::name)) {
            Some(near) => format!("; did you mean '{near}'?"),
            None => String::new(),
        };
        Err(Fault::new(FaultKind::NotFound, "", format!("no {} '{name}'{hint}", kind.singular())))
    }

    /// The object, if it can be changed here and is as the client demands.
    pub fn find_to_change(&self, kind: Kind, name: &str, if_match: &IfMatch) -> Result<Object, Fault> {
        let object = self.find(kind, name)?;
        if let Origin::File(path) = &object.origin {
            let text =
                format!("{} '{name}' is managed by the file {}; change it there", kind.singular(), path.display());
            return Err(Fault::new(FaultKind::Conflict, "", text));
        }
        match if_match {
            IfMatch::OneOf(revisions) if !revisions.contains(&object.revision) => Err(came_too_late()),
            _ => Ok(object),
        }
    }

    /// Refuses to write on top of secrets that this node cannot open: what is not given anew would be lost.
    pub fn check_open(&self, kind: Kind, name: &str) -> Result<(), Fault> {
        if !self.snapshot.sealed.contains(&(kind, name.to_owned())) {
            return Ok(());
        }
        let text = format!("{} '{name}' has a secret that this node cannot open", kind.singular());
        let fault = Fault::new(FaultKind::Conflict, "", text);
        Err(fault.way_out("give this node the cluster key, or replace the object as a whole"))
    }

    /// Names of the targets that use a bundle, of objects as they are or would be.
    fn users(objects: &[Object], bundle: &str, enabled_only: bool) -> Vec<String> {
        let uses = |object: &&Object| {
            let fields = object.document.fields();
            object.kind() == Kind::Target
                && fields.get("tlsBundle").and_then(Value::as_str) == Some(bundle)
                && (!enabled_only || fields.get("enabled") == Some(&Value::Bool(true)))
        };
        objects.iter().filter(uses).map(|object| object.name().to_owned()).collect()
    }

    /// Refuses writes that would leave something behind that is not right: a deleted bundle that is in use, or a
    /// complaint that is not there now, be it about the objects written or about others they affect.
    pub fn judge(&self, drafts: &[Draft], site: &Site) -> Result<(), Fault> {
        if let Some(complaint) = self.in_use(drafts).first() {
            let text = format!("{} '{}' {}", complaint.kind, complaint.name, complaint.text);
            return Err(Fault::new(FaultKind::Conflict, "", text));
        }
        let texts: Vec<String> = match (drafts, self.complaints(drafts, site)) {
            ([only], found) => found.iter().map(|complaint| told(complaint, &only.write)).collect(),
            (_, found) => found.iter().map(named).collect(),
        };
        if texts.is_empty() { Ok(()) } else { Err(Fault::invalid("", texts.join("; "))) }
    }

    /// Bundles that would be deleted although a target uses them.
    pub fn in_use(&self, drafts: &[Draft]) -> Vec<Complaint> {
        let candidate = self.with_directory(&self.stored_after(drafts));
        let deleted = drafts.iter().map(|draft| &draft.write).filter(|write| write.value.is_none());
        deleted
            .filter(|write| write.kind == Kind::TlsBundle)
            .filter_map(|write| {
                let users = Self::users(&candidate, &write.name, false);
                let text = format!("is in use by target '{}'", users.join("', '"));
                let complaint = Complaint { kind: write.kind.singular().to_owned(), name: write.name.clone(), text };
                (!users.is_empty()).then_some(complaint)
            })
            .collect()
    }

    /// What the writes would bring with them: complaints about the objects written, else those of others that are not
    /// there now.
    pub fn complaints(&self, drafts: &[Draft], site: &Site) -> Vec<Complaint> {
        let compile_all = |objects: &[Object]| compile::compile(0, objects, Vec::new(), None, site).complaints;
        let (before, after) =
            (compile_all(&self.objects()), compile_all(&self.with_directory(&self.stored_after(drafts))));
        let put = || drafts.iter().map(|draft| &draft.write).filter(|write| write.value.is_some());
        let own: Vec<Complaint> =
            after.iter().filter(|complaint| put().any(|write| is_about(complaint, write))).cloned().collect();
        // What is wrong with the objects themselves comes first: complaints of others may only follow from it.
        if !own.is_empty() {
            return own;
        }
        let known = |complaint: &Complaint| {
            before.iter().any(|known| known.kind == complaint.kind && known.name == complaint.name)
        };
        after.into_iter().filter(|complaint| !known(complaint)).collect()
    }

    /// The store's objects as they would be.
    fn stored_after(&self, drafts: &[Draft]) -> Vec<Object> {
        let written = |object: &Object| {
            drafts.iter().any(|draft| draft.write.kind == object.kind() && draft.write.name == object.name())
        };
        let kept = self.snapshot.objects.iter().filter(|object| !written(object)).cloned();
        let put = drafts.iter().filter_map(|draft| {
            let (id, document) = draft.write.value.clone()?;
            Some(Object { id, revision: 0, origin: Origin::Store, document, refusals: draft.refusals.clone() })
        });
        kept.chain(put).collect()
    }

    /// Earliest end of a certificate that an enabled target uses.
    pub fn certificate_expiry(&self) -> Option<Nanos> {
        let objects = self.objects();
        let used = objects.iter().filter(|object| {
            object.kind() == Kind::TlsBundle && !Self::users(&objects, object.name(), true).is_empty()
        });
        used.filter_map(|object| certificate_facts(object.document.fields().get("certPem")?.as_str()?))
            .map(|facts| facts.not_after)
            .min()
    }
}

fn is_about(complaint: &Complaint, write: &Write) -> bool {
    complaint.kind == write.kind.singular() && complaint.name == write.name
}

fn named(complaint: &Complaint) -> String {
    format!("{} '{}': {}", complaint.kind, complaint.name, complaint.text)
}

/// Of the only object written it need not be said which one it is.
fn told(complaint: &Complaint, write: &Write) -> String {
    if is_about(complaint, write) && write.value.is_some() { complaint.text.clone() } else { named(complaint) }
}
