//! The binary as a user runs it.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use corelane_perf::loki::proto::{Entry, PushRequest, Stream, Timestamp, encode};

fn perf(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_corelane-perf"));
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn output(arguments: &[&str]) -> Output {
    perf(arguments).output().unwrap()
}

fn json(output: &Output) -> serde_json::Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

/// Reads the first line a sink prints: its address.
fn address(sink: &mut Child) -> String {
    let mut line = Vec::new();
    let stdout = sink.stdout.as_mut().unwrap();
    let mut byte = [0];
    while stdout.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
        line.push(byte[0]);
    }
    String::from_utf8(line).unwrap().strip_prefix("listening on ").unwrap().to_owned()
}

fn push(address: &str, lines: &[&str]) {
    let entries = lines.iter().zip(1..).map(|(line, seconds)| Entry {
        timestamp: Some(Timestamp { seconds, nanos: 0 }),
        line: (*line).to_owned().into(),
        structured_metadata: vec![],
    });
    let body = encode(&PushRequest {
        streams: vec![Stream { labels: r#"{source="sample"}"#.into(), entries: entries.collect(), hash: 0 }],
    });
    let mut stream = TcpStream::connect(address).unwrap();
    let head =
        "POST /loki/api/v1/push HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/x-protobuf";
    write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n", body.len()).unwrap();
    stream.write_all(&body).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
}

#[test]
fn gen_writes_what_it_says() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.log");
    let made = output(&["gen", "--out", path.to_str().unwrap(), "--lines", "25", "--rotate-lines", "10", "--json"]);
    let summary = json(&made);
    assert_eq!((summary["lines"].as_u64(), summary["rotations"].as_u64()), (Some(25), Some(2)));
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 5);
}

#[test]
fn gen_is_the_same_for_the_same_seed() {
    let directory = tempfile::tempdir().unwrap();
    let make = |name: &str, seed: &str| {
        let path = directory.path().join(name);
        let out = path.to_str().unwrap();
        let made =
            output(&["gen", "--out", out, "--lines", "500", "--seed", seed, "--start-time", "1700000000000000000"]);
        assert!(made.status.success());
        fs::read(path).unwrap()
    };
    assert_eq!(make("a", "4"), make("b", "4"));
    assert_ne!(make("c", "5"), make("d", "6"));
}

#[test]
fn a_loki_sink_shows_verifies_and_ends_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let port_file = directory.path().join("port");
    let mut sink = perf(&["sink", "loki", "--port-file", port_file.to_str().unwrap(), "--show", "1", "--json"])
        .args(["--verify", "seq=", "--expect", "2", "--until", "2"])
        .spawn()
        .unwrap();
    let address = address(&mut sink);
    let port = fs::read_to_string(&port_file).unwrap();
    assert!(address.ends_with(&format!(":{}", port.trim())), "{address} {port}");
    push(&address, &["first seq=0", "second seq=1"]);
    let ended = sink.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert!(text.contains("labels    source=\"sample\"") && text.contains("raw       first seq=0"), "{text}");
    assert!(!text.contains("raw       second"), "only one was asked for: {text}");
    let summary = json(&ended);
    assert_eq!((summary["entries"].as_u64(), summary["numbers"]["seen"].as_u64()), (Some(2), Some(2)));
    assert!(ended.status.success());
}

#[test]
fn a_missing_number_fails_the_sink() {
    let mut sink =
        perf(&["sink", "loki", "--verify", "seq=", "--expect", "3", "--until", "2", "--json"]).spawn().unwrap();
    push(&address(&mut sink), &["seq=0", "seq=2"]);
    let ended = sink.wait_with_output().unwrap();
    assert_eq!(json(&ended)["missing"], serde_json::json!([[1, 2]]));
    assert_eq!(ended.status.code(), Some(1));
}

#[test]
fn a_syslog_sink_judges_what_it_gets() {
    let directory = tempfile::tempdir().unwrap();
    let status = directory.path().join("status");
    let mut sink = perf(&["sink", "syslog", "--framing", "newline", "--until", "1", "--json"])
        .args(["--status-file", status.to_str().unwrap()])
        .spawn()
        .unwrap();
    let mut stream = TcpStream::connect(address(&mut sink)).unwrap();
    stream.write_all(b"nonsense\n<13>1 - h a - - - x\n").unwrap();
    let ended = sink.wait_with_output().unwrap();
    let summary = json(&ended);
    assert_eq!((summary["messages"].as_u64(), summary["malformed"].as_u64()), (Some(1), Some(1)));
    assert_eq!(serde_json::from_str::<serde_json::Value>(&fs::read_to_string(status).unwrap()).unwrap(), summary);
}

#[test]
fn errors_name_what_they_are_about() {
    let missing = Path::new("/nonexistent/x.log");
    let cases: [(&[&str], &str); 4] = [
        (&["gen", "--out", missing.to_str().unwrap(), "--lines", "1"], "/nonexistent/x.log"),
        (&["gen", "--out", "/dev/null", "--rate=-1"], "--rate"),
        (&["sink", "loki", "--bind", "192.0.2.1:1"], "192.0.2.1:1"),
        (&["usage", "0"], "process 0"),
    ];
    for (arguments, named) in cases {
        let failed = output(arguments);
        let text = String::from_utf8_lossy(&failed.stderr).into_owned();
        assert!(!failed.status.success() && text.contains(named), "{arguments:?}: {text}");
    }
}
