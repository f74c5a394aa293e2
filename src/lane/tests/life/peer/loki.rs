//! A Loki that answers as a real one was measured to, and a link that takes its answers as egress does.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

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
    model::Nanos,
    orders::{Batch, Outcome},
    target::loki::{Answer, Moment, Push, Rules, Session, Settled, Step},
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
/// When every simulated world begins.
const BEGINNING: Nanos = Nanos(1_767_225_600_000_000_000);
/// What is called too large has so many entries at least: a single one never is.
const TOO_LARGE_ENTRIES: usize = 4;
const TIMEOUT: Duration = Duration::from_secs(1);

/// A target's task has one line for each tenant.
#[derive(Debug)]
pub struct Loki {
    seed: u64,
    lines: BTreeMap<Option<String>, Line>,
}

#[derive(Debug)]
struct Line {
    session: Session,
    batches: BTreeMap<u64, Arc<Batch>>,
    state: State,
    is_connected: bool,
    /// Streams this Loki has taken since the connection was made.
    seen: BTreeSet<String>,
}

#[derive(Debug)]
enum State {
    Idle,
    /// The push is on its way and will meet this.
    Sent {
        at: Duration,
        push: Push,
        fate: Fate,
    },
    /// The answer is on its way; `None`: none will come, the connection ends or the time is over.
    Answering {
        at: Duration,
        answer: Option<(u16, String)>,
    },
    Waiting {
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
        Self { seed, lines: BTreeMap::new() }
    }

    pub fn next_due(&self, has_work: bool, now: Duration) -> Option<Duration> {
        let due = |line: &Line| match line.state {
            State::Idle => (!line.session.is_empty()).then_some(now),
            State::Sent { at, .. } | State::Answering { at, .. } => Some(at),
            State::Waiting { until } => Some(until),
        };
        self.lines.values().filter_map(due).chain(has_work.then_some(now)).min()
    }

    /// The connections end: what is on its way may still arrive. Gives what was not settled, in order.
    pub fn cut(&mut self, room: &mut Room<'_>) -> Vec<Arc<Batch>> {
        let mut held = BTreeMap::new();
        for mut line in std::mem::take(&mut self.lines).into_values() {
            if let State::Sent { fate: Fate::Stored, push, .. } = &line.state
                && room.dice.one_in(2)
            {
                let batch = Arc::clone(&line.batches[&push.ticket]);
                store(&batch, decode(&batch, &push.body), &mut line.seen, room);
            }
            held.append(&mut line.batches);
        }
        held.into_values().collect()
    }

    pub fn step(
        &mut self,
        queue: &mut VecDeque<Arc<Batch>>,
        room: &mut Room<'_>,
        settle: &mut impl FnMut(u64, Outcome),
    ) {
        for batch in queue.drain(..) {
            let seed = self.seed;
            let line = self.lines.entry(batch.tenant.clone()).or_insert_with(|| Line::new(seed));
            line.session.accept(batch.id, Arc::clone(&batch));
            line.batches.insert(batch.id, batch);
        }
        self.lines.values_mut().for_each(|line| line.step(room, settle));
    }
}

impl Line {
    fn new(seed: u64) -> Self {
        Self {
            session: Session::new(Rules::default(), seed),
            batches: BTreeMap::new(),
            state: State::Idle,
            is_connected: false,
            seen: BTreeSet::new(),
        }
    }

    fn step(&mut self, room: &mut Room<'_>, settle: &mut impl FnMut(u64, Outcome)) {
        loop {
            let now = Moment { wall: BEGINNING.plus(room.now.as_nanos() as u64), mono: room.now };
            match std::mem::replace(&mut self.state, State::Idle) {
                State::Idle => match self.session.next(now) {
                    Step::Idle => return,
                    Step::Wait { until } => self.state = State::Waiting { until: until.max(room.now) },
                    Step::Settled(settled) => self.settle(settled, room, settle),
                    Step::Push(push) => {
                        if !self.is_connected {
                            self.is_connected = true;
                            self.seen.clear();
                            self.session.connected();
                            continue;
                        }
                        let fate = fate(self.batches[&push.ticket].as_ref(), room);
                        self.state = State::Sent { at: room.now + room.latency(), push, fate };
                    }
                },
                State::Sent { at, push, fate } if at <= room.now => {
                    let (answer, wait) = meet(&self.batches[&push.ticket], &push, fate, &mut self.seen, room);
                    self.state = State::Answering { at: room.now + wait, answer };
                }
                State::Answering { at, answer } if at <= room.now => match answer {
                    Some((status, body)) => {
                        self.session.answered(Answer::of(status, None, body.as_bytes()), now);
                    }
                    None => {
                        self.is_connected = false;
                        self.session.failed(true, true, now);
                    }
                },
                State::Waiting { until } if until <= room.now => {}
                waits => {
                    self.state = waits;
                    return;
                }
            }
        }
    }

