//! The receivers the tests send to, and the objects that name them.

use std::path::Path;

use corelane_perf::{
    certs::Authority,
    loki::{LokiOptions, LokiSink},
    syslog::{SyslogOptions, SyslogSink},
    verify::Marker,
};
use serde_json::{Value, json};

use crate::line::MARKER;

/// A Loki that follows the numbers.
pub fn loki() -> LokiSink {
    LokiSink::start(LokiOptions::verifying(MARKER)).expect("a receiver")
}

/// A syslog receiver behind mutual TLS that follows the numbers.
pub fn syslog(authority: &Authority, read_rate: Option<u64>, recv_buffer: Option<u32>) -> SyslogSink {
    let tls = Some(authority.loopback(true).expect("certificates"));
    let verify = Some(Marker::new(MARKER));
    let options = SyslogOptions { tls, read_rate, recv_buffer, verify, keep: 10, ..SyslogOptions::default() };
    SyslogSink::start(options).expect("a receiver")
}

pub fn authority() -> Authority {
    Authority::new("corelane test authority").expect("certificates")
}

/// A source of the files that match `glob`, from their beginning.
pub fn source(name: &str, glob: &Path, format: &str) -> Value {
    json!({"kind": "source", "name": name, "file": {"paths": [glob]}, "logFormat": format, "startAt": "beginning",
        "enabled": true})
}

pub fn loki_target(name: &str, url: &str) -> Value {
    json!({"kind": "target", "name": name, "type": "LOKI", "url": url, "enabled": true})
}

pub fn syslog_target(name: &str, port: u16, queue: &str) -> Value {
    json!({"kind": "target", "name": name, "type": "RSYSLOG", "address": format!("127.0.0.1:{port}"),
        "protocol": "tls", "tlsBundle": "client", "queueBytes": queue, "enabled": true})
}

/// The bundle named `client`, with a certificate for `client.test`.
pub fn bundle(authority: &Authority) -> Value {
    let client = authority.client("client.test").expect("a certificate");
    json!({"kind": "tls-bundle", "name": "client", "caPem": authority.ca_pem(), "certPem": client.cert_pem,
        "keyPem": client.key_pem})
}
