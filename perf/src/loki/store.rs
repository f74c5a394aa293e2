//! What Loki does with a decoded push: refuse, store, answer. No IO, and time is an argument.
//!
//! Two stages, as in Loki, because what the sender gets to see depends on them. The *distributor* checks every entry
//! against static limits and the tenant's rate; its refusals always show. The *ingester* then takes stream by stream,
//! and **only the outcome of the last stream decides its answer**: [refused, accepted] is a 204 although lines are
//! gone. Texts follow Loki's own (`pkg/validation/validate.go`), since senders tell refusals apart by them.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Instant,
};

use super::{
    labels::{self, Pairs},
    limits::{Bucket, Limits},
    proto,
};
use crate::{
    time::{SECOND, rfc3339},
    verify::{Differing, Marker, Print, Sequence, Sighting, Tally},
};

/// Refused entries that one answer names (`max_returned_stream_errors`).
const RETURNED_ERRORS_MAX: u64 = 10;

/// One stored entry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stored {
    pub tenant: Arc<str>,
    /// Sorted by name.
    pub labels: Arc<Pairs>,
    pub time_ns: i64,
    /// Invalid UTF-8 shows as U+FFFD, as in Loki.
    pub line: String,
    /// Names normalised; in the order sent.
    pub metadata: Pairs,
}

impl Stored {
    /// The value of a label.
    pub fn label(&self, name: &str) -> Option<&str> {
        find(&self.labels, name)
    }

    /// The value of a piece of structured metadata.
    pub fn meta(&self, name: &str) -> Option<&str> {
        find(&self.metadata, name)
    }
}

fn find<'a>(pairs: &'a Pairs, name: &str) -> Option<&'a str> {
    pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// Sums since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Pushes received, whatever became of them.
    pub requests: u64,
    /// Bytes of their bodies, as sent.
    pub body_bytes: u64,
    /// Entries stored.
    pub entries: u64,
    /// Bytes of the lines stored.
    pub bytes: u64,
    /// Entries that were there already, the same in every part: exact resends.
    pub duplicates: u64,
    /// Entries refused, also behind a 204.
    pub refused: u64,
    /// Entries refused although the answer was 204.
    pub refused_silently: u64,
    /// Lines that were not UTF-8.
    pub invalid_utf8: u64,
    /// Lines without a number, when numbers are verified.
    pub unnumbered: u64,
    /// Pushes that were stored and, by a fault, never answered.
    pub answers_lost: u64,
    /// Answers by status.
    pub answers: BTreeMap<u16, u64>,
    /// What became of the numbers, when they are verified.
    pub tally: Tally,
}

/// Both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) wall_ns: i64,
    pub(crate) mono: Instant,
}

/// Status and text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn new(status: u16, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }
}

/// The refused entries of one stream as its answer lists them (`errorForFailedEntries`): the last one decides the
/// status, the first ones are named.
#[derive(Default)]
struct Told {
    status: u16,
    text: String,
    refused: u64,
}

impl Told {
    fn push(&mut self, status: u16, time_ns: i64, why: impl FnOnce() -> String) {
        if self.refused < RETURNED_ERRORS_MAX {
            let (time, why) = (go_time(time_ns), why());
            self.text.push_str(&format!("entry with timestamp {time} ignored, reason: '{why}',\n"));
        }
        self.status = status;
        self.refused += 1;
    }
}

struct StreamState {
    newest_ns: Option<i64>,
    bucket: Option<Bucket>,
    seen: HashSet<u64>,
}

struct Candidate {
    canonical: String,
    labels: Arc<Pairs>,
    entries: Vec<proto::Entry>,
}

/// Everything one receiver remembers.
pub(crate) struct Store {
    limits: Limits,
    keep: usize,
    marker: Option<Marker>,
    pub(crate) counters: Counters,
    pub(crate) kept: Vec<Stored>,
    pub(crate) sequence: Sequence,
    streams: HashMap<(Arc<str>, String), StreamState>,
    /// Active streams by tenant.
    active: HashMap<Arc<str>, usize>,
    tenants: HashMap<Arc<str>, Bucket>,
}

impl Store {
    pub(crate) fn new(limits: Limits, keep: usize, marker: Option<Marker>) -> Self {
        Self {
            limits,
            keep,
            marker,
            counters: Counters::default(),
            kept: Vec::new(),
            sequence: Sequence::default(),
            streams: HashMap::new(),
            active: HashMap::new(),
            tenants: HashMap::new(),
        }
    }

