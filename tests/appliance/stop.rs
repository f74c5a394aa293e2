//! Stopped for a while (SIGSTOP), and told to end while a target does not answer (SIGTERM with its deadline).

use std::{
    fs,
    time::{Duration, Instant},
};

use corelane::limits::DRAIN_DEADLINE;
use corelane_perf::loki::{Fault, Share};
use rustix::process::Signal;

use crate::{
    line::{Growing, append_zap},
    node::{Node, PATIENCE, await_that, in_flight, on_both, total},
    peer,
};

#[test]
fn stopped_and_continued_it_loses_nothing_and_sends_nothing_twice() {
    const LINES: u64 = 100_000;
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
        let growing = Growing::start(log.clone(), LINES, 5_000);
        for _ in 0..3 {
            let seen = loki.counters().tally.seen;
            assert!(loki.wait(PATIENCE, |counters| counters.tally.seen > seen + 2_000));
            node.signal(Signal::STOP);
            // Written and rotated away while it stands still.
            let size = fs::metadata(&log).expect("the log").len();
            await_that("lines are written meanwhile", || fs::metadata(&log).expect("the log").len() > size + 200_000);
            growing.rotate();
            node.signal(Signal::CONT);
        }
        growing.hurry();
        assert!(loki.wait(PATIENCE, |counters| counters.tally.seen == LINES), "{:?}", loki.missing(0..LINES));
        assert!(siem.wait(PATIENCE, |counters| counters.tally.seen == LINES), "{:?}", siem.missing(0..LINES));
        node.await_status("all is settled", |status| {
            in_flight(status) == 0 && ["loki", "siem"].iter().all(|to| total(status, to, "delivered") == LINES)
        });
        node.terminate();
        let (at_loki, at_siem) = (loki.counters().tally, siem.counters().tally);
        assert_eq!((at_loki.duplicates, at_loki.differing), (0, 0), "{backend}");
        assert_eq!((at_siem.duplicates, at_siem.differing), (0, 0), "{backend}");
    });
}

#[test]
fn told_to_end_while_a_target_does_not_answer_it_ends_at_its_deadline_and_loses_nothing() {
    const LINES: u64 = 20_000;
    on_both(|backend| {
        let (steady, silent) = (peer::loki(), peer::loki());
        silent.inject(Share::UntilHealed, Fault::Delay(Duration::from_secs(3600)));
        let mut node = Node::new(backend);
        let log = node.path("logs/app.log");
        node.object("source", &peer::source("app", &log, "ZAP_JSON"));
        node.object("steady", &peer::loki_target("steady", &steady.url()));
        node.object("silent", &peer::loki_target("silent", &silent.url()));
        node.start();
        append_zap(&log, "info", 0..LINES);
        assert!(steady.wait(PATIENCE, |counters| counters.tally.seen == LINES));
        node.await_status("lines wait for the silent target", |status| {
            in_flight(status) == LINES && total(status, "steady", "delivered") == LINES
        });
        let started = Instant::now();
        node.terminate();
        // Not before: an answer could still come.
        assert!(started.elapsed() >= DRAIN_DEADLINE, "{backend}: it waited only {:?}", started.elapsed());
        assert!(node.log().contains("still in flight"), "{}", node.log());
        silent.heal();
        silent.reset();
        node.start();
        assert!(silent.wait(PATIENCE, |counters| counters.tally.seen == LINES), "{:?}", silent.missing(0..LINES));
        node.await_status("all is settled", |status| {
            in_flight(status) == 0 && total(status, "silent", "delivered") == LINES
        });
        node.terminate();
        assert_eq!(steady.counters().tally.duplicates, 0, "{backend}: what was settled is not sent again");
        assert_eq!(silent.differing(), vec![], "{backend}");
    });
}
