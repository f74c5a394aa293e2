//! All objects of this node and the plan they make: the one place where a change is accepted or refused.
//!
//! A change is compiled as a candidate first. If it would add a complaint it is refused with all of them and nothing
//! is applied; else it is stored, then compiled into the next plan, then given out. Objects of the store and of the
//! objects directory are treated alike, but the latter cannot be changed here.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::store::Store;
use crate::{
    config::{
        Document, Kind, NodeConfig, Object, ObjectDirectory, Origin, Reading, Site,
        compile::{self, certificate_facts},
        document::{SourceDocument, spelling},
    },
    fault::{Fault, Kind as FaultKind},
    model::{Nanos, ObjectId},
    plan::{Complaint, Plan},
};

/// Called with each plan that comes into force.
pub type OnPlan = Box<dyn Fn(Arc<Plan>) + Send + Sync>;

/// An object as an answer shows it.
#[derive(Clone, Debug)]
pub struct View {
    pub fields: Map<String, Value>,
    /// Its `ETag`.
    pub revision: u64,
}

/// What a client demands of the object it changes: RFC 9110 §13.1.1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IfMatch {
    /// No header.
    Whatever,
    /// `*`, or a list of revisions.
    Any,
    OneOf(Vec<u64>),
}

/// The objects, the plan, and who is told of it.
pub struct Registry {
    store: Store,
    directory: Option<ObjectDirectory>,
    site: Site,
    plan: Arc<Plan>,
    on_plan: OnPlan,
}

impl Registry {
    /// Compiles and gives out the first plan before it returns.
    pub fn open(config: &NodeConfig, store: Store, on_plan: OnPlan) -> Self {
        let mut directory = config.objects.clone().map(ObjectDirectory::new);
        if let Some(directory) = &mut directory {
            directory.poll(store.revision());
        }
        let site = config.site();
        let plan = Arc::new(Plan::empty(&site.cluster, &site.node));
        let mut registry = Self { store, directory, site, plan, on_plan };
        registry.give_out(registry.store.revision());
        registry
    }

    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// All objects of a kind, by name.
    pub fn list(&self, kind: Kind) -> Vec<View> {
        let mut objects: Vec<Object> = self.objects().into_iter().filter(|object| object.kind() == kind).collect();
        objects.sort_by(|a, b| a.name().cmp(b.name()).then_with(|| origin_rank(a).cmp(&origin_rank(b))));
        objects.dedup_by(|later, first| later.name() == first.name());
        objects.iter().map(|object| self.view(object)).collect()
    }

    pub fn read(&self, kind: Kind, name: &str) -> Result<View, Fault> {
        self.find(kind, name).map(|object| self.view(&object))
    }

    /// Makes a new object.
    pub fn create(&mut self, kind: Kind, body: &Value, who: &str) -> Result<View, Fault> {
        let reading = Document::read(kind, body);
        let name = reading.document.name().to_owned();
        if self.find(kind, &name).is_ok() {
            let text = format!("{} with the provided name already exists.", kind.title());
            return Err(Fault::new(FaultKind::Conflict, "", text));
        }
        let id = getrandom::u64()
            .map_err(|error| Fault::new(FaultKind::Unavailable, "", format!("no random numbers: {error}")))?;
        self.put(ObjectId(id), reading, &format!("{who} creates {} {name:?}", kind.singular()))
    }

    /// Replaces an object that exists.
    pub fn replace(
        &mut self,
        kind: Kind,
        name: &str,
        body: &Value,
        if_match: &IfMatch,
        who: &str,
    ) -> Result<View, Fault> {
        let object = self.find_to_change(kind, name, if_match)?;
        let reading = Document::read_named(kind, body, name);
        self.put(object.id, reading, &format!("{who} replaces {} {name:?}", kind.singular()))
    }

    /// Changes some fields of an object: a JSON merge patch.
    pub fn patch(
        &mut self,
        kind: Kind,
        name: &str,
        patch: &Value,
        if_match: &IfMatch,
        who: &str,
    ) -> Result<View, Fault> {
        let object = self.find_to_change(kind, name, if_match)?;
        let reading = object.document.merge(patch);
        self.put(object.id, reading, &format!("{who} changes {} {name:?}", kind.singular()))
    }

