//! Messages judged by a strict little parser, written from the ABNF of RFC 5424 §6, and by golden bytes.

use proptest::prelude::*;

use super::*;

const SETTINGS: Settings<'static> = Settings {
    facility: 20,
    framing: Framing::OctetCounted,
    max_message_bytes: 8192,
    sd_id: "corelane@32473",
    cluster: "c1",
    node: "n1.example.com",
};

const MESSAGE: Message<'static> = Message {
    level: Level::Warn,
    time: Nanos(1_771_947_989_123_456_789),
    source: "node-manager",
    app: b"node-manager",
    procid: b"4711",
    line: b"hello",
};

fn encoded(settings: &Settings<'_>, message: &Message<'_>) -> (Vec<u8>, Written) {
    let mut out = Vec::new();
    let written = Encoder::new(settings).put(&mut out, message);
    (out, written)
}

/// What a strict receiver reads.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    priority: u8,
    time: String,
    host: String,
    app: String,
    procid: String,
    sd_id: String,
    params: Vec<(String, String)>,
    message: Vec<u8>,
}

impl Read {
    fn param(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }
}

/// SYSLOG-MSG = HEADER SP STRUCTURED-DATA [SP MSG]; panics where the ABNF does not allow what is there.
fn parse(bytes: &[u8]) -> Read {
    let rest = bytes.strip_prefix(b"<").expect("PRI");
    let (priority, rest) = split(rest, b'>');
    assert!((1..=3).contains(&priority.len()) && (priority == b"0" || priority[0] != b'0'), "PRIVAL");
    let priority: u8 = std::str::from_utf8(priority).unwrap().parse().unwrap();
    assert!(priority <= 191, "PRIVAL range");
    let rest = rest.strip_prefix(b"1 ").expect("VERSION");
    let (time, rest) = split(rest, b' ');
    let time = String::from_utf8(time.to_vec()).unwrap();
    let stamp: jiff::Timestamp = time.parse().expect("TIMESTAMP");
    assert_eq!(format!("{stamp:.6}"), time, "TIMESTAMP: upper case, six digits");
    let (host, rest) = name(rest, 255);
    let (app, rest) = name(rest, 48);
    let (procid, rest) = name(rest, 128);
    let (msgid, rest) = name(rest, 32);
    assert_eq!(msgid, "-");
    let mut rest = rest.strip_prefix(b"[").expect("SD-ELEMENT");
    let end = rest.iter().position(|byte| b" ]".contains(byte)).unwrap();
    let sd_id = sd_name(&rest[..end]);
    rest = &rest[end..];
    let mut params = Vec::new();
    while let Some(param) = rest.strip_prefix(b" ") {
        let (key, value) = split(param, b'=');
        let (value, after) = param_value(value.strip_prefix(b"\"").expect("quote"));
        params.push((sd_name(key), value));
        rest = after;
    }
    let message = rest.strip_prefix(b"] ").expect("end of structured data").to_vec();
    Read { priority, time, host, app, procid, sd_id, params, message }
}

fn split(bytes: &[u8], at: u8) -> (&[u8], &[u8]) {
    let place = bytes.iter().position(|byte| *byte == at).expect("a delimiter");
    (&bytes[..place], &bytes[place + 1..])
}

/// NILVALUE / 1*n PRINTUSASCII, and the space after it.
fn name(bytes: &[u8], bytes_max: usize) -> (String, &[u8]) {
    let (name, rest) = split(bytes, b' ');
    assert!((1..=bytes_max).contains(&name.len()) && name.iter().all(|byte| (33..=126).contains(byte)), "{name:?}");
    (String::from_utf8(name.to_vec()).unwrap(), rest)
}

/// SD-NAME = 1*32PRINTUSASCII except '=', SP, ']', %d34.
fn sd_name(name: &[u8]) -> String {
    assert!((1..=32).contains(&name.len()));
    assert!(name.iter().all(|byte| (33..=126).contains(byte) && !b"=]\"".contains(byte)), "{name:?}");
    String::from_utf8(name.to_vec()).unwrap()
}

/// PARAM-VALUE = UTF-8-STRING, in which `"`, `\` and `]` must be escaped.
fn param_value(bytes: &[u8]) -> (String, &[u8]) {
    let mut value = Vec::new();
    let mut rest = bytes.iter();
    loop {
        match rest.next().expect("a closing quote") {
            b'"' => break,
            b']' => panic!("an unescaped ]"),
            b'\\' => {
                let escaped = rest.next().unwrap();
                assert!(b"\"\\]".contains(escaped));
                value.push(*escaped);
            }
            byte => value.push(*byte),
        }
    }
    (String::from_utf8(value).unwrap(), rest.as_slice())
}

