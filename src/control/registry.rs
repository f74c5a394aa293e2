//! All objects of this node and the plan they make: the one place where a change is accepted or refused.
//!
//! A change is compiled as a candidate first. If it would add a complaint it is refused with all of them and nothing
//! is applied; else it is stored, then compiled into the next plan, then given out. What others store comes the same
//! way ([`Registry::follow`]) but is judged only by the compiler: a bad object is isolated, the rest is in force.
//! Objects of the store and of the objects directory are treated alike, but the latter cannot be changed here.

mod edit;
mod known;
mod view;
pub mod whole;

pub use self::{
    edit::{Edit, IfMatch},
    view::{View, time_text},
};

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use self::{
    edit::{Draft, back_to, drafts},
    known::Known,
};
use super::store::{Change, Entry, Store, Touched, Write};
use crate::{
    config::{Kind, NodeConfig, Object, ObjectDirectory, Origin, Site, compile},
    fault::{Fault, Kind as FaultKind},
    limits,
    model::Nanos,
    plan::Plan,
};

/// Called with each plan that comes into force.
pub type OnPlan = Box<dyn Fn(Arc<Plan>) + Send + Sync>;

/// The objects, the plan, and who is told of it. Reading never waits.
pub struct Registry {
    store: Store,
    site: Site,
    on_plan: OnPlan,
    known: Mutex<Known>,
    /// Held while one change is judged and stored: those of this node come one after the other.
    turn: tokio::sync::Mutex<()>,
}

/// What an accepted change did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The revision in force with it; the one before, when everything was so already.
    pub revision: u64,
    pub touched: Vec<Touched>,
}

