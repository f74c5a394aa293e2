//! Configuration changed while lines flow: object files, the command line, levels, bundles. Nothing restarts.

use std::time::Duration;

use crate::{
    line::append_zap,
    node::{BACKENDS, Node, PATIENCE, await_that, in_flight, on_both, total},
    peer,
};

#[test]
fn object_files_come_change_and_go_while_it_runs() {
    let (first, second) = (peer::loki(), peer::loki());
    let mut node = Node::new(BACKENDS[0]);
    let log = node.path("logs/app.log");
    node.start();
    append_zap(&log, "info", 0..1_000);
    node.object("source", &peer::source("app", &log, "ZAP_JSON"));
    node.object("target", &peer::loki_target("loki", &first.url()));
    assert!(first.wait(PATIENCE, |counters| counters.tally.seen == 1_000));
    // Changed: the same target elsewhere goes on where it stood.
    node.await_status("all is settled", |status| total(status, "loki", "delivered") == 1_000);
    let before = node.status()["revision"].clone();
    node.object("target", &peer::loki_target("loki", &second.url()));
    node.await_plan_after(&before);
    append_zap(&log, "info", 1_000..2_000);
    assert!(second.wait(PATIENCE, |counters| counters.tally.seen == 1_000), "{:?}", first.counters());
    assert_eq!(second.missing(1_000..2_000), vec![]);
    assert_eq!((first.counters().tally.seen, first.counters().tally.duplicates), (1_000, 0));
    // A file that becomes malformed is told, with its name, and what it last held stays in force.
    std::fs::write(node.path("conf.d/source.json"), "{\"kind\": \"source\",\n \"name\": ").expect("a file");
    let status = node.await_status("the malformed file is told", |status| !status["complaints"][0].is_null());
    let complaint = status["complaints"][0].to_string();
    assert!(complaint.contains("source.json"), "{complaint}");
    append_zap(&log, "info", 2_000..3_000);
    assert!(second.wait(PATIENCE, |counters| counters.tally.seen == 2_000));
    node.forget("target");
    node.await_status("the target is gone", |status| status["targets"].as_array().is_some_and(Vec::is_empty));
    node.terminate();
}

#[test]
fn the_command_line_creates_disables_and_narrows_while_it_runs() {
    let (loki, other) = (peer::loki(), peer::loki());
    let mut node = Node::new(BACKENDS[1]);
    let log = node.path("logs/app.log");
    node.start();
    let file = format!("--file={}", log.display());
    let source = [
        "create",
        "source",
        "app",
        &file,
        "--log-format=zap-json",
        "--start-at=beginning",
        "--min-level=info",
        "--enabled",
    ];
    node.cli_ok(&source);
    for (name, url) in [("loki", loki.url()), ("other", other.url())] {
        node.cli_ok(&["create", "target", name, "--type=loki", &format!("--url={url}"), "--enabled"]);
    }
    append_zap(&log, "info", 0..1_000);
    for sink in [&loki, &other] {
        assert!(sink.wait(PATIENCE, |counters| counters.tally.seen == 1_000));
    }
    node.await_status("all is settled", |status| total(status, "other", "delivered") == 1_000);
    // Disabled, it keeps its position and gets nothing; enabled again, it gets what it has missed.
    let before = node.status()["revision"].clone();
    node.cli_ok(&["update", "target", "other", "--enabled=false"]);
    node.await_plan_after(&before);
    append_zap(&log, "info", 1_000..2_000);
    assert!(loki.wait(PATIENCE, |counters| counters.tally.seen == 2_000));
    assert_eq!(other.counters().tally.seen, 1_000);
    node.cli_ok(&["update", "target", "other", "--enabled"]);
    assert!(other.wait(PATIENCE, |counters| counters.tally.seen == 2_000));
    // Raised level: once the command line has answered and the lane obeyed, no info line passes.
    let before = node.status()["revision"].clone();
    node.cli_ok(&["update", "source", "app", "--min-level=warn"]);
    node.await_plan_after(&before);
    append_zap(&log, "info", 2_000..3_000);
    append_zap(&log, "warn", 3_000..4_000);
    for sink in [&loki, &other] {
        assert!(sink.wait(PATIENCE, |counters| counters.tally.highest == Some(3_999)));
        assert_eq!(sink.missing(0..4_000), vec![2_000..3_000]);
        assert_eq!((sink.counters().tally.duplicates, sink.differing()), (0, vec![]));
    }
    node.await_status("the ledger has them", |status| total(status, "loki", "filtered") == 1_000);
    node.terminate();
}