    pub(crate) fn limits(&mut self) -> &mut Limits {
        &mut self.limits
    }

    pub(crate) fn differing(&self) -> &[Differing] {
        self.sequence.differing()
    }

    /// Takes a push of `bytes` uncompressed bytes.
    pub(crate) fn push(&mut self, tenant: &str, request: proto::PushRequest, bytes: usize, now: Now) -> Answer {
        let refused_before = self.counters.refused;
        let total: usize = request.streams.iter().map(|stream| stream.entries.len()).sum();
        let answer = self.distribute(tenant, request, bytes, now);
        if answer.status == 204 {
            self.counters.refused_silently += self.counters.refused - refused_before;
        } else if self.counters.refused == refused_before && answer.status != 422 {
            self.counters.refused += total as u64;
        }
        self.counters.tally = self.sequence.tally();
        answer
    }

    /// The distributor: static limits and the tenant's rate.
    fn distribute(&mut self, tenant: &str, request: proto::PushRequest, bytes: usize, now: Now) -> Answer {
        if request.streams.is_empty() {
            return Answer::new(422, "error at least one valid stream is required for ingestion");
        }
        let mut candidates = Vec::new();
        let mut refusal = None;
        let mut refused = 0;
        for stream in request.streams {
            let text = String::from_utf8_lossy(&stream.labels).into_owned();
            let pairs = match labels::parse(&text) {
                Ok(pairs) => pairs,
                Err(why) => return Answer::new(400, format!("Error parsing labels '{text}' with error: {why}")),
            };
            let canonical = labels::canonical(&pairs);
            if let Some(why) = self.label_refusal(&canonical, &pairs) {
                refused += stream.entries.len() as u64;
                refusal = Some(why);
                continue;
            }
            let mut entries = Vec::with_capacity(stream.entries.len());
            for entry in stream.entries {
                if entry.structured_metadata.iter().any(|pair| pair.name.is_empty()) {
                    return Answer::new(500, "label name is empty");
                }
                let Some(time_ns) = entry.time_ns() else {
                    return Answer::new(400, "proto: timestamp out of range");
                };
                match self.entry_refusal(&canonical, &entry, time_ns, now.wall_ns) {
                    None => entries.push(entry),
                    Some(why) => {
                        refused += 1;
                        refusal = Some(why);
                    }
                }
            }
            if !entries.is_empty() {
                candidates.push(Candidate { canonical, labels: Arc::new(pairs), entries });
            }
        }
        let tenant: Arc<str> = Arc::from(tenant);
        if let Some(answer) = self.over_tenant_rate(&tenant, &candidates, now.mono) {
            return answer;
        }
        if bytes > self.limits.message_bytes_max && !candidates.is_empty() {
            let limit = self.limits.message_bytes_max;
            let text = format!(
                "rpc error: code = ResourceExhausted desc = grpc: received message larger than max \
                 ({bytes} vs. {limit})"
            );
            return Answer::new(500, text);
        }
        self.counters.refused += refused;
        // The ingester's refusal, if it shows, goes before the distributor's.
        self.ingest(&tenant, candidates, now.mono)
            .or(refusal.map(|why| Answer::new(400, why)))
            .unwrap_or_else(|| Answer::new(204, ""))
    }

    fn label_refusal(&self, stream: &str, pairs: &Pairs) -> Option<String> {
        let limits = &self.limits;
        if pairs.is_empty() {
            return Some("error at least one label pair is required per stream".to_owned());
        }
        if pairs.len() > limits.labels_max {
            let (count, limit) = (pairs.len(), limits.labels_max);
            return Some(format!("entry for stream '{stream}' has {count} label names; limit {limit}"));
        }
        let mut last = None;
        for (name, value) in pairs {
            if name.len() > limits.label_name_bytes_max {
                return Some(format!("stream '{stream}' has label name too long: '{name}'"));
            }
            if value.len() > limits.label_value_bytes_max {
                return Some(format!("stream '{stream}' has label value too long: '{value}'"));
            }
            if last == Some(name) {
                return Some(format!("stream '{stream}' has duplicate label name: '{name}'"));
            }
            last = Some(name);
        }
        None
    }

