//! What this node knows of etcd: every object as it lies there and as it reads, and the head of the history.
//!
//! Whole reads and events of the watch are folded in, in any order: what is older than what is known is passed over.
//! An object that cannot be read is one complaint; the others are what they are.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    by_hand::{ByHand, Summary},
    chronicle::Chronicle,
    layout::{self, Layout, Place},
};
use crate::{
    config::{Document, Kind, Object, Origin},
    control::{
        seal::{Keyring, Standing},
        store::{
            change::{Action, Snapshot},
            image::Kept,
        },
    },
    model::ObjectId,
    plan::Complaint,
};

/// Kind and name.
pub type Key = (Kind, String);

/// A key with its value, as a read or an event gives it; no value: deleted.
#[derive(Clone, Debug)]
pub struct Seen {
    pub key: Vec<u8>,
    pub value: Option<Vec<u8>>,
    pub created: i64,
    pub modified: i64,
}

/// One object.
struct Item {
    value: Vec<u8>,
    created: i64,
    modified: i64,
    object: Object,
    standing: Standing,
    /// Secrets that lie in etcd in the clear.
    plain: Vec<String>,
}

/// The head of the history: the revision of the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    pub revision: u64,
    pub modified: i64,
}

/// How one object was before: its value, or `None` when it was not there.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub struct Before {
    pub kind: String,
    pub name: String,
    pub value: Option<String>,
}

/// See the module doc.
pub struct Mirror {
    layout: Layout,
    ring: Keyring,
    items: BTreeMap<Key, Item>,
    strangers: BTreeMap<String, i64>,
    head: Head,
    /// Revision of etcd up to which this is complete; 0 before the first read.
    at: i64,
    by_hand: ByHand,
    /// Objects from disk, in force until the first read; afterwards only their identities count.
    kept: Vec<Kept>,
}

impl Mirror {
    /// Before the first read: what was kept on disk.
    pub fn new(layout: Layout, ring: Keyring, revision: u64, kept: Vec<Kept>) -> Self {
        let head = Head { revision, modified: 0 };
        let (items, strangers) = (BTreeMap::new(), BTreeMap::new());
        Self { layout, ring, items, strangers, head, at: 0, by_hand: ByHand::default(), kept }
    }

    pub fn at(&self) -> i64 {
        self.at
    }

    pub fn head(&self) -> Head {
        self.head
    }

    /// What another hand changed, and no entry of the history tells of yet.
    pub fn by_hand(&self) -> Option<Summary> {
        self.by_hand.summary()
    }

    /// Whether another hand changed something of which no entry of the history tells.
    pub fn is_touched(&self) -> bool {
        !self.by_hand.is_empty()
    }

    /// Takes a whole read at revision `at`. `sure` ones count even if they go back in time: etcd was restored then.
    pub fn fold_read(&mut self, seen: Vec<Seen>, head: Head, at: i64, sure: bool) {
        if at < self.at && !sure {
            return;
        }
        let keys: BTreeSet<Vec<u8>> = seen.iter().map(|seen| seen.key.clone()).collect();
        // Between two looks at one head nobody but another hand changed anything.
        let same_head = self.at > 0 && head == self.head;
        if same_head {
            self.note_differences(&seen, &keys, at);
        }
        let layout = &self.layout;
        self.items.retain(|(kind, name), _| keys.contains(layout.object(*kind, name).as_bytes()));
        self.strangers.clear();
        for seen in seen {
            self.take(seen);
        }
        if !same_head {
            // Whoever wrote the head may have told of what was before it; not so of what came after, such as a deletion
            // of which this read shows nothing. In an etcd that was restored nothing of it is true any more.
            self.by_hand.covered(if at < self.at { i64::MAX } else { head.modified });
            for (key, item) in self.items.iter().filter(|(_, item)| item.modified > head.modified) {
                if !self.by_hand.knows(item.modified) {
                    self.by_hand.note(key, Action::Changed, item.modified, None);
                }
            }
        }
        self.head = head;
        self.at = at;
    }

