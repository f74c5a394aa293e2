//! Three whole corelanes and one etcd: a change on one is in force on all, and each knows how the others are.

use std::{thread, time::Instant};

use corelane::limits;
use http::Method;
use serde_json::{Value, json};

use crate::{
    common::{etcd::Etcd, wait::await_some},
    node::{self, SOURCES, TARGETS},
    peer::source,
};

const ROUNDS: u64 = 60;

/// Waits until the lanes of a node obey a revision, and says when. Lanes report four times a second, so that is what it
/// is late by.
fn in_force(node: &node::Node, revision: u64) -> Instant {
    let mut last = 0;
    await_some("the revision is in force", || {
        let (_, lanes) = node.revisions();
        assert!(lanes >= last, "a lane went back from revision {last} to {lanes}");
        last = lanes;
        (lanes >= revision).then(Instant::now)
    })
}

#[test]
fn a_change_on_one_node_is_in_force_on_all() {
    let place = tempfile::tempdir().unwrap();
    let etcd = Etcd::start(1);
    let nodes = node::three(place.path(), &etcd);
    let mut took = Vec::new();
    for round in 0..ROUNDS {
        let by = &nodes[usize::try_from(round % 3).unwrap()];
        let started = Instant::now();
        let mut body = source("a");
        body["enabled"] = json!(round % 2 == 0);
        match round {
            0 => by.accepted(Method::POST, SOURCES, &body),
            _ => by.accepted(Method::PUT, &format!("{SOURCES}/a"), &body),
        };
        let revision = round + 1;
        assert_eq!(by.revisions().0, revision, "the answer comes when the node that was asked has it");
        let seen = thread::scope(|scope| {
            let waiting: Vec<_> = nodes
                .iter()
                .map(|node| scope.spawn(move || in_force(node, revision).duration_since(started)))
                .collect();
            waiting.into_iter().map(|wait| wait.join().expect("no panic")).max().expect("three nodes")
        });
        took.push(seen);
    }
    took.sort();
    let at = |percent: usize| took[(took.len() * percent / 100).min(took.len() - 1)];
    println!(
        "from the call to the lanes of three nodes, {ROUNDS} changes: p50 {:?}, p99 {:?}, longest {:?}",
        at(50),
        at(99),
        took[took.len() - 1]
    );
}

/// The `n1` in `in force on 3 nodes` would be known at once; the others tell by their next record, which was written
/// every half minute.
#[test]
fn who_waits_for_the_cluster_does_not_wait_for_the_next_heartbeat() {
    const CHANGES: u32 = 6;
    let place = tempfile::tempdir().unwrap();
    let etcd = Etcd::start(1);
    let nodes = node::three(place.path(), &etcd);
    await_some("the nodes know of each other", || {
        let known = nodes.iter().all(|by| nodes.iter().all(|of| by.collector(&of.name).is_some()));
        known.then_some(())
    });
    let started = Instant::now();
    for round in 0..CHANGES {
        let by = &nodes[round as usize % nodes.len()];
        let label = format!("--label=round={round}");
        let verb = if round == 0 { "create" } else { "update" };
        let args = [verb, "source", "a", "--file=/nonexistent/a.log", "--log-format=logfmt", &label, "--wait=1m"];
        let (told, _) = by.cli(&args);
        assert!(told.contains("in force on 3 nodes"), "{told}");
    }
    // By the half minute it would be as many of them. Each is a second or two; a busy machine has its time.
    let each = started.elapsed() / CHANGES;
    println!("--wait over three nodes: {each:?} a change");
    assert!(each < limits::COLLECTOR_INTERVAL / 3, "{each:?} a change");
}

#[test]
fn every_node_knows_how_the_others_are() {
    let place = tempfile::tempdir().unwrap();
    let etcd = Etcd::start(1);
    let mut nodes = node::three(place.path(), &etcd);
    nodes[0].accepted(Method::POST, TARGETS, &json!({"name": "c", "type": "CONSOLE", "enabled": true}));
    let told = |by: &node::Node, of: &str, field: &str, value: &str| {
        await_some(&format!("{} says {of} has {field} {value}", by.name), || {
            by.collector(of).filter(|collector| collector[field] == value)
        })
    };
    for by in &nodes {
        for of in ["n1", "n2", "n3"] {
            let collector = told(by, of, "alloyStatus", "ONLINE");
            assert_eq!(collector["remotecfgStatus"], "UP");
        }
    }
    // One that says goodbye is known to be gone at once, one that is killed when its lease has run out.
    nodes[1].terminate();
    let gone = told(&nodes[0], "n2", "alloyStatus", "OFFLINE");
    assert!(gone["lastSeen"].as_str().unwrap().starts_with("20"), "since when: {gone}");
    assert_eq!(gone["pipelineHealth"], "UNKNOWN", "nobody knows");
    nodes[2].kill();
    told(&nodes[0], "n3", "alloyStatus", "OFFLINE");
    nodes[1].start();
    told(&nodes[0], "n2", "alloyStatus", "ONLINE");
}

#[test]
fn without_etcd_it_starts_ships_and_says_so() {
    let place = tempfile::tempdir().unwrap();
    let mut etcd = Etcd::start(1);
    let mut node = node::Node::new(place.path(), "n1", &etcd);
    let log = node.path("app.log");
    std::fs::write(&log, "level=info msg=one\n").unwrap();
    node.start();
    let mut body = json!({"name": "app", "file": {"paths": [log]}, "logFormat": "LOGFMT", "startAt": "beginning"});
    body["enabled"] = json!(true);
    node.accepted(Method::POST, SOURCES, &body);
    node.accepted(Method::POST, TARGETS, &json!({"name": "c", "type": "CONSOLE", "enabled": true}));
    let delivered = |node: &node::Node, lines: u64| {
        await_some("lines arrive", || (node.status()["flows"][0]["totals"]["delivered"] == lines).then_some(()));
    };
    delivered(&node, 1);
    // Long enough that the copy is on disk, which killing must not need.
    await_some("the copy is on disk", || {
        let copy = std::fs::read_to_string(node.path("state/store/last-good.image")).ok()?;
        copy.contains("CONSOLE").then_some(())
    });
    node.kill();
    etcd.kill(0);
    let more = std::fs::read_to_string(&log).unwrap() + "level=info msg=two\nlevel=info msg=three\n";
    std::fs::write(&log, more).unwrap();
    node.start();
    delivered(&node, 3);
    let collector = await_some("it says that etcd is down", || {
        node.collector("n1").filter(|collector| collector["remotecfgStatus"] == "DOWN")
    });
    assert!(collector.to_string().contains("the store does not answer since"), "{collector}");
    let refused = node.send(Method::POST, SOURCES, &source("b"));
    assert_eq!((refused.status, &refused.body["code"]), (503, &json!(14)), "{}", refused.body);
    etcd.spawn(0);
    await_some("it comes back", || {
        node.collector("n1").filter(|collector| collector["remotecfgStatus"] == "UP").map(|_| ())
    });
    await_some("nothing is complained of", || (node.status()["complaints"] == Value::Array(Vec::new())).then_some(()));
    node.accepted(Method::POST, SOURCES, &source("b"));
    node.terminate();
}