    fn entry_refusal(&self, stream: &str, entry: &proto::Entry, time_ns: i64, wall_ns: i64) -> Option<String> {
        let limits = &self.limits;
        let shown = rfc3339_seconds(time_ns);
        if let Some(oldest) = limits.age_max.map(|age| wall_ns.saturating_sub(nanos(age)))
            && time_ns < oldest
        {
            let oldest = rfc3339_seconds(oldest);
            return Some(format!(
                "entry for stream '{stream}' has timestamp too old: {shown}, oldest acceptable timestamp is: {oldest}"
            ));
        }
        if limits.ahead_max.is_some_and(|ahead| time_ns > wall_ns.saturating_add(nanos(ahead))) {
            return Some(format!("entry for stream '{stream}' has timestamp too new: {shown}"));
        }
        let (length, limit) = (entry.line.len(), limits.line_bytes_max);
        if length > limit {
            return Some(format!(
                "Max entry size '{limit}' bytes exceeded for stream '{stream}' while adding an entry with length \
                 '{length}' bytes"
            ));
        }
        let (pairs, limit) = (entry.structured_metadata.len(), limits.metadata_pairs_max);
        if pairs > limit {
            return Some(format!(
                "stream '{stream}' has too many structured metadata labels: '{pairs}', limit: '{limit}'. Please see \
                 `limits_config.max_structured_metadata_entries_count`"
            ));
        }
        let (bytes, limit) = (metadata_bytes(entry), limits.metadata_bytes_max);
        (bytes > limit).then(|| {
            format!(
                "stream '{stream}' has structured metadata too large: '{bytes}' bytes, limit: '{limit}' bytes. Please \
                 see `limits_config.max_structured_metadata_size`"
            )
        })
    }

    fn over_tenant_rate(&mut self, tenant: &Arc<str>, candidates: &[Candidate], now: Instant) -> Option<Answer> {
        let rate = self.limits.tenant_rate?;
        let entries = || candidates.iter().flat_map(|candidate| &candidate.entries);
        let bytes: usize = entries().map(size).sum();
        let bucket = self.tenants.entry(Arc::clone(tenant)).or_insert_with(|| Bucket::new(rate, now));
        if bytes == 0 || bucket.take(bytes, now) {
            return None;
        }
        let (limit, lines) = (rate.bytes_per_second as u64, entries().count());
        let text = format!(
            "Ingestion rate limit exceeded for user {tenant} (limit: {limit} bytes/sec) while attempting to ingest \
             '{lines}' lines totaling '{bytes}' bytes, reduce log volume or contact your Loki administrator to see if \
             the limit can be increased"
        );
        Some(Answer::new(429, text))
    }

    /// The ingester: every stream is tried, the last one's outcome is the answer.
    fn ingest(&mut self, tenant: &Arc<str>, candidates: Vec<Candidate>, now: Instant) -> Option<Answer> {
        let mut outcome = None;
        for candidate in candidates {
            outcome = self.ingest_stream(tenant, candidate, now);
        }
        outcome
    }

    fn ingest_stream(&mut self, tenant: &Arc<str>, candidate: Candidate, now: Instant) -> Option<Answer> {
        let Candidate { canonical, labels, entries } = candidate;
        let key = (Arc::clone(tenant), canonical.clone());
        let total = entries.len();
        if !self.streams.contains_key(&key) {
            let active = self.active.entry(Arc::clone(tenant)).or_default();
            if *active >= self.limits.streams_max {
                self.counters.refused += total as u64;
                let text = format!(
                    "Maximum active stream limit exceeded when trying to create stream {canonical}, reduce the number \
                     of active streams (reduce labels or reduce label values), or contact your Loki administrator to \
                     see if the limit can be increased, user: '{tenant}'"
                );
                return Some(Answer::new(429, text));
            }
            *active += 1;
        }
        let bucket = self.limits.stream_rate.map(|rate| Bucket::new(rate, now));
        let fresh = || StreamState { newest_ns: None, bucket, seen: HashSet::new() };
        let mut state = self.streams.remove(&key).unwrap_or_else(fresh);
        let mut told = Told::default();
        let mut exhausted = false;
        for entry in entries {
            let time_ns = entry.time_ns().unwrap_or(0);
            let over_rate = exhausted || state.bucket.as_mut().is_some_and(|b| !b.take(size(&entry), now));
            if over_rate {
                exhausted = true;
                told.push(429, time_ns, || self.rate_text(&canonical, size(&entry)));
            } else if let Some(oldest) = self.too_far_behind(&state, time_ns) {
                told.push(400, time_ns, || {
                    let (time, oldest) = (rfc3339_seconds(time_ns), rfc3339_seconds(oldest));
                    format!(
                        "entry too far behind, entry timestamp is: {time}, oldest acceptable timestamp is: {oldest}"
                    )
                });
            } else {
                state.newest_ns = state.newest_ns.max(Some(time_ns));
                self.keep_entry(tenant, &labels, &mut state.seen, &entry, time_ns);
            }
        }
        self.streams.insert(key, state);
        self.counters.refused += told.refused;
        let Told { status, text, refused, .. } = told;
        (refused > 0).then(|| {
            let text =
                format!("{text}user '{tenant}', total ignored: {refused} out of {total} for stream: {canonical}");
            Answer::new(status, text)
        })
    }

