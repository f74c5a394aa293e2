//! TLS to Loki and syslog receivers: both versions, both ways of trust, and the words for what is wrong.

use rustls::{
    SupportedProtocolVersion,
    version::{TLS12, TLS13},
};

use super::{
    certs::{Authority, Issued, expired, server},
    http_peer::HttpPeer,
    syslog_peer::{Manner, SyslogPeer},
    *,
};
use crate::plan::Secret;

const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

#[tokio::test]
async fn mutual_tls_syslog_delivers_on_both_versions() {
    let authority = Authority::new();
    let cert = authority.issue("127.0.0.1");
    for version in VERSIONS {
        let peer = SyslogPeer::start_tls(server(&cert, Some(&authority), version), []);
        let mut rig = Rig::with(vec![syslog_tls(1, peer.port, Some(authority.bundle("client")))]);
        rig.send(1, "first\n".repeat(50_000));
        rig.send(1, "second\n");
        rig.expect_acked(0..2).await;
        assert!(peer.sessions() == [format!("{}second\n", "first\n".repeat(50_000)).into_bytes()], "{version:?}");
    }
}

#[tokio::test]
async fn a_slow_reader_disturbs_nothing_over_tls() {
    let authority = Authority::new();
    let config = server(&authority.issue("127.0.0.1"), Some(&authority), &TLS13);
    let peer = SyslogPeer::start_tls(config, [Manner::Slowly]);
    let mut rig = Rig::with(vec![syslog_tls(1, peer.port, Some(authority.bundle("client")))]);
    let bodies: Vec<String> = (0..4).map(|index| format!("batch {index}\n").repeat(60_000)).collect();
    for body in &bodies {
        rig.send(1, body.clone());
    }
    rig.expect_acked(0..4).await;
    assert!(peer.sessions() == [bodies.concat().into_bytes()], "one session with all the bytes in order");
    let report = rig.report(1);
    assert_eq!((report.resent, report.failed_tries), (0, 0));
}

/// The close_notify that comes with it is the peer's word that it reads no more: nothing settles after.
#[tokio::test]
async fn a_tls_session_ended_by_the_peer_settles_nothing_and_is_sent_again() {
    let authority = Authority::new();
    let cert = authority.issue("127.0.0.1");
    for version in VERSIONS {
        let peer = SyslogPeer::start_tls(server(&cert, None, version), [Manner::ReadThenClose(6)]);
        let mut rig = Rig::with(vec![syslog_tls(1, peer.port, Some(authority.bundle("client")))]);
        rig.send(1, "first\n");
        assert_eq!(rig.until_failing(1).await, "the peer ended the session");
        rig.expect_acked([0]).await;
        assert_eq!(peer.sessions(), [b"first\n", b"first\n"]);
        assert_eq!(rig.report(1).resent, 1);
    }
}

#[tokio::test]
async fn mutual_tls_pushes_reach_loki_on_both_versions() {
    let authority = Authority::new();
    let cert = authority.issue("127.0.0.1");
    for version in VERSIONS {
        let peer = HttpPeer::start_tls(server(&cert, Some(&authority), version)).await;
        let mut rig = Rig::with(vec![https(peer.port, Some(authority.bundle("client")))]);
        rig.send(1, "a");
        rig.send(1, "b");
        rig.expect_acked(0..2).await;
        assert_eq!(peer.bodies(), ["a", "b"]);
        assert_eq!(peer.connections(), 1);
    }
}

fn https(port: u16, bundle: Option<TlsBundle>) -> TargetPlan {
    let mut plan = loki_plan(port);
    plan.https = true;
    plan.tls = bundle.map(Arc::new);
    target(1, TargetKind::Loki(plan))
}

/// What the board says of a syslog and of a Loki target whose receiver shows `cert`, on both versions.
async fn complaints(cert: &Issued, clients: Option<&Authority>, bundle: &TlsBundle) -> Vec<String> {
    let mut reasons = Vec::new();
    for version in VERSIONS {
        let config = server(cert, clients, version);
        let peer = SyslogPeer::start_tls(Arc::clone(&config), []);
        let mut rig = Rig::with(vec![syslog_tls(1, peer.port, Some(bundle.clone()))]);
        rig.send(1, "x");
        reasons.push(rig.until_failing(1).await);
        let peer = HttpPeer::start_tls(config).await;
        let mut rig = Rig::with(vec![https(peer.port, Some(bundle.clone()))]);
        rig.send(1, "x");
        reasons.push(rig.until_failing(1).await);
        assert!(peer.bodies().is_empty(), "nothing is sent to a peer that is not trusted");
    }
    reasons
}

