//! Two nodes and one etcd: each shows both, a node that went is OFFLINE, and a store that is gone is said to be.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::{
    common::etcd::Etcd,
    node::{Node, TARGETS, await_some, await_that},
};

const COLLECTORS: &str = "/api/v2/logs/collectors";

fn node(name: &str, etcd: &Etcd) -> Node {
    let config = format!("cluster = \"c\"\nstore = \"etcd\"\netcd_endpoints = {:?}\n", etcd.endpoints());
    Node::named(name, &config)
}

fn collector(node: &Node, id: &str) -> Option<Value> {
    let reply = node.get(&format!("{COLLECTORS}/{id}"));
    (reply.status == 200).then_some(reply.body)
}

#[test]
fn a_cluster_is_shown_by_each_of_its_nodes() {
    let mut etcd = Etcd::start(1);
    let (first, mut second) = (node("n1", &etcd), node("n2", &etcd));
    for (asked, other) in [(&first, "n2"), (&second, "n1")] {
        let seen = await_some("the other node", || collector(asked, other));
        assert_eq!((&seen["status"], &seen["alloyStatus"]), (&json!("ONLINE"), &json!("ONLINE")), "{seen}");
    }
    let listed = first.get(COLLECTORS).body;
    let ids: Vec<&Value> = listed["collectors"].as_array().unwrap().iter().map(|seen| &seen["id"]).collect();
    assert_eq!(ids, ["n1", "n2"], "this one first");
    // A change at one is what is wanted of both.
    assert_eq!(first.send("POST", TARGETS, &json!({"name": "t", "type": "console"})).status, 200);
    await_that("the change at the other", || second.get(&format!("{TARGETS}/t")).status == 200);
    let (own, other) = (collector(&first, "n1").unwrap(), collector(&first, "n2").unwrap());
    assert_eq!(own["desiredRevision"], other["desiredRevision"]);
    let tag = |node: &Node| node.get(&format!("{COLLECTORS}/n1")).headers["etag"].clone();
    assert!(tag(&first).len() == 18 && tag(&first).starts_with('"'), "every object carries one: {}", tag(&first));
    let hint = first.get(&format!("{COLLECTORS}/n3")).refusal().2;
    assert!(hint.starts_with("no collector 'n3'; did you mean 'n"), "{hint}");

    let pid = Pid::from_child(&second.running.child);
    kill_process(pid, Signal::TERM).unwrap();
    second.running.child.wait().unwrap();
    let gone = await_some("the node that went", || collector(&first, "n2").filter(|seen| seen["status"] == "OFFLINE"));
    assert_eq!((&gone["pipelineHealth"], &gone["remotecfgStatus"]), (&json!("UNKNOWN"), &json!("DOWN")));
    let error = gone["pipelineError"].as_str().unwrap();
    assert!(error.starts_with(&format!("not heard of since {}", gone["lastSeen"].as_str().unwrap())), "{error}");

    etcd.kill(0);
    let own = await_some("the store's end", || collector(&first, "n1").filter(|own| own["remotecfgStatus"] == "DOWN"));
    assert!(own["warnings"].to_string().contains("the store does not answer since"), "{own}");
    assert_eq!(own["status"], "ONLINE");
    assert_eq!(collector(&first, "n2").expect("what was known last")["status"], "OFFLINE");
    let (status, code, _) = first.ask("DELETE", &format!("{TARGETS}/t"), &[]).refusal();
    assert_eq!((status, code), (503, 14), "nothing can be changed now");
    assert_eq!(first.get(TARGETS).status, 200, "and everything be read");
}
