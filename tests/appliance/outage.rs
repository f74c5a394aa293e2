//! Targets that are down, refuse or lose answers, and a node that is told to stop: nothing is lost, nobody waits for
//! another, and what was delivered is not sent again.

use std::{collections::BTreeSet, fs, time::Duration};

use corelane_perf::{
    loki::{Fault, Share},
    procfs::Usage,
};
use serde_json::json;

use crate::{
    line::{Growing, append_zap},
    node::{BACKENDS, Node, PATIENCE, await_that, in_flight, on_both, total},
    peer,
};

/// Bytes the resident set may grow by beyond the queues while a target is down: allocators keep some.
const RSS_SLACK_BYTES: u64 = 24 * 1024 * 1024;

#[test]
fn sigterm_drains_and_a_restart_sends_nothing_twice() {
    on_both(|backend| {
        let authority = peer::authority();
        let (loki, siem) = (peer::loki(), peer::syslog(&authority, None, None));
        let mut node = Node::new(backend);
        let log = node.path("logs/app.log");
        node.object("bundle", &peer::bundle(&authority));
        node.object("source", &peer::source("app", &log, "ZAP_JSON"));
        node.object("loki", &peer::loki_target("loki", &loki.url()));
        node.object("siem", &peer::syslog_target("siem", siem.addr().port(), "8MiB"));
        node.start();
        let growing = Growing::start(log.clone(), 60_000, 5_000);
        assert!(loki.wait(PATIENCE, |counters| counters.tally.seen >= 5_000));
        node.terminate();
        // All that was taken from the file has arrived at both, up to the same line or not, and is settled.
        let (at_loki, at_siem) = (loki.counters().tally, siem.counters().tally);
        assert!(at_loki.seen < 60_000, "stopped in the middle");
        assert_eq!(loki.missing(0..at_loki.seen), vec![]);
        assert_eq!(siem.missing(0..at_siem.seen), vec![]);
        assert!(!node.log().contains("still in flight"), "{}", node.log());
        node.start();
        growing.hurry();
        assert!(loki.wait(PATIENCE, |counters| counters.tally.seen == 60_000), "{:?}", loki.missing(0..60_000));
        assert!(siem.wait(PATIENCE, |counters| counters.tally.seen == 60_000), "{:?}", siem.missing(0..60_000));
        node.terminate();
        let (at_loki, at_siem) = (loki.counters().tally, siem.counters().tally);
        assert_eq!((at_loki.duplicates, at_loki.differing), (0, 0), "{backend}");
        assert_eq!((at_siem.duplicates, at_siem.differing), (0, 0), "{backend}");
    });
}

#[test]
fn a_target_that_is_down_holds_nobody_up_and_misses_nothing() {
    const LINES: u64 = 200_000;
    on_both(|backend| {
        let authority = peer::authority();
        let (loki, siem) = (peer::loki(), peer::syslog(&authority, None, None));
        siem.down();
        let mut node = Node::new(backend);
        let log = node.path("logs/app.log");
        node.object("bundle", &peer::bundle(&authority));
        node.object("source", &peer::source("app", &log, "ZAP_JSON"));
        node.object("loki", &peer::loki_target("loki", &loki.url()));
        node.object("siem", &peer::syslog_target("siem", siem.addr().port(), "4MiB"));
        node.start();
        append_zap(&log, "info", 0..40_000);
        assert!(loki.wait(PATIENCE, |counters| counters.tally.seen == 40_000), "the dead target holds it up");
        let before = Usage::of(node.pid()).expect("it runs").rss_bytes;
        // Many times what the dead target's queue can hold.
        append_zap(&log, "info", 40_000..LINES);
        assert!(loki.wait(PATIENCE, |counters| counters.tally.seen == LINES), "the dead target holds it up");
        let grown = Usage::of(node.pid()).expect("it runs").rss_bytes.saturating_sub(before);
        assert!(grown < RSS_SLACK_BYTES, "{backend}: grown by {grown} bytes while a target was down");
        let status = node.await_status("the dead target is named", |status| {
            let target = &status["targets"].as_array().expect("targets")[1];
            target["name"] == "siem" && target["state"] == "FAILING"
        });
        let reason = status["targets"][1]["reason"].as_str().expect("a reason").to_owned();
        assert!(reason.to_lowercase().contains("refused"), "{reason}");
        assert_eq!(total(&status, "siem", "delivered"), 0);
        siem.up().expect("the port is ours");
        assert!(siem.wait(PATIENCE, |counters| counters.tally.seen >= LINES / 4), "it came back");
        siem.reset();
        assert!(siem.wait(PATIENCE, |counters| counters.tally.seen == LINES), "{:?}", siem.missing(0..LINES));
        node.await_status("all is settled", |status| {
            in_flight(status) == 0
                && total(status, "siem", "delivered") == LINES
                && total(status, "loki", "delivered") == LINES
        });
        node.terminate();
        assert_eq!((loki.differing(), siem.differing()), (vec![], vec![]));
        assert_eq!(loki.counters().tally.duplicates, 0, "{backend}: the other target got nothing twice");
    });
}

