//! All objects at one revision as bytes of a file, with a checksum.
//!
//! ```text
//! corelane-store 1 <xxh3 of the body, 16 hex digits> <length of the body>\n
//! <JSON: revision, at, who, what, touched, objects>
//! ```

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use xxhash_rust::xxh3::xxh3_64;

use super::change::{Entry, Snapshot, Touched};
use crate::{
    config::{Document, Kind, Object, Origin},
    control::seal::{Keyring, Standing},
    fault::{Fault, Kind as FaultKind},
    limits,
    model::ObjectId,
    plan::Complaint,
};

const MAGIC: &str = "corelane-store 1";

/// One revision as it lies on disk.
#[derive(Deserialize, Serialize)]
pub struct Image {
    pub revision: u64,
    pub at: String,
    #[serde(default)]
    pub who: String,
    #[serde(alias = "cause")]
    pub what: String,
    #[serde(default)]
    pub touched: Vec<Touched>,
    /// Digest of the objects directory it was in force with, as a text since JSON numbers do not hold 64 bits
    /// everywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// The cluster whose objects these are, where they are a copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    pub objects: Vec<Kept>,
}

/// One object as it lies on disk.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Kept {
    pub kind: String,
    /// A text, for the same reason.
    pub id: String,
    pub revision: u64,
    pub document: Map<String, Value>,
}

impl Image {
    /// # Errors
    /// All objects together are too large.
    pub fn encode(&self) -> Result<Vec<u8>, Fault> {
        let body = serde_json::to_vec(self).map_err(|error| {
            Fault::new(FaultKind::Internal, "store", format!("a revision cannot be written: {error}"))
        })?;
        if body.len() >= limits::STORE_BYTES_MAX {
            let text =
                format!("all objects together take {} bytes, at most {} are kept", body.len(), limits::STORE_BYTES_MAX);
            return Err(Fault::new(FaultKind::Exhausted, "store", text));
        }
        let mut bytes = format!("{MAGIC} {:016x} {}\n", xxh3_64(&body), body.len()).into_bytes();
        bytes.extend_from_slice(&body);
        Ok(bytes)
    }

    /// # Errors
    /// What is wrong with the bytes, in words.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        let end = bytes.iter().position(|byte| *byte == b'\n').ok_or("it has no header")?;
        let header = std::str::from_utf8(&bytes[..end]).map_err(|_| "its header is not text")?;
        let body = &bytes[end + 1..];
        let rest = header.strip_prefix(MAGIC).ok_or("its header is not a store's")?;
        let (hash, length) = rest.trim_start().split_once(' ').ok_or("its header is cut off")?;
        if length.parse() != Ok(body.len()) {
            return Err(format!("it has {} bytes and should have {length}", body.len()));
        }
        if u64::from_str_radix(hash, 16) != Ok(xxh3_64(body)) {
            return Err("its checksum does not match".to_owned());
        }
        serde_json::from_slice(body).map_err(|error| format!("it is not what a store writes: {error}"))
    }

    /// The objects, with a complaint about what could not be brought back. `place` names the image in it.
    pub fn snapshot(&self, place: &str, ring: &Keyring) -> Snapshot {
        let mut snapshot = Snapshot { revision: self.revision, ..Snapshot::default() };
        for kept in &self.objects {
            snapshot.take(kept.open(ring));
        }
        let lost = self.objects.len() - snapshot.objects.len();
        if lost > 0 {
            snapshot.complaints.push(Complaint {
                kind: place.to_owned(),
                name: String::new(),
                text: format!("{lost} object(s) are of a kind this version does not know"),
            });
        }
        snapshot
    }

    /// Digest of the objects directory, if one was noted.
    pub fn noted(&self) -> Option<u64> {
        u64::from_str_radix(self.directory.as_deref()?, 16).ok()
    }

    pub fn entry(&self) -> Entry {
        Entry {
            revision: self.revision,
            at: self.at.clone(),
            who: self.who.clone(),
            what: self.what.clone(),
            touched: self.touched.clone(),
        }
    }
}

impl Kept {
    /// As it may be kept: secrets sealed.
    ///
    /// # Errors
    /// It has a secret and there is no key.
    pub fn seal(id: ObjectId, revision: u64, document: &Document, ring: &Keyring) -> Result<Self, Fault> {
        let kind = document.kind();
        let document = ring.seal(kind, document.fields())?;
        Ok(Self { kind: kind.singular().to_owned(), id: id.0.to_string(), revision, document })
    }

    /// Whether it is this object.
    pub fn is(&self, kind: Kind, name: &str) -> bool {
        self.name() == name && Kind::parse(&self.kind) == Some(kind)
    }

    fn name(&self) -> &str {
        self.document.get("name").and_then(Value::as_str).unwrap_or_default()
    }

    /// The object, and what this node's keys are to its secrets; `None` when kind or id cannot be read. The document is
    /// judged anew, since it may have been written by another version.
    pub fn open(&self, ring: &Keyring) -> Option<(Object, Standing)> {
        let kind = Kind::parse(&self.kind)?;
        let opened = ring.unseal(kind, self.name(), &self.document);
        let mut refusals = opened.refusals;
        let reading = Document::read(kind, &Value::Object(opened.fields));
        refusals.extend(reading.refusals);
        let id = ObjectId(self.id.parse().ok()?);
        let object =
            Object { id, revision: self.revision, origin: Origin::Store, document: reading.document, refusals };
        Some((object, opened.standing))
    }
}
