//! Objects as written: sources, targets and TLS bundles as JSON documents with the habits of protobuf-JSON.
//!
//! A document is kept as it was written, only its spelling made one: field names in lowerCamelCase, enum values as the
//! names of the contract. So a read returns what was written. What a document means is decided in `compile`; here only
//! names and types are judged, all of them at once.

pub mod schema;
pub mod secret;
pub mod source;
pub mod spelling;
pub mod target;
pub mod tls_bundle;

#[cfg(test)]
mod tests;

pub use source::SourceDocument;
pub use target::TargetDocument;
pub use tls_bundle::TlsBundleDocument;

use std::{fmt, path::PathBuf};

use serde_json::{Map, Value};

use self::schema::Field;
use crate::{limits, model::ObjectId};

/// The kinds of objects people write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Source,
    Target,
    TlsBundle,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Source, Self::Target, Self::TlsBundle];

    /// `source`, `target`, `tls-bundle`: in complaints, in `kind:` and on the command line.
    pub fn singular(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Target => "target",
            Self::TlsBundle => "tls-bundle",
        }
    }

    /// The word in a path of the API.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Source => "sources",
            Self::Target => "targets",
            Self::TlsBundle => "tls-bundles",
        }
    }

    /// The word a wrapped body may use: `{"source": {…}}`.
    pub fn wrapper(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Target => "target",
            Self::TlsBundle => "tlsBundle",
        }
    }

    /// The word a list answer is wrapped in.
    pub fn list_wrapper(self) -> &'static str {
        match self {
            Self::Source => "sources",
            Self::Target => "targets",
            Self::TlsBundle => "tlsBundles",
        }
    }

    /// As the fixed error texts name it at the start of a sentence.
    pub fn title(self) -> &'static str {
        match self {
            Self::Source => "Source",
            Self::Target => "Target",
            Self::TlsBundle => "TLS bundle",
        }
    }

    /// From `source`, `tls-bundle`, `TLS_BUNDLE`, `tlsBundle` …
    pub fn parse(word: &str) -> Option<Self> {
        let word = spelling::flat(word);
        Self::ALL.into_iter().find(|kind| spelling::flat(kind.singular()) == word)
    }

    pub(crate) fn schema(self) -> &'static [Field] {
        match self {
            Self::Source => source::SCHEMA,
            Self::Target => target::SCHEMA,
            Self::TlsBundle => tls_bundle::SCHEMA,
        }
    }
}

/// One thing wrong with a document: the field it is about, and what is wrong in words that name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Top-level field; empty when it is about the document as a whole.
    pub field: String,
    pub text: String,
}

impl Refusal {
    pub fn new(field: &str, text: impl Into<String>) -> Self {
        Self { field: field.to_owned(), text: text.into() }
    }
}

/// An object as written, in one spelling. Its `Debug` shows no values, since some are secret.
#[derive(Clone, PartialEq)]
pub struct Document {
    kind: Kind,
    fields: Map<String, Value>,
}

/// What reading a document gave: what is good of it, and all that is wrong with it.
#[derive(Clone, Debug)]
pub struct Reading {
    pub document: Document,
    pub refusals: Vec<Refusal>,
}

impl Document {
    /// Reads a flat or wrapped body. Never fails: what is wrong stands in `refusals`, what is right in `document`.
    pub fn read(kind: Kind, body: &Value) -> Reading {
        let mut refusals = Vec::new();
        let fields = match unwrapped(kind, body) {
            Some(map) => schema::read(kind.schema(), map, &mut refusals),
            None => {
                refusals.push(Refusal::new("", format!("a {} must be a JSON object", kind.singular())));
                Map::new()
            }
        };
        let document = Self { kind, fields };
        if refusals.iter().all(|refusal| refusal.field != "name")
            && let Err(text) = check_name(document.name())
        {
            refusals.push(Refusal::new("name", text));
        }
        Reading { document, refusals }
    }

