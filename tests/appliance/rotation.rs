//! Debian's rsyslogd behind mutual TLS while the client's bundle is replaced under its name again and again, by the
//! API: other keys, another authority. Its file holds every number.
//!
//! `CORELANE_ROTATION_MINUTES` makes it long, with a rotation every ten seconds; without it the next one comes as soon
//! as a session uses the last one and lines have flowed through it.

use std::{
    collections::BTreeSet,
    env, thread,
    time::{Duration, Instant},
};

use corelane::{
    cli::client::{Client, Trust},
    control::keys::{Endpoint, Keys},
    limits::RESEND_WINDOW_BYTES,
};
use corelane_perf::certs::Authority;
use http::Method;
use serde_json::{Value, json};

use crate::{
    line::{Growing, LINE_BYTES_MIN},
    node::{Node, await_that, in_flight, on_both, total},
    peer,
    rsyslogd::{IMTCP, Rsyslogd},
};

const BUNDLES: &str = "/api/v2/logs/tls-bundles";
/// How often, when it is to last.
const PERIOD: Duration = Duration::from_secs(10);
/// How many, when it is not. At half of them the authority changes.
const ROTATIONS: u64 = 6;
const RATE: u64 = 1_000;
/// Bytes of rsyslogd's file that a session must have brought before the next rotation.
const PROGRESS: u64 = 64 * 1024;

/// The API of a node, as its administrator.
fn client(node: &Node) -> Client {
    let state = node.state_dir();
    let endpoint = Endpoint::read(&state).expect("the node has told");
    let token = std::fs::read_to_string(Keys::of(&state).token).expect("a token");
    Client::new(&endpoint.endpoint, &Trust::Pinned(endpoint.certificate_pem), Some(token)).expect("a client")
}

/// The bundle that trusts these authorities, with a new key and a certificate of `by`.
fn bundle(trusted: &[&Authority], by: &Authority) -> Value {
    let ca: String = trusted.iter().map(|authority| authority.ca_pem()).collect();
    let client = by.client("client.test").expect("a certificate");
    json!({"name": "client", "caPem": ca, "certPem": client.cert_pem, "keyPem": client.key_pem})
}

fn accepted(client: &Client, method: Method, path: &str, body: &Value) {
    let reply = client.send(method, path, Some(body), None).expect("an answer");
    assert_eq!(reply.status, 200, "{path}: {}", reply.body);
}

/// Waits until lines flow through a session that was not there before.
fn progress(rsyslogd: &Rsyslogd, before: &BTreeSet<u16>) {
    await_that("a new session replaces the old one", || {
        let now = rsyslogd.sessions();
        !now.is_empty() && now.is_disjoint(before)
    });
    let size = rsyslogd.size();
    await_that("lines flow through it", || rsyslogd.size() >= size + PROGRESS);
}

#[test]
fn a_bundle_rotated_again_and_again_loses_nothing_at_rsyslogd() {
    let minutes: Option<u64> = env::var("CORELANE_ROTATION_MINUTES").ok().map(|text| text.parse().expect("a number"));
    let rotations = minutes.map_or(ROTATIONS, |minutes| minutes * 60 / PERIOD.as_secs());
    let seconds = minutes.map_or(60, |minutes| minutes * 60);
    on_both(|backend| {
        let (old, new) = (peer::authority(), peer::authority());
        let mut rsyslogd = Rsyslogd::trusting(IMTCP, &old, &[&old, &new]);
        let mut node = Node::new(backend);
        let log = node.path("logs/app.log");
        node.object("source", &peer::source("app", &log, "ZAP_JSON"));
        node.start();
        let api = client(&node);
        accepted(&api, Method::POST, BUNDLES, &bundle(&[&old], &old));
        let mut siem = peer::syslog_target("siem", rsyslogd.port, "8MiB");
        siem.as_object_mut().expect("an object").remove("kind");
        accepted(&api, Method::POST, "/api/v2/logs/targets", &siem);
        // More than are due until the last rotation: those left are written in a hurry then.
        let lines = RATE * (2 * seconds + 60);
        let growing = Growing::start(log, lines, RATE);
        progress(&rsyslogd, &BTreeSet::new());
        let mut next = Instant::now();
        for rotation in 1..=rotations {
            if minutes.is_some() {
                next += PERIOD;
                thread::sleep(next.saturating_duration_since(Instant::now()));
            }
            // The old authority, both, and once the peer has changed too the new one.
            let next = match (rotation.cmp(&(rotations / 2)), rotation % 2) {
                (std::cmp::Ordering::Less, 1) => bundle(&[&old, &new], &new),
                (std::cmp::Ordering::Less, _) => bundle(&[&old], &old),
                (std::cmp::Ordering::Equal, _) => bundle(&[&new, &old], &new),
                (std::cmp::Ordering::Greater, 1) => bundle(&[&new], &new),
                (std::cmp::Ordering::Greater, _) => bundle(&[&old, &new], &new),
            };
            let before = rsyslogd.sessions();
            accepted(&api, Method::PUT, &format!("{BUNDLES}/client"), &next);
            progress(&rsyslogd, &before);
            if rotation == rotations / 2 {
                rsyslogd.change(&new, &[&new]);
                progress(&rsyslogd, &BTreeSet::new());
            }
        }
        growing.hurry();
        node.await_status("all is delivered", |status| {
            in_flight(status) == 0 && total(status, "siem", "delivered") == lines
        });
        let log = node.log();
        assert!(!log.contains("PRIVATE KEY"), "no key in the log");
        node.terminate();
        rsyslogd.stop();
        let sequence = rsyslogd.sequence();
        assert_eq!(sequence.missing(0..lines), vec![], "{backend}");
        assert_eq!(sequence.differing(), &[], "{backend}");
        // Old sessions are drained, not cut: what came twice came so when rsyslogd was restarted.
        let twice = sequence.tally().duplicates;
        let window = (RESEND_WINDOW_BYTES / LINE_BYTES_MIN) as u64;
        assert!(twice <= window, "{backend}: {twice} came twice, {window} may");
        println!("{backend}: {rotations} rotations, {:?}", sequence.tally());
    });
}
