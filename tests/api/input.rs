//! Bad input: each thing wrong is named, in the one shape errors have, and nothing of it is applied.

use std::fs;

use serde_json::{Value, json};

use super::node::{BUNDLES, Node, SOURCES, TARGETS};

fn source(name: &str) -> Value {
    json!({"name": name, "journald": {"identifier": "etcd"}})
}

#[test]
fn bad_bodies_are_refused_with_the_reason() {
    let node = Node::start();
    let file = node.place.path().join("raw");
    let json_type = ["-H", "Content-Type: application/json"];
    let post = |body: &[u8], args: &[&str]| {
        fs::write(&file, body).unwrap();
        node.send_file("POST", SOURCES, &file, args).refusal()
    };
    let large = format!("{{\"name\": \"{}\"}}", "x".repeat(2 << 20));
    let deep = format!("{{\"labels\": {}1{}}}", "[".repeat(100), "]".repeat(100));
    for (body, part) in [
        (r#"{"name": "a", "nmae": 1, "journald": {}}"#, "unknown field `nmae`; did you mean `name`?"),
        (r#"{"name": "a", "journald": {"identifer": "x"}}"#, "unknown field `identifer`"),
        (r#"{"name": "a", "name": "b", "journald": {}}"#, "`name` given twice"),
        (r#"{"log_format": "logfmt", "logFormat": "logfmt"}"#, "given twice, in two spellings"),
        (r#"{"name": "a", "journald": {}, "enabled": "yes"}"#, "`enabled` must be true or false, not a string"),
        (r#"{"name": 3, "journald": {}}"#, "`name` must be a string, not a number"),
        (r#"{"name": "../a", "journald": {}}"#, "`name` has '/' in it"),
        (r#"{"name": "a\u0000b", "journald": {}}"#, "`name` has '\\0' in it"),
        (r#"{"name": "..", "journald": {}}"#, "`name` cannot be"),
        (r#"{"name": "", "journald": {}}"#, "`name` is missing"),
        ("[]", "must be a JSON object"),
        ("null", "must be a JSON object"),
        ("", "is not JSON: EOF"),
        ("{", "is not JSON"),
        ("{} {}", "trailing characters"),
        ("\u{feff}{}", "is not JSON"),
        (deep.as_str(), "more than 32 levels deep"),
        (large.as_str(), "is too large; at most 1048576 bytes are taken"),
    ] {
        let (status, code, message) = post(body.as_bytes(), &json_type);
        assert!((status, code) == (400, 3) && message.contains(part), "{part}: {status} {code} {message}");
    }
    let (status, code, message) = post(b"{\"name\": \"\xff\"}", &json_type);
    assert!((status, code) == (400, 3) && message.contains("is not JSON"), "{message}");
    for kind in ["text/yaml", "application/xml", "multipart/form-data; boundary=x"] {
        let (status, code, message) = post(b"{}", &["-H", &format!("Content-Type: {kind}")]);
        assert!((status, code) == (415, 3) && message.contains("send application/json"), "{kind}: {message}");
    }
    // The same by HTTP/1 in chunks, where no length says beforehand how large it will be.
    fs::write(&file, &large).unwrap();
    let chunked = ["--http1.1", "-H", "Transfer-Encoding: chunked", "-H", "Content-Type: application/json"];
    let (status, _, message) = node.send_file("POST", SOURCES, &file, &chunked).refusal();
    assert!(status == 400 && message.contains("is too large"), "{message}");
    assert_eq!((node.revision(), node.get(SOURCES).body), (0, json!({"sources": []})));
}

#[test]
fn tricks_with_paths_and_methods_lead_nowhere() {
    let node = Node::start();
    assert_eq!(node.send("POST", SOURCES, &source("a")).status, 200);
    let long = format!("{SOURCES}/{}", "x".repeat(254));
    let very_long = format!("{SOURCES}/{}", "x".repeat(8000));
    for (path, expected) in [
        (format!("{SOURCES}/%2e%2e"), 400),
        (format!("{SOURCES}/.."), 400),
        (format!("{SOURCES}/..%2f..%2f..%2fetc%2fpasswd"), 400),
        (format!("{SOURCES}/a%00"), 400),
        (format!("{SOURCES}/a%0a"), 400),
        (format!("{SOURCES}/%ff%fe"), 400),
        (format!("{SOURCES}/%zz"), 400),
        (format!("{SOURCES}/a%2f"), 400),
        (format!("{SOURCES}/a/b"), 404),
        (format!("{SOURCES}//a"), 404),
        (format!("{SOURCES}/"), 404),
        ("/api/v2/logs/../logs/sources/a".to_owned(), 404),
        ("/api/v2/logs".to_owned(), 404),
        ("/api/v2/logs/".to_owned(), 404),
        ("/".to_owned(), 404),
        ("/api/v2/logs/collectors/%ff".to_owned(), 400),
        (long, 400),
        (very_long, 400),
    ] {
        for method in ["GET", "DELETE"] {
            let (status, _, message) = node.ask(method, &path, &[]).refusal();
            let expected = if method == "DELETE" && path.contains("collectors") { 405 } else { expected };
            assert_eq!(status, expected, "{method} {path}: {message}");
            assert!(message.len() < 300, "{message}");
        }
    }
    for (method, path, allow) in [
        ("DELETE", SOURCES.to_owned(), "GET,HEAD,POST"),
        ("POST", format!("{SOURCES}/a"), "GET,HEAD,PUT,PATCH,DELETE"),
        ("OPTIONS", SOURCES.to_owned(), "GET,HEAD,POST"),
        ("TRACE", SOURCES.to_owned(), "GET,HEAD,POST"),
        ("BREW", SOURCES.to_owned(), "GET,HEAD,POST"),
        ("POST", "/api/v2/logs/collectors".to_owned(), "GET,HEAD"),
    ] {
        let reply = node.ask(method, &path, &[]);
        let (status, code, _) = reply.refusal();
        assert_eq!((status, code, reply.headers["allow"].as_str()), (405, 12, allow), "{method} {path}");
    }
    assert_eq!(node.revision(), 1);
}

#[test]
fn versions_are_held_against_if_match() {
    let node = Node::start();
    let path = format!("{SOURCES}/a");
    let created = node.send("POST", SOURCES, &source("a"));
    assert_eq!(created.headers["etag"], "\"1\"");
    assert_eq!(node.get(&path).headers["etag"], "\"1\"");
    let patch = |tag: &str, level: &str| {
        let body = format!("{{\"minLevel\": \"{level}\"}}");
        node.ask(
            "PATCH",
            &path,
            &["-H", &format!("If-Match: {tag}"), "-d", &body, "-H", "Content-Type: application/merge-patch+json"],
        )
    };
    for stale in ["\"7\"", "W/\"1\"", "\"x\"", "\"7\", W/\"1\"", "\"\"", "\"01\"", "\"+1\"", "1", "\"1", "* \"1\""] {
        assert_eq!(patch(stale, "info").refusal(), (412, 9, "Etag mismatch.".to_owned()), "{stale}");
    }
    for (tag, level, etag) in [("\"1\"", "info", "\"2\""), ("*", "warn", "\"3\""), ("\"9\" , \"3\"", "error", "\"4\"")]
    {
        let reply = patch(tag, level);
        assert_eq!((reply.status, reply.headers["etag"].as_str()), (200, etag), "{tag}");
    }
    // RFC 7396: null removes, objects merge, lists are replaced as a whole.
    let merged =
        node.send("PATCH", &path, &json!({"minLevel": null, "labels": {"a": "1", "b": "2"}, "metadata": ["pid"]}));
    assert_eq!((merged.status, merged.body.get("minLevel")), (200, None), "{merged:?}");
    let merged = node.send("PATCH", &path, &json!({"labels": {"a": null, "c": "3"}, "metadata": ["unit"]}));
    assert_eq!((&merged.body["labels"], &merged.body["metadata"]), (&json!({"b": "2", "c": "3"}), &json!(["unit"])));
    let (status, _, message) = node.send("PATCH", &path, &json!({"name": "b"})).refusal();
    assert!(status == 400 && message.contains("cannot be changed"), "{message}");
    let gone = node.ask("DELETE", &path, &["-H", "If-Match: \"1\""]).refusal();
    assert_eq!(gone.0, 412);
    let tag = node.get(&path).headers["etag"].clone();
    assert_eq!(node.ask("DELETE", &path, &["-H", &format!("If-Match: {tag}")]).body, json!({}));
    assert_eq!(node.ask("DELETE", &path, &["-H", "If-Match: *"]).refusal().0, 404);
}

/// Half of a change is none: whatever is wrong with it, what was there stays as it was.
#[test]
fn nothing_is_applied_by_half() {
    let node = Node::start();
    let target = json!({"name": "t", "type": "rsyslog", "address": "127.0.0.1:1", "enabled": false});
    assert_eq!(node.send("POST", TARGETS, &target).status, 200);
    let path = format!("{TARGETS}/t");
    let before = node.get(&path);
    for change in [
        json!({"address": "127.0.0.1:2", "framing": "morse"}),
        json!({"address": "127.0.0.1:2", "tlsBundle": "none", "protocol": "tls"}),
        json!({"address": "127.0.0.1:2", "nope": true}),
        json!({"address": "127.0.0.1:2", "type": "LOKI"}),
    ] {
        assert_eq!(node.send("PATCH", &path, &change).refusal().0, 400, "{change}");
        let mut whole = target.clone();
        whole.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        assert_eq!(node.send("PUT", &path, &whole).refusal().0, 400, "{whole}");
    }
    let after = node.get(&path);
    assert_eq!((after.body, after.headers["etag"].as_str()), (before.body, before.headers["etag"].as_str()));
    assert_eq!((node.revision(), node.get(BUNDLES).body), (1, json!({"tlsBundles": []})));
}
