//! Hand-made requests against the running sink, each answer as measured on a real Loki.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use super::{proto::*, *};
use crate::time::{SECOND, now_ns};

fn stream(labels: &str, entries: Vec<Entry>) -> Stream {
    Stream { labels: labels.to_owned().into(), entries, hash: 0 }
}

fn entry(time_ns: i64, line: &str) -> Entry {
    let timestamp = Timestamp { seconds: time_ns / SECOND, nanos: (time_ns % SECOND) as i32 };
    Entry { timestamp: Some(timestamp), line: line.to_owned().into(), structured_metadata: vec![] }
}

fn with_metadata(mut entry: Entry, name: &str, value: &str) -> Entry {
    entry.structured_metadata.push(LabelPair { name: name.to_owned().into(), value: value.to_owned().into() });
    entry
}

fn request(streams: Vec<Stream>) -> Vec<u8> {
    encode(&PushRequest { streams })
}

const PROTOBUF: &str = "Content-Type: application/x-protobuf\r\n";

/// One request on a connection of its own: status and body; status 0 when the connection closed unanswered.
fn send(addr: SocketAddr, headers: &str, body: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let head = format!(
        "POST /loki/api/v1/push HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    // A receiver may refuse before it has read everything.
    drop(stream.write_all(body));
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer));
    let text = String::from_utf8(answer).unwrap();
    let status = text.split(' ').nth(1).map_or(0, |status| status.parse().unwrap());
    (status, text.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned()))
}

fn push(sink: &LokiSink, streams: Vec<Stream>) -> (u16, String) {
    send(sink.addr(), PROTOBUF, &request(streams))
}

fn sink(limits: Limits) -> LokiSink {
    LokiSink::start(LokiOptions { limits, ..LokiOptions::default() }).unwrap()
}

fn lines(sink: &LokiSink) -> Vec<String> {
    sink.entries().into_iter().map(|stored| stored.line).collect()
}

