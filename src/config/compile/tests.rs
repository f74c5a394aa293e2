//! Compiling: what documents come to mean, and every complaint with its text.

use std::{path::PathBuf, time::Duration};

use proptest::prelude::*;
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};

use super::*;
use crate::{
    config::document::Document,
    model::{Level, ObjectId},
    plan::{Auth, Format, Framing, MetadataField, Pick, Protocol, Route, StartAt, TargetKind, Tenant, TooOld},
};

fn site() -> Site {
    Site {
        cluster: "c".into(),
        node: "n".into(),
        lanes: 2,
        memory_max: None,
        machine_id: Some("0123456789abcdef0123456789abcdef".into()),
    }
}

fn object(kind: Kind, body: Value) -> Object {
    let reading = Document::read(kind, &body);
    let id = xxhash_rust::xxh3::xxh3_64(body["name"].as_str().unwrap_or_default().as_bytes());
    Object {
        id: ObjectId(id),
        revision: 1,
        origin: Origin::Store,
        document: reading.document,
        refusals: reading.refusals,
    }
}

fn plan(objects: &[Object]) -> Plan {
    compile(7, objects, Vec::new(), None, &site())
}

fn complaints(kind: Kind, body: Value) -> Vec<String> {
    plan(&[object(kind, body)]).complaints.into_iter().map(|complaint| complaint.text).collect()
}

fn source(body: Value) -> Arc<SourcePlan> {
    let plan = plan(&[object(Kind::Source, body)]);
    assert_eq!(plan.complaints, []);
    Arc::clone(&plan.sources[0])
}

fn target(body: Value) -> Arc<TargetPlan> {
    let plan = plan(&[object(Kind::Target, body)]);
    assert_eq!(plan.complaints, []);
    Arc::clone(&plan.targets[0])
}

pub(crate) fn bundle_pems() -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["client".to_owned()]).unwrap().self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

#[test]
fn a_minimal_source_gets_every_default() {
    let source = source(json!({"name": "node-manager", "journald": {"identifier": "node-manager"}}));
    assert_eq!(source.format, Format::ZapJson);
    assert_eq!(source.min_level, Level::Trace);
    assert_eq!(source.start_at, StartAt::Since(Duration::from_secs(3600)));
    assert_eq!(source.metadata, MetadataField::DEFAULT);
    assert!(!source.enabled);
    let Input::Journal(input) = &source.input else { panic!("a journal") };
    assert_eq!(input.directories, [PathBuf::from("/var/log/journal"), PathBuf::from("/run/log/journal")]);
}

#[test]
fn formats_of_well_known_services() {
    for (service, format) in [("etcd", Some("ZAP_JSON")), ("alloy", Some("LOGFMT")), ("gftl3", Some("GFTL_TEXT"))] {
        assert_eq!(default_format(service), format, "{service}");
    }
    let by_unit = source(json!({"name": "x", "journald": {"unit": "etcd.service"}}));
    assert_eq!(by_unit.format, Format::ZapJson);
    let by_name = source(json!({"name": "alloy", "file": {"paths": ["/a"]}}));
    assert_eq!(by_name.format, Format::Logfmt);
}

#[test]
fn journal_matches_are_grouped_by_field() {
    let source = source(json!({"name": "s", "logFormat": "unstructured", "journald":
        {"matches": ["_UID=0", "_COMM=a", "_UID=1"], "namespace": "audit"}}));
    let Input::Journal(input) = &source.input else { panic!("a journal") };
    let grouped = [("_UID".to_owned(), vec!["0".into(), "1".into()]), ("_COMM".to_owned(), vec!["a".to_owned()])];
    assert_eq!(input.matches, grouped);
    let first = PathBuf::from("/var/log/journal/0123456789abcdef0123456789abcdef.audit");
    assert_eq!(input.directories[0], first);
}