    /// Reads the body of a PUT, whose name stands in the path: it may be left out, and may not be another.
    pub fn read_named(kind: Kind, body: &Value, name: &str) -> Reading {
        let Some(map) = unwrapped(kind, body) else { return Self::read(kind, body) };
        let mut map = map.clone();
        map.entry("name").or_insert_with(|| Value::String(name.to_owned()));
        let mut reading = Self::read(kind, &Value::Object(map));
        reading.refuse_renaming(name);
        reading
    }

    /// This document with a JSON merge patch (RFC 7396) laid over it, read again as a whole: null removes a field.
    pub fn merge(&self, patch: &Value) -> Reading {
        let mut merged = Value::Object(self.fields.clone());
        let patch = match unwrapped(self.kind, patch) {
            Some(map) => {
                let mut refusals = Vec::new();
                let patch = schema::spell(self.kind.schema(), map, &mut refusals);
                if !refusals.is_empty() {
                    return Reading { document: self.clone(), refusals };
                }
                patch
            }
            None => {
                let refusals = vec![Refusal::new("", "a merge patch must be a JSON object")];
                return Reading { document: self.clone(), refusals };
            }
        };
        merge_patch(&mut merged, &Value::Object(patch));
        let mut reading = Self::read(self.kind, &merged);
        reading.refuse_renaming(self.name());
        reading
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The object's name; empty when there is none.
    pub fn name(&self) -> &str {
        self.fields.get("name").and_then(Value::as_str).unwrap_or_default()
    }

    /// The fields as written, secrets included: for the store and for `compile`.
    pub(crate) fn fields(&self) -> &Map<String, Value> {
        &self.fields
    }

    /// The fields as they may be shown: what is secret is left away.
    pub fn shown(&self) -> Map<String, Value> {
        schema::without_secrets(self.kind.schema(), &self.fields)
    }
}

impl Reading {
    fn refuse_renaming(&mut self, name: &str) {
        if self.document.name() != name && self.refusals.iter().all(|refusal| refusal.field != "name") {
            self.refusals.push(Refusal::new("name", format!("`name` cannot be changed; it is {name:?}")));
        }
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Document({} {:?})", self.kind.singular(), self.name())
    }
}

/// Where an object comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Written through the API.
    Store,
    /// Read from a file of the objects directory; the API cannot change it.
    File(PathBuf),
}

/// A document with its identity.
#[derive(Clone, Debug)]
pub struct Object {
    pub id: ObjectId,
    /// Revision that last changed it; its `ETag`.
    pub revision: u64,
    pub origin: Origin,
    pub document: Document,
    /// What reading the document already refused; `compile` adds the rest.
    pub refusals: Vec<Refusal>,
}

impl Object {
    pub fn kind(&self) -> Kind {
        self.document.kind()
    }

    pub fn name(&self) -> &str {
        self.document.name()
    }
}

/// Names are 1–253 of `[A-Za-z0-9._-]`, and neither `.` nor `..`, which are no names in a path.
pub fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("`name` is missing".to_owned());
    }
    if name.len() > limits::NAME_BYTES_MAX {
        return Err(format!("`name` has {} characters, at most {} are taken", name.len(), limits::NAME_BYTES_MAX));
    }
    if let Some(bad) = name.chars().find(|letter| !(letter.is_ascii_alphanumeric() || "._-".contains(*letter))) {
        return Err(format!("`name` has {bad:?} in it; letters, digits and `._-` are taken"));
    }
    if name == "." || name == ".." {
        return Err(format!("`name` cannot be {name:?}"));
    }
    Ok(())
}

/// The flat object of a body, whether it was wrapped or not.
fn unwrapped(kind: Kind, body: &Value) -> Option<&Map<String, Value>> {
    let map = body.as_object()?;
    let mut entries = map.iter();
    match (entries.next(), entries.next()) {
        (Some((key, Value::Object(inner))), None) if spelling::camel(key) == kind.wrapper() => Some(inner),
        _ => Some(map),
    }
}

/// RFC 7396: null removes, objects merge, all else replaces.
fn merge_patch(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else { return };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            merge_patch(target.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}
