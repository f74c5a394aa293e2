//! A Loki that answers as a real one was measured to, and a link that takes its answers as egress does.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use prost::Message;

use super::{
    super::{
        judge::{Entry, Invariant, demand},
        kinds::Trouble,
        line::{Name, name},
    },
    Room,
};
use crate::{
    orders::{Batch, Outcome, Refusal},
    target::{
        Backoff,
        loki::{Answer, Meaning},
    },
};

/// Of the published schema (`pkg/push/push.proto`) what is looked at.
#[derive(Clone, PartialEq, Message)]
struct PushRequest {
    #[prost(message, repeated, tag = "1")]
    streams: Vec<PushStream>,
}

#[derive(Clone, PartialEq, Message)]
struct PushStream {
    #[prost(string, tag = "1")]
    labels: String,
    #[prost(message, repeated, tag = "2")]
    entries: Vec<PushEntry>,
}

#[derive(Clone, PartialEq, Message)]
struct PushEntry {
    #[prost(message, optional, tag = "1")]
    timestamp: Option<Timestamp>,
    #[prost(string, tag = "2")]
    line: String,
    #[prost(message, repeated, tag = "3")]
    metadata: Vec<LabelPair>,
}

#[derive(Clone, PartialEq, Message)]
struct Timestamp {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[derive(Clone, PartialEq, Message)]
struct LabelPair {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

/// The label that plans change; left out of what must stay the same.
pub const CHANGING_LABEL: &str = "changing";
const TIMEOUT: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct Loki {
    backoff: Backoff,
    state: State,
}

#[derive(Debug)]
enum State {
    Idle,
    /// The request is on its way and will meet this.
    Sent {
        at: Duration,
        fate: Fate,
    },
    /// The answer is on its way; `None`: none will come, the connection ends or the time is over.
    Answering {
        at: Duration,
        answer: Option<(u16, String)>,
    },
    Paused {
        until: Duration,
    },
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Stored,
    Meets(Trouble),
}

/// One stream of a push, as it came.
struct Stream {
    entries: Vec<Entry>,
    text: String,
}

impl Loki {
    pub fn new(seed: u64) -> Self {
        Self { backoff: Backoff::new(seed), state: State::Idle }
    }

    pub fn next_due(&self, has_work: bool, now: Duration) -> Option<Duration> {
        match self.state {
            State::Idle => has_work.then_some(now),
            State::Sent { at, .. } | State::Answering { at, .. } => Some(at),
            State::Paused { until } => Some(until),
        }
    }

    /// The connection ends: what is on its way may still arrive.
    pub fn cut(&mut self, batch: Option<&Arc<Batch>>, room: &mut Room<'_>) {
        let state = std::mem::replace(&mut self.state, State::Idle);
        if let (State::Sent { fate: Fate::Stored, .. }, Some(batch)) = (state, batch)
            && room.dice.one_in(2)
        {
            store(batch, decode(batch), room);
        }
    }

