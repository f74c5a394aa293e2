//! The embedded store through restarts, torn files and flipped bits.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use super::*;
use crate::{
    config::Document,
    control::store::{Action, Expected, Touched, Write},
    model::ObjectId,
};

/// With a key of its own, made when there is none.
fn open(state: &Path) -> Result<Embedded, Fault> {
    Embedded::open(state, || Keyring::open_or_make(&state.join("cluster.key")))
}

fn put(name: &str, id: u64, expected: Expected) -> Write {
    let reading = Document::read(crate::config::Kind::Target, &json!({"name": name, "type": "console"}));
    let value = Some((ObjectId(id), reading.document));
    Write { kind: crate::config::Kind::Target, name: name.to_owned(), expected, value }
}

fn change(writes: Vec<Write>) -> Change {
    Change { who: "me".into(), what: "tests".into(), writes }
}

fn apply(store: &Embedded, writes: Vec<Write>) -> u64 {
    store.apply(&change(writes)).unwrap().revision
}

fn names(snapshot: &Snapshot) -> Vec<&str> {
    snapshot.objects.iter().map(crate::config::Object::name).collect()
}

/// A state directory with the revisions 1 (a) and 2 (a, b).
fn two_revisions() -> (tempfile::TempDir, PathBuf) {
    let state = tempfile::tempdir().unwrap();
    let store = open(state.path()).unwrap();
    assert_eq!(apply(&store, vec![put("a", u64::MAX, Expected::Absent)]), 1);
    assert_eq!(apply(&store, vec![put("b", u64::MAX - 2, Expected::Absent)]), 2);
    let newest = store.path(2);
    (state, newest)
}

