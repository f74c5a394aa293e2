//! `--wait` returns when a line has arrived, and says why when none does.

use crate::node::{Node, code, err, out};

#[test]
fn it_returns_when_the_first_line_is_acknowledged() {
    let node = Node::start();
    let log = node.file("app.log", "one\ntwo\nthree\n");
    let made = node.ok(&["create", "target", "c", "--type=console", "--enabled", "--wait"]);
    assert_eq!(made, "target c created, in force on 1 node, but no enabled source\n");
    let file = format!("--file={log}");
    let source = ["create", "source", "a", &file, "--log-format=unstructured", "--start-at=beginning", "--enabled"];
    let made = node.run(&[&source[..], &["--wait"]].concat());
    let text = out(&made);
    assert!(text.starts_with("source a created, in force on 1 node, flowing: "), "{text}{}", err(&made));
    assert!(text.contains(" lines in the last "), "{text}");
    let updated = node.ok(&["update", "source", "a", "--min-level=warn", "--wait=30s"]);
    assert!(updated.starts_with("source a updated, in force on 1 node"), "{updated}");
    let disabled = node.ok(&["update", "source", "a", "--enabled=false", "--wait"]);
    assert_eq!(
        disabled,
        "source a updated, in force on 1 node, disabled: enable with `corelane update source a --enabled`\n"
    );
    let deleted = node.run(&["delete", "source", "a", "--wait"]);
    assert_eq!(
        (out(&deleted).as_str(), err(&deleted).lines().last()),
        ("source a deleted\n", Some("in force on 1 node"))
    );
}

#[test]
fn it_says_what_is_missing_when_time_is_up() {
    let node = Node::start();
    let log = node.file("app.log", "one\n");
    node.ok(&["create", "target", "dead", "--type=loki", "--url=http://127.0.0.1:1/x", "--enabled"]);
    let file = format!("--file={log}");
    let source = ["create", "source", "a", &file, "--log-format=unstructured", "--start-at=beginning", "--enabled"];
    let waited = node.run(&[&source[..], &["--wait=3s"]].concat());
    assert_eq!((code(&waited), out(&waited).as_str()), (1, "source a created\n"));
    let text = err(&waited);
    assert!(text.contains("waiting: "), "progress is told: {text}");
    let last = text.lines().last().unwrap();
    assert!(last.starts_with("corelane: --wait: stored as revision 2, but after 3 s source a: "), "{text}");
    assert!(last.contains("target dead fails: ") && last.contains("connection refused"), "{text}");
    let applied = node.feed(
        &["apply", "-f", "-", "--wait=1s"],
        "kind: source\nname: quiet\nfile: {paths: [/nowhere/x.log]}\nlogFormat: logfmt\nenabled: true\n",
    );
    assert_eq!(code(&applied), 1);
    assert!(out(&applied).ends_with("1 created; revision 3\n"), "the change was made: {}", out(&applied));
    assert!(err(&applied).contains("source quiet: nothing to read was found yet"), "{}", err(&applied));
    let wrong = node.run(&["delete", "source", "a", "--wait=soon"]);
    assert_eq!(code(&wrong), 2);
}