    pub fn delete(&mut self, kind: Kind, name: &str, if_match: &IfMatch, who: &str) -> Result<(), Fault> {
        self.find_to_change(kind, name, if_match)?;
        if kind == Kind::TlsBundle {
            self.check_unused(name)?;
        }
        let kept = self.store.objects().iter();
        let objects = kept.filter(|object| object.kind() != kind || object.name() != name).cloned().collect();
        self.commit(objects, &format!("{who} deletes {} {name:?}", kind.singular()))
    }

    /// Looks at the objects directory; true when a new plan came of it.
    pub fn poll_directory(&mut self) -> bool {
        let next = self.next_revision();
        let Some(directory) = &mut self.directory else { return false };
        if !directory.poll(next) {
            return false;
        }
        // The revision is kept so that it goes on counting after a restart; the change itself lies in its own files.
        let stored = self.store.commit(next, self.store.objects().to_vec(), "the objects directory changed");
        let revision = stored.unwrap_or_else(|fault| {
            tracing::warn!("revision {next} is in force but could not be noted: {fault}");
            next
        });
        self.give_out(revision);
        true
    }

    /// Earliest end of a certificate that an enabled target uses.
    pub fn certificate_expiry(&self) -> Option<Nanos> {
        self.objects()
            .iter()
            .filter(|object| object.kind() == Kind::TlsBundle && !self.users(object.name(), true).is_empty())
            .filter_map(|object| certificate_facts(object.document.fields().get("certPem")?.as_str()?))
            .map(|facts| facts.not_after)
            .min()
    }

    fn objects(&self) -> Vec<Object> {
        let filed = self.directory.iter().flat_map(ObjectDirectory::objects);
        self.store.objects().iter().chain(filed).cloned().collect()
    }

    /// What is known before compiling: torn files and unreadable ones.
    fn standing_complaints(&self) -> Vec<Complaint> {
        let mut complaints = self.store.complaints().to_vec();
        complaints.extend(self.directory.iter().flat_map(ObjectDirectory::complaints));
        complaints
    }

    fn next_revision(&self) -> u64 {
        self.plan.revision.max(self.store.revision()) + 1
    }

