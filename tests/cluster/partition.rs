//! Wires that are cut: a member of etcd that runs and no longer hears of the others, a node that no longer hears of
//! etcd. Connections stay open and new ones are taken; nothing comes through.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use corelane_perf::loki::{LokiOptions, LokiSink};
use http::Method;
use serde_json::{Value, json};

use crate::{
    common::{
        etcd::{Etcd, runtime},
        proxy::Proxy,
        wait::{PATIENCE, await_some},
    },
    node::{Node, SOURCES, TARGETS},
    outage::{all_converge, three},
};

const MEMBERS: usize = 3;

/// Three members of etcd, a wire to each.
struct Wired {
    etcd: Etcd,
    wires: Vec<Proxy>,
}

impl Wired {
    fn start() -> Self {
        let pids = Arc::<Mutex<Vec<u32>>>::default();
        let mut wires = Vec::new();
        let etcd = Etcd::wired(MEMBERS, |port| {
            let pids = Arc::clone(&pids);
            let owner = move |port| owner(port, &pids.lock().expect("no panic"));
            wires.push(Proxy::knowing(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), owner));
            wires.last().expect("one").port()
        });
        *pids.lock().expect("no panic") = (0..MEMBERS).map(|at| etcd.pid(at)).collect();
        // From now on it is known who begins a session; those of before begin anew.
        wires.iter().for_each(Proxy::reset);
        Self { etcd, wires }
    }

    /// Cuts a member off from the others, or heals that: what it sends and what they send.
    fn cut(&self, at: usize, is_cut: bool) {
        for (other, wire) in self.wires.iter().enumerate() {
            match other == at {
                true => wire.swallow(is_cut),
                false => wire.cut_off(self.etcd.pid(at), is_cut),
            }
        }
    }
}

/// The process among these that has a connection from this port; 0 if none has (proc(5): `fd`, `net/tcp`).
fn owner(port: u16, pids: &[u32]) -> u32 {
    let sockets = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let of_port = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        fields[1].ends_with(&format!(":{port:04X}")).then(|| format!("socket:[{}]", fields[9]))
    };
    let found: Vec<String> = sockets.lines().skip(1).filter_map(of_port).collect();
    let has = |pid: &&u32| {
        let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten();
        let mut links = open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        links.any(|link| found.iter().any(|socket| link == Path::new(socket)))
    };
    pids.iter().find(has).copied().unwrap_or(0)
}

/// Waits until a member knows that it is alone.
async fn await_leaderless(etcd: &Etcd, at: usize) {
    let mut client = etcd.client(at).await;
    let deadline = Instant::now() + PATIENCE;
    while client.status().await.expect("it answers").leader() != 0 {
        assert!(Instant::now() < deadline, "member {at} still hears of the others");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn a_member_cut_off_from_the_others_is_left_by_the_nodes() {
    let place = tempfile::tempdir().unwrap();
    let wired = Wired::start();
    runtime().block_on(async {
        let peers = three(place.path(), &wired.etcd).await;
        all_converge(&peers, 0, "at-first").await;
        for at in 0..MEMBERS {
            // It answers its clients still, of what it knew.
            wired.cut(at, true);
            all_converge(&peers, at, &format!("member-{at}-cut-off")).await;
            await_leaderless(&wired.etcd, at).await;
            wired.cut(at, false);
            all_converge(&peers, at, &format!("member-{at}-back")).await;
        }
    });
    assert!(wired.wires.iter().all(|wire| wire.sessions() > 0), "the members talk by the wires");
}

#[test]
fn a_node_cut_off_from_etcd_ships_on_is_known_to_be_gone_and_catches_up() {
    let place = tempfile::tempdir().unwrap();
    let etcd = Etcd::start(1);
    let port: u16 = etcd.endpoints()[0].rsplit_once(':').unwrap().1.parse().unwrap();
    let wire = Proxy::start(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let mut near = Node::new(place.path(), "near", &etcd);
    let mut far = Node::of_cluster(place.path(), "far", "test", &[format!("http://127.0.0.1:{}", wire.port())]);
    near.start();
    far.start();
    let sink = LokiSink::start(LokiOptions::verifying("seq=")).unwrap();
    let log = far.path("app.log");
    let write = |lines: u64| {
        let text: String = (0..lines).map(|seq| format!("level=info msg=served seq={seq}\n")).collect();
        fs::write(&log, text).unwrap();
    };
    let source = |level: &str| {
        json!({"name": "app", "file": {"paths": [log]}, "logFormat": "LOGFMT", "startAt": "beginning",
               "minLevel": level, "enabled": true})
    };
    let target = json!({"name": "loki", "type": "LOKI", "url": sink.url(), "enabled": true});
    near.accepted(Method::POST, SOURCES, &source("info"));
    near.accepted(Method::POST, TARGETS, &target);
    write(100);
    assert!(sink.wait(PATIENCE, |counters| counters.tally.seen == 100), "{:?}", sink.counters());
    let told = |by: &Node, field: &str, value: &str| {
        await_some(&format!("{} says of `far`: {field} {value}", by.name), || {
            by.collector("far").filter(|collector| collector[field] == value)
        })
    };
    told(&near, "alloyStatus", "ONLINE");

    wire.swallow(true);
    near.accepted(Method::PUT, &format!("{SOURCES}/app"), &source("debug"));
    let revision = near.revisions().0;
    let cut_off = told(&far, "remotecfgStatus", "DOWN");
    assert!(cut_off.to_string().contains("the store does not answer since"), "{cut_off}");
    write(200);
    assert!(sink.wait(PATIENCE, |counters| counters.tally.seen == 200), "it ships on: {:?}", sink.counters());
    let refused = far.send(Method::DELETE, &format!("{SOURCES}/app"), &Value::Null);
    assert_eq!((refused.status, &refused.body["code"]), (503, &json!(14)), "{}", refused.body);
    assert!(far.revisions().0 < revision, "what is in force stays in force");
    told(&near, "alloyStatus", "OFFLINE");

    wire.swallow(false);
    await_some("it has what was changed meanwhile", || (far.revisions() == (revision, revision)).then_some(()));
    told(&far, "remotecfgStatus", "UP");
    told(&near, "alloyStatus", "ONLINE");
    assert!(
        near.accepted(Method::GET, SOURCES, &Value::Null).to_string().contains("app"),
        "nothing came of the refused"
    );
}
