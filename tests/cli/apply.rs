//! Whole configurations: files in, one revision out, or nothing; what there is, and was, out again.

use std::fs;

use serde_json::Value;

use crate::node::{Node, code, err, out};

const APP: &str = "kind: source\nname: app\nfile: {paths: [/nowhere/app.log]}\nlogFormat: zap-json\nenabled: true\n";
const TARGETS: &str = r#"[
  {"kind": "target", "name": "loki1", "type": "loki", "url": "http://127.0.0.1:1/loki/api/v1/push"},
  {"kind": "target", "name": "siem", "type": "rsyslog", "address": "127.0.0.1:1", "sources": ["app"]}
]"#;

/// A certificate and its key, in PEM.
fn pair() -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let cert = rcgen::CertificateParams::new(vec!["a".to_owned()]).unwrap().self_signed(&key).unwrap();
    (cert.pem(), key.serialize_pem())
}

/// The directory of a file that `Node::file` wrote.
fn directory(path: &str) -> &str {
    path.rsplit_once('/').unwrap().0
}

fn revision(node: &Node) -> Value {
    let status: Value = serde_json::from_str(&node.ok(&["status", "-o", "json"])).unwrap();
    status["revision"].clone()
}

#[test]
fn files_are_made_so_in_one_step_and_again_without_one() {
    let node = Node::start();
    let file = node.file("conf/app.yaml", APP);
    node.file("conf/sub/targets.json", TARGETS);
    let conf = directory(&file);
    let first = node.ok(&["apply", "-f", conf]);
    let made = "source app created\ntarget loki1 created\ntarget siem created\n3 created; revision 1\n";
    assert_eq!(first, made);
    let again = node.ok(&["apply", "-f", conf]);
    assert!(again.ends_with("3 unchanged; revision 1\n"), "{again}");
    node.file("conf/app.yaml", &APP.replace("true", "false"));
    fs::remove_file(format!("{conf}/sub/targets.json")).unwrap();
    node.file("conf/loki.yml", "targets: [{name: loki1, type: LOKI, url: 'http://127.0.0.1:1/loki/api/v1/push'}]\n");
    let dry = node.ok(&["apply", "-f", conf, "--prune", "--dry-run"]);
    assert!(
        dry.ends_with("1 changed, 1 deleted, 1 unchanged; a dry run: nothing was done, revision 1 stays in force\n"),
        "{dry}"
    );
    assert_eq!(revision(&node), 1);
    let pruned = node.ok(&["apply", "-f", conf, "--prune", "-o", "json"]);
    let pruned: Value = serde_json::from_str(&pruned).unwrap();
    assert_eq!(pruned["revision"], "2");
    let actions: Vec<&str> =
        pruned["changes"].as_array().unwrap().iter().map(|change| change["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["changed", "unchanged", "deleted"]);
    assert!(pruned["changes"][0].get("before").is_none());
    let gone = node.run(&["get", "target", "siem"]);
    assert_eq!(code(&gone), 1);
    let stdin = node.feed(&["apply", "-f", "-"], APP);
    assert_eq!(out(&stdin), "source app changed\n1 changed; revision 3\n", "{}", err(&stdin));
}

#[test]
fn everything_wrong_is_told_at_once_with_its_line_and_nothing_is_done() {
    let node = Node::start();
    let good = node.file("conf/a.yaml", APP);
    let conf = directory(&good).to_owned();
    node.file(
        "conf/b.yaml",
        "kind: source\nname: b\nfile: {paths: [relative]}\nlogFormat: zap-jsno\n---\nkind: sauce\n",
    );
    node.file("conf/c.json", "{\"kind\": \"target\",\n \"name\": \"t\",\n \"tyep\": \"loki\"}");
    let syntax = node.run(&["apply", "-f", &conf]);
    assert_eq!((code(&syntax), out(&syntax)), (1, String::new()));
    assert!(err(&syntax).contains("/b.yaml:6: `kind` \"sauce\" is not one of"), "{}", err(&syntax));
    node.file("conf/b.yaml", "kind: source\nname: b\nfile: {paths: [relative]}\nlogFormat: zap-jsno\n");
    let refused = node.run(&["apply", "-f", &conf]);
    assert_eq!((code(&refused), out(&refused)), (1, String::new()));
    let text = err(&refused);
    for expected in [
        format!("corelane: {conf}/b.yaml:4: source 'b': `logFormat` cannot be \"zap-jsno\"; did you mean `ZAP_JSON`?"),
        format!("corelane: {conf}/b.yaml:3: source 'b': "),
        format!("corelane: {conf}/c.json:3: target 't': unknown field `tyep`; did you mean `type`?"),
    ] {
        assert!(text.contains(&expected), "{expected}\n{text}");
    }
    assert_eq!(revision(&node), 0, "not even the good one");
    let nothing = node.feed(&["apply", "-f", "-", "--prune"], "# nothing\n");
    assert_eq!(code(&nothing), 2, "an empty file must not delete everything");
    assert!(err(&nothing).contains("there is no object in it"), "{}", err(&nothing));
}

#[test]
fn a_bundle_goes_with_the_target_that_used_it_and_not_alone() {
    let node = Node::start();
    let (cert, key) = pair();
    let (cert, key) = (node.file("c.pem", &cert), node.file("k.pem", &key));
    let bundle = format!(
        "kind: tls-bundle\nname: b\ncaPem: {{file: {cert}}}\ncertPem: {{file: c.pem}}\nkeyPem: {{file: {key}}}\n"
    );
    let target = "kind: target\nname: t\ntype: rsyslog\naddress: 127.0.0.1:1\ntlsBundle: b\n";
    // The target stands before what it needs: all is one step.
    let both = node.file("both.yaml", &format!("{target}---\n{bundle}"));
    node.ok(&["apply", "-f", &both]);
    let one = node.file("one.yaml", target);
    let refused = node.run(&["apply", "-f", &one, "--prune"]);
    assert_eq!(code(&refused), 1);
    assert!(err(&refused).contains("tls-bundle 'b': is in use by target 't'"), "{}", err(&refused));
    let app = node.file("app.yaml", APP);
    assert!(node.ok(&["apply", "-f", &app, "--prune"]).contains("1 created, 2 deleted"));
}

#[test]
fn a_difference_is_shown_without_secrets_and_told_by_the_exit_code() {
    let node = Node::start();
    let file = |token: &str, level: &str| {
        let text = format!(
            "{APP}---\nkind: target\nname: loki1\ntype: loki\nurl: http://127.0.0.1:1/loki/api/v1/push\n\
             bearerToken: {token}\nminLevel: {level}\n"
        );
        node.file("all.yaml", &text)
    };
    let all = file("OLD-SECRET", "info");
    let new = node.run(&["diff", "-f", &all]);
    assert_eq!(code(&new), 1);
    assert!(out(&new).starts_with("--- /dev/null\n+++ files/source/app\n@@ -0,0 +1,"), "{}", out(&new));
    node.ok(&["apply", "-f", &all]);
    let same = node.run(&["diff", "-f", &all]);
    assert_eq!((code(&same), out(&same).as_str()), (0, ""));
    file("NEW-SECRET", "warn");
    let differs = node.run(&["diff", "-f", &all]);
    let text = out(&differs);
    assert_eq!(code(&differs), 1);
    for line in
        ["-bearerToken: <secret>\n", "+bearerToken: <secret, changed>\n", "-minLevel: info\n", "+minLevel: warn\n"]
    {
        assert!(text.contains(line), "{line}{text}");
    }
    assert!(!format!("{text}{}", err(&differs)).contains("-SECRET"), "{text}");
    let json = out(&node.run(&["diff", "-f", &all, "-o", "json"]));
    assert!(json.contains("\"before\"") && !json.contains("-SECRET"), "{json}");
    let trouble = node.run(&["diff", "-f", "/nowhere.yaml"]);
    assert_eq!(code(&trouble), 2);
    assert!(err(&trouble).contains("/nowhere.yaml: no such file or directory"));
    node.file("all.yaml", APP);
    let pruned = out(&node.run(&["diff", "-f", &all, "--prune"]));
    assert!(pruned.contains("--- in-force/target/loki1\n+++ /dev/null\n"), "{pruned}");
}

#[test]
fn what_is_exported_is_what_apply_reads_but_for_secrets() {
    let (here, there) = (Node::start(), Node::start());
    let (cert, key) = pair();
    let (cert, key) = (here.file("c.pem", &cert), here.file("k.pem", &key));
    let all = here.file(
        "all.yaml",
        &format!(
            "{APP}---\nkind: source\nname: node-manager\njournald: {{identifier: node-manager}}\nmin_level: WARNING\n\
             labels: {{team: \"07\", colon: \"a: b\"}}\n---\nkind: tls-bundle\nname: b\ncaPem: {{file: {cert}}}\n\
             certPem: {{file: {cert}}}\nkeyPem: {{file: {key}}}\n---\nkind: target\nname: siem\ntype: RSYSLOG\n\
             address: 127.0.0.1:1\ntlsBundle: b\nmaxMessageBytes: 4096\nsources: [app]\n---\nkind: target\nname: loki\n\
             type: loki\nurl: http://127.0.0.1:1/loki/api/v1/push\nbasicAuth: {{username: u, password: HUSH}}\n"
        ),
    );
    here.ok(&["apply", "-f", &all]);
    let exported = here.ok(&["export"]);
    assert!(!exported.contains("PRIVATE KEY") && !exported.contains("HUSH"), "{exported}");
    // On the node it came from it changes nothing.
    let back = here.feed(&["apply", "-f", "-"], &exported);
    assert!(out(&back).ends_with("5 unchanged; revision 1\n"), "{}{}", out(&back), err(&back));
    let json = here.ok(&["export", "-o", "json"]);
    assert!(out(&here.feed(&["apply", "-f", "-"], &json)).ends_with("5 unchanged; revision 1\n"));
    // On another node its secrets are missing, and it says which.
    let missing = there.feed(&["apply", "-f", "-"], &exported);
    assert_eq!(code(&missing), 1);
    let text = err(&missing);
    assert!(text.contains("tls-bundle 'b': `keyPem` is the placeholder of an export"), "{text}");
    assert!(text.contains("target 'loki': `basicAuth.password` is the placeholder of an export"), "{text}");
    let given = exported
        .replace("keyPem: <secret>", &format!("keyPem: {{file: {key}}}"))
        .replace("password: <secret>", "password: HUSH");
    let made = there.feed(&["apply", "-f", "-"], &given);
    assert!(out(&made).ends_with("5 created; revision 1\n"), "{}{}", out(&made), err(&made));
    assert_eq!(there.ok(&["export"]), exported);
    let only = here.ok(&["export", "sources"]);
    assert!(only.contains("name: app") && !only.contains("kind: target"), "{only}");
    // What lists answer can be applied as well.
    let listed = here.ok(&["list", "sources", "-o", "yaml"]);
    let applied = here.feed(&["apply", "-f", "-"], &listed);
    assert_eq!(code(&applied), 0, "{}", err(&applied));
}

#[test]
fn history_is_told_and_an_old_revision_comes_back() {
    let node = Node::start();
    assert_eq!(node.ok(&["history"]), "no revision yet\n");
    let app = node.file("app.yaml", APP);
    node.ok(&["apply", "-f", &app]);
    node.ok(&["create", "target", "c", "--type=console"]);
    node.ok(&["update", "source", "app", "--min-level=error"]);
    let shown = node.ok(&["history"]);
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines[0].starts_with("REV  AT") && lines[1].starts_with("  3  "), "{shown}");
    assert!(lines[1].contains("root (system:root)") && lines[1].ends_with("source app changed"), "{shown}");
    assert!(lines[3].contains("applies 1 objects: 1 created") || lines[3].contains("puts source"), "{shown}");
    let old = node.ok(&["export", "--revision", "1"]);
    assert!(old.contains("name: app") && !old.contains("minLevel") && !old.contains("target"), "{old}");
    let dry = node.ok(&["rollback", "1", "--dry-run"]);
    assert!(dry.contains("source app changed\n") && dry.contains("target c deleted\n"), "{dry}");
    assert_eq!(revision(&node), 3);
    let back = node.ok(&["rollback", "1"]);
    assert!(back.ends_with("1 changed, 1 deleted; revision 4\n"), "{back}");
    assert_eq!(node.ok(&["export"]), old);
    let one: Value = serde_json::from_str(&node.ok(&["history", "--limit=1", "-o", "json"])).unwrap();
    assert_eq!(one["revisions"].as_array().unwrap().len(), 1);
    assert_eq!(one["revisions"][0]["what"], "rolls back to revision 1");
    let never = node.run(&["rollback", "77"]);
    assert_eq!(code(&never), 1);
    assert!(err(&never).contains("77"), "{}", err(&never));
}

#[test]
fn what_came_in_by_another_hand_is_shown_with_its_complaint_while_the_rest_applies() {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("bad.yaml"), "kind: target\nname: bad\ntype: loki\nurl: loki\n").unwrap();
    fs::write(place.path().join("good.yaml"), "kind: target\nname: good\ntype: console\nenabled: true\n").unwrap();
    let node = Node::start_with(&["--objects", place.path().to_str().unwrap()]);
    let listed = node.ok(&["list", "targets"]);
    let row = |name: &str| listed.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    assert!(row("bad ").contains("`url` "), "{listed}");
    assert!(row("good ").contains(" yes "), "{listed}");
    let app = node.file("app.yaml", APP);
    node.ok(&["apply", "-f", &app]);
    let status: Value = serde_json::from_str(&node.ok(&["status", "-o", "json"])).unwrap();
    assert_eq!((&status["sources"][0]["name"], &status["targets"][0]["name"]), (&"app".into(), &"good".into()));
    let taken = node.feed(&["apply", "-f", "-"], "kind: target\nname: good\ntype: console\n");
    assert_eq!(code(&taken), 1);
    assert!(err(&taken).contains("stdin:1: target 'good': ") && err(&taken).contains("managed by the file"));
}

#[test]
fn more_than_one_step_can_take_is_refused_with_the_count() {
    let node = Node::start();
    let many = |count: usize| {
        let one = |n: usize| format!("kind: source\nname: s{n}\nfile: {{paths: [/{n}]}}\nlogFormat: logfmt\n");
        (0..count).map(one).collect::<Vec<_>>().join("---\n")
    };
    let refused = node.feed(&["apply", "-f", "-"], &many(121));
    assert_eq!((code(&refused), revision(&node)), (1, 0.into()), "{}", out(&refused));
    assert!(err(&refused).contains("121 objects would change at once, at most 120 can"), "{}", err(&refused));
}