    fn rate_text(&self, stream: &str, bytes: usize) -> String {
        let limit = self.limits.stream_rate.map_or(0.0, |rate| rate.bytes_per_second) / (1024.0 * 1024.0);
        format!(
            "Per stream rate limit exceeded (limit: {limit}MB/sec) while attempting to ingest for stream '{stream}' \
             totaling {bytes}B, consider splitting a stream via additional labels or contact your Loki administrator \
             to see if the limit can be increased"
        )
    }

    /// The oldest acceptable time, when `time_ns` is older.
    fn too_far_behind(&self, state: &StreamState, time_ns: i64) -> Option<i64> {
        let oldest = state.newest_ns?.saturating_sub(nanos(self.limits.behind_max?));
        (time_ns < oldest).then_some(oldest)
    }

    fn keep_entry(
        &mut self,
        tenant: &Arc<str>,
        labels: &Arc<Pairs>,
        seen: &mut HashSet<u64>,
        entry: &proto::Entry,
        time_ns: i64,
    ) {
        let metadata: Vec<(String, &[u8])> =
            entry.structured_metadata.iter().map(|pair| (normalise(&pair.name), &pair.value[..])).collect();
        let known = match self.marker.as_ref().map(|marker| marker.number(&entry.line)) {
            Some(Some(seq)) => {
                let print = Print::of((tenant, labels), time_ns, &entry.line, &metadata);
                self.sequence.note(seq, print, &entry.line) == Sighting::Again
            }
            Some(None) => {
                self.counters.unnumbered += 1;
                false
            }
            None if self.keep == 0 => false,
            None => !seen.insert(hash((time_ns, &entry.line, &metadata))),
        };
        if known {
            self.counters.duplicates += 1;
            return;
        }
        self.counters.entries += 1;
        self.counters.bytes += entry.line.len() as u64;
        let line = String::from_utf8_lossy(&entry.line);
        self.counters.invalid_utf8 += u64::from(matches!(line, std::borrow::Cow::Owned(_)));
        if self.kept.len() < self.keep {
            let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
            self.kept.push(Stored {
                tenant: Arc::clone(tenant),
                labels: Arc::clone(labels),
                time_ns,
                line: line.into_owned(),
                metadata: metadata.into_iter().map(|(name, value)| (name, text(value))).collect(),
            });
        }
    }
}

/// As Go's `time.RFC3339` shows it: whole seconds, rounded down.
fn rfc3339_seconds(ns: i64) -> String {
    rfc3339(ns.div_euclid(SECOND) * SECOND).replace(".000000000", "")
}

/// As Go prints a time: `2026-02-24 15:46:29.5 +0000 UTC`.
fn go_time(ns: i64) -> String {
    let text = rfc3339(ns).replace('T', " ").replace('Z', "");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text} +0000 UTC")
}

fn size(entry: &proto::Entry) -> usize {
    entry.line.len() + metadata_bytes(entry)
}

fn metadata_bytes(entry: &proto::Entry) -> usize {
    entry.structured_metadata.iter().map(|pair| pair.name.len() + pair.value.len()).sum()
}

/// Loki makes a label name of whatever it is given: `user.name` becomes `user_name`.
fn normalise(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name);
    let mut plain: String = text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if plain.starts_with(|c: char| c.is_ascii_digit()) {
        plain.insert_str(0, "key_");
    }
    plain
}

fn nanos(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

fn hash(value: impl std::hash::Hash) -> u64 {
    use std::hash::Hasher;
    let mut hasher = std::hash::DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
