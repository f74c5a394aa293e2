//! What a batch promises: the same entry whatever its neighbours, sizes as told, buffers that neither leak nor grow.

use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::{
    limits::{BATCH_KEPT_BYTES, FRAME_BYTES_MAX, METADATA_VALUE_BYTES_MAX},
    wire::loki::{render_labels, schema},
};

const LOKI: Shape = Shape::Loki { tenant: None, output: Output::Line };

fn item<'a>(stream: u32, labels: &'a str, line: &'a [u8]) -> Item<'a> {
    Item {
        stream,
        part: 0,
        labels,
        level: Level::Info,
        time: Nanos(1_771_947_989_123_456_789),
        line,
        metadata: &[],
        source: "audit",
        app: b"auditd",
        procid: b"7",
    }
}

fn request(sealed: &Sealed) -> schema::PushRequest {
    let raw = snap::raw::Decoder::new().decompress_vec(&sealed.body).unwrap();
    assert_eq!(raw.len(), sealed.raw_bytes);
    schema::PushRequest::decode(raw.as_slice()).unwrap()
}

fn syslog(framing: Framing) -> Shape {
    Shape::Syslog { facility: 20, framing, max_message_bytes: 8192, sd_id: "x@32473".into(), output: Output::Line }
}

#[test]
fn streams_stand_in_the_order_of_their_first_line() {
    let mut open = Open::new(&LOKI, "c1", "n1");
    for (stream, line) in [(9, "a"), (2, "b"), (9, "c"), (5, "d"), (2, "e")] {
        let labels = format!("{{s=\"{stream}\"}}");
        assert_eq!(open.append(&item(stream, &labels, line.as_bytes())), Appended::default());
    }
    assert_eq!((open.entries(), open.streams(), open.is_empty()), (5, 3, false));
    let sealed = open.seal();
    assert_eq!(sealed.entries, 5);
    let read: Vec<(String, String)> = request(&sealed)
        .streams
        .into_iter()
        .map(|stream| (stream.labels, stream.entries.into_iter().map(|entry| entry.line).collect()))
        .collect();
    let expected = [("{s=\"9\"}", "ac"), ("{s=\"2\"}", "be"), ("{s=\"5\"}", "d")];
    assert_eq!(read, expected.map(|(labels, lines)| (labels.to_owned(), lines.to_owned())));
    assert_eq!((open.entries(), open.streams(), open.raw_bytes(), open.is_empty()), (0, 0, 0, true));
}

/// Large streams are compressed where they lie, small ones together; the request is the same either way.
#[test]
fn a_request_is_whole_however_its_streams_are_compressed() {
    let mut open = Open::new(&LOKI, "c1", "n1");
    let sizes = [3, 1_000, 200, 1, 900, 40];
    let mut expected = vec![Vec::new(); sizes.len()];
    for number in 0..1_000 {
        for (stream, _) in sizes.iter().enumerate().filter(|(_, size)| number < **size) {
            let labels = format!("{{s=\"{stream}\"}}");
            let line = format!("line {number} of {stream}, {}", "and so on ".repeat(1 + number % 30));
            open.append(&item(stream as u32, &labels, line.as_bytes()));
            expected[stream].push(line);
        }
    }
    let read: Vec<Vec<String>> = request(&open.seal())
        .streams
        .into_iter()
        .map(|stream| stream.entries.into_iter().map(|entry| entry.line).collect())
        .collect();
    assert_eq!(read, expected);
}

/// The tenant stands in the request's head, not in its bytes; two tenants are two shapes all the same.
#[test]
fn shapes_tell_targets_apart() {
    let of = |tenant: &str| Shape::Loki { tenant: Some(tenant.into()), output: Output::Line };
    assert_eq!(of("a"), of("a"));
    assert_ne!(of("a"), of("b"));
    assert_ne!(syslog(Framing::Newline), syslog(Framing::OctetCounted));
    assert_eq!(Shape::Console { output: Output::Message }.output(), Output::Message);
}