#[test]
fn every_complaint_of_a_source() {
    let file = json!({"paths": ["/a"]});
    for (body, text) in [
        (
            json!({"name": "s", "logFormat": "LOGFMT"}),
            "has neither `journald` nor `file`; exactly one of them is needed",
        ),
        (
            json!({"name": "s", "logFormat": "LOGFMT", "file": file, "journald": {}}),
            "has both `journald` and `file`; exactly one of them is taken",
        ),
        (
            json!({"name": "s", "file": file}),
            "`logFormat` is missing and \"s\" is no well-known service with a default; \
             ZAP_JSON, LOGFMT and UNSTRUCTURED are taken",
        ),
        (
            json!({"name": "duroslight-0", "file": file}),
            "`logFormat` DUROSLIGHT_TEXT, the default of \"duroslight-0\", is not supported by this version; \
             UNSTRUCTURED ships its lines as they are",
        ),
        (json!({"name": "etcd", "file": {"paths": []}}), "`file.paths` is empty; name at least one path"),
        (
            json!({"name": "etcd", "file": {"paths": ["a"]}}),
            "`file.paths`: \"a\" is not absolute; it must begin with `/`",
        ),
        (
            json!({"name": "etcd", "file": file, "startAt": "since:yesterday"}),
            "`startAt`: \"yesterday\" is not a duration; write `30s`, `1h` or `1h30m`",
        ),
        (
            json!({"name": "etcd", "file": file, "startAt": "middle"}),
            "`startAt`: \"middle\" is not one of `end`, `beginning` and `since:<duration>`",
        ),
        (
            json!({"name": "etcd", "file": file, "labels": {"level": "x"}}),
            "`labels.level` is reserved: every stream has that label already",
        ),
        (
            json!({"name": "etcd", "file": file, "labels": {"my-label": "x"}}),
            "`labels` \"my-label\" is not a label name; letters, digits and `_` are, \
             not first a digit, not `__` in front",
        ),
        (
            json!({"name": "etcd", "file": file, "labels": {"a": ""}}),
            "`labels.a` must be 1 to 2048 bytes without control characters",
        ),
        (
            json!({"name": "etcd", "file": file, "metadata": ["loger"]}),
            "`metadata` \"loger\" is not a known field; did you mean `logger`?",
        ),
        (
            json!({"name": "etcd", "file": file, "tenant": "a b"}),
            "`tenant` \"a b\" is not one Loki takes: 1 to 150 letters, digits or `!-_.*'()`",
        ),
        (
            json!({"name": "etcd", "file": file, "tenant": {"from": "label:team"}}),
            "`tenant.from`: the source has no label \"team\"",
        ),
        (
            json!({"name": "etcd", "file": file, "tenant": {"from": "pod"}}),
            "`tenant.from` \"pod\" is neither `namespace` nor `label:<name>`",
        ),
        (
            json!({"name": "etcd", "file": file, "tenant": {"from": "namespace", "map": {"a": "b c"}}}),
            "`tenant` \"b c\" is not one Loki takes: 1 to 150 letters, digits or `!-_.*'()`",
        ),
        (
            json!({"name": "etcd", "journald": {"matches": ["unit=x"]}}),
            "`journald.matches` \"unit=x\" is not `FIELD=value` with a field like `_SYSTEMD_UNIT`",
        ),
        (
            json!({"name": "etcd", "journald": {"directory": "/a", "namespace": "b"}}),
            "has both `journald.directory` and `journald.namespace`; one of them is taken",
        ),
        (
            json!({"name": "etcd", "journald": {"namespace": "a/b"}}),
            "`journald.namespace` \"a/b\" is not the name of a namespace",
        ),
    ] {
        assert_eq!(complaints(Kind::Source, body.clone()), [text], "{body}");
    }
}