#[test]
fn loki_that_refuses_for_now_or_loses_answers_misses_nothing() {
    const LINES: u64 = 100_000;
    on_both(|backend| {
        let loki = peer::loki();
        let mut node = Node::new(backend);
        let log = node.path("logs/app.log");
        node.object("source", &peer::source("app", &log, "ZAP_JSON"));
        node.object("loki", &peer::loki_target("loki", &loki.url()));
        node.start();
        let growing = Growing::start(log, LINES, 2_000);
        // One after the other, or the pauses between the tries would grow.
        for (status, fault) in [
            (429, Fault::Answer(429, "Ingestion rate limit exceeded".to_owned())),
            (0, Fault::LoseAnswer),
            (500, Fault::Answer(500, "rpc error".to_owned())),
            (0, Fault::LoseRequest),
            (503, Fault::RetryAfter(503, 1)),
            (0, Fault::Delay(Duration::from_millis(200))),
        ] {
            let seen = loki.counters().tally.seen;
            loki.inject(Share::Next(1), fault);
            if status > 0 {
                assert!(loki.wait(PATIENCE, |counters| counters.answers.contains_key(&status)));
            }
            assert!(loki.wait(PATIENCE, |counters| counters.tally.seen > seen));
        }
        growing.hurry();
        assert!(loki.wait(PATIENCE, |counters| counters.tally.seen == LINES), "{:?}", loki.missing(0..LINES));
        node.await_status("all is settled", |status| {
            in_flight(status) == 0 && total(status, "loki", "delivered") == LINES
        });
        let counters = loki.counters();
        assert!(counters.tally.duplicates > 0, "answers were lost, so batches came twice");
        assert_eq!(loki.differing(), vec![]);
        assert_eq!(counters.answers.get(&429), Some(&1), "{:?}", counters.answers);
        node.terminate();
    });
}

#[test]
fn the_console_shows_every_line_once() {
    const LINES: u64 = 5_000;
    let mut node = Node::new(BACKENDS[0]);
    let log = node.path("logs/app.log");
    node.object("source", &peer::source("app", &log, "ZAP_JSON"));
    node.object("console", &json!({"kind": "target", "name": "console", "type": "CONSOLE", "enabled": true}));
    node.start();
    append_zap(&log, "info", 0..LINES);
    let shown = || fs::read_to_string(node.path("stdout")).expect("its output");
    await_that("the console shows all", || shown().lines().count() as u64 >= LINES);
    let shown = shown();
    let written = fs::read_to_string(&log).expect("the log");
    let lines: BTreeSet<&str> =
        shown.lines().filter_map(|line| line.split_once(" INFO  app ").map(|(_, it)| it)).collect();
    assert_eq!(shown.lines().count() as u64, LINES);
    assert!(lines == written.lines().collect::<BTreeSet<_>>(), "{:?}", shown.lines().next());
    node.terminate();
}
