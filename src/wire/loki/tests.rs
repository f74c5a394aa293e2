//! Entries judged by prost, label sets by Go's rules for string literals written out here.

use proptest::prelude::*;
use prost::Message as _;

use super::*;

fn encoded(time: Nanos, line: &[u8], metadata: &[Field<'_>]) -> (Vec<u8>, Mended) {
    let mut out = Vec::new();
    let mended = put_entry(&mut out, time, line, metadata);
    (out, mended)
}

/// The one entry of a stream that has only that.
fn decoded(bytes: &[u8]) -> schema::Entry {
    let stream = schema::Stream::decode(bytes).unwrap();
    let [entry] = <[_; 1]>::try_from(stream.entries).unwrap();
    entry
}

#[test]
fn golden_entry() {
    let (bytes, mended) = encoded(Nanos(1_000_000_002), b"hi", &[Field { name: "a", value: b"b" }]);
    assert_eq!(
        bytes,
        [
            0x12, 18, // Stream.entries
            0x0a, 4, 0x08, 1, 0x10, 2, // timestamp { seconds: 1, nanos: 2 }
            0x12, 2, b'h', b'i', // line
            0x1a, 6, 0x0a, 1, b'a', 0x12, 1, b'b', // structuredMetadata
        ]
    );
    assert_eq!(mended, Mended::default());
}

#[test]
fn golden_request() {
    let (mut stream, mut request) = (Vec::new(), Vec::new());
    put_stream_labels(&mut stream, "{a=\"b\"}");
    put_entry(&mut stream, Nanos(0), b"", &[]);
    put_stream(&mut request, &stream);
    assert_eq!(request, b"\x0a\x0f\x0a\x07{a=\"b\"}\x12\x04\x0a\x00\x12\x00");
    assert_eq!(request.len(), stream_bytes(stream.len()));
}

#[test]
fn a_pair_without_a_name_is_never_written() {
    let metadata = [Field { name: "", value: b"x" }, Field { name: "user.name", value: b"" }];
    let pairs = decoded(&encoded(Nanos(1), b"", &metadata).0).structured_metadata;
    assert_eq!(pairs, [schema::LabelPair { name: "user_name".into(), value: String::new() }]);
}

#[test]
fn metadata_stays_within_lokis_limits() {
    let long = "é".repeat(METADATA_VALUE_BYTES_MAX);
    let metadata = [Field { name: "field", value: long.as_bytes() }; 20];
    let (bytes, mended) = encoded(Nanos(1), b"", &metadata);
    let pairs = decoded(&bytes).structured_metadata;
    assert!(mended.metadata && !mended.utf8);
    assert_eq!(pairs[0].value.len(), METADATA_VALUE_BYTES_MAX);
    let sum: usize = pairs.iter().map(|pair| pair.name.len() + pair.value.len()).sum();
    assert!(pairs.len() > 5 && sum <= METADATA_BYTES_MAX, "{} pairs of {sum} bytes", pairs.len());
}

#[test]
fn a_line_of_rubbish_does_not_outgrow_what_loki_takes() {
    let (bytes, mended) = encoded(Nanos(1), &vec![0xFF; FRAME_BYTES_MAX], &[]);
    let line = decoded(&bytes).line;
    assert!(mended.utf8);
    assert!(line.len() == FRAME_BYTES_MAX && line.bytes().all(|byte| byte == b'?'));
}

#[test]
fn label_sets() {
    for (labels, text) in [
        (&[][..], "{}"),
        (&[("b", "2"), ("a", "1")], r#"{a="1", b="2"}"#),
        (&[("a", "first"), ("a", "second")], r#"{a="first"}"#),
        (&[("a.b", "first"), ("a_b", "second")], r#"{a_b="first"}"#),
        (&[("", "x"), ("empty", "")], "{}"),
        (&[("1st", "x"), ("é", "y")], r#"{_="y", _1st="x"}"#),
        (&[("a", "q\" b\\ \n\t\u{1}\u{7f}é")], r#"{a="q\" b\\ \n\t\x01\x7fé"}"#),
    ] {
        assert_eq!(render_labels(labels), text);
    }
}

#[test]
fn a_long_value_is_cut_between_characters() {
    let value = format!("x{}", "é".repeat(LONG));
    let text = render_labels(&[("a", &value)]);
    assert_eq!(parse_labels(&text)[0].1.len(), crate::limits::LABEL_VALUE_BYTES_MAX - 1);
}
const LONG: usize = crate::limits::LABEL_VALUE_BYTES_MAX;

/// A label set by the rules of PromQL and of `strconv.Unquote` (Go specification, "String literals").
fn parse_labels(text: &str) -> Vec<(String, String)> {
    let mut rest = text.strip_prefix('{').unwrap().strip_suffix('}').unwrap();
    let mut pairs = Vec::new();
    while !rest.is_empty() {
        let (name, quoted) = rest.split_once("=\"").unwrap();
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{name:?}");
        assert!(!name.is_empty() && !name.as_bytes()[0].is_ascii_digit(), "{name:?}");
        let mut value = String::new();
        let mut chars = quoted.chars();
        loop {
            match chars.next().expect("a closing quote") {
                '"' => break,
                '\n' => panic!("a line feed ends no Go string"),
                '\\' => value.push(unescape(&mut chars)),
                c => value.push(c),
            }
        }
        pairs.push((name.to_owned(), value));
        rest = chars.as_str().strip_prefix(", ").unwrap_or(chars.as_str());
    }
    pairs
}

fn unescape(chars: &mut std::str::Chars<'_>) -> char {
    match chars.next().unwrap() {
        'a' => '\x07',
        'b' => '\x08',
        'f' => '\x0c',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\x0b',
        'x' => {
            let code: String = chars.by_ref().take(2).collect();
            char::from(u8::from_str_radix(&code, 16).unwrap())
        }
        c @ ('\\' | '"') => c,
        c => panic!("Go knows no escape {c:?}"),
    }
}

fn any_line() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "[ -~]{0,300}".prop_map(String::into_bytes),
        any::<String>().prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 0..300),
    ]
}

proptest! {
    #[test]
    fn entries_read_by_prost(
        nanos: i64,
        line in any_line(),
        pairs in proptest::collection::vec(("[a-z_]{0,8}|\\PC{0,4}", any_line()), 0..6),
    ) {
        let fields: Vec<Field<'_>> = pairs.iter().map(|(name, value)| Field { name, value }).collect();
        let (bytes, mended) = encoded(Nanos(nanos), &line, &fields);
        let entry = decoded(&bytes);
        prop_assert_eq!(entry.nanos(), nanos);
        prop_assert_eq!(&entry.line, &String::from_utf8_lossy(&line));
        let expected: Vec<(String, String)> = pairs
            .iter()
            .filter(|(name, _)| !name.is_empty())
            .map(|(name, value)| (label_name(name).into_owned(), String::from_utf8_lossy(value).into_owned()))
            .collect();
        let got: Vec<(String, String)> =
            entry.structured_metadata.into_iter().map(|pair| (pair.name, pair.value)).collect();
        prop_assert_eq!(got, expected);
        let valid = |bytes: &[u8]| std::str::from_utf8(bytes).is_ok();
        let all_valid = valid(&line) && pairs.iter().all(|(name, value)| name.is_empty() || valid(value));
        prop_assert_eq!(mended, Mended { utf8: !all_valid, metadata: false });
    }

    #[test]
    fn label_sets_read_by_gos_rules(pairs in proptest::collection::vec((any::<String>(), any::<String>()), 0..6)) {
        let labels: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let read = parse_labels(&render_labels(&labels));
        prop_assert!(read.is_sorted_by(|a, b| a.0 < b.0), "{read:?}");
        for (name, value) in read {
            let first = labels.iter().find(|(given, value)| label_name(given) == name && !value.is_empty());
            prop_assert_eq!(first.map(|(_, value)| *value), Some(value.as_str()));
        }
    }
}
