//! Documents → plan: complete validation, defaults filled in, globs split, certificates parsed.
//!
//! One bad object never blocks the others: it is left out, or stays in force as it last was good, and every thing wrong
//! with it becomes a complaint. The result depends only on the arguments, so the API compiles a candidate first and
//! refuses a change that would add a complaint.

pub mod address;
pub mod advice;
pub mod amount;
mod glob;
mod source;
mod target;
mod tls_bundle;

#[cfg(test)]
mod tests;

pub use source::{default_format, service_name};
pub use tls_bundle::{CertificateFacts, certificate_facts};

use std::{collections::BTreeMap, sync::Arc};

use super::document::{Kind, Object, Origin, Refusal};
use crate::{
    limits,
    plan::{Complaint, Input, Plan, SourcePlan, TargetPlan, TlsBundle},
};

/// What compiling needs to know of the node.
#[derive(Clone, Debug)]
pub struct Site {
    pub cluster: String,
    pub node: String,
    pub lanes: usize,
    /// Bytes all pools and queues may take; `None`: the fixed pools plus whatever the queues ask for.
    pub memory_max: Option<usize>,
    /// The machine's id, which names its journal directories.
    pub machine_id: Option<String>,
}

/// Everything wrong with one object. What reading already refused about a field is not complained of again.
pub(crate) struct Findings<'a> {
    read: &'a [Refusal],
    found: Vec<Refusal>,
}

impl<'a> Findings<'a> {
    fn new(read: &'a [Refusal]) -> Self {
        Self { read, found: Vec::new() }
    }

    /// `field` is the top-level field the text is about.
    pub(crate) fn add(&mut self, field: &str, text: impl Into<String>) {
        if self.read.iter().all(|refusal| refusal.field != field) {
            self.found.push(Refusal::new(field, text));
        }
    }

    fn texts(&self) -> impl Iterator<Item = &str> {
        self.read.iter().chain(&self.found).map(|refusal| refusal.text.as_str())
    }

    fn is_clean(&self) -> bool {
        self.read.is_empty() && self.found.is_empty()
    }
}

/// Makes the plan of `revision` from all objects. `complaints` are those already known (unreadable files); `previous`
/// gives the last good version of objects that are bad now.
pub fn compile(
    revision: u64,
    objects: &[Object],
    complaints: Vec<Complaint>,
    previous: Option<&Plan>,
    site: &Site,
) -> Plan {
    let mut plan = Plan { revision, complaints, ..Plan::empty(&site.cluster, &site.node) };
    let chosen = choose(objects, &mut plan.complaints);
    let bundles = compile_bundles(&chosen, &mut plan.complaints);
    for object in chosen.iter().filter(|object| object.kind() == Kind::Source) {
        let mut findings = Findings::new(&object.refusals);
        let made = source::compile(object, site, &mut findings);
        let last = previous.and_then(|plan| plan.source(object.id)).cloned();
        let complaints = &mut plan.complaints;
        plan.sources.extend(settle(object, &findings, made.map(Arc::new), last, complaints));
    }
    for object in chosen.iter().filter(|object| object.kind() == Kind::Target) {
        let mut findings = Findings::new(&object.refusals);
        let made = target::compile(object, &bundles, &mut findings);
        let last = previous.and_then(|plan| plan.target(object.id)).cloned();
        let complaints = &mut plan.complaints;
        plan.targets.extend(settle(object, &findings, made.map(Arc::new), last, complaints));
    }
    bound_sources(&mut plan);
    bound_targets(&mut plan, site);
    plan
}

/// The new version when it is good, else the last good one with the complaints.
fn settle<T>(
    object: &Object,
    findings: &Findings<'_>,
    made: Option<Arc<T>>,
    last: Option<Arc<T>>,
    complaints: &mut Vec<Complaint>,
) -> Option<Arc<T>> {
    if findings.is_clean() && made.is_some() {
        return made;
    }
    for text in findings.texts() {
        complain(complaints, object, text.to_owned());
    }
    if last.is_some() {
        complain(complaints, object, "its last good version stays in force until this is mended".to_owned());
    }
    last
}