/// The worst a lane can do: full up to one byte short of the mark, then the largest entry of a stream of its own.
#[test]
fn one_line_past_the_mark_stays_far_below_what_loki_takes() {
    let value = vec![0xFF; METADATA_VALUE_BYTES_MAX];
    let metadata = [Field { name: "field", value: &value }; 16];
    let line = vec![0xFF; FRAME_BYTES_MAX];
    let label = "v".repeat(crate::limits::LABEL_VALUE_BYTES_MAX);
    let names: Vec<String> = (0..crate::limits::LABELS_MAX).map(|index| format!("label_{index:02}")).collect();
    let pairs: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), label.as_str())).collect();
    let labels = render_labels(&pairs);
    let mut open = Open::new(&LOKI, "c1", "n1");
    let mut stream = 0;
    while !open.is_full() {
        stream += 1;
        open.append(&Item { metadata: &metadata, ..item(stream, &labels, &line) });
    }
    let sealed = open.seal();
    assert!(sealed.raw_bytes < 4 << 20, "{} bytes", sealed.raw_bytes);
    assert_eq!(request(&sealed).streams.len(), stream as usize);
}

#[test]
fn a_batch_is_full_by_entries_and_by_streams() {
    let mut open = Open::new(&LOKI, "c1", "n1");
    for count in 1..=BATCH_ENTRIES_MAX {
        open.append(&item(1, "{}", b""));
        assert_eq!(open.is_full(), count == BATCH_ENTRIES_MAX);
    }
    open.seal();
    for stream in 1..=BATCH_STREAMS_MAX {
        open.append(&item(stream as u32, "{}", b""));
        assert_eq!(open.is_full(), stream == BATCH_STREAMS_MAX);
    }
}

/// The large stream is another one in every batch; the memory kept must not become the sum of all of them.
#[test]
fn buffers_are_kept_but_not_hoarded() {
    let line = vec![b'x'; 100 * 1024];
    let mut open = LokiBatch::default();
    for large in 0..20 {
        for stream in 0..20 {
            open.append(&item(stream, "{}", b"small"));
        }
        for _ in 0..10 {
            open.append(&item(large, "{}", &line));
        }
        open.seal();
        assert!(open.kept_bytes() <= BATCH_KEPT_BYTES, "{} bytes", open.kept_bytes());
    }
    let fill = |open: &mut LokiBatch| {
        for stream in 0..20 {
            open.append(&item(stream, "{}", b"the same every time"));
        }
        open.seal();
        open.kept_bytes()
    };
    let warm = fill(&mut open);
    assert_eq!(fill(&mut open), warm, "a warm batch allocates nothing for the same lines again");
}

#[test]
fn syslog_batches_are_their_messages() {
    let mut open = Open::new(&syslog(Framing::Newline), "c1", "n1");
    open.append(&item(1, "", b"one"));
    assert!(open.append(&item(2, "", b"t\xffo")).replaced_utf8);
    assert_eq!(open.append(&item(2, "", &vec![b'x'; 20_000])).extra_parts, 2);
    let raw_bytes = open.raw_bytes();
    let sealed = open.seal();
    assert_eq!((sealed.entries, sealed.raw_bytes, sealed.body.len()), (3, raw_bytes, raw_bytes));
    let text = String::from_utf8(sealed.body.to_vec()).unwrap();
    assert!(text.starts_with(
        "<166>1 2026-02-24T15:46:29.123456Z n1 auditd 7 - \
         [x@32473 cluster=\"c1\" source=\"audit\" level=\"info\"] one\n<"
    ));
    assert_eq!(text.lines().count(), 5);
    assert!(open.is_empty() && open.seal().body.is_empty());
}

#[test]
fn people_read_lines_that_cannot_command_their_terminal() {
    let mut open = Open::new(&Shape::Console { output: Output::Line }, "c1", "n1");
    open.append(&item(1, "", "plain é\ttext".as_bytes()));
    open.append(&Item { level: Level::Unknown, ..item(1, "", b"\x1b[2J\x07\nfake \xc2\x9b \xff") });
    assert_eq!(
        String::from_utf8(open.seal().body.to_vec()).unwrap(),
        "2026-02-24T15:46:29.123456Z INFO  audit plain é\ttext\n\
         2026-02-24T15:46:29.123456Z UNKNOWN audit \\x1b[2J\\x07\\x0afake \\x9b \u{FFFD}\n"
    );
}

/// One line as a test makes it: stream, time, line, metadata.
type Given = (u32, i64, Vec<u8>, Vec<(String, Vec<u8>)>);

fn any_given() -> impl Strategy<Value = Given> {
    let bytes =
        || prop_oneof!["[ -~]{0,60}".prop_map(String::into_bytes), proptest::collection::vec(any::<u8>(), 0..60)];
    (0u32..6, any::<i64>(), bytes(), proptest::collection::vec(("[a-z]{0,5}", bytes()), 0..3))
}

