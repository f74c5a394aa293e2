//! A source document → `SourcePlan`.

use std::{path::PathBuf, time::Duration};

use serde::Deserialize;
use serde_json::Value;

use super::{Findings, Site, amount, glob};
use crate::{
    config::document::{
        Object, SourceDocument,
        source::{FileDocument, JournaldDocument, TenantDocument},
        spelling,
        target::Amount,
    },
    limits,
    model::Level,
    plan::{FileInput, Format, Input, JournalInput, MetadataField, SourcePlan, StartAt, Tenant},
};

/// Labels every stream has; a source cannot set them.
const RESERVED_LABELS: [&str; 5] = ["cluster", "node", "source", "service_name", "level"];
/// Where systemd-journald keeps its files (systemd-journald.service(8)).
const JOURNAL_ROOTS: [&str; 2] = ["/var/log/journal", "/run/log/journal"];
const START_AT_DEFAULT: StartAt = StartAt::Since(Duration::from_secs(3600));

pub fn compile(object: &Object, site: &Site, findings: &mut Findings<'_>) -> Option<SourcePlan> {
    let fields = Value::Object(object.document.fields().clone());
    let document = match SourceDocument::deserialize(&fields) {
        Ok(document) => document,
        Err(error) => {
            findings.add("", format!("cannot be read: {error}"));
            return None;
        }
    };
    let input = input(&document, site, findings);
    let format = format(&document, findings);
    let start_at = start_at(document.start_at.as_deref(), findings);
    let labels = labels(&document, findings);
    let metadata = metadata(document.metadata.as_deref(), findings);
    let tenant = tenant(&document, service_name(&document), site, findings);
    let rate_bytes = document.rate_bytes.as_ref().and_then(|written| rate(written, findings));
    Some(SourcePlan {
        id: object.id,
        name: document.name.clone(),
        enabled: document.enabled,
        input: input?,
        format: format?,
        min_level: level(document.min_level.as_deref()),
        start_at: start_at?,
        labels,
        metadata,
        tenant,
        rate_bytes,
    })
}

/// `rateBytes`, bytes a second.
fn rate(written: &Amount, findings: &mut Findings<'_>) -> Option<u64> {
    match amount::bytes(written) {
        Ok(bytes) if bytes as u64 >= limits::RATE_BYTES_MIN => Some(bytes as u64),
        Ok(bytes) => {
            let (given, least) = (amount::bytes_text(bytes), amount::bytes_text(limits::RATE_BYTES_MIN as usize));
            findings.add("rateBytes", format!("`rateBytes` {given} a second is less than {least}"));
            None
        }
        Err(text) => {
            findings.add("rateBytes", format!("`rateBytes`: {text}"));
            None
        }
    }
}

/// A level that reading has already judged; nothing written filters nothing.
pub fn level(word: Option<&str>) -> Level {
    word.and_then(|word| Level::parse(word.as_bytes())).unwrap_or(Level::Trace)
}

fn input(document: &SourceDocument, site: &Site, findings: &mut Findings<'_>) -> Option<Input> {
    match (&document.journald, &document.file) {
        (Some(journald), None) => journal(journald, site, findings).map(Input::Journal),
        (None, Some(file)) => files(file, findings).map(Input::File),
        (Some(_), Some(_)) => {
            findings.add("file", "has both `journald` and `file`; exactly one of them is taken");
            None
        }
        (None, None) => {
            let refused = ["journald", "file"].iter().any(|name| findings.read.iter().any(|r| r.field == *name));
            if !refused {
                findings.add("", "has neither `journald` nor `file`; exactly one of them is needed");
            }
            None
        }
    }
}

fn files(file: &FileDocument, findings: &mut Findings<'_>) -> Option<FileInput> {
    if file.paths.is_empty() {
        findings.add("file", "`file.paths` is empty; name at least one path");
    }
    let mut paths = Vec::new();
    for pattern in &file.paths {
        match glob::path(pattern) {
            Ok(path) => paths.push(path),
            Err(text) => findings.add("file", format!("`file.paths`: {text}")),
        }
    }
    let exclude = match glob::exclude(&file.exclude) {
        Ok(exclude) => exclude,
        Err(texts) => {
            texts.iter().for_each(|text| findings.add("file", format!("`file.exclude`: {text}")));
            return None;
        }
    };
    (!paths.is_empty() && paths.len() == file.paths.len()).then_some(FileInput { paths, exclude })
}

