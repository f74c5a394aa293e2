//! What an answer of Loki says, by its status and its words.
//!
//! The same status means quite different things: a 429 may have stored nothing, a prefix, or everything but one stream,
//! and only the body tells. The texts are those of `pkg/validation/validate.go`, `pkg/ingester/stream.go` and
//! `pkg/distributor/distributor.go` of Loki 3. What is not recognised is never taken for more than it says: it holds,
//! or leads to the lines one by one.

use std::time::Duration;

use super::super::shorten;
use crate::{limits::RETRY_AFTER_MAX, model::Nanos, wire::time::parse_rfc3339};

/// What an answer means for the request it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub meaning: Meaning,
    /// For people: status, Loki's words shortened, what can be done.
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Loki has it all, as far as it says.
    Stored,
    /// Not now, and no line is to blame. `after` is the least pause asked for.
    Hold { after: Option<Duration> },
    /// More than one request may hold; nothing was stored. `limit` in uncompressed bytes where it is told.
    TooLarge { limit: Option<usize> },
    /// Over the tenant's rate; nothing was stored. The rate in bytes per second where it is told.
    TenantRate { rate: Option<u64> },
    /// The ingester refused entries of one stream and stored the others of that stream.
    Entries(Entries),
    /// No more streams: one new stream was refused whole.
    StreamLimit,
    /// The distributor refused what breaks a static limit, and stored the rest.
    Static(Static),
    /// A 4xx in words that are not known, or a request that Loki will never digest: somebody in it is to blame.
    Poison,
}

/// Refused entries of the stream the ingester tells of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entries {
    pub why: Why,
    /// Times of the refused entries in their order, of the first ones only where there are many.
    pub listed: Vec<Nanos>,
    /// So many were refused …
    pub ignored: usize,
    /// … of so many that reached the stream.
    pub of: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Over the stream's rate, in bytes per second where it is told: what comes before the first of them was stored.
    Rate(Option<u64>),
    /// Too far behind the stream's newest; the oldest time that is taken where it is told.
    Behind(Option<Nanos>),
    Other,
}

/// Which static limit was broken by somebody in the request; Loki tells of the last one only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Static {
    TooOld {
        oldest: Option<Nanos>,
    },
    TooNew {
        time: Option<Nanos>,
    },
    Line {
        limit: Option<usize>,
    },
    MetadataBytes {
        limit: Option<usize>,
    },
    MetadataPairs {
        limit: Option<usize>,
    },
    /// The labels of a stream; its text stands in the answer.
    Labels,
}

impl Answer {
    /// `retry_after` is the header of that name, `body` as much of the answer as was read.
    pub fn of(status: u16, retry_after: Option<&[u8]>, body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body);
        let meaning = meaning(status, retry_after, &text);
        let reason = told(status, &shorten(&text), hint(status, &meaning));
        Self { meaning, reason }
    }
}

fn meaning(status: u16, retry_after: Option<&[u8]>, text: &str) -> Meaning {
    match status {
        200 | 204 => Meaning::Stored,
        413 => Meaning::TooLarge { limit: None },
        400 | 422 if text.contains("tenant ID") || text.contains("org ID") => hold(retry_after),
        400 | 422 => refused(text),
        429 => throttled(retry_after, text),
        500 if text.contains("ResourceExhausted") || text.contains("received message larger than max") => {
            Meaning::TooLarge { limit: number_after(text, " vs. ") }
        }
        500 if text.contains("label name is empty") || text.contains("empty label name") => Meaning::Poison,
        _ => hold(retry_after),
    }
}

fn hold(retry_after: Option<&[u8]>) -> Meaning {
    Meaning::Hold { after: retry_after.and_then(seconds).map(|after| after.min(RETRY_AFTER_MAX)) }
}

fn throttled(retry_after: Option<&[u8]>, text: &str) -> Meaning {
    if text.contains("Maximum active stream limit exceeded") {
        return Meaning::StreamLimit;
    }
    if let Some(entries) = entries(text) {
        return Meaning::Entries(entries);
    }
    if text.contains("Ingestion rate limit exceeded") {
        return Meaning::TenantRate { rate: number_after(text, "(limit: ") };
    }
    if text.contains("Per stream rate limit exceeded") {
        let why = Why::Rate(stream_rate(text));
        return Meaning::Entries(Entries { why, listed: Vec::new(), ignored: 0, of: 0 });
    }
    hold(retry_after)
}