/// Appends all lines and seals after each of which `cut` says so, in one batch that is used again and again.
fn carried(lines: &[Given], cut: impl Fn(usize) -> bool) -> Vec<Sealed> {
    let mut open = Open::new(&LOKI, "c1", "n1");
    let mut sealed = Vec::new();
    for (index, (stream, time, line, metadata)) in lines.iter().enumerate() {
        let labels = render_labels(&[("stream", &stream.to_string()), ("cluster", "c1")]);
        let metadata: Vec<Field<'_>> = metadata.iter().map(|(name, value)| Field { name, value }).collect();
        open.append(&Item { time: Nanos(*time), metadata: &metadata, ..item(*stream, &labels, line) });
        if cut(index) {
            let told = (open.raw_bytes(), open.entries());
            sealed.push(open.seal());
            assert_eq!(sealed.last().map(|sealed| (sealed.raw_bytes, sealed.entries)), Some(told));
        }
    }
    if !open.is_empty() {
        sealed.push(open.seal());
    }
    sealed
}

/// Every entry of every batch with its labels, encoded again by prost, in the order of each stream.
fn entries(batches: &[Sealed]) -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<(String, Vec<u8>)> = batches
        .iter()
        .flat_map(|sealed| request(sealed).streams)
        .flat_map(|stream| {
            let labels = stream.labels;
            stream.entries.into_iter().map(move |entry| (labels.clone(), entry.encode_to_vec()))
        })
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0)); // stable: the order within a stream stays
    all
}

proptest! {
    /// A line sent again in other company is the same entry: labels, time, line and metadata.
    #[test]
    fn entries_do_not_depend_on_how_batches_are_cut(
        lines in proptest::collection::vec(any_given(), 0..60),
        cuts in proptest::collection::vec(any::<bool>(), 60),
    ) {
        let whole = carried(&lines, |_| false);
        prop_assert!(whole.len() <= 1);
        let apart = carried(&lines, |_| true);
        prop_assert_eq!(apart.len(), lines.len());
        prop_assert_eq!(entries(&whole), entries(&apart));
        prop_assert_eq!(entries(&whole), entries(&carried(&lines, |index| cuts[index])));
        // And the entries are what was given.
        for (given, sealed) in lines.iter().zip(&apart) {
            let [stream] = <[_; 1]>::try_from(request(sealed).streams).unwrap();
            prop_assert_eq!(stream.labels, format!("{{cluster=\"c1\", stream=\"{}\"}}", given.0));
            let [entry] = <[_; 1]>::try_from(stream.entries).unwrap();
            prop_assert_eq!(entry.nanos(), given.1);
            prop_assert_eq!(&entry.line, &String::from_utf8_lossy(&given.2));
            let named = given.3.iter().filter(|(name, _)| !name.is_empty()).count();
            prop_assert_eq!(entry.structured_metadata.len(), named);
        }
    }

    /// The same promise for bytes that are sent as they are.
    #[test]
    fn syslog_bytes_do_not_depend_on_how_batches_are_cut(
        lines in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 0..30),
        cut_every in 1usize..5,
    ) {
        let console = Shape::Console { output: Output::Line };
        for shape in [syslog(Framing::OctetCounted), syslog(Framing::Newline), console] {
            let (mut whole, mut cut) = (Open::new(&shape, "c1", "n1"), Open::new(&shape, "c1", "n1"));
            let mut pieces = Vec::new();
            for (index, line) in lines.iter().enumerate() {
                let said = whole.append(&item(1, "", line));
                prop_assert_eq!(cut.append(&item(1, "", line)), said);
                if index % cut_every == 0 {
                    pieces.extend_from_slice(&cut.seal().body);
                }
            }
            pieces.extend_from_slice(&cut.seal().body);
            prop_assert_eq!(whole.seal().body.to_vec(), pieces);
        }
    }
}

#[test]
fn what_is_let_go_keeps_nothing_and_can_be_filled_anew() {
    for shape in [LOKI, syslog(Framing::OctetCounted), Shape::Console { output: Output::Line }] {
        let mut open = Open::new(&shape, "c1", "n1");
        open.append(&item(1, "{s=\"1\"}", b"first"));
        let first = open.seal().body;
        open.let_go();
        if let Open::Loki(batch) = &open {
            assert_eq!(batch.kept_bytes(), 0);
        }
        open.append(&item(1, "{s=\"1\"}", b"first"));
        assert_eq!(open.seal().body, first, "{shape:?}");
    }
}