fn journal(journald: &JournaldDocument, site: &Site, findings: &mut Findings<'_>) -> Option<JournalInput> {
    for (name, value) in [("identifier", &journald.identifier), ("unit", &journald.unit)] {
        if value.as_ref().is_some_and(String::is_empty) {
            findings.add("journald", format!("`journald.{name}` is empty; leave it out to take everything"));
        }
    }
    let mut matches: Vec<(String, Vec<String>)> = Vec::new();
    for written in &journald.matches {
        match written.split_once('=') {
            Some((field, value)) if is_journal_field(field) => {
                match matches.iter_mut().find(|(known, _)| known == field) {
                    Some((_, values)) => values.push(value.to_owned()),
                    None => matches.push((field.to_owned(), vec![value.to_owned()])),
                }
            }
            _ => findings.add(
                "journald",
                format!("`journald.matches` {written:?} is not `FIELD=value` with a field like `_SYSTEMD_UNIT`"),
            ),
        }
    }
    Some(JournalInput {
        directories: directories(journald, site, findings)?,
        identifier: journald.identifier.clone(),
        unit: journald.unit.clone(),
        matches,
    })
}

/// The directory named, or the machine's own; a namespace lives beside them as `<machine-id>.<namespace>`
/// (systemd-journald.service(8), "Journal Namespaces").
fn directories(journald: &JournaldDocument, site: &Site, findings: &mut Findings<'_>) -> Option<Vec<PathBuf>> {
    match (&journald.directory, &journald.namespace) {
        (Some(_), Some(_)) => {
            findings.add("journald", "has both `journald.directory` and `journald.namespace`; one of them is taken");
            None
        }
        (Some(directory), None) if !directory.starts_with('/') || directory.contains("/../") => {
            findings.add("journald", format!("`journald.directory` {directory:?} is not an absolute path"));
            None
        }
        (Some(directory), None) => Some(vec![PathBuf::from(directory)]),
        (None, None) => Some(JOURNAL_ROOTS.map(PathBuf::from).to_vec()),
        (None, Some(namespace)) => {
            let good = |letter: char| letter.is_ascii_alphanumeric() || "_-.:".contains(letter);
            if namespace.is_empty() || !namespace.chars().all(good) {
                findings.add("journald", format!("`journald.namespace` {namespace:?} is not the name of a namespace"));
                return None;
            }
            let Some(machine) = &site.machine_id else {
                findings.add("journald", "`journald.namespace` needs /etc/machine-id, which cannot be read");
                return None;
            };
            let named = format!("{machine}.{namespace}");
            Some(JOURNAL_ROOTS.iter().map(|root| PathBuf::from(root).join(&named)).collect())
        }
    }
}

/// Field names of the journal: upper case, digits, underscores, at most 64 (systemd's journal-file rules).
fn is_journal_field(field: &str) -> bool {
    (1..=64).contains(&field.len())
        && field.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

/// What a source is a source of: its journald identifier, else its unit without `.service`, else its name.
pub fn service_name(document: &SourceDocument) -> &str {
    let journald = document.journald.as_ref();
    journald
        .and_then(|journald| journald.identifier.as_deref())
        .or_else(|| journald.and_then(|journald| journald.unit.as_deref()))
        .map_or(document.name.as_str(), |name| name.strip_suffix(".service").unwrap_or(name))
}

/// The format of a well-known service.
pub fn default_format(service: &str) -> Option<&'static str> {
    match service {
        "node-manager" | "cluster-manager" | "api-service" | "upgrade-manager" | "discovery-service"
        | "profile-generator" | "etcd" => Some("ZAP_JSON"),
        "lightbox-exporter" | "alloy" | "corelane" => Some("LOGFMT"),
        _ if service.starts_with("duroslight") => Some("DUROSLIGHT_TEXT"),
        _ if service.starts_with("gftl") => Some("GFTL_TEXT"),
        _ => None,
    }
}

fn format(document: &SourceDocument, findings: &mut Findings<'_>) -> Option<Format> {
    let service = service_name(document);
    let name = match document.log_format.as_deref() {
        Some(name) => name,
        None => match default_format(service) {
            Some(name) => name,
            None => {
                let text = format!(
                    "`logFormat` is missing and {service:?} is no well-known service with a default; \
                     ZAP_JSON, LOGFMT and UNSTRUCTURED are taken"
                );
                findings.add("logFormat", text);
                return None;
            }
        },
    };
    match name {
        "ZAP_JSON" => Some(Format::ZapJson),
        "LOGFMT" => Some(Format::Logfmt),
        "UNSTRUCTURED" => Some(Format::Unstructured),
        _ => {
            let text = format!(
                "`logFormat` {name}, the default of {service:?}, is not supported by this version; \
                 UNSTRUCTURED ships its lines as they are"
            );
            findings.add("logFormat", text);
            None
        }
    }
}

fn start_at(text: Option<&str>, findings: &mut Findings<'_>) -> Option<StartAt> {
    let Some(text) = text else { return Some(START_AT_DEFAULT) };
    let lower = text.to_ascii_lowercase();
    let wrong = match lower.split_once(':') {
        None if lower == "end" => return Some(StartAt::End),
        None if lower == "beginning" => return Some(StartAt::Beginning),
        Some(("since", duration)) => match amount::duration(duration) {
            Ok(duration) => return Some(StartAt::Since(duration)),
            Err(text) => text,
        },
        _ => format!("{text:?} is not one of `end`, `beginning` and `since:<duration>`"),
    };
    findings.add("startAt", format!("`startAt`: {wrong}"));
    None
}

