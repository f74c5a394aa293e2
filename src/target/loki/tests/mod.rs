//! Sessions against a Loki without sockets: the verifying receiver of `corelane-perf`, which refuses what a real one
//! refuses and hides what a real one hides.

mod answer;
mod any;
mod limits;
mod refusal;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::Bytes;
use corelane_perf::loki::{Judge, Limits, LokiOptions, Rate};
use xxhash_rust::xxh3::xxh3_64;

use super::{
    answer::Answer,
    delivery::Settled,
    session::{Moment, Rules, Session, Step, Told},
};
use crate::{
    model::{Nanos, ObjectId, Position},
    orders::{Batch, Fate, Part, Run, StreamFact, Wire},
    stats::Totals,
    wire::loki,
};

const SECOND: i64 = 1_000_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
/// 2026-02-24T15:46:40Z.
const WALL: i64 = 1_771_948_000 * SECOND;

/// One line of a test: stream, nanoseconds, text.
type Line = (u32, i64, String);

fn line(stream: u32, time: i64, text: &str) -> Line {
    (stream, time, text.to_owned())
}

fn labels(stream: u32) -> String {
    format!("{{s=\"{stream}\"}}")
}

/// A batch as a lane seals it: entry by entry part `stream % 3`.
fn batch(lines: &[Line]) -> Batch {
    let mut order: Vec<u32> = Vec::new();
    for (stream, ..) in lines {
        if !order.contains(stream) {
            order.push(*stream);
        }
    }
    let (mut request, mut streams) = (Vec::new(), Vec::new());
    let mut parts = [0u64; 3];
    for number in order {
        let mut encoded = Vec::new();
        let mut fact = StreamFact {
            hash: xxh3_64(labels(number).as_bytes()),
            oldest: Nanos(i64::MAX),
            newest: Nanos(i64::MIN),
            ..StreamFact::default()
        };
        loki::put_stream_labels(&mut encoded, &labels(number));
        for (_, time, text) in lines.iter().filter(|(stream, ..)| *stream == number) {
            loki::put_entry(&mut encoded, Nanos(*time), text.as_bytes(), &[]);
            fact.oldest = fact.oldest.min(Nanos(*time));
            fact.newest = fact.newest.max(Nanos(*time));
            fact.entries += 1;
        }
        let part = number % 3;
        parts[part as usize] += u64::from(fact.entries);
        fact.runs.push(Run { part, entries: fact.entries });
        fact.bytes = encoded.len();
        loki::put_stream(&mut request, &encoded);
        streams.push(fact);
    }
    let part = |read: u64| Part {
        reader: 1,
        source: ObjectId(1),
        end: Position::file(0),
        counts: Totals { read, ..Totals::default() },
    };
    Batch {
        id: 0,
        body: Bytes::from(snap::raw::Encoder::new().compress_vec(&request).expect("small")),
        wire: Wire::Loki,
        raw_bytes: request.len(),
        entries: lines.len() as u32,
        newest: None,
        tenant: None,
        parts: parts.map(part).to_vec(),
        streams,
    }
}

/// A session, the Loki it talks to, and a clock.
struct Rig {
    session: Session,
    judge: Judge,
    now: Moment,
    tickets: u64,
    settled: Vec<Settled>,
    told: Vec<Told>,
    /// Pushes sent.
    pushes: usize,
}

impl Rig {
    fn new(limits: Limits) -> Self {
        Self::with(limits, Rules::default())
    }

    fn with(limits: Limits, rules: Rules) -> Self {
        Self {
            session: Session::new(rules, 7),
            judge: Judge::new(LokiOptions { limits, ..LokiOptions::default() }),
            now: Moment { wall: Nanos(WALL), mono: Duration::from_secs(1000) },
            tickets: 0,
            settled: Vec::new(),
            told: Vec::new(),
            pushes: 0,
        }
    }

    fn give(&mut self, lines: &[Line]) -> u64 {
        self.tickets += 1;
        self.session.accept(self.tickets, Arc::new(batch(lines)));
        self.tickets
    }

    fn pass(&mut self, time: Duration) {
        self.now.mono += time;
        self.now.wall = self.now.wall.plus(time.as_nanos() as u64);
    }

    /// One step, with an answer made by `answer` of what the Loki would have said.
    fn step_with(&mut self, answer: impl FnOnce((u16, String)) -> (u16, String)) -> bool {
        match self.session.next(self.now) {
            Step::Idle => return false,
            Step::Settled(settled) => self.settled.push(settled),
            Step::Wait { until } => self.pass(until - self.now.mono),
            Step::Push(push) => {
                self.pushes += 1;
                let (status, text) = answer(self.judge.push("t", &push.body, self.now.wall.0, self.now.mono));
                self.pass(Duration::from_millis(1));
                let told = self.session.answered(Answer::of(status, None, text.as_bytes()), self.now);
                self.told.push(told);
            }
        }
        true
    }

    /// Steps until there is nothing to do.
    fn run(&mut self) {
        for _ in 0..20_000 {
            if !self.step_with(|answer| answer) {
                return;
            }
        }
        panic!("no end after 20,000 steps; {} batches open, told {:?}", self.session.len(), self.told.last());
    }

    /// Steps until nothing goes any more but by waiting.
    fn run_until_waiting(&mut self) {
        for _ in 0..1_000 {
            match self.session.next(self.now) {
                Step::Idle | Step::Wait { .. } => return,
                Step::Settled(settled) => self.settled.push(settled),
                Step::Push(push) => {
                    self.pushes += 1;
                    let (status, text) = self.judge.push("t", &push.body, self.now.wall.0, self.now.mono);
                    self.told.push(self.session.answered(Answer::of(status, None, text.as_bytes()), self.now));
                }
            }
        }
        panic!("it never waits");
    }

    fn stored(&self) -> BTreeSet<String> {
        self.judge.entries().iter().map(|entry| entry.line.clone()).collect()
    }

    fn quarantined(&self) -> Vec<String> {
        self.settled.iter().flat_map(|settled| &settled.quarantine).map(|lost| lost.line.clone()).collect()
    }

    /// Lines lost in so many ways, summed over all batches.
    fn lost(&self, fate: Fate) -> u64 {
        let losses = self.settled.iter().flat_map(|settled| &settled.shortfall.losses);
        losses.filter(|loss| loss.fate == fate).map(|loss| loss.lines).sum()
    }
}

/// A stock Loki without rates, which tests of other limits would run into.
fn unhurried() -> Limits {
    Limits { tenant_rate: None, stream_rate: None, ..Limits::stock() }
}

fn rate(bytes_per_second: f64, burst_bytes: f64) -> Option<Rate> {
    Some(Rate { bytes_per_second, burst_bytes })
}