    fn settle(&mut self, settled: Settled, room: &mut Room<'_>, settle: &mut impl FnMut(u64, Outcome)) {
        self.batches.remove(&settled.ticket);
        for lost in &settled.quarantine {
            refused(&lost.line, room);
        }
        let is_whole = settled.shortfall.losses.is_empty();
        settle(settled.ticket, if is_whole { Outcome::Acked } else { Outcome::Short(settled.shortfall) });
    }
}

/// Throws for what a request will meet.
fn fate(batch: &Batch, room: &mut Room<'_>) -> Fate {
    if room.manners.is_dead {
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
    let seldom = [Trouble::TenantRefused, Trouble::SomeLines400, Trouble::TooLarge413, Trouble::Oversize500];
    let way = room.dice.one_of(if room.manners.refuses { &seldom } else { &ways });
    let fits = match way {
        Trouble::TenantRefused => batch.tenant.is_some(),
        // For good: seldom, or little would arrive at all.
        Trouble::TooLarge413 | Trouble::SomeLines400 => room.manners.refuses || room.dice.one_in(3),
        _ => true,
    };
    if fits && room.would_strike() { Fate::Meets(way) } else { Fate::Stored }
}

/// A request arrives: what is stored, what is answered, and after what time.
fn meet(
    batch: &Batch,
    push: &Push,
    fate: Fate,
    seen: &mut BTreeSet<String>,
    room: &mut Room<'_>,
) -> (Option<(u16, String)>, Duration) {
    let latency = room.latency();
    let answer = |status: u16, text: &str| (Some((status, text.to_owned())), latency);
    let streams = decode(batch, &push.body);
    let way = match fate {
        Fate::Meets(Trouble::TooLarge413 | Trouble::Oversize500) if entries(&streams) < TOO_LARGE_ENTRIES => None,
        Fate::Meets(way) => Some(way),
        Fate::Stored => None,
    };
    let Some(way) = way else {
        store(batch, streams, seen, room);
        return answer(204, "");
    };
    room.table.note(way);
    match way {
        Trouble::AnswerLost => {
            store(batch, streams, seen, room);
            (None, latency)
        }
        Trouble::NoAnswer => {
            if room.dice.one_in(2) {
                store(batch, streams, seen, room);
            }
            (None, TIMEOUT)
        }
        Trouble::Slow => {
            store(batch, streams, seen, room);
            (Some((204, String::new())), Duration::from_millis(room.dice.below(900)))
        }
        Trouble::TenantRate429 => answer(429, "Ingestion rate limit exceeded for user fake (limit: 4194304 bytes/sec)"),
        Trouble::StreamLimit429 => refuse_new(batch, streams, seen, room, latency),
        Trouble::StreamRate429 | Trouble::SomeLines400 => refuse_some(batch, streams, way, seen, room, latency),
        Trouble::TooLarge413 => answer(413, "request too large"),
        Trouble::Oversize500 => {
            answer(500, "rpc error: code = ResourceExhausted desc = grpc: received message larger than max")
        }
        Trouble::Unauthorized401 => answer(401, "no org id"),
        Trouble::TenantRefused => answer(403, "this tenant may not push"),
        Trouble::Unavailable503 => answer(503, "empty ring"),
        Trouble::Blocked260 => answer(260, "ingestion blocked for user"),
        _ => (None, latency),
    }
}

fn entries(streams: &[Stream]) -> usize {
    streams.iter().map(|stream| stream.entries.len()).sum()
}

/// No new streams: one of those not seen on this connection is dropped. Only if it is the last of the push is it told;
/// a stream that is accepted behind it makes a 204 of it.
fn refuse_new(
    batch: &Batch,
    mut streams: Vec<Stream>,
    seen: &mut BTreeSet<String>,
    room: &mut Room<'_>,
    latency: Duration,
) -> (Option<(u16, String)>, Duration) {
    let new = streams.iter().position(|stream| !seen.contains(&stream.text));
    let is_last = new.is_some_and(|new| new + 1 == streams.len());
    if let Some(new) = new {
        streams.remove(new);
    }
    store(batch, streams, seen, room);
    let text = "Maximum active stream limit exceeded when trying to create stream";
    (Some(if is_last { (429, text.to_owned()) } else { (204, String::new()) }), latency)
}

/// Entries of the last stream are refused: for good, those before some time; for now, those behind a place. The others
/// are stored, and the answer lists some and counts all.
fn refuse_some(
    batch: &Batch,
    mut streams: Vec<Stream>,
    way: Trouble,
    seen: &mut BTreeSet<String>,
    room: &mut Room<'_>,
    latency: Duration,
) -> (Option<(u16, String)>, Duration) {
    let Some(last) = streams.last_mut().filter(|last| !last.entries.is_empty()) else {
        return (Some((204, String::new())), latency);
    };
    let (all, text) = (last.entries.len(), last.text.clone());
    let at = room.dice.below(all as u64) as usize;
    let oldest = last.entries[at].time;
    let bad: Vec<Entry> = if way == Trouble::SomeLines400 {
        last.entries.extract_if(.., |entry| entry.time < oldest).collect()
    } else {
        last.entries.drain(at..).collect()
    };
    if way == Trouble::SomeLines400 {
        bad.iter().for_each(|entry| refused(&entry.line, room));
    }
    store(batch, streams, seen, room);
    if bad.is_empty() {
        return (Some((204, String::new())), latency);
    }
    let (status, why) = match way {
        Trouble::SomeLines400 => {
            (400, format!("entry too far behind, oldest acceptable timestamp is: {}", rfc3339(oldest)))
        }
        _ => (429, format!("Per stream rate limit exceeded (limit: 3MB/sec) while attempting to ingest for {text}")),
    };
    let mut body = String::new();
    for entry in bad.iter().take(10) {
        body.push_str(&format!("entry with timestamp {} ignored, reason: '{why}',\n", rfc3339(entry.time)));
    }
    body.push_str(&format!("user 'fake', total ignored: {} out of {all} for stream: {text}", bad.len()));
    (Some((status, body)), latency)
}

fn rfc3339(nanos: i64) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(nanos)).map(|time| time.to_string()).unwrap_or_default()
}