#[test]
fn what_was_committed_is_there_after_a_restart() {
    let (state, newest) = two_revisions();
    let snapshot = open(state.path()).unwrap().snapshot();
    assert_eq!((snapshot.revision, names(&snapshot)), (2, vec!["a", "b"]));
    assert_eq!(snapshot.objects[1].id, ObjectId(u64::MAX - 2));
    assert_eq!(snapshot.complaints, []);
    assert_eq!(fs::metadata(newest).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(state.path().join("store")).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_file_torn_at_any_byte_costs_one_revision_and_no_start() {
    let (state, newest) = two_revisions();
    let whole = fs::read(&newest).unwrap();
    for cut in 0..whole.len() {
        fs::write(&newest, &whole[..cut]).unwrap();
        let snapshot = open(state.path()).unwrap().snapshot();
        assert_eq!((snapshot.revision, names(&snapshot)), (1, vec!["a"]), "cut at {cut}");
        assert_eq!(snapshot.complaints.len(), 1);
    }
}

#[test]
fn a_flipped_bit_anywhere_is_noticed() {
    let (state, newest) = two_revisions();
    let whole = fs::read(&newest).unwrap();
    for at in 0..whole.len() {
        let mut bent = whole.clone();
        bent[at] ^= 1;
        fs::write(&newest, &bent).unwrap();
        let snapshot = open(state.path()).unwrap().snapshot();
        // A digit of the header may change its case or spelling without changing its value; then nothing is lost.
        assert!(snapshot.revision == 1 || names(&snapshot) == ["a", "b"], "bit at {at}");
    }
}

#[test]
fn the_number_of_a_torn_revision_is_not_used_again() {
    let (state, newest) = two_revisions();
    fs::write(&newest, "torn").unwrap();
    let store = open(state.path()).unwrap();
    assert_eq!(apply(&store, Vec::new()), 3);
    drop(store);
    let snapshot = open(state.path()).unwrap().snapshot();
    assert_eq!((snapshot.revision, snapshot.complaints.len()), (3, 0));
}

#[test]
fn it_starts_when_every_file_is_torn() {
    let (state, newest) = two_revisions();
    fs::write(&newest, "").unwrap();
    fs::write(newest.with_file_name("00000000000000000001.json"), "\0\0\0\0").unwrap();
    let snapshot = open(state.path()).unwrap().snapshot();
    assert_eq!((snapshot.revision, snapshot.objects.len(), snapshot.complaints.len()), (0, 0, 2));
}

#[test]
fn the_history_is_bounded() {
    let state = tempfile::tempdir().unwrap();
    let store = open(state.path()).unwrap();
    for _ in 0..limits::HISTORY_REVISIONS + 3 {
        apply(&store, Vec::new());
    }
    let history = store.history().unwrap();
    assert_eq!((history.len(), history.last().unwrap().revision), (limits::HISTORY_REVISIONS, 4));
}

#[test]
fn what_is_not_as_expected_is_refused_whole() {
    let (state, _) = two_revisions();
    let store = open(state.path()).unwrap();
    for wrong in [put("a", 1, Expected::Absent), put("a", 1, Expected::At(2)), put("c", 1, Expected::At(1))] {
        let refused = store.apply(&change(vec![put("new", 9, Expected::Absent), wrong])).unwrap_err();
        assert_eq!(refused.kind(), Kind::Stale);
    }
    let snapshot = store.snapshot();
    assert_eq!((snapshot.revision, names(&snapshot)), (2, vec!["a", "b"]));
}

#[test]
fn the_history_says_who_did_what_and_gives_it_back() {
    let (state, _) = two_revisions();
    let store = open(state.path()).unwrap();
    let delete = Write { value: None, ..put("a", 0, Expected::At(1)) };
    assert_eq!(apply(&store, vec![delete, put("b", 5, Expected::At(2))]), 3);
    let newest = &store.history().unwrap()[0];
    assert_eq!((newest.revision, newest.who.as_str(), newest.what.as_str()), (3, "me", "tests"));
    let touched = |name: &str, action| Touched { kind: "target".into(), name: name.into(), action };
    assert_eq!(newest.touched, [touched("a", Action::Deleted), touched("b", Action::Changed)]);
    assert_eq!(names(&store.read_at(2).unwrap()), ["a", "b"]);
    assert_eq!(names(&store.snapshot()), ["b"]);
    assert_eq!(store.read_at(7).unwrap_err().to_string(), "no revision 7 in the history");
}

#[test]
fn no_file_has_a_secret_and_what_cannot_be_opened_is_kept() {
    let state = tempfile::tempdir().unwrap();
    let store = open(state.path()).unwrap();
    let body = json!({"name": "loki", "type": "loki", "url": "http://h/loki/api/v1/push", "bearerToken": "hunter2"});
    let document = Document::read(crate::config::Kind::Target, &body).document;
    let mut with_secret = put("loki", 1, Expected::Absent);
    with_secret.value = Some((ObjectId(1), document.clone()));
    apply(&store, vec![with_secret]);
    drop(store);
    for file in fs::read_dir(state.path().join("store")).unwrap() {
        assert!(!fs::read_to_string(file.unwrap().path()).unwrap().contains("hunter2"));
    }
    // Without the key the object is there, complains, and survives a change of another one.
    let key = state.path().join("cluster.key");
    let away = state.path().join("away");
    fs::rename(&key, &away).unwrap();
    let store = Embedded::open(state.path(), || Ok(Keyring::open(&key))).unwrap();
    assert!(store.snapshot().sealed.contains(&(crate::config::Kind::Target, "loki".to_owned())));
    assert_eq!(store.snapshot().objects[0].refusals.len(), 1);
    apply(&store, vec![put("a", 2, Expected::Absent)]);
    // The key comes back while it runs.
    fs::rename(&away, &key).unwrap();
    store.refresh();
    let snapshot = store.snapshot();
    assert_eq!(snapshot.find(crate::config::Kind::Target, "loki").unwrap().document, document);
    assert!(snapshot.sealed.is_empty());
}

#[test]
fn two_processes_do_not_share_a_store() {
    let state = tempfile::tempdir().unwrap();
    let _first = open(state.path()).unwrap();
    let refused = open(state.path()).unwrap_err();
    assert!(refused.to_string().contains("in use by another corelane"), "{refused}");
}
