//! Syslog sessions: what settles when, and what a dying receiver costs.

use std::time::Instant;

use super::{syslog_peer::*, *};
use crate::limits::SYSLOG_SETTLE;

/// Batch `index`: lines that name it, of about `bytes` bytes.
fn body(index: u64, bytes: usize) -> Bytes {
    let line = format!("<134>1 - node app - - - batch {index}\n");
    line.repeat(bytes.div_ceil(line.len())).into()
}

fn bodies(range: std::ops::Range<u64>, bytes: usize) -> Vec<u8> {
    range.flat_map(|index| body(index, bytes)).collect()
}

#[tokio::test]
async fn batches_settle_in_order_a_settling_time_after_they_were_sent() {
    let peer = SyslogPeer::start([]);
    let mut rig = Rig::with(vec![syslog(1, peer.port)]);
    let start = Instant::now();
    for index in 0..5 {
        rig.send(1, body(index, 10_000));
    }
    peer.until_read(0, bodies(0..5, 10_000).len()).await;
    rig.expect_acked(0..5).await;
    assert!(start.elapsed() >= SYSLOG_SETTLE, "settled after {:?}", start.elapsed());
    assert_eq!(peer.sessions(), [bodies(0..5, 10_000)]);
    let report = rig.report(1);
    assert_eq!((report.state, report.acked, report.resent), (TargetState::Up, 5, 0));
    assert_eq!(report.sent_bytes, bodies(0..5, 10_000).len() as u64);
}

#[tokio::test]
async fn what_lay_in_the_buffer_of_a_killed_receiver_is_sent_again() {
    let peer = SyslogPeer::start([Manner::DieUnread(20_000)]);
    let mut rig = Rig::with(vec![syslog(1, peer.port)]);
    rig.send(1, body(0, 10_000));
    rig.send(1, body(1, 10_000));
    peer.until_closed(1).await;
    assert_eq!(rig.open.len(), 2);
    rig.expect_acked(0..2).await;
    assert_eq!(peer.sessions(), [Vec::new(), bodies(0..2, 10_000)]);
    let report = rig.report(1);
    assert_eq!((report.resent, report.failed_tries), (2, 1));
}

#[tokio::test]
async fn a_receiver_killed_again_and_again_loses_nothing() {
    let peer = SyslogPeer::start([
        Manner::ReadThenClose(1),
        Manner::DieUnread(15_000),
        Manner::ReadThenClose(35_000),
        Manner::DieUnread(1),
    ]);
    let mut rig = Rig::with(vec![syslog(1, peer.port)]);
    for index in 0..8 {
        rig.send(1, body(index, 10_000));
    }
    rig.expect_acked(0..8).await;
    assert_eq!(peer.sessions().last(), Some(&bodies(0..8, 10_000)), "the last session has it all, in order");
    assert_eq!(peer.sessions().len(), 5);
}

#[tokio::test]
async fn a_session_the_peer_ends_too_early_settles_nothing() {
    let all = bodies(0..1, 10_000).len();
    let peer = SyslogPeer::start([Manner::ReadThenClose(all)]);
    let mut rig = Rig::with(vec![syslog(1, peer.port)]);
    rig.send(1, body(0, 10_000));
    assert_eq!(rig.until_failing(1).await, "the peer ended the session");
    assert_eq!(rig.report(1).acked, 0);
    rig.expect_acked([0]).await;
    assert_eq!(peer.sessions(), [bodies(0..1, 10_000), bodies(0..1, 10_000)], "read, not known to be, so sent twice");
}

#[tokio::test]
async fn an_idle_session_may_end_without_being_a_failure() {
    let all = body(0, 100).len();
    let peer = SyslogPeer::start([]);
    let mut rig = Rig::with(vec![syslog(1, peer.port)]);
    rig.send(1, body(0, 100));
    rig.expect_acked([0]).await;
    peer.until_read(0, all).await;
    rig.send(1, body(1, 100));
    rig.expect_acked([1]).await;
    assert_eq!(peer.sessions().len(), 1, "one session for both");
    assert_eq!(rig.report(1).failed_tries, 0);
}

#[tokio::test]
async fn a_slow_reader_disturbs_nothing() {
    const BYTES: usize = 512 * 1024;
    let peer = SyslogPeer::start([Manner::Slowly]);
    let mut rig = Rig::with(vec![syslog(1, peer.port)]);
    for index in 0..8 {
        rig.send(1, body(index, BYTES));
    }
    rig.expect_acked(0..8).await;
    assert!(peer.sessions() == [bodies(0..8, BYTES)], "one session with all the bytes in order");
    let report = rig.report(1);
    assert_eq!((report.resent, report.failed_tries), (0, 0));
}

#[tokio::test]
async fn a_receiver_that_is_down_gets_everything_when_it_returns() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    drop(listener);
    let mut rig = Rig::with(vec![syslog(1, port)]);
    rig.send(1, body(0, 100));
    assert!(rig.until_failing(1).await.contains("connection refused"));
    let peer = SyslogPeer::start([]);
    rig.plan(vec![syslog(1, peer.port)]);
    rig.expect_acked([0]).await;
    assert_eq!(peer.sessions(), [bodies(0..1, 100)]);
    assert_eq!(rig.report(1).resent, 0);
}