fn labels(document: &SourceDocument, findings: &mut Findings<'_>) -> Vec<(String, String)> {
    let most = limits::LABELS_MAX - RESERVED_LABELS.len();
    if document.labels.len() > most {
        let text = format!("`labels` has {} names, at most {most} are taken", document.labels.len());
        findings.add("labels", text);
    }
    for (name, value) in &document.labels {
        if RESERVED_LABELS.contains(&name.as_str()) {
            findings.add("labels", format!("`labels.{name}` is reserved: every stream has that label already"));
        } else if !is_label_name(name) {
            let text = "is not a label name; letters, digits and `_` are, not first a digit, not `__` in front";
            findings.add("labels", format!("`labels` {name:?} {text}"));
        }
        if value.is_empty() || value.len() > limits::LABEL_VALUE_BYTES_MAX || value.contains(char::is_control) {
            let most = limits::LABEL_VALUE_BYTES_MAX;
            findings.add("labels", format!("`labels.{name}` must be 1 to {most} bytes without control characters"));
        }
    }
    document.labels.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// `[a-zA-Z_][a-zA-Z0-9_]*`, as Loki takes it; a leading `__` is its own.
pub(super) fn is_label_name(name: &str) -> bool {
    (1..=limits::LABEL_NAME_BYTES_MAX).contains(&name.len())
        && !name.starts_with("__")
        && !name.starts_with(|letter: char| letter.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn metadata(names: Option<&[String]>, findings: &mut Findings<'_>) -> Vec<MetadataField> {
    let Some(names) = names else { return MetadataField::DEFAULT.to_vec() };
    let mut fields = Vec::new();
    for name in names {
        let flat = spelling::flat(name);
        match MetadataField::ALL.iter().find(|field| spelling::flat(field.as_str()) == flat) {
            Some(field) if fields.contains(field) => {}
            Some(field) => fields.push(*field),
            None => {
                let known = MetadataField::ALL.map(MetadataField::as_str);
                let hint = match spelling::did_you_mean(name, known) {
                    hint if hint.is_empty() => format!("; {} are", spelling::listed(&known)),
                    hint => hint,
                };
                findings.add("metadata", format!("`metadata` {name:?} is not a known field{hint}"));
            }
        }
    }
    fields
}

/// Where the tenant of the lines comes from. What is the same for all lines of a source is found out here.
fn tenant(document: &SourceDocument, service: &str, site: &Site, findings: &mut Findings<'_>) -> Tenant {
    let rule = match &document.tenant {
        None => return Tenant::Target,
        Some(TenantDocument::Name(name)) => {
            check_tenant(name, findings);
            return Tenant::Is(name.clone());
        }
        Some(TenantDocument::Rule(rule)) => rule,
    };
    rule.map.values().chain(&rule.default).for_each(|tenant| check_tenant(tenant, findings));
    let from = rule.from.as_deref().unwrap_or_default();
    let value = match from.split_once(':') {
        None if from == "namespace" => match &document.journald {
            Some(journald) => journald.namespace.clone(),
            None => return Tenant::Namespace { map: rule.map.clone(), default: rule.default.clone() },
        },
        Some(("label", "source")) => Some(document.name.clone()),
        Some(("label", "service_name")) => Some(service.to_owned()),
        Some(("label", "node")) => Some(site.node.clone()),
        Some(("label", "cluster")) => Some(site.cluster.clone()),
        Some(("label", "level")) => {
            findings.add("tenant", "`tenant.from`: the level is another for each line; a tenant is one for a source");
            None
        }
        Some(("label", name)) => match document.labels.get(name) {
            Some(value) => Some(value.clone()),
            None => {
                findings.add("tenant", format!("`tenant.from`: the source has no label {name:?}"));
                None
            }
        },
        _ => {
            findings.add("tenant", format!("`tenant.from` {from:?} is neither `namespace` nor `label:<name>`"));
            None
        }
    };
    let found = match value {
        Some(value) if !value.is_empty() => match rule.map.get(&value) {
            Some(tenant) => Some(tenant.clone()),
            None if rule.map.is_empty() => {
                check_tenant(&value, findings);
                Some(value)
            }
            None => rule.default.clone(),
        },
        _ => rule.default.clone(),
    };
    found.map_or(Tenant::Target, Tenant::Is)
}

/// Loki's rule for `X-Scope-OrgID` ("Manage tenant isolation", dskit `ValidTenantID`).
pub fn check_tenant(tenant: &str, findings: &mut Findings<'_>) {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"!-_.*'()".contains(&byte);
    let length = (1..=limits::TENANT_BYTES_MAX).contains(&tenant.len());
    if !length || !tenant.bytes().all(good) || tenant == "." || tenant == ".." {
        let most = limits::TENANT_BYTES_MAX;
        let text = format!("`tenant` {tenant:?} is not one Loki takes: 1 to {most} letters, digits or `!-_.*'()`");
        findings.add("tenant", text);
    }
}
