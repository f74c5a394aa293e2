//! Plans that change under way: who is told, who is left alone, what comes back.

use tokio::net::TcpListener;

use super::{
    certs::{Authority, server},
    http_peer::{HttpPeer, Reply},
    relp_peer::RelpPeer,
    syslog_peer::SyslogPeer,
    *,
};
use crate::{
    limits::BATCHES_IN_FLIGHT_MAX,
    model::{Nanos, Position},
    orders::{Fate, Loss, Part},
    plan::Secret,
    stats::{DropReason, Totals},
};

/// A port where nobody listens for as long as the listener is not told to.
pub(super) async fn closed_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    listener.local_addr().expect("an address").port()
}

#[tokio::test]
async fn a_change_while_the_target_is_down_is_used_by_the_next_try() {
    let mut rig = Rig::with(vec![loki(1, closed_port().await)]);
    rig.send(1, "a");
    rig.send(1, "b");
    rig.until(1, |report| report.failed_tries >= 5).await;
    let peer = HttpPeer::start([]).await;
    rig.plan(vec![loki(1, peer.port)]);
    rig.expect_acked(0..2).await;
    assert_eq!(peer.bodies(), ["a", "b"]);
}

#[tokio::test]
async fn a_push_under_way_is_answered_once_and_the_next_goes_to_the_new_place() {
    let (old, new) = (HttpPeer::start([Reply::Hang]).await, HttpPeer::start([]).await);
    let mut plan = loki_plan(old.port);
    plan.timeout = Duration::from_millis(300);
    let mut rig = Rig::with(vec![target(1, TargetKind::Loki(plan))]);
    rig.send(1, "a");
    rig.send(1, "b");
    old.until_pushed(1).await;
    rig.plan(vec![loki(1, new.port)]);
    rig.expect_acked(0..2).await;
    assert_eq!(old.bodies(), ["a"]);
    assert_eq!(new.bodies(), ["a", "b"]);
}

#[tokio::test]
async fn an_unchanged_target_keeps_its_connection() {
    let peer = HttpPeer::start([]).await;
    let mut rig = Rig::with(vec![loki(1, peer.port)]);
    rig.send(1, "a");
    rig.expect_acked([0]).await;
    // Another target comes, another level is asked for: nothing egress would care about.
    let mut same = loki(1, peer.port);
    same.min_level = Level::Error;
    rig.plan(vec![same, loki(2, peer.port)]);
    rig.send(1, "b");
    rig.expect_acked([1]).await;
    assert_eq!(peer.connections(), 1);
}

#[tokio::test]
async fn a_disabled_target_returns_its_batches_and_takes_new_ones_when_it_is_back() {
    let peer = HttpPeer::start([Reply::Hang]).await;
    let mut rig = Rig::with(vec![loki(1, peer.port)]);
    for _ in 0..5 {
        rig.send(1, "x");
    }
    peer.until_pushed(1).await;
    rig.plan(vec![disabled(loki(1, peer.port))]);
    let mut returned = Vec::new();
    for _ in 0..5 {
        let verdict = rig.verdict().await;
        assert_eq!(verdict.outcome, Outcome::Returned);
        returned.push(verdict.batch);
    }
    returned.sort_unstable();
    assert_eq!(returned, [0, 1, 2, 3, 4]);
    peer.until_closed(1).await;
    rig.until(1, |report| report.state == TargetState::Idle).await;
    rig.send(1, "while disabled");
    assert_eq!(rig.verdict().await.outcome, Outcome::Returned);
    rig.plan(vec![loki(1, peer.port)]);
    let back = rig.send(1, "back");
    rig.expect_acked([back]).await;
}

#[tokio::test]
async fn a_removed_target_returns_its_batches_and_leaves_the_board() {
    let peer = SyslogPeer::start([]);
    let mut rig = Rig::with(vec![syslog(1, peer.port), syslog(2, peer.port)]);
    rig.send(1, "x\n");
    rig.until(1, |report| report.sent_bytes == 2).await;
    rig.plan(vec![syslog(2, peer.port)]);
    assert_eq!(rig.verdict().await.outcome, Outcome::Returned);
    assert!(!rig.board.targets().contains_key(&ObjectId(1)));
    assert!(rig.board.targets().contains_key(&ObjectId(2)));
}

