//! Pushes over HTTP: order, keep-alive, outages, lost answers, refusals.

use std::time::Duration;

use corelane_perf::loki::{Limits, LokiOptions, LokiSink};
use tokio::net::TcpListener;

use super::{http_peer::*, *};
use crate::{
    batch::{Item, LokiBatch, Open},
    model::{Nanos, Position},
    orders::Part,
    stats::Totals,
};

#[tokio::test]
async fn batches_arrive_in_order_on_one_connection() {
    let peer = HttpPeer::start([]).await;
    let mut plan = loki_plan(peer.port);
    plan.tenant = Some("of-target".to_owned());
    let mut rig = Rig::with(vec![target(1, TargetKind::Loki(plan))]);
    rig.send(1, "a");
    rig.send(1, "b");
    rig.send(1, "c");
    rig.expect_acked(0..3).await;
    assert_eq!(peer.bodies(), ["a", "b", "c"]);
    assert_eq!(peer.connections(), 1);
    rig.send_batch(1, "d", 1, Some("of-batch"));
    rig.expect_acked([3]).await;
    assert_eq!(peer.connections(), 2, "each tenant has its own");
    assert!(peer.head(0).starts_with("post /loki/api/v1/push http/1.1\r\n"), "{}", peer.head(0));
    assert!(peer.head(0).contains("x-scope-orgid: of-target"));
    assert!(peer.head(3).contains("x-scope-orgid: of-batch"));
    let report = rig.report(1);
    assert_eq!((report.state, report.acked, report.failed_tries, report.resent), (TargetState::Up, 4, 0, 0));
    assert_eq!((report.sent_bytes, report.name.as_str()), (4, "target-1"));
    assert!(report.last_acked.is_some());
}

/// The peer listens on one of the addresses of the name only.
#[tokio::test]
async fn a_name_is_resolved_and_all_its_addresses_are_tried() {
    let peer = HttpPeer::start([]).await;
    let mut plan = loki_plan(peer.port);
    plan.host = "localhost".to_owned();
    let mut rig = Rig::with(vec![target(1, TargetKind::Loki(plan))]);
    rig.send(1, "a");
    rig.expect_acked([0]).await;
    assert!(peer.head(0).contains(&format!("host: localhost:{}\r\n", peer.port)), "{}", peer.head(0));
}

/// An empty label is not a name, which the resolver knows without asking anybody.
#[tokio::test]
async fn a_name_that_does_not_exist_is_told() {
    let mut plan = loki_plan(3100);
    plan.host = "no..host".to_owned();
    let mut rig = Rig::with(vec![target(1, TargetKind::Loki(plan))]);
    rig.send(1, "a");
    let reason = rig.until_failing(1).await;
    assert!(reason.contains("no..host:3100: the name does not resolve"), "{reason}");
}

#[tokio::test]
async fn an_outage_holds_batches_and_ends_by_itself() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let mut rig = Rig::with(vec![loki(1, address.port())]);
    rig.send(1, "a");
    rig.send(1, "b");
    let reason = rig.until_failing(1).await;
    assert!(reason.contains(&format!("cannot connect to {address}: connection refused")), "{reason}");
    rig.until(1, |report| report.failed_tries >= 3).await;
    let peer = HttpPeer::serve(TcpListener::bind(address).await.expect("the same port"), [], None);
    rig.expect_acked(0..2).await;
    assert_eq!(peer.bodies(), ["a", "b"]);
    let report = rig.report(1);
    assert_eq!((report.state, report.reason), (TargetState::Up, None));
    assert_eq!(report.resent, 0, "what was never sent is not sent again");
}

