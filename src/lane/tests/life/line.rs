//! Lines that say which they are, in every format of a life.
//!
//! A line carries its number, except *twins*: equal lines written side by side, which only their times tell apart.

use xxhash_rust::xxh3::xxh3_64;

use crate::{
    model::{Level, Nanos},
    plan::Format,
};

/// One line as it was written.
#[derive(Clone, Debug)]
pub struct Line {
    pub source: usize,
    /// The file it was written to, over all its names.
    pub file: usize,
    pub level: Level,
    /// Offsets of its beginning and end in that file.
    pub start: u64,
    pub end: u64,
    /// The group of equal lines it belongs to.
    pub twin: Option<u32>,
    /// Of its text without the line feed.
    pub hash: u64,
}

/// What a delivered line says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    Line(u32),
    Twin(u32),
    /// A fragment of a file that was damaged or changed under the reader.
    None,
}

/// The text of a line, line feed included.
pub fn text(format: Format, name: Name, level: Level, wall: Nanos, pad: usize) -> String {
    let (key, number) = match name {
        Name::Line(number) => ("seq", number),
        Name::Twin(number) => ("twin", number),
        Name::None => ("none", 0),
    };
    let (seconds, nanos) = wall.parts();
    let (millis, pad) = (nanos / 1_000_000, "x".repeat(pad));
    match format {
        Format::ZapJson => format!(
            "{{\"level\":\"{level}\",\"ts\":{seconds}.{millis:03},\"msg\":\"line\",\"pad\":\"{pad}\",\
             \"{key}\":{number}}}\n"
        ),
        Format::Logfmt => format!("ts={seconds}.{millis:03} level={level} msg=line pad={pad}- {key}={number}\n"),
        _ => format!("a line without a time {pad} {key}={number}\n"),
    }
}

/// Which line this is. A fragment that lost its beginning still ends with its name: who asks compares the hash too.
pub fn name(line: &str) -> Name {
    let digits = |at: usize, mark: &str| {
        let rest = &line[at + mark.len()..];
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest[..end].parse().ok()
    };
    let find = |marks: [&str; 2]| {
        let found = marks.iter().filter_map(|mark| Some((line.rfind(mark)?, *mark))).max();
        found.and_then(|(at, mark)| digits(at, mark))
    };
    if let Some(number) = find(["\"seq\":", " seq="]) {
        Name::Line(number)
    } else if let Some(number) = find(["\"twin\":", " twin="]) {
        Name::Twin(number)
    } else {
        Name::None
    }
}

pub fn hash(text: &str) -> u64 {
    xxh3_64(text.trim_end_matches('\n').as_bytes())
}

#[test]
fn a_line_says_which_it_is_in_every_format() {
    for format in [Format::ZapJson, Format::Logfmt, Format::Unstructured] {
        for which in [Name::Line(71), Name::Twin(9), Name::None] {
            assert_eq!(name(&text(format, which, Level::Info, Nanos(1_500_000_000), 3)), which);
        }
    }
}
