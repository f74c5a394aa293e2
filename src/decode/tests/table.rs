//! Lines as zap, slog, logrus, go-kit and their like write them, and what they say.

use super::*;

/// Format, frame, and what is expected of it: parsed, level, time after `AT` in nanoseconds, message (`None` = the
/// whole frame), fields.
type Row =
    (Format, &'static str, bool, Level, Option<i64>, Option<&'static str>, &'static [(&'static str, &'static str)]);

const J: Format = Format::ZapJson;
const L: Format = Format::Logfmt;

#[rustfmt::skip]
const ROWS: &[Row] = &[
    // zap, production
    (J, r#"{"level":"info","ts":1771947989.1234567,"caller":"nvme/controller.go:218","msg":"host connected","qid":4}"#, true, Level::Info, Some(123_456_700), Some("host connected"), &[("caller", "nvme/controller.go:218")]),
    (J, r#"{"level":"debug","ts":1771947989.1234567,"logger":"nvme","caller":"nvme/controller.go:218","msg":"tick"}"#, true, Level::Debug, Some(123_456_700), Some("tick"), &[("logger", "nvme"), ("caller", "nvme/controller.go:218")]),
    (J, r#"{"level":"warn","ts":1.771947989e+09,"msg":"slow","took":"1.2s"}"#, true, Level::Warn, Some(0), Some("slow"), &[]),
    (J, r#"{"level":"error","ts":1.7719479891234567e+09,"msg":"failed","error":"dial tcp: \"refused\"","stacktrace":"main.main\n\t/src/main.go:12"}"#, true, Level::Error, Some(123_456_700), Some("failed"), &[]),
    (J, r#"{"level":"dpanic","ts":1771947989,"msg":"impossible"}"#, true, Level::Fatal, Some(0), Some("impossible"), &[]),
    (J, r#"{"level":"panic","ts":1771947989123,"msg":"x"}"#, true, Level::Fatal, Some(123_000_000), Some("x"), &[]),
    (J, r#"{"level":"fatal","ts":1771947989123.456,"msg":"epoch millis"}"#, true, Level::Fatal, Some(123_456_000), Some("epoch millis"), &[]),
    (J, r#"{"level":"info","ts":1771947989123456,"msg":"micros"}"#, true, Level::Info, Some(123_456_000), Some("micros"), &[]),
    (J, r#"{"level":"info","ts":1771947989123456789,"msg":"epoch nanos"}"#, true, Level::Info, Some(123_456_789), Some("epoch nanos"), &[]),
    (J, r#"{"level":"info","ts":"2026-02-24T15:46:29.123Z","msg":"iso"}"#, true, Level::Info, Some(123_000_000), Some("iso"), &[]),
    (J, r#"{"level":"info","ts":"2026-02-24T15:46:29.123+0000","msg":"zap ISO8601"}"#, true, Level::Info, Some(123_000_000), Some("zap ISO8601"), &[]),
    (J, r#"{"level":"info","ts":"2026-02-24T17:46:29.123+0200","msg":"offset"}"#, true, Level::Info, Some(123_000_000), Some("offset"), &[]),
    (J, r#"{"level":"info","ts":"2026-02-24T10:16:29.123456789-05:30","msg":"nano"}"#, true, Level::Info, Some(123_456_789), Some("nano"), &[]),
    (J, r#"{"level":"info","ts":"2026-02-24 15:46:29.5Z","msg":"space"}"#, true, Level::Info, Some(500_000_000), Some("space"), &[]),
    (J, r#"{"level":"INFO","ts":"1771947989.25","msg":"quoted number"}"#, true, Level::Info, Some(250_000_000), Some("quoted number"), &[]),
    // zap, development keys
    (J, r#"{"L":"WARN","T":"2026-02-24T15:46:29.000Z","N":"etcd.client","C":"etcd/client.go:9","M":"lease","S":"stack"}"#, true, Level::Warn, Some(0), Some("lease"), &[("logger", "etcd.client"), ("caller", "etcd/client.go:9")]),
    (J, r#"{"L":"INFO","M":"one-letter names after the message are somebody's own","N":"x","C":"y"}"#, true, Level::Info, None, Some("one-letter names after the message are somebody's own"), &[]),
    // logr over zap
    (J, r#"{"level":"Level(-3)","ts":1771947989,"logger":"controller-runtime","msg":"very verbose"}"#, true, Level::Trace, Some(0), Some("very verbose"), &[("logger", "controller-runtime")]),
    // etcd
    (J, r#"{"level":"info","ts":"2026-02-24T15:46:29.870311Z","caller":"etcdserver/server.go:2651","msg":"compacted Raft logs","compact-index":10000}"#, true, Level::Info, Some(870_311_000), Some("compacted Raft logs"), &[("caller", "etcdserver/server.go:2651")]),
    (J, r#"{"level":"warn","ts":"2026-02-24T15:46:29.1Z","caller":"txn/util.go:93","msg":"apply request took too long","request":"header:<ID:1 > lease_grant:<ttl:10-second id:7587>","response":"size:41"}"#, true, Level::Warn, Some(100_000_000), Some("apply request took too long"), &[("caller", "txn/util.go:93")]),
    // slog
    (J, r#"{"time":"2026-02-24T15:46:29.123456789Z","level":"INFO","msg":"hello","count":3}"#, true, Level::Info, Some(123_456_789), Some("hello"), &[]),
    (J, r#"{"time":"2026-02-24T16:46:29.5+01:00","level":"INFO+2","msg":"notice"}"#, true, Level::Info, Some(500_000_000), Some("notice"), &[]),
    (J, r#"{"time":"2026-02-24T15:46:29Z","level":"DEBUG-4","source":{"function":"main.main","file":"/x.go","line":1},"msg":"t"}"#, true, Level::Debug, Some(0), Some("t"), &[]),
    (J, r#"{"time":"2026-02-24T15:46:29Z","level":"ERROR-1","msg":"x","req":{"msg":"inner","level":"debug"}}"#, true, Level::Error, Some(0), Some("x"), &[]),
    (J, r#"{"time":"2026-02-24T15:46:29Z","level":"WARN","msg":"x","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","span_id":"00f067aa0ba902b7"}"#, true, Level::Warn, Some(0), Some("x"), &[("trace_id", "4bf92f3577b34da6a3ce929d0e0e4736"), ("span_id", "00f067aa0ba902b7")]),
    // logrus: keys in alphabetical order
    (J, r#"{"level":"warning","msg":"disk 91% full","time":"2026-02-24T15:46:29Z"}"#, true, Level::Warn, Some(0), Some("disk 91% full"), &[]),
    (J, r#"{"error":"EOF","level":"error","msg":"read","request_id":"req-7","time":"2026-02-24T15:46:29+00:00"}"#, true, Level::Error, Some(0), Some("read"), &[("request_id", "req-7")]),
    // zerolog, bunyan-like, cloud loggers
    (J, r#"{"level":"trace","time":1771947989,"message":"zerolog"}"#, true, Level::Trace, Some(0), Some("zerolog"), &[]),
    (J, r#"{"severity":"NOTICE","timestamp":"2026-02-24T15:46:29.000000001Z","message":"cloud"}"#, true, Level::Info, Some(1), Some("cloud"), &[]),
    (J, r#"{"severity":"CRITICAL","@timestamp":"2026-02-24T15:46:29.000Z","message":"elastic"}"#, true, Level::Fatal, Some(0), Some("elastic"), &[]),
    (J, r#"{"level":30,"time":1771947989000,"msg":"numeric level"}"#, true, Level::Unknown, Some(0), Some("numeric level"), &[]),
    (J, r#"{"lvl":"err","ts":1771947989,"msg":"short"}"#, true, Level::Error, Some(0), Some("short"), &[]),
    // go-kit
    (J, r#"{"caller":"main.go:7","level":"info","msg":"started","ts":"2026-02-24T15:46:29.2Z"}"#, true, Level::Info, Some(200_000_000), Some("started"), &[("caller", "main.go:7")]),
    (J, r#"{"ts":"2026-02-24T15:46:29.2Z","level":"info","msg":"later fields","logger":"late","caller":"l.go:1"}"#, true, Level::Info, Some(200_000_000), Some("later fields"), &[("logger", "late"), ("caller", "l.go:1")]),
    // JSON as JSON may be
    (J, "{ \"level\" : \"info\" ,\t\"ts\" : 1771947989 , \"msg\" : \"blanks\" }\r", true, Level::Info, Some(0), Some("blanks"), &[]),
    (J, r#"{"level":"info","ts":1771947989,"msg":"say \"hi\" \\ \u00e9\n"}"#, true, Level::Info, Some(0), Some(r#"say \"hi\" \\ \u00e9\n"#), &[]),
    (J, r#"{"l\u0065vel":"inf\u006f","ts":"2026-02-24T15:46:29\u005a","m\u0073g":"escaped names"}"#, true, Level::Info, Some(0), Some("escaped names"), &[]),
    (J, r#"{"level":"info","level":"error","ts":1771947989,"ts":1,"msg":"first","msg":"second"}"#, true, Level::Info, Some(0), Some("first"), &[]),
    (J, r#"{"level":"loud","severity":"warn","time":"5s","ts":1771947989,"msg":{"a":1},"message":"first usable"}"#, true, Level::Warn, Some(0), Some("first usable"), &[]),
    (J, r#"{"level":null,"ts":null,"msg":null,"ok":true}"#, false, Level::Unknown, None, None, &[]),
    (J, r#"{"a":[1,[2,{"level":"error","msg":"}]"}],"]"],"level":"info","msg":"after nesting"}"#, true, Level::Info, None, Some("after nesting"), &[]),
    (J, r#"{"level":"info","ts":1771947989,"msg":"nested after","x":{"y":{"trace_id":"no"}}}"#, true, Level::Info, Some(0), Some("nested after"), &[]),
    (J, r#"{"level":"info","ts":1771947989,"msg":"number","trace_id":42}"#, true, Level::Info, Some(0), Some("number"), &[("trace_id", "42")]),
    (J, r#"{"level":"info","ts":1771947989,"msg":""}"#, true, Level::Info, Some(0), Some(""), &[]),
    (J, r#"{"level":"info","ts":1771947989,"msg":7}"#, true, Level::Info, Some(0), None, &[]),
    (J, r#"{"level":"info","ts":8123.004512,"msg":"since boot"}"#, true, Level::Info, None, Some("since boot"), &[]),
    (J, r#"{"level":"info","ts":"2026-02-24T15:46:29.123","msg":"whose clock?"}"#, true, Level::Info, None, Some("whose clock?"), &[]),
    (J, r#"{"level":"info","ts":1771947989,"msg":"volume","volume_id":"v1","device_id":"d","service":"controller"}"#, true, Level::Info, Some(0), Some("volume"), &[]),
    // more or less than JSON
    (J, r#"2026/02/24 15:46:29 {"level":"info","ts":1771947989,"msg":"text before"}"#, true, Level::Info, Some(0), Some("text before"), &[]),
    (J, r#"main.f({0x1, 0x2}) {"level":"info","msg":"braces before"}"#, true, Level::Info, None, Some("braces before"), &[]),
    (J, r#"{"level":"info","ts":1771947989,"msg":"text behind"} and so on"#, true, Level::Info, Some(0), Some("text behind"), &[]),
    (J, r#"{"level":"info","ts":1771947989,"msg":"behind"} "odd }"#, true, Level::Info, Some(0), Some("behind"), &[]),
    (J, "2026-02-24T15:46:29.123Z\tINFO\tnvme\tnvme/c.go:1\thost connected\t{\"qid\": 4}", false, Level::Unknown, None, None, &[]),
    (J, r#"{"level":"warn","ts":1771947989.5,"msg":"cut sho"#, false, Level::Warn, Some(500_000_000), None, &[]),
    (J, r#"{"level":"warn","ts":1771947989.5,"msg":"cut","x":"y""#, false, Level::Warn, Some(500_000_000), None, &[]),
    (J, r#"{"level":"warn","ts":1771947989.5,"msg":"cut","x":{"y":1}"#, false, Level::Warn, Some(500_000_000), None, &[]),
    (J, r#"{"level":"warn","ts":1771947989.5,"msg":"cut","x":"}"#, false, Level::Warn, Some(500_000_000), None, &[]),
    (J, r#"{"level":"warn","ts":17719479"#, false, Level::Warn, None, None, &[]),
    (J, r#"{"level":"warn","logger":"a","ts":1771947989 "msg":"no comma"}"#, false, Level::Warn, None, None, &[("logger", "a")]),
    (J, r#"{}"#, false, Level::Unknown, None, None, &[]),
    (J, r#"["level","info"]"#, false, Level::Unknown, None, None, &[]),
    // Go panics, between the lines
    (J, "panic: runtime error: invalid memory address or nil pointer dereference", false, Level::Unknown, None, None, &[]),
    (J, "[signal SIGSEGV: segmentation violation code=0x1 addr=0x0 pc=0x48f2a3]", false, Level::Unknown, None, None, &[]),
    (J, "goroutine 17 [chan receive, 3 minutes]:", false, Level::Unknown, None, None, &[]),
    (J, "main.(*Server).handle(0xc000112000, {0x7f3c, 0x10})", false, Level::Unknown, None, None, &[]),
    (J, "\t/src/server/main.go:218 +0x1d", false, Level::Unknown, None, None, &[]),
    // slog text
    (L, r#"time=2026-02-24T15:46:29.123Z level=INFO msg="host connected" qid=4"#, true, Level::Info, Some(123_000_000), Some("host connected"), &[]),
    (L, r#"time=2026-02-24T17:46:29.123+02:00 level=INFO+2 msg=hello"#, true, Level::Info, Some(123_000_000), Some("hello"), &[]),
    (L, r#"time=2026-02-24T15:46:29Z level=ERROR-1 msg="say \"hi\" \\" trace_id=abc span_id="d e""#, true, Level::Error, Some(0), Some(r#"say \"hi\" \\"#), &[("trace_id", "abc"), ("span_id", "d e")]),
    // logrus text
    (L, r#"time="2026-02-24T15:46:29Z" level=warning msg="A group of walrus emerges" number=122"#, true, Level::Warn, Some(0), Some("A group of walrus emerges"), &[]),
    (L, r#"time="2026-02-24T15:46:29Z" level=fatal msg=omg request_id=req-1"#, true, Level::Fatal, Some(0), Some("omg"), &[("request_id", "req-1")]),
    // go-kit: Prometheus, Loki, Alloy
    (L, r#"ts=2026-02-24T15:46:29.123456789Z caller=main.go:7 level=info msg="now" component=api"#, true, Level::Info, Some(123_456_789), Some("now"), &[("caller", "main.go:7")]),
    (L, r#"level=info ts=2026-02-24T15:46:29.1Z caller=tailer.go:4 component="loki.source" msg="tail routine: started" path=/x/y=z"#, true, Level::Info, Some(100_000_000), Some("tail routine: started"), &[("caller", "tailer.go:4")]),
    (L, "ts=1771947989.5 lvl=eror msg=x bare another= =odd last", true, Level::Error, Some(500_000_000), Some("x"), &[]),
    (L, "  level=debug\tmsg=\"\" logger=a\r", true, Level::Debug, None, Some(""), &[("logger", "a")]),
    (L, "level=info level=error msg=one msg=two", true, Level::Info, None, Some("one"), &[]),
    (L, r#"level=loud severity=warn msg=x"#, true, Level::Warn, None, Some("x"), &[]),
    (L, r#"time=2026-02-24T15:46:29Z level=info msg="cut sho"#, false, Level::Info, Some(0), None, &[]),
    (L, r#"goroutine 1 [running]:"#, false, Level::Unknown, None, None, &[]),
    (L, r#"a=b c="d""#, false, Level::Unknown, None, None, &[]),
    (L, r#"{"level":"info","msg":"x"}"#, false, Level::Unknown, None, None, &[]),
];

#[test]
fn every_row() {
    assert!(ROWS.len() >= 60);
    for &(format, frame, parsed, level, time, message, fields) in ROWS {
        let decoded = decoded(format, frame.as_bytes());
        assert_eq!(decoded.parsed, parsed, "parsed: {frame}");
        assert_eq!(decoded.level, level, "level: {frame}");
        assert_eq!(decoded.time, time.map(|nanos| Nanos(AT + nanos)), "time: {frame}");
        let message_found = std::str::from_utf8(decoded.message).unwrap();
        assert_eq!(message_found, message.unwrap_or(frame), "message: {frame}");
        let fields_found: Vec<(&str, &str)> = decoded
            .fields
            .as_slice()
            .iter()
            .map(|field| (field.name, std::str::from_utf8(field.value).unwrap()))
            .collect();
        assert_eq!(fields_found, fields, "fields: {frame}");
    }
}
