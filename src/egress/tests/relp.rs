//! RELP sessions: what an answer settles, what goes again without one, and Debian's own imrelp, in the clear and behind
//! mutual TLS.

use rustix::process::Signal;

use super::{
    certs::Authority,
    plan::closed_port,
    relp_peer::*,
    rsyslog::{Rsyslog, certify, framed, lines_of, needs, texts, texts_until},
    syslog_peer::SyslogPeer,
    *,
};

/// A body of these messages.
fn body<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    texts.into_iter().map(|text| format!("{} {text}", text.len())).collect()
}

#[tokio::test]
async fn batches_settle_as_their_messages_are_answered_and_are_not_waited_for() {
    let peer = RelpPeer::start([Manner::AnswerBackwards(4)]).await;
    let mut rig = Rig::with(vec![relp(1, peer.port)]);
    rig.send(1, body(["a", "b\nb"]));
    // It answers only when it has all four, so the second batch does not wait for the first.
    rig.send(1, body(["c", "größe"]));
    rig.expect_acked(0..2).await;
    assert_eq!(peer.sessions(), [["a", "b\nb", "c", "größe"]]);
    let report = rig.report(1);
    assert_eq!((report.state, report.acked, report.resent, report.failed_tries), (TargetState::Up, 2, 0, 0));
    rig.plan(vec![relp(2, peer.port)]);
    rig.send(2, body(["d"]));
    rig.expect_acked([2]).await;
    assert_eq!(peer.sessions()[1], ["d"]);
}

#[tokio::test]
async fn answers_lost_after_the_messages_were_stored_cost_no_more_than_those() {
    let peer = RelpPeer::start([Manner::TakeThenReset(3), Manner::AnswerThenReset(1), Manner::ServerClose(1)]).await;
    let mut rig = Rig::with(vec![relp(1, peer.port)]);
    rig.send(1, body(["a", "b"]));
    rig.send(1, body(["c", "d"]));
    rig.expect_acked(0..2).await;
    let sessions = peer.sessions();
    assert_eq!(sessions[0], ["a", "b", "c"]);
    // A reset may take the answer with it.
    let after: Vec<&str> = sessions[1..].iter().flatten().map(String::as_str).collect();
    assert!(after.starts_with(&["a"]) && after.ends_with(&["d"]) && after.len() <= 6, "{sessions:?}");
    for text in ["a", "b", "c", "d"] {
        assert!(after.contains(&text), "{text} is missing: {sessions:?}");
    }
    let report = rig.report(1);
    assert!(report.resent >= 3 && report.failed_tries >= 2, "{report:?}");
}

#[tokio::test]
async fn a_message_refused_again_and_again_is_counted_and_the_others_arrive() {
    let refuse = Manner::Refuse("poison");
    let peer = RelpPeer::start([refuse.clone(), refuse.clone(), refuse.clone(), refuse]).await;
    let mut rig = Rig::with(vec![relp(1, peer.port)]);
    rig.send_batch(1, body(["a", "poison", "b"]), 3, None);
    rig.until_failing(1).await;
    // The batch has nothing else to be taken: those behind it prove that the peer takes lines.
    for text in ["c", "d", "e"] {
        let seen = peer.sessions().concat().len();
        rig.send(1, body([text]));
        rig.until(1, |_| peer.sessions().concat().len() > seen).await;
    }
    let refused = rig.verdict().await;
    assert_eq!(refused.batch, 0);
    assert_eq!(
        refused.outcome,
        Outcome::Refused(crate::orders::Refusal { entries: 1, reason: "500 not this one".to_owned() })
    );
    rig.expect_acked(1..4).await;
    assert_eq!(peer.sessions().concat(), ["a", "b", "c", "d", "e"], "each once");
}

#[tokio::test]
async fn who_does_not_speak_relp_is_told_apart() {
    for (words, reason) in [
        ("HTTP/1.1 400 Bad Request\r\n", "does not speak RELP"),
        ("1 rsp 11 500 no more\n", "the peer refuses the session: 500 no more"),
        ("1 rsp 22 200 OK\nrelp_version=0\n\n", "offers no syslog"),
    ] {
        let peer = RelpPeer::start([Manner::Say(words)]).await;
        let mut rig = Rig::with(vec![relp(1, peer.port)]);
        rig.send(1, body(["a"]));
        let told = rig.until_failing(1).await;
        assert!(told.contains(reason), "{told}");
        rig.expect_acked([0]).await;
    }
}

