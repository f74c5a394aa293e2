//! The reload storm: random revisions on three nodes at once, a tenth of them invalid, one target dead, lines flowing.
//!
//! Each node has a source and a target of its own in its objects directory that no revision touches: of these nothing
//! may be lost, nothing may arrive twice beyond the window, and no line may be held up. How long a line takes on a busy
//! machine a fourth node tells, which has the same to do and is given no revision. Another source is changed all the
//! time: of it nothing may be lost either. In the end every node has the last revision.
//!
//! It ends after `CORELANE_STORM_SECONDS`, or with the last of `CORELANE_STORM_REVISIONS`. `CORELANE_STORM_RATE` and
//! `CORELANE_STORM_PAUSE_MS` (between two of them) make it denser, `CORELANE_STORM_SEED` repeats one.
//! `CORELANE_STORM_PERCENT` says in how many seconds of a hundred no line may be held up: half of them where other
//! tests run beside it and take the machine away for a while.

mod flow;

use std::{
    env,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use corelane::limits;
use corelane_perf::loki::{LokiOptions, LokiSink};
use http::Method;
use serde_json::{Value, json};

use self::flow::{Growing, LINE_BYTES_MIN, Lags, MARKER};
use crate::{
    common::{
        etcd::Etcd,
        wait::{PATIENCE, await_some},
    },
    node::{Node, SOURCES, TARGETS},
    peer::source,
};

/// Longest time a change may hold up a source it does not touch.
const PAUSE_MAX: Duration = Duration::from_millis(100);

fn number(name: &str, otherwise: u64) -> u64 {
    env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }
}

/// A request, and the answers that are right.
fn random_request(dice: &mut Dice) -> (Method, String, Value, &'static [u16]) {
    // A tenth of those that count: some others change nothing.
    if dice.roll(14) == 0 {
        let bodies = [
            json!({"name": "bad", "file": {"paths": ["/x"]}, "logFormat": "LOGFMT", "nonsense": 1}),
            json!({"name": "bad", "file": {"paths": ["/x"]}, "logFormat": "NO_SUCH"}),
            json!({"name": "../bad", "file": {"paths": ["/x"]}, "logFormat": "LOGFMT"}),
            json!({"name": "bad", "logFormat": "LOGFMT"}),
        ];
        return (Method::POST, SOURCES.to_owned(), bodies[dice.roll(4) as usize].clone(), &[400]);
    }
    let (source_name, target_name) = (format!("r{}", dice.roll(20)), format!("x{}", dice.roll(4)));
    match dice.roll(8) {
        0 | 1 => {
            let patch = json!({"labels": {"round": dice.roll(5).to_string()}, "enabled": dice.roll(4) > 0});
            (Method::PATCH, format!("{SOURCES}/storm"), patch, &[200])
        }
        2 => (Method::POST, SOURCES.to_owned(), source(&source_name), &[200, 409]),
        3 => {
            let levels = ["debug", "info", "warn"];
            let patch = json!({"minLevel": levels[dice.roll(3) as usize], "enabled": dice.roll(2) > 0});
            (Method::PATCH, format!("{SOURCES}/{source_name}"), patch, &[200, 404])
        }
        4 => (Method::DELETE, format!("{SOURCES}/{source_name}"), Value::Null, &[200, 404]),
        5 => {
            let body = json!({"name": target_name, "type": "CONSOLE", "enabled": dice.roll(2) > 0});
            (Method::POST, TARGETS.to_owned(), body, &[200, 409])
        }
        6 => (Method::DELETE, format!("{TARGETS}/{target_name}"), Value::Null, &[200, 404]),
        _ => {
            let patch = json!({"queueBytes": (2 + dice.roll(4)) << 20});
            (Method::PATCH, format!("{TARGETS}/dead"), patch, &[200])
        }
    }
}

