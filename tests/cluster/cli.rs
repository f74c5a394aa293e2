//! The command line on a cluster of two nodes: what is done on one is waited for and seen on the other, what another
//! hand left in etcd is shown with its complaint while the rest is in force, and an old revision comes back.

use std::{fs, path::Path};

use serde_json::Value;

use crate::{
    common::{
        etcd::{Etcd, runtime},
        wait::await_some,
    },
    node::Node,
    peer::SECRET,
};

const OBJECTS: &str =
    "kind: source\nname: app\nfile: {paths: [/nowhere/app.log]}\nlogFormat: zap-json\nenabled: true\n";

fn start(place: &Path, name: &str, etcd: &Etcd) -> Node {
    let mut node = Node::new(place, name, etcd);
    node.start();
    node
}

/// The row of the table that is about `name`.
fn row(node: &Node, nouns: &str, name: &str) -> Option<String> {
    let (listed, _) = node.cli(&["list", nouns]);
    listed.lines().find(|line| line.starts_with(&format!("{name} "))).map(str::to_owned)
}

#[test]
fn what_is_done_on_one_node_is_seen_on_the_other_and_another_hands_garbage_is_isolated() {
    let place = tempfile::tempdir().unwrap();
    let etcd = Etcd::start(1);
    let (first, second) = (start(place.path(), "n1", &etcd), start(place.path(), "n2", &etcd));
    let file = |name: &str, content: &str| {
        let path = place.path().join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (objects, token) = (file("objects.yaml", OBJECTS), format!("--bearer-token-file={}", file("token", SECRET)));
    let (made, waited) = first.cli(&["apply", "-f", &objects]);
    assert_eq!((made.as_str(), waited.as_str()), ("source app created\n1 created; revision 1\n", ""));
    await_some("both know of each other", || {
        let knows = |daemon: &Node, name: &str| row(daemon, "collectors", name).is_some();
        (knows(&first, "n2") && knows(&second, "n1")).then_some(())
    });
    let (made, _) =
        first.cli(&["create", "target", "l", "--type=loki", "--url=http://127.0.0.1:1/x", &token, "--wait=2m"]);
    assert!(made.starts_with("target l created, in force on 2 nodes"), "{made}");
    assert!(row(&second, "sources", "app").is_some() && row(&second, "targets", "l").is_some());
    // Secrets: sealed in etcd, a placeholder on the way out, kept on the way in.
    runtime().block_on(async { assert!(!etcd.dump().await.contains(SECRET)) });
    let (exported, _) = second.cli(&["export"]);
    assert!(exported.contains("bearerToken: <secret>\n") && !exported.contains(SECRET), "{exported}");
    let (again, _) = second.cli(&["apply", "-f", &file("exported.yaml", &exported)]);
    assert!(again.contains("2 unchanged"), "{again}");

    let (history, _) = first.cli(&["history", "-o", "json"]);
    let history: Value = serde_json::from_str(&history).unwrap();
    let good = history["revisions"][0]["revision"].as_str().unwrap().to_owned();
    runtime().block_on(async {
        etcd.client(0).await.put("/corelane/test/v1/sources/app", "{rubbish", None).await.unwrap();
    });
    let complained = |daemon: &Node| row(daemon, "sources", "app").filter(|row| row.contains("is not JSON in etcd"));
    await_some("it is complained of on both", || complained(&first).and(complained(&second)));
    await_some("the history tells of it", || {
        first.cli(&["history"]).0.lines().any(|line| line.contains("another hand")).then_some(())
    });
    let (made, _) = second.cli(&["create", "target", "c", "--type=console"]);
    assert!(made.starts_with("target c created"), "the rest goes on: {made}");
    let (back, _) = first.cli(&["rollback", &good]);
    assert!(back.contains("source app ") && back.contains("target c deleted"), "{back}");
    await_some("it is mended on both", || {
        let mended = |daemon: &Node| complained(daemon).is_none() && row(daemon, "targets", "c").is_none();
        (mended(&first) && mended(&second)).then_some(())
    });
    assert_eq!(second.cli(&["export"]).0, exported);
}