/// The messages of a stream, by RFC 6587 §3.4.1 or §3.4.2.
fn unframe(framing: Framing, mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    while !bytes.is_empty() {
        let (head, rest) = split(bytes, if framing == Framing::OctetCounted { b' ' } else { b'\n' });
        if framing == Framing::OctetCounted {
            assert!(head[0] != b'0' && head.iter().all(u8::is_ascii_digit), "MSG-LEN = NONZERO-DIGIT *DIGIT");
            let (message, rest) = rest.split_at(std::str::from_utf8(head).unwrap().parse().unwrap());
            messages.push(message.to_vec());
            bytes = rest;
        } else {
            messages.push(head.to_vec());
            bytes = rest;
        }
    }
    messages
}

#[test]
fn golden_message_of_the_contract() {
    let (bytes, written) = encoded(&SETTINGS, &MESSAGE);
    let text = "140 <164>1 2026-02-24T15:46:29.123456Z n1.example.com node-manager 4711 - \
                [corelane@32473 cluster=\"c1\" source=\"node-manager\" level=\"warn\"] hello";
    assert_eq!(String::from_utf8(bytes).unwrap(), text);
    assert_eq!(written, Written { replaced_utf8: false, parts: 1 });
}

#[test]
fn golden_parts() {
    let settings = Settings { max_message_bytes: 0, framing: Framing::Newline, ..SETTINGS };
    let line = [b'x'; SYSLOG_PART_BYTES_MIN + 1];
    let (bytes, written) = encoded(&settings, &Message { line: &line, app: b"", procid: b"", ..MESSAGE });
    let head = "<164>1 2026-02-24T15:46:29.123456Z n1.example.com - - - \
                [corelane@32473 cluster=\"c1\" source=\"node-manager\" level=\"warn\"";
    let first = "x".repeat(SYSLOG_PART_BYTES_MIN);
    assert_eq!(String::from_utf8(bytes).unwrap(), format!("{head} part=\"1/2\"] {first}\n{head} part=\"2/2\"] x\n"));
    assert_eq!(written.parts, 2);
}

/// The parser is strict but not broken: it reads the RFC's own examples (§6.5), as far as they have what we send.
#[test]
fn the_judge_reads_the_rfcs_example() {
    let read = parse(
        b"<165>1 2003-10-11T22:14:15.003000Z mymachine.example.com evntslog 8710 - \
          [exampleSDID@32473 iut=\"3\" eventSource=\"Application\" eventID=\"1011\"] An application event log entry...",
    );
    assert_eq!((read.priority, read.app.as_str(), read.sd_id.as_str()), (165, "evntslog", "exampleSDID@32473"));
    assert_eq!(read.param("eventSource"), Some("Application"));
    assert_eq!(read.message, b"An application event log entry...");
}

#[test]
fn severities() {
    for (level, priority) in [
        (Level::Fatal, 162),
        (Level::Error, 163),
        (Level::Warn, 164),
        (Level::Info, 166),
        (Level::Unknown, 166),
        (Level::Debug, 167),
        (Level::Trace, 167),
    ] {
        let (bytes, _) = encoded(&SETTINGS, &Message { level, ..MESSAGE });
        let [message] = <[_; 1]>::try_from(unframe(Framing::OctetCounted, &bytes)).unwrap();
        let read = parse(&message);
        assert_eq!((read.priority, read.param("level")), (priority, Some(level.as_str())));
    }
}

#[test]
fn names_that_do_not_fit_are_made_to() {
    let app = [b'a'; 60];
    let settings = Settings { node: "", sd_id: "a b=c]\"d", cluster: "q\"]\\\n", facility: 99, ..SETTINGS };
    let (bytes, _) = encoded(&settings, &Message { app: &app, procid: "p é".as_bytes(), ..MESSAGE });
    let read = parse(&unframe(Framing::OctetCounted, &bytes)[0]);
    assert_eq!((read.host.as_str(), read.app.len(), read.procid.as_str()), ("-", 48, "p___"));
    assert_eq!((read.sd_id.as_str(), read.param("cluster"), read.priority), ("a_b_c__d", Some("q\"]\\_"), 23 * 8 + 4));
}