/// One node with its own lines to its own receiver.
fn prepare(node: &Node, sink: &LokiSink) {
    let objects = json!([
        {"kind": "source", "name": "steady", "file": {"paths": [node.path("steady.log")]}, "logFormat": "ZAP_JSON",
         "startAt": "beginning", "enabled": true},
        {"kind": "target", "name": "own", "type": "LOKI", "url": sink.url(), "sources": ["steady"], "enabled": true},
    ]);
    std::fs::write(node.path("conf.d/own.json"), objects.to_string()).expect("a file");
}

fn loki() -> LokiSink {
    LokiSink::start(LokiOptions::verifying(MARKER)).expect("a receiver")
}

/// A target nobody listens at.
fn dead() -> Value {
    // The port of a receiver that is gone.
    json!({"name": "dead", "type": "LOKI", "url": loki().url(), "enabled": true})
}

/// What the storm has made of the nodes.
#[derive(Debug, Default)]
struct Storm {
    /// Changes that were made, and bodies that were refused.
    accepted: u64,
    refused: u64,
}

impl Storm {
    /// Sends random requests until there were so many revisions, the invalid ones among them, or the time is over.
    fn rage(nodes: &[Node], dice: &mut Dice, revisions: u64, seconds: u64, pause: Duration) -> Self {
        let (mut storm, end) = (Self::default(), Instant::now() + Duration::from_secs(seconds));
        while storm.accepted + storm.refused < revisions && Instant::now() < end {
            let (method, path, body, right) = random_request(dice);
            let node = &nodes[dice.roll(nodes.len() as u64) as usize];
            let reply = node.send(method.clone(), &path, &body);
            assert!(right.contains(&reply.status), "{method} {path} {body}: {} {}", reply.status, reply.body);
            storm.accepted += u64::from(reply.status == 200);
            storm.refused += u64::from(reply.status == 400);
            thread::sleep(pause);
        }
        storm
    }
}

#[test]
fn a_reload_storm_loses_nothing_and_converges() {
    let (revisions, seconds) = (number("CORELANE_STORM_REVISIONS", 10_000), number("CORELANE_STORM_SECONDS", 60));
    let (rate, pause) = (number("CORELANE_STORM_RATE", 500), number("CORELANE_STORM_PAUSE_MS", 20));
    let seed = number("CORELANE_STORM_SEED", getrandom::u64().expect("random numbers"));
    println!("CORELANE_STORM_SEED={seed}: {revisions} revisions or {seconds} s, {rate} lines/s a source");
    let place = tempfile::tempdir().unwrap();
    let etcd = Etcd::start(1);
    let (sinks, all) = ([loki(), loki(), loki(), loki()], loki());
    let mut calm = Node::of_cluster(place.path(), "calm", "calm", &etcd.endpoints());
    let mut nodes = ["n1", "n2", "n3"].map(|name| Node::new(place.path(), name, &etcd));
    nodes.iter().chain([&calm]).zip(&sinks).for_each(|(node, sink)| prepare(node, sink));
    nodes.iter_mut().chain([&mut calm]).for_each(Node::start);

    let storm = nodes[0].path("storm.log");
    let source = json!({"name": "storm", "file": {"paths": [storm]}, "logFormat": "ZAP_JSON", "startAt": "beginning",
                        "enabled": true});
    nodes[0].accepted(Method::POST, SOURCES, &source);
    let narrow = json!({"name": "all", "type": "LOKI", "url": all.url(), "enabled": true, "sources": ["storm"]});
    nodes[1].accepted(Method::POST, TARGETS, &narrow);
    for node in [&nodes[2], &calm] {
        node.accepted(Method::POST, TARGETS, &dead());
    }
    let own = nodes.iter().chain([&calm]).map(|node| node.path("steady.log"));
    let files: Vec<PathBuf> = own.chain([storm]).collect();
    let growing: Vec<Growing> = files.into_iter().map(|file| Growing::start(file, rate)).collect();
    for sink in sinks.iter().chain([&all]) {
        assert!(sink.wait(PATIENCE, |counters| counters.tally.seen > rate), "lines flow: {:?}", sink.counters());
    }

    let (mut dice, started, stop) = (Dice(seed), Instant::now(), AtomicBool::new(false));
    let (raged, lags) = thread::scope(|scope| {
        let stop = &stop;
        let watched: Vec<_> =
            sinks.iter().zip(&growing).map(|(sink, growing)| scope.spawn(|| growing.lags(sink, stop))).collect();
        let raged = Storm::rage(&nodes, &mut dice, revisions, seconds, Duration::from_millis(pause));
        stop.store(true, Ordering::Relaxed);
        let lags: Vec<Lags> = watched.into_iter().map(|watch| watch.join().expect("no panic")).collect();
        (raged, lags)
    });
    let took = started.elapsed();
    println!("{raged:?} in {took:?}");
    nodes[0].accepted(Method::PATCH, &format!("{SOURCES}/storm"), &json!({"enabled": true}));
    converge(&nodes);
    judge(&nodes, &sinks, &all, growing);
    held_up(&lags, number("CORELANE_STORM_PERCENT", 50) as usize);
}

