//! The decoders against a table of lines as the loggers write them, against serde_json, and against rubbish.

mod against_serde;
mod rubbish;
mod table;

use super::*;
use crate::model::Nanos;

/// The instant most tests speak of: 2026-02-24T15:46:29Z.
const AT: i64 = 1_771_947_989_000_000_000;

fn decoded<'a>(format: Format, frame: &'a [u8]) -> Decoded<'a> {
    Decoder::new(format).decode(frame, &Hint::default())
}

#[test]
fn a_plain_line_has_the_journals_level_and_no_more() {
    for (priority, level) in [(None, Level::Unknown), (Some(2), Level::Fatal), (Some(6), Level::Info)] {
        let hint = Hint { priority, time: Some(Nanos(AT)), ..Hint::default() };
        let decoded = Decoder::new(Format::Unstructured).decode(b"level=error {\"level\":\"error\"}", &hint);
        assert_eq!((decoded.parsed, decoded.level, decoded.time), (true, level, None));
        assert_eq!(decoded.message, b"level=error {\"level\":\"error\"}");
        assert!(decoded.fields.iter().next().is_none());
    }
}

#[test]
fn the_journals_level_stands_in_where_the_line_has_none() {
    let hint = Hint { priority: Some(3), ..Hint::default() };
    for (format, frame, parsed, level) in [
        (Format::ZapJson, "panic: assignment to entry in nil map", false, Level::Error),
        (Format::ZapJson, r#"{"msg":"x"}"#, true, Level::Error),
        (Format::ZapJson, r#"{"level":"loud","msg":"x"}"#, true, Level::Error),
        (Format::ZapJson, r#"{"level":"debug","msg":"x"}"#, true, Level::Debug),
        (Format::ZapJson, r#"{"level":"debug","msg":"#, false, Level::Debug),
        (Format::Logfmt, "goroutine 1 [running]:", false, Level::Error),
        (Format::Logfmt, "level=info x", true, Level::Info),
    ] {
        let decoded = Decoder::new(format).decode(frame.as_bytes(), &hint);
        assert_eq!((decoded.parsed, decoded.level), (parsed, level), "{frame}");
    }
}

#[test]
fn empty_frames_are_fine() {
    for (format, parsed) in [(Format::ZapJson, false), (Format::Logfmt, false), (Format::Unstructured, true)] {
        let decoded = decoded(format, b"");
        assert_eq!((decoded.parsed, decoded.level, decoded.message), (parsed, Level::Unknown, &b""[..]));
    }
}
