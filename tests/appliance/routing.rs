//! Who gets what: an audit trail goes to the SIEM and nowhere else, and the SIEM gets what operations filter.
//!
//! Set up by the command line alone, as an operator would, with Debian's rsyslogd as the SIEM and a Loki receiver.

use std::{collections::BTreeSet, fs};

use corelane_perf::{
    loki::{LokiOptions, LokiSink},
    verify::Marker,
};

use crate::{
    line::{MARKER, append_zap},
    node::{BACKENDS, Node, await_that, in_flight, total},
    peer,
    rsyslogd::{IMTCP, Rsyslogd},
};

/// The numbers of a source's lines in the SIEM's file.
fn of_source(siem: &Rsyslogd, source: &str) -> BTreeSet<u64> {
    let marker = Marker::new(MARKER);
    let sign = format!("source=\"{source}\"");
    siem.text().lines().filter(|line| line.contains(&sign)).filter_map(|line| marker.number(line.as_bytes())).collect()
}

/// Source, level and number of everything Loki has.
fn stored(loki: &LokiSink) -> BTreeSet<(String, String, u64)> {
    let marker = Marker::new(MARKER);
    let mut stored = BTreeSet::new();
    loki.for_each(|entry| {
        let label = |name: &str| entry.label(name).unwrap_or_default().to_owned();
        stored.insert((
            label("source"),
            label("level"),
            marker.number(entry.line.as_bytes()).expect("a numbered line"),
        ));
    });
    stored
}

fn create_source(node: &Node, name: &str) {
    let file = format!("--file={}", node.path(&format!("logs/{name}.log")).display());
    let format = "--log-format=zap-json";
    node.cli_ok(&["create", "logs", "sources", "--name", name, &file, format, "--start-at=beginning", "--enabled"]);
}

#[test]
fn the_audit_source_goes_to_the_siem_only() {
    let authority = peer::authority();
    let client = authority.client("client.test").expect("a certificate");
    let siem = Rsyslogd::start(IMTCP, &authority);
    let loki = LokiSink::start(LokiOptions { verify: Some(Marker::new(MARKER)), ..LokiOptions::default() });
    let loki = loki.expect("a receiver");
    let mut node = Node::new(BACKENDS[0]);
    node.start();
    let flag = |flag: &str, content: &str| {
        let path = node.path(flag);
        fs::write(&path, content).expect("a file");
        format!("--{flag}={}", path.display())
    };
    let (ca, cert, key) =
        (flag("ca-file", authority.ca_pem()), flag("cert-file", &client.cert_pem), flag("key-file", &client.key_pem));
    node.cli_ok(&["create", "tls-bundles", "--name=client", &ca, &cert, &key]);
    let (address, url) = (format!("--address=127.0.0.1:{}", siem.port), format!("--url={}", loki.url()));
    node.cli_ok(&["create", "targets", "--name=siem", "--type=rsyslog", &address, "--tls-bundle=client", "--enabled"]);
    let narrowed = ["--sources=app", "--min-level=warn", "--enabled"];
    node.cli_ok(&[&["create", "targets", "--name=ops", "--type=loki", &url], &narrowed[..]].concat());
    create_source(&node, "audit");
    create_source(&node, "app");
    append_zap(&node.path("logs/audit.log"), "info", 0..500);
    append_zap(&node.path("logs/audit.log"), "debug", 500..600);
    append_zap(&node.path("logs/app.log"), "info", 1_000..1_500);
    append_zap(&node.path("logs/app.log"), "error", 1_500..1_600);
    node.await_status("all is delivered", |status| {
        total(status, "siem", "delivered") == 1_200 && total(status, "ops", "delivered") == 100
    });
    let status = node.await_status("nothing is under way", |status| in_flight(status) == 0);
    assert_eq!(total(&status, "ops", "read"), 600, "the audit trail is not even read for operations");
    await_that("rsyslogd has written it", || of_source(&siem, "audit").len() == 600);
    assert_eq!(of_source(&siem, "audit"), (0..600).collect());
    assert_eq!(of_source(&siem, "app"), (1_000..1_600).collect(), "what operations filter as well");
    let errors = |from: u64, to: u64| (from..to).map(|seq| ("app".to_owned(), "error".to_owned(), seq));
    assert_eq!(stored(&loki), errors(1_500, 1_600).collect());
    // Narrowed while it runs: from now on the SIEM gets the audit trail alone.
    node.cli_ok(&["update", "target", "siem", "--sources=audit", "--wait"]);
    append_zap(&node.path("logs/app.log"), "error", 1_600..1_700);
    append_zap(&node.path("logs/audit.log"), "info", 600..700);
    node.await_status("all is delivered", |status| {
        total(status, "ops", "delivered") == 200 && total(status, "siem", "delivered") >= 700
    });
    await_that("rsyslogd has written it", || of_source(&siem, "audit").len() == 700);
    assert_eq!(of_source(&siem, "app"), (1_000..1_600).collect());
    assert_eq!(stored(&loki), errors(1_500, 1_700).collect());
    node.terminate();
}
