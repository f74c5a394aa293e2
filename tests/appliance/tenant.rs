//! Tenants of one Loki: each line under its own, and one that is blocked holds up no other.

use corelane_perf::loki::{LokiOptions, LokiSink};
use serde_json::{Value, json};

use crate::{
    line::{MARKER, append_zap},
    node::{BACKENDS, Node, PATIENCE, on_both},
    peer,
};

fn loki() -> LokiSink {
    LokiSink::start(LokiOptions { auth: true, ..LokiOptions::verifying(MARKER) }).expect("a receiver")
}

fn source(node: &Node, name: &str, tenant: Value) -> Value {
    let mut source = peer::source(name, &node.path(&format!("logs/{name}.log")), "ZAP_JSON");
    source["tenant"] = tenant;
    source["labels"] = json!({"team": name});
    source
}

/// The blocked tenant gets more than the whole queue of its target holds.
#[test]
fn a_blocked_tenant_holds_up_no_other_and_misses_nothing() {
    const LINES: u64 = 60_000;
    on_both(|backend| {
        let loki = loki();
        loki.block("a", true);
        let mut node = Node::new(backend);
        for name in ["a", "b"] {
            node.object(name, &source(&node, name, json!(name)));
        }
        let mut target = peer::loki_target("loki", &loki.url());
        target["queueBytes"] = "2MiB".into();
        node.object("loki", &target);
        node.start();
        append_zap(&node.path("logs/a.log"), "info", 0..LINES);
        append_zap(&node.path("logs/b.log"), "info", LINES..2 * LINES);
        assert!(loki.wait(PATIENCE, |counters| counters.tally.seen == LINES), "{:?}", loki.missing(LINES..2 * LINES));
        assert_eq!(loki.missing(LINES..2 * LINES), vec![], "{backend}: the other tenant has all of its lines");
        node.await_status("it says who is blocked", |status| {
            let target = &status["targets"][0];
            let reason = target["reason"].as_str().unwrap_or_default();
            target["state"] == "FAILING" && reason.contains("tenant a: ") && reason.contains("blocked")
        });
        loki.block("a", false);
        assert!(loki.wait(PATIENCE, |counters| counters.tally.seen == 2 * LINES), "{:?}", loki.missing(0..2 * LINES));
        node.await_status("all is well", |status| status["targets"][0]["state"] == "UP");
        node.terminate();
        assert_eq!(loki.counters().tally.differing, 0);
    });
}

#[test]
fn tenants_come_from_labels_and_namespaces() {
    let loki = LokiSink::start(LokiOptions { auth: true, ..LokiOptions::default() }).expect("a receiver");
    let mut node = Node::new(BACKENDS[0]);
    for name in ["plain", "mapped"] {
        append_zap(&node.path(&format!("logs/{name}.log")), "info", 0..3);
    }
    for pod in ["pods/shop_web-0_11/web", "pods/bank_db-0_22/db"] {
        let directory = node.path("logs").join(pod);
        std::fs::create_dir_all(&directory).expect("a directory");
        append_zap(&directory.join("0.log"), "info", 0..3);
    }
    node.object("plain", &source(&node, "plain", json!({"from": "label:team"})));
    node.object("mapped", &source(&node, "mapped", json!({"from": "label:team", "map": {"mapped": "m1"}})));
    let mut pods = peer::source("pods", &node.path("logs/pods/**/*.log"), "ZAP_JSON");
    pods["tenant"] = json!({"from": "namespace", "map": {"shop": "retail"}, "default": "others"});
    node.object("pods", &pods);
    node.object("loki", &peer::loki_target("loki", &loki.url()));
    node.start();
    assert!(loki.wait(PATIENCE, |counters| counters.entries == 12), "{:?}", loki.counters());
    let mut tenants: Vec<String> = loki.entries().iter().map(|entry| entry.tenant.to_string()).collect();
    tenants.sort();
    tenants.dedup();
    assert_eq!(tenants, ["m1", "others", "plain", "retail"]);
    node.terminate();
}
