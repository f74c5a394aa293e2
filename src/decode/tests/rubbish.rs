//! Whatever comes, decoding ends, panics nowhere and hands out spans of the frame.

use proptest::prelude::*;

use super::*;

const LINES: [&str; 4] = [
    r#"{"level":"info","ts":1771947989.1234567,"logger":"a.b","caller":"x/y.go:12","msg":"a \"q\"","n":{"a":[1,2]}}"#,
    r#"{"time":"2026-02-24T15:46:29.123+0000","level":"INFO+2","msg":"m","trace_id":"4bf9","x":"y","z":[true,null]}"#,
    r#"time=2026-02-24T15:46:29.123Z level=INFO msg="a \"b\" c" span_id=7 bare x= =y"#,
    r#"before {"L":"W","T":1.7719e+09,"N":"n","C":"c","M":"\u00e9","S":"s"} after"#,
];

/// The promises that hold for any bytes.
fn check(frame: &[u8]) -> Result<(), TestCaseError> {
    for format in [Format::ZapJson, Format::Logfmt, Format::Unstructured] {
        let hint = Hint { priority: Some(4), ..Hint::default() };
        let found = Decoder::new(format).decode(frame, &hint);
        prop_assert!(found.parsed || found.message == frame);
        let range = frame.as_ptr_range();
        for span in found.fields.iter().map(|field| field.value).chain([found.message]) {
            let span = span.as_ptr_range();
            prop_assert!(range.start <= span.start && span.end <= range.end, "a span outside the frame");
        }
        // Nothing is remembered between frames, and nothing depends on the hint but a missing level.
        let again = Decoder::new(format).decode(frame, &Hint::default());
        prop_assert_eq!((again.parsed, again.time, again.message), (found.parsed, found.time, found.message));
        prop_assert_eq!(again.fields, found.fields);
        prop_assert!(again.level == found.level || (again.level, found.level) == (Level::Unknown, Level::Warn));
    }
    Ok(())
}

/// Deep nesting and endless repetition cost time in proportion, and no stack.
#[test]
fn hostile_lines_end() {
    const TIMES: usize = 60_000;
    for (head, piece, tail) in [
        ("{\"a\":", "[", ""),
        ("{\"a\":", "{\"a\":", ""),
        ("{", "\"level\":\"info\",\"ts\":1771947989,\"msg\":\"\",", "\"a\":{}}"),
        ("", "{\"", ""),
        ("", "{ ", "\""),
        ("", "{", "\""),
        ("{\"", "\\", ""),
        ("", "a=\"\" ", ""),
        ("", " = ", ""),
    ] {
        let frame = format!("{head}{}{tail}", piece.repeat(TIMES));
        check(frame.as_bytes()).unwrap();
    }
    // Blanks behind every brace: each is looked at once, not once per brace before it.
    let frame = format!("{}{}", "{ ".repeat(TIMES), " ".repeat(TIMES));
    check(frame.as_bytes()).unwrap();
}

proptest! {
    #[test]
    fn any_bytes(frame in proptest::collection::vec(any::<u8>(), 0..400)) {
        check(&frame)?;
    }

    #[test]
    fn bytes_that_look_like_structure(frame in "[]{}\":,\\\\ =a1.eE+\\-tfn\n]{0,120}") {
        check(frame.as_bytes())?;
    }

    #[test]
    fn mutated_lines(
        line in prop::sample::select(LINES.to_vec()),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..3), 1..6),
    ) {
        let mut frame = line.as_bytes().to_vec();
        for (place, byte, change) in changes {
            let place = place.index(frame.len());
            match change {
                0 => frame[place] = byte,
                1 => frame.insert(place, byte),
                _ => frame.truncate(place.max(1)),
            }
        }
        check(&frame)?;
    }
}