    pub fn step(
        &mut self,
        queue: &mut VecDeque<Arc<Batch>>,
        room: &mut Room<'_>,
        settle: &mut impl FnMut(u64, Outcome),
    ) {
        while let Some(batch) = queue.front() {
            match &mut self.state {
                State::Idle => {
                    let at = room.now + room.latency();
                    self.state = State::Sent { at, fate: fate(batch, room) };
                    return;
                }
                State::Sent { at, .. } | State::Answering { at, .. } if *at > room.now => return,
                State::Paused { until } if *until > room.now => return,
                State::Paused { .. } => self.state = State::Idle,
                State::Sent { fate, .. } => {
                    let (answer, wait) = meet(batch, *fate, room);
                    self.state = State::Answering { at: room.now + wait, answer };
                }
                State::Answering { answer, .. } => {
                    let answer =
                        answer.take().map(|(status, body)| (status, Answer::of(status, None, body.as_bytes())));
                    let outcome = match answer {
                        Some((204, _)) => Outcome::Acked,
                        Some((400 | 413, Answer { meaning, reason })) => {
                            let entries = match meaning {
                                Meaning::Entries(told) => (told.ignored as u32).min(batch.entries),
                                _ => batch.entries,
                            };
                            Outcome::Refused(Refusal { entries, reason })
                        }
                        _ => {
                            let until = room.now + self.backoff.pause();
                            self.state = State::Paused { until };
                            continue;
                        }
                    };
                    self.backoff.reset();
                    settle(batch.id, outcome);
                    self.state = State::Idle;
                    queue.pop_front();
                }
            }
        }
    }
}

/// Throws for what a request will meet.
fn fate(batch: &Batch, room: &mut Room<'_>) -> Fate {
    if room.manners.is_dead {
        room.table.note(Trouble::Unreachable);
        return Fate::Meets(Trouble::Unreachable);
    }
    let ways = [
        Trouble::Unreachable,
        Trouble::CutBeforeStoring,
        Trouble::AnswerLost,
        Trouble::NoAnswer,
        Trouble::Slow,
        Trouble::TenantRate429,
        Trouble::StreamRate429,
        Trouble::StreamLimit429,
        Trouble::SomeLines400,
        Trouble::TooLarge413,
        Trouble::Oversize500,
        Trouble::Unauthorized401,
        Trouble::Unavailable503,
        Trouble::Blocked260,
        Trouble::TenantRefused,
    ];
    let way = room.dice.one_of(&ways);
    let fits = match way {
        Trouble::TenantRefused => batch.tenant.is_some(),
        // For good: seldom, or little would arrive at all.
        Trouble::TooLarge413 | Trouble::SomeLines400 => room.dice.one_in(3),
        _ => true,
    };
    if fits && room.strikes(way) { Fate::Meets(way) } else { Fate::Stored }
}

/// A request arrives: what is stored, what is answered, and after what time.
fn meet(batch: &Batch, fate: Fate, room: &mut Room<'_>) -> (Option<(u16, String)>, Duration) {
    let latency = room.latency();
    let answer = |status: u16, text: &str| (Some((status, text.to_owned())), latency);
    let Fate::Meets(way) = fate else {
        store(batch, decode(batch), room);
        return answer(204, "");
    };
    match way {
        Trouble::AnswerLost => {
            store(batch, decode(batch), room);
            (None, latency)
        }
        Trouble::NoAnswer => {
            if room.dice.one_in(2) {
                store(batch, decode(batch), room);
            }
            (None, TIMEOUT)
        }
        Trouble::Slow => {
            store(batch, decode(batch), room);
            (Some((204, String::new())), Duration::from_millis(room.dice.below(900)))
        }
        Trouble::TenantRate429 => answer(429, "ingestion rate limit exceeded for user fake (limit: 4194304 bytes/sec)"),
        Trouble::StreamRate429 => {
            let mut streams = decode(batch);
            let kept = room.dice.below(streams.len() as u64 + 1) as usize;
            streams.truncate(kept);
            store(batch, streams, room);
            answer(429, "Per stream rate limit exceeded (limit: 3MB/sec) while attempting to ingest for stream")
        }
        Trouble::StreamLimit429 => {
            let mut streams = decode(batch);
            let refused = room.dice.below(streams.len() as u64) as usize;
            streams.remove(refused);
            store(batch, streams, room);
            answer(429, "Maximum active stream limit exceeded when trying to create stream")
        }
        Trouble::SomeLines400 => refuse_some(batch, room, latency),
        Trouble::TooLarge413 => {
            decode(batch).iter().flat_map(|stream| &stream.entries).for_each(|entry| refused(entry, room));
            answer(413, "request too large")
        }
        Trouble::Oversize500 => answer(500, "rpc error: code = ResourceExhausted desc = received message larger"),
        Trouble::Unauthorized401 => answer(401, "no org id"),
        Trouble::TenantRefused => answer(403, "this tenant may not push"),
        Trouble::Unavailable503 => answer(503, "empty ring"),
        Trouble::Blocked260 => answer(260, "ingestion blocked for user"),
        _ => (None, latency),
    }
}

/// The last stream holds lines that are too old: the others are stored, and the answer counts them.
fn refuse_some(batch: &Batch, room: &mut Room<'_>, latency: Duration) -> (Option<(u16, String)>, Duration) {
    let mut streams = decode(batch);
    let Some(last) = streams.last_mut() else { return (Some((204, String::new())), latency) };
    let (all, text) = (last.entries.len(), last.text.clone());
    let (mut kept, mut bad) = (Vec::new(), Vec::new());
    for entry in std::mem::take(&mut last.entries) {
        if room.dice.one_in(4) { bad.push(entry) } else { kept.push(entry) }
    }
    last.entries = kept;
    bad.iter().for_each(|entry| refused(entry, room));
    store(batch, streams, room);
    if bad.is_empty() {
        return (Some((204, String::new())), latency);
    }
    let body = format!(
        "entry with timestamp 2026-01-01 00:00:00 +0000 UTC ignored, reason: 'entry too far behind',\nuser 'fake', \
         total ignored: {} out of {all} for stream: {text}",
        bad.len()
    );
    (Some((400, body)), latency)
}

fn refused(entry: &Entry, room: &mut Room<'_>) {
    if let Name::Line(id) = name(&entry.line)
        && let Some(marks) = room.judge.marks.get_mut(id as usize)
    {
        marks.refused |= 1 << room.target;
    } else if let Name::Twin(group) = name(&entry.line) {
        let judge = &mut *room.judge;
        let twins = judge.lines.iter().zip(&mut judge.marks).filter(|(line, _)| line.twin == Some(group));
        twins.for_each(|(_, marks)| marks.refused |= 1 << room.target);
    }
}

fn store(batch: &Batch, streams: Vec<Stream>, room: &mut Room<'_>) {
    for entry in streams.iter().flat_map(|stream| &stream.entries) {
        room.judge.stored(room.target, batch.id, entry);
    }
}

fn decode(batch: &Batch) -> Vec<Stream> {
    let raw = snap::raw::Decoder::new().decompress_vec(&batch.body).expect("a snappy block");
    demand(raw.len() < 4 << 20, Invariant::Memory, || "Loki refuses requests of 4 MiB".to_owned());
    let push = PushRequest::decode(raw.as_slice()).expect("a push request");
    let tenant = batch.tenant.as_deref().unwrap_or_default();
    let streams = push.streams.into_iter().map(|stream| {
        let labels: Vec<&str> = stream.labels.trim_matches(['{', '}']).split(", ").collect();
        let kept: Vec<&str> = labels.into_iter().filter(|label| !label.starts_with(CHANGING_LABEL)).collect();
        let kept = kept.join(",");
        let entries = stream.entries.iter().map(|entry| {
            let mut labels = format!("{tenant} {kept}");
            for pair in &entry.metadata {
                labels.push_str(&format!(" {}={}", pair.name, pair.value));
            }
            let time = entry.timestamp.clone().unwrap_or_default();
            Entry { labels, time: time.seconds * 1_000_000_000 + i64::from(time.nanos), line: entry.line.clone() }
        });
        Stream { entries: entries.collect(), text: stream.labels.clone() }
    });
    streams.collect()
}