    fn find(&self, kind: Kind, name: &str) -> Result<Object, Fault> {
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

    fn find_to_change(&self, kind: Kind, name: &str, if_match: &IfMatch) -> Result<Object, Fault> {
        let object = self.find(kind, name)?;
        if let Origin::File(path) = &object.origin {
            let text =
                format!("{} '{name}' is managed by the file {}; change it there", kind.singular(), path.display());
            return Err(Fault::new(FaultKind::Conflict, "", text));
        }
        match if_match {
            IfMatch::OneOf(revisions) if !revisions.contains(&object.revision) => {
                Err(Fault::new(FaultKind::Stale, "", "Etag mismatch."))
            }
            _ => Ok(object),
        }
    }

    /// Names of the targets that use a bundle.
    fn users(&self, bundle: &str, enabled_only: bool) -> Vec<String> {
        let uses = |object: &&Object| {
            let fields = object.document.fields();
            object.kind() == Kind::Target
                && fields.get("tlsBundle").and_then(Value::as_str) == Some(bundle)
                && (!enabled_only || fields.get("enabled") == Some(&Value::Bool(true)))
        };
        self.objects().iter().filter(uses).map(|object| object.name().to_owned()).collect()
    }

    fn check_unused(&self, bundle: &str) -> Result<(), Fault> {
        let users = self.users(bundle, false);
        if users.is_empty() {
            return Ok(());
        }
        let text = format!("tls-bundle '{bundle}' is in use by target '{}'", users.join("', '"));
        Err(Fault::new(FaultKind::Conflict, "", text))
    }

    /// Puts a document under an id: in place of the object that has it, or as a new one.
    fn put(&mut self, id: ObjectId, reading: Reading, cause: &str) -> Result<View, Fault> {
        let (kind, name) = (reading.document.kind(), reading.document.name().to_owned());
        let mut objects = self.store.objects().to_vec();
        let revision = self.next_revision();
        let object =
            Object { id, revision, origin: Origin::Store, document: reading.document, refusals: reading.refusals };
        match objects.iter_mut().find(|known| known.id == id && known.kind() == kind) {
            Some(known) if known.document == object.document && object.refusals.is_empty() => {
                let known = known.clone();
                return Ok(self.view(&known));
            }
            Some(known) => *known = object.clone(),
            None => objects.push(object.clone()),
        }
        self.check_candidate(&objects, kind, &name)?;
        self.commit(objects, cause)?;
        self.read(kind, &name)
    }

    /// Refuses a candidate that adds complaints, be they about the object changed or about others it affects.
    fn check_candidate(&self, stored: &[Object], kind: Kind, name: &str) -> Result<(), Fault> {
        let compile_all = |objects: &[Object]| compile::compile(0, objects, Vec::new(), None, &self.site).complaints;
        let before = compile_all(&self.objects());
        let filed = self.directory.iter().flat_map(ObjectDirectory::objects).cloned();
        let candidate: Vec<Object> = stored.iter().cloned().chain(filed).collect();
        let about_it = |complaint: &&Complaint| complaint.kind == kind.singular() && complaint.name == name;
        let after = compile_all(&candidate);
        let mut texts: Vec<String> = after.iter().filter(about_it).map(|complaint| complaint.text.clone()).collect();
        let known = |complaint: &Complaint| {
            before.iter().any(|known| known.kind == complaint.kind && known.name == complaint.name)
        };
        let others = after.iter().filter(|complaint| !about_it(complaint) && !known(complaint));
        texts.extend(others.map(|complaint| format!("{} '{}': {}", complaint.kind, complaint.name, complaint.text)));
        if texts.is_empty() { Ok(()) } else { Err(Fault::invalid("", texts.join("; "))) }
    }

    fn commit(&mut self, objects: Vec<Object>, cause: &str) -> Result<(), Fault> {
        let old = self.plan.revision;
        let revision = self.store.commit(self.next_revision(), objects, cause)?;
        tracing::info!("{cause}: revision {old} -> {revision}");
        self.give_out(revision);
        Ok(())
    }

    fn give_out(&mut self, revision: u64) {
        let complaints = self.standing_complaints();
        let plan = compile::compile(revision, &self.objects(), complaints, Some(&self.plan), &self.site);
        for complaint in plan.complaints.iter().filter(|complaint| !self.plan.complaints.contains(complaint)) {
            tracing::warn!("{} {}: {}", complaint.kind, complaint.name, complaint.text);
        }
        self.plan = Arc::new(plan);
        (self.on_plan)(Arc::clone(&self.plan));
    }

    /// What is written, what the contract adds, and what is wrong with it.
    fn view(&self, object: &Object) -> View {
        let mut fields = object.document.shown();
        match object.kind() {
            Kind::Source => add_source_defaults(&mut fields),
            Kind::Target => {
                fields.entry("enabled").or_insert(Value::Bool(false));
            }
            Kind::TlsBundle => add_certificate_facts(&mut fields),
        }
        let complaints = self.plan.complaints.iter();
        let about_it = complaints.filter(|c| c.kind == object.kind().singular() && c.name == object.name());
        let texts: Vec<Value> = about_it.map(|complaint| Value::String(complaint.text.clone())).collect();
        if !texts.is_empty() {
            fields.insert("complaints".to_owned(), Value::Array(texts));
        }
        if let Origin::File(path) = &object.origin {
            fields.insert("managedBy".to_owned(), Value::String(path.display().to_string()));
        }
        View { fields, revision: object.revision }
    }
}

fn origin_rank(object: &Object) -> u8 {
    u8::from(object.origin != Origin::Store)
}

fn add_source_defaults(fields: &mut Map<String, Value>) {
    fields.entry("enabled").or_insert(Value::Bool(false));
    if fields.contains_key("logFormat") {
        return;
    }
    let document: Result<SourceDocument, _> = serde_json::from_value(Value::Object(fields.clone()));
    if let Ok(document) = document
        && let Some(format) = compile::default_format(compile::service_name(&document))
    {
        fields.insert("logFormat".to_owned(), Value::String(format.to_owned()));
    }
}

fn add_certificate_facts(fields: &mut Map<String, Value>) {
    let facts = fields.get("certPem").and_then(Value::as_str).and_then(certificate_facts);
    let Some(facts) = facts else { return };
    for (name, value) in [
        ("subject", facts.subject),
        ("issuer", facts.issuer),
        ("notBefore", time_text(facts.not_before)),
        ("notAfter", time_text(facts.not_after)),
        ("sha256", facts.sha256),
    ] {
        fields.insert(name.to_owned(), Value::String(value));
    }
}

/// RFC 3339 in UTC, as all times of the API are.
pub fn time_text(at: Nanos) -> String {
    let (seconds, nanos) = at.parts();
    jiff::Timestamp::new(seconds, nanos.cast_signed()).map(|at| at.to_string()).unwrap_or_default()
}
