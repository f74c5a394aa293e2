//! Where things lie in etcd, and what one object looks like there.
//!
//! ```text
//! /corelane/<cluster>/v1/alive/<node>              leased: there as long as the node is
//! /corelane/<cluster>/v1/collectors/<node>         what it last said of itself
//! /corelane/<cluster>/v1/history/<revision>        who, what, when, and how to undo it
//! /corelane/<cluster>/v1/sources/<name>            {"id": "…", "source": {…}}
//! /corelane/<cluster>/v1/targets/<name>            {"id": "…", "target": {…}}
//! /corelane/<cluster>/v1/tls-bundles/<name>        {"id": "…", "tlsBundle": {…}}
//! ```
//! The order is on purpose: from `history/` to the last bundle is one range, so that one watch has every change whole
//! and never sees the nodes' heartbeats. An object written by another hand may be the flat document alone.

use serde_json::{Map, Value, json};
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    config::{Kind, Refusal, document::check_name},
    limits,
    model::ObjectId,
};

/// The keys of one cluster.
#[derive(Clone, Debug)]
pub struct Layout {
    root: String,
}

/// What a key is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Object(Kind, String),
    History(u64),
    /// Within our range and nothing we know.
    Stranger(String),
}

/// One value, as far as it can be read. What is wrong with it stands in `refusals`.
#[derive(Debug)]
pub struct Found {
    pub id: ObjectId,
    pub document: Map<String, Value>,
    pub refusals: Vec<Refusal>,
}

impl Layout {
    pub fn new(cluster: &str) -> Self {
        Self { root: format!("/corelane/{}/v1/", escaped(cluster)) }
    }

    pub fn object(&self, kind: Kind, name: &str) -> String {
        format!("{}{}/{name}", self.root, kind.plural())
    }

    pub fn history(&self, revision: u64) -> String {
        format!("{}history/{revision:020}", self.root)
    }

    pub fn alive(&self, node: &str) -> String {
        format!("{}alive/{}", self.root, escaped(node))
    }

    pub fn collector(&self, node: &str) -> String {
        format!("{}collectors/{}", self.root, escaped(node))
    }

    /// All objects: first key, and the key after the last.
    pub fn objects(&self) -> (String, String) {
        (format!("{}sources/", self.root), format!("{}tls-bundles0", self.root))
    }

    /// History and objects.
    pub fn watched(&self) -> (String, String) {
        (format!("{}history/", self.root), format!("{}tls-bundles0", self.root))
    }

    /// All keys of a folder: `history`, `alive`, `collectors`.
    pub fn folder(&self, name: &str) -> String {
        format!("{}{name}/", self.root)
    }

    pub fn place(&self, key: &[u8]) -> Place {
        let text = String::from_utf8_lossy(key).into_owned();
        let known = || {
            let (folder, name) = text.strip_prefix(self.root.as_str())?.split_once('/')?;
            if folder == "history" {
                return name.parse().ok().map(Place::History);
            }
            let kind = Kind::ALL.into_iter().find(|kind| kind.plural() == folder)?;
            check_name(name).is_ok().then(|| Place::Object(kind, name.to_owned()))
        };
        match known() {
            Some(place) => place,
            None => Place::Stranger(text),
        }
    }
}

/// An object as it lies in etcd.
pub fn encode(kind: Kind, id: ObjectId, sealed: &Map<String, Value>) -> Vec<u8> {
    json!({ "id": id.0.to_string(), kind.wrapper(): sealed }).to_string().into_bytes()
}

/// Reads whatever somebody put there. `known` is the identity an object of this name has already; one that has none and
/// brings none gets the same on every node.
pub fn decode(kind: Kind, name: &str, value: &[u8], known: Option<ObjectId>, created: i64) -> Found {
    let mut refusals = Vec::new();
    let mut refuse = |text: String| refusals.push(Refusal::new("", text));
    let mut map = Map::new();
    if value.len() > limits::CHANGE_BYTES_MAX {
        refuse(format!("has {} bytes in etcd, at most {} are read", value.len(), limits::CHANGE_BYTES_MAX));
    } else {
        match serde_json::from_slice(value) {
            Ok(Value::Object(found)) => map = found,
            Ok(_) => refuse("is no JSON object in etcd".to_owned()),
            // The error gives a place, never the text itself.
            Err(error) => refuse(format!("is not JSON in etcd: {error}")),
        }
    }
    let id = map.get("id").and_then(|id| id.as_str()?.parse().ok()).map(ObjectId);
    let wrapped = map.get(kind.wrapper()).and_then(Value::as_object);
    let mut document = match (wrapped, map.len()) {
        (Some(document), 1 | 2) => document.clone(),
        _ => map,
    };
    match document.get("name") {
        Some(Value::String(own)) if own != name => {
            let text = format!("`name` says {own:?}, and its key in etcd {name:?}");
            refusals.push(Refusal::new("name", text));
            document.insert("name".to_owned(), json!(name));
        }
        Some(Value::String(_)) => {}
        _ => {
            document.insert("name".to_owned(), json!(name));
        }
    }
    let derived = || ObjectId(xxh3_64(format!("{}/{name}/{created}", kind.plural()).as_bytes()));
    Found { id: id.or(known).unwrap_or_else(derived), document, refusals }
}

