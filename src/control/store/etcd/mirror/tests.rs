//! Changes by another hand between changes of our own: none is forgotten before the history tells of it.

use super::*;
use crate::control::store::change::Entry;

fn mirror() -> Mirror {
    let ring = Keyring::open(std::path::Path::new("/nonexistent"));
    let mut mirror = Mirror::new(Layout::new("c"), ring, 0, Vec::new());
    mirror.fold_read(Vec::new(), Head { revision: 1, modified: 10 }, 10, true);
    mirror
}

fn put(key: String, value: impl Into<Vec<u8>>, modified: i64) -> Seen {
    Seen { key: key.into_bytes(), value: Some(value.into()), created: modified, modified }
}

fn object(name: &str, round: u32, modified: i64) -> Seen {
    let value = format!(r#"{{"journald": {{}}, "logFormat": "LOGFMT", "labels": {{"round": "{round}"}}}}"#);
    put(Layout::new("c").object(Kind::Source, name), value, modified)
}

/// An entry of the history; of another hand's changes up to `covers`.
fn entry(revision: u64, covers: Option<i64>, modified: i64) -> Seen {
    let text = |text: &str| text.to_owned();
    let entry = Entry { revision, at: text("t"), who: text("me"), what: text("x"), touched: Vec::new() };
    let mut chronicle = Chronicle::new(entry, Some(&[])).unwrap();
    chronicle.covers = covers;
    put(Layout::new("c").history(revision), chronicle.encode(), modified)
}

/// The objects and the changes of another hand that wait to be told of, and the last of them.
fn pending(mirror: &Mirror) -> Option<(Vec<String>, i64)> {
    let all = mirror.by_hand()?;
    Some((all.touched.into_iter().map(|touched| touched.name).collect(), all.upto))
}

#[test]
fn an_own_change_after_it_does_not_swallow_it() {
    let mut mirror = mirror();
    mirror.fold_events(vec![object("a", 1, 11)]);
    // In one message, or each in its own.
    mirror.fold_events(vec![object("b", 1, 12), object("own", 1, 13), entry(2, None, 13), object("c", 1, 14)]);
    assert_eq!(mirror.head(), Head { revision: 2, modified: 13 });
    assert_eq!(pending(&mirror), Some((vec!["a".into(), "b".into(), "c".into()], 14)));
    // Another node told of what it had seen, then of the rest.
    mirror.fold_events(vec![entry(3, Some(12), 15)]);
    assert_eq!(pending(&mirror), Some((vec!["c".into()], 14)));
    mirror.fold_events(vec![entry(4, Some(14), 16)]);
    assert_eq!(pending(&mirror), None);
}

#[test]
fn what_a_read_finds_is_told_of_with_how_it_was() {
    let mut mirror = mirror();
    mirror.fold_events(vec![object("a", 1, 11), object("b", 1, 11), entry(2, None, 11)]);
    let before = mirror.before(&(Kind::Source, "a".to_owned()));
    let head = mirror.head();
    // The watch was cut; meanwhile `a` was changed, `b` deleted and `c` made.
    mirror.fold_read(vec![object("a", 2, 20), object("c", 1, 21)], head, 22, true);
    let all = mirror.by_hand().unwrap();
    assert_eq!(
        all.touched.iter().map(|touched| touched.action).collect::<Vec<_>>(),
        [Action::Deleted, Action::Changed, Action::Created]
    );
    assert_eq!(all.undo.unwrap()[1], before);
    // What the watch brings late is known already.
    mirror.fold_events(vec![object("a", 2, 20)]);
    assert_eq!(mirror.by_hand().unwrap().touched.len(), 3);
    // A change of somebody else came in between: what happened before it is not known.
    mirror.fold_read(vec![object("a", 3, 30), object("c", 1, 21)], Head { revision: 3, modified: 25 }, 31, true);
    assert_eq!(mirror.by_hand().map(|all| (all.touched.len(), all.undo)), Some((1, None)));
}

#[test]
fn a_deletion_seen_before_the_connection_was_lost_is_told_of() {
    let mut mirror = mirror();
    mirror.fold_events(vec![object("a", 1, 11), object("b", 1, 11), entry(2, None, 11)]);
    let before = mirror.before(&(Kind::Source, "a".to_owned()));
    let deleted = Seen { value: None, ..object("a", 1, 21) };
    mirror.fold_events(vec![object("b", 2, 19), deleted, object("c", 1, 22)]);
    // Meanwhile the head became another one; its entry may tell of `b`.
    mirror.fold_read(vec![object("b", 2, 19), object("c", 1, 22)], Head { revision: 3, modified: 20 }, 23, true);
    assert_eq!(pending(&mirror), Some((vec!["a".into(), "c".into()], 22)));
    assert_eq!(mirror.by_hand().unwrap().undo.unwrap()[0], before);
    // An etcd that was set back knows nothing of either.
    mirror.fold_read(vec![object("b", 1, 5)], Head { revision: 1, modified: 5 }, 6, true);
    assert_eq!(pending(&mirror), None);
}
