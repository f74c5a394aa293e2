//! The wire is cut under load, again and again: half-closed, reset, silent; and answers are lost behind data that was
//! stored. Every line arrives, and what comes twice is the same.

use corelane_perf::loki::{Fault, Share};

use crate::{
    common::proxy::Proxy,
    line::Growing,
    node::{Node, PATIENCE, await_that, in_flight, on_both, total},
    peer,
};

#[test]
fn whichever_way_the_wire_is_cut_every_line_arrives() {
    const LINES: u64 = 120_000;
    on_both(|backend| {
        let authority = peer::authority();
        let (loki, siem) = (peer::loki(), peer::syslog(&authority, None, None));
        let (to_loki, to_siem) = (Proxy::start(loki.addr()), Proxy::start(siem.addr()));
        let mut node = Node::new(backend);
        let log = node.path("logs/app.log");
        node.object("bundle", &peer::bundle(&authority));
        node.object("source", &peer::source("app", &log, "ZAP_JSON"));
        let url = format!("http://127.0.0.1:{}/loki/api/v1/push", to_loki.port());
        let mut target = peer::loki_target("loki", &url);
        // A silent wire shows in a test's time.
        target["timeout"] = "2s".into();
        node.object("loki", &target);
        node.object("siem", &peer::syslog_target("siem", to_siem.port(), "4MiB"));
        node.start();
        let growing = Growing::start(log, LINES, 4_000);
        let both_get_more = |what: &str| {
            let (at_loki, at_siem) = (loki.counters().tally.seen, siem.counters().tally.seen);
            await_that(what, || {
                loki.counters().tally.seen > at_loki + 200 && siem.counters().tally.seen > at_siem + 200
            });
        };
        both_get_more("lines flow");
        for round in 0..3 {
            to_loki.reset();
            to_siem.reset();
            both_get_more("lines flow after a reset");
            to_loki.half_close();
            to_siem.half_close();
            both_get_more("lines flow after a half close");
            loki.inject(Share::Next(1), Fault::LoseAnswer);
            await_that("an answer was lost", || loki.counters().answers_lost > round);
            both_get_more("lines flow after a lost answer");
        }
        // Nothing gets through, and nobody says so: requests time out, syslog waits for TCP.
        let sessions = to_loki.sessions();
        to_loki.swallow(true);
        to_siem.swallow(true);
        await_that("a silent request is given up", || to_loki.sessions() > sessions);
        assert!(in_flight(&node.status()) > 0, "{backend}: what nobody took waits");
        to_loki.swallow(false);
        to_siem.swallow(false);
        both_get_more("lines flow after silence");
        growing.hurry();
        assert!(loki.wait(PATIENCE, |counters| counters.tally.seen == LINES), "{:?}", loki.missing(0..LINES));
        assert!(siem.wait(PATIENCE, |counters| counters.tally.seen == LINES), "{:?}", siem.missing(0..LINES));
        let status = node.await_status("the ledger counts every line once", |status| {
            in_flight(status) == 0 && ["loki", "siem"].iter().all(|to| total(status, to, "delivered") == LINES)
        });
        assert_eq!(status["lanes"][0]["imbalances"], 0, "{backend}");
        node.terminate();
        assert_eq!((loki.differing(), siem.differing()), (vec![], vec![]), "{backend}");
        let (twice_at_loki, twice_at_siem) = (loki.counters().tally.duplicates, siem.counters().tally.duplicates);
        assert!(twice_at_loki > 0 && twice_at_siem > 0, "{backend}: the cuts met nothing");
        println!("{backend}: twice {twice_at_loki} at Loki, {twice_at_siem} at syslog, {sessions} sessions");
    });
}