/// Objects by kind and name, without doubles: what was written through the API goes before files.
fn choose<'a>(objects: &'a [Object], complaints: &mut Vec<Complaint>) -> Vec<&'a Object> {
    let mut chosen: BTreeMap<(Kind, &str), &Object> = BTreeMap::new();
    let stored = objects.iter().filter(|object| object.origin == Origin::Store);
    let filed = objects.iter().filter(|object| object.origin != Origin::Store);
    for object in stored.chain(filed) {
        match chosen.get(&(object.kind(), object.name())) {
            None => {
                chosen.insert((object.kind(), object.name()), object);
            }
            Some(first) => {
                let text = format!(
                    "{} has a {} of this name, but so {}; that one is in force",
                    origin(object),
                    object.kind().singular(),
                    match &first.origin {
                        Origin::Store => "has the API".to_owned(),
                        Origin::File(path) => format!("has {}", path.display()),
                    },
                );
                complain(complaints, object, text);
            }
        }
    }
    chosen.into_values().collect()
}

fn origin(object: &Object) -> String {
    match &object.origin {
        Origin::Store => "the API".to_owned(),
        Origin::File(path) => path.display().to_string(),
    }
}

fn compile_bundles(chosen: &[&Object], complaints: &mut Vec<Complaint>) -> BTreeMap<String, Arc<TlsBundle>> {
    let mut bundles = BTreeMap::new();
    for object in chosen.iter().filter(|object| object.kind() == Kind::TlsBundle) {
        let mut findings = Findings::new(&object.refusals);
        let made = tls_bundle::compile(object, &mut findings).map(Arc::new);
        if let Some(bundle) = settle(object, &findings, made, None, complaints) {
            bundles.insert(object.name().to_owned(), bundle);
        }
    }
    bundles
}

/// Leaves out what is over the number of sources, of the plan and of one journal directory.
fn bound_sources(plan: &mut Plan) {
    let mut journal: BTreeMap<std::path::PathBuf, usize> = BTreeMap::new();
    let mut count = 0;
    let complaints = &mut plan.complaints;
    plan.sources.retain(|source: &Arc<SourcePlan>| {
        let mut refuse = |text: String| {
            complaints.push(Complaint { kind: "source".to_owned(), name: source.name.clone(), text });
            false
        };
        count += 1;
        if count > limits::SOURCES_MAX {
            return refuse(format!("is one more than the {} sources a node takes", limits::SOURCES_MAX));
        }
        if let Input::Journal(input) = &source.input {
            for directory in &input.directories {
                let sharing = journal.entry(directory.clone()).or_default();
                *sharing += 1;
                if *sharing > limits::JOURNAL_SOURCES_MAX {
                    let most = limits::JOURNAL_SOURCES_MAX;
                    return refuse(format!("is one more than the {most} sources {} can feed", directory.display()));
                }
            }
        }
        true
    });
}

/// Leaves out what is over the number of targets, and what does not fit into memory, with the arithmetic.
fn bound_targets(plan: &mut Plan, site: &Site) {
    let mut count = 0;
    let mut queues = 0;
    let complaints = &mut plan.complaints;
    plan.targets.retain(|target: &Arc<TargetPlan>| {
        let mut refuse = |text: String| {
            complaints.push(Complaint { kind: "target".to_owned(), name: target.name.clone(), text });
            false
        };
        count += 1;
        if count > limits::TARGETS_MAX {
            return refuse(format!("is one more than the {} targets a node takes", limits::TARGETS_MAX));
        }
        let own = if target.enabled { target.queue_bytes * site.lanes } else { 0 };
        let sum = limits::MEMORY_POOLS_BYTES + queues + own;
        match site.memory_max {
            Some(most) if own > 0 && sum > most => refuse(format!(
                "does not fit into memory: fixed pools {} + queues of other targets {} + its own queue {} \
                 × {} lane(s) = {}, and memory_max is {}",
                amount::bytes_text(limits::MEMORY_POOLS_BYTES),
                amount::bytes_text(queues),
                amount::bytes_text(target.queue_bytes),
                site.lanes,
                amount::bytes_text(sum),
                amount::bytes_text(most),
            )),
            _ => {
                queues += own;
                true
            }
        }
    });
}

fn complain(complaints: &mut Vec<Complaint>, object: &Object, text: String) {
    complaints.push(Complaint { kind: object.kind().singular().to_owned(), name: object.name().to_owned(), text });
}