#[tokio::test]
async fn a_connection_closed_while_idle_is_replaced_without_a_failed_try() {
    let peer = HttpPeer::start([Reply::AckAndClose, Reply::AckAndClose]).await;
    let mut rig = Rig::with(vec![loki(1, peer.port)]);
    for batch in 0..3 {
        rig.send(1, format!("{batch}"));
        rig.expect_acked([batch]).await;
    }
    assert_eq!(peer.bodies(), ["0", "1", "2"]);
    assert_eq!(peer.connections(), 3);
    assert_eq!(rig.report(1).failed_tries, 0);
}

/// The peer closes just as the next push is on its way: half-closed connections are found out by using them.
#[tokio::test]
async fn a_push_into_a_closing_connection_is_sent_again_at_once() {
    let peer = HttpPeer::start([Reply::Status(204, "", ""), Reply::StoreAndClose]).await;
    let mut rig = Rig::with(vec![loki(1, peer.port)]);
    rig.send(1, "a");
    rig.send(1, "b");
    rig.expect_acked(0..2).await;
    assert_eq!(peer.bodies(), ["a", "b", "b"]);
    let report = rig.report(1);
    assert_eq!((report.failed_tries, report.resent), (0, 1));
}

#[tokio::test]
async fn an_answer_lost_after_the_data_was_stored_costs_one_duplicate() {
    let peer = HttpPeer::start([Reply::StoreAndClose]).await;
    let mut rig = Rig::with(vec![loki(1, peer.port)]);
    rig.send(1, "a");
    rig.send(1, "b");
    rig.expect_acked(0..2).await;
    assert_eq!(peer.bodies(), ["a", "a", "b"]);
    let report = rig.report(1);
    assert_eq!((report.failed_tries, report.resent, report.acked), (1, 1, 2));
}

#[tokio::test]
async fn a_push_without_an_answer_is_tried_again() {
    let peer = HttpPeer::start([Reply::Hang]).await;
    let mut plan = loki_plan(peer.port);
    plan.timeout = Duration::from_millis(200);
    let mut rig = Rig::with(vec![target(1, TargetKind::Loki(plan))]);
    rig.send(1, "a");
    let reason = rig.until_failing(1).await;
    assert_eq!(reason, "no answer within 0.2 s");
    rig.expect_acked([0]).await;
    assert_eq!(peer.bodies(), ["a", "a"]);
}

#[tokio::test]
async fn what_an_overloaded_loki_sends_away_is_held_in_order() {
    held_by([
        Reply::Status(429, "", "Ingestion rate limit exceeded for user fake"),
        Reply::Status(500, "", "at least 1 live replicas required"),
        Reply::Status(503, "Retry-After: 0", "x"),
    ])
    .await;
}

#[tokio::test]
async fn what_a_wrong_setting_sends_away_is_held_in_order() {
    held_by([
        Reply::Status(260, "", ""),
        Reply::Status(401, "", "no org id"),
        Reply::Status(302, "Location: /login", ""),
    ])
    .await;
}

async fn held_by(script: [Reply; 3]) {
    let peer = HttpPeer::start(script).await;
    let mut rig = Rig::with(vec![loki(1, peer.port)]);
    rig.send(1, "a");
    rig.send(1, "b");
    rig.expect_acked(0..2).await;
    assert_eq!(peer.bodies(), ["a", "a", "a", "a", "b"]);
    assert_eq!(rig.report(1).failed_tries, 3);
}

#[tokio::test]
async fn one_dead_target_does_not_delay_another() {
    let dead = HttpPeer::start([Reply::Hang]).await;
    let alive = HttpPeer::start([]).await;
    let mut rig = Rig::with(vec![loki(1, dead.port), loki(2, alive.port)]);
    let stuck: Vec<u64> = (0..10).map(|_| rig.send(1, "x")).collect();
    dead.until_pushed(1).await;
    let flowing: Vec<u64> = (0..10).map(|_| rig.send(2, "y")).collect();
    rig.expect_acked(flowing).await;
    assert_eq!(rig.open, stuck.into_iter().collect());
}