#[test]
fn a_loki_target_in_full() {
    let target = target(json!({
        "name": "l", "enabled": true, "type": "loki", "url": "https://[fd00::1]/loki/api/v1/push", "tenant": "t",
        "basicAuth": {"username": "u", "password": "p"}, "headers": {"X-Env": "a"}, "timeout": "5s",
        "serverName": "loki.example.com", "sources": ["a", "team=audit"], "minLevel": "warn", "queueBytes": "16MiB",
        "maxAge": "2h", "tooOld": "drop", "limits": {"oldest": "1d", "streamRate": "10MiB"},
    }));
    assert_eq!(target.max_age, Some(Duration::from_secs(7200)));
    let TargetKind::Loki(loki) = &target.kind else { panic!("loki") };
    assert_eq!((loki.too_old, loki.limits.oldest), (TooOld::Drop, Duration::from_secs(86_400)));
    assert_eq!((loki.limits.stream_rate, loki.limits.stream_burst), (10 << 20, limits::LOKI_STREAM_BURST_BYTES));
    assert_eq!((loki.https, loki.host.as_str(), loki.port), (true, "fd00::1", 443));
    assert_eq!((loki.server_name.as_str(), loki.timeout), ("loki.example.com", Duration::from_secs(5)));
    assert!(
        matches!(&loki.auth, Some(Auth::Basic { username, password }) if username == "u" && password.reveal() == "p")
    );
    assert_eq!((target.queue_bytes, target.min_level), (16 << 20, Level::Warn));
    let picks = [Pick::Named("a".into()), Pick::Labelled("team".into(), "audit".into())];
    assert_eq!(target.route, Route::Only(picks.to_vec()));
}

