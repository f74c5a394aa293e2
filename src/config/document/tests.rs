//! Documents: what is taken in which spelling, and every refusal with its text.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn read(kind: Kind, body: Value) -> Reading {
    Document::read(kind, &body)
}

fn refusals(kind: Kind, body: Value) -> Vec<String> {
    read(kind, body).refusals.into_iter().map(|refusal| refusal.text).collect()
}

fn shown(kind: Kind, body: Value) -> Value {
    let reading = read(kind, body);
    assert_eq!(reading.refusals, []);
    Value::Object(reading.document.shown())
}

#[test]
fn a_document_comes_back_as_written_in_one_spelling() {
    let written = json!({
        "name": "node-manager", "journald": {"identifier": "node-manager"}, "log_format": "zap-json",
        "minLevel": "WARNING", "enabled": true, "start_at": "since:1h", "labels": {"my_label": "x"},
    });
    let kept = json!({
        "name": "node-manager", "journald": {"identifier": "node-manager"}, "logFormat": "ZAP_JSON",
        "minLevel": "warn", "enabled": true, "startAt": "since:1h", "labels": {"my_label": "x"},
    });
    assert_eq!(shown(Kind::Source, written), kept);
    assert_eq!(shown(Kind::Source, kept.clone()), kept);
    assert_eq!(shown(Kind::Source, json!({"source": kept.clone()})), kept);
}

#[test]
fn enums_are_taken_in_any_case() {
    for word in ["LOKI", "loki", "Loki"] {
        assert_eq!(shown(Kind::Target, json!({"name": "a", "type": word}))["type"], "LOKI");
    }
    for word in ["octet-counted", "OCTET_COUNTED", "octetCounted"] {
        assert_eq!(shown(Kind::Target, json!({"name": "a", "framing": word}))["framing"], "octet-counted");
    }
}

#[test]
fn null_is_as_if_not_written() {
    assert_eq!(shown(Kind::Source, json!({"name": "a", "minLevel": null})), json!({"name": "a"}));
}

#[test]
fn all_refusals_are_told_at_once() {
    let texts = refusals(
        Kind::Source,
        json!({"nmae": "a", "enabled": "yes", "logFormat": "zapjson5", "minLevel": "loud", "file": {"path": ["/a"]}}),
    );
    assert_eq!(
        texts,
        [
            "unknown field `path`; did you mean `paths`? in `file`",
            "unknown field `nmae`; did you mean `name`?",
            "`enabled` must be true or false, not a string",
            "`logFormat` cannot be \"zapjson5\"; did you mean `ZAP_JSON`?",
            "`minLevel` \"loud\" is not a level; trace, debug, info, warn, error and fatal are",
            "`name` is missing",
        ]
    );
}

#[test]
fn what_is_not_built_is_refused_by_name() {
    let source = json!({
        "name": "a", "multiline": {"start": "x"}, "pattern": "x", "logFormat": "cri",
    });
    let mut texts = refusals(Kind::Source, source);
    texts.sort();
    assert_eq!(
        texts,
        [
            "`logFormat` CRI is not supported by this version; ZAP_JSON, LOGFMT and UNSTRUCTURED are",
            "`multiline` is not supported by this version",
            "`pattern` is not supported by this version",
        ]
    );
    let target = json!({"name": "a", "proxy": "x"});
    assert_eq!(refusals(Kind::Target, target), ["`proxy` is not supported by this version"]);
}

#[test]
fn wrong_types_say_what_they_are() {
    for (body, text) in [
        (json!({"name": 5}), "`name` must be a string, not a number"),
        (json!({"name": "a", "labels": ["x"]}), "`labels` must be an object, not a list"),
        (json!({"name": "a", "labels": {"x": 1}}), "`labels` must have a string for each name"),
        (json!({"name": "a", "file": "x"}), "`file` must be an object, not a string"),
        (json!({"name": "a", "file": {"paths": "/x"}}), "`file.paths` must be a list of strings, not a string"),
        (json!({"name": "a", "metadata": [1]}), "`metadata` must hold only strings"),
        (json!([1]), "a source must be a JSON object"),
        (json!({"name": "a", "min_level": "info", "minLevel": "warn"}), "`minLevel` is given twice, in two spellings"),
    ] {
        let texts = refusals(Kind::Source, body.clone());
        assert!(texts.contains(&text.to_owned()), "{body}: {texts:?}");
    }
    let texts = refusals(Kind::Target, json!({"name": "a", "queueBytes": 1.5}));
    assert_eq!(texts, ["`queueBytes` must be a whole number or a string with a unit, not a fraction"]);
}

#[test]
fn names_are_bounded() {
    for name in ["a", "A.b_c-9", &"x".repeat(253)] {
        assert_eq!(check_name(name), Ok(()));
    }
    for name in ["", ".", "..", "a/b", "a b", "ä", &"x".repeat(254)] {
        assert!(check_name(name).is_err(), "{name:?}");
    }
}

#[test]
fn secrets_are_kept_and_never_shown() {
    let body = json!({"name": "b", "caPem": "C", "certPem": "D", "keyPem": "SECRET", "sha256": "from a read"});
    let document = read(Kind::TlsBundle, body).document;
    assert_eq!(Value::Object(document.shown()), json!({"name": "b", "caPem": "C", "certPem": "D"}));
    assert_eq!(document.fields()["keyPem"], "SECRET");
    assert!(!format!("{document:?}").contains("SECRET"));
    let body = json!({"name": "b", "basicAuth": {"username": "u", "password": "SECRET"}, "bearerToken": "SECRET"});
    assert_eq!(shown(Kind::Target, body), json!({"name": "b", "basicAuth": {"username": "u"}}));
}

#[test]
fn a_merge_patch_changes_removes_and_refuses() {
    let start = json!({"name": "a", "minLevel": "info", "file": {"paths": ["/a"], "exclude": ["/b"]}});
    let document = read(Kind::Source, start).document;
    let patched = document.merge(&json!({"min_level": null, "file": {"exclude": null}, "enabled": true}));
    assert_eq!(patched.refusals, []);
    let expected = json!({"name": "a", "file": {"paths": ["/a"]}, "enabled": true});
    assert_eq!(Value::Object(patched.document.shown()), expected);
    assert_eq!(document.merge(&json!({"enabeld": true})).refusals.len(), 1);
    assert_eq!(document.merge(&json!(3)).refusals.len(), 1);
}

proptest! {
    /// Whatever JSON comes in: no panic, and what is kept reads back as itself.
    #[test]
    fn reading_is_idempotent(
        name in "[a-z.]{0,8}",
        key in "(name|file|journald|labels|tenant|enabled|minLevel|type|url|[a-zA-Z_]{1,8})",
        value in prop_oneof![
            Just(json!(null)), Just(json!({"paths": [1, "x"]})), Just(json!([["x"]])),
            any::<bool>().prop_map(Value::from), any::<i64>().prop_map(Value::from), ".{0,12}".prop_map(Value::from),
        ],
    ) {
        for kind in Kind::ALL {
            let first = Document::read(kind, &json!({"name": name, key.as_str(): value}));
            let second = Document::read(kind, &Value::Object(first.document.fields().clone()));
            prop_assert_eq!(first.document.fields(), second.document.fields());
        }
    }
}