/// A batch of one stream as a lane seals it, one part.
fn sealed(rig: &Rig, lines: &[(i64, &str)]) -> Batch {
    let mut open = Open::Loki(LokiBatch::new(None));
    for (time, line) in lines {
        open.append(&Item {
            stream: 1,
            part: 0,
            labels: "{app=\"a\"}",
            level: Level::Info,
            time: Nanos(*time),
            line: line.as_bytes(),
            metadata: &[],
            source: "",
            app: &[],
            procid: &[],
        });
    }
    let sealed = open.seal();
    let counts = Totals { read: u64::from(sealed.entries), ..Totals::default() };
    let part = Part { reader: 1, source: ObjectId(1), end: Position::file(0), counts };
    Batch {
        raw_bytes: sealed.raw_bytes,
        entries: sealed.entries,
        streams: sealed.streams,
        parts: vec![part],
        ..batch(rig.sent, Wire::Loki, sealed.body)
    }
}

fn now() -> i64 {
    super::super::report::wall().0
}

#[tokio::test]
async fn what_loki_will_never_take_lies_in_quarantine_and_is_counted() {
    let loki = LokiSink::start(LokiOptions { limits: Limits::stock(), ..LokiOptions::default() }).expect("a receiver");
    let mut rig = Rig::with(vec![self::loki(1, loki.addr().port())]);
    let now = now();
    let first = sealed(&rig, &[(now, "newest")]);
    rig.submit(1, first);
    rig.expect_acked([0]).await;
    let second = sealed(&rig, &[(now - 7_200_000_000_000, "behind"), (now + 1, "good")]);
    rig.submit(1, second);
    let Outcome::Short(shortfall) = rig.verdict().await.outcome else { panic!("one line is refused") };
    assert_eq!((shortfall.of(0).quarantined, shortfall.lines()), (1, 1));
    let records = rig.quarantined(1);
    assert_eq!(records.len(), 1);
    assert_eq!((records[0].line.as_str(), records[0].time), ("behind", now - 7_200_000_000_000));
    assert_eq!(records[0].labels, "{app=\"a\"}");
    assert!(records[0].reason.contains("too far behind"), "{}", records[0].reason);
    assert_eq!(loki.counters().entries, 2);
    assert_eq!(rig.report(1).state, TargetState::Up);
}

#[tokio::test]
async fn what_lies_in_quarantine_is_sent_again_when_marked() {
    let loki = LokiSink::start(LokiOptions { limits: Limits::stock(), ..LokiOptions::default() }).expect("a receiver");
    let mut rig = Rig::with(vec![self::loki(1, loki.addr().port())]);
    let now = now();
    let first = sealed(&rig, &[(now, "newest")]);
    rig.submit(1, first);
    rig.expect_acked([0]).await;
    let second = sealed(&rig, &[(now - 7_200_000_000_000, "behind"), (now - 7_300_000_000_000, "too")]);
    rig.submit(1, second);
    rig.verdict().await;
    assert_eq!(rig.quarantined(1).len(), 2);
    loki.change_limits(|limits| limits.behind_max = None);
    assert_eq!(quarantine::mark_for_replay(rig.state.path(), "target-1").expect("a quarantine").len(), 1);
    rig.until(1, |report| report.replayed == 2).await;
    let mut lines: Vec<String> = loki.entries().into_iter().map(|entry| entry.line).collect();
    lines.sort();
    assert_eq!(lines, ["behind", "newest", "too"]);
    while !rig.quarantined(1).is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn one_refused_tenant_does_not_delay_another() {
    let dead = HttpPeer::start([Reply::Hang]).await;
    let mut rig = Rig::with(vec![loki(1, dead.port)]);
    rig.send_batch(1, "stuck", 1, Some("a"));
    dead.until_pushed(1).await;
    let flowing: Vec<u64> = (0..10).map(|_| rig.send_batch(1, "y", 1, Some("b"))).collect();
    rig.expect_acked(flowing).await;
    assert_eq!(rig.open.len(), 1);
}