impl Registry {
    /// Compiles and gives out the first plan before it returns.
    pub fn open(config: &NodeConfig, store: Store, on_plan: OnPlan) -> Self {
        let mut directory = config.objects.clone().map(ObjectDirectory::new);
        if let Some(directory) = &mut directory {
            directory.poll(store.snapshot().revision);
            // What came of it while nobody looked is a change like any other.
            if store.directory_noted() != Some(directory.digest()) {
                store.note_directory(directory.digest());
            }
        }
        let site = config.site();
        let plan = Arc::new(Plan::empty(&site.cluster, &site.node));
        let known = Mutex::new(Known { directory, snapshot: store.snapshot(), plan });
        let registry = Self { store, site, on_plan, known, turn: tokio::sync::Mutex::default() };
        registry.give_out(&mut registry.known());
        registry
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    pub fn plan(&self) -> Arc<Plan> {
        Arc::clone(&self.known().plan)
    }

    /// All objects of a kind, by name.
    pub fn list(&self, kind: Kind) -> Vec<View> {
        let known = self.known();
        let mut objects: Vec<Object> = known.objects().into_iter().filter(|object| object.kind() == kind).collect();
        objects.sort_by(|a, b| a.name().cmp(b.name()).then_with(|| origin_rank(a).cmp(&origin_rank(b))));
        objects.dedup_by(|later, first| later.name() == first.name());
        objects.iter().map(|object| View::of(object, &known.plan.complaints)).collect()
    }

    pub fn read(&self, kind: Kind, name: &str) -> Result<View, Fault> {
        let known = self.known();
        known.find(kind, name).map(|object| View::of(&object, &known.plan.complaints))
    }

    /// Makes a new object.
    pub async fn create(&self, kind: Kind, body: &Value, who: &str) -> Result<View, Fault> {
        self.one(Edit::Create { kind, body: body.clone() }, who).await
    }

    /// Replaces an object that exists.
    pub async fn replace(
        &self,
        kind: Kind,
        name: &str,
        body: &Value,
        if_match: &IfMatch,
        who: &str,
    ) -> Result<View, Fault> {
        let (name, body, if_match) = (name.to_owned(), body.clone(), if_match.clone());
        self.one(Edit::Replace { kind, name, body, if_match }, who).await
    }

    /// Changes some fields of an object: a JSON merge patch.
    pub async fn patch(
        &self,
        kind: Kind,
        name: &str,
        patch: &Value,
        if_match: &IfMatch,
        who: &str,
    ) -> Result<View, Fault> {
        let (name, patch, if_match) = (name.to_owned(), patch.clone(), if_match.clone());
        self.one(Edit::Patch { kind, name, patch, if_match }, who).await
    }

    pub async fn delete(&self, kind: Kind, name: &str, if_match: &IfMatch, who: &str) -> Result<(), Fault> {
        let edit = Edit::Delete { kind, name: name.to_owned(), if_match: if_match.clone() };
        let what = edit.describe();
        self.change(who, &what, |known| drafts(std::slice::from_ref(&edit), known)).await.map(|_| ())
    }

    /// Makes all edits as one revision, or none of them.
    ///
    /// # Errors
    /// Everything that is wrong with them, or `Exhausted` when they are too many at once.
    pub async fn apply(&self, edits: &[Edit], who: &str) -> Result<Applied, Fault> {
        let what = match edits {
            [edit] => edit.describe(),
            _ => format!("applies {} objects", edits.len()),
        };
        self.change(who, &what, |known| drafts(edits, known)).await
    }

    /// What `apply` would touch, judged as `apply` would judge it.
    ///
    /// # Errors
    /// As `apply`.
    pub fn try_apply(&self, edits: &[Edit]) -> Result<Vec<Touched>, Fault> {
        let known = self.known();
        let drafts = drafts(edits, &known)?;
        known.judge(&drafts, &self.site)?;
        let writes: Vec<Write> = drafts.into_iter().map(|draft| draft.write).collect();
        let change = Change { who: String::new(), what: String::new(), writes };
        change.check_size()?;
        Ok(change.touched())
    }

    /// The last revisions, newest first.
    ///
    /// # Errors
    /// As `Store::history`.
    pub async fn history(&self) -> Result<Vec<Entry>, Fault> {
        self.store.history().await
    }

    /// All objects as they were at a revision, by kind and name.
    ///
    /// # Errors
    /// As `Store::read_at`.
    pub async fn list_at(&self, revision: u64) -> Result<Vec<(Kind, View)>, Fault> {
        let then = self.store.read_at(revision).await?;
        let mut objects: Vec<&Object> = then.objects.iter().collect();
        objects.sort_by_key(|object| (object.kind(), object.name()));
        Ok(objects.into_iter().map(|object| (object.kind(), View::of(object, &[]))).collect())
    }

    /// Makes the objects of the store what they were at a revision, as a new revision.
    ///
    /// # Errors
    /// As `apply` and `Store::read_at`.
    pub async fn rollback(&self, revision: u64, who: &str) -> Result<Applied, Fault> {
        let then = self.store.read_at(revision).await?;
        let what = format!("rolls back to revision {revision}");
        self.change(who, &what, |known| Ok(back_to(&then, known))).await
    }

    /// Puts what others stored into force, as it comes, until the store ends.
    pub async fn follow(&self) {
        let mut newest = self.store.watch();
        while newest.changed().await.is_ok() {
            self.catch_up();
        }
    }

    /// Looks at everything that may have changed outside: the key of the store, the objects directory.
    pub fn refresh(&self) {
        self.store.refresh();
        self.catch_up();
        self.poll_directory();
    }

    /// Looks at the objects directory; true when a new plan came of it.
    pub fn poll_directory(&self) -> bool {
        let known = &mut *self.known();
        let Some(directory) = &mut known.directory else { return false };
        if !directory.poll(known.plan.revision + 1) {
            return false;
        }
        self.store.note_directory(directory.digest());
        known.snapshot = self.store.snapshot();
        self.give_out(known);
        true
    }

    /// Earliest end of a certificate that an enabled target uses.
    pub fn certificate_expiry(&self) -> Option<Nanos> {
        self.known().certificate_expiry()
    }

    /// One edit, and the object as it is then.
    async fn one(&self, edit: Edit, who: &str) -> Result<View, Fault> {
        let (kind, name) = edit.about();
        self.change(who, &edit.describe(), |known| drafts(std::slice::from_ref(&edit), known)).await?;
        self.read(kind, &name)
    }

    /// Drafts, judges and stores; again when something else changed in between, as long as the client's own demands
    /// still hold.
    async fn change(
        &self,
        who: &str,
        what: &str,
        draft: impl Fn(&Known) -> Result<Vec<Draft>, Fault>,
    ) -> Result<Applied, Fault> {
        let _turn = self.turn.lock().await;
        for tries in 1..=limits::CHANGE_TRIES {
            let (change, old) = {
                let known = self.known();
                let drafts = draft(&known)?;
                known.judge(&drafts, &self.site)?;
                let writes: Vec<Write> = drafts.into_iter().map(|draft| draft.write).collect();
                (Change { who: who.to_owned(), what: what.to_owned(), writes }, known.plan.revision)
            };
            if change.writes.is_empty() {
                return Ok(Applied { revision: old, touched: Vec::new() });
            }
            match self.store.apply(&change).await {
                Ok(snapshot) => {
                    tracing::info!("{who} {what}: revision {old} -> {}", snapshot.revision);
                    self.catch_up();
                    return Ok(Applied { revision: snapshot.revision, touched: change.touched() });
                }
                Err(fault) if fault.kind() == FaultKind::Stale => {
                    self.catch_up();
                    // Of several that try again and again each must come first some time.
                    let chance = f64::from(getrandom::u32().unwrap_or(0)) / f64::from(u32::MAX);
                    tokio::time::sleep((limits::CHANGE_PAUSE * tries).mul_f64(chance)).await;
                }
                Err(fault) => return Err(fault),
            }
        }
        Err(Fault::new(FaultKind::Unavailable, "", "others change objects all the time; try again"))
    }

    /// Puts the store's newest snapshot into force, if it is not already.
    fn catch_up(&self) {
        let known = &mut *self.known();
        let newest = self.store.snapshot();
        if !Arc::ptr_eq(&known.snapshot, &newest) {
            known.snapshot = newest;
            self.give_out(known);
        }
    }

    /// Under the lock, so that plans are given out in the order in which they were made.
    fn give_out(&self, known: &mut Known) {
        let complaints = known.standing_complaints();
        let revision = known.snapshot.revision;
        let plan = compile::compile(revision, &known.objects(), complaints, Some(&known.plan), &self.site);
        for complaint in plan.complaints.iter().filter(|complaint| !known.plan.complaints.contains(complaint)) {
            tracing::warn!("{} {}: {}", complaint.kind, complaint.name, complaint.text);
        }
        self.store.keep_good(&plan.complaints);
        known.plan = Arc::new(plan);
        (self.on_plan)(Arc::clone(&known.plan));
    }

    /// A panic while it was held leaves it whole: it changes only after everything that can fail.
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn origin_rank(object: &Object) -> u8 {
    u8::from(object.origin != Origin::Store)
}