/// Every node comes to the last revision, plan and lanes, and has the same objects.
fn converge(nodes: &[Node]) {
    let last = nodes[0].revisions().0;
    let names = |node: &Node| {
        let listed = [SOURCES, TARGETS].map(|path| node.accepted(Method::GET, path, &Value::Null));
        let objects = listed.iter().flat_map(|listed| listed["sources"].as_array().or(listed["targets"].as_array()));
        objects.flatten().map(|object| object["name"].to_string()).collect::<Vec<_>>()
    };
    for node in nodes {
        await_some("the last revision is in force", || (node.revisions() == (last, last)).then_some(()));
        assert_eq!(names(node), names(&nodes[0]));
    }
    assert!(!names(&nodes[0]).contains(&"\"bad\"".to_owned()), "what was refused is nowhere");
    println!("the last revision is {last}");
}

/// How long lines of the sources nobody touched took, beside those of the node that was given no revision (the last).
fn held_up(lags: &[Lags], percent: usize) {
    for (node, lag) in ["n1", "n2", "n3", "calm"].iter().zip(lags) {
        let [half, most, all] = [50, 99, 100].map(|percent| lag.at(percent));
        println!("{node}: longest lag of each second: p50 {half:?}, p99 {most:?}, longest {all:?}");
    }
    let [stormy @ .., calm] = lags else { unreachable!("four nodes") };
    // What a line waits for anyway, or on this machine just now.
    let may = calm.at(percent).max(limits::TAIL_POLL + limits::BATCH_LINGER) + PAUSE_MAX;
    for lag in stormy {
        assert!(lag.at(percent) <= may, "a line took {:?}, {may:?} at most with a pause of 100 ms", lag.at(percent));
    }
}

/// Everything arrived where it should, and hardly anything twice.
fn judge(nodes: &[Node], sinks: &[LokiSink], all: &LokiSink, growing: Vec<Growing>) {
    let lines: Vec<u64> = growing.into_iter().map(Growing::stop).collect();
    for (at, sink) in sinks.iter().chain([all]).enumerate() {
        let whole = sink.wait(PATIENCE, |counters| counters.tally.seen >= lines[at]);
        assert!(whole, "receiver {at}: {:?} of {} are missing", sink.missing(0..lines[at]), lines[at]);
        assert_eq!(sink.missing(0..lines[at]), vec![], "receiver {at}");
    }
    for (node, sink) in nodes.iter().zip(sinks) {
        let tally = sink.counters().tally;
        let twice = tally.duplicates * LINE_BYTES_MIN;
        assert!(twice <= limits::RESEND_WINDOW_BYTES as u64, "{}: {tally:?}", node.name);
        println!("{}: {} lines, {} of them twice", node.name, tally.seen, tally.duplicates);
        let status = node.status();
        let imbalances: u64 =
            status["lanes"].as_array().expect("lanes").iter().filter_map(|l| l["imbalances"].as_u64()).sum();
        assert_eq!(imbalances, 0, "every line is accounted for");
    }
    println!("the source that was changed all the time: {:?}", all.counters().tally);
}
