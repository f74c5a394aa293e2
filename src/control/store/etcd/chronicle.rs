//! Entries of the history in etcd: who, what, when, and sealed with it how to undo it.
//!
//! The undo is what the objects were before, compressed: half a change, so that 50 of them cost little. All objects as
//! they were at a revision are those of now with everything younger undone. What another hand changed while no node
//! looked cannot be undone; nobody can look back beyond it.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use super::mirror::Before;
use crate::{
    control::store::change::Entry,
    fault::{Fault, Kind},
    limits,
};

const LEVEL: i32 = 3;

/// An entry as it lies in etcd.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Chronicle {
    #[serde(flatten)]
    pub entry: Entry,
    /// Tells whether an entry is the one that this node wrote and did not hear of again.
    #[serde(default)]
    pub nonce: String,
    /// It tells of what another hand changed, up to this revision of etcd.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub covers: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    undo: Option<String>,
}

impl Chronicle {
    /// # Errors
    /// The undo cannot be compressed, or there are no random numbers.
    pub fn new(entry: Entry, undo: Option<&[Before]>) -> Result<Self, Fault> {
        let fault = |text: String| Fault::new(Kind::Internal, "history", text);
        let nonce = getrandom::u64().map_err(|error| fault(format!("no random numbers: {error}")))?;
        let undo = match undo {
            Some(undo) => {
                let text = serde_json::to_vec(undo).map_err(|error| fault(error.to_string()))?;
                let packed = zstd::bulk::compress(&text, LEVEL).map_err(|error| fault(error.to_string()))?;
                Some(STANDARD.encode(packed))
            }
            None => None,
        };
        Ok(Self { entry, nonce: format!("{nonce:016x}"), covers: None, undo })
    }

    /// It tells of what another hand changed, up to this revision of etcd.
    pub fn covering(self, upto: i64) -> Self {
        Self { covers: Some(upto), ..self }
    }

    /// `None` when it is not one.
    pub fn decode(value: &[u8]) -> Option<Self> {
        serde_json::from_slice(value).ok()
    }

    pub fn encode(&self) -> Vec<u8> {
        // Only texts and numbers, which never fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// How the objects were that it touched; `None` when that is not known.
    pub fn undo(&self) -> Option<Vec<Before>> {
        let packed = STANDARD.decode(self.undo.as_ref()?).ok()?;
        let text = zstd::bulk::decompress(&packed, limits::STORE_BYTES_MAX).ok()?;
        serde_json::from_slice(&text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_comes_back_with_its_undo() {
        let entry = Entry { revision: 7, at: "t".into(), who: "me".into(), what: "x".into(), touched: vec![] };
        let undo = [
            Before { kind: "source".into(), name: "a".into(), value: Some("{}".into()) },
            Before { kind: "source".into(), name: "b".into(), value: None },
        ];
        let written = Chronicle::new(entry.clone(), Some(&undo)).unwrap();
        let read = Chronicle::decode(&written.encode()).unwrap();
        assert_eq!((read.undo().unwrap(), &read.nonce), (undo.to_vec(), &written.nonce));
        assert_eq!(read.entry, entry);
        assert!(Chronicle::new(entry, None).unwrap().undo().is_none());
        assert!(Chronicle::decode(b"rubbish").is_none());
    }
}
