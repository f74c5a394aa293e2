//! Configuration as a value: validated, complete, immutable.
//!
//! `config::compile` makes a `Plan` from documents; lanes and egress get it by order and never see a document. What is
//! optional in a document is decided here: a plan has no "unset" that somebody below would have to interpret.

pub mod source;
pub mod target;

pub use source::{FileInput, Format, Input, JournalInput, MetadataField, SourcePlan, StartAt, Tenant};
pub use target::{
    Auth, ConsolePlan, Framing, LokiLimits, LokiPlan, Output, Pick, Protocol, Route, Secret, SyslogPlan, TargetKind,
    TargetPlan, TlsBundle, TooOld,
};

use std::sync::Arc;

use crate::model::ObjectId;

/// One whole configuration in force. A record is handled wholly under one plan.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Counts up with every accepted change; 0 is the empty plan before the first document.
    pub revision: u64,
    pub cluster: String,
    pub node: String,
    /// Enabled and disabled ones, ordered by name.
    pub sources: Vec<Arc<SourcePlan>>,
    /// Enabled and disabled ones, ordered by name; at most `limits::TARGETS_MAX`.
    pub targets: Vec<Arc<TargetPlan>>,
    /// What was left out, and why. The rest of the plan is in force.
    pub complaints: Vec<Complaint>,
}

impl Plan {
    pub fn empty(cluster: &str, node: &str) -> Self {
        Self {
            revision: 0,
            cluster: cluster.to_owned(),
            node: node.to_owned(),
            sources: Vec::new(),
            targets: Vec::new(),
            complaints: Vec::new(),
        }
    }

    pub fn source(&self, id: ObjectId) -> Option<&Arc<SourcePlan>> {
        self.sources.iter().find(|source| source.id == id)
    }

    pub fn target(&self, id: ObjectId) -> Option<&Arc<TargetPlan>> {
        self.targets.iter().find(|target| target.id == id)
    }

    /// Whether lines of `source` go to `target`, both being enabled.
    pub fn routes(&self, source: &SourcePlan, target: &TargetPlan) -> bool {
        source.enabled && target.enabled && target.route.takes(source)
    }
}

/// Why one object is not (or not wholly) in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// `source`, `target`, `tls-bundle`, or a file path.
    pub kind: String,
    pub name: String,
    pub text: String,
}