#[tokio::test]
async fn a_batch_for_nobody_is_returned() {
    let mut rig = Rig::new();
    rig.send(7, "x");
    assert_eq!(rig.verdict().await.outcome, Outcome::Returned);
}

/// Bytes sealed for one kind of target are noise to another.
#[tokio::test]
async fn a_target_that_becomes_another_kind_returns_what_was_sealed_for_the_first() {
    let mut rig = Rig::with(vec![loki(1, closed_port().await)]);
    rig.send(1, "a push");
    rig.until_failing(1).await;
    let peer = SyslogPeer::start([]);
    rig.plan(vec![syslog(1, peer.port)]);
    assert_eq!(rig.verdict().await.outcome, Outcome::Returned);
    let line = rig.send(1, "a line\n");
    rig.expect_acked([line]).await;
    assert_eq!(peer.sessions(), [b"a line\n"]);
}

/// The lane seals under its own plan, which may be older than the one egress has: between the two a target can change
/// its kind or framing under its name.
#[tokio::test]
async fn a_batch_sealed_for_what_its_target_no_longer_speaks_is_returned() {
    let peer = SyslogPeer::start([]);
    let mut rig = Rig::with(vec![syslog(1, peer.port)]);
    for wire in [Wire::Loki, Wire::Console, Wire::Syslog(Framing::Newline)] {
        let stale = batch(rig.sent, wire, Bytes::from_static(b"noise"));
        let stale = rig.submit(1, stale);
        let verdict = rig.verdict().await;
        assert_eq!((verdict.batch, verdict.outcome), (stale, Outcome::Returned), "{wire:?}");
    }
    let line = rig.send(1, "a line\n");
    rig.expect_acked([line]).await;
    assert_eq!(peer.sessions(), [b"a line\n"]);
}

#[tokio::test]
async fn a_rotated_bundle_moves_the_stream_to_a_new_session_without_a_duplicate() {
    let authority = Authority::new();
    let config = server(&authority.issue("127.0.0.1"), Some(&authority), &rustls::version::TLS13);
    let peer = SyslogPeer::start_tls(config, []);
    let mut rig = Rig::with(vec![syslog_tls(1, peer.port, Some(authority.bundle("old")))]);
    rig.send(1, "a\n");
    peer.until_read(0, 2).await;
    rig.plan(vec![syslog_tls(1, peer.port, Some(authority.bundle("new")))]);
    rig.send(1, "b\n");
    rig.expect_acked(0..2).await;
    peer.until_closed(1).await;
    assert_eq!(peer.sessions(), [b"a\n", b"b\n"]);
    let report = rig.report(1);
    assert_eq!((report.resent, report.failed_tries), (0, 0));
}

/// A plan that cannot be used is not a reason to go on under the one before: that bundle was taken away.
#[tokio::test]
async fn a_broken_bundle_holds_the_lines_until_it_is_mended() {
    let authority = Authority::new();
    let config = server(&authority.issue("127.0.0.1"), Some(&authority), &rustls::version::TLS13);
    let peer = SyslogPeer::start_tls(config, []);
    let mended = syslog_tls(1, peer.port, Some(authority.bundle("client")));
    let mut bundle = authority.bundle("client");
    bundle.key_pem = Secret::new(authority.issue("other").key_pem);
    let mut rig = Rig::with(vec![mended.clone()]);
    rig.send(1, "a\n");
    rig.expect_acked([0]).await;
    rig.plan(vec![syslog_tls(1, peer.port, Some(bundle))]);
    peer.until_closed(1).await;
    rig.send(1, "b\n");
    rig.until(1, |report| report.failed_tries >= 3).await;
    assert_eq!(peer.sessions(), [b"a\n"]);
    rig.plan(vec![mended]);
    rig.expect_acked([1]).await;
    assert_eq!(peer.sessions(), [b"a\n", b"b\n"]);
}

#[tokio::test]
async fn a_lane_beyond_its_credit_gets_the_batch_back() {
    let peer = HttpPeer::start([Reply::Hang]).await;
    let mut rig = Rig::with(vec![loki(1, peer.port)]);
    for _ in 0..BATCHES_IN_FLIGHT_MAX {
        rig.send(1, "x");
    }
    let beyond = rig.send(1, "one too many");
    let verdict = rig.verdict().await;
    assert_eq!((verdict.batch, verdict.outcome), (beyond, Outcome::Returned));
}