fn refused(line: &str, room: &mut Room<'_>) {
    if let Name::Line(id) = name(line)
        && let Some(marks) = room.judge.marks.get_mut(id as usize)
    {
        marks.refused |= 1 << room.target;
    } else if let Name::Twin(group) = name(line) {
        let judge = &mut *room.judge;
        let twins = judge.lines.iter().zip(&mut judge.marks).filter(|(line, _)| line.twin == Some(group));
        twins.for_each(|(_, marks)| marks.refused |= 1 << room.target);
    }
}

fn store(batch: &Batch, streams: Vec<Stream>, seen: &mut BTreeSet<String>, room: &mut Room<'_>) {
    seen.extend(streams.iter().map(|stream| stream.text.clone()));
    for entry in streams.iter().flat_map(|stream| &stream.entries) {
        room.judge.stored(room.target, batch.id, entry);
    }
}

fn decode(batch: &Batch, body: &[u8]) -> Vec<Stream> {
    let raw = snap::raw::Decoder::new().decompress_vec(body).expect("a snappy block");
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
            let (stream, line) = (format!("{tenant} {}", stream.labels), entry.line.clone());
            Entry { labels, stream, time: time.seconds * 1_000_000_000 + i64::from(time.nanos), line }
        });
        Stream { entries: entries.collect(), text: stream.labels.clone() }
    });
    streams.collect()
}