/// A name as one step of a key: what is neither letter, digit nor `._-` as `%` and two hex digits.
fn escaped(name: &str) -> String {
    let step = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    name.bytes().map(step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_what_the_documentation_says() {
        let layout = Layout::new("lab 1");
        assert_eq!(layout.object(Kind::TlsBundle, "b"), "/corelane/lab%201/v1/tls-bundles/b");
        assert_eq!(layout.history(12), "/corelane/lab%201/v1/history/00000000000000000012");
        assert_eq!(layout.alive("n/1"), "/corelane/lab%201/v1/alive/n%2F1");
        for kind in Kind::ALL {
            let key = layout.object(kind, "a.b-c_d");
            assert_eq!(layout.place(key.as_bytes()), Place::Object(kind, "a.b-c_d".into()));
            let (from, to) = layout.objects();
            assert!(from <= key && key < to);
        }
        assert_eq!(layout.place(layout.history(12).as_bytes()), Place::History(12));
        for stranger in
            ["/corelane/lab%201/v1/sources/a/b", "/corelane/lab%201/v1/sources/..", "/corelane/other/v1/x/y"]
        {
            assert_eq!(layout.place(stranger.as_bytes()), Place::Stranger(stranger.into()));
        }
    }

    #[test]
    fn one_range_has_the_changes_and_no_heartbeats() {
        let layout = Layout::new("c");
        let (from, to) = layout.watched();
        let inside = |key: String| from <= key && key < to;
        assert!(inside(layout.history(0)) && inside(layout.history(u64::MAX)));
        assert!(Kind::ALL.into_iter().all(|kind| inside(layout.object(kind, "zzz"))));
        assert!(!inside(layout.alive("n")) && !inside(layout.collector("n")));
    }

    #[test]
    fn what_was_written_is_read() {
        let document = json!({"name": "a", "journald": {"identifier": "x"}}).as_object().unwrap().clone();
        let value = encode(Kind::Source, ObjectId(u64::MAX), &document);
        let read = decode(Kind::Source, "a", &value, None, 7);
        assert_eq!((read.id, read.document, read.refusals), (ObjectId(u64::MAX), document, vec![]));
    }

    #[test]
    fn what_another_hand_wrote_is_taken_or_complained_of() {
        let flat = br#"{"journald": {"identifier": "x"}}"#;
        let read = decode(Kind::Source, "a", flat, None, 7);
        assert_eq!((read.document["name"].clone(), read.refusals.len()), (json!("a"), 0));
        assert_eq!(read.id, decode(Kind::Source, "a", b"rubbish", None, 7).id, "the same on every node");
        assert_ne!(read.id, decode(Kind::Source, "a", flat, None, 8).id, "made again it is another one");
        assert_eq!(decode(Kind::Source, "a", flat, Some(ObjectId(3)), 7).id, ObjectId(3));
        for (value, expected) in [
            (&b"rubbish"[..], "is not JSON in etcd: expected value at line 1 column 1"),
            (b"[1]", "is no JSON object in etcd"),
            (b"\xff\xfe", "is not JSON in etcd"),
            (br#"{"name": "b"}"#, "`name` says \"b\", and its key in etcd \"a\""),
            (&vec![b' '; limits::CHANGE_BYTES_MAX + 1], "at most 1048576 are read"),
        ] {
            let read = decode(Kind::Source, "a", value, None, 7);
            assert!(read.refusals[0].text.contains(expected), "{:?}", read.refusals);
            assert_eq!(read.document["name"], json!("a"));
        }
    }
}
