//! systemd's own journal writer to Loki: the messages are those `journalctl` shows, also when corelane is killed.

use std::{
    io::Write,
    path::Path,
    process::{Child, Command, Stdio},
    time::SystemTime,
};

use corelane_perf::{
    loki::{LokiOptions, LokiSink},
    verify::Marker,
};
use serde_json::json;

use crate::{
    line::{MARKER, mix},
    node::{Node, PATIENCE, in_flight, on_both, total},
    peer,
};

const REMOTE: &str = "/usr/lib/systemd/systemd-journal-remote";
/// Messages of one portion.
const PORTION: u64 = 2_000;
const BACKLOG: u64 = 40_000;

/// A running writer of one journal file.
pub struct Writer {
    child: Child,
    seed: u64,
    next: u64,
}

impl Writer {
    pub fn start(path: &Path, compact: bool, seed: u64) -> Self {
        let child = Command::new(REMOTE)
            .env("SYSTEMD_JOURNAL_COMPACT", if compact { "1" } else { "0" })
            .arg("-o")
            .arg(path)
            .arg("-")
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{REMOTE}: {error}; apt-get install systemd-journal-remote"));
        Self { child, seed, next: 0 }
    }

    /// Writes the next entries, each numbered; a third is of another identifier.
    pub fn write(&mut self, entries: u64) {
        let mut out = Vec::new();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock").as_micros();
        for n in self.next..self.next + entries {
            let draw = mix(self.seed, n);
            let identifier = ["node-manager", "node-manager-1", "etcd"][(draw % 3) as usize];
            let mut message = format!("{{\"level\":\"info\",\"msg\":\"journal\",\"draw\":{draw},\"seq\":{n}}}");
            match draw / 3 % 50 {
                0 => message.push_str("\npanic: below it\n\tat x.go:1"),
                // Long enough for the writer to compress it.
                1 => message.insert_str(0, &"a long beginning ".repeat(100)),
                _ => {}
            }
            let realtime = now + u128::from(n - self.next);
            write!(out, "__REALTIME_TIMESTAMP={realtime}\n__MONOTONIC_TIMESTAMP={}\n", n + 1).expect("memory");
            write!(out, "_BOOT_ID=0123456789abcdef0123456789abcdef\nSYSLOG_IDENTIFIER={identifier}\nPRIORITY=6\n")
                .expect("memory");
            out.extend_from_slice(b"MESSAGE\n");
            out.extend_from_slice(&(message.len() as u64).to_le_bytes());
            out.extend_from_slice(message.as_bytes());
            out.extend_from_slice(b"\n\n");
        }
        self.next += entries;
        let input = self.child.stdin.as_mut().expect("the writer runs");
        input.write_all(&out).expect("written");
        input.flush().expect("written");
    }

