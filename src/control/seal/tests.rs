//! Sealing: what comes back, what never shows, and what is told when a key is missing.

use std::{fs, os::unix::fs::PermissionsExt};

use super::*;

fn ring(directory: &Path, name: &str, text: &str) -> Keyring {
    let path = directory.join(name);
    crate::control::store::file::write_durably(&path, text.as_bytes()).unwrap();
    Keyring::open(&path)
}

fn fields(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn target() -> Map<String, Value> {
    fields(json!({"name": "loki", "type": "LOKI", "basicAuth": {"username": "u", "password": "hunter2"}}))
}

#[test]
fn what_was_sealed_comes_back_and_does_not_show() {
    let place = tempfile::tempdir().unwrap();
    let ring = ring(place.path(), "k", &new_key_file().unwrap());
    let sealed = ring.seal(Kind::Target, &target()).unwrap();
    let text = Value::Object(sealed.clone()).to_string();
    assert!(!text.contains("hunter2") && text.contains("\"username\":\"u\""), "{text}");
    let opened = ring.unseal(Kind::Target, "loki", &sealed);
    assert_eq!((opened.fields, opened.refusals, opened.plain), (target(), vec![], vec![]));
    assert_ne!(ring.seal(Kind::Target, &target()).unwrap(), sealed, "a nonce is not used twice");
}

#[test]
fn a_secret_is_bound_to_its_object_and_to_every_bit() {
    let place = tempfile::tempdir().unwrap();
    let ring = ring(place.path(), "k", &new_key_file().unwrap());
    let sealed = ring.seal(Kind::Target, &target()).unwrap();
    let stays_closed = |kind, name, sealed: &Map<String, Value>| {
        let opened = ring.unseal(kind, name, sealed);
        assert_eq!(opened.refusals.len(), 1);
        assert_eq!(opened.refusals[0].field, "basicAuth");
        assert!(opened.fields["basicAuth"].get("password").is_none());
        opened.refusals[0].text.clone()
    };
    let text = stays_closed(Kind::Target, "other", &sealed);
    assert_eq!(text, "`basicAuth.password` was changed, or sealed for another object or field");
    let envelope = sealed["basicAuth"]["password"]["sealed"].as_str().unwrap().to_owned();
    for at in 0..envelope.len() {
        let mut bent = envelope.clone().into_bytes();
        bent[at] = if bent[at] == b'A' { b'B' } else { b'A' };
        let mut bent_fields = sealed.clone();
        bent_fields["basicAuth"]["password"]["sealed"] = json!(String::from_utf8(bent).unwrap());
        stays_closed(Kind::Target, "loki", &bent_fields);
    }
}

#[test]
fn a_node_without_the_key_says_which_one_is_missing() {
    let place = tempfile::tempdir().unwrap();
    let one = ring(place.path(), "one", &new_key_file().unwrap());
    let sealed = one.seal(Kind::Target, &target()).unwrap();
    let id = one.keys().ids()[0].to_owned();
    let none = Keyring::open(&place.path().join("none"));
    assert!(none.trouble().unwrap().ends_with("none: no such file or directory"));
    let opened = none.unseal(Kind::Target, "loki", &sealed);
    let expected = format!("`basicAuth.password` is sealed with the cluster key {id}, which this node does not have");
    assert_eq!(opened.refusals[0].text, expected);
    let refused = none.seal(Kind::Target, &target()).unwrap_err().to_string();
    assert!(refused.contains("has no cluster key") && !refused.contains("hunter2"), "{refused}");
    // What has no secret needs no key.
    let plain = fields(json!({"name": "s", "enabled": true}));
    assert_eq!(none.seal(Kind::Source, &plain).unwrap(), plain);
}

#[test]
fn keys_are_rotated_in_steps_and_every_step_opens_what_was_sealed_before() {
    let place = tempfile::tempdir().unwrap();
    let text = new_key_file().unwrap();
    let ring = ring(place.path(), "k", &text);
    let old = ring.seal(Kind::Target, &target()).unwrap();
    let both = with_new_key(&text).unwrap();
    assert!(with_new_key(&both).is_err() && turned(&text).is_err());
    let put = |text: &str| {
        crate::control::store::file::write_durably(&place.path().join("k"), text.as_bytes()).unwrap();
        assert!(ring.refresh());
        assert!(!ring.refresh());
    };
    let id = |sealed: &Map<String, Value>| {
        sealed["basicAuth"]["password"]["sealed"].as_str().unwrap().split('.').nth(1).unwrap().to_owned()
    };
    put(&both);
    assert_eq!(id(&ring.seal(Kind::Target, &target()).unwrap()), id(&old));
    put(&turned(&both).unwrap());
    let new = ring.seal(Kind::Target, &target()).unwrap();
    assert_ne!(id(&new), id(&old));
    for (sealed, standing) in [(&old, Standing::Outdated), (&new, Standing::Open)] {
        let opened = ring.unseal(Kind::Target, "loki", sealed);
        assert_eq!((opened.fields, opened.standing), (target(), standing));
    }
}

#[test]
fn a_bad_key_file_is_refused_with_its_line_and_without_the_key() {
    let good = new_key_line().unwrap();
    let (short, cut) = (good.replace("corelane-key", "key"), &good[..good.len() - 8]);
    let swapped = format!("{} 00000000 {}", KEY_WORD, good.rsplit(' ').next().unwrap());
    let three = [new_key_line().unwrap(), new_key_line().unwrap(), good.clone()].join("\n");
    for (text, expected) in [
        ("", "has no key in it"),
        ("# nothing\n", "has no key in it"),
        (&short, "line 1: is not `corelane-key <id> <base64>`"),
        (cut, "line 1: a key has 32 bytes"),
        (&swapped, "line 1: the key is not the one its id names"),
        (&three, "has 3 keys, at most 2 are taken"),
    ] {
        let found = Keys::parse(text).unwrap_err();
        assert!(found.contains(expected), "{found}");
        assert!(!found.contains(good.rsplit(' ').next().unwrap()));
    }
}

#[test]
fn a_key_file_open_to_everyone_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("k");
    fs::write(&path, new_key_file().unwrap()).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let trouble = Keyring::open(&path).trouble().unwrap();
    assert!(trouble.contains("is open to everyone") && trouble.contains("chmod 600"), "{trouble}");
}
