//! The reload storm: random revisions on three nodes at once, some of them invalid, one target dead, lines flowing.
//!
//! Each node has a source and a target of its own in its objects directory that no revision touches: of these nothing
//! may be lost, and nothing may arrive twice beyond the window. Another source is changed all the time: of it nothing
//! may be lost either. In the end every node has the last revision. `CORELANE_STORM_REVISIONS` and
//! `CORELANE_STORM_RATE` make it longer and denser; `CORELANE_STORM_SEED` repeats one.

use std::{
    env,
    fs::{File, OpenOptions},
    io::Write,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime},
};

use corelane::limits;
use corelane_perf::loki::{LokiOptions, LokiSink};
use http::Method;
use serde_json::{Value, json};

use crate::{
    etcd::{Etcd, PATIENCE, await_some},
    node::{Node, SOURCES, TARGETS},
    peer::source,
};

const MARKER: &str = "\"seq\":";
/// No line is shorter.
const LINE_BYTES_MIN: u64 = 60;
/// How often the pauses of a receiver are looked for.
const SAMPLE: Duration = Duration::from_millis(2);

fn number(name: &str, otherwise: u64) -> u64 {
    env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

/// A file that grows at a rate until told to stop, and then says how many lines it has.
struct Growing {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Growing {
    fn start(path: PathBuf, rate: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut file: File = OpenOptions::new().create(true).append(true).open(path).expect("a log file");
            let (started, mut next) = (Instant::now(), 0);
            while !told.load(Ordering::Relaxed) {
                let due = (started.elapsed().as_secs_f64() * rate as f64) as u64;
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock");
                let mut out = Vec::new();
                for seq in next..due {
                    let (seconds, micros) = (now.as_secs(), now.subsec_micros());
                    writeln!(
                        out,
                        "{{\"level\":\"info\",\"ts\":{seconds}.{micros:06},\"msg\":\"served\",\"seq\":{seq}}}"
                    )
                    .expect("memory");
                }
                next = next.max(due);
                file.write_all(&out).expect("written");
                thread::sleep(Duration::from_millis(5));
            }
            next
        });
        Self { stop, thread }
    }

    fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the writer did not panic")
    }
}

/// The longest time nothing arrived, until told to stop.
fn longest_pause(sink: &LokiSink, stop: &AtomicBool) -> Duration {
    let (mut seen, mut since, mut longest) = (sink.counters().tally.seen, Instant::now(), Duration::ZERO);
    while !stop.load(Ordering::Relaxed) {
        thread::sleep(SAMPLE);
        let now = sink.counters().tally.seen;
        if now != seen {
            (longest, seen, since) = (longest.max(since.elapsed()), now, Instant::now());
        }
    }
    longest
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
    if dice.roll(10) == 0 {
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

#[test]
fn a_reload_storm_loses_nothing_and_converges() {
    let (revisions, rate) = (number("CORELANE_STORM_REVISIONS", 250), number("CORELANE_STORM_RATE", 500));
    let seed = number("CORELANE_STORM_SEED", getrandom::u64().expect("random numbers"));
    println!("CORELANE_STORM_SEED={seed}: {revisions} revisions, {rate} lines/s a source");
    let place = tempfile::tempdir().unwrap();
    let etcd = Etcd::start(1);
    let loki = || LokiSink::start(LokiOptions::verifying(MARKER)).expect("a receiver");
    let (sinks, all) = ([loki(), loki(), loki()], loki());
    let mut nodes = ["n1", "n2", "n3"].map(|name| Node::new(place.path(), name, &etcd));
    nodes.iter().zip(&sinks).for_each(|(node, sink)| prepare(node, sink));
    nodes.iter_mut().for_each(Node::start);

    let storm = nodes[0].path("storm.log");
    let source = json!({"name": "storm", "file": {"paths": [storm]}, "logFormat": "ZAP_JSON", "startAt": "beginning",
                        "enabled": true});
    nodes[0].accepted(Method::POST, SOURCES, &source);
    let target = |name: &str, url: &str| json!({"name": name, "type": "LOKI", "url": url, "enabled": true});
    let mut narrow = target("all", &all.url());
    narrow["sources"] = json!(["storm"]);
    nodes[1].accepted(Method::POST, TARGETS, &narrow);
    // Nobody listens on the port of a discarded receiver.
    let nobody = loki().url();
    nodes[2].accepted(Method::POST, TARGETS, &target("dead", &nobody));
    let files: Vec<PathBuf> = nodes.iter().map(|node| node.path("steady.log")).chain([storm]).collect();
    let growing: Vec<Growing> = files.into_iter().map(|file| Growing::start(file, rate)).collect();
    for sink in sinks.iter().chain([&all]) {
        assert!(sink.wait(PATIENCE, |counters| counters.tally.seen > rate), "lines flow: {:?}", sink.counters());
    }

    let watched = |run: &mut dyn FnMut()| {
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let pauses: Vec<_> = sinks.iter().map(|sink| scope.spawn(|| longest_pause(sink, &stop))).collect();
            run();
            stop.store(true, Ordering::Relaxed);
            pauses.into_iter().map(|pause| pause.join().expect("no panic")).collect::<Vec<_>>()
        })
    };
    let calm = watched(&mut || thread::sleep(Duration::from_secs(3)));
    let (mut dice, started, mut refused) = (Dice(seed), Instant::now(), 0);
    let stormy = watched(&mut || {
        for _ in 0..revisions {
            let (method, path, body, right) = random_request(&mut dice);
            let node = &nodes[dice.roll(3) as usize];
            let reply = node.send(method.clone(), &path, &body);
            assert!(right.contains(&reply.status), "{method} {path} {body}: {} {}", reply.status, reply.body);
            refused += u64::from(reply.status == 400);
        }
    });
    let took = started.elapsed();
    nodes[0].accepted(Method::PATCH, &format!("{SOURCES}/storm"), &json!({"enabled": true}));

    // Every node comes to the last revision, plan and lanes, and has the same objects.
    let last = nodes[0].revisions().0;
    let names = |node: &Node| {
        let listed = [SOURCES, TARGETS].map(|path| node.accepted(Method::GET, path, &Value::Null));
        let objects = listed.iter().flat_map(|listed| listed["sources"].as_array().or(listed["targets"].as_array()));
        objects.flatten().map(|object| object["name"].to_string()).collect::<Vec<_>>()
    };
    for node in &nodes {
        await_some("the last revision is in force", || (node.revisions() == (last, last)).then_some(()));
        assert_eq!(names(node), names(&nodes[0]));
    }
    assert!(!names(&nodes[0]).contains(&"\"bad\"".to_owned()), "what was refused is nowhere");
    judge(&nodes, &sinks, &all, growing);
    println!("{revisions} requests ({refused} invalid) in {took:?}, last revision {last}");
    println!("longest pause of a receiver nobody touched: calm {calm:?}, storm {stormy:?}");
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