#[tokio::test]
async fn a_changed_plan_moves_the_stream_to_a_new_session_without_a_duplicate() {
    let peer = RelpPeer::start([Manner::AnswerBackwards(2)]).await;
    let mut rig = Rig::with(vec![relp(1, peer.port)]);
    rig.send(1, body(["a"]));
    peer.until_taken(0, 1).await;
    let mut changed = syslog_plan(peer.port);
    (changed.protocol, changed.server_name) = (Protocol::Relp, "other".to_owned());
    rig.plan(vec![target(1, TargetKind::Syslog(changed))]);
    // "a" is answered only together with another message, which the old session does not get: it is given up in time.
    rig.send(1, body(["b"]));
    rig.expect_acked(0..2).await;
    assert_eq!(peer.sessions(), [vec!["a"], vec!["a", "b"]]);
    rig.plan(vec![relp(1, peer.port)]);
    rig.send(1, body(["c"]));
    rig.expect_acked([2]).await;
    peer.until_goodbye(1).await;
    assert_eq!(peer.sessions()[2], ["c"], "answered and so not sent again");
    assert_eq!(rig.report(1).failed_tries, 0);
}

/// Both take the same bytes, but what has settled is not known to the other's window.
#[tokio::test]
async fn a_target_that_becomes_relp_returns_what_it_had() {
    let mut rig = Rig::with(vec![syslog(1, closed_port().await)]);
    rig.send(1, body(["a"]));
    rig.until_failing(1).await;
    let peer = RelpPeer::start([]).await;
    rig.plan(vec![relp(1, peer.port)]);
    assert_eq!(rig.verdict().await.outcome, Outcome::Returned);
    rig.send(1, body(["b"]));
    rig.expect_acked([1]).await;
    let plain = SyslogPeer::start([]);
    rig.plan(vec![syslog(1, plain.port)]);
    rig.send(1, body(["c"]));
    rig.expect_acked([2]).await;
    assert_eq!((peer.sessions(), plain.sessions()), (vec![vec!["b".to_owned()]], vec![b"1 c".to_vec()]));
}

const IMRELP: &str = r#"
global(workDirectory="DIR" maxMessageSize="64k")
module(load="imrelp")
main_queue(queue.type="Direct")
template(name="plain" type="string" string="%hostname% %app-name% %structured-data% %msg%\n")
input(type="imrelp" address="127.0.0.1" port="PORT" TLS)
action(type="omfile" file="DIR/out" template="plain")
"#;

/// Its queue is `Direct`: a message is in the file before it is answered, so even a kill takes none that was.
async fn imrelp(directory: &std::path::Path, authority: Option<&Authority>) -> Rsyslog {
    needs("imrelp.so", "rsyslog-relp");
    let Some(authority) = authority else { return Rsyslog::with(directory, &IMRELP.replace(" TLS", "")).await };
    certify(directory, authority);
    let tls = "tls=\"on\" tls.caCert=\"DIR/ca.pem\" tls.myCert=\"DIR/cert.pem\" tls.myPrivKey=\"DIR/key.pem\" \
               tls.authMode=\"name\" tls.permittedPeer=[\"client.test\"]";
    Rsyslog::with(directory, &IMRELP.replace("TLS", tls)).await
}

fn relp_tls(port: u16, bundle: TlsBundle) -> TargetPlan {
    let plan = SyslogPlan { protocol: Protocol::RelpTls, tls: Some(Arc::new(bundle)), ..syslog_plan(port) };
    target(1, TargetKind::Syslog(plan))
}

async fn writes_what_was_sent(directory: &std::path::Path, plan: TargetPlan) {
    let long = "ü".repeat(20_000);
    let mut rig = Rig::with(vec![plan]);
    let mut expected = Vec::new();
    for batch in 0..10 {
        let texts = (0..500).map(|line| match line {
            7 => format!("batch {batch} long {long}"),
            _ => format!("batch {batch} line {line}\n  at größe"),
        });
        let texts: Vec<String> = texts.collect();
        rig.send(1, texts.iter().map(|text| framed(text)).collect::<String>());
        // Nothing is lost or cut at 8 KiB; a newline inside survives, and rsyslog writes it as #012.
        expected.extend(texts.iter().map(|text| text.replace('\n', "#012")));
    }
    rig.expect_acked(0..10).await;
    // What was answered is in the file; nothing need be waited for.
    let written = texts(&directory.join("out"));
    assert!(written == expected, "{} lines, first {:?}", written.len(), written.first());
    let report = rig.report(1);
    assert_eq!((report.state, report.acked, report.resent), (TargetState::Up, 10, 0));
}

