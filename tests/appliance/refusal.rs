//! What is wrong is told in one line with its name, its place and the way out, and nothing is half applied.

use std::{
    fs,
    io::Write,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Output,
    time::{Duration, SystemTime},
};

use corelane_perf::loki::{Limits, LokiOptions, LokiSink};
use serde_json::json;

use crate::{
    line::{MARKER, append_zap},
    node::{BACKENDS, Node, PATIENCE, corelane, total},
    peer,
};

/// Exit code and standard error.
fn told(output: &Output) -> (i32, String) {
    (output.status.code().expect("it exits"), String::from_utf8(output.stderr.clone()).expect("text"))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

#[test]
fn run_refuses_in_one_line_that_names_the_thing_and_the_way_out() {
    let place = tempfile::tempdir().expect("a directory");
    let path = |name: &str| place.path().join(name);
    let state = path("state");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its address").to_string();
    fs::write(path("file"), "no certificate\n").expect("a file");
    let certificate = format!("tls_cert = {:?}\ntls_key = {:?}\n", path("file"), path("file"));
    fs::write(path("cert.toml"), certificate).expect("a file");
    fs::write(path("typo.toml"), "lanse = 1\n").expect("a file");
    fs::write(path("torn.toml"), "node = \n").expect("a file");
    let (cert, typo, torn, none) = (path("cert.toml"), path("typo.toml"), path("torn.toml"), path("none.toml"));
    let (file, below) = (path("file"), path("file/state"));
    let cases: [(&[&str], i32, &[&str]); 9] = [
        (&["--listen", &port], 1, &[&port, "address already in use", "--listen"]),
        (&["--listen", "nowhere"], 2, &["--listen", "nowhere"]),
        (&["--backend", "glommio"], 2, &["--backend", "glommio", "uring", "poll"]),
        (&["--lanse", "1"], 2, &["--lanse", "--lanes"]),
        (&["--config", text(&none)], 1, &["none.toml", "no such file"]),
        (&["--config", text(&typo)], 1, &["typo.toml:1", "lanse", "lanes"]),
        (&["--config", text(&torn)], 1, &["torn.toml:1"]),
        (&["--config", text(&cert), "--listen", "127.0.0.1:0"], 1, &[text(&file), "certificate"]),
        (&["--state-dir", text(&below), "--listen", "127.0.0.1:0"], 1, &["file", "not a directory", "state directory"]),
    ];
    for (args, code, words) in cases {
        let own = if args.contains(&"--state-dir") { vec![] } else { vec!["--state-dir", text(&state)] };
        let output = corelane([&["run"], own.as_slice(), args].concat());
        let (exit, error) = told(&output);
        assert_eq!(exit, code, "{args:?}: {error}");
        for word in words {
            assert!(error.contains(word), "{args:?}: {word:?} is not in {error:?}");
        }
        if code == 1 {
            assert_eq!(error.lines().count(), 1, "{args:?}: {error}");
            assert!(error.starts_with("corelane: "), "{error}");
        }
        assert!(output.stdout.is_empty(), "{args:?}");
        // Nobody is led to a node that is not there, and no object was stored.
        assert!(!state.join("endpoint.json").exists(), "{args:?}");
        assert!(!state.join("store/1.json").exists(), "{args:?}");
    }
}

#[test]
fn a_state_directory_without_permission_is_told() {
    let place = tempfile::tempdir().expect("a directory");
    // Not even root can write here.
    let state = Path::new("/proc/corelane");
    let (code, error) = told(&corelane(["run", "--listen", "127.0.0.1:0", "--state-dir", text(state)]));
    assert_eq!((code, error.lines().count()), (1, 1), "{error}");
    assert!(error.contains("/proc/corelane"), "{error}");
    drop(place);
}

#[test]
fn one_bad_object_stops_no_other() {
    let loki = peer::loki();
    let mut node = Node::new(BACKENDS[1]);
    let log = node.path("logs/app.log");
    node.object("source", &peer::source("app", &log, "ZAP_JSON"));
    node.object("target", &peer::loki_target("loki", &loki.url()));
    node.object("typo", &json!({"kind": "target", "name": "typo", "tyep": "LOKI"}));
    node.object("format", &json!({"kind": "source", "name": "format", "file": {"paths": ["/x"]}, "logFormat": "ZAPP"}));
    let (a, b) = (peer::authority(), peer::authority());
    let mut bundle = peer::bundle(&a);
    bundle["keyPem"] = b.client("client.test").expect("a key").key_pem.into();
    node.object("bundle", &bundle);
    fs::write(node.path("conf.d/torn.yaml"), "kind: source\nname: [\n").expect("a file");
    node.start();
    append_zap(&log, "info", 0..1_000);
    assert!(loki.wait(PATIENCE, |counters| counters.tally.seen == 1_000), "the good ones are live");
    let status = node.status();
    let complaints: Vec<String> =
        status["complaints"].as_array().expect("complaints").iter().map(ToString::to_string).collect();
    for words in [["typo", "tyep"], ["format", "ZAPP"], ["client", "key"], ["torn.yaml", "line"]] {
        let found = complaints.iter().any(|text| words.iter().all(|word| text.contains(word)));
        assert!(found, "nothing says {words:?}: {complaints:#?}");
    }
    assert!(!node.log().contains("PRIVATE KEY") && !status.to_string().contains("PRIVATE KEY"));
    node.terminate();
}

#[test]
fn a_bad_object_by_the_command_line_changes_nothing() {
    let mut node = Node::new(BACKENDS[0]);
    node.start();
    let revision = node.status()["revision"].clone();
    let (a, b) = (peer::authority(), peer::authority());
    let client = a.client("client.test").expect("a certificate");
    let stranger = b.client("client.test").expect("a certificate");
    let write = |name: &str, pem: &str| {
        fs::write(node.path(name), pem).expect("a file");
        node.path(name)
    };
    let (ca, cert, key) = (write("ca", a.ca_pem()), write("cert", &client.cert_pem), write("key", &stranger.key_pem));
    let (garbage, none) = (write("garbage", "-----BEGIN CERTIFICATE-----\nnonsense\n"), node.path("none"));
    let flag = |name: &str, path: &Path| format!("--{name}-file={}", text(path));
    let (ca_flag, cert_flag, key_flag) = (flag("ca", &ca), flag("cert", &cert), flag("key", &key));
    let (no_ca, bad_ca) = (flag("ca", &none), flag("ca", &garbage));
    let cases: [(&[&str], i32, &[&str]); 6] = [
        (&["create", "tls-bundle", "b", &ca_flag, &cert_flag, &key_flag], 1, &["key", "certificate"]),
        (&["create", "tls-bundle", "b", &bad_ca, &cert_flag, &key_flag], 1, &["caPem"]),
        (&["create", "tls-bundle", "b", &no_ca, &cert_flag, &key_flag], 1, &["none", "no such file"]),
        (&["create", "target", "t", "--type=loki", "--url=loki"], 1, &["url"]),
        (&["create", "target", "t", "--type=rsyslog", "--address=h:1", "--tls-bundle=nope"], 1, &["nope"]),
        (&["create", "source", "s", "--file=/x", "--log-format=zapp"], 1, &["logFormat", "zapp"]),
    ];
    for (args, code, words) in cases {
        let (exit, error) = told(&node.cli(args));
        assert_eq!((exit, error.lines().count()), (code, 1), "{args:?}: {error}");
        for word in words {
            assert!(error.contains(word), "{args:?}: {word:?} is not in {error:?}");
        }
    }
    assert_eq!(node.status()["revision"], revision);
    node.terminate();
}

/// Lines two hours behind their stream: Loki refuses them and takes the others.
#[test]
fn refused_lines_lie_in_quarantine_until_their_cause_is_mended() {
    let limits = Limits { behind_max: Some(Duration::from_secs(3600)), ..Limits::default() };
    let loki = LokiSink::start(LokiOptions { limits, ..LokiOptions::verifying(MARKER) }).expect("a receiver");
    let mut node = Node::new(BACKENDS[0]);
    let log = node.path("logs/app.log");
    node.object("source", &peer::source("app", &log, "ZAP_JSON"));
    node.object("target", &peer::loki_target("loki", &loki.url()));
    node.start();
    append_zap(&log, "info", 0..100);
    assert!(loki.wait(PATIENCE, |counters| counters.tally.seen == 100));
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock").as_secs();
    let behind = |seq: u64| format!("{{\"level\":\"info\",\"ts\":{},\"msg\":\"late\",\"seq\":{seq}}}\n", now - 7200);
    let late: String = (100..110).map(behind).collect();
    fs::OpenOptions::new().append(true).open(&log).expect("a file").write_all(late.as_bytes()).expect("written");
    append_zap(&log, "info", 110..200);
    assert!(loki.wait(PATIENCE, |counters| counters.tally.seen == 190));
    let status = node.await_status("ten lines are counted", |status| total(status, "loki", "quarantined") == 10);
    assert_eq!((total(&status, "loki", "delivered"), total(&status, "loki", "refused")), (190, 0));
    assert_eq!(loki.counters().refused_silently, 0);

    let told = node.cli_ok(&["list", "quarantine", "--target", "loki"]);
    assert!(told.contains("entry too far behind") && told.contains(" 10 "), "{told}");
    let directory = node.state_dir().join("quarantine/loki");
    for file in fs::read_dir(&directory).expect("a directory") {
        let mode = file.expect("a file").metadata().expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    loki.change_limits(|limits| limits.behind_max = None);
    node.cli_ok(&["replay", "quarantine", "--target", "loki"]);
    assert!(loki.wait(PATIENCE, |counters| counters.tally.seen == 200), "{:?}", loki.missing(0..200));
    assert_eq!(loki.counters().tally.differing, 0, "what is sent again is what it was");
    assert!(node.cli_ok(&["list", "quarantine"]).contains("Nothing"));
    node.terminate();
}