#[tokio::test]
async fn a_halt_leaves_what_is_unsettled_unanswered() {
    let peer = HttpPeer::start([Reply::Hang]).await;
    let mut rig = Rig::with(vec![loki(1, peer.port)]);
    rig.send(1, "a");
    rig.send(1, "b");
    peer.until_pushed(1).await;
    rig.egress.order(EgressOrder::Halt);
    let Rig { egress, mut lane, .. } = rig;
    egress.join();
    assert!(lane.verdict().is_none());
}

#[tokio::test]
async fn two_lanes_share_a_target_and_each_gets_its_own_verdicts() {
    let peer = HttpPeer::start([]).await;
    let ends = [(); 2].map(|()| {
        let woken = Arc::new(Notify::new());
        let bell = Arc::clone(&woken);
        (handoff(Waker::new(move || bell.notify_one())), woken)
    });
    let [((mut first, port_a), woken_a), ((mut second, port_b), woken_b)] = ends;
    let egress =
        start(vec![port_a, port_b], Arc::new(Board::default()), std::env::temp_dir()).expect("an egress thread");
    let mut plan = Plan::empty("test", "node");
    plan.targets = vec![Arc::new(loki(1, peer.port))];
    egress.order(EgressOrder::Plan(Arc::new(plan)));
    let batch = |id, text: &'static str| Arc::new(batch(id, Wire::Loki, Bytes::from_static(text.as_bytes())));
    first.submit(ObjectId(1), batch(5, "a")).expect("room");
    second.submit(ObjectId(1), batch(5, "b")).expect("room");
    for (lane, woken) in [(&mut first, woken_a), (&mut second, woken_b)] {
        timeout(DEADLINE, woken.notified()).await.expect("a wake-up");
        let verdict = lane.verdict().expect("a verdict behind the wake-up");
        assert_eq!((verdict.batch, verdict.outcome), (5, Outcome::Acked));
        assert!(lane.verdict().is_none());
    }
    egress.join();
}

/// A batch of one line that is so old.
fn aged(rig: &Rig, body: &str, age: Duration) -> Batch {
    let counts = Totals { read: 1, ..Totals::default() };
    let part = Part { reader: 1, source: ObjectId(1), end: Position::file(0), counts };
    let newest = Some(Nanos(super::super::report::wall().0 - age.as_nanos() as i64));
    Batch { newest, parts: vec![part], ..batch(rig.sent, rig.wires[&ObjectId(1)], body.to_owned().into()) }
}

async fn drops_what_grew_old_while_the_target_was_down(target: impl Fn(u16) -> TargetPlan, port: u16) {
    const MINUTE: Duration = Duration::from_secs(60);
    let mut rig = Rig::with(vec![target(closed_port().await)]);
    // The first is what a session is opened for; the others wait in the queue.
    for age in [30, 20, 5] {
        let text = format!("{age} minutes old");
        let batch = aged(&rig, &format!("{} {text}", text.len()), age * MINUTE);
        rig.submit(1, batch);
    }
    rig.until_failing(1).await;
    rig.plan(vec![TargetPlan { max_age: Some(10 * MINUTE), ..target(port) }]);
    for batch in 0..2 {
        let verdict = rig.verdict().await;
        let Outcome::Short(shortfall) = verdict.outcome else { panic!("{verdict:?}") };
        assert_eq!(verdict.batch, batch);
        let lost = Loss { part: 0, fate: Fate::Dropped(DropReason::MaxAge), lines: 1 };
        assert_eq!(shortfall.losses, [lost]);
    }
    rig.expect_acked([2]).await;
}

#[tokio::test]
async fn a_syslog_target_that_was_down_does_not_get_what_is_older_than_max_age() {
    let peer = SyslogPeer::start([]);
    drops_what_grew_old_while_the_target_was_down(|port| syslog(1, port), peer.port).await;
    assert_eq!(peer.sessions(), [b"13 5 minutes old"]);
}

#[tokio::test]
async fn a_relp_target_that_was_down_does_not_get_what_is_older_than_max_age() {
    let peer = RelpPeer::start([]).await;
    drops_what_grew_old_while_the_target_was_down(|port| relp(1, port), peer.port).await;
    assert_eq!(peer.sessions(), [["5 minutes old"]]);
}
