//! Objects as answers show them: what is written, what the contract adds, and what is wrong.

use serde_json::{Map, Value};

use crate::{
    config::{
        Kind, Object, Origin,
        compile::{self, certificate_facts},
        document::SourceDocument,
    },
    model::Nanos,
    plan::Complaint,
};

/// An object as an answer shows it.
#[derive(Clone, Debug)]
pub struct View {
    pub fields: Map<String, Value>,
    /// Its `ETag`.
    pub revision: u64,
}

impl View {
    /// What is written, what the contract adds, and which of `complaints` are about it.
    pub fn of(object: &Object, complaints: &[Complaint]) -> Self {
        let mut fields = object.document.shown();
        match object.kind() {
            Kind::Source => add_source_defaults(&mut fields),
            Kind::Target => {
                fields.entry("enabled").or_insert(Value::Bool(false));
            }
            Kind::TlsBundle => add_certificate_facts(&mut fields),
        }
        let about_it = complaints.iter().filter(|c| c.kind == object.kind().singular() && c.name == object.name());
        let texts: Vec<Value> = about_it.map(|complaint| Value::String(complaint.text.clone())).collect();
        if !texts.is_empty() {
            fields.insert("complaints".to_owned(), Value::Array(texts));
        }
        if let Origin::File(path) = &object.origin {
            fields.insert("managedBy".to_owned(), Value::String(path.display().to_string()));
        }
        Self { fields, revision: object.revision }
    }
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
