//! Pushes over HTTP: order, keep-alive, outages, lost answers, refusals.

use std::time::Duration;

use tokio::net::TcpListener;

use super::{http_peer::*, *};
use crate::orders::Refusal;

#[tokio::test]
async fn batches_arrive_in_order_on_one_connection() {
    let peer = HttpPeer::start([]).await;
    let mut plan = loki_plan(peer.port);
    plan.tenant = Some("of-target".to_owned());
    let mut rig = Rig::with(vec![target(1, TargetKind::Loki(plan))]);
    rig.send(1, "a");
    rig.send_batch(1, "b", 3, Some("of-batch"));
    rig.send(1, "c");
    rig.expect_acked(0..3).await;
    assert_eq!(peer.bodies(), ["a", "b", "c"]);
    assert_eq!(peer.connections(), 1);
    assert!(peer.head(0).starts_with("post /loki/api/v1/push http/1.1\r\n"), "{}", peer.head(0));
    assert!(peer.head(0).contains("x-scope-orgid: of-target"));
    assert!(peer.head(1).contains("x-scope-orgid: of-batch"));
    let report = rig.report(1);
    assert_eq!((report.state, report.acked, report.failed_tries, report.resent), (TargetState::Up, 3, 0, 0));
    assert_eq!((report.sent_bytes, report.name.as_str()), (3, "target-1"));
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
async fn what_loki_will_never_take_is_refused_and_counted() {
    let words = "user 'fake', total ignored: 2 out of 9 for stream: {a=\"b\"}";
    let peer = HttpPeer::start([Reply::Status(400, "", words), Reply::Status(422, "", "nothing")]).await;
    let mut rig = Rig::with(vec![loki(1, peer.port)]);
    rig.send_batch(1, "a", 10, None);
    rig.send_batch(1, "b", 7, None);
    rig.send_batch(1, "c", 5, Some("no\ntenant"));
    rig.send(1, "d");
    let mut refusals = Vec::new();
    for _ in 0..3 {
        match rig.verdict().await.outcome {
            Outcome::Refused(Refusal { entries, reason }) => refusals.push((entries, reason)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(refusals[0], (2, format!("HTTP 400: {words}")));
    assert_eq!(refusals[1], (7, "HTTP 422: nothing".to_owned()));
    assert_eq!(refusals[2].0, 5);
    rig.expect_acked([3]).await;
    let report = rig.report(1);
    assert_eq!((report.state, report.acked, report.failed_tries), (TargetState::Up, 1, 0));
}

#[tokio::test]
async fn an_endless_answer_is_cut_and_the_next_push_goes_on() {
    let long: &'static str = "x".repeat(100_000).leak();
    let peer = HttpPeer::start([Reply::Status(400, "", long)]).await;
    let mut rig = Rig::with(vec![loki(1, peer.port)]);
    rig.send(1, "a");
    rig.send(1, "b");
    let Outcome::Refused(refusal) = rig.verdict().await.outcome else { panic!("400 is a refusal") };
    assert!(refusal.reason.len() < 400, "{}", refusal.reason.len());
    rig.expect_acked([1]).await;
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
