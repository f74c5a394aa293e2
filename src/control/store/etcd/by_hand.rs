//! What another hand changed in etcd, past the API, until an entry of the history tells of it.
//!
//! Any node may write that entry, and changes of this or any other hand may come in between. So each change is kept by
//! itself, with how its object was before, until an entry says that it covers it.

use std::collections::HashSet;

use super::mirror::{Before, Key};
use crate::{
    control::store::change::{Action, Touched},
    limits::BY_HAND_MAX,
};

/// One change of one object.
#[derive(Clone, Debug)]
struct Change {
    modified: i64,
    touched: Touched,
    /// `None` when it happened while nobody looked.
    before: Option<Before>,
}

/// See the module doc.
#[derive(Clone, Debug, Default)]
pub struct ByHand {
    changes: Vec<Change>,
}

/// All of it, as one entry of the history tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Each object once.
    pub touched: Vec<Touched>,
    /// `None` when something happened while nobody looked.
    pub undo: Option<Vec<Before>>,
    /// Revision of etcd of the last of it.
    pub upto: i64,
}

impl ByHand {
    /// Notes a change at a revision of etcd; `before` is how the object was, if that is known.
    pub fn note(&mut self, key: &Key, action: Action, modified: i64, before: Option<Before>) {
        let touched = touched(key, action);
        if self.changes.len() < BY_HAND_MAX {
            return self.changes.push(Change { modified, touched, before });
        }
        let known = self.changes.iter().rposition(|change| change.touched.is_same_object(&touched));
        let (at, before) = known.map_or((BY_HAND_MAX - 1, None), |at| (at, self.changes[at].before.clone()));
        (self.changes[at].modified, self.changes[at].before) = (modified, before);
    }

    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// An entry of the history tells of everything up to this revision of etcd.
    pub fn covered(&mut self, upto: i64) {
        self.changes.retain(|change| change.modified > upto);
    }

    /// Whether what happened in this revision of etcd was noted.
    pub fn knows(&self, modified: i64) -> bool {
        self.changes.iter().any(|change| change.modified == modified)
    }

    /// All there is to tell, if there is any.
    pub fn summary(&self) -> Option<Summary> {
        let upto = self.changes.iter().map(|change| change.modified).max()?;
        // What an object was before the first of its changes is what it must be again.
        let mut known = HashSet::new();
        let mut first: Vec<&Change> = Vec::new();
        for change in &self.changes {
            if known.insert((&change.touched.kind, &change.touched.name)) {
                first.push(change);
            }
        }
        Some(Summary {
            touched: first.iter().map(|change| change.touched.clone()).collect(),
            undo: first.iter().map(|change| change.before.clone()).collect(),
            upto,
        })
    }
}

fn touched(key: &Key, action: Action) -> Touched {
    Touched { kind: key.0.singular().to_owned(), name: key.1.clone(), action }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Kind;

    fn key(name: &str) -> Key {
        (Kind::Source, name.to_owned())
    }

    fn was(name: &str, value: Option<&str>) -> Before {
        Before { kind: "source".to_owned(), name: name.to_owned(), value: value.map(str::to_owned) }
    }

    #[test]
    fn an_object_is_told_of_once_and_as_it_was_first() {
        let mut hand = ByHand::default();
        assert_eq!(hand.summary(), None);
        hand.note(&key("a"), Action::Changed, 5, Some(was("a", Some("1"))));
        hand.note(&key("b"), Action::Created, 6, Some(was("b", None)));
        hand.note(&key("a"), Action::Changed, 7, Some(was("a", Some("2"))));
        let all = hand.summary().unwrap();
        assert_eq!((all.touched.len(), all.upto), (2, 7));
        assert_eq!(all.undo.unwrap(), [was("a", Some("1")), was("b", None)]);
        // Told of by somebody who had not seen the last change yet.
        hand.covered(6);
        let rest = hand.summary().unwrap();
        assert_eq!((rest.touched.len(), rest.undo.unwrap()), (1, vec![was("a", Some("2"))]));
        hand.note(&key("c"), Action::Changed, 9, None);
        assert_eq!(hand.summary().unwrap().undo, None, "nobody knows how `c` was");
    }

    #[test]
    fn a_hand_that_never_rests_costs_bounded_memory() {
        let mut hand = ByHand::default();
        for modified in 0..2 * BY_HAND_MAX as i64 {
            hand.note(&key("a"), Action::Changed, modified, Some(was("a", Some("1"))));
        }
        let all = hand.summary().unwrap();
        assert_eq!((hand.changes.len(), all.upto), (BY_HAND_MAX, 2 * BY_HAND_MAX as i64 - 1));
        assert_eq!(all.undo.unwrap(), [was("a", Some("1"))], "one object can be undone however often it changed");
    }

    #[test]
    fn more_objects_than_can_be_told_of_cost_bounded_memory_and_cannot_be_undone() {
        let mut hand = ByHand::default();
        let last = 3 * BY_HAND_MAX as i64;
        for modified in 1..=last {
            let name = modified.to_string();
            hand.note(&key(&name), Action::Changed, modified, Some(was(&name, Some("1"))));
        }
        let all = hand.summary().unwrap();
        assert_eq!((hand.changes.len(), all.upto, all.undo), (BY_HAND_MAX, last, None));
        hand.covered(last);
        assert!(hand.is_empty());
    }
}