    fn note_differences(&mut self, seen: &[Seen], keys: &BTreeSet<Vec<u8>>, at: i64) {
        let layout = &self.layout;
        let gone = self.items.keys().map(|(kind, name)| layout.object(*kind, name).into_bytes());
        let gone = gone.filter(|key| !keys.contains(key));
        let gone: Vec<Seen> = gone.map(|key| Seen { key, value: None, created: 0, modified: at }).collect();
        let other = |seen: &&Seen| match layout.place(&seen.key) {
            Place::Object(kind, name) => {
                self.items.get(&(kind, name)).is_none_or(|item| item.modified != seen.modified)
            }
            Place::Stranger(_) | Place::History(_) => false,
        };
        let changed: Vec<Seen> = seen.iter().filter(other).cloned().collect();
        gone.iter().chain(&changed).for_each(|seen| self.note_by_hand(seen));
    }

    /// Takes the events of one or several whole revisions.
    pub fn fold_events(&mut self, events: Vec<Seen>) {
        let mut fresh: Vec<Seen> = events.into_iter().filter(|event| event.modified > self.at).collect();
        fresh.sort_by_key(|event| event.modified);
        for revision in fresh.chunk_by(|a, b| a.modified == b.modified) {
            self.fold_revision(revision);
        }
    }

    /// Takes one revision of etcd: a change through the API brings its entry of the history with it.
    fn fold_revision(&mut self, events: &[Seen]) {
        let entry = events.iter().find_map(|event| match (self.layout.place(&event.key), &event.value) {
            (Place::History(revision), Some(value)) => Some((revision, event.modified, value)),
            _ => None,
        });
        match entry {
            Some((revision, modified, value)) => {
                self.head = Head { revision, modified };
                if let Some(upto) = Chronicle::decode(value).and_then(|entry| entry.covers) {
                    self.by_hand.covered(upto);
                }
            }
            None => events.iter().for_each(|event| self.note_by_hand(event)),
        }
        for event in events {
            self.at = event.modified;
            self.take(event.clone());
        }
    }

    fn note_by_hand(&mut self, event: &Seen) {
        let Place::Object(kind, name) = self.layout.place(&event.key) else { return };
        let key = (kind, name);
        let action = match (self.items.get(&key), &event.value) {
            (_, None) => Action::Deleted,
            (None, Some(_)) => Action::Created,
            (Some(_), Some(_)) => Action::Changed,
        };
        let before = self.before(&key);
        self.by_hand.note(&key, action, event.modified, Some(before));
    }

    fn take(&mut self, seen: Seen) {
        match (self.layout.place(&seen.key), seen.value) {
            (Place::Object(kind, name), Some(value)) => {
                let known = self.items.get(&(kind, name.clone()));
                if known.is_some_and(|item| item.modified == seen.modified && item.value == value) {
                    return;
                }
                let known = known.map(|item| item.object.id).or_else(|| self.kept_id(kind, &name));
                let item = self.read(kind, &name, value, known, seen.created, seen.modified);
                self.items.insert((kind, name), item);
            }
            (Place::Object(kind, name), None) => {
                self.items.remove(&(kind, name));
            }
            (Place::Stranger(key), Some(_)) => {
                self.strangers.insert(key, seen.modified);
            }
            (Place::Stranger(key), None) => {
                self.strangers.remove(&key);
            }
            (Place::History(_), _) => {}
        }
    }

    fn kept_id(&self, kind: Kind, name: &str) -> Option<ObjectId> {
        self.kept.iter().find(|kept| kept.is(kind, name))?.id.parse().ok().map(ObjectId)
    }

