//! A journal and a file flow to one target while others are dead, slow and refusing: it notices nothing, and the others
//! miss nothing once they mend.

use std::{fs, time::Duration};

use corelane_perf::{
    loki::{Fault, Share},
    procfs::Usage,
};
use serde_json::json;

use crate::{
    journal::Writer,
    line::append_zap,
    node::{Node, PATIENCE, in_flight, on_both, total},
    peer,
};

/// Entries of the journal, numbered from 0, and lines of the file, numbered from `FIRST_LINE`, of each portion.
const ENTRIES: u64 = 10_000;
const LINES: u64 = 60_000;
const FIRST_LINE: u64 = 1_000_000;
const PORTIONS: u64 = 3;
/// Bytes the resident set may grow by while three targets take nothing: their queues, and what allocators keep.
const RSS_GROWTH_BYTES: u64 = 3 * 8 * 1024 * 1024 + 24 * 1024 * 1024;

#[test]
fn dead_slow_and_refusing_targets_change_nothing_for_another_and_miss_nothing() {
    on_both(|backend| {
        let [steady, dead, slow, refusing] = [(); 4].map(|()| peer::loki());
        dead.down();
        slow.inject(Share::UntilHealed, Fault::Delay(Duration::from_secs(2)));
        refusing.inject(Share::UntilHealed, Fault::Answer(429, "Ingestion rate limit exceeded".to_owned()));
        let mut node = Node::new(backend);
        fs::create_dir(node.path("journal")).expect("a directory");
        let mut journal = Writer::start(&node.path("journal/system.journal"), true, 1);
        let log = node.path("logs/app.log");
        node.object("file", &peer::source("app", &log, "ZAP_JSON"));
        node.object(
            "journal",
            &json!({"kind": "source", "name": "journal", "journald": {"directory": node.path("journal")},
                "logFormat": "ZAP_JSON", "startAt": "beginning", "enabled": true}),
        );
        let targets = [("steady", &steady), ("dead", &dead), ("slow", &slow), ("refusing", &refusing)];
        for (name, sink) in targets {
            node.object(name, &peer::loki_target(name, &sink.url()));
        }
        node.start();
        let mut resident = 0;
        for portion in 1..=PORTIONS {
            journal.write(ENTRIES);
            append_zap(&log, "info", FIRST_LINE + (portion - 1) * LINES..FIRST_LINE + portion * LINES);
            let due = portion * (ENTRIES + LINES);
            assert!(steady.wait(PATIENCE, |now| now.tally.seen == due), "{backend}: {:?}", steady.counters());
            let now = Usage::of(node.pid()).expect("it runs").rss_bytes;
            resident = if portion == 1 { now } else { resident };
            assert!(now < resident + RSS_GROWTH_BYTES, "{backend}: from {resident} to {now} bytes");
        }
        journal.end();
        let all = PORTIONS * (ENTRIES + LINES);
        let steady_has_all = |status: &serde_json::Value| total(status, "steady", "delivered") == all;
        let status = node.await_status("the steady one is settled", steady_has_all);
        assert_eq!(total(&status, "dead", "delivered") + total(&status, "refusing", "delivered"), 0);
        assert!(slow.counters().tally.seen < all, "{backend}: it was not slow");
        assert_eq!(steady.counters().tally.duplicates, 0, "{backend}");
        dead.up().expect("the port is ours");
        slow.heal();
        refusing.heal();
        for (name, sink) in targets {
            assert!(sink.wait(PATIENCE, |now| now.tally.seen == all), "{backend}: {name}: {:?}", sink.counters());
        }
        let status = node.await_status("the ledger counts every line once for each", |status| {
            in_flight(status) == 0 && targets.iter().all(|(name, _)| total(status, name, "delivered") == all)
        });
        assert_eq!(status["lanes"][0]["imbalances"], 0, "{backend}");
        node.terminate();
        for (name, sink) in targets {
            assert_eq!(sink.differing(), vec![], "{backend}: {name}");
        }
        assert_eq!(steady.counters().tally.duplicates, 0, "{backend}");
    });
}
