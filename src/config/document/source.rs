//! The source document: where lines come from and how they are read.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{
    schema::{Field, Shape, answer, built, later},
    target::Amount,
};

/// Formats as documents name them: built ones first.
pub const FORMATS: &[&str] = &["ZAP_JSON", "LOGFMT", "UNSTRUCTURED"];
/// Formats of the contract that are refused by name.
pub const FORMATS_LATER: &[&str] =
    &["DUROSLIGHT_TEXT", "GFTL_TEXT", "JSON", "EVENT_JSON", "CRI", "SYSLOG", "OSLO_TEXT", "LIBVIRT_TEXT", "PATTERN"];

pub(crate) const SCHEMA: &[Field] = &[
    built("name", Shape::Text),
    built(
        "journald",
        Shape::Object(&[
            built("identifier", Shape::Text),
            built("unit", Shape::Text),
            built("matches", Shape::Texts),
            built("namespace", Shape::Text),
            built("directory", Shape::Text),
        ]),
    ),
    built("file", Shape::Object(&[built("paths", Shape::Texts), built("exclude", Shape::Texts)])),
    built("logFormat", Shape::Word { built: FORMATS, later: FORMATS_LATER }),
    built("minLevel", Shape::Level),
    built("enabled", Shape::Bool),
    built("startAt", Shape::Text),
    built("labels", Shape::TextMap),
    built("metadata", Shape::Texts),
    built(
        "tenant",
        Shape::TextOrObject(&[built("from", Shape::Text), built("map", Shape::TextMap), built("default", Shape::Text)]),
    ),
    built("rateBytes", Shape::Amount),
    later("multiline"),
    later("pattern"),
    answer("complaints"),
    answer("managedBy"),
];

/// A source with its fields typed; what is not written is `None` or empty.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SourceDocument {
    pub name: String,
    pub journald: Option<JournaldDocument>,
    pub file: Option<FileDocument>,
    pub log_format: Option<String>,
    pub min_level: Option<String>,
    pub enabled: bool,
    pub start_at: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub metadata: Option<Vec<String>>,
    pub tenant: Option<TenantDocument>,
    pub rate_bytes: Option<Amount>,
}

/// A tenant by name, or where to find it.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum TenantDocument {
    Name(String),
    Rule(TenantRule),
}

/// `namespace` or `label:<name>`, what its values mean, and what counts without one.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TenantRule {
    pub from: Option<String>,
    pub map: BTreeMap<String, String>,
    pub default: Option<String>,
}

/// Journal entries to take.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct JournaldDocument {
    pub identifier: Option<String>,
    pub unit: Option<String>,
    /// `FIELD=value` each.
    pub matches: Vec<String>,
    pub namespace: Option<String>,
    pub directory: Option<String>,
}

/// Files to take.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FileDocument {
    pub paths: Vec<String>,
    pub exclude: Vec<String>,
}