    fn read(
        &self,
        kind: Kind,
        name: &str,
        value: Vec<u8>,
        known: Option<ObjectId>,
        created: i64,
        modified: i64,
    ) -> Item {
        let found = layout::decode(kind, name, &value, known, created);
        let opened = self.ring.unseal(kind, name, &found.document);
        let reading = Document::read(kind, &Value::Object(opened.fields));
        let mut refusals = found.refusals;
        refusals.extend(opened.refusals);
        refusals.extend(reading.refusals);
        let (id, revision) = (found.id, modified.unsigned_abs());
        let object = Object { id, revision, origin: Origin::Store, document: reading.document, refusals };
        Item { value, created, modified, object, standing: opened.standing, plain: opened.plain }
    }

    /// Reads everything again, with the keys there are now.
    pub fn reopen(&mut self) {
        let items = std::mem::take(&mut self.items);
        for (key, item) in items {
            let read = self.read(key.0, &key.1, item.value, Some(item.object.id), item.created, item.modified);
            self.items.insert(key, read);
        }
    }

    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot { revision: self.head.revision, ..Snapshot::default() };
        if self.at == 0 {
            for kept in &self.kept {
                snapshot.take(kept.open(&self.ring));
            }
            return snapshot;
        }
        for (key, item) in &self.items {
            snapshot.take(Some((item.object.clone(), item.standing)));
            for field in &item.plain {
                let text = format!("`{field}` lies in etcd in the clear; write it again through the API to seal it");
                snapshot.complaints.push(Complaint { kind: key.0.singular().to_owned(), name: key.1.clone(), text });
            }
        }
        for key in self.strangers.keys() {
            let text = "is no object: the name or the folder is not one".to_owned();
            snapshot.complaints.push(Complaint { kind: format!("etcd {key}"), name: String::new(), text });
        }
        snapshot
    }

    /// How an object is now, for the history of the change that comes.
    pub fn before(&self, key: &Key) -> Before {
        let value = self.items.get(key).map(|item| match item.plain.is_empty() {
            true => item.value.clone(),
            false => layout::encode(key.0, item.object.id, &self.sealed(key, item)),
        });
        let value = value.map(|value| String::from_utf8_lossy(&value).into_owned());
        Before { kind: key.0.singular().to_owned(), name: key.1.clone(), value }
    }

    /// A document as it lies in etcd, and what lies there in the clear sealed; without a key it is left away.
    fn sealed(&self, key: &Key, item: &Item) -> Map<String, Value> {
        let document = layout::decode(key.0, &key.1, &item.value, Some(item.object.id), item.created).document;
        match item.plain.is_empty() {
            true => document,
            false => self.ring.seal(key.0, &document).unwrap_or_else(|_| item.object.document.shown()),
        }
    }

    /// Sets an object back, for reading an old revision of a copy.
    pub fn undo(&mut self, before: &Before) {
        let Some(kind) = Kind::parse(&before.kind) else { return };
        let key = (kind, before.name.clone());
        let known = self.items.remove(&key).map(|item| item.object.id);
        if let Some(value) = &before.value {
            let item = self.read(kind, &before.name, value.clone().into_bytes(), known, 0, 0);
            self.items.insert(key, item);
        }
    }

    /// The objects that `good` likes, as they may be kept on disk; of the others what was kept before, if there is any.
    pub fn to_keep(&self, good: impl Fn(&Key) -> bool, before: &[Kept]) -> Vec<Kept> {
        let kept = |(key, item): (&Key, &Item)| {
            let older = before.iter().find(|kept| kept.is(key.0, &key.1)).filter(|_| !good(key));
            older.cloned().unwrap_or_else(|| Kept {
                kind: key.0.singular().to_owned(),
                id: item.object.id.0.to_string(),
                revision: item.object.revision,
                document: self.sealed(key, item),
            })
        };
        self.items.iter().map(kept).collect()
    }
}

impl fmt::Debug for Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mirror({} objects, head {:?}, at {})", self.items.len(), self.head, self.at)
    }
}

#[cfg(test)]
mod tests;