#[tokio::test]
async fn imrelp_writes_what_was_sent() {
    let directory = tempfile::tempdir().expect("a directory");
    let rsyslog = imrelp(directory.path(), None).await;
    writes_what_was_sent(directory.path(), relp(1, rsyslog.port)).await;
}

#[tokio::test]
async fn imrelp_writes_what_was_sent_over_mutual_tls() {
    let (directory, authority) = (tempfile::tempdir().expect("a directory"), Authority::new());
    let rsyslog = imrelp(directory.path(), Some(&authority)).await;
    writes_what_was_sent(directory.path(), relp_tls(rsyslog.port, authority.bundle("client.test"))).await;
}

#[tokio::test]
async fn imrelp_that_does_not_permit_our_name_is_a_failure_and_not_a_delivery() {
    let (directory, authority) = (tempfile::tempdir().expect("a directory"), Authority::new());
    let rsyslog = imrelp(directory.path(), Some(&authority)).await;
    let mut rig = Rig::with(vec![relp_tls(rsyslog.port, authority.bundle("stranger.test"))]);
    rig.send(1, framed("not for you"));
    rig.until(1, |report| report.failed_tries >= 2).await;
    assert_eq!(rig.report(1).acked, 0);
    rig.plan(vec![relp_tls(rsyslog.port, authority.bundle("client.test"))]);
    rig.expect_acked([0]).await;
    assert_eq!(texts(&directory.path().join("out")), ["not for you"]);
}

#[tokio::test]
async fn imrelp_killed_and_restarted_with_messages_under_way_gets_them_all() {
    let authority = Authority::new();
    let (first, second) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let bundle = authority.bundle("client.test");
    let rsyslog = imrelp(first.path(), Some(&authority)).await;
    let mut rig = Rig::with(vec![relp_tls(rsyslog.port, bundle.clone())]);
    for batch in 0..30 {
        rig.send(1, (0..500).map(|line| framed(&format!("b{batch} l{line}"))).collect::<String>());
    }
    lines_of(&first.path().join("out"), 200).await;
    rsyslog.signal(Signal::KILL);
    drop(rsyslog);
    rig.until(1, |report| report.failed_tries > 0).await;
    let rsyslog = imrelp(second.path(), Some(&authority)).await;
    rig.plan(vec![relp_tls(rsyslog.port, bundle)]);
    rig.expect_acked(0..30).await;
    let expected: Vec<String> = (0..30).flat_map(|b| (0..500).map(move |l| format!("b{b} l{l}"))).collect();
    let after = texts_until(&second.path().join("out"), expected.last().expect("lines")).await;
    let before = texts(&first.path().join("out"));
    // In order, without a gap, and what came twice was under way.
    assert!(expected.starts_with(&before) && expected.ends_with(&after));
    let twice = (before.len() + after.len()).checked_sub(expected.len()).expect("nothing is missing");
    assert!(twice <= crate::limits::RELP_WINDOW_FRAMES, "{twice} came twice");
}

#[tokio::test]
async fn imrelp_that_stands_still_is_waited_for() {
    let directory = tempfile::tempdir().expect("a directory");
    let rsyslog = imrelp(directory.path(), None).await;
    let mut rig = Rig::with(vec![relp(1, rsyslog.port)]);
    rig.send(1, framed("0"));
    rig.expect_acked([0]).await;
    rsyslog.signal(Signal::STOP);
    // More than both kernels and the window hold.
    let body: String = (0..1000).map(|line| framed(&format!("{line} {}", "x".repeat(1000)))).collect();
    for _ in 0..15 {
        rig.send(1, body.clone());
    }
    let stands = rig.until(1, |report| report.sent_bytes > 100_000).await;
    assert_eq!(stands.acked, 1);
    rsyslog.signal(Signal::CONT);
    rig.expect_acked(1..16).await;
    let lines = texts(&directory.path().join("out"));
    assert_eq!(lines.len(), 15_001, "each once");
    assert_eq!((rig.report(1).failed_tries, rig.report(1).resent), (0, 0));
}