#[test]
fn a_push_is_stored_as_it_was_sent() {
    let sink = sink(Limits::default());
    let sent = with_metadata(entry(1_700_000_000_000_000_001, "hello"), "user.name", "ann");
    assert_eq!(push(&sink, vec![stream(r#"{b="2", a="1"}"#, vec![sent])]), (204, String::new()));
    let stored = &sink.entries()[0];
    assert_eq!((stored.label("a"), stored.label("b")), (Some("1"), Some("2")));
    assert_eq!((stored.time_ns, stored.line.as_str()), (1_700_000_000_000_000_001, "hello"));
    assert_eq!(stored.meta("user_name"), Some("ann"), "metadata names are normalised");
    assert_eq!(sink.counters().answers, [(204, 1)].into());
}

#[test]
fn exact_resends_are_stored_once_and_everything_else_twice() {
    let sink = sink(Limits::default());
    let base = || with_metadata(entry(5, "x"), "k", "v");
    for changed in [base(), base(), entry(5, "x"), with_metadata(entry(6, "x"), "k", "v"), entry(5, "y")] {
        assert_eq!(push(&sink, vec![stream(r#"{a="1"}"#, vec![changed])]).0, 204);
    }
    push(&sink, vec![stream(r#"{a="2"}"#, vec![base()])]);
    let counters = sink.counters();
    assert_eq!((counters.entries, counters.duplicates, counters.requests), (5, 1, 6));
}

#[test]
fn bodies_that_are_no_push_are_refused() {
    let sink = sink(Limits::default());
    let good = request(vec![stream(r#"{a="1"}"#, vec![entry(1, "x")])]);
    let bare = snap::raw::Decoder::new().decompress_vec(&good).unwrap();
    let cases: [(&str, &[u8], u16); 8] = [
        ("", &good, 400),
        (PROTOBUF, &bare, 400),
        ("Content-Type: application/x-protobuf\r\nContent-Encoding: zstd\r\n", &good, 400),
        ("Content-Type: application/x-protobuf\r\nContent-Encoding: identity\r\n", &good, 400),
        ("Content-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\n", &good, 204),
        ("Content-Type: application/json\r\n", b"{}", 415),
        (PROTOBUF, &request(vec![]), 422),
        (PROTOBUF, &request(vec![stream("{a=1}", vec![entry(1, "x")])]), 400),
    ];
    for (headers, body, status) in cases {
        assert_eq!(send(sink.addr(), headers, body).0, status, "{headers}");
    }
    assert_eq!(sink.counters().entries, 1);
}

#[test]
fn a_body_over_the_limit_is_413() {
    let sink = sink(Limits { body_bytes_max: 1000, ..Limits::default() });
    assert_eq!(send(sink.addr(), PROTOBUF, &[0; 1001]).0, 413);
}

#[test]
fn static_refusals_cost_only_what_they_name() {
    let sink = sink(Limits::stock());
    let now = now_ns();
    let (week, minute) = (7 * 24 * 3600 * SECOND, 60 * SECOND);
    let many: String = (0..16).map(|n| format!("l{n}=\"x\",")).collect();
    let long = "v".repeat(2049);
    let mut pairs = entry(now, "129 pairs");
    for n in 0..129 {
        pairs = with_metadata(pairs, &format!("k{n}"), "v");
    }
    let (status, text) = push(
        &sink,
        vec![
            stream(
                r#"{a="1"}"#,
                vec![
                    entry(now - week - minute, "too old"),
                    entry(now + 11 * minute, "too new"),
                    entry(now, &"x".repeat(262_145)),
                    pairs,
                    with_metadata(entry(now, "64 KiB"), "k", &"v".repeat(65_536)),
                    entry(now, "good"),
                ],
            ),
            stream(&format!("{{{many}}}"), vec![entry(now, "16 labels")]),
            stream(&format!("{{a=\"{long}\"}}"), vec![entry(now, "long value")]),
            stream(&format!("{{{}=\"x\"}}", "n".repeat(1025)), vec![entry(now, "long name")]),
            stream(r#"{a="1",a="2"}"#, vec![entry(now, "twice")]),
            stream("{}", vec![entry(now, "no labels")]),
            stream(r#"{a="2"}"#, vec![entry(now, "good too")]),
        ],
    );
    assert_eq!(status, 400);
    assert_eq!(text, "error at least one label pair is required per stream", "the last refusal is told");
    assert_eq!(lines(&sink), ["good", "good too"]);
    assert_eq!(sink.counters().refused, 10);
}

#[test]
fn over_an_hour_behind_is_refused_and_within_it_accepted() {
    let sink = sink(Limits::stock());
    let now = now_ns();
    let hour = 3600 * SECOND;
    let streams = vec![stream(
        r#"{a="1"}"#,
        vec![entry(now, "newest"), entry(now - hour - SECOND, "too far"), entry(now - hour, "just within")],
    )];
    let (status, text) = push(&sink, streams);
    assert_eq!(status, 400);
    assert!(text.contains("entry too far behind") && text.contains("total ignored: 1 out of 3"), "{text}");
    assert_eq!(lines(&sink), ["newest", "just within"]);
}

#[test]
fn the_last_stream_decides_whether_a_refusal_is_seen() {
    let now = now_ns();
    let behind = || stream(r#"{a="late"}"#, vec![entry(now, "newest"), entry(now - 7200 * SECOND, "behind")]);
    let fine = || stream(r#"{a="fine"}"#, vec![entry(now, "fine")]);
    let seen = sink(Limits::stock());
    assert_eq!(push(&seen, vec![fine(), behind()]).0, 400);
    assert_eq!((seen.counters().refused, seen.counters().refused_silently), (1, 0));
    let silent = sink(Limits::stock());
    assert_eq!(push(&silent, vec![behind(), fine()]).0, 204);
    assert_eq!((silent.counters().refused, silent.counters().refused_silently), (1, 1));
    assert_eq!(silent.counters().entries, 2);
}

#[test]
fn the_tenant_rate_refuses_whole_requests_and_never_lets_a_burst_pass() {
    let rate = Rate { bytes_per_second: 0.0, burst_bytes: 10.0 };
    let sink = sink(Limits { tenant_rate: Some(rate), ..Limits::default() });
    let of = |bytes: usize| vec![stream(r#"{a="1"}"#, vec![entry(1, &"x".repeat(bytes))])];
    let (status, text) = push(&sink, of(11));
    assert_eq!(status, 429);
    assert!(text.starts_with("Ingestion rate limit exceeded for user fake"), "{text}");
    assert_eq!(push(&sink, of(10)).0, 204);
    assert_eq!(push(&sink, of(1)).0, 429);
    assert_eq!(sink.counters().entries, 1);
}

#[test]
fn the_stream_rate_stores_a_prefix() {
    let rate = Rate { bytes_per_second: 0.0, burst_bytes: 10.0 };
    let sink = sink(Limits { stream_rate: Some(rate), ..Limits::default() });
    let entries = vec![entry(1, "12345678"), entry(2, "123"), entry(3, "1")];
    let (status, text) = push(&sink, vec![stream(r#"{a="1"}"#, entries)]);
    assert_eq!(status, 429);
    assert!(text.contains("Per stream rate limit exceeded"), "{text}");
    assert_eq!(lines(&sink), ["12345678"]);
}

#[test]
fn the_stream_limit_refuses_new_streams_only() {
    let sink = sink(Limits { streams_max: 1, ..Limits::default() });
    let one = |n: u32| stream(&format!("{{a=\"{n}\"}}"), vec![entry(1, &n.to_string())]);
    let (status, text) = push(&sink, vec![one(1), one(2)]);
    assert_eq!(status, 429);
    assert!(text.starts_with("Maximum active stream limit exceeded"), "{text}");
    assert_eq!(lines(&sink), ["1"]);
}

#[test]
fn poison_is_500_at_every_try() {
    let sink = sink(Limits::default());
    let entries = (0..17).map(|n| entry(n, &"x".repeat(256 * 1024))).collect();
    let big = request(vec![stream(r#"{a="1"}"#, entries)]);
    let nameless = request(vec![stream(r#"{a="1"}"#, vec![with_metadata(entry(1, "x"), "", "v")])]);
    for body in [&big, &big, &nameless, &nameless] {
        assert_eq!(send(sink.addr(), PROTOBUF, body).0, 500);
    }
    assert_eq!(sink.counters().entries, 0);
}

#[test]
fn tenants_are_demanded_checked_and_kept_apart() {
    let sink = LokiSink::start(LokiOptions { auth: true, ..LokiOptions::default() }).unwrap();
    let body = request(vec![stream(r#"{a="1"}"#, vec![entry(1, "x")])]);
    for (tenant, status) in [("", 401), ("a|b", 400), ("a b", 400), (&"x".repeat(151), 400), ("one", 204), ("two", 204)]
    {
        let headers = format!("{PROTOBUF}X-Scope-OrgID: {tenant}\r\n");
        assert_eq!(send(sink.addr(), &headers, &body).0, status, "{tenant}");
    }
    assert_eq!(send(sink.addr(), PROTOBUF, &body), (401, "no org id\n".to_owned()));
    let tenants: Vec<_> = sink.entries().iter().map(|stored| stored.tenant.to_string()).collect();
    assert_eq!(tenants, ["one", "two"]);
}

#[test]
fn invalid_utf8_is_taken_and_shown() {
    let sink = sink(Limits::default());
    let mut broken = entry(1, "");
    broken.line = bytes::Bytes::from_static(b"a\xffb");
    assert_eq!(push(&sink, vec![stream(r#"{a="1"}"#, vec![broken])]).0, 204);
    assert_eq!(lines(&sink), ["a\u{fffd}b"]);
    assert_eq!(sink.counters().invalid_utf8, 1);
}

#[test]
fn faults_happen_in_the_order_planned() {
    let sink = sink(Limits::default());
    sink.inject(Share::Next(2), Fault::Answer(503, "later".to_owned()));
    sink.inject(Share::Next(1), Fault::LoseAnswer);
    sink.inject(Share::Next(1), Fault::LoseRequest);
    let of = |n: i64| vec![stream(r#"{a="1"}"#, vec![entry(n, "x")])];
    assert_eq!(push(&sink, of(1)), (503, "later".to_owned()));
    assert_eq!(push(&sink, of(1)).0, 503);
    assert_eq!(push(&sink, of(1)).0, 0, "stored, unanswered");
    assert_eq!(push(&sink, of(2)).0, 0, "lost");
    assert_eq!(push(&sink, of(1)).0, 204);
    let counters = sink.counters();
    assert_eq!((counters.entries, counters.duplicates), (1, 1));
    sink.inject(Share::UntilHealed, Fault::Answer(260, "blocked".to_owned()));
    assert_eq!(push(&sink, of(3)).0, 260);
    sink.heal();
    assert_eq!(push(&sink, of(3)).0, 204);
}

#[test]
fn down_refuses_connections_and_up_takes_them_on_the_same_port() {
    let sink = sink(Limits::default());
    for _ in 0..3 {
        sink.down();
        assert!(TcpStream::connect(sink.addr()).is_err());
        sink.up().unwrap();
        sink.up().unwrap();
    }
    assert_eq!(push(&sink, vec![stream(r#"{a="1"}"#, vec![entry(1, "x")])]).0, 204);
}

#[test]
fn numbered_lines_are_verified() {
    let sink = LokiSink::start(LokiOptions::verifying("seq=")).unwrap();
    let of = |time, line: &str| vec![stream(r#"{a="1"}"#, vec![entry(time, line)])];
    for (time, line) in [(1, "seq=0"), (2, "seq=1"), (2, "seq=1"), (3, "seq=3"), (4, "seq=3"), (5, "none")] {
        assert_eq!(push(&sink, of(time, line)).0, 204);
    }
    assert_eq!(sink.missing(0..5), [2..3, 4..5]);
    let counters = sink.counters();
    assert_eq!((counters.tally.seen, counters.duplicates, counters.tally.differing, counters.unnumbered), (3, 1, 1, 1));
    assert_eq!(sink.differing()[0].parts, [crate::verify::Part::Time]);
    assert!(sink.wait(Duration::ZERO, |counters| counters.tally.seen == 3));
    assert!(!sink.wait(Duration::ZERO, |counters| counters.tally.seen == 4));
}

#[test]
fn http2_by_prior_knowledge_is_taken_on_the_plain_port() {
    let sink = sink(Limits::default());
    let addr = sink.addr();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let status = runtime.block_on(async move {
        let stream = tokio::net::TcpStream::connect(addr).await.unwrap();
        let io = hyper_util::rt::TokioIo::new(stream);
        let executor = hyper_util::rt::TokioExecutor::new();
        let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
        tokio::spawn(connection);
        let body = http_body_util::Full::new(bytes::Bytes::from(request(vec![stream_of_one()])));
        let request = hyper::Request::post(format!("http://{addr}/loki/api/v1/push"))
            .header("content-type", "application/x-protobuf")
            .body(body)
            .unwrap();
        sender.send_request(request).await.unwrap().status().as_u16()
    });
    assert_eq!((status, sink.counters().entries), (204, 1));
}

fn stream_of_one() -> Stream {
    stream(r#"{a="1"}"#, vec![entry(1, "x")])
}

#[test]
fn other_paths_and_methods() {
    let sink = sink(Limits::default());
    for (line, status) in [("GET /ready", "200"), ("GET /loki/api/v1/push", "405"), ("POST /nowhere", "404")] {
        let mut stream = TcpStream::connect(sink.addr()).unwrap();
        write!(stream, "{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer.split(' ').nth(1), Some(status), "{line}");
    }
}

/// As `errorForFailedEntries` of Loki writes it: the first ten by name, the last one's status.
#[test]
fn a_refusal_of_many_names_the_first_ten() {
    let sink = sink(Limits::stock());
    let now = now_ns() / SECOND * SECOND;
    let mut entries = vec![entry(now, "newest")];
    entries.extend((0..12).map(|n| entry(now - 7200 * SECOND + n * 500_000_000, "behind")));
    let (status, text) = push(&sink, vec![stream(r#"{a="1"}"#, entries)]);
    assert_eq!(status, 400);
    assert_eq!(text.matches("entry with timestamp ").count(), 10);
    assert!(text.contains(".5 +0000 UTC ignored, reason: 'entry too far behind, entry timestamp is: "), "{text}");
    assert!(text.ends_with(",\nuser 'fake', total ignored: 12 out of 13 for stream: {a=\"1\"}"), "{text}");
}

#[test]
fn a_judge_answers_as_the_receiver_does() {
    let mut judge = Judge::new(LokiOptions { limits: Limits::stock(), ..LokiOptions::default() });
    let body = |ns: i64| request(vec![stream(r#"{a="1"}"#, vec![entry(ns, "x")])]);
    let wall = 1_700_000_000 * SECOND;
    assert_eq!(judge.push("t", &body(wall), wall, Duration::ZERO), (204, String::new()));
    assert_eq!(judge.push("t", &body(wall - 8 * 24 * 3600 * SECOND), wall, Duration::ZERO).0, 400);
    judge.limits().age_max = None;
    judge.limits().behind_max = None;
    assert_eq!(judge.push("t", &body(wall - 8 * 24 * 3600 * SECOND), wall, Duration::ZERO).0, 204);
    assert_eq!((judge.counters().entries, judge.entries().len()), (2, 2));
}

#[test]
fn a_blocked_tenant_gets_a_2xx_that_stores_nothing() {
    let sink = LokiSink::start(LokiOptions { auth: true, ..LokiOptions::default() }).unwrap();
    let body = request(vec![stream(r#"{a="1"}"#, vec![entry(1, "x")])]);
    let push = |tenant: &str| send(sink.addr(), &format!("{PROTOBUF}X-Scope-OrgID: {tenant}\r\n"), &body).0;
    sink.block("a", true);
    assert_eq!((push("a"), push("b"), sink.counters().entries), (260, 204, 1));
    sink.block("a", false);
    assert_eq!((push("a"), sink.counters().entries), (204, 2));
}
