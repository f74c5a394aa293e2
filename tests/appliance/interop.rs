//! What must hold at a real Loki as at the receiver of `corelane-perf`, so that the receiver's likeness is checked too.
//!
//! With `CORELANE_TEST_LOKI_URL` (set by `scripts/interop`) the lines go to that Loki and are asked back from it;
//! otherwise to a receiver with the limits of a Loki as installed.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use corelane_perf::{
    loki::{Limits, LokiOptions, LokiSink},
    verify::Marker,
};
use serde_json::{Value, json};

use crate::{
    kill,
    line::{Growing, MARKER, append_zap},
    node::{BACKENDS, Node, await_that, in_flight, total},
    peer,
};

/// Lines asked back at once: Loki's own limit of entries per query.
const QUERY_LINES: usize = 5_000;
const HTTP_TIMEOUT: Duration = Duration::from_secs(30);

/// A Loki that can be asked what it has stored of one run.
enum Loki {
    Real { url: String },
    Receiver(LokiSink),
}

impl Loki {
    fn find() -> Self {
        if let Ok(url) = std::env::var("CORELANE_TEST_LOKI_URL") {
            println!("against the Loki at {url}");
            return Self::Real { url };
        }
        let verify = Some(Marker::new(MARKER));
        let options = LokiOptions { limits: Limits::stock(), verify, ..LokiOptions::default() };
        Self::Receiver(LokiSink::start(options).expect("a receiver"))
    }

    fn push_url(&self) -> String {
        match self {
            Self::Real { url } => format!("{url}/loki/api/v1/push"),
            Self::Receiver(sink) => sink.url(),
        }
    }

    /// How often each number of a run is stored, by level.
    fn stored(&self, run: &str) -> BTreeMap<(String, u64), usize> {
        let mut stored = BTreeMap::new();
        let marker = Marker::new(MARKER);
        let mut note = |level: &str, line: &str| {
            let seq = marker.number(line.as_bytes()).expect("a numbered line");
            *stored.entry((level.to_owned(), seq)).or_default() += 1;
        };
        match self {
            Self::Receiver(sink) => sink.for_each(|entry| {
                if entry.label("run") == Some(run) {
                    note(entry.label("level").unwrap_or_default(), &entry.line);
                }
            }),
            Self::Real { url } => {
                let query = format!("%7Bjob%3D%22corelane-interop%22%2Crun%3D%22{run}%22%7D");
                let path = format!("/loki/api/v1/query_range?query={query}&since=1h&limit={QUERY_LINES}");
                let answer: Value = serde_json::from_str(&http(url, &path)).expect("JSON");
                for stream in answer["data"]["result"].as_array().expect("streams") {
                    let level = stream["stream"]["level"].as_str().unwrap_or_default();
                    for value in stream["values"].as_array().expect("values") {
                        note(level, value[1].as_str().expect("a line"));
                    }
                }
            }
        }
        stored
    }
}

/// The body of a GET. HTTP/1.0, so that the answer is one piece and the connection ends with it.
fn http(url: &str, path: &str) -> String {
    let authority = url.strip_prefix("http://").expect("an http:// URL");
    let mut stream = TcpStream::connect(authority).expect("Loki answers");
    stream.set_read_timeout(Some(HTTP_TIMEOUT)).expect("a timeout");
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {authority}\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.contains(" 200 "), "{head}\n{body}");
    body.to_owned()
}

fn start(loki: &Loki, run: &str) -> Node {
    let mut node = Node::new(BACKENDS[0]);
    let mut source = peer::source("app", &node.path("logs/app.log"), "ZAP_JSON");
    source["labels"] = json!({"job": "corelane-interop", "run": run});
    node.object("source", &source);
    node.object("loki", &peer::loki_target("loki", &loki.push_url()));
    node.start();
    node
}

#[test]
fn interop_every_line_is_stored_once_under_its_level() {
    let (loki, run) = (Loki::find(), kill::seed().to_string());
    let mut node = start(&loki, &run);
    let log = node.path("logs/app.log");
    append_zap(&log, "info", 0..2_000);
    append_zap(&log, "warn", 2_000..3_000);
    append_zap(&log, "error", 3_000..3_500);
    let expected: BTreeSet<(String, u64)> =
        (0..3_500).map(|seq| (["info", "info", "warn", "error"][(seq / 1_000) as usize].to_owned(), seq)).collect();
    await_that("all is stored", || loki.stored(&run).len() == expected.len());
    let stored = loki.stored(&run);
    assert!(stored.keys().cloned().collect::<BTreeSet<_>>() == expected, "under other levels or numbers");
    assert!(stored.values().all(|times| *times == 1));
    let delivered = |status: &Value| in_flight(status) == 0 && total(status, "loki", "delivered") == 3_500;
    let status = node.await_status("the ledger agrees", delivered);
    assert_eq!(total(&status, "loki", "refused"), 0);
    node.terminate();
}

#[test]
fn interop_what_is_resent_after_kills_is_stored_once() {
    const LINES: u64 = 4_000;
    let (loki, run) = (Loki::find(), kill::seed().to_string());
    let mut node = start(&loki, &run);
    let growing = Growing::start(node.path("logs/app.log"), LINES, 200);
    for _ in 0..3 {
        let before = loki.stored(&run).len();
        await_that("lines are stored", || loki.stored(&run).len() > before);
        node.kill();
        node.start();
    }
    growing.hurry();
    await_that("all is stored", || loki.stored(&run).len() as u64 == LINES);
    // Loki stores an entry once that is the same in every part.
    assert!(loki.stored(&run).values().all(|times| *times == 1));
    node.terminate();
}
