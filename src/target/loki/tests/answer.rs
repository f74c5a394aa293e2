//! Loki's own words, as its sources write them.

use std::time::Duration;

use super::super::answer::{Answer, Entries, Meaning, Static, Why};
use crate::{limits::RETRY_AFTER_MAX, model::Nanos, wire::time::parse_rfc3339};

fn meaning(status: u16, body: &str) -> Meaning {
    Answer::of(status, None, body.as_bytes()).meaning
}

fn time(text: &str) -> Nanos {
    parse_rfc3339(text.as_bytes()).expect("a time")
}

#[test]
fn each_status_without_words_has_its_meaning() {
    for status in [200, 204] {
        assert_eq!(meaning(status, ""), Meaning::Stored, "{status}");
    }
    for status in [202, 260, 301, 401, 403, 404, 405, 408, 418, 429, 500, 502, 503, 504] {
        assert_eq!(meaning(status, ""), Meaning::Hold { after: None }, "{status}");
    }
    assert_eq!(meaning(413, ""), Meaning::TooLarge { limit: None });
    assert_eq!((meaning(400, "?"), meaning(422, "?")), (Meaning::Poison, Meaning::Poison));
    let reason = Answer::of(404, None, b"404 page not found\n").reason;
    assert_eq!(reason, "HTTP 404: 404 page not found (is the push path right?)");
}

#[test]
fn three_kinds_of_429_are_told_apart() {
    let tenant = "Ingestion rate limit exceeded for user fake (limit: 4194304 bytes/sec) while attempting to ingest \
        '1000' lines totaling '7000000' bytes, reduce log volume or contact your Loki administrator";
    assert_eq!(meaning(429, tenant), Meaning::TenantRate { rate: Some(4_194_304) });
    let limit = "Maximum active stream limit exceeded when trying to create stream {a=\"1\"}, reduce the number of \
        active streams (reduce labels or reduce label values), or contact your Loki administrator, user: 'fake'";
    assert_eq!(meaning(429, limit), Meaning::StreamLimit);
    let stream = "entry with timestamp 2026-02-24 15:46:29.5 +0000 UTC ignored, reason: 'Per stream rate limit \
        exceeded (limit: 3MB/sec) while attempting to ingest for stream '{a=\"1\"}' totaling 100B, consider splitting \
        a stream via additional labels or contact your Loki administrator to see if the limit can be increased',\nuser \
        'fake', total ignored: 1 out of 7 for stream: {a=\"1\"}";
    let listed = vec![time("2026-02-24T15:46:29.5Z")];
    let entries = Entries { why: Why::Rate(Some(3 << 20)), listed, ignored: 1, of: 7 };
    assert_eq!(meaning(429, stream), Meaning::Entries(entries));
}

#[test]
fn lines_too_far_behind_are_listed_with_the_bound() {
    let line = |second: u32| {
        format!(
            "entry with timestamp 2026-02-24 15:46:{second}.000000001 +0000 UTC ignored, reason: 'entry too far \
             behind, entry timestamp is: 2026-02-24T15:46:{second}Z, oldest acceptable timestamp is: \
             2026-02-24T16:00:00Z',\n"
        )
    };
    let text = format!("{}{}user 'fake', total ignored: 20 out of 31 for stream: {{a=\"1\"}}", line(28), line(29));
    let listed = [28, 29].map(|second| time(&format!("2026-02-24T15:46:{second}.000000001Z")));
    let why = Why::Behind(Some(time("2026-02-24T16:00:00Z")));
    assert_eq!(meaning(400, &text), Meaning::Entries(Entries { why, listed: listed.to_vec(), ignored: 20, of: 31 }));
    for cut in ["total ignored: many out of 9", "total ignored: 3", "entry with timestamp ü, total ignored: 1 out of 1"]
    {
        assert_eq!(meaning(400, cut), Meaning::Poison, "{cut}");
    }
}

#[test]
fn static_limits_are_told_with_their_bounds() {
    let stream = "entry for stream '{a=\"1\"}'";
    let old = "has timestamp too old: 2026-02-10T00:00:00Z, oldest acceptable timestamp is: 2026-02-17T00:00:00Z";
    let oldest = Some(time("2026-02-17T00:00:00Z"));
    let cases = [
        (format!("{stream} {old}"), Static::TooOld { oldest }),
        (
            format!("{stream} has timestamp too new: 2026-02-25T00:00:00Z"),
            Static::TooNew { time: Some(time("2026-02-25T00:00:00Z")) },
        ),
        (
            "Max entry size '262144' bytes exceeded for stream '{}' while adding an entry with length '9' bytes".into(),
            Static::Line { limit: Some(262_144) },
        ),
        (
            "stream '{}' has structured metadata too large: '70000' bytes, limit: '65536' bytes. Please see".into(),
            Static::MetadataBytes { limit: Some(65_536) },
        ),
        (
            "stream '{}' has too many structured metadata labels: '130', limit: '128'. Please see".into(),
            Static::MetadataPairs { limit: Some(128) },
        ),
        ("entry for stream '{}' has 16 label names; limit 15".into(), Static::Labels),
        ("stream '{}' has duplicate label name: 'a'".into(), Static::Labels),
        ("Error parsing labels '{a=1}' with error: parse error".into(), Static::Labels),
    ];
    for (text, expected) in cases {
        assert_eq!(meaning(400, &text), Meaning::Static(expected), "{text}");
    }
}

#[test]
fn a_message_too_large_for_grpc_is_split_not_tried_for_ever() {
    let text =
        "rpc error: code = ResourceExhausted desc = grpc: received message larger than max (5000000 vs. 4194304)";
    assert_eq!(meaning(500, text), Meaning::TooLarge { limit: Some(4_194_304) });
    assert_eq!(meaning(500, "at least 1 live replicas required"), Meaning::Hold { after: None });
}

#[test]
fn retry_after_is_honoured_and_capped() {
    let after = |text: &[u8]| match Answer::of(503, Some(text), b"").meaning {
        Meaning::Hold { after } => after,
        other => panic!("{other:?}"),
    };
    assert_eq!(after(b"7"), Some(Duration::from_secs(7)));
    assert_eq!(after(b"86400"), Some(RETRY_AFTER_MAX));
    assert_eq!(after(b"Fri, 20 Nov 2026 07:28:00 GMT"), None);
    assert_eq!(after(b"-1"), None);
}