#[test]
fn a_bundle_replaced_under_its_name_loses_nothing() {
    const PORTION: u64 = 300;
    on_both(|backend| {
        let authority = peer::authority();
        let siem = peer::syslog(&authority, None, None);
        let mut node = Node::new(backend);
        let log = node.path("logs/app.log");
        node.object("bundle", &peer::bundle(&authority));
        node.object("source", &peer::source("app", &log, "ZAP_JSON"));
        node.object("siem", &peer::syslog_target("siem", siem.addr().port(), "8MiB"));
        node.start();
        let mut lines = 0;
        for replaced in 1..=3 {
            // Lines flow before, while and after it is replaced, for as long as that takes.
            let mut flow_until = |what: &str, done: &dyn Fn(u64) -> bool| {
                await_that(what, || {
                    append_zap(&log, "info", lines..lines + PORTION);
                    lines += PORTION;
                    done(siem.counters().sessions)
                });
            };
            let seen = siem.counters().tally.seen;
            flow_until("lines flow", &|_| siem.counters().tally.seen >= seen + 10 * PORTION);
            node.object("bundle", &peer::bundle(&authority));
            flow_until("a new session uses the new bundle", &|sessions| sessions > replaced);
        }
        assert!(siem.wait(PATIENCE, |counters| counters.tally.seen == lines), "{:?}", siem.missing(0..lines));
        node.await_status("all is settled", |status| {
            in_flight(status) == 0 && total(status, "siem", "delivered") == lines
        });
        node.terminate();
        let counters = siem.counters();
        assert_eq!((counters.tally.differing, counters.malformed, counters.handshakes_failed), (0, 0, 0), "{backend}");
        // Old sessions are drained, not cut.
        assert_eq!((counters.tally.duplicates, counters.cut_short), (0, 0), "{backend}");
    });
}

#[test]
fn a_bundle_that_the_peer_refuses_is_told_and_its_successor_loses_nothing() {
    let (authority, stranger) = (peer::authority(), peer::authority());
    let siem = peer::syslog(&authority, None, None);
    let mut node = Node::new(BACKENDS[0]);
    let log = node.path("logs/app.log");
    let mut bundle = peer::bundle(&stranger);
    // It trusts the right authority, but shows a certificate of another.
    bundle["caPem"] = authority.ca_pem().into();
    node.object("bundle", &bundle);
    node.object("source", &peer::source("app", &log, "ZAP_JSON"));
    node.object("siem", &peer::syslog_target("siem", siem.addr().port(), "8MiB"));
    node.start();
    append_zap(&log, "info", 0..1_000);
    let status = node.await_status("the refusal is told", |status| status["targets"][0]["state"] == "FAILING");
    assert!(status["targets"][0]["reason"].as_str().is_some_and(|reason| !reason.is_empty()));
    assert!(siem.wait(PATIENCE.min(Duration::from_secs(60)), |counters| counters.handshakes_failed > 0));
    assert_eq!(total(&status, "siem", "delivered"), 0, "nothing counts as delivered");
    node.object("bundle", &peer::bundle(&authority));
    assert!(siem.wait(PATIENCE, |counters| counters.tally.seen == 1_000));
    node.terminate();
}