    /// Ends it and waits until all is written.
    pub fn end(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().expect("a child").success());
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The messages of `node-manager` and its instances, as systemd's own reader tells them.
fn journalctl(directory: &Path) -> Vec<String> {
    let output = Command::new("journalctl")
        .args(["--quiet", "--no-pager", "-o", "export", "--output-fields=MESSAGE,SYSLOG_IDENTIFIER", "--directory"])
        .arg(directory)
        .output()
        .expect("journalctl runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (mut rest, mut found) = (output.stdout.as_slice(), Vec::new());
    let (mut message, mut wanted) = (None, false);
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let (line, after) = (&rest[..end], &rest[end + 1..]);
        rest = after;
        match line.iter().position(|byte| *byte == b'=') {
            _ if line.is_empty() => {
                found.extend(message.take().filter(|_| wanted));
                wanted = false;
            }
            Some(equals) => match &line[..equals] {
                b"MESSAGE" => message = Some(String::from_utf8(line[equals + 1..].to_vec()).expect("text")),
                b"SYSLOG_IDENTIFIER" => wanted = line[equals + 1..].starts_with(b"node-manager"),
                _ => {}
            },
            // A field with newlines: its length in eight bytes, itself, a newline.
            None => {
                let length = u64::from_le_bytes(rest[..8].try_into().expect("eight bytes")) as usize;
                if line == b"MESSAGE" {
                    message = Some(String::from_utf8(rest[8..8 + length].to_vec()).expect("text"));
                }
                rest = &rest[8 + length + 1..];
            }
        }
    }
    found.extend(message.filter(|_| wanted));
    found
}

#[test]
fn journal_messages_arrive_as_journalctl_shows_them_although_killed() {
    on_both(|backend| {
        for compact in [true, false] {
            let seed = crate::kill::seed();
            println!("{backend}, compact {compact}, seed {seed}");
            run(backend, compact, seed);
        }
    });
}

fn run(backend: &'static str, compact: bool, seed: u64) {
    let verify = Some(Marker::new(MARKER));
    let loki = LokiSink::start(LokiOptions { verify, ..LokiOptions::default() }).expect("a receiver");
    let mut node = Node::new(backend);
    let directory = node.path("journal");
    std::fs::create_dir(&directory).expect("a directory");
    let mut writer = Writer::start(&directory.join("system.journal"), compact, seed);
    writer.write(PORTION);
    node.object(
        "source",
        &json!({"kind": "source", "name": "journal", "logFormat": "ZAP_JSON", "startAt": "beginning", "enabled": true,
            "journald": {"directory": directory, "identifier": "node-manager"}}),
    );
    node.object("loki", &peer::loki_target("loki", &loki.url()));
    node.start();
    for _ in 0..3 {
        let seen = loki.counters().tally.seen;
        writer.write(PORTION);
        assert!(loki.wait(PATIENCE, |counters| counters.tally.seen > seen), "the journal stands still");
        node.kill();
        writer.write(PORTION);
        node.start();
    }
    writer.end();
    let expected = journalctl(&directory);
    assert!(expected.len() as u64 > 3 * PORTION, "{} messages", expected.len());
    let lines = expected.len() as u64;
    let arrived = loki.wait(PATIENCE, |counters| counters.tally.seen == lines);
    assert!(arrived, "{} of {lines}", loki.counters().tally.seen);
    node.await_status("all is settled", |status| in_flight(status) == 0 && total(status, "loki", "delivered") == lines);
    node.terminate();
    assert_eq!(loki.differing(), vec![]);
    let mut entries = loki.entries();
    entries.sort_by_key(|entry| entry.time_ns);
    let arrived: Vec<&str> = entries.iter().map(|entry| entry.line.as_str()).collect();
    assert_eq!(arrived.len(), expected.len());
    let different = arrived.iter().zip(&expected).position(|(arrived, expected)| arrived != expected);
    assert_eq!(different.map(|at| (arrived[at], &expected[at])), None);
    assert!(entries.iter().all(|entry| entry.label("source") == Some("journal")));
}

/// Two sources of one journal: one takes it from the beginning, the other from now on. The node restarts in the middle
/// of what the first one has to catch up; the second one was then sent the rest of what was written before it existed.
#[test]
fn a_restart_before_the_first_line_does_not_move_the_start() {
    on_both(|backend| {
        let loki = LokiSink::start(LokiOptions::default()).expect("a receiver");
        let mut node = Node::new(backend);
        let directory = node.path("journal");
        std::fs::create_dir(&directory).expect("a directory");
        let mut writer = Writer::start(&directory.join("system.journal"), true, 7);
        // More than the target is given while it takes nothing.
        writer.write(BACKLOG);
        writer.end();
        let source = |name: &str, identifier: &str, start: &str| {
            json!({"kind": "source", "name": name, "logFormat": "ZAP_JSON", "startAt": start, "enabled": true,
                "journald": {"directory": directory, "identifier": identifier}})
        };
        node.object("early", &source("early", "node-manager", "beginning"));
        node.object("late", &source("late", "etcd", "end"));
        let target = |url: &str| {
            let mut target = peer::loki_target("loki", url);
            target["queueBytes"] = json!("2MiB");
            target
        };
        // Nobody listens there.
        node.object("loki", &target("http://127.0.0.1:9/loki/api/v1/push"));
        node.start();
        node.await_status("lines wait", |status| in_flight(status) > 0);
        node.kill();
        node.start();
        node.await_status("lines wait", |status| in_flight(status) > 0);
        node.terminate();
        node.object("loki", &target(&loki.url()));
        node.start();
        let mut writer = Writer::start(&directory.join("system.journal"), true, 8);
        writer.write(PORTION);
        writer.end();
        let of = |seed: u64, entries: u64, etcd: bool| {
            (0..entries).filter(|n| (mix(seed, *n) % 3 == 2) == etcd).count() as u64
        };
        let expected = of(7, BACKLOG, false) + of(8, PORTION, false) + of(8, PORTION, true);
        node.await_status("all is settled", |status| {
            in_flight(status) == 0 && total(status, "loki", "delivered") >= expected
        });
        node.terminate();
        let late = loki.entries().iter().filter(|entry| entry.label("source") == Some("late")).count() as u64;
        assert_eq!(late, of(8, PORTION, true), "lines of the source that began now");
        assert_eq!(loki.entries().len() as u64, expected);
    });
}

/// A source was added to a journal that another one had read without finding anything: it joined where that one's
/// cursor stood, and its backlog was lost. Nor may those that are there already be sent anything again, though the
/// journal has files of two seqnum ids, which only the clock relates.
#[test]
fn a_source_that_joins_gets_what_nobody_wanted_before() {
    on_both(|backend| {
        let loki = LokiSink::start(LokiOptions::default()).expect("a receiver");
        let mut node = Node::new(backend);
        let directory = node.path("journal");
        std::fs::create_dir(&directory).expect("a directory");
        for (name, seed) in [("system.journal", 9), ("user-1000.journal", 10)] {
            let mut writer = Writer::start(&directory.join(name), true, seed);
            writer.write(BACKLOG / 2);
            writer.end();
        }
        let source = |name: &str| {
            json!({"kind": "source", "name": name, "logFormat": "ZAP_JSON", "startAt": "beginning", "enabled": true,
                "journald": {"directory": directory, "identifier": name}})
        };
        // Entries of `node-manager`, its instance `node-manager-1` and `etcd`, by what they drew.
        let of = |draws: &[u64]| {
            let count = |seed| (0..BACKLOG / 2).filter(|n| draws.contains(&(mix(seed, *n) % 3))).count() as u64;
            count(9) + count(10)
        };
        node.object("nobody", &source("nobody"));
        node.object("loki", &peer::loki_target("loki", &loki.url()));
        node.start();
        node.await_status("the journal is looked at", |status| status["readers"][0]["source"] == "nobody");
        // The first stands behind everything and has not said so; the third comes while the second is on its way.
        let revision = node.status()["revision"].clone();
        node.object("etcd", &source("etcd"));
        node.await_plan_after(&revision);
        let revision = node.status()["revision"].clone();
        node.object("node-manager", &source("node-manager"));
        node.await_plan_after(&revision);
        let all = |status: &serde_json::Value| in_flight(status) == 0 && total(status, "loki", "delivered") >= BACKLOG;
        node.await_status("all is settled", all);
        for name in ["node-manager-1", "nothing"] {
            let revision = node.status()["revision"].clone();
            node.object(name, &source(name));
            node.await_plan_after(&revision);
        }
        let again = of(&[1]);
        let status = node.await_status("the one that joined last has all", |status| {
            in_flight(status) == 0 && total(status, "loki", "delivered") >= BACKLOG + again
        });
        assert_eq!(total(&status, "loki", "delivered"), BACKLOG + again, "{backend}: none was sent twice");
        node.terminate();
        let arrived = |name: &str| loki.entries().iter().filter(|entry| entry.label("source") == Some(name)).count();
        assert_eq!((arrived("etcd") as u64, arrived("node-manager") as u64), (of(&[2]), of(&[0, 1])), "{backend}");
    });
}