#[track_caller]
fn all_say(reasons: &[String], words: &str) {
    for reason in reasons {
        assert!(reason.contains(words), "{reason:?} does not say {words:?}");
    }
}

#[tokio::test]
async fn an_unknown_authority_is_named_as_such() {
    let (ours, theirs) = (Authority::named("ours"), Authority::named("theirs"));
    let reasons = complaints(&theirs.issue("127.0.0.1"), None, &ours.bundle("client")).await;
    all_say(&reasons, "signed by an authority that is not trusted here");
}

#[tokio::test]
async fn an_authority_made_anew_under_its_old_name_is_told() {
    let (old, new) = (Authority::new(), Authority::new());
    let reasons = complaints(&new.issue("127.0.0.1"), None, &old.bundle("client")).await;
    all_say(&reasons, "was a CA made anew under its old name?");
}

#[tokio::test]
async fn a_certificate_with_a_common_name_only_is_explained() {
    let authority = Authority::new();
    let cert = authority.issue_as("127.0.0.1", |params| params.subject_alt_names.clear());
    let reasons = complaints(&cert, None, &authority.bundle("client")).await;
    all_say(&reasons, "a CN alone is not enough");
}

#[tokio::test]
async fn a_name_mismatch_tells_both_names() {
    let authority = Authority::new();
    let reasons = complaints(&authority.issue("siem.example"), None, &authority.bundle("client")).await;
    all_say(&reasons, "siem.example");
    all_say(&reasons, "not for `127.0.0.1`: is serverName right?");
}

#[tokio::test]
async fn an_expired_certificate_is_told() {
    let authority = Authority::new();
    let reasons = complaints(&authority.issue_as("127.0.0.1", expired), None, &authority.bundle("client")).await;
    all_say(&reasons, "the peer's certificate has expired");
}

#[tokio::test]
async fn a_key_of_another_certificate_is_told_and_nothing_is_tried() {
    let authority = Authority::new();
    let mut bundle = authority.bundle("client");
    bundle.key_pem = Secret::new(authority.issue("other").key_pem);
    let reasons = complaints(&authority.issue("127.0.0.1"), None, &bundle).await;
    all_say(&reasons, "tls bundle bundle: the private key does not belong to the certificate");
}

#[tokio::test]
async fn our_certificate_from_a_foreign_authority_is_told() {
    let (ours, theirs) = (Authority::named("ours"), Authority::named("theirs"));
    let mut bundle = ours.bundle("client");
    bundle.ca_pem = theirs.pem.clone();
    let reasons = complaints(&theirs.issue("127.0.0.1"), Some(&theirs), &bundle).await;
    for reason in reasons {
        assert!(reason.contains("does not trust the CA of our") || reason.contains("does not accept our"), "{reason}");
    }
}

/// A pinned peer needs no bundle, so none is shown to a peer that demands one.
#[tokio::test]
async fn a_demanded_client_certificate_is_told() {
    let authority = Authority::new();
    let cert = authority.issue("127.0.0.1");
    for version in VERSIONS {
        let peer = SyslogPeer::start_tls(server(&cert, Some(&authority), version), []);
        let mut rig = Rig::with(vec![pinned(peer.port, sha256(&cert))]);
        rig.send(1, "x");
        let reason = rig.until_failing(1).await;
        assert!(reason.contains("demands a client certificate"), "{version:?}: {reason}");
    }
}

#[tokio::test]
async fn a_pinned_peer_needs_no_name_and_no_authority() {
    let authority = Authority::new();
    let (cert, other) = (authority.issue("elsewhere.example"), authority.issue("elsewhere.example"));
    for version in VERSIONS {
        let peer = SyslogPeer::start_tls(server(&cert, None, version), []);
        let mut rig = Rig::with(vec![pinned(peer.port, sha256(&other))]);
        rig.send(1, "x");
        let reason = rig.until_failing(1).await;
        assert!(reason.contains("SHA-256 fingerprint"), "{reason}");
        rig.plan(vec![pinned(peer.port, sha256(&cert))]);
        rig.expect_acked([0]).await;
        assert_eq!(peer.sessions().last().map(Vec::as_slice), Some(&b"x"[..]));
    }
}

fn pinned(port: u16, fingerprint: [u8; 32]) -> TargetPlan {
    let mut plan = syslog_plan(port);
    plan.protocol = Protocol::Tls;
    plan.permitted_peer = Some(fingerprint);
    target(1, TargetKind::Syslog(plan))
}

fn sha256(cert: &Issued) -> [u8; 32] {
    let suite = rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256.tls13().expect("a suite");
    suite.common.hash_provider.hash(&cert.der).as_ref().try_into().expect("32 bytes")
}
