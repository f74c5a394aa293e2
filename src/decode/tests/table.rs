//! The table of lines beside this file, row by row. A change of what a line says is a change of that file.

use super::*;

const TABLE: &str = include_str!("table.txt");

#[test]
fn every_row() {
    let blocks = TABLE.split("\n\n").filter(|block| !block.starts_with('#'));
    let mut rows = 0;
    for block in blocks {
        let visible = block.trim_end_matches('\n').replace('␉', "\t").replace('␍', "\r");
        let mut lines = visible.split('\n');
        let frame = lines.next().unwrap();
        let (format, frame) = match frame.split_once(' ').unwrap() {
            ("json", frame) => (Format::ZapJson, frame),
            ("logfmt", frame) => (Format::Logfmt, frame),
            (other, _) => panic!("a row begins with a format, not {other:?}"),
        };
        assert_eq!(told(&decoded(format, frame.as_bytes()), frame), lines.collect::<Vec<_>>(), "{frame}");
        rows += 1;
    }
    assert!(rows >= 60, "only {rows} rows were read");
}

/// What was found, in the words of the table.
fn told(found: &Decoded<'_>, frame: &str) -> Vec<String> {
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).unwrap().to_owned();
    let parsed = if found.parsed { "parsed" } else { "unparsed" };
    let time = found.time.map_or("-".to_owned(), |time| (time.0 - AT).to_string());
    let mut told = vec![format!("{parsed} {} {time}", found.level)];
    if found.message != frame.as_bytes() {
        told.push(format!("message {}", text(found.message)).trim_end().to_owned());
    }
    told.extend(found.fields.iter().map(|field| format!("{} {}", field.name, text(field.value))));
    told
}