fn refused(text: &str) -> Meaning {
    if let Some(entries) = entries(text) {
        return Meaning::Entries(entries);
    }
    let labels = [
        "label names; limit",
        "label name too long",
        "label value too long",
        "duplicate label name",
        "at least one label pair is required",
        "Error parsing labels",
        "error parsing labels",
        "couldn't parse labels",
    ];
    if text.contains("has timestamp too old") {
        let oldest = text.split("oldest acceptable timestamp is: ").nth(1).and_then(time);
        Meaning::Static(Static::TooOld { oldest })
    } else if text.contains("has timestamp too new") {
        Meaning::Static(Static::TooNew { time: text.split("has timestamp too new: ").nth(1).and_then(time) })
    } else if text.contains("Max entry size") {
        Meaning::Static(Static::Line { limit: number_after(text, "Max entry size '") })
    } else if text.contains("has structured metadata too large") {
        Meaning::Static(Static::MetadataBytes { limit: number_after(text, "limit: '") })
    } else if text.contains("has too many structured metadata labels") {
        Meaning::Static(Static::MetadataPairs { limit: number_after(text, "limit: '") })
    } else if labels.iter().any(|words| text.contains(words)) {
        Meaning::Static(Static::Labels)
    } else {
        Meaning::Poison
    }
}

/// Reads `errorForFailedEntries` of `pkg/ingester/stream.go`: a line for each of the first refused entries, then
/// "total ignored: N out of M for stream: {…}".
fn entries(text: &str) -> Option<Entries> {
    let (listed, total) = text.rsplit_once("total ignored: ")?;
    let ignored = number_after(total, "")?;
    let of = number_after(total, " out of ")?;
    let mut times = Vec::new();
    for line in listed.split("entry with timestamp ").skip(1) {
        times.push(time(line)?);
    }
    let why = if listed.contains("Per stream rate limit exceeded") {
        Why::Rate(stream_rate(listed))
    } else if listed.contains("too far behind") {
        Why::Behind(listed.split("oldest acceptable timestamp is: ").nth(1).and_then(time))
    } else {
        Why::Other
    };
    Some(Entries { why, listed: times, ignored, of })
}

/// "(limit: 3MB/sec)", as `flagext.ByteSize` shows it: units of 1,024.
fn stream_rate(text: &str) -> Option<u64> {
    let rest = text.split("rate limit exceeded (limit: ").nth(1)?;
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let value: f64 = rest[..end].parse().ok()?;
    let unit = match rest.as_bytes().get(end)? {
        b'K' | b'k' => 1024.0,
        b'M' => 1024.0 * 1024.0,
        b'G' => 1024.0 * 1024.0 * 1024.0,
        _ => 1.0,
    };
    Some((value * unit) as u64).filter(|rate| *rate > 0)
}

/// A time at the start of `text`, as Loki writes it: RFC 3339, or as Go prints a time.
fn time(text: &str) -> Option<Nanos> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || "-:.+ TZ".contains(c))).unwrap_or(text.len());
    parse_rfc3339(text[..end].trim().as_bytes())
}

/// The whole number behind `words`.
fn number_after<T: std::str::FromStr>(text: &str, words: &str) -> Option<T> {
    let rest = &text[text.find(words)? + words.len()..];
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}

/// What whoever reads the status can do about it.
fn hint(status: u16, meaning: &Meaning) -> &'static str {
    match (meaning, status) {
        (Meaning::TenantRate { .. }, _) => "over the tenant's rate; the lines wait here",
        (Meaning::Entries(Entries { why: Why::Rate(_), .. }), _) => "over the stream's rate; its lines wait here",
        (Meaning::StreamLimit, _) => "no new streams are taken; their lines wait here",
        (Meaning::Hold { .. }, 260) => "ingestion is blocked for this tenant; the lines wait here",
        (Meaning::Hold { .. }, 300..=399) => "a redirect is not followed; is the scheme, host and path right?",
        (Meaning::Hold { .. }, 400) => "is the tenant right?",
        (Meaning::Hold { .. }, 401) => "are the credentials and the tenant right?",
        (Meaning::Hold { .. }, 403) => "is this user allowed to push?",
        (Meaning::Hold { .. }, 404 | 405) => "is the push path right?",
        (Meaning::Hold { .. }, 408) => "the target waited too long for the request",
        (Meaning::Hold { .. }, 429) => "over some limit; the lines wait here",
        (Meaning::Hold { .. }, 200..=299) => "not an answer a Loki gives; is this the push path of one?",
        _ => "",
    }
}

fn told(status: u16, words: &str, hint: &str) -> String {
    let mut text = format!("HTTP {status}");
    if !words.is_empty() {
        text = format!("{text}: {words}");
    }
    if !hint.is_empty() {
        text = format!("{text} ({hint})");
    }
    text
}

/// `Retry-After` as seconds (RFC 9110 §10.2.3); its other form, a date, is left to our own pauses.
fn seconds(header: &[u8]) -> Option<Duration> {
    str::from_utf8(header).ok()?.trim().parse().ok().map(Duration::from_secs)
}