#[test]
fn a_target_takes_sources_by_name_or_by_label() {
    let source = |name: &str, labels: Value| {
        let file = json!({"paths": ["/x"]});
        let body = json!({"name": name, "file": file, "logFormat": "LOGFMT", "enabled": true, "labels": labels});
        object(Kind::Source, body)
    };
    let taken = |sources: &[&str]| {
        let siem = json!({"name": "t", "type": "CONSOLE", "enabled": true, "sources": sources});
        let all = [
            source("app", json!({})),
            source("login", json!({"team": "audit", "zone": "1"})),
            source("sudo", json!({"team": "audit"})),
            object(Kind::Target, siem),
        ];
        let plan = plan(&all);
        assert_eq!(plan.complaints, []);
        let taken = plan.sources.iter().filter(|source| plan.routes(source, &plan.targets[0]));
        taken.map(|source| source.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(taken(&["team=audit"]), ["login", "sudo"]);
    assert_eq!(taken(&["app", "zone=1"]), ["app", "login"]);
    assert_eq!(taken(&["team=ops", "none"]), [""; 0]);
    for bad in ["team=", "=audit", "team=~a.*", "a b", "my-team=x"] {
        let body = json!({"name": "t", "type": "CONSOLE", "sources": [bad]});
        let texts = complaints(Kind::Target, body);
        let told =
            texts.iter().any(|text| text.contains("is neither the name of a source nor a label like team=audit"));
        assert_eq!(told, bad != "{bad}: {texts:?}");
    }
}

#[test]
fn no_secret_of_a_target_is_in_its_debug_text() {
    for auth in [json!({"basicAuth": {"username": "u", "password": "hunter2"}}), json!({"bearerToken": "hunter2"})] {
        let mut body = json!({"name": "l", "type": "LOKI", "url": "http://l/push", "headers": {"X-Token": "hunter2"}});
        body.as_object_mut().expect("an object").extend(auth.as_object().expect("an object").clone());
        let target = target(body);
        let TargetKind::Loki(loki) = &target.kind else { panic!("loki") };
        assert!(loki.auth.is_some() && loki.headers[0].1.reveal() == "hunter2");
        let text = format!("{target:?} {target:#?}");
        assert!(text.contains("X-Token") && !text.contains("hunter2"), "{text}");
    }
}

#[test]
fn syslog_defaults_follow_the_protocol() {
    let plain = target(json!({"name": "s", "type": "rsyslog", "address": "siem"}));
    let TargetKind::Syslog(syslog) = &plain.kind else { panic!("syslog") };
    assert_eq!((syslog.protocol, syslog.port, syslog.framing), (Protocol::Tcp, 514, Framing::OctetCounted));
    assert_eq!((syslog.facility, syslog.max_message_bytes, syslog.sd_id.as_str()), (20, 8192, "corelane@32473"));
    let hash = "AB:".repeat(31) + "AB";
    let tls = target(json!({"name": "s", "type": "rsyslog", "address": "siem", "protocol": "TLS",
        "facility": "LOCAL0", "permittedPeer": format!("SHA256:{hash}")}));
    let TargetKind::Syslog(syslog) = &tls.kind else { panic!("syslog") };
    assert_eq!((syslog.port, syslog.facility, syslog.permitted_peer), (6514, 16, Some([0xab; 32])));
    for (name, protocol) in [("relp", Protocol::Relp), ("RELP_TLS", Protocol::RelpTls)] {
        let relp = target(json!({"name": "s", "type": "rsyslog", "address": "siem:2514", "protocol": name}));
        let TargetKind::Syslog(syslog) = &relp.kind else { panic!("syslog") };
        assert_eq!((syslog.protocol, syslog.port, syslog.framing), (protocol, 2514, Framing::OctetCounted));
        assert_eq!((protocol.is_relp(), protocol.is_tls()), (true, name != "relp"));
    }
}

#[test]
fn every_complaint_of_a_target() {
    let url = "http://l/push";
    for (body, text) in [
        (json!({"name": "t"}), "`type` is missing; it is LOKI, RSYSLOG or CONSOLE"),
        (json!({"name": "t", "type": "LOKI"}), "`url` is missing; a push URL is `http://host:3100/loki/api/v1/push`"),
        (json!({"name": "t", "type": "RSYSLOG"}), "`address` is missing; it is `host:port`"),
        (json!({"name": "t", "type": "CONSOLE", "url": url}), "`url` means nothing for a target of type CONSOLE"),
        (
            json!({"name": "t", "type": "LOKI", "url": url, "address": "a"}),
            "`address` means nothing for a target of type LOKI",
        ),
        (
            json!({"name": "t", "type": "LOKI", "url": url, "serverName": "a"}),
            "`serverName` needs an `https` URL; `url` is plain http",
        ),
        (
            json!({"name": "t", "type": "LOKI", "url": "https://l/p", "tlsBundle": "b"}),
            "`tlsBundle`: there is no good tls-bundle \"b\"",
        ),
        (
            json!({"name": "t", "type": "LOKI", "url": url, "headers": {"Authorization": "x"}}),
            "`headers.Authorization` is set by the protocol; `bearerToken`, `basicAuth` and `tenant` exist",
        ),
        (
            json!({"name": "t", "type": "LOKI", "url": url, "basicAuth": {"username": "u"}}),
            "`basicAuth.password` is missing; it is never shown, so a PUT must bring it along",
        ),
        (
            json!({"name": "t", "type": "LOKI", "url": url, "timeout": "1h"}),
            "`timeout` \"1h\" is outside of 1 s to 300 s",
        ),
        (
            json!({"name": "t", "type": "RSYSLOG", "address": "a", "permittedPeer": "ab"}),
            "`permittedPeer` needs `protocol` tls\u{0}\
             `permittedPeer` is not a SHA-256 fingerprint (64 hex digits, colons allowed)",
        ),
        (
            json!({"name": "t", "type": "RSYSLOG", "address": "a", "protocol": "relp", "framing": "newline"}),
            "`framing` means nothing with RELP, which has its own\u{0}\
             `address` \"a\" has no port, and RELP has none of its own; the receiver's belongs there",
        ),
        (
            json!({"name": "t", "type": "RSYSLOG", "address": "a:1", "protocol": "relp", "serverName": "b"}),
            "`serverName` needs `protocol` relp-tls",
        ),
        (
            json!({"name": "t", "type": "RSYSLOG", "address": "a", "facility": 24}),
            "`facility` is not known; `kern` to `local7` or 0 to 23 are",
        ),
        (
            json!({"name": "t", "type": "RSYSLOG", "address": "a", "sdId": "corelane"}),
            "`sdId` \"corelane\" is not `name@number` of at most 32 characters (RFC 5424 §6.3.2)",
        ),
        (
            json!({"name": "t", "type": "RSYSLOG", "address": "a", "maxMessageBytes": 100}),
            "`maxMessageBytes` 100 bytes is outside of 480 bytes to 256 KiB",
        ),
        (json!({"name": "t", "type": "RSYSLOG", "address": "a:b"}), "`address` \"b\" is not a port; 1 to 65535 are"),
        (
            json!({"name": "t", "type": "CONSOLE", "queueBytes": "1MiB"}),
            "`queueBytes` 1 MiB is outside of 2 MiB to 1 GiB",
        ),
        (
            json!({"name": "t", "type": "CONSOLE", "sources": []}),
            "`sources` is empty: no line would ever go there; leave it out for all sources",
        ),
        (
            json!({"name": "t", "type": "CONSOLE", "sources": ["a=~b"]}),
            "`sources` \"a=~b\" is neither the name of a source nor a label like team=audit",
        ),
    ] {
        assert_eq!(complaints(Kind::Target, body.clone()).join("\u{0}"), text, "{body}");
    }
}

#[test]
fn a_bundle_is_held_together() {
    let (cert, key) = bundle_pems();
    let (other_cert, other_key) = bundle_pems();
    let body = |ca: &str, cert: &str, key: &str| json!({"name": "b", "caPem": ca, "certPem": cert, "keyPem": key});
    assert_eq!(complaints(Kind::TlsBundle, body(&cert, &cert, &key)), [""; 0]);
    let facts = certificate_facts(&cert).unwrap();
    assert_eq!((facts.subject.as_str(), facts.sha256.len()), ("CN=rcgen self signed cert", 64));
    let torn = cert.replace("-----END CERTIFICATE-----", "");
    let garbled = cert.replacen("MII", "!!!", 1);
    for (body, text) in [
        (body(&cert, &cert, &other_key), "`keyPem` does not match the first certificate of `certPem`"),
        (body("", &cert, &key), "`caPem` is missing"),
        (body("hello", &cert, &key), "`caPem` has no certificate in it (`-----BEGIN CERTIFICATE-----`)"),
        (body(&torn, &cert, &key), "`caPem`: PEM block 1 does not parse: its `-----END …-----` line is missing"),
        (body(&cert, &garbled, &key), "`certPem`: PEM block 1 does not parse: it is not base64"),
        (body(&cert, &(cert.clone() + &key), &key), "`certPem` has a private key in it, which belongs into `keyPem`"),
        (body(&cert, &cert, &cert), "`keyPem` has no private key in it (`-----BEGIN PRIVATE KEY-----`)"),
    ] {
        assert_eq!(complaints(Kind::TlsBundle, body), [text]);
    }
    // Same subject, so the order is not what is wrong here: the key is.
    assert_eq!(complaints(Kind::TlsBundle, body(&cert, &(other_cert + &cert), &key)).len(), 1);
}

#[test]
fn one_bad_object_never_blocks_the_others() {
    let good = object(Kind::Source, json!({"name": "a", "logFormat": "logfmt", "file": {"paths": ["/a"]}}));
    let bad = object(Kind::Source, json!({"name": "b", "logFormat": "logfmt", "file": {"paths": ["b"]}, "x": 1}));
    let plan = plan(&[bad, good]);
    assert_eq!(plan.sources.iter().map(|source| source.name.as_str()).collect::<Vec<_>>(), ["a"]);
    assert_eq!(plan.complaints.len(), 2, "{:?}", plan.complaints);
    assert!(plan.complaints.iter().all(|complaint| complaint.name == "b" && complaint.kind == "source"));
}

#[test]
fn a_bad_change_leaves_the_last_good_version_in_force() {
    let good = object(Kind::Target, json!({"name": "a", "type": "console", "enabled": true}));
    let bad = object(Kind::Target, json!({"name": "a", "type": "consle", "enabled": true}));
    let first = plan(&[good]);
    let second = compile(8, &[bad], Vec::new(), Some(&first), &site());
    assert!(Arc::ptr_eq(&first.targets[0], &second.targets[0]));
    assert_eq!(second.complaints[1].text, "its last good version stays in force until this is mended");
    assert_eq!(second.revision, 8);
}

#[test]
fn doubles_are_complained_of_and_the_api_wins() {
    let stored = object(Kind::Target, json!({"name": "a", "type": "console"}));
    let mut filed = stored.clone();
    filed.origin = Origin::File(PathBuf::from("/d/a.yaml"));
    let plan = plan(&[filed, stored]);
    assert_eq!(plan.targets.len(), 1);
    assert_eq!(
        plan.complaints[0].text,
        "/d/a.yaml has a target of this name, but so has the API; that one is in force"
    );
}

#[test]
fn memory_is_summed_and_refused_with_the_arithmetic() {
    let target = |name: &str| object(Kind::Target, json!({"name": name, "type": "console", "enabled": true}));
    let tight = Site { memory_max: Some(90 << 20), ..site() };
    let plan = compile(1, &[target("a"), target("b")], Vec::new(), None, &tight);
    assert_eq!(plan.targets.len(), 1);
    assert_eq!(
        plan.complaints[0].text,
        "does not fit into memory: fixed pools 64 MiB + queues of other targets 16 MiB + its own queue 8 MiB \
         × 2 lane(s) = 96 MiB, and memory_max is 90 MiB"
    );
}

#[test]
fn counts_are_bounded() {
    let targets: Vec<Object> = (0..=limits::TARGETS_MAX)
        .map(|index| object(Kind::Target, json!({"name": format!("t{index:03}"), "type": "console"})))
        .collect();
    let plan = compile(1, &targets, Vec::new(), None, &site());
    assert_eq!(plan.targets.len(), limits::TARGETS_MAX);
    assert_eq!(plan.complaints[0].text, "is one more than the 64 targets a node takes");
    let sources: Vec<Object> = (0..=limits::JOURNAL_SOURCES_MAX)
        .map(|index| {
            object(Kind::Source, json!({"name": format!("s{index:03}"), "logFormat": "logfmt", "journald": {}}))
        })
        .collect();
    let plan = compile(1, &sources, Vec::new(), None, &site());
    assert_eq!(plan.sources.len(), limits::JOURNAL_SOURCES_MAX);
    assert!(plan.complaints[0].text.contains("128 sources /var/log/journal can feed"), "{:?}", plan.complaints);
}

proptest! {
    /// Whatever texts a target brings: no panic, and it is either in the plan or complained of.
    #[test]
    fn in_force_or_complained_of(url in ".{0,40}", address in ".{0,40}", text in ".{0,20}") {
        for body in [
            json!({"name": "t", "type": "LOKI", "url": url, "tenant": text, "timeout": text}),
            json!({"name": "t", "type": "RSYSLOG", "address": address, "sdId": text, "permittedPeer": text}),
            json!({"name": "t", "type": "LOKI", "url": format!("http://{address}/{text}")}),
        ] {
            let plan = plan(&[object(Kind::Target, body)]);
            prop_assert_eq!(plan.targets.is_empty(), !plan.complaints.is_empty());
        }
    }
}

#[test]
fn a_tenant_that_is_the_same_for_all_lines_is_found_at_once() {
    let rule = |tenant: serde_json::Value| {
        let file = json!({"paths": ["/x"]});
        source(json!({"name": "etcd", "file": file, "labels": {"team": "core"}, "tenant": tenant})).tenant.clone()
    };
    assert_eq!(rule(json!("t")), Tenant::Is("t".into()));
    assert_eq!(rule(json!({"from": "label:team"})), Tenant::Is("core".into()));
    assert_eq!(rule(json!({"from": "label:team", "map": {"core": "t1"}})), Tenant::Is("t1".into()));
    assert_eq!(rule(json!({"from": "label:team", "map": {"x": "t1"}, "default": "d"})), Tenant::Is("d".into()));
    assert_eq!(rule(json!({"from": "label:source"})), Tenant::Is("etcd".into()));
    let namespace = rule(json!({"from": "namespace", "default": "d"}));
    assert!(matches!(namespace, Tenant::Namespace { default: Some(_), .. }));
}