#[test]
fn line_ends_survive_octet_counting_and_are_escaped_otherwise() {
    let message = Message { line: b"a\nb\r\nc\xff\n", ..MESSAGE };
    let (bytes, written) = encoded(&SETTINGS, &message);
    assert_eq!(parse(&unframe(Framing::OctetCounted, &bytes)[0]).message, "a\nb\r\nc\u{FFFD}\n".as_bytes());
    assert!(written.replaced_utf8);
    let (bytes, written) = encoded(&Settings { framing: Framing::Newline, ..SETTINGS }, &message);
    assert!(written.replaced_utf8);
    assert_eq!(parse(&unframe(Framing::Newline, &bytes)[0]).message, "a#012b#015#012c\u{FFFD}#012".as_bytes());
}

/// Room for one digit more in the mark must be found where the number of parts grows past 9 and past 99.
#[test]
fn the_mark_counts_against_the_limit() {
    let head = encoded(&SETTINGS, &Message { line: b"", ..MESSAGE }).0.len() - b"123 ".len();
    let settings = Settings { max_message_bytes: head + 12 + 80, ..SETTINGS };
    for length in [80 * 9 - 20, 80 * 9, 80 * 9 + 1, 80 * 10, 80 * 99, 76 * 99, 76 * 99 + 1, 80 * 101] {
        let line = vec![b'y'; length];
        let (bytes, written) = encoded(&settings, &Message { line: &line, ..MESSAGE });
        let messages = unframe(Framing::OctetCounted, &bytes);
        assert_eq!(messages.len(), written.parts as usize);
        assert!(messages.iter().all(|message| message.len() <= settings.max_message_bytes), "{length}");
        let sum: usize = messages.iter().map(|message| parse(message).message.len()).sum();
        assert_eq!(sum, length);
    }
}

fn any_line() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![6 => any::<u8>(), 6 => Just(b'a'), 1 => Just(b'\n'), 1 => Just(b'\r'), 1 => Just(b'#')];
    prop_oneof![
        "(\\PC|\n|#012){0,400}".prop_map(String::into_bytes),
        proptest::collection::vec(byte, 0..600),
        proptest::collection::vec(Just(b'\n'), 0..600),
    ]
}

proptest! {
    /// Whatever comes in, what goes out parses, is short enough, and its parts make up the line.
    #[test]
    fn nothing_is_lost(
        line in any_line(),
        nanos: i64,
        app in proptest::collection::vec(any::<u8>(), 0..60),
        procid in proptest::collection::vec(any::<u8>(), 0..140),
        (source, cluster, node, sd_id) in (any::<String>(), any::<String>(), any::<String>(), any::<String>()),
        max_message_bytes in 0usize..2000,
        framing in prop_oneof![Just(Framing::OctetCounted), Just(Framing::Newline)],
    ) {
        let sd_id = if sd_id.is_empty() { "x" } else { &sd_id };
        let settings =
            Settings { framing, max_message_bytes, sd_id, cluster: &cluster, node: &node, ..SETTINGS };
        let message =
            Message { line: &line, time: Nanos(nanos), source: &source, app: &app, procid: &procid, ..MESSAGE };
        let (bytes, written) = encoded(&settings, &message);
        let messages = unframe(framing, &bytes);
        prop_assert_eq!(messages.len(), written.parts as usize);
        let mut whole = Vec::new();
        for (index, message) in messages.iter().enumerate() {
            let read = parse(message);
            let mark = format!("{}/{}", index + 1, messages.len());
            prop_assert_eq!(read.param("part"), (messages.len() > 1).then_some(mark.as_str()));
            let tiny = read.message.len() <= SYSLOG_PART_BYTES_MIN;
            prop_assert!(message.len() <= max_message_bytes || tiny, "{} bytes", message.len());
            prop_assert!(std::str::from_utf8(&read.message).is_ok(), "torn character");
            whole.extend_from_slice(&read.message);
        }
        let expected = String::from_utf8_lossy(&line);
        prop_assert_eq!(written.replaced_utf8, std::str::from_utf8(&line).is_err());
        let expected = match framing {
            Framing::OctetCounted => expected.into_owned(),
            Framing::Newline => expected.replace('\n', "#012").replace('\r', "#015"),
        };
        prop_assert_eq!(String::from_utf8(whole).unwrap(), expected);
    }

    #[test]
    fn no_escape_is_torn(feeds in 1usize..600, max_message_bytes in 0usize..400) {
        let settings = Settings { framing: Framing::Newline, max_message_bytes, ..SETTINGS };
        let (bytes, _) = encoded(&settings, &Message { line: &vec![b'\n'; feeds], ..MESSAGE });
        for message in unframe(Framing::Newline, &bytes) {
            let piece = parse(&message).message;
            prop_assert!(piece.len().is_multiple_of(4) && piece.starts_with(b"#012"), "{piece:?}");
        }
    }
}
